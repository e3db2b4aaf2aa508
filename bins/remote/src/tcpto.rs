//! qmail-tcpto: prints which hosts timed out lately.
//!
//! `qmail-tcpto`, started by the administrator, as root or a user who may read and write queue/lock/tcpto below home.
//!
//! One line for each host on fd 1. Errors go to fd 1, too, as they always have. Exit: 0, or 111 if the table cannot be
//! had.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use queue::tcpto::{self, Entry};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::Path;
use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let (mut out, code) = match read_table() {
        Ok(bytes) => {
            let now = sys::time::now();
            (tcpto::entries(&bytes).iter().map(|e| line(e, now)).collect::<Vec<_>>().concat(), Exit::OK)
        }
        Err((what, e)) => (format!("fatal: unable to {what}: {}", sys::error::text(&e)).into_bytes(), Exit::TEMPORARY),
    };
    if code != Exit::OK {
        out.push(b'\n');
    }
    match sys::fd::write_all(1, &out) {
        Ok(()) => code,
        Err(_) => Exit::TEMPORARY,
    }
}

/// The bytes of the table, or what could not be done.
fn read_table() -> Result<Vec<u8>, (&'static str, io::Error)> {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    sys::process::chdir(&queue.join("lock")).map_err(|e| ("chdir", e))?;
    let open = OpenOptions::new().read(true).write(true).open(Path::new("tcpto"));
    let file = open.map_err(|e| ("open tcpto", e))?;
    // Programs that write the table hold its lock for a moment.
    sys::fs::lock(&file, true).map_err(|e| ("lock tcpto", e))?;
    let mut bytes = Vec::with_capacity(tcpto::SIZE);
    file.take(tcpto::SIZE as u64).read_to_end(&mut bytes).map_err(|e| ("read tcpto", e))?;
    Ok(bytes)
}

fn line(entry: &Entry, now: u64) -> Vec<u8> {
    let Entry { address, count, when } = entry;
    let age = now.saturating_sub(*when);
    format!("{address} timed out {age} seconds ago; # recent timeouts: {count}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_classic_one() {
        let entry = |address: &str| Entry { address: address.parse().unwrap(), count: 3, when: 100 };
        let text = b"192.0.2.1 timed out 23 seconds ago; # recent timeouts: 3\n";
        assert_eq!(line(&entry("192.0.2.1"), 123), text);
        assert!(line(&entry("2001:db8::1"), 99).starts_with(b"2001:db8::1 timed out 0 seconds ago"));
    }
}
