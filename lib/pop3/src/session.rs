//! The transaction and the update state: a client and its maildrop.

use crate::command::Command;
use crate::line::{Line, Lines};
use crate::output::Output;
use crate::stuffing::Stuffing;
use std::io::{self, Read, Write};

/// How much of a message is in memory (bytes).
const PIECE: usize = 65536;
/// What there is after login (RFC 2449 5); of it USER no longer means anything.
const CAPABILITIES: &[u8] = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n";
/// The longest unique id (RFC 1939 7, bytes).
const UID_MAX: usize = 70;

/// The messages of one client, numbered from 0. Their number stays the same through a session.
pub trait Maildrop {
    /// An open message.
    type Message: Read;
    /// How many there are.
    fn count(&self) -> usize;
    /// The size of a message in bytes; it may be out of date.
    fn size(&self, n: usize) -> u64;
    /// What tells a message from all others, in this session and all later ones.
    fn id(&self, n: usize) -> &[u8];
    /// Opens a message. It may be gone.
    fn open(&mut self, n: usize) -> io::Result<Self::Message>;
    /// Removes a message for good.
    fn remove(&mut self, n: usize) -> io::Result<()>;
    /// The client has heard of this message and leaves it where it is.
    fn keep(&mut self, n: usize);
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// The client said QUIT: what it deleted is gone.
    Quit,
    /// The client is gone without QUIT: the maildrop is as it was.
    Gone,
    /// Reading or writing failed: the maildrop is as it was, or if it was the last answer, as after QUIT.
    Trouble(io::Error),
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Syntax,
    Unknown,
    Zero,
    TooBig,
    Deleted,
    NotOpened,
    NotRemoved,
}

impl Refusal {
    fn text(self) -> &'static [u8] {
        match self {
            Refusal::Syntax => crate::SYNTAX,
            Refusal::Unknown => b"-ERR unimplemented\r\n",
            Refusal::Zero => b"-ERR messages are counted from 1\r\n",
            Refusal::TooBig => b"-ERR not that many messages\r\n",
            Refusal::Deleted => b"-ERR already deleted\r\n",
            Refusal::NotOpened => b"-ERR unable to open that message\r\n",
            Refusal::NotRemoved => b"-ERR unable to unlink all deleted messages\r\n",
        }
    }
}

/// A session after login.
pub struct Session<D, R, W> {
    maildrop: D,
    /// For each message, whether it goes at QUIT.
    deleted: Vec<bool>,
    /// The highest number that was deleted since the session began or RSET; for LAST, of RFC 1460.
    last: usize,
    lines: Lines<R>,
    output: Output<W>,
}

impl<D: Maildrop, R: Read, W: Write> Session<D, R, W> {
    /// A session about `maildrop`.
    pub fn new(maildrop: D, source: R, sink: W) -> Session<D, R, W> {
        let deleted = vec![false; maildrop.count()];
        Session { maildrop, deleted, last: 0, lines: Lines::new(source), output: Output::new(sink) }
    }

    /// Greets the client and does what it says until it has said QUIT or is gone.
    pub fn run(mut self) -> End {
        self.converse().unwrap_or_else(End::Trouble)
    }

    fn converse(&mut self) -> io::Result<End> {
        self.output.put(crate::OK)?;
        loop {
            if !self.lines.is_ready() {
                self.output.flush()?;
            }
            let command = match self.lines.next()? {
                None => return Ok(End::Gone),
                Some(Line::Bad) => Command::Nonsense,
                Some(Line::Good(line)) => Command::parse(line),
            };
            if command == Command::Quit {
                self.quit()?;
                return Ok(End::Quit);
            }
            if let Some(refusal) = self.obey(command)? {
                self.output.put(refusal.text())?;
            }
        }
    }

    /// Answers one command, unless it is to be refused.
    fn obey(&mut self, command: Command) -> io::Result<Option<Refusal>> {
        match command {
            Command::Stat => self.stat()?,
            Command::List(which) => return self.list(which, Self::put_size),
            Command::Uidl(which) => return self.list(which, Self::put_uid),
            Command::Dele(number) => match self.index(number) {
                Err(refusal) => return Ok(Some(refusal)),
                Ok(n) => {
                    if let Some(flag) = self.deleted.get_mut(n) {
                        *flag = true;
                    }
                    self.last = self.last.max(n + 1);
                    self.output.put(crate::OK)?;
                }
            },
            Command::Retr(number, body_lines) => return self.retrieve(number, body_lines),
            Command::Rset => {
                self.deleted.fill(false);
                self.last = 0;
                self.output.put(crate::OK)?;
            }
            Command::Last => {
                self.output.put(b"+OK ")?;
                self.put_count(self.last)?;
                self.output.put(b"\r\n")?;
            }
            Command::Noop => self.output.put(crate::OK)?,
            Command::Capa => self.output.put(CAPABILITIES)?,
            Command::Nonsense => return Ok(Some(Refusal::Syntax)),
            Command::Quit | Command::Unknown => return Ok(Some(Refusal::Unknown)),
        }
        Ok(None)
    }

