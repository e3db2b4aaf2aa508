//! qmail-pop3d: lets a user read and remove the messages of a maildir by POP3.
//!
//! Started for one connection by the program that has checked the user's password (checkpassword, under qmail-popup),
//! as that user, in the home directory. fd 0 and fd 1 are the connection; fd 2 is the log. The argument is the maildir.
//! Reads its new and cur; at QUIT removes what the client has deleted, and moves the rest of new to cur. Removes from
//! tmp what a crash has left there.
//!
//! Exit codes: 1 started as root; 0 in all other cases, so that qmail-popup adds nothing to what was said.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use mailbox::reading::{self, Listing, Part};
use pop3::session::{Maildrop, Session};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::poll::Timed;
use sys::process::{self, Uid};
use sys::{Exit, fd, signal};

/// How long a client may be silent, or not take an answer (seconds; RFC 1939 3 asks for 10 minutes at least).
const TIMEOUT_SECS: u64 = 1200;

const AS_ROOT: &[u8] = b"qmail-pop3d invoked as uid 0, terminating\n";
const NO_MAILDIR: &[u8] = b"-ERR this user has no $HOME/Maildir\r\n";
const NOT_SCANNED: &[u8] = b"-ERR unable to scan $HOME/Maildir\r\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    // A client that hangs up is an error of write, not the death of this process.
    signal::ignore(signal::SIGPIPE);
    // Mail is never delivered as root, so this is a checking program that did not become the user.
    if process::uid() == Uid(0) {
        // The log may be closed; the refusal stands.
        let _ = fd::write_all(2, AS_ROOT);
        return Exit::NO;
    }
    process::no_core_dumps();
    let (source, mut sink) = (Timed::new(0, TIMEOUT_SECS), Timed::new(1, TIMEOUT_SECS));
    match open(args.first().copied().unwrap_or_default()) {
        Ok(maildir) => {
            // However it ended: the session itself has seen to it that nothing is lost.
            let _ = Session::new(maildir, source, sink).run();
        }
        Err(last_words) => {
            // The client may be gone already; then nobody is left to tell.
            let _ = sink.write_all(last_words);
        }
    }
    Exit::OK
}

/// Enters and reads the maildir.
fn open(dir: &[u8]) -> Result<Maildir, &'static [u8]> {
    process::chdir(Path::new(OsStr::from_bytes(dir))).map_err(|_| NO_MAILDIR)?;
    let here = Path::new("");
    reading::clean_tmp(here);
    Listing::read(here, &[Part::New, Part::Cur]).map(Maildir).map_err(|_| NOT_SCANNED)
}

/// The maildir in the working directory.
struct Maildir(Listing);

impl Maildrop for Maildir {
    type Message = File;

    fn count(&self) -> usize {
        self.0.len()
    }

    fn size(&self, n: usize) -> u64 {
        self.0.size(n)
    }

    fn id(&self, n: usize) -> &[u8] {
        self.0.id(n)
    }

    fn open(&mut self, n: usize) -> io::Result<File> {
        let file = sys::fs::open_read(&self.0.path(n).ok_or(io::ErrorKind::NotFound)?)?;
        // A directory would open, and a fifo be an empty message.
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    fn remove(&mut self, n: usize) -> io::Result<()> {
        self.0.remove(n)
    }

    fn keep(&mut self, n: usize) {
        // It stays in new then, and is moved another time.
        let _ = self.0.move_to_cur(n);
    }
}
