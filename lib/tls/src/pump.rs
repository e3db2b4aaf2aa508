//! Moving bytes between a TLS connection and the two pipes of a program: one process, one poll, fixed buffers.
//!
//! The socket is never waited for inside a read or a write, whatever mode it is in: the program may have had it before.

use rustls::Connection;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};
use sys::fd::{Fd, set_nonblocking};
use sys::poll::{Interest, wait};
use sys::socket::Now;

/// Bytes per direction: what one record can hold.
const ROOM: usize = 16384;

/// What ends a connection before its time.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing moved for too long.
    TimedOut,
    /// The system refuses.
    Io(io::Error),
    /// The far end does not speak TLS as it should.
    Tls(rustls::Error),
}

impl Trouble {
    /// A text for a log.
    pub fn text(&self) -> String {
        match self {
            Trouble::TimedOut => "timed out".to_owned(),
            Trouble::Io(e) => sys::error::text(e).to_owned(),
            Trouble::Tls(e) => e.to_string().escape_debug().to_string(),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Trouble {
        Trouble::Io(e)
    }
}

fn is_later(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}

fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}

/// Does the handshake, within `limit` as a whole. After an error the far end was told, if it could be; nothing may be
/// sent any more.
pub fn handshake(connection: &mut Connection, net: RawFd, limit: Duration) -> Result<(), Trouble> {
    let end = Instant::now() + limit;
    loop {
        while connection.wants_write() {
            match connection.write_tls(&mut Now(net)) {
                Err(e) if is_later(&e) => break,
                r => r?,
            };
        }
        let done = !connection.is_handshaking();
        if done && !connection.wants_write() {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::TimedOut);
        }
        let (read, write) = (!done && connection.wants_read(), connection.wants_write());
        let mut interest = Interest { fd: net, read, write, readable: false, writable: false };
        wait(std::slice::from_mut(&mut interest), Some(left))?;
        if interest.readable {
            match connection.read_tls(&mut Now(net)) {
                Ok(0) => return Err(Trouble::Io(io::ErrorKind::UnexpectedEof.into())),
                Err(e) if is_later(&e) => {}
                r => drop(r?),
            }
            if let Err(e) = connection.process_new_packets() {
                // The alert tells the far end why; if it does not get through, so be it.
                let _ = connection.write_tls(&mut Now(net));
                return Err(Trouble::Tls(e));
            }
        }
    }
}

/// A buffer: bytes that came in at one end and have not left at the other.
struct Bytes {
    room: Vec<u8>,
    first: usize,
    end: usize,
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { room: vec![0; ROOM], first: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    fn rest(&self) -> &[u8] {
        self.room.get(self.first..self.end).unwrap_or_default()
    }

    fn took(&mut self, count: usize) {
        self.first += count;
    }

    /// Reads into the empty buffer.
    fn fill(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let count = from.read(&mut self.room)?;
        (self.first, self.end) = (0, count);
        Ok(count)
    }

    fn clear(&mut self) {
        (self.first, self.end) = (0, 0);
    }
}

/// A program at the inner side of a connection.
pub struct Inner {
    /// What the program reads from.
    pub to: OwnedFd,
    /// What the program writes to.
    pub from: OwnedFd,
}

/// The state of [`run`].
struct Pump<'a> {
    connection: &'a mut Connection,
    net: RawFd,
    /// `None` once the program gets no more.
    to: Option<OwnedFd>,
    /// `None` once the program has said all.
    from: Option<OwnedFd>,
    /// Whether the far end may still send something.
    net_open: bool,
    /// Whether the far end knows that nothing more comes.
    finished: bool,
    cipher: Bytes,
    plain: Bytes,
    outgoing: Bytes,
}

/// Moves bytes until the program has said all and there is nobody left to hear the far end: the program has closed its
/// side or ended (`has_ended`, asked after each signal), or the far end has said all, too.
///
/// The program sees the end of its input when the far end says that it has finished, or just goes away. When nothing has
/// moved for `limit` the program sees the end of its input; after that time again it is an error.
pub fn run(
    connection: &mut Connection,
    net: RawFd,
    program: Inner,
    limit: Duration,
    has_ended: &mut dyn FnMut() -> bool,
) -> Result<(), Trouble> {
    set_nonblocking(program.to.as_raw_fd(), true)?;
    set_nonblocking(program.from.as_raw_fd(), true)?;
    let mut pump = Pump {
        connection,
        net,
        to: Some(program.to),
        from: Some(program.from),
        net_open: true,
        finished: false,
        cipher: Bytes::new(),
        plain: Bytes::new(),
        outgoing: Bytes::new(),
    };
    let mut end = Instant::now() + limit;
    loop {
        pump.inwards()?;
        pump.outwards()?;
        if pump.is_done(has_ended) {
            return Ok(());
        }
        let [mut net, mut to, mut from] = pump.interests();
        let mut list = [net, to, from];
        let left = end.saturating_duration_since(Instant::now());
        if wait(&mut list, Some(left))? == 0 {
            if Instant::now() >= end {
                if pump.to.take().is_none() || !pump.plain.is_empty() {
                    return Err(Trouble::TimedOut);
                }
                end = Instant::now() + limit;
            }
            continue;
        }
        [net, to, from] = list;
        end = Instant::now() + limit;
        if net.readable {
            pump.read_net()?;
        }
        if from.readable {
            pump.read_program()?;
        }
        // What became writable is tried at the top of the loop.
        let _ = (net.writable, to.writable);
    }
}

