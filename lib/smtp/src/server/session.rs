//! The dialogue: commands, replies, transactions (RFC 5321 as the classic speaks it).

use super::address::{self, Size};
use super::command::{self, Verb};
use super::data::{Decoder, Hops, Progress};
use super::input::{Input, Line, Source};
use super::received::Trace;
use super::rules::{Rules, Trouble};
use queue::{Submission, Verdict};
use std::convert::Infallible;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// A message that has been through so many hosts and mailboxes is looping.
const HOPS_MAX: u32 = 100;
/// So many lines that make no sense are answered in a session (reliability.md S12).
const ERRORS_MAX: u32 = 100;
/// Sender and recipients of one transaction, in bytes (reliability.md S11).
const ENVELOPE_MAX: usize = 1 << 20;
/// Replies wait until the client has nothing more to say, but no more bytes of them than this.
const REPLIES_MAX: usize = 8192;

/// The longest time limit there is: 68 years, what the classic's number can hold.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(i32::MAX as u64);

/// Where messages go to.
pub trait Queue {
    /// One message on its way.
    type Mail: Mail;
    /// Begins a message.
    fn open(&mut self) -> io::Result<Self::Mail>;
}

/// A message that is being handed to the queue. If it is dropped before [`Mail::close`] nothing is queued.
pub trait Mail {
    /// The number that stands for the message in the reply.
    fn qp(&self) -> i32;
    /// Adds to the message.
    fn put(&mut self, bytes: &[u8]);
    /// Gives the message up: it will not be queued.
    fn fail(&mut self);
    /// Adds the envelope; `recipients` are ended by a NUL each. What became of it.
    fn close(self, sender: &[u8], recipients: &[u8]) -> Verdict;
}

impl Mail for Submission {
    fn qp(&self) -> i32 {
        Submission::qp(self)
    }

    fn put(&mut self, bytes: &[u8]) {
        Submission::put(self, bytes);
    }

    fn fail(&mut self) {
        Submission::fail(self);
    }

    fn close(mut self, sender: &[u8], recipients: &[u8]) -> Verdict {
        self.sender(sender);
        for recipient in recipients.split_inclusive(|&b| b == 0) {
            self.recipient(recipient.strip_suffix(b"\0").unwrap_or(recipient));
        }
        self.finish()
    }
}

/// What is settled before the client says a word.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stands behind the code in the greeting and the replies to HELO, EHLO and QUIT.
    pub greeting: Vec<u8>,
    /// How long a command line, one read of a message and one write may take; at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
    /// The largest message taken, in bytes; 0 is no limit.
    pub databytes: u64,
    /// Set for a client that may send to anybody: this is appended to every recipient.
    pub relayclient: Option<Vec<u8>>,
    /// The client's address.
    pub remote_ip: Vec<u8>,
    /// The client's name in the DNS.
    pub remote_host: Vec<u8>,
    /// The client's user, if known.
    pub remote_info: Option<Vec<u8>>,
    /// The name or address of this host that the client has connected to.
    pub local: Vec<u8>,
}

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// The client said QUIT.
    Quit,
    /// The client is gone.
    Lost,
    /// The client was silent for too long.
    Timeout,
    /// The client sent a bare line feed in a message.
    BareLineFeed,
    /// The client does not know what it is doing.
    TooManyErrors,
    /// This host is not able to go on.
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        End::Trouble(trouble)
    }
}

impl End {
    /// The reply that ends the session, line end included; QUIT has had its own, a lost client needs none.
    fn last_words(&self) -> &'static [u8] {
        match self {
            End::Quit | End::Lost => b"",
            End::Timeout => b"451 timeout (#4.4.2)\r\n",
            End::BareLineFeed => b"451 See https://cr.yp.to/docs/smtplf.html.\r\n",
            End::TooManyErrors => b"421 too many errors (#4.7.0)\r\n",
            End::Trouble(trouble) => trouble.last_words(),
        }
    }
}

impl Trouble {
    /// The reply that ends the session, or stands in place of the greeting; line end included.
    pub fn last_words(&self) -> &'static [u8] {
        match self {
            Trouble::Controls(_) => b"421 unable to read controls (#4.3.0)\r\n",
            Trouble::Addresses(_) => b"421 unable to figure out my IP addresses (#4.3.0)\r\n",
            Trouble::Memory => b"421 out of memory (#4.3.0)\r\n",
        }
    }
}

/// What MAIL and RCPT have said so far.
struct Transaction {
    sender: Vec<u8>,
    bad_sender: bool,
    too_big: bool,
    /// Ended by a NUL each.
    recipients: Vec<u8>,
}

/// A session with one client.
pub struct Session<S, W, Q> {
    settings: Settings,
    rules: Rules,
    queue: Q,
    input: Input<S>,
    output: W,
    /// Replies not sent yet.
    replies: Vec<u8>,
    /// The name the client gave, if it is not the one it has in the DNS.
    helo: Option<Vec<u8>>,
    transaction: Option<Transaction>,
    errors: u32,
}

