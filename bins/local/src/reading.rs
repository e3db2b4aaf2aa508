//! Going to the maildir that MAILDIR names and reading it, and the complaints if that fails. For maildir2mbox and
//! maildirwatch.

use mailbox::reading::{Error, Listing, Part, clean_tmp};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;
use sys::error::{complain, text};

/// The maildir, which [`enter`] has made the working directory.
const HERE: &str = "";

/// Changes to the directory that MAILDIR names. What is wrong has been complained about on fd 2.
pub fn enter() -> Result<(), Exit> {
    let Some(dir) = sys::env::get(b"MAILDIR") else {
        complain(&[b"fatal: MAILDIR not set"]);
        return Err(Exit::TEMPORARY);
    };
    sys::process::chdir(Path::new(OsStr::from_bytes(&dir))).map_err(|e| {
        complain(&[b"fatal: unable to chdir to ", &dir, b": ", text(&e).as_bytes()]);
        Exit::TEMPORARY
    })
}

/// The messages in these parts of the maildir, after what a crash has left in tmp was removed.
pub fn list(parts: &[Part]) -> Result<Listing, Exit> {
    clean_tmp(Path::new(HERE));
    Listing::read(Path::new(HERE), parts).map_err(|e| {
        let (doing, part, e): (&[u8], _, _) = match &e {
            Error::Open(part, e) => (b"scan", part, e),
            Error::Read(part, e) => (b"read", part, e),
        };
        complain(&[b"fatal: unable to ", doing, b" $MAILDIR/", part.name().as_bytes(), b": ", text(e).as_bytes()]);
        Exit::TEMPORARY
    })
}
