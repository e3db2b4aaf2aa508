//! qmail-clean: removes queue files by number, for qmail-send and qmail-todo, which may not.
//!
//! Started by qmail-start as qmailq. Reads NUL-ended requests from fd 0: `foop/N` (intd and mess of message N) and `todo/N`
//! (intd and todo). Answers each with one byte on fd 1: `+` gone, `!` trouble, `x` no such request. Touches queue/mess,
//! intd, todo and pid. Exit codes: 0 at the end of the requests, 100 if nobody reads the answers, 111 without a queue.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use queue::layout::{Layout, MessNum};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use sys::Exit;
use sys::poll::Requests;

/// Files of dead qmail-queues in pid/ are removed when they are this old: 36 hours, more than a qmail-queue lives.
const OSSIFIED_SECS: u64 = 129_600;
/// How many requests pass between two looks into pid/.
const REQUESTS_BETWEEN_SWEEPS: u32 = 30;
/// Shortest request that is one, with its NUL (bytes).
const REQUEST_MIN: usize = 7;
/// Longest request, with its NUL (bytes).
const REQUEST_MAX: usize = 100;

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    if sys::process::chdir(&queue).is_err() {
        return Exit::TEMPORARY;
    }
    let Ok(layout) = Layout::find() else { return Exit::TEMPORARY };
    sys::signal::ignore(sys::signal::SIGPIPE);
    sys::process::no_core_dumps();
    let Ok(requests) = Requests::new(0) else { return Exit::TEMPORARY };
    serve(layout, requests)
}

/// Answers requests until there are no more. All that one read brings is answered by one write.
fn serve(layout: Layout, mut requests: Requests) -> Exit {
    let mut buffer = [0; 4096];
    let mut request = Request::default();
    let mut answers = Vec::with_capacity(buffer.len());
    let mut until_sweep = 0;
    loop {
        if until_sweep == 0 {
            sweep_pid();
            until_sweep = REQUESTS_BETWEEN_SWEEPS;
        }
        let n = match requests.read(&mut buffer) {
            Ok(n) if n > 0 => n,
            _ => return Exit::OK,
        };
        for &b in buffer.iter().take(n) {
            if let Some(whole) = request.take(b) {
                let strays = whole.strays;
                answers.resize(answers.len() + strays, b'x');
                answers.push(whole.asked.map_or(b'x', |r| carry_out(layout, r)));
                until_sweep = until_sweep.saturating_sub(1);
            }
        }
        if sys::fd::write_all(1, &answers).is_err() {
            return Exit::PERMANENT;
        }
        answers.clear();
    }
}

/// A request as it arrives. Bytes beyond the limit are counted, not kept.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
    too_long: bool,
}

/// A request that has come to its NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whole {
    /// `None`: there is no such request.
    asked: Option<Asked>,
    /// Bytes where the number should be that are no digits. qmail's qmail-clean answers `x` for each of them and then for
    /// the request; whoever counts answers gets as many from this one. (It also unlinks; this one does not.)
    strays: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Remove the traces of a message that is finished or was never queued.
    Foop(MessNum),
    /// Remove the envelope of a message whose recipients stand in local and remote, or that is finished.
    Todo(MessNum),
}

impl Request {
    /// Takes the next byte. At the NUL: the request.
    fn take(&mut self, b: u8) -> Option<Whole> {
        if b != 0 {
            self.too_long |= self.bytes.len() + 2 > REQUEST_MAX;
            if !self.too_long {
                self.bytes.push(b);
            }
            return None;
        }
        let proper = !self.too_long && self.bytes.len() + 1 >= REQUEST_MIN;
        let number = self.bytes.get(5..).filter(|_| proper).unwrap_or_default();
        let strays = number.iter().filter(|b| !b.is_ascii_digit()).count();
        let asked = if proper { parse(&self.bytes) } else { None };
        self.bytes.clear();
        self.too_long = false;
        Some(Whole { asked, strays })
    }
}

fn parse(request: &[u8]) -> Option<Asked> {
    if let Some(number) = request.strip_prefix(b"foop/") {
        return MessNum::parse(number).map(Asked::Foop);
    }
    request.strip_prefix(b"todo/").and_then(MessNum::parse).map(Asked::Todo)
}

fn carry_out(layout: Layout, asked: Asked) -> u8 {
    let mut names: Vec<PathBuf> = Vec::with_capacity(4);
    match asked {
        Asked::Foop(n) => {
            names.extend(layout.intd_places(n));
            // Last: while it exists, its number is taken.
            names.push(layout.mess(n));
        }
        Asked::Todo(n) => names.extend(layout.intd_places(n).chain(layout.todo_places(n))),
    }
    let done = names.iter().try_for_each(|name| remove(name));
    if done.is_ok() { b'+' } else { b'!' }
}

/// Removes a file; one that does not exist is removed already.
fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes what dead qmail-queues left in pid/. Whatever fails is tried again at the next sweep.
fn sweep_pid() {
    use std::os::unix::fs::MetadataExt;
    let Ok(dir) = std::fs::read_dir("pid") else { return };
    let now = sys::time::now();
    for entry in dir.flatten() {
        let Ok(m) = entry.metadata() else { continue };
        let read = u64::try_from(m.atime()).unwrap_or(0);
        if read.saturating_add(OSSIFIED_SECS) < now {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q10_only_digits_behind_foop_and_todo() {
        let ask = |bytes: &[u8]| {
            let mut r = Request::default();
            assert!(bytes.iter().all(|&b| r.take(b).is_none()));
            r.take(0).unwrap()
        };
        let strays = |bytes: &[u8]| ask(bytes).strays;
        let ask = |bytes: &[u8]| ask(bytes).asked;
        assert_eq!((strays(b"foop/12"), strays(b"foop/1.2a"), strays(b"xyzzy/1"), strays(b"x")), (0, 2, 1, 0));
        assert_eq!(ask(b"foop/12"), Some(Asked::Foop(MessNum(12))));
        assert_eq!(ask(b"todo/7"), Some(Asked::Todo(MessNum(7))));
        for bad in
            [&b""[..], b"foop/", b"foop", b"foop/1x", b"foop/-1", b"foop/../1", b"todo/1/2", b"mess/1", b"Foop/1"]
        {
            assert_eq!(ask(bad), None, "{bad:?}");
        }
        let zeros = [b"foop/".to_vec(), vec![b'0'; 94], b"1".to_vec()].concat();
        assert_eq!(ask(&zeros), None);
        assert_eq!(ask(zeros.get(..99).unwrap()), Some(Asked::Foop(MessNum(0))));
    }
}