impl<S: Source, W: Write, Q: Queue> Session<S, W, Q> {
    /// A session that reads from `source` and writes to `output`. Nothing is sent yet.
    pub fn new(mut settings: Settings, rules: Rules, queue: Q, source: S, output: W) -> Session<S, W, Q> {
        settings.timeout = settings.timeout.min(TIMEOUT_MAX);
        let (replies, input) = (Vec::with_capacity(512), Input::new(source));
        Session { settings, rules, queue, input, output, replies, helo: None, transaction: None, errors: 0 }
    }

    /// Greets the client and serves it to the end.
    pub fn run(mut self) -> End {
        self.reply(&[b"220 ", &self.settings.greeting.clone(), b" ESMTP"]);
        let Err(end) = self.serve();
        self.replies.extend_from_slice(end.last_words());
        // The session is over whether or not the client hears of it.
        let _ = self.flush();
        end
    }

    fn serve(&mut self) -> Result<Infallible, End> {
        let mut line = Vec::with_capacity(512);
        loop {
            match self.read_line(&mut line)? {
                Line::Whole => self.obey(&line)?,
                _ => self.error(b"500 line too long (#5.5.2)")?,
            }
        }
    }

    /// Waits for a command line. All of it must come within the time limit, not each of its bytes.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<Line, End> {
        let mut deadline = None;
        loop {
            match self.input.line(line) {
                Line::Incomplete => {}
                complete => return Ok(complete),
            }
            let now = self.input.source.now();
            let end: Instant = *deadline.get_or_insert(now + self.settings.timeout);
            self.fill(end.saturating_duration_since(now))?;
        }
    }

    /// Waits for the client; whatever it has to know must be sent first.
    fn fill(&mut self, limit: Duration) -> Result<(), End> {
        self.flush()?;
        match self.input.fill(limit) {
            Ok(0) => Err(End::Lost),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::TimedOut => Err(End::Timeout),
            Err(_) => Err(End::Lost),
        }
    }

    fn flush(&mut self) -> Result<(), End> {
        if !self.replies.is_empty() {
            let sent = self.output.write_all(&self.replies).and_then(|()| self.output.flush());
            self.replies.clear();
            sent.map_err(|_| End::Lost)?;
        }
        Ok(())
    }

    fn reply(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.replies.extend_from_slice(part);
        }
        self.replies.extend_from_slice(b"\r\n");
    }

    /// Answers a line that makes no sense. Too many of them end the session; what the rules refuse does not count, nor
    /// does a DATA that came with refused recipients in one go.
    fn error(&mut self, text: &[u8]) -> Result<(), End> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Err(End::TooManyErrors);
        }
        self.reply(&[text]);
        Ok(())
    }

    fn obey(&mut self, line: &[u8]) -> Result<(), End> {
        let (verb, argument) = command::split(line);
        if line.contains(&0) {
            // The classic would not look behind the NUL; what it does not see, the next host may.
            let address = matches!(verb, Verb::Mail | Verb::Rcpt);
            self.error(if address { b"555 syntax error (#5.5.4)" } else { b"500 syntax error (#5.5.2)" })?;
        } else {
            match verb {
                Verb::Helo => self.helo(argument),
                Verb::Ehlo => self.ehlo(argument),
                Verb::Mail => self.mail(argument)?,
                Verb::Rcpt => self.rcpt(argument)?,
                Verb::Data => self.data()?,
                Verb::Rset => {
                    self.transaction = None;
                    self.reply(&[b"250 flushed"]);
                }
                Verb::Noop => self.reply(&[b"250 ok"]),
                Verb::Help => self.reply(&[b"214 see the manual page qmail-smtpd(8) of Quoll"]),
                Verb::Vrfy => self.reply(&[b"252 send some mail, i'll try my best"]),
                Verb::Quit => {
                    self.reply(&[b"221 ", &self.settings.greeting.clone()]);
                    return Err(End::Quit);
                }
                Verb::Unknown => self.error(b"502 unimplemented (#5.5.1)")?,
            }
        }
        if self.replies.len() > REPLIES_MAX { self.flush() } else { Ok(()) }
    }

    fn helo(&mut self, name: &[u8]) {
        self.reply(&[b"250 ", &self.settings.greeting.clone()]);
        self.hello(name);
    }

    fn ehlo(&mut self, name: &[u8]) {
        self.reply(&[b"250-", &self.settings.greeting.clone()]);
        self.reply(&[b"250-PIPELINING"]);
        self.reply(&[b"250 8BITMIME"]);
        self.hello(name);
    }

    fn hello(&mut self, name: &[u8]) {
        self.transaction = None;
        let known = name.eq_ignore_ascii_case(&self.settings.remote_host);
        self.helo = (!known).then(|| name.to_vec());
    }

    /// The address as it goes into the envelope; `None`: it is too long.
    fn address(&mut self, mut address: Vec<u8>) -> Result<Option<Vec<u8>>, End> {
        self.rules.name_own_literal(&mut address)?;
        Ok((address.len() <= address::ADDRESS_MAX).then_some(address))
    }

    fn mail(&mut self, argument: &[u8]) -> Result<(), End> {
        let (sender, parameters) = address::parse(argument);
        let Some(sender) = self.address(sender)? else {
            return self.error(b"555 syntax error (#5.5.4)");
        };
        let limit = self.settings.databytes;
        let too_big = match address::declared_size(parameters) {
            Size::Unknown => false,
            Size::Bytes(n) => limit != 0 && n > limit,
            Size::Huge => true,
            Size::Malformed => return self.error(b"501 malformed SIZE parameter (#5.5.4)"),
        };
        let bad_sender = self.rules.is_bad_sender(&sender);
        self.transaction = Some(Transaction { sender, bad_sender, too_big, recipients: Vec::new() });
        self.reply(&[b"250 ok"]);
        Ok(())
    }

    fn rcpt(&mut self, argument: &[u8]) -> Result<(), End> {
        if self.transaction.is_none() {
            return self.error(b"503 MAIL first (#5.5.1)");
        }
        let (recipient, _) = address::parse(argument);
        let Some(mut recipient) = self.address(recipient)? else {
            return self.error(b"555 syntax error (#5.5.4)");
        };
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let answer: &[u8] = if transaction.bad_sender {
            b"553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)"
        } else if !self.rules.may_send_to(&recipient)? {
            b"553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"
        } else if transaction.too_big {
            TOO_BIG
        } else {
            if let Some(suffix) = &self.settings.relayclient {
                recipient.extend_from_slice(suffix);
            }
            recipient.push(0);
            let size = transaction.sender.len() + transaction.recipients.len() + recipient.len();
            if size > ENVELOPE_MAX {
                b"452 sorry, too many recipients (#4.5.3)"
            } else {
                transaction.recipients.try_reserve(recipient.len()).map_err(|_| Trouble::Memory)?;
                transaction.recipients.extend_from_slice(&recipient);
                b"250 ok"
            }
        };
        self.reply(&[answer]);
        Ok(())
    }

    fn data(&mut self) -> Result<(), End> {
        let Some(transaction) = self.transaction.take() else {
            return self.error(b"503 MAIL first (#5.5.1)");
        };
        if transaction.recipients.is_empty() {
            self.transaction = Some(transaction);
            self.reply(&[b"503 RCPT first (#5.5.1)"]);
            return Ok(());
        }
        let Ok(mut mail) = self.queue.open() else {
            self.reply(&[b"451 qqt failure (#4.3.0)"]);
            return Ok(());
        };
        self.reply(&[b"354 go ahead"]);
        let trace = Trace {
            remote_host: &self.settings.remote_host,
            helo: self.helo.as_deref(),
            remote_info: self.settings.remote_info.as_deref(),
            remote_ip: &self.settings.remote_ip,
            local: &self.settings.local,
            protocol: b"SMTP",
        };
        mail.put(&trace.field(sys::time::now()));
        let body = self.body(&mut mail)?;
        let qp = mail.qp();
        let limit = self.settings.databytes;
        match mail.close(&transaction.sender, &transaction.recipients) {
            Verdict::Queued => {
                let reply = format!("250 ok {} qp {qp}", sys::time::now());
                self.reply(&[reply.as_bytes()]);
            }
            _ if body.hops >= HOPS_MAX => self.reply(&[b"554 too many hops, this message is looping (#5.4.6)"]),
            _ if limit != 0 && body.bytes > limit => self.reply(&[TOO_BIG]),
            Verdict::Refused(text) => self.refuse(&text),
        }
        Ok(())
    }

    /// Hands the message on as it comes in, to its end, whatever is wrong with it.
    fn body<M: Mail>(&mut self, mail: &mut M) -> Result<Body, End> {
        let limit = self.settings.databytes;
        let (mut decoder, mut hops, mut bytes) = (Decoder::default(), Hops::default(), 0u64);
        loop {
            let progress = decoder.decode(self.input.unused(), |piece| {
                bytes = bytes.saturating_add(piece.len() as u64);
                hops.watch(piece);
                if limit != 0 && bytes > limit {
                    mail.fail();
                }
                mail.put(piece);
            });
            match progress {
                Err(_) => return Err(End::BareLineFeed),
                Ok(Progress::More) => {
                    self.input.consume(usize::MAX);
                    self.fill(self.settings.timeout)?;
                }
                Ok(Progress::End(used)) => {
                    self.input.consume(used);
                    if hops.count() >= HOPS_MAX {
                        mail.fail();
                    }
                    return Ok(Body { bytes, hops: hops.count() });
                }
            }
        }
    }

    /// Passes the queue program's refusal on: `D` and a text, or `Z` and a text. The text may be a foreign program's.
    fn refuse(&mut self, text: &[u8]) {
        let (letter, text) = text.split_first().unwrap_or((&b'Z', b""));
        let code: &[u8] = if *letter == b'D' { b"554 " } else { b"451 " };
        let text: Vec<u8> = text.iter().map(|&b| if b.is_ascii_control() { b'?' } else { b }).collect();
        self.reply(&[code, &text]);
    }
}

const TOO_BIG: &[u8] = b"552 sorry, that message size exceeds my databytes limit (#5.3.4)";

/// What a message turned out to be.
struct Body {
    bytes: u64,
    hops: u32,
}
