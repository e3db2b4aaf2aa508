//! maildir2mbox: moves the messages of a maildir to an mbox file (maildir2mbox(1)).
//!
//! Started by a user, mostly before a mail reader that knows mbox only. Reads MAILDIR, MAIL (the mbox file) and MAILTMP
//! (a name for its successor on the same file system); the latter two are taken below the maildir if they are
//! relative. The mbox file is locked, copied and replaced; only then the messages are removed.
//!
//! Exit codes: 0 moved, or nothing to move; 111 anything else, and the mbox file is as it was.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod reading;

use mailbox::mbox;
use mailbox::quoting::Quoter;
use mailbox::reading::{Listing, Part};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use sys::Exit;
use sys::error::{complain, text};

/// How much of a message's first line may be its Return-Path (bytes); longer than any address.
const FIRST_LINE_MAX: u64 = 4096;
/// What the From_ line has for a message without Return-Path.
const UNKNOWN: &[u8] = b"XXX";

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    sys::process::umask(0o077);
    match work() {
        Ok(()) => Exit::OK,
        Err(code) => code,
    }
}

fn variable(name: &[u8]) -> Result<Vec<u8>, Exit> {
    sys::env::get(name).ok_or_else(|| {
        complain(&[b"fatal: ", name, b" not set"]);
        Exit::TEMPORARY
    })
}

fn work() -> Result<(), Exit> {
    let (mbox, tmp) = (&variable(b"MAIL")?, &variable(b"MAILTMP")?);
    reading::enter()?;
    let messages = reading::list(&[Part::New, Part::Cur])?;
    if messages.is_empty() {
        return Ok(());
    }
    let (mbox_path, tmp_path) = (path(mbox), path(tmp));
    // Held to the end.
    let _lock = lock(mbox_path).map_err(|e| fatal(&[b"unable to lock ", mbox], &e))?;
    let old = sys::fs::open_read(mbox_path).map_err(|e| fatal(&[b"unable to read ", mbox], &e))?;
    let new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(tmp_path);
    let new = new.map_err(|e| fatal(&[b"unable to create ", tmp], &e))?;
    let replaced = fill(&new, old, &messages, mbox, tmp).and_then(|()| {
        std::fs::rename(tmp_path, mbox_path).map_err(|e| fatal(&[b"unable to move ", tmp, b" to ", mbox], &e))
    });
    if replaced.is_err() {
        // Half an mbox file is of no use to anybody; if it can not be removed the next run overwrites it.
        let _ = std::fs::remove_file(tmp_path);
        return replaced;
    }
    let dir = mbox_path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The new file's name must last before the messages go. Where the directory may not be read, all is synced.
    if sys::fs::sync_dir(dir).is_err() {
        sys::fs::sync_file_system(&new).map_err(|e| fatal(&[b"unable to sync ", mbox], &e))?;
    }
    for n in 0..messages.len() {
        if let Err(e) = messages.remove(n) {
            let file = messages.path(n).unwrap_or_default();
            let why: &[u8] = b" will be delivered twice; unable to unlink: ";
            complain(&[b"warning: $MAILDIR/", file.as_os_str().as_bytes(), why, text(&e).as_bytes()]);
        }
    }
    Ok(())
}

fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

fn fatal(what: &[&[u8]], error: &io::Error) -> Exit {
    complain(&[b"fatal: ", &what.concat(), b": ", text(error).as_bytes()]);
    Exit::TEMPORARY
}

/// Locks the mbox file, which is made if need be, and waits for that as long as it takes.
fn lock(mbox: &Path) -> io::Result<File> {
    loop {
        let file = sys::fs::open_append(mbox, 0o600)?;
        sys::fs::lock(&file, true)?;
        let (locked, there) = (file.metadata()?, std::fs::metadata(mbox)?);
        // Another one of these may have replaced the file while this one waited.
        if (locked.dev(), locked.ino()) == (there.dev(), there.ino()) {
            return Ok(file);
        }
    }
}

