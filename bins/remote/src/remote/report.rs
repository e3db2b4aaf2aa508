//! The report: texts and records (smtp.md 9.3). The texts end up in the log and in bounces; other programs know them.

use smtp::client::{Dropped, Kind, Reply, Unsendable, Why};
use std::io::{self, Write};
use std::net::IpAddr;
use sys::fd::STDOUT;

/// Wrong arguments.
pub const USAGE: &[u8] = b"DI (qmail-remote) was invoked improperly. (#5.3.5)\n";
/// Home cannot be entered.
pub const NO_HOME: &[u8] = b"ZUnable to switch to home directory. (#4.3.0)\n";
/// A control file is unreadable or makes no sense.
pub const NO_CONTROLS: &[u8] = b"ZUnable to read control files. (#4.3.0)\n";
/// The system does not say which addresses are ours.
pub const NO_RESOURCES: &[u8] = b"ZSystem resources temporarily unavailable. (#4.3.0)\n";
/// There is no more memory: a whole record, written when nothing else can be.
pub const NO_MEMORY: &[u8] = b"ZOut of memory. (#4.3.0)\n\0";
/// The message on fd 0 cannot be read.
pub const UNREADABLE: &[u8] = b"ZUnable to read message. (#4.3.0)\n";
/// The message does not end with a newline.
pub const PARTIAL: &[u8] = b"DSMTP cannot transfer messages with partial final lines. (#5.6.2)\n";
/// No server could be reached.
pub const NO_CONNECTION: &[u8] = b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n";
/// The name servers have no answer.
pub const DNS_TEMPORARY: &[u8] = b"ZSorry, I couldn't find any host by that name. (#4.1.2)\n";
/// There are mail exchangers, but none has an address.
pub const NO_ADDRESS: &[u8] = b"DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n";
/// The best mail exchanger is this host.
pub const OURSELVES: &[u8] = b"DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
    it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n";
/// control/domainips names no address.
pub const BAD_SOURCE: &[u8] = b"ZInvalid ipaddr in control/domainips (#4.3.0)\n";
/// What a server of QMTP says is none.
pub const NO_QMTP: &[u8] = b"ZRecipient did not talk proper QMTP (#4.3.0)\n";

/// The name servers do not say whether the server has TLSA records; until they do it gets no mail.
pub fn no_tlsa(server: &[u8]) -> Vec<u8> {
    [b"ZTLSA lookup failed temporarily for: ", server, b". (#4.4.3)\n"].concat()
}

/// The sender's address can not be sent.
pub fn unsendable_sender(why: Unsendable) -> &'static [u8] {
    match why {
        Unsendable::LineBreak => b"DSorry, SMTP cannot carry a sender address with a line break. (#5.1.7)\n",
        Unsendable::NotAscii => b"DSorry, that server takes no international sender address. (#5.6.7)\n",
    }
}

/// A recipient's address can not.
pub fn unsendable_recipient(why: Unsendable) -> &'static [u8] {
    match why {
        Unsendable::LineBreak => b"hSorry, SMTP cannot carry a recipient address with a line break. (#5.1.3)\n",
        Unsendable::NotAscii => b"hSorry, that server takes no international recipient address. (#5.6.7)\n",
    }
}

/// From this size on, in bytes, records are written before the report is complete.
const FLUSH: usize = 32768;

/// The records on their way to fd 1.
#[derive(Default)]
pub struct Report {
    out: Vec<u8>,
    failed: Option<io::Error>,
}

impl Report {
    /// Adds a record made of `parts`. They hold no NUL.
    pub fn record(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.out.push(0);
        if self.out.len() >= FLUSH {
            self.failed = self.flush().err();
        }
    }

    /// Writes what there is. An error of an earlier write comes back here.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let done = STDOUT.clone().write_all(&self.out);
        self.out.clear();
        done
    }

    /// The server does not take a recipient.
    pub fn recipient_refused(&mut self, from: &[u8], reply: &Reply) {
        let letter: &[u8] = if reply.kind() == Kind::Permanent { b"h" } else { b"s" };
        self.record(&[letter, from, b" does not like recipient.\n", &said(reply)]);
    }

    /// There is no such host.
    pub fn no_such_host(&mut self, host: &[u8]) {
        self.record(&[b"DSorry, I couldn't find any host named ", &visible(host), b". (#5.1.2)\n"]);
    }

    /// The host has a null MX (RFC 7505).
    pub fn no_mail(&mut self, host: &[u8]) {
        self.record(&[b"DSorry, host ", &visible(host), b" does not accept mail. (#5.1.10)\n"]);
    }
}

