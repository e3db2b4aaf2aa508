//! qmail-popup: takes a user's name and password by POP3 and starts the program that checks them.
//!
//! Started by tcpserver or a program like it for one connection, as root if the checking program needs that. fd 0 and
//! fd 1 are the connection; fd 2 is the log. Arguments: the name of this host, then the checking program with its own
//! arguments, searched in PATH. That program has the same descriptors, and on fd 3 reads the name, the password (or
//! APOP's digest) and the timestamp of the greeting, each ended by NUL; if they are right it becomes its last
//! argument, qmail-pop3d as a rule. One try for a connection.
//!
//! Exit code: 1, however the session ended.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use pop3::line::Lines;
use pop3::login::{self, Credentials};
use pop3::output::Output;
use std::io::Write;
use std::os::fd::AsRawFd;
use sys::poll::Timed;
use sys::process::{self, Ended};
use sys::spawn::{NotStarted, Program};
use sys::{Exit, env, error, fd, signal, spawn};

/// How long a client may be silent, or not take an answer (seconds; RFC 1939 3 asks for 10 minutes at least).
const TIMEOUT_SECS: u64 = 1200;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

const USAGE: &[u8] = b"-ERR usage: popup hostname subprogram\r\n";
const NO_PIPE: &[u8] = b"-ERR unable to open pipe\r\n";
const NOT_WRITTEN: &[u8] = b"-ERR unable to write pipe\r\n";
const NO_FORK: &[u8] = b"-ERR unable to fork\r\n";
const CRASHED: &[u8] = b"-ERR aack, child crashed\r\n";
const REFUSED: &[u8] = b"-ERR authorization failed\r\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    // A client that hangs up is an error of write, not the death of this process.
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    if let Some(last_words) = serve(&args) {
        // The client may be gone already; then nobody is left to tell.
        let _ = Timed::new(1, TIMEOUT_SECS).write_all(last_words);
    }
    Exit::NO
}

/// The whole session; returns what the client is still to be told.
fn serve(args: &[&[u8]]) -> Option<&'static [u8]> {
    let Some((host, checker)) = args.split_first().filter(|(_, checker)| !checker.is_empty()) else {
        return Some(USAGE);
    };
    let start = format!("<{}.{}@", process::pid().0, sys::time::now());
    let timestamp = [start.as_bytes(), host, b">"].concat();
    let mut lines = Lines::new(Timed::new(0, TIMEOUT_SECS));
    let mut output = Output::new(Timed::new(1, TIMEOUT_SECS));
    // Trouble with the connection and a client that leaves come to the same.
    let credentials = login::converse(&mut lines, &mut output, &timestamp).ok().flatten()?;
    check(checker, credentials, &timestamp).err()
}

/// Lets the checking program decide, and whatever it becomes serve the client; returns when that is over.
fn check(checker: &[&[u8]], credentials: Credentials, timestamp: &[u8]) -> Result<(), &'static [u8]> {
    let (reader, writer) = fd::pipe().map_err(|_| NO_PIPE)?;
    let mut record = credentials.record(timestamp);
    drop(credentials);
    // The pipe holds all of it before anybody reads: a checker that is not interested does no harm.
    let written =
        fd::set_nonblocking(writer.as_raw_fd(), true).and_then(|()| fd::write_all(writer.as_raw_fd(), &record));
    login::wipe(&mut record);
    written.map_err(|_| NOT_WRITTEN)?;
    drop(writer);

    let name = checker.first().copied().unwrap_or_default();
    let path = env::get(b"PATH").unwrap_or_else(|| PATH.to_vec());
    let program = Program::new(&spawn::search(name, &path).unwrap_or_else(|| name.to_vec()), checker);
    let started = program.map_err(NotStarted::Arrange).and_then(|p| p.fd(3, reader.as_raw_fd()).try_start());
    let child = started.map_err(|why| {
        let answer = if matches!(why, NotStarted::Fork(_)) { NO_FORK } else { REFUSED };
        error::complain(&[b"fatal: unable to run ", name, b": ", error::text(&why.into_error()).as_bytes()]);
        answer
    })?;
    drop(reader);
    match process::wait(child) {
        Ok(Ended::Exit(0)) | Err(_) => Ok(()),
        Ok(Ended::Exit(_)) => Err(REFUSED),
        Ok(Ended::Signal(_)) => Err(CRASHED),
    }
}