    /// The message with this number, counted from 1.
    fn index(&self, number: u64) -> Result<usize, Refusal> {
        let n = number.checked_sub(1).ok_or(Refusal::Zero)?;
        let n = usize::try_from(n).map_err(|_| Refusal::TooBig)?;
        match self.deleted.get(n) {
            None => Err(Refusal::TooBig),
            Some(true) => Err(Refusal::Deleted),
            Some(false) => Ok(n),
        }
    }

    /// The number is that of all messages, as in every qmail; the size is that of those not deleted.
    fn stat(&mut self) -> io::Result<()> {
        let left = self.deleted.iter().enumerate().filter(|(_, deleted)| !**deleted);
        let size = left.fold(0u64, |sum, (n, _)| sum.saturating_add(self.maildrop.size(n)));
        self.output.put(b"+OK ")?;
        self.put_count(self.deleted.len())?;
        self.output.put(b" ")?;
        self.output.put_number(size)?;
        self.output.put(b"\r\n")
    }

    fn list(&mut self, which: Option<u64>, put: fn(&mut Self, usize) -> io::Result<()>) -> io::Result<Option<Refusal>> {
        if let Some(number) = which {
            let n = match self.index(number) {
                Err(refusal) => return Ok(Some(refusal)),
                Ok(n) => n,
            };
            self.output.put(b"+OK ")?;
            self.put_line(n, put)?;
            return Ok(None);
        }
        self.output.put(crate::OK)?;
        for n in 0..self.deleted.len() {
            if self.deleted.get(n) == Some(&false) {
                self.put_line(n, put)?;
            }
        }
        self.output.put(b".\r\n")?;
        Ok(None)
    }

    fn put_line(&mut self, n: usize, put: fn(&mut Self, usize) -> io::Result<()>) -> io::Result<()> {
        self.put_count(n + 1)?;
        self.output.put(b" ")?;
        put(self, n)?;
        self.output.put(b"\r\n")
    }

    fn put_count(&mut self, count: usize) -> io::Result<()> {
        self.output.put_number(u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn put_size(&mut self, n: usize) -> io::Result<()> {
        self.output.put_number(self.maildrop.size(n))
    }

    fn put_uid(&mut self, n: usize) -> io::Result<()> {
        let mut uid = [b'?'; UID_MAX];
        let id = self.maildrop.id(n);
        // An id has at least one byte (RFC 1939 7).
        let length = id.len().clamp(1, UID_MAX);
        for (place, &byte) in uid.iter_mut().zip(id) {
            *place = if matches!(byte, 33..=126) { byte } else { b'?' };
        }
        self.output.put(uid.get(..length).unwrap_or_default())
    }

    /// Sends a message, or its header and so many lines of its body. One that breaks off is not ended with a dot: the
    /// client must not take it for whole.
    fn retrieve(&mut self, number: u64, body_lines: Option<u64>) -> io::Result<Option<Refusal>> {
        let n = match self.index(number) {
            Err(refusal) => return Ok(Some(refusal)),
            Ok(n) => n,
        };
        let Ok(mut message) = self.maildrop.open(n) else { return Ok(Some(Refusal::NotOpened)) };
        self.output.put(crate::OK)?;
        let mut stuffing = Stuffing::new(body_lines);
        let mut buffer = vec![0; PIECE];
        loop {
            let count = message.read(&mut buffer)?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() || !stuffing.put(piece, &mut self.output)? {
                break;
            }
        }
        stuffing.finish(&mut self.output)?;
        Ok(None)
    }

    /// The update state. What the client asked for before must have reached it, or nothing is deleted.
    fn quit(&mut self) -> io::Result<()> {
        self.output.flush()?;
        let mut answer = crate::OK;
        for (n, &deleted) in self.deleted.iter().enumerate() {
            if !deleted {
                self.maildrop.keep(n);
            } else if self.maildrop.remove(n).is_err() {
                answer = Refusal::NotRemoved.text();
            }
        }
        self.output.put(answer)?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests;