/// Our address that is to be used can not be.
pub fn not_bound(address: IpAddr) -> Vec<u8> {
    format!("ZCan't bind to local ip address: {address}. (#4.3.0)\n").into_bytes()
}

/// The letter of a refusal: for good or for now.
pub fn letter(reply: &Reply) -> u8 {
    if reply.kind() == Kind::Permanent { b'D' } else { b'Z' }
}

/// A server does not greet as it should: a temporary matter, whatever it says, as it knows nothing of the mail yet.
pub fn not_greeted(from: &[u8], reply: &Reply) -> Vec<u8> {
    connected(b'Z', from, b"greeting failed", reply)
}

/// A server refuses the sender.
pub fn sender_refused(from: &[u8], reply: &Reply) -> Vec<u8> {
    connected(letter(reply), from, b"sender was rejected", reply)
}

/// A server refuses to take the message.
pub fn data_refused(from: &[u8], reply: &Reply) -> Vec<u8> {
    host(letter(reply), from, b"failed on DATA command", reply)
}

/// A server does not believe who we are. `what` is the mechanism, or what of it was refused.
pub fn not_authenticated(from: &[u8], what: &str, reply: &Reply) -> Vec<u8> {
    match reply.code {
        432 => connected(b'D', from, b"password expired", reply),
        534 => {
            let but = format!("authentication mechanism too weak ({what})");
            connected(b'Z', from, but.as_bytes(), reply)
        }
        _ => {
            let but = format!("authentication was rejected ({what})");
            connected(b'Z', from, but.as_bytes(), reply)
        }
    }
}

/// A server can not show that it is the right one, or asks for nonsense.
pub fn not_believed(from: &[u8], what: &str) -> Vec<u8> {
    let text = format!(" but it failed to authenticate itself ({what}). (#4.7.0)\n");
    [b"ZConnected to ", from, text.as_bytes()].concat()
}

/// A server offers no authentication that is known here: mail must not go out without.
pub fn no_mechanism(from: &[u8]) -> Vec<u8> {
    [b"ZConnected to ", from, b" but no authentication was offered that is known. (#4.7.0)\n"].concat()
}

/// A record on a server that refuses to go on before the message is sent.
pub fn connected(letter: u8, from: &[u8], but: &[u8], reply: &Reply) -> Vec<u8> {
    [&[letter], b"Connected to ".as_slice(), from, b" but ", but, b".\n", &said(reply)].concat()
}

/// A record on what a server did.
pub fn host(letter: u8, from: &[u8], did: &[u8], reply: &Reply) -> Vec<u8> {
    [&[letter], from, b" ".as_slice(), did, b".\n", &said(reply)].concat()
}

/// The record on a conversation that broke off. If it did after the end of the message, that may have arrived all the
/// same.
pub fn dropped(from: &[u8], how: Dropped) -> Vec<u8> {
    let (text, code): (&[u8], &[u8]) = match how.why {
        Why::OutOfStep => (b"its answers do not fit to what it was asked. ", b"(#4.5.0)\n"),
        Why::Closed | Why::Timeout => (b"connection died. ", b"(#4.4.2)\n"),
    };
    let maybe: &[u8] = if how.critical { b"Possible duplicate! " } else { b"" };
    [b"ZConnected to ", from, b" but ", text, maybe, code].concat()
}

fn said(reply: &Reply) -> Vec<u8> {
    if reply.text.is_empty() { Vec::new() } else { [b"Remote host said: ", reply.text.as_slice()].concat() }
}

