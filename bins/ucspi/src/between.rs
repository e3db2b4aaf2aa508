//! Standing between a program and its descriptors 0 and 1. Shared by fixcrio and recordio.
//!
//! The program takes over the first process, so that its id and its exit code are what the caller sees; a child passes
//! the bytes on.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use sys::Exit;
use sys::error::{complain, text};
use sys::fd::Fd;
use sys::poll::{Interest, wait};
use sys::process::{self, Fork, Pid};
use sys::spawn::Program;

/// Bytes read at a time. Twice as many fit into a pipe or socket that poll calls writable, so no write blocks.
const BUFFER: usize = 1024;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

/// What is done with the bytes of one direction: `Some` is a packet, `None` the end. Appends what goes on.
pub type Change<'a> = dyn FnMut(Option<&[u8]>, &mut Vec<u8>) + 'a;

/// Becomes `program`, with a child in between that runs `pass` on what the program reads and writes. `pass` gets the
/// id of the program and the two directions. Returns only what went wrong.
pub fn become_with(program: &[&[u8]], pass: impl FnOnce(Pid, Directions)) -> Exit {
    let failed = |what: &[u8], e: &io::Error| {
        complain(&[b"fatal: unable to ", what, b": ", text(e).as_bytes()]);
        Exit::TEMPORARY
    };
    let (to_read, feed) = match sys::fd::pipe() {
        Ok(pipe) => pipe,
        Err(e) => return failed(b"create pipe", &e),
    };
    let (drain, to_write) = match sys::fd::pipe() {
        Ok(pipe) => pipe,
        Err(e) => return failed(b"create pipe", &e),
    };
    let pid = process::pid();
    match process::fork() {
        Err(e) => return failed(b"fork", &e),
        Ok(Fork::Child) => {
            drop((to_read, to_write));
            sys::signal::ignore(sys::signal::SIGPIPE);
            pass(pid, Directions { feed, drain });
            process::exit_now(Exit::OK);
        }
        Ok(Fork::Parent(_)) => drop((feed, drain)),
    }
    let name = program.first().copied().unwrap_or_default();
    let error = match found(name, program) {
        Ok(p) => p.fd(0, to_read.as_raw_fd()).fd(1, to_write.as_raw_fd()).exec(),
        Err(e) => e,
    };
    failed(&[b"run ", name].concat(), &error)
}

fn found(name: &[u8], argv: &[&[u8]]) -> io::Result<Program> {
    let path = sys::env::get(b"PATH").unwrap_or_else(|| PATH.to_vec());
    let file = sys::spawn::search(name, &path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Program::new(&file, argv)
}

/// The far ends of the program's descriptors: `feed` is what it reads from, `drain` what it writes to.
pub struct Directions {
    feed: OwnedFd,
    drain: OwnedFd,
}

/// One direction. `to` is `None` when it is over.
struct Way<'a> {
    from: RawFd,
    to: Option<RawFd>,
    pending: Vec<u8>,
    change: &'a mut Change<'a>,
}

impl Directions {
    /// Passes everything on, input through `inward` and output through `outward`, until both have ended. Who no
    /// longer reads ends its direction, so a client that keeps silent does not hold the connection of a program that
    /// is gone.
    pub fn pass<'a>(self, inward: &'a mut Change<'a>, outward: &'a mut Change<'a>) {
        let (mut feed, mut drain) = (Some(self.feed), Some(self.drain));
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut input = Way { from: 0, to: Some(number(&feed)), pending: Vec::new(), change: inward };
        let mut output = Way { from: number(&drain), to: Some(1), pending: Vec::new(), change: outward };
        while input.to.is_some() || output.to.is_some() {
            let mut list = [input.reading(), input.writing(), output.reading(), output.writing()];
            if wait(&mut list, None).is_err() {
                return;
            }
            let [a, b, c, d] = list;
            input.step(a, b);
            output.step(c, d);
            if input.to.is_none() {
                feed = None;
            }
            if output.to.is_none() && drain.take().is_some() {
                // The client sees the end, if nobody else has the connection.
                sys::fd::close(1);
            }
        }
        drop(feed);
    }
}

impl Way<'_> {
    fn reading(&self) -> Interest {
        Interest::read(if self.to.is_some() && self.pending.is_empty() { self.from } else { -1 })
    }

    /// Room to write; or, with nothing to write, whether the reader has gone (poll tells of errors in any case).
    fn writing(&self) -> Interest {
        let to = self.to.unwrap_or(-1);
        if !self.pending.is_empty() {
            return Interest::write(to);
        }
        // Descriptor 1 may be readable, as the same connection as 0; only of a pipe "readable" means an error.
        Interest::read(if to == 1 { -1 } else { to })
    }

    fn step(&mut self, reading: Interest, writing: Interest) {
        let Some(to) = self.to else { return };
        if writing.read && writing.readable {
            self.to = None;
        } else if writing.writable {
            match Fd(to).write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.to = None,
            }
        } else if reading.readable {
            let mut buffer = [0; BUFFER];
            match Fd(self.from).read(&mut buffer) {
                Ok(length @ 1..) => (self.change)(buffer.get(..length), &mut self.pending),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    (self.change)(None, &mut self.pending);
                    self.to = None;
                }
            }
        }
    }
}
