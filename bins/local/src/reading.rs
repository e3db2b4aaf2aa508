//! Reading a maildir (maildir(5)): going there, tidying tmp, and what is in it, oldest first. For maildir2mbox and
//! maildirwatch.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys::Exit;
use sys::error::{complain, text};

/// How long a file may lie in tmp after it was last read (seconds): no delivery takes longer, so it is a dead one.
const TMP_SECS: i64 = 129_600;

/// A message of the maildir.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// When it was delivered (seconds since 1970).
    pub seconds: i64,
    /// Its file, below the maildir.
    pub file: PathBuf,
}

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

/// Removes what dead deliveries have left in tmp. What can not be removed stays for the next reader.
pub fn tidy() {
    let now = now();
    for entry in fs::read_dir("tmp").into_iter().flatten().flatten() {
        if !is_hidden(&entry.file_name())
            && fs::metadata(entry.path()).is_ok_and(|m| now > m.atime().saturating_add(TMP_SECS))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// All messages in these directories of the maildir, oldest first. Those of the present second are left for the next
/// time, since another one of the same age may still come.
pub fn list(dirs: &[&str]) -> Result<Vec<Message>, Exit> {
    let now = now();
    let mut messages = Vec::new();
    for &dir in dirs {
        let trouble = |doing: &[u8], e: &std::io::Error| {
            complain(&[b"fatal: unable to ", doing, b" $MAILDIR/", dir.as_bytes(), b": ", text(e).as_bytes()]);
            Exit::TEMPORARY
        };
        for entry in fs::read_dir(dir).map_err(|e| trouble(b"scan", &e))? {
            let file = entry.map_err(|e| trouble(b"read", &e))?;
            if is_hidden(&file.file_name()) {
                continue;
            }
            // One that is gone was taken by another reader.
            if let Ok(about) = fs::metadata(file.path())
                && about.mtime() < now
            {
                messages.push(Message { seconds: about.mtime(), file: file.path() });
            }
        }
    }
    messages.sort();
    Ok(messages)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn now() -> i64 {
    i64::try_from(sys::time::now()).unwrap_or(i64::MAX)
}
