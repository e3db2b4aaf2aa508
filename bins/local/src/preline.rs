//! preline: feeds a message to a program with the From_ line, Return-Path and Delivered-To in front (preline(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message; the program gets a pipe as its fd 0.
//! Reads UFLINE, RPLINE and DTLINE, which qmail-local sets and which must be there even if they are left out.
//!
//! Exit codes: that of the program; 100 bad usage, or there is no such program; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use sys::Exit;
use sys::error::{complain, is_temporary, text};
use sys::fd::STDIN;
use sys::opt::{Opt, Scanner};
use sys::process::Ended;
use sys::spawn::{NotStarted, Program};

/// The buffer before the pipe (bytes). What still stands in it when the program has closed its end does no harm: a
/// program need not read a short message.
const BUFFER: usize = 8192;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    // A program that has read enough is no reason to die.
    sys::signal::ignore(sys::signal::SIGPIPE);
    let lines = [&b"UFLINE"[..], b"RPLINE", b"DTLINE"].map(sys::env::get);
    let [Some(from), Some(return_path), Some(delivered_to)] = lines else { return usage() };
    let (mut with_from, mut with_return_path, mut with_delivered_to) = (true, true, true);
    let mut options = Scanner::new(b"frdFRD", &args);
    for option in options.by_ref() {
        match option {
            Opt::Flag(b'f' | b'F') => with_from = option == Opt::Flag(b'F'),
            Opt::Flag(b'r' | b'R') => with_return_path = option == Opt::Flag(b'R'),
            Opt::Flag(_) => with_delivered_to = option == Opt::Flag(b'D'),
            Opt::Unknown(letter) | Opt::Value(letter, _) => {
                complain(&[b"illegal option -- ", &[letter]]);
                return usage();
            }
        }
    }
    if options.rest().is_empty() {
        return usage();
    }
    let mut front = Vec::new();
    for (with, line) in [(with_from, from), (with_return_path, return_path), (with_delivered_to, delivered_to)] {
        if with {
            front.extend_from_slice(&line);
        }
    }
    feed(options.rest(), &front)
}

fn usage() -> Exit {
    complain(&[b"usage: preline cmd [ arg ... ]"]);
    Exit::PERMANENT
}

/// Runs the program with `front` and then all of fd 0 as its fd 0.
fn feed(argv: &[&[u8]], front: &[u8]) -> Exit {
    let (reading, writing) = match sys::fd::pipe() {
        Ok(ends) => ends,
        Err(e) => return temporary(b"unable to create pipe: ", &e),
    };
    let path = sys::env::get(b"PATH");
    let started = match Program::named(argv, path.as_deref()) {
        Ok(program) => program.fd(0, reading.as_raw_fd()).try_start_or_shell(),
        Err(e) => Err(NotStarted::Exec(e)),
    };
    let pid = match started {
        Ok(pid) => pid,
        Err(NotStarted::Fork(e)) => return temporary(b"unable to fork: ", &e),
        Err(NotStarted::Arrange(e)) => return temporary(b"unable to set up fds: ", &e),
        Err(NotStarted::Ids(e) | NotStarted::Exec(e)) => {
            complain(&[b"fatal: unable to run ", argv.first().unwrap_or(&&b""[..]), b": ", text(&e).as_bytes()]);
            return if is_temporary(&e) { Exit::TEMPORARY } else { Exit::PERMANENT };
        }
    };
    drop(reading);
    if let Err(e) = copy(front, File::from(writing), pid) {
        return temporary(b"unable to copy input: ", &e);
    }
    match sys::process::wait(pid) {
        Ok(Ended::Exit(code)) => Exit(code),
        Ok(Ended::Signal(_)) => {
            complain(&[b"fatal: child crashed"]);
            Exit::TEMPORARY
        }
        Err(e) => temporary(b"wait failed: ", &e),
    }
}

fn temporary(what: &[u8], error: &io::Error) -> Exit {
    complain(&[b"fatal: ", what, text(error).as_bytes()]);
    Exit::TEMPORARY
}

/// Writes `front` and all of fd 0 to the pipe, and closes it.
fn copy(front: &[u8], pipe: File, reader: sys::process::Pid) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, pipe);
    out.write_all(front)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = STDIN.clone().read(&mut buffer).inspect_err(|_| {
            // To the program the end of the pipe would look like the end of the message.
            let _ = sys::process::kill(reader, sys::signal::SIGTERM);
        })?;
        if count == 0 {
            break;
        }
        out.write_all(buffer.get(..count).unwrap_or_default())?;
    }
    // See BUFFER.
    let _ = out.flush();
    drop(out.into_parts());
    Ok(())
}
