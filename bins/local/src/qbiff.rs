//! qbiff: tells a user who is logged in that mail has come (qbiff(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message. Reads USER, SENDER and LOCAL, which
//! qmail-local sets, and the system's list of logins. Writes to those of the user's terminals on which `biff y` was
//! said.
//!
//! Exit code: always 0, since mail is more than its announcement.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use mess822::header::Fields;
use mess822::hfield::{self, Name};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;
use sys::fd::STDIN;

/// The list of logins (utmp(5)).
const LOGINS: &str = "/run/utmp";
/// A record of it (bytes), as the GNU C library has it: on some machines its times are of 32 bits.
const RECORD: usize = if cfg!(any(target_arch = "aarch64", target_arch = "riscv64")) { 400 } else { 384 };
/// Where in a record the kind, the terminal and the user's name stand.
const KIND: std::ops::Range<usize> = 0..2;
const LINE: std::ops::Range<usize> = 8..40;
const USER: std::ops::Range<usize> = 44..76;
/// The kind of record that is a login (USER_PROCESS).
const LOGIN: i16 = 7;
/// The mode bit by which a user wants announcements on a terminal.
const WANTED: u32 = 0o100;
/// How much is shown of subject and body, with what stands before them (bytes).
const TEXT_MAX: usize = 78;
const INDENT: &[u8] = b"    ";
/// The longest header that is looked at (bytes).
const HEADER_MAX: u64 = 1 << 20;

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    // A terminal that is gone is no reason to fail.
    sys::signal::ignore(sys::signal::SIGPIPE);
    let variables = [&b"USER"[..], b"SENDER", b"LOCAL"].map(sys::env::get);
    let [Some(user), Some(sender), Some(local)] = variables else { return Exit::OK };
    if user.len() > USER.len() {
        return Exit::OK;
    }
    let Ok(logins) = File::open(LOGINS) else { return Exit::OK };
    let mut head = [b"*** TO <", &local[..], b"> FROM <", &sender, b">"].concat();
    mask(&mut head, b'_');
    let Some(mut text) = summary() else { return Exit::OK };
    mask(&mut text, b'/');
    announce(logins, &user, &[b"\r\n\x07", &head[..], b"\r\n", &text, b"\r\n"].concat());
    Exit::OK
}

/// What is not printable could do anything to a terminal.
fn mask(text: &mut [u8], by: u8) {
    for b in text.iter_mut().filter(|b| !(32..=126).contains(*b)) {
        *b = by;
    }
}

/// The beginning of subject and body, not masked; `None` if the message can not be read.
fn summary() -> Option<Vec<u8>> {
    let mut text = INDENT.to_vec();
    let mut fields = Fields::new(BufReader::new(STDIN), HEADER_MAX);
    while let Some(field) = fields.next_field().ok()? {
        if hfield::known(&field) == Some(Name::Subject) {
            text.extend_from_slice(hfield::body(&field));
            text.truncate(TEXT_MAX);
        }
    }
    let (start, rest) = fields.into_body();
    let room = TEXT_MAX - text.len().min(TEXT_MAX);
    start.chain(rest).take(room as u64).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Writes `text` to each terminal of `user` that wants it.
fn announce(logins: File, user: &[u8], text: &[u8]) {
    let mut logins = BufReader::new(logins);
    let mut record = [0; RECORD];
    while logins.read_exact(&mut record).is_ok() {
        if let Some(line) = terminal(&record, user)
            && let Some(mut terminal) = open(line)
        {
            // Somebody who misses the announcement still has the mail.
            let _ = terminal.write_all(text);
        }
    }
}

/// The terminal of a record, if it is a login of `user`.
fn terminal<'r>(record: &'r [u8], user: &[u8]) -> Option<&'r [u8]> {
    let kind = record.get(KIND)?.try_into().ok()?;
    if i16::from_ne_bytes(kind) != LOGIN || until_nul(record.get(USER)?) != user {
        return None;
    }
    let line = until_nul(record.get(LINE)?);
    // The list may be written by others: nothing outside of /dev.
    if line.is_empty() || line.starts_with(b"/") || line.contains(&b'.') { None } else { Some(line) }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// Opens a terminal of this user's own that wants announcements.
fn open(line: &[u8]) -> Option<File> {
    let path = Path::new("/dev").join(OsStr::from_bytes(line));
    let file = sys::fs::open_write_nonblocking(&path).ok()?;
    let about = file.metadata().ok()?;
    (about.mode() & WANTED != 0 && about.uid() == sys::process::uid().0).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, line: &[u8], user: &[u8]) -> [u8; RECORD] {
        let mut r = [0; RECORD];
        r[KIND].copy_from_slice(&kind.to_ne_bytes());
        r[LINE][..line.len()].copy_from_slice(line);
        r[USER][..user.len()].copy_from_slice(user);
        r
    }

    #[test]
    fn only_logins_of_the_user_below_dev_count() {
        let long = [b'u'; 32];
        type Row<'a> = (i16, &'a [u8], &'a [u8], &'a [u8], bool);
        let rows: [Row<'_>; 8] = [
            (7, b"pts/3", b"joe", b"joe", true),
            (8, b"pts/3", b"joe", b"joe", false),
            (7, b"pts/3", b"joe", b"jo", false),
            (7, b"pts/3", b"jo", b"joe", false),
            (7, b"pts/3", &long, &long, true),
            (7, b"", b"joe", b"joe", false),
            (7, b"/etc/x", b"joe", b"joe", false),
            (7, b"../etc/x", b"joe", b"joe", false),
        ];
        for (kind, line, login, user, yes) in rows {
            assert_eq!(terminal(&record(kind, line, login), user), yes.then_some(line), "{line:?} {login:?}");
        }
    }

    #[test]
    fn only_printable_ascii_passes() {
        let mut text = b"a\x1b[2J\x7f\xe4 ~".to_vec();
        mask(&mut text, b'/');
        assert_eq!(text, b"a/[2J// ~");
    }
}
