//! qmail-tcpok: forgets which hosts timed out, so that they are tried again at once.
//!
//! `qmail-tcpok`, started by the administrator, as root or a user who may write queue/lock/tcpto below home.
//!
//! Exit: 0, or 111 with a line on fd 2 if the table cannot be cleared.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use queue::tcpto::SIZE;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    match clear(&queue) {
        Ok(()) => Exit::OK,
        Err((what, path, e)) => {
            let text = sys::error::text(&e).as_bytes();
            sys::error::complain(&[
                b"fatal: unable to ",
                what,
                b" ",
                queue.join(path).as_os_str().as_bytes(),
                b": ",
                text,
            ]);
            Exit::TEMPORARY
        }
    }
}

/// What could not be done, with which file of the queue.
type Failure = (&'static [u8], &'static str, io::Error);

/// Fills the table with zeroes, whatever its length was.
fn clear(queue: &Path) -> Result<(), Failure> {
    const LOCK_DIR: &str = "lock";
    const TABLE: &str = "lock/tcpto";
    sys::process::chdir(&queue.join(LOCK_DIR)).map_err(|e| (&b"chdir to"[..], LOCK_DIR, e))?;
    let open = OpenOptions::new().write(true).open("tcpto");
    let file = open.map_err(|e| (&b"write"[..], TABLE, e))?;
    sys::fs::lock(&file, true).map_err(|e| (&b"lock"[..], TABLE, e))?;
    file.write_all_at(&[0; SIZE], 0).map_err(|e| (&b"clear"[..], TABLE, e))
}