/// Writes the old mbox file and the messages to the new one, and syncs it.
fn fill(new: &File, old: File, messages: &Listing, mbox: &[u8], tmp: &[u8]) -> Result<(), Exit> {
    let unwritable = |e: io::Error| fatal(&[b"unable to write to ", tmp], &e);
    let mut out = BufWriter::with_capacity(mailbox::BUFFER, new);
    copy(&mut BufReader::with_capacity(mailbox::BUFFER, old), |bytes| out.write_all(bytes)).map_err(|e| match e {
        Trouble::Read(e) => fatal(&[b"unable to read ", mbox], &e),
        Trouble::Write(e) => unwritable(e),
    })?;
    for n in 0..messages.len() {
        let path = messages.path(n).unwrap_or_default();
        let opened = sys::fs::open_read(&path).map_err(Trouble::Read);
        opened.and_then(|file| append(&mut out, file, messages.seconds(n))).map_err(|e| match e {
            Trouble::Read(e) => fatal(&[b"unable to read $MAILDIR/", path.as_os_str().as_bytes()], &e),
            Trouble::Write(e) => unwritable(e),
        })?;
    }
    out.flush().and_then(|()| new.sync_all()).map_err(unwritable)
}

/// Which side of a copy went wrong.
enum Trouble {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut impl BufRead, mut put: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Trouble> {
    loop {
        let bytes = match from.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Trouble::Read(e)),
        };
        put(bytes).map_err(Trouble::Write)?;
        let count = bytes.len();
        from.consume(count);
    }
}

/// Writes one message: From_ line, the message quoted, a blank line.
fn append(out: &mut impl Write, message: impl Read, seconds: i64) -> Result<(), Trouble> {
    let mut message = BufReader::with_capacity(mailbox::BUFFER, message);
    let mut first = Vec::new();
    message.by_ref().take(FIRST_LINE_MAX).read_until(b'\n', &mut first).map_err(Trouble::Read)?;
    let sender = return_path(&first).unwrap_or(UNKNOWN);
    out.write_all(&mbox::from_line(sender, u64::try_from(seconds).unwrap_or(0))).map_err(Trouble::Write)?;
    let mut quoter = Quoter::new(out);
    quoter.put(&first).map_err(Trouble::Write)?;
    copy(&mut message, |bytes| quoter.put(bytes))?;
    quoter.finish().map_err(Trouble::Write)?;
    Ok(())
}

/// The address in the line that qmail-local puts first.
fn return_path(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"Return-Path: <")?.strip_suffix(b">\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_its_from_line_and_ends_with_a_blank_line() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b"From XXX Thu Jan 01 00:00:09 1970\n\n"),
            (b"x", b"From XXX Thu Jan 01 00:00:09 1970\nx\n\n"),
            (b"Return-Path: <>\n", b"From MAILER-DAEMON Thu Jan 01 00:00:09 1970\nReturn-Path: <>\n\n"),
            (b"Return-Path: <a b>\n", b"From a-b Thu Jan 01 00:00:09 1970\nReturn-Path: <a b>\n\n"),
            (b"Return-Path: <a", b"From XXX Thu Jan 01 00:00:09 1970\nReturn-Path: <a\n\n"),
            (b"From x\n>From y\n", b"From XXX Thu Jan 01 00:00:09 1970\n>From x\n>>From y\n\n"),
        ];
        for &(message, expected) in rows {
            let mut out = Vec::new();
            assert!(append(&mut out, message, 9).is_ok());
            assert_eq!(out, expected, "{message:?}");
        }
    }

    #[test]
    fn a_first_line_without_end_is_kept_whole() {
        let message = [b"Return-Path: <".to_vec(), vec![b'a'; 10_000]].concat();
        let mut out = Vec::new();
        assert!(append(&mut out, &message[..], 0).is_ok());
        assert_eq!(out, [b"From XXX Thu Jan 01 00:00:00 1970\n", &message[..], b"\n\n"].concat());
    }
}
