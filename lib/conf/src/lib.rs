//! What conf/ says, and where home is.
//!
//! The values are read from the files in conf/ when the program is compiled. The numeric ids of the mail accounts are
//! looked up when a program runs: in `users/ids` below home if the installer left it there, else as plain text in
//! /etc/passwd and /etc/group (spec/architecture.md 2). The name service is never asked.
#![forbid(unsafe_code)]

pub mod ids;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The compiled-in home (conf/home), an absolute path.
pub const HOME: &str = line(include_str!("../../../conf/home"), 0);
/// The most deliveries one spawner runs at a time (conf/spawn), 1 to 255.
pub const SPAWN: u8 = number(line(include_str!("../../../conf/spawn"), 0)) as u8;
/// Number of subdirectories of a new queue (conf/split), a prime.
pub const SPLIT: u64 = number(line(include_str!("../../../conf/split"), 0));
/// Mode bits that a home or a .qmail file must not have (conf/patrn, octal).
pub const PATRN: u32 = octal(line(include_str!("../../../conf/patrn"), 0));
/// Separates user from extension in a local part (conf/break), one byte.
pub const BREAK: u8 = line(include_str!("../../../conf/break"), 0).as_bytes()[0];

const USERS: &str = include_str!("../../../conf/users");
const GROUPS: &str = include_str!("../../../conf/groups");

/// The account names of conf/users and conf/groups, by role.
pub mod names {
    use super::{GROUPS, USERS, line};
    /// Owns catch-all deliveries.
    pub const ALIAS: &str = line(USERS, 0);
    /// Runs the network daemons.
    pub const QMAILD: &str = line(USERS, 1);
    /// Runs the loggers.
    pub const QMAILL: &str = line(USERS, 2);
    /// Owns the binaries.
    pub const OWNER: &str = line(USERS, 3);
    /// Runs qmail-getpw.
    pub const QMAILP: &str = line(USERS, 4);
    /// Owns the queue; runs qmail-queue and qmail-clean.
    pub const QMAILQ: &str = line(USERS, 5);
    /// Runs the remote side.
    pub const QMAILR: &str = line(USERS, 6);
    /// Runs qmail-send and qmail-todo.
    pub const QMAILS: &str = line(USERS, 7);
    /// The group of the queue and the binaries.
    pub const QMAIL: &str = line(GROUPS, 0);
    /// The group of processes that own no files.
    pub const NOFILES: &str = line(GROUPS, 1);
}

/// Line `n` of a conf file, at compile time.
const fn line(text: &'static str, n: usize) -> &'static str {
    let bytes = text.as_bytes();
    let (mut at, mut skipped) = (0, 0);
    while skipped < n {
        while bytes[at] != b'\n' {
            at += 1;
        }
        at += 1;
        skipped += 1;
    }
    let mut end = at;
    while end < bytes.len() && bytes[end] != b'\n' {
        end += 1;
    }
    let (_, tail) = text.split_at(at);
    let (this, _) = tail.split_at(end - at);
    this
}

const fn number(text: &str) -> u64 {
    digits(text, 10)
}

const fn octal(text: &str) -> u32 {
    digits(text, 8) as u32
}

const fn digits(text: &str, base: u64) -> u64 {
    let bytes = text.as_bytes();
    let (mut n, mut i) = (0, 0);
    while i < bytes.len() {
        assert!(bytes[i] >= b'0' && (bytes[i] as u64) < b'0' as u64 + base, "conf: not a number");
        n = n * base + (bytes[i] - b'0') as u64;
        i += 1;
    }
    n
}

/// Where home is: the compiled-in one, or `qmailhome` (the value of the environment variable QMAILHOME).
///
/// A program that is `privileged` beyond its caller obeys the variable only if the compiled-in home's
/// control/instances has it as a line of its own; else the variable is ignored.
pub fn home(qmailhome: Option<Vec<u8>>, privileged: bool) -> PathBuf {
    chosen(qmailhome, privileged).unwrap_or_else(|| PathBuf::from(HOME))
}

/// Where the queue is: `queue` below `home`, or `queuedir` (the value of the environment variable QUEUEDIR), which is
/// obeyed as [`home`] obeys its variable.
pub fn queue(home: &Path, queuedir: Option<Vec<u8>>, privileged: bool) -> PathBuf {
    chosen(queuedir, privileged).unwrap_or_else(|| home.join("queue"))
}

/// A directory that a caller chose, if it is absolute and may be obeyed.
fn chosen(wanted: Option<Vec<u8>>, privileged: bool) -> Option<PathBuf> {
    let wanted = wanted.filter(|w| w.first() == Some(&b'/'))?;
    if privileged {
        let list = std::fs::read(format!("{HOME}/control/instances")).unwrap_or_default();
        if !list.split(|&b| b == b'\n').any(|l| l.trim_ascii() == wanted) {
            return None;
        }
    }
    Some(PathBuf::from(OsString::from_vec(wanted)))
}

/// The path `rest` below `home`, as bytes for an exec.
pub fn below(home: &Path, rest: &str) -> Vec<u8> {
    [home.as_os_str().as_bytes(), b"/", rest.as_bytes()].concat()
}
