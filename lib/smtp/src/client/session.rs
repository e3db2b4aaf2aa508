//! The dialogue with one server.

use super::body::Encoder;
use super::reply::{Kind, Replies, Reply};
use std::io::{self, Read, Write};
use std::time::Duration;

/// How much of the message is read and sent at a time, in bytes.
const BLOCK: usize = 1 << 16;
/// The most commands, and about the most bytes of them, that are sent before their replies are read. Both directions
/// must fit into the smallest buffers in use, or client and server wait for each other (RFC 2920 3.1).
const GROUP_COMMANDS: usize = 100;
const GROUP_BYTES: usize = 16384;

/// The connection broke or the time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The end of the message may have reached the server: it may deliver what is going to be sent again.
    pub critical: bool,
    /// Nothing came in time; else the server closed the connection.
    pub timeout: bool,
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// The server takes it.
    Accepted,
    /// The server does not.
    Refused(&'a Reply),
    /// It holds a line break and was not sent.
    Unsendable,
}

/// How the transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The sender was refused, before any recipient was reported.
    Sender(Reply),
    /// The sender holds a line break; nothing was sent.
    UnsendableSender,
    /// No recipient was accepted.
    NoRecipients,
    /// DATA was refused.
    Data(Reply),
    /// The message could not be read; its end was not sent.
    Unreadable,
    /// The last line of the message is not complete; its end was not sent.
    Partial,
    /// The whole message was sent: what the server says to it.
    Message(Reply),
}

/// A connection to a server.
pub struct Session<S> {
    stream: S,
    replies: Replies,
    pipelining: bool,
    quit_sent: bool,
}

impl<S: Read + Write> Session<S> {
    /// Starts on a connected stream that has its own time limits for each read and write; `limit` is for one reply.
    pub fn new(stream: S, limit: Duration) -> Session<S> {
        Session { stream, replies: Replies::new(limit), pipelining: false, quit_sent: false }
    }

    /// Waits for the greeting. Anything but 220 means that the server is not at our service.
    pub fn greeting(&mut self) -> Result<Reply, Dropped> {
        self.reply(false)
    }

    /// Says EHLO, and HELO if that is refused. Anything but 250 means that `name` was refused.
    pub fn hello(&mut self, name: &[u8]) -> Result<Reply, Dropped> {
        self.send(&[b"EHLO ", name, b"\r\n"].concat(), false)?;
        let reply = self.reply(false)?;
        if reply.code == 250 {
            self.pipelining = reply.offers(b"PIPELINING");
            return Ok(reply);
        }
        if reply.code == 421 {
            // The server is about to close the connection (RFC 5321 3.8): another try would only hide its reason.
            return Ok(reply);
        }
        self.send(&[b"HELO ", name, b"\r\n"].concat(), false)?;
        self.reply(false)
    }

