//! Header fields: which lines begin one, and which names mean something to a mail program.

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The fields that qmail's programs know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name {
            $($(#[$doc])* $name,)*
        }

        const NAMES: &[(&str, Name)] = &[$(($text, Name::$name),)*];
    };
}

names! {
    /// The mailbox of the person or program that sent it.
    Sender = "sender",
    /// The authors.
    From = "from",
    /// Where answers go.
    ReplyTo = "reply-to",
    /// Recipients.
    To = "to",
    /// More recipients.
    Cc = "cc",
    /// Recipients nobody else is to see.
    Bcc = "bcc",
    /// When it was written.
    Date = "date",
    /// A name no other message has.
    MessageId = "message-id",
    /// What it is about.
    Subject = "subject",
    /// Sender, when sent again.
    ResentSender = "resent-sender",
    /// From, when sent again.
    ResentFrom = "resent-from",
    /// Reply-To, when sent again.
    ResentReplyTo = "resent-reply-to",
    /// To, when sent again.
    ResentTo = "resent-to",
    /// Cc, when sent again.
    ResentCc = "resent-cc",
    /// Bcc, when sent again.
    ResentBcc = "resent-bcc",
    /// Date, when sent again.
    ResentDate = "resent-date",
    /// Message-ID, when sent again.
    ResentMessageId = "resent-message-id",
    /// Who wants a receipt, in sendmail's way.
    ReturnReceiptTo = "return-receipt-to",
    /// Where errors go, in sendmail's way.
    ErrorsTo = "errors-to",
    /// Recipients that a mail program found in no other field.
    ApparentlyTo = "apparently-to",
    /// Trace.
    Received = "received",
    /// The envelope sender.
    ReturnPath = "return-path",
    /// qmail's trace of local deliveries.
    DeliveredTo = "delivered-to",
    /// A size that is always wrong.
    ContentLength = "content-length",
    /// MIME.
    ContentType = "content-type",
    /// MIME.
    ContentTransferEncoding = "content-transfer-encoding",
    /// Who wants a receipt, in qmail's way (qreceipt(1)).
    NoticeRequested = "notice-requested-upon-delivery-to",
    /// Where answers to a mailing list go.
    MailFollowupTo = "mail-followup-to",
}

/// The field's name, if it is one of those above. Upper and lower case are the same.
pub fn known(field: &[u8]) -> Option<Name> {
    let name = name(field)?;
    NAMES.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())).map(|&(_, name)| name)
}

/// Whether `line` begins a header field: a name of printable ASCII without blanks, then blanks or tabs if any, and a
/// colon.
pub fn is_valid(line: &[u8]) -> bool {
    name(line).is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_graphic))
}

/// What follows the colon and the white space behind it (RFC 822 section 3.1); empty if there is no colon.
pub fn body(field: &[u8]) -> &[u8] {
    let after = field.iter().position(|&b| b == b':').map_or(field.len(), |at| at + 1);
    let rest = field.get(after..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
    rest.get(blanks..).unwrap_or_default()
}

/// What stands before the first colon, without blanks and tabs at its end.
fn name(field: &[u8]) -> Option<&[u8]> {
    let name = field.get(..field.iter().position(|&b| b == b':')?)?;
    let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |last| last + 1);
    name.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_case_and_may_have_blanks_before_the_colon() {
        let rows: &[(&[u8], Option<Name>)] = &[
            (b"To: x\n", Some(Name::To)),
            (b"tO \t:x", Some(Name::To)),
            (b"RESENT-message-ID:", Some(Name::ResentMessageId)),
            (b"Notice-Requested-Upon-Delivery-To:x", Some(Name::NoticeRequested)),
            (b"Too: x", None),
            (b"T: x", None),
            (b"To x", None),
            (b" To: x", None),
            (b"", None),
        ];
        for &(field, name) in rows {
            assert_eq!(known(field), name);
        }
    }

    #[test]
    fn a_field_has_a_printable_name_without_blanks() {
        let rows: &[(&[u8], bool)] = &[
            (b"a:", true),
            (b"a :b", true),
            (b"!~:", true),
            (b":", false),
            (b" :", false),
            (b"a b:", false),
            (b" a:", false),
            (b"a\t:", true),
            (b"a\xe4:", false),
            (b"a\x7f:", false),
            (b"a\0:", false),
            (b"a", false),
            (b"", false),
        ];
        for &(line, valid) in rows {
            assert_eq!(is_valid(line), valid, "{line:?}");
        }
    }

    #[test]
    fn the_body_begins_behind_colon_and_blanks() {
        assert_eq!(body(b"To: \t\n x: y\n"), b"x: y\n");
        assert_eq!(body(b"To:"), b"");
        assert_eq!(body(b"To"), b"");
    }
}