/// A host name for people: what is not visible ASCII becomes `?`.
fn visible(host: &[u8]) -> Vec<u8> {
    host.iter().map(|&b| if b.is_ascii_graphic() { b } else { b'?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16) -> Reply {
        Reply { code, text: format!("{code} x\n").into_bytes() }
    }

    /// The rows of spec/smtp.md 9.3 that quote a server, in the words that were recorded from qmail.
    #[test]
    fn what_a_server_says_has_its_words() {
        type Make = fn(&Reply) -> Vec<u8>;
        const FROM: &[u8] = b"192.0.2.1";
        let recipient: Make = |r| {
            let mut report = Report::default();
            report.recipient_refused(FROM, r);
            report.out.strip_suffix(b"\0").unwrap().to_vec()
        };
        let greeting: Make = |r| not_greeted(FROM, r);
        let sender: Make = |r| sender_refused(FROM, r);
        let data: Make = |r| data_refused(FROM, r);
        let after: Make = |r| host(letter(r), FROM, b"failed after I sent the message", r);
        let auth: Make = |r| not_authenticated(FROM, "plain", r);
        let rows: &[(Make, u16, &str)] = &[
            (greeting, 554, "ZConnected to 192.0.2.1 but greeting failed."),
            (greeting, 421, "ZConnected to 192.0.2.1 but greeting failed."),
            (greeting, 451, "ZConnected to 192.0.2.1 but greeting failed."),
            (greeting, 221, "ZConnected to 192.0.2.1 but greeting failed."),
            (greeting, 0, "ZConnected to 192.0.2.1 but greeting failed."),
            (sender, 550, "DConnected to 192.0.2.1 but sender was rejected."),
            (sender, 451, "ZConnected to 192.0.2.1 but sender was rejected."),
            (sender, 600, "ZConnected to 192.0.2.1 but sender was rejected."),
            (recipient, 550, "h192.0.2.1 does not like recipient."),
            (recipient, 452, "s192.0.2.1 does not like recipient."),
            (recipient, 421, "s192.0.2.1 does not like recipient."),
            (recipient, 450, "s192.0.2.1 does not like recipient."),
            (data, 554, "D192.0.2.1 failed on DATA command."),
            (data, 451, "Z192.0.2.1 failed on DATA command."),
            (data, 452, "Z192.0.2.1 failed on DATA command."),
            (data, 250, "Z192.0.2.1 failed on DATA command."),
            (after, 554, "D192.0.2.1 failed after I sent the message."),
            (after, 451, "Z192.0.2.1 failed after I sent the message."),
            (auth, 535, "ZConnected to 192.0.2.1 but authentication was rejected (plain)."),
            (auth, 432, "DConnected to 192.0.2.1 but password expired."),
            (auth, 534, "ZConnected to 192.0.2.1 but authentication mechanism too weak (plain)."),
        ];
        for (make, code, text) in rows {
            let record = String::from_utf8(make(&reply(*code))).unwrap();
            assert_eq!(record, format!("{text}\nRemote host said: {code} x\n"), "{code}");
        }
        let (accepted, tls) = (b"accepted message".as_slice(), b"TLS transmitted message accepted".as_slice());
        assert!(host(b'K', FROM, accepted, &reply(250)).starts_with(b"K192.0.2.1 accepted message.\n"));
        assert!(host(b'K', FROM, tls, &reply(250)).starts_with(b"K192.0.2.1 TLS transmitted message accepted.\n"));
    }

    #[test]
    fn what_happens_without_a_servers_word() {
        let drop = |critical, why| String::from_utf8(dropped(b"::1", Dropped { critical, why })).unwrap();
        let rows = [
            (drop(false, Why::Closed), "ZConnected to ::1 but connection died. (#4.4.2)\n"),
            (drop(true, Why::Timeout), "ZConnected to ::1 but connection died. Possible duplicate! (#4.4.2)\n"),
            (
                drop(false, Why::OutOfStep),
                "ZConnected to ::1 but its answers do not fit to what it was asked. (#4.5.0)\n",
            ),
        ];
        for (got, want) in rows {
            assert_eq!(got, want);
        }
        let fixed = [
            (NO_RESOURCES, "ZSystem resources temporarily unavailable. (#4.3.0)\n"),
            (UNREADABLE, "ZUnable to read message. (#4.3.0)\n"),
            (DNS_TEMPORARY, "ZSorry, I couldn't find any host by that name. (#4.1.2)\n"),
            (NO_ADDRESS, "DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n"),
            (NO_QMTP, "ZRecipient did not talk proper QMTP (#4.3.0)\n"),
        ];
        for (got, want) in fixed {
            assert_eq!(got, want.as_bytes());
        }
        let disbelieved = "ZConnected to ::1 but it failed to authenticate itself (scram). (#4.7.0)\n";
        assert_eq!(not_believed(b"::1", "scram"), disbelieved.as_bytes());
        let bound = String::from_utf8(not_bound("192.0.2.1".parse().unwrap())).unwrap();
        assert_eq!(bound, "ZCan't bind to local ip address: 192.0.2.1. (#4.3.0)\n");
        assert_eq!(said(&Reply { code: 250, text: Vec::new() }), b"");
        let mut report = Report::default();
        report.no_such_host(b"a\xe9.test");
        report.no_mail(b"b.test");
        let want = b"DSorry, I couldn't find any host named a?.test. (#5.1.2)\n\0\
            DSorry, host b.test does not accept mail. (#5.1.10)\n\0";
        assert_eq!(report.out, want);
    }
}
