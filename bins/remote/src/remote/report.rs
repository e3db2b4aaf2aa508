//! The report: texts and records (smtp.md 9.3). The texts end up in the log and in bounces; other programs know them.

use smtp::client::{Dropped, Kind, Reply, Why};
use std::io::{self, Write};
use sys::fd::STDOUT;

/// Wrong arguments.
pub const USAGE: &[u8] = b"DI (qmail-remote) was invoked improperly. (#5.3.5)\n";
/// Home cannot be entered.
pub const NO_HOME: &[u8] = b"ZUnable to switch to home directory. (#4.3.0)\n";
/// A control file is unreadable or makes no sense.
pub const NO_CONTROLS: &[u8] = b"ZUnable to read control files. (#4.3.0)\n";
/// The system does not say which addresses are ours.
pub const NO_RESOURCES: &[u8] = b"ZSystem resources temporarily unavailable. (#4.3.0)\n";
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
/// The sender's address holds a line break.
pub const UNSENDABLE_SENDER: &[u8] = b"DSorry, SMTP cannot carry a sender address with a line break. (#5.1.7)\n";
/// A recipient's address does.
pub const UNSENDABLE_RECIPIENT: &[u8] = b"hSorry, SMTP cannot carry a recipient address with a line break. (#5.1.3)\n";

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