    /// Sends one message from `sender` to `recipients`, both in wire form (quoted, without angle brackets). `report` is
    /// called once for each recipient, in order, unless the sender is refused or the connection breaks. `size` is
    /// about how long the message is, 0 if that is not known.
    pub fn transact(
        &mut self,
        sender: &[u8],
        recipients: &[Vec<u8>],
        message: &mut dyn Read,
        size: u64,
        report: &mut dyn FnMut(Recipient<'_>),
    ) -> Result<End, Dropped> {
        if has_line_break(sender) {
            return Ok(End::UnsendableSender);
        }
        let mail = [b"MAIL FROM:<", sender, b">\r\n"].concat();
        let data = if self.pipelining {
            match self.envelope_pipelined(mail, recipients, report)? {
                Ok(data) => data,
                Err(end) => return Ok(end),
            }
        } else {
            match self.envelope_in_turn(&mail, recipients, report)? {
                Ok(data) => data,
                Err(end) => return Ok(end),
            }
        };
        if !self.may_send(&data) {
            return Ok(End::Data(data));
        }
        self.body(message, size)
    }

    /// One command after the other; returns the reply to DATA.
    fn envelope_in_turn(
        &mut self,
        mail: &[u8],
        recipients: &[Vec<u8>],
        report: &mut dyn FnMut(Recipient<'_>),
    ) -> Result<Result<Reply, End>, Dropped> {
        self.send(mail, false)?;
        let reply = self.reply(false)?;
        if reply.kind() != Kind::Good {
            return Ok(Err(End::Sender(reply)));
        }
        let mut accepted = false;
        for recipient in recipients {
            if has_line_break(recipient) {
                report(Recipient::Unsendable);
                continue;
            }
            self.send(&rcpt(recipient), false)?;
            accepted |= self.recipient_reply(report)?;
        }
        if !accepted {
            return Ok(Err(End::NoRecipients));
        }
        self.send(b"DATA\r\n", false)?;
        Ok(Ok(self.reply(false)?))
    }

    /// MAIL, the recipients and DATA in groups that are each one write (RFC 2920); returns the reply to DATA.
    fn envelope_pipelined(
        &mut self,
        mail: Vec<u8>,
        recipients: &[Vec<u8>],
        report: &mut dyn FnMut(Recipient<'_>),
    ) -> Result<Result<Reply, End>, Dropped> {
        let mut group = mail;
        let mut mail_open = true;
        let mut accepted = false;
        let mut rest = recipients;
        loop {
            let mut count = 0;
            while let Some(recipient) = rest.get(count) {
                if count == GROUP_COMMANDS || group.len() > GROUP_BYTES {
                    break;
                }
                if !has_line_break(recipient) {
                    group.extend_from_slice(&rcpt(recipient));
                }
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            if later.is_empty() {
                group.extend_from_slice(b"DATA\r\n");
            }
            self.send(&group, false)?;
            group.clear();
            if mail_open {
                mail_open = false;
                let reply = self.reply(false)?;
                if reply.kind() != Kind::Good {
                    return Ok(Err(End::Sender(reply)));
                }
            }
            for recipient in now {
                if has_line_break(recipient) {
                    report(Recipient::Unsendable);
                } else {
                    accepted |= self.recipient_reply(report)?;
                }
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let data = self.reply(false)?;
        if !accepted {
            // If the server wants a message all the same, it gets none: the connection is closed before its end.
            return Ok(Err(End::NoRecipients));
        }
        Ok(Ok(data))
    }

    fn recipient_reply(&mut self, report: &mut dyn FnMut(Recipient<'_>)) -> Result<bool, Dropped> {
        let reply = self.reply(false)?;
        let good = reply.kind() == Kind::Good;
        report(if good { Recipient::Accepted } else { Recipient::Refused(&reply) });
        Ok(good)
    }

    /// Whether the reply to DATA asks for the message. Like qmail this takes any good code of a server that is asked
    /// one thing at a time; but one that has said more than it was asked is out of step, and must not get a message
    /// that it would read as commands (spec/reliability.md R7).
    fn may_send(&self, reply: &Reply) -> bool {
        reply.code == 354 || (reply.kind() == Kind::Good && !self.pipelining && !self.replies.has_more())
    }

    /// The message, block by block. With pipelining, QUIT goes along with its end (RFC 2920 3.1).
    fn body(&mut self, message: &mut dyn Read, size: u64) -> Result<End, Dropped> {
        // One byte more than needed, so that the first read takes all and the second finds the end.
        let block = usize::try_from(size.saturating_add(1)).map_or(BLOCK, |n| n.min(BLOCK));
        let block = if size == 0 { BLOCK } else { block };
        let mut input = vec![0; block];
        let mut out = Vec::with_capacity(block + block / 8 + 16);
        let mut encoder = Encoder::default();
        loop {
            let n = match message.read(&mut input) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Ok(End::Unreadable),
            };
            if n == 0 {
                break;
            }
            // What was encoded before goes out only now: the last block is sent together with the end.
            if !out.is_empty() {
                self.send(&out, false)?;
                out.clear();
            }
            encoder.feed(input.get(..n).unwrap_or_default(), &mut out);
        }
        if encoder.finish(&mut out).is_err() {
            return Ok(End::Partial);
        }
        if self.pipelining {
            out.extend_from_slice(b"QUIT\r\n");
            self.quit_sent = true;
        }
        self.send(&out, true)?;
        Ok(End::Message(self.reply(true)?))
    }

    /// Says goodbye without waiting for the answer. The server may be gone already: that is all the same.
    pub fn quit(&mut self) {
        if !self.quit_sent {
            let _ = self.send(b"QUIT\r\n", false);
        }
    }

    fn send(&mut self, bytes: &[u8], critical: bool) -> Result<(), Dropped> {
        self.stream.write_all(bytes).map_err(|e| dropped(&e, critical))
    }

    fn reply(&mut self, critical: bool) -> Result<Reply, Dropped> {
        self.replies.next(&mut self.stream).map_err(|e| dropped(&e, critical))
    }
}

fn dropped(e: &io::Error, critical: bool) -> Dropped {
    let timeout = matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
    Dropped { critical, timeout }
}

fn rcpt(recipient: &[u8]) -> Vec<u8> {
    [b"RCPT TO:<", recipient, b">\r\n"].concat()
}

/// An address with a line break would be a command of its own (spec/reliability.md S19).
fn has_line_break(address: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, address).is_some()
}
