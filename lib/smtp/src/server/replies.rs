//! Why a recipient or a message is refused: the reply to the client, and the event in the log (spec/smtp.md 3.3, 5, 6).

use super::switches::Texts;

/// What keeps a recipient, or a whole message, from being taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The HELO name; the sign of what is wrong with it.
    Helo(u8),
    /// The HELO name by the DNS, or by comparing; the sign.
    HeloDns(u8),
    /// A look-up has no answer.
    DnsTrouble,
    /// The sender's domain does not exist.
    SenderUnknown,
    /// The recipient's domain is none of ours.
    NoGateway,
    /// Too many unknown recipients before.
    ManyFailed,
    /// No such mailbox.
    Mailbox,
    /// The same, but it may be there later.
    MailboxTemporary,
    /// SPF, with what there is to say; may have several lines.
    Spf(Vec<u8>),
    /// SPF could not be evaluated.
    SpfTrouble,
    /// The greylist.
    Greylisted,
    /// The client may not use this sender.
    SenderInvalid,
    /// The sender is listed; the sign of the entry.
    BadSender(u8),
    /// The recipient is listed.
    BadRecipient,
    /// Too large a message.
    TooBig,
    /// Too many recipients.
    ManyRecipients,
    /// The message has what it must not have; what kind, and the bytes or words for the log.
    Content(&'static str, Vec<u8>),
}

impl Refusal {
    /// The reply, without the last line's end.
    pub(super) fn reply(&self, texts: &Texts) -> Vec<u8> {
        // With nothing to insert two blanks are left, as in s/qmail, but where the classic has one.
        let with = |text: &str, own: &Option<Vec<u8>>, code: &str| match own {
            Some(own) => [text.as_bytes(), b" ", &printable(own), b" ", code.as_bytes()].concat(),
            None => format!("{text}  {code}").into_bytes(),
        };
        let classic = |text: &str, own: &Option<Vec<u8>>, code: &str| match own {
            Some(_) => with(text, own, code),
            None => format!("{text} {code}").into_bytes(),
        };
        match self {
            Refusal::Helo(_) | Refusal::HeloDns(_) => {
                with("550 sorry, invalid HELO/EHLO greeting", &texts.helo, "(#5.7.1)")
            }
            Refusal::DnsTrouble => b"451 DNS temporary failure (#4.3.0)".to_vec(),
            Refusal::SenderUnknown => {
                with("553 sorry, your envelope sender must exist", &texts.senderexist, "(#5.7.1)")
            }
            Refusal::NoGateway => {
                let text = "553 sorry, that domain isn't in my list of allowed rcpthosts";
                classic(text, &texts.nogateway, "(#5.7.1)")
            }
            Refusal::ManyFailed | Refusal::ManyRecipients => b"452 sorry, too many recipients (#4.5.3)".to_vec(),
            Refusal::Mailbox => with("550 sorry, no mailbox by that name", &texts.mailbox, "(#5.7.1)"),
            Refusal::MailboxTemporary => b"450 sorry, mailbox currently unavailable (#4.2.1)".to_vec(),
            Refusal::Spf(explanation) => lines("550", explanation, "(#5.7.1)"),
            Refusal::SpfTrouble => b"451 SPF lookup failure (#4.3.0)".to_vec(),
            Refusal::Greylisted => {
                let text = texts.greylisted.as_deref().unwrap_or(b"greylisted, try again later");
                [b"450 ", printable(text).as_slice(), b" (#4.3.0)"].concat()
            }
            Refusal::SenderInvalid => {
                with("553 sorry, invalid sender address specified", &texts.senderinvalid, "(#5.7.1)")
            }
            Refusal::BadSender(_) => {
                let text = "553 sorry, your envelope sender is in my badmailfrom list";
                classic(text, &texts.badmailfrom, "(#5.7.1)")
            }
            Refusal::BadRecipient => {
                with("553 sorry, your envelope recipient is in my badrcptto list", &texts.badrcptto, "(#5.7.1)")
            }
            Refusal::TooBig => {
                let text = "552 sorry, that message size exceeds my databytes limit";
                classic(text, &texts.maxsize, "(#5.3.4)")
            }
            Refusal::Content(..) => with("554 sorry, invalid message content", &texts.content, "(#5.3.2)"),
        }
    }

    /// The event for the log, and what stands there in quotes; trouble of this host is none.
    pub(super) fn event(&self) -> Option<(&'static str, Option<Vec<u8>>)> {
        let sign = |sign: &u8| Some(vec![*sign]);
        Some(match self {
            Refusal::Helo(s) => ("Reject::SNDR::Bad_Helo", sign(s)),
            Refusal::HeloDns(s) => ("Reject::SNDR::DNS_Helo", sign(s)),
            Refusal::DnsTrouble | Refusal::SpfTrouble => return None,
            Refusal::SenderUnknown => ("Reject::ORIG::DNS_MF", None),
            Refusal::NoGateway => ("Reject::SNDR::Invalid_Relay", None),
            Refusal::ManyFailed | Refusal::ManyRecipients => ("Reject::RCPT::Toomany_Rcptto", None),
            Refusal::Mailbox | Refusal::MailboxTemporary => ("Reject::RCPT::Failed_Rcptto", None),
            Refusal::Spf(_) => ("Reject::SPF::Fail", None),
            Refusal::Greylisted => ("Reject::SNDR::Greylist", None),
            Refusal::SenderInvalid => ("Reject::ORIG::Invalid_Mailfrom", None),
            Refusal::BadSender(s) => ("Reject::ORIG::Bad_Mailfrom", sign(s)),
            Refusal::BadRecipient => ("Reject::RCPT::Bad_Rcptto", None),
            Refusal::TooBig => ("Reject::DATA::Invalid_Size", None),
            Refusal::Content(kind, info) => (*kind, Some(info.clone())),
        })
    }
}

/// Foreign text for one reply line: what could end the line, or drive a terminal, becomes `?`.
pub(super) fn printable(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if b.is_ascii_control() { b'?' } else { b }).collect()
}

/// A text of any number of lines as one reply.
fn lines(code: &str, text: &[u8], last_words: &str) -> Vec<u8> {
    let text = text.trim_ascii_end();
    let mut reply = Vec::with_capacity(text.len() + 32);
    let mut rest = text.split(|&b| b == b'\n').peekable();
    while let Some(line) = rest.next() {
        let last = rest.peek().is_none();
        reply.extend_from_slice(code.as_bytes());
        reply.push(if last { b' ' } else { b'-' });
        reply.extend_from_slice(&printable(line.strip_suffix(b"\r").unwrap_or(line)));
        reply.extend_from_slice(if last { b" " } else { b"\r\n" });
    }
    reply.extend_from_slice(last_words.as_bytes());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_may_have_lines() {
        let rows = [
            ("no", "550 no (#5.7.1)"),
            ("no\nnever\n", "550-no\r\n550 never (#5.7.1)"),
            ("a\r\nb\0c", "550-a\r\n550 b?c (#5.7.1)"),
            ("", "550  (#5.7.1)"),
        ];
        for (text, expected) in rows {
            let reply = Refusal::Spf(text.into()).reply(&Texts::default());
            assert_eq!(String::from_utf8(reply).unwrap(), expected);
        }
    }

    #[test]
    fn own_words_cannot_begin_another_reply() {
        let texts = Texts { helo: Some(b"no\r\n250 ok".to_vec()), ..Texts::default() };
        let reply = Refusal::Helo(b'.').reply(&texts);
        assert_eq!(reply, b"550 sorry, invalid HELO/EHLO greeting no??250 ok (#5.7.1)");
    }
}
