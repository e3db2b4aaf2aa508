//! Mailboxes: writing to a maildir and to an mbox file so that what was reported as delivered is on the disk, and what
//! was not leaves nothing behind (maildir(5), mbox(5), spec/reliability.md 4.2); and what is in a maildir for a reader.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod maildir;
pub mod mbox;
pub mod quoting;
pub mod reading;

use std::fs::File;
use std::io;
use std::path::Path;

/// The buffer for messages (bytes).
pub const BUFFER: usize = 65536;

/// Makes the names in `dir` durable, among them that of `file`. A directory that may be written but not read (a drop
/// box), or one that can not be synced, is made durable with all of its file system.
fn sync_names(dir: &Path, file: &Path) -> io::Result<()> {
    match sys::fs::sync_dir(dir) {
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {
            sys::fs::sync_file_system(&File::open(file)?)
        }
        r => r,
    }
}