impl Pump<'_> {
    fn interests(&self) -> [Interest; 3] {
        let fd = |side: &Option<OwnedFd>| side.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut net = Interest::read(self.net);
        net.read = self.net_open && self.cipher.is_empty() && self.plain.is_empty();
        net.write = self.connection.wants_write();
        if !net.read && !net.write {
            net.fd = -1;
        }
        let to = Interest::write(if self.plain.is_empty() { -1 } else { fd(&self.to) });
        let from = Interest::read(if self.connection.wants_write() { -1 } else { fd(&self.from) });
        [net, to, from]
    }

    /// Whether nobody is left that could say something to somebody.
    fn is_done(&mut self, has_ended: &mut dyn FnMut() -> bool) -> bool {
        if self.from.is_some() || self.connection.wants_write() {
            return false;
        }
        !self.net_open && self.plain.is_empty() || self.to.is_none() || has_ended()
    }

    /// Everything that came from the net goes to the program, as far as that takes it.
    fn inwards(&mut self) -> Result<(), Trouble> {
        loop {
            if self.plain.is_empty() {
                self.decrypt()?;
            }
            if self.plain.is_empty() {
                return Ok(());
            }
            let Some(to) = &self.to else {
                // Nobody listens.
                self.plain.clear();
                continue;
            };
            match Fd(to.as_raw_fd()).write(self.plain.rest()) {
                Ok(count) => self.plain.took(count),
                Err(e) if is_later(&e) => return Ok(()),
                Err(e) if is_gone(&e) => self.to = None,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Makes the next plain text out of what came from the net, if there is enough of it.
    fn decrypt(&mut self) -> Result<(), Trouble> {
        loop {
            match self.plain.fill(&mut self.connection.reader()) {
                // The far end says that it has finished, or has gone without a word.
                Ok(0) => {
                    self.net_has_ended();
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    self.net_has_ended();
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(e) if is_later(&e) => {}
                Err(e) => return Err(e.into()),
            }
            if self.cipher.is_empty() {
                return Ok(());
            }
            let mut bytes = self.cipher.rest();
            let count = self.connection.read_tls(&mut bytes)?;
            self.cipher.took(count);
            if let Err(e) = self.connection.process_new_packets() {
                let _ = self.connection.write_tls(&mut Now(self.net));
                return Err(Trouble::Tls(e));
            }
        }
    }

    fn net_has_ended(&mut self) {
        self.net_open = false;
        self.to = None;
        self.cipher.clear();
    }

    fn read_net(&mut self) -> Result<(), Trouble> {
        match self.cipher.fill(&mut Now(self.net)) {
            Ok(0) => self.net_has_ended(),
            Ok(_) => {}
            Err(e) if is_later(&e) => {}
            Err(e) if is_gone(&e) => self.net_has_ended(),
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn read_program(&mut self) -> Result<(), Trouble> {
        let Some(from) = &self.from else { return Ok(()) };
        match self.outgoing.fill(&mut Fd(from.as_raw_fd())) {
            Ok(0) => self.from = None,
            Ok(_) => self.connection.writer().write_all(self.outgoing.rest())?,
            Err(e) if is_later(&e) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Everything that is to be sent goes to the net, as far as that takes it.
    fn outwards(&mut self) -> Result<(), Trouble> {
        if self.from.is_none() && !self.finished {
            self.connection.send_close_notify();
        }
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Now(self.net)) {
                Ok(_) => {}
                Err(e) if is_later(&e) => return Ok(()),
                Err(e) if is_gone(&e) => {
                    // Nobody hears the program any more: it is to notice by itself.
                    self.from = None;
                    self.finished = true;
                    self.net_has_ended();
                    return self.forget_unsent();
                }
                Err(e) => return Err(e.into()),
            }
        }
        if self.from.is_none() && !self.finished {
            self.finished = true;
            sys::socket::finish_writing(self.net);
        }
        Ok(())
    }

    /// Throws away what can not be sent.
    fn forget_unsent(&mut self) -> Result<(), Trouble> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut io::sink())?;
        }
        Ok(())
    }
}
