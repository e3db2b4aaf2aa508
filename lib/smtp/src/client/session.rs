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

/// The conversation cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The end of the message may have reached the server: it may deliver what is going to be sent again.
    pub critical: bool,
    /// What happened.
    pub why: Why,
}

/// Why a conversation cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The connection is gone.
    Closed,
    /// Nothing came in time.
    Timeout,
    /// The server says more than it was asked, or a reply has no end: it cannot be told which reply belongs to what,
    /// and one may be taken for the acceptance of the message.
    OutOfStep,
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// The server takes it.
    Accepted,
    /// The server does not.
    Refused(&'a Reply),
    /// It was not sent.
    Unsendable(Unsendable),
}

/// Why an address can not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// It holds a line break, and would be a command of its own (spec/reliability.md S19).
    LineBreak,
    /// It is an international one, and the server does not know SMTPUTF8 (RFC 6531). Addresses with bytes that are not
    /// UTF-8 are sent as they always were.
    NotAscii,
}

/// How the transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The sender was refused, before any recipient was reported.
    Sender(Reply),
    /// The sender can not be sent; nothing was.
    UnsendableSender(Unsendable),
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

/// What the server says to the question whether it takes mail for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The null sender was refused.
    Sender(Reply),
    /// About the recipient itself.
    Recipient(Reply),
    /// The question can not be sent.
    Unsendable(Unsendable),
}

/// What goes into MAIL and RCPT; addresses in wire form (quoted, without angle brackets).
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The envelope sender.
    pub sender: &'a [u8],
    /// The envelope recipients.
    pub recipients: &'a [Vec<u8>],
    /// Whom the server knows us as, after [`Session::authenticate`].
    pub user: Option<&'a [u8]>,
    /// The message is one for SMTPUTF8 (RFC 6531), which is said if the server knows it.
    pub utf8: bool,
    /// About how long the message is, in bytes; 0 if that is not known.
    pub size: u64,
}

/// What the server offered in reply to EHLO, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Commands may be sent in groups (RFC 2920).
    pub pipelining: bool,
    /// MAIL may tell the size of the message (RFC 1870).
    pub size: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// The mechanisms of AUTH (RFC 4954), in the server's order.
    pub auth: Vec<Vec<u8>>,
}

impl Offers {
    fn of(reply: &Reply) -> Offers {
        Offers {
            pipelining: reply.offers(b"PIPELINING"),
            size: reply.offers(b"SIZE"),
            smtputf8: reply.offers(b"SMTPUTF8"),
            starttls: reply.offers(b"STARTTLS"),
            auth: reply.words(b"AUTH").flatten().map(<[u8]>::to_ascii_uppercase).collect(),
        }
    }
}

/// A connection to a server.
pub struct Session<S> {
    stream: S,
    pub(super) replies: Replies,
    offers: Offers,
    quit_sent: bool,
}

