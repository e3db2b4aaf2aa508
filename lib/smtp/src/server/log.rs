//! Lines of the log (spec/smtp.md 6).

/// One event.
pub(super) struct Event<'a> {
    /// What happened, in pieces: `Reject::SNDR::Invalid_Relay`.
    pub(super) what: &'a [&'a [u8]],
    /// The protocol.
    pub(super) token: &'a [u8],
    /// The client's address.
    pub(super) ip: &'a [u8],
    /// Its name in the DNS.
    pub(super) host: &'a [u8],
    /// The name it gave.
    pub(super) helo: &'a [u8],
    /// Sender and recipient.
    pub(super) envelope: Option<(&'a [u8], &'a [u8])>,
    /// What else there is to say.
    pub(super) info: Option<&'a [u8]>,
    /// Who the client is, or says it is.
    pub(super) user: Option<&'a [u8]>,
}

impl Event<'_> {
    /// The line, without what names program and process, and without its end. Nothing in it is as the client sent it:
    /// bytes that are no graphic ASCII become `?`.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = self.what.concat();
        let mut field = |name: &[u8], value: &[u8]| {
            line.extend_from_slice(name);
            line.extend(value.iter().map(|&b| if b.is_ascii_graphic() { b } else { b'?' }));
        };
        field(b" P:", self.token);
        field(b" S:", self.ip);
        field(b":", self.host);
        field(b" H:", self.helo);
        if let Some((sender, recipient)) = self.envelope {
            field(b" F:", sender);
            field(b" T:", recipient);
        }
        if let Some(info) = self.info {
            // Words of this site, or single bytes of a message: blanks may stand.
            line.extend_from_slice(b" '");
            line.extend(info.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b } else { b'?' }));
            line.push(b'\'');
        }
        if let Some(user) = self.user {
            line.extend_from_slice(b" ?~ '");
            line.extend(user.iter().map(|&b| if b.is_ascii_graphic() { b } else { b'?' }));
            line.push(b'\'');
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s20_one_event_is_one_line_whatever_the_client_sent() {
        let event = Event {
            what: &[b"Accept::AUTH::", b"login"],
            token: b"ESMTPSA",
            ip: b"192.0.2.1",
            host: b"h",
            helo: b"a\r\nqmail-smtpd: pid 1 Accept::RCPT::x\x80",
            envelope: Some((b"a b", b"c\x1b")),
            info: Some(b"AV scanner\n"),
            user: Some(b"joe 'x"),
        };
        let expected = "Accept::AUTH::login P:ESMTPSA S:192.0.2.1:h H:a??qmail-smtpd:?pid?1?Accept::RCPT::x? \
             F:a?b T:c? \
             'AV scanner?' ?~ 'joe?'x'";
        assert_eq!(String::from_utf8(event.line()).unwrap(), expected);
    }
}
