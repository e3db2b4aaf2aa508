//! The sender's side: finding or starting a qmail-tlsc, and giving it the connection.

use crate::request::{decode_answer, netstring};
use crate::{ANSWER_MAX, Agreed, Failed, Failure, Request, TAKEN};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use sys::env::Env;
use sys::spawn::Program;

/// Where waiting processes are found, in the queue; the sender's user owns it, and nobody else may enter it.
pub const DIRECTORY: &str = "tls";
/// The most names in that directory: so many processes wait at the most.
const WAITING_MAX: usize = 32;
/// How long a handshake may take, in seconds (spec/reliability.md D4).
pub const HANDSHAKE_SECS: u64 = 26;
/// How long a process may take to say whether it takes the connection, in seconds.
const TAKE_SECS: u64 = 5;

/// How to come by a qmail-tlsc.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The program.
    pub program: &'a [u8],
    /// The directory of those that wait: [`DIRECTORY`]. Without it, or with one that can not be used, none waits.
    pub waiting: Option<&'a Path>,
}

/// Turns a connection into one with TLS as the request demands. What was read from it before must have been all that the
/// other side sent. The stream that comes back has no time limits.
///
/// A process that serves just such requests is asked first. Whatever is wrong with it, as long as it has not taken the
/// connection a new one is started; that one gets a name, too, under which it can be found, if there is room.
pub fn open(network: &TcpStream, request: &Request, way: Way<'_>) -> Result<(UnixStream, Agreed), Failed> {
    let encoded = request.encode();
    let path = way.waiting.map(|dir| dir.join(Request::short_name(&encoded)));
    let mut listener = None;
    if let Some(path) = &path {
        let there = match sys::socket::connect_local(path) {
            Ok(stream) => match ask(stream, &encoded, network) {
                Asked::Answered(result) => return result,
                Asked::NotTaken => true,
            },
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                // Its process is gone. If another sender has just put a new one into its place, that one is not found by
                // the next, which costs a handshake.
                let _ = std::fs::remove_file(path);
                false
            }
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        };
        if !there {
            listener = listen(path);
        }
    }
    let (ours, theirs) = UnixStream::pair().map_err(|e| failed(Failure::Context, &e))?;
    start(way.program, &theirs, listener.as_ref()).map_err(|e| failed(Failure::Context, &e))?;
    drop((theirs, listener));
    match ask(ours, &encoded, network) {
        Asked::Answered(result) => result,
        Asked::NotTaken => Err(Failure::Context.into()),
    }
}

fn failed(failure: Failure, e: &io::Error) -> Failed {
    Failed { failure, reason: sys::error::text(e).into() }
}

fn start(program: &[u8], theirs: &UnixStream, listener: Option<&UnixListener>) -> io::Result<()> {
    let argv: &[&[u8]] = if listener.is_some() { &[b"qmail-tlsc", b"-l"] } else { &[b"qmail-tlsc"] };
    // Nothing of the sender's: neither the message nor the report's pipe, on which somebody waits for the end.
    let mut program = Program::new(program, argv)?.env(Env::default()).closed(2);
    program = program.fd(0, theirs.as_raw_fd()).fd(1, theirs.as_raw_fd());
    if let Some(listener) = listener {
        program = program.fd(3, listener.as_raw_fd());
    }
    program.start().map(|_| ())
}

/// A name for a new process, if there is room for one more.
fn listen(path: &Path) -> Option<UnixListener> {
    let dir = path.parent()?;
    let names = || Some(std::fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|e| e.path()));
    if names()?.count() >= WAITING_MAX {
        for name in names()? {
            if sys::socket::connect_local(&name).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = std::fs::remove_file(name);
            }
        }
        if names()?.count() >= WAITING_MAX {
            return None;
        }
    }
    UnixListener::bind(path).ok()
}

/// What a process said.
enum Asked {
    Answered(Result<(UnixStream, Agreed), Failed>),
    /// It has not touched the connection and never will.
    NotTaken,
}

fn ask(stream: UnixStream, encoded: &[u8], network: &TcpStream) -> Asked {
    let limit = |seconds| stream.set_read_timeout(Some(Duration::from_secs(seconds)));
    let hand_over = || -> io::Result<u8> {
        stream.set_write_timeout(Some(Duration::from_secs(TAKE_SECS)))?;
        limit(TAKE_SECS)?;
        let sent = sys::socket::send_with_fd(&stream, encoded, network.as_raw_fd())?;
        (&stream).write_all(encoded.get(sent..).unwrap_or_default())?;
        byte(&stream)
    };
    let taken = hand_over().or_else(|_| {
        // From here on it can not take the connection any more; but has it, at the last moment?
        let _ = stream.shutdown(Shutdown::Both);
        byte(&stream)
    });
    if !matches!(taken, Ok(TAKEN)) {
        return Asked::NotTaken;
    }
    let outcome = limit(HANDSHAKE_SECS + TAKE_SECS).and_then(|()| answer(&stream));
    Asked::Answered(match outcome {
        Err(e) => Err(failed(Failure::Connection, &e)),
        Ok(inside) => decode_answer(&inside).map(|agreed| (stream, agreed)),
    })
}

fn byte(mut stream: &UnixStream) -> io::Result<u8> {
    let mut one = [0];
    stream.read_exact(&mut one)?;
    Ok(one[0])
}

/// Reads a netstring and nothing beyond it.
fn answer(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b':') && bytes.len() < 8 {
        bytes.push(byte(stream)?);
    }
    let digits = bytes.strip_suffix(b":").and_then(|d| str::from_utf8(d).ok()?.parse::<usize>().ok());
    let length = digits.filter(|&n| n <= ANSWER_MAX).ok_or(io::ErrorKind::InvalidData)?;
    let start = bytes.len();
    bytes.resize(start + length + 1, 0);
    stream.read_exact(bytes.get_mut(start..).unwrap_or_default())?;
    match netstring(&bytes, ANSWER_MAX) {
        Ok(Some((inside, _))) => Ok(inside.to_vec()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