impl<S: Read + Write> Session<S> {
    /// Starts on a connected stream that has its own time limits for each read and write; `limit` is for one reply.
    pub fn new(stream: S, limit: Duration) -> Session<S> {
        Session { stream, replies: Replies::new(limit), offers: Offers::default(), quit_sent: false }
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
            self.offers = Offers::of(&reply);
            return Ok(reply);
        }
        self.offers = Offers::default();
        if matches!(reply.code, 0 | 421) {
            // A server that is about to close the connection (RFC 5321 3.8), or that makes no sense: another try would
            // only hide the reason.
            return Ok(reply);
        }
        self.send(&[b"HELO ", name, b"\r\n"].concat(), false)?;
        self.reply(false)
    }

    /// What the server offered when it was greeted last.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Says STARTTLS. After a 220 the handshake is next, on [`Session::into_stream`]; all that was said and offered before
    /// counts for nothing then. What the server says behind its 220 was put there by somebody else (CVE-2011-0411).
    pub fn starttls(&mut self) -> Result<Reply, Dropped> {
        let reply = self.command(b"STARTTLS\r\n")?;
        if reply.code == 220 && self.replies.has_more() {
            return Err(Dropped { critical: false, why: Why::OutOfStep });
        }
        Ok(reply)
    }

    /// The stream, to look at.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The bare stream.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Sends one message. `report` is called once for each recipient, in order, unless the sender is refused or the
    /// connection breaks.
    pub fn transact(
        &mut self,
        envelope: Envelope<'_>,
        message: &mut dyn Read,
        report: &mut dyn FnMut(Recipient<'_>),
    ) -> Result<End, Dropped> {
        let Envelope { sender, recipients, size, .. } = envelope;
        if let Some(why) = self.unsendable(sender) {
            return Ok(End::UnsendableSender(why));
        }
        let mail = self.mail(&envelope);
        let data = if self.offers.pipelining {
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

    /// MAIL with the parameters that the server knows.
    fn mail(&self, envelope: &Envelope<'_>) -> Vec<u8> {
        let mut line = [b"MAIL FROM:<", envelope.sender, b">"].concat();
        if self.offers.size && envelope.size > 0 {
            line.extend_from_slice(format!(" SIZE={}", envelope.size).as_bytes());
        }
        if let Some(user) = envelope.user.filter(|_| !self.offers.auth.is_empty()) {
            line.extend_from_slice(b" AUTH=");
            line.extend_from_slice(&xtext(user));
        }
        if self.offers.smtputf8 && envelope.utf8 {
            line.extend_from_slice(b" SMTPUTF8");
        }
        line.extend_from_slice(b"\r\n");
        line
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
            if let Some(why) = self.unsendable(recipient) {
                report(Recipient::Unsendable(why));
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
                if self.unsendable(recipient).is_none() {
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
                if let Some(why) = self.unsendable(recipient) {
                    report(Recipient::Unsendable(why));
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

    fn unsendable(&self, address: &[u8]) -> Option<Unsendable> {
        if memchr::memchr3(b'\r', b'\n', 0, address).is_some() {
            return Some(Unsendable::LineBreak);
        }
        let is_international = !address.is_ascii() && str::from_utf8(address).is_ok();
        (is_international && !self.offers.smtputf8).then_some(Unsendable::NotAscii)
    }

    fn recipient_reply(&mut self, report: &mut dyn FnMut(Recipient<'_>)) -> Result<bool, Dropped> {
        let reply = self.reply(false)?;
        let good = reply.kind() == Kind::Good;
        if reply.code == 0 {
            return Err(Dropped { critical: false, why: Why::OutOfStep });
        }
        report(if good { Recipient::Accepted } else { Recipient::Refused(&reply) });
        Ok(good)
    }

    /// Whether the reply to DATA asks for the message. Like qmail this takes any good code of a server that is asked
    /// one thing at a time. With pipelining a wrong code may well be a reply to something else (spec/reliability.md R7).
    fn may_send(&self, reply: &Reply) -> bool {
        reply.code == 354 || (reply.kind() == Kind::Good && !self.offers.pipelining)
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
        if self.offers.pipelining {
            out.extend_from_slice(b"QUIT\r\n");
            self.quit_sent = true;
        }
        self.send(&out, true)?;
        Ok(End::Message(self.reply(true)?))
    }

    /// Asks whether the server would take a message from nobody to `recipient`, in wire form. No message follows: say
    /// QUIT.
    pub fn ask(&mut self, recipient: &[u8]) -> Result<Asked, Dropped> {
        if let Some(why) = self.unsendable(recipient) {
            return Ok(Asked::Unsendable(why));
        }
        let recipients: [Vec<u8>; 0] = [];
        let utf8 = !recipient.is_ascii();
        let mail = self.mail(&Envelope { sender: b"", recipients: &recipients, user: None, utf8, size: 0 });
        let reply = self.command(&mail)?;
        if reply.kind() != Kind::Good {
            return Ok(Asked::Sender(reply));
        }
        Ok(Asked::Recipient(self.command(&rcpt(recipient))?))
    }

    /// Says goodbye without waiting for the answer. The server may be gone already: that is all the same.
    pub fn quit(&mut self) {
        if !self.quit_sent {
            let _ = self.stream.write_all(b"QUIT\r\n");
        }
    }

    /// Says something and waits for the answer.
    pub(super) fn command(&mut self, line: &[u8]) -> Result<Reply, Dropped> {
        self.send(line, false)?;
        self.reply(false)
    }

    fn send(&mut self, bytes: &[u8], critical: bool) -> Result<(), Dropped> {
        if self.replies.has_more() {
            return Err(Dropped { critical: false, why: Why::OutOfStep });
        }
        self.stream.write_all(bytes).map_err(|e| dropped(&e, critical))
    }

    fn reply(&mut self, critical: bool) -> Result<Reply, Dropped> {
        self.replies.next(&mut self.stream).map_err(|e| dropped(&e, critical))
    }
}

fn dropped(e: &io::Error, critical: bool) -> Dropped {
    let why = match e.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Why::Timeout,
        io::ErrorKind::InvalidData => Why::OutOfStep,
        _ => Why::Closed,
    };
    Dropped { critical, why }
}

fn rcpt(recipient: &[u8]) -> Vec<u8> {
    [b"RCPT TO:<", recipient, b">\r\n"].concat()
}

/// A word that may hold anything, for a place that takes only visible ASCII (RFC 3461 4).
fn xtext(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len() + 8);
    for &b in word {
        match b {
            b'+' | b'=' => out.extend_from_slice(format!("+{b:02X}").as_bytes()),
            b'!'..=b'~' => out.push(b),
            _ => out.extend_from_slice(format!("+{b:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A server that answers each write with the next piece of its script, and hangs up after the last one.
    struct Script {
        answers: VecDeque<&'static [u8]>,
        ready: VecDeque<u8>,
        heard: Vec<Vec<u8>>,
    }

    impl Read for &mut Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.ready.read(buf)
        }
    }

    impl Write for &mut Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.push(bytes.to_vec());
            self.ready.extend(self.answers.pop_front().unwrap_or_default());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Outcome = (Vec<String>, Result<End, Dropped>, Vec<String>);

    /// One message to `recipients`; the first answer is the greeting. Returns the reports, the end, and what was heard.
    fn send(answers: &[&'static [u8]], recipients: &[&str], message: &[u8]) -> Outcome {
        let (greeting, rest) = answers.split_first().unwrap();
        let mut script = Script {
            answers: rest.iter().copied().collect(),
            ready: greeting.iter().copied().collect(),
            heard: Vec::new(),
        };
        let mut reports = Vec::new();
        let recipients: Vec<Vec<u8>> = recipients.iter().map(|r| r.as_bytes().to_vec()).collect();
        let mut session = Session::new(&mut script, Duration::from_secs(9));
        let mut talk = || {
            assert_eq!(session.greeting()?.code, 220);
            assert_eq!(session.hello(b"me")?.code, 250);
            session.transact(envelope(&recipients, message.len()), &mut &message[..], &mut |r| {
                reports.push(match r {
                    Recipient::Accepted => "ok".to_string(),
                    Recipient::Refused(reply) => reply.code.to_string(),
                    Recipient::Unsendable(why) => format!("{why:?}"),
                })
            })
        };
        let end = talk();
        if end.is_ok() {
            session.quit();
        }
        let heard = script.heard.iter().map(|h| String::from_utf8(h.clone()).unwrap()).collect();
        (reports, end, heard)
    }

    fn envelope(recipients: &[Vec<u8>], size: usize) -> Envelope<'_> {
        Envelope { sender: b"s@a", recipients, user: None, utf8: false, size: size as u64 }
    }

    fn code(end: &Result<End, Dropped>) -> u16 {
        match end {
            Ok(End::Sender(r) | End::Data(r) | End::Message(r)) => r.code,
            _ => 0,
        }
    }

    const HI: &[u8] = b"220 x\r\n";
    const NAME: &[u8] = b"250 x\r\n";
    const PIPE: &[u8] = b"250-x\r\n250 PIPELINING\r\n";
    const OK: &[u8] = b"250 ok\r\n";
    const GO: &[u8] = b"354 go\r\n";

    #[test]
    fn ehlo_is_tried_before_helo() {
        let no = b"502 what\r\n";
        let (_, end, heard) = send(&[HI, no, NAME, OK, OK, GO, OK], &["r@b"], b"x\n");
        assert_eq!(code(&end), 250);
        let want = [
            "EHLO me\r\n",
            "HELO me\r\n",
            "MAIL FROM:<s@a>\r\n",
            "RCPT TO:<r@b>\r\n",
            "DATA\r\n",
            "x\r\n.\r\n",
            "QUIT\r\n",
        ];
        assert_eq!(heard, want);
    }

    #[test]
    fn pipelining_sends_the_envelope_in_one_write() {
        let all = b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n";
        let (reports, end, heard) = send(&[HI, PIPE, all, OK], &["r@b", "bad@b"], b"x\n");
        assert_eq!((code(&end), reports), (250, vec!["ok".to_string(), "550".to_string()]));
        let envelope = "MAIL FROM:<s@a>\r\nRCPT TO:<r@b>\r\nRCPT TO:<bad@b>\r\nDATA\r\n";
        assert_eq!(heard, ["EHLO me\r\n", envelope, "x\r\n.\r\nQUIT\r\n"]);
    }

    #[test]
    fn many_recipients_are_pipelined_in_groups() {
        let names: Vec<String> = (0..250).map(|n| format!("r{n}@b")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ok = |n| -> &'static [u8] { OK.repeat(n).leak() };
        let last: &'static [u8] = [ok(50), GO].concat().leak();
        let (reports, end, heard) = send(&[HI, PIPE, ok(101), ok(100), last, OK], &names, b"x\n");
        assert_eq!((code(&end), reports.len(), heard.len()), (250, 250, 5));
        assert!(heard[3].ends_with("RCPT TO:<r249@b>\r\nDATA\r\n"));
    }

    #[test]
    fn r11_each_recipient_has_its_own_report() {
        let (no, later): (&[u8], &[u8]) = (b"550 no\r\n", b"451 later\r\n");
        for pipelining in [false, true] {
            let answers: Vec<&'static [u8]> = if pipelining {
                vec![HI, PIPE, b"250 ok\r\n550 no\r\n451 later\r\n250 ok\r\n354 go\r\n", OK]
            } else {
                vec![HI, NAME, OK, no, later, OK, GO, OK]
            };
            let (reports, end, _) = send(&answers, &["a@b", "b@b", "c@b"], b"x\n");
            assert_eq!(reports, ["550", "451", "ok"]);
            assert_eq!(code(&end), 250);
        }
    }

    #[test]
    fn without_a_recipient_no_message_is_sent() {
        let no = b"550 no\r\n";
        let (reports, end, heard) = send(&[HI, NAME, OK, no], &["a@b"], b"x\n");
        assert_eq!((reports.len(), end), (1, Ok(End::NoRecipients)));
        assert_eq!(heard.last().unwrap(), "QUIT\r\n");
        // A server that says 354 all the same hears no end of a message.
        let (_, end, heard) = send(&[HI, PIPE, b"250 ok\r\n550 no\r\n354 go\r\n"], &["a@b"], b"x\n");
        assert_eq!(end, Ok(End::NoRecipients));
        assert!(!heard.concat().contains("\r\n.\r\n"));
    }

    #[test]
    fn r7_refusals_and_odd_codes_at_each_step() {
        let (no, odd): (&[u8], &[u8]) = (b"550 no\r\n", b"150 odd\r\n");
        let (reports, end, _) = send(&[HI, NAME, no], &["a@b"], b"x\n");
        assert!(reports.is_empty() && matches!(end, Ok(End::Sender(r)) if r.kind() == Kind::Permanent));
        let (_, end, _) = send(&[HI, PIPE, b"452 full\r\n503 MAIL first\r\n503 RCPT first\r\n"], &["a@b"], b"x\n");
        assert!(matches!(end, Ok(End::Sender(r)) if r.kind() == Kind::Temporary));
        // An unexpected success is a success at MAIL, RCPT and, as in qmail, even at DATA.
        let (reports, end, _) = send(&[HI, NAME, b"300 x\r\n", GO, OK, OK], &["a@b"], b"x\n");
        assert_eq!((reports, code(&end)), (vec!["ok".to_string()], 250));
        let (_, end, _) = send(&[HI, NAME, OK, OK, odd], &["a@b"], b"x\n");
        assert!(matches!(end, Ok(End::Data(r)) if r.kind() == Kind::Temporary));
        for data in [no, odd] {
            let (_, end, _) = send(&[HI, NAME, OK, OK, GO, data], &["a@b"], b"x\n");
            assert!(matches!(end, Ok(End::Message(r)) if r.kind() != Kind::Good));
        }
    }

    #[test]
    fn r7_a_server_out_of_step_gets_no_message() {
        // One reply too many, anywhere: which of them belongs to DATA?
        let two = b"250 ok\r\n250 ok\r\n";
        let out_of_step = Err(Dropped { critical: false, why: Why::OutOfStep });
        for at in 1..6 {
            let mut answers = vec![HI, NAME, OK, OK, GO, OK];
            answers[at] = two;
            let (_, end, heard) = send(&answers, &["a@b"], b"x\n");
            assert_eq!(end.is_ok(), at == 5, "{at}");
            assert!(at == 5 || end == out_of_step);
            assert_eq!(heard.concat().contains("\r\n.\r\n"), at == 5);
        }
        // A reply that is none, in the middle: what follows may be off by one.
        let (reports, end, _) = send(&[HI, NAME, OK, b"what?\r\n", OK, GO, OK], &["a@b", "c@b"], b"x\n");
        assert_eq!((reports.len(), end), (0, out_of_step.clone()));
        // R8: a list of keywords without end.
        let endless: &'static [u8] = b"250-X\r\n".repeat(200_000).leak();
        assert_eq!(send(&[HI, endless, NAME], &["a@b"], b"x\n").1, out_of_step);
        // With pipelining a reply other than 354 is never taken for one.
        let (_, end, _) = send(&[HI, PIPE, b"250 ok\r\n250 ok\r\n250 ok\r\n", OK], &["a@b"], b"x\n");
        assert!(matches!(end, Ok(End::Data(_))));
    }

    #[test]
    fn r2_a_partial_message_gets_no_end() {
        let (reports, end, heard) = send(&[HI, NAME, OK, OK, GO, OK], &["a@b"], b"x\ny");
        assert_eq!((reports.len(), end), (1, Ok(End::Partial)));
        assert!(!heard.concat().contains("\r\n.\r\n"));
    }

    #[test]
    fn r6_only_what_comes_after_the_end_is_critical() {
        let answers: &[&'static [u8]] = &[HI, NAME, OK, OK, GO];
        for n in 2..=answers.len() {
            let (_, end, _) = send(&answers[..n], &["a@b"], b"x\n");
            let critical = n == answers.len();
            assert_eq!(end, Err(Dropped { critical, why: Why::Closed }), "after {n} answers");
        }
    }

    #[test]
    fn s19_an_address_with_a_line_break_is_never_sent() {
        for pipelining in [false, true] {
            let answers: Vec<&'static [u8]> = if pipelining {
                vec![HI, PIPE, b"250 ok\r\n250 ok\r\n354 go\r\n", OK]
            } else {
                vec![HI, NAME, OK, OK, GO, OK]
            };
            let (reports, end, heard) = send(&answers, &["x>\r\nDATA@b", "a@b"], b"x\n");
            assert_eq!(reports, ["LineBreak", "ok"]);
            assert_eq!(code(&end), 250);
            assert!(!heard.concat().contains("x>"));
        }
        let mut script = Script { answers: VecDeque::new(), ready: VecDeque::new(), heard: Vec::new() };
        let mut session = Session::new(&mut script, Duration::from_secs(9));
        let recipients = [b"a@b".to_vec()];
        let bad = Envelope { sender: b"s\n@a", ..envelope(&recipients, 0) };
        let end = session.transact(bad, &mut io::empty(), &mut |_| {});
        assert_eq!(end, Ok(End::UnsendableSender(Unsendable::LineBreak)));
        assert!(script.heard.is_empty());
    }

    #[test]
    fn s21_international_addresses_need_a_server_for_them() {
        let (reports, end, heard) = send(&[HI, NAME, OK, OK, GO, OK], &["r\u{e9}@b", "a@b"], b"x\n");
        assert_eq!((reports, code(&end)), (vec!["NotAscii".to_string(), "ok".to_string()], 250));
        assert!(heard.concat().is_ascii());
        let knows = b"250-x\r\n250 SMTPUTF8\r\n";
        let (reports, _, heard) = send(&[HI, knows, OK, OK, GO, OK], &["r\u{e9}@b"], b"x\n");
        assert_eq!((reports, heard[2].as_str()), (vec!["ok".to_string()], "RCPT TO:<r\u{e9}@b>\r\n"));
    }

    /// What MAIL is like after this reply to EHLO.
    fn mail(hello: &'static [u8], user: Option<&[u8]>, utf8: bool, size: u64) -> String {
        let mut script = Script { answers: [hello].into(), ready: VecDeque::new(), heard: Vec::new() };
        let mut session = Session::new(&mut script, Duration::from_secs(9));
        session.hello(b"me").unwrap();
        let line = session.mail(&Envelope { sender: b"s@a", recipients: &[], user, utf8, size });
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn mail_has_the_parameters_that_the_server_knows() {
        let all = b"250-x\r\n250-SIZE 9\r\n250-AUTH PLAIN\r\n250 SMTPUTF8\r\n";
        let user = Some(&b"j=o+e\x01@a"[..]);
        assert_eq!(mail(all, user, true, 5), "MAIL FROM:<s@a> SIZE=5 AUTH=j+3Do+2Be+01@a SMTPUTF8\r\n");
        assert_eq!(mail(all, None, false, 0), "MAIL FROM:<s@a>\r\n");
        assert_eq!(mail(NAME, user, true, 5), "MAIL FROM:<s@a>\r\n");
        assert_eq!(mail(b"250-x\r\n250 SIZE\r\n", user, true, 5), "MAIL FROM:<s@a> SIZE=5\r\n");
    }

    #[test]
    fn r9_what_comes_behind_the_220_of_starttls_is_no_reply() {
        let offer: &[u8] = b"250-x\r\n250 STARTTLS\r\n";
        let start = |answer: &'static [u8]| {
            let mut script = Script { answers: [offer, answer].into(), ready: VecDeque::new(), heard: Vec::new() };
            let mut session = Session::new(&mut script, Duration::from_secs(9));
            session.hello(b"me").unwrap();
            assert!(session.offers().starttls);
            session.starttls().map(|r| r.code)
        };
        assert_eq!(start(b"220 go\r\n"), Ok(220));
        assert_eq!(start(b"454 no\r\n"), Ok(454));
        let out_of_step = Err(Dropped { critical: false, why: Why::OutOfStep });
        assert_eq!(start(b"220 go\r\n250 ok\r\n"), out_of_step);
        assert_eq!(start(b"220 go\r\n\x16\x03\x03"), out_of_step);
    }

    #[test]
    fn r8_keywords_that_make_no_sense_are_ignored() {
        let odd = b"250-x\r\n250-SIZE abc\r\n250-AUTH\r\n250-AUTH FOO BAR\r\n250- \r\n250-STARTTLSX\r\n250 \xff\r\n";
        let mut script = Script { answers: [&odd[..]].into(), ready: VecDeque::new(), heard: Vec::new() };
        let mut session = Session::new(&mut script, Duration::from_secs(9));
        assert_eq!(session.hello(b"me").unwrap().code, 250);
        let auth = vec![b"FOO".to_vec(), b"BAR".to_vec()];
        assert_eq!(*session.offers(), Offers { size: true, auth, ..Offers::default() });
    }

    #[test]
    fn a_long_message_goes_out_block_by_block() {
        let message = b"0123456789abcde\n".repeat(20_000);
        let (_, end, heard) = send(&[HI, NAME, OK, OK, GO, b"", b"", b"", b"", OK], &["a@b"], &message);
        assert_eq!(code(&end), 250);
        let blocks = &heard[4..heard.len() - 1];
        assert_eq!(blocks.len(), 5);
        assert!(blocks.iter().all(|b| b.len() <= 80_000));
        assert_eq!(blocks.concat().len(), 20_000 * 17 + 3);
    }

    #[test]
    fn r6_a_reply_that_drips_ends_when_its_time_is_up() {
        struct Drip;
        impl Read for Drip {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                buf[0] = b'2';
                Ok(1)
            }
        }
        let got = Replies::new(Duration::ZERO).next(&mut Drip);
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
