//! qmail-todo: preprocesses new messages, so that qmail-send can deliver them.
//!
//! Started by qmail-start as qmails. fd 0: commands from qmail-send; fd 1: records to qmail-send; fd 2: requests to its own
//! qmail-clean; fd 3: the answers. Touches queue/todo and mess (reads), info, local, remote, bounce (writes), lock/trigger,
//! and reads control. Exit codes: 0 when qmail-send is gone or said so, 111 if it cannot start or lost qmail-clean.
//!
//! Commands: `S` start, `H` read the controls again, `X` make everything durable and exit, `F<number>` NUL: the message
//! is finished, remove it; `K<number>` NUL: the message will stay for a while, make it durable now.
//! Records (NUL-ended): `L<line>` a log line with its newline; `DL`, `DR`, `DB`, `DX` and a number: preprocessed, with
//! recipients that are local, remote, both, none; `F<sender>`, `l<local recipient>`, `r<remote recipient>` ..., `E<number>`:
//! likewise, but the envelope is this and there are no files; `W<number>`: now there are; `X`: done.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod arrivals;
mod files;
mod journal;
mod preprocess;

use arrivals::Arrivals;
use control::Controls;
use journal::Journal;
use preprocess::{Preprocessed, Preprocessor};
use queue::layout::{Layout, MessNum};
use queue::route::{self, Routes};
use std::io::Read;
use std::time::{Duration, Instant};
use sys::Exit;
use sys::fd::Fd;
use sys::poll::Interest;

const COMMANDS: i32 = 0;
const RECORDS: i32 = 1;
const CLEAN_REQUESTS: i32 = 2;
const CLEAN_ANSWERS: i32 = 3;
/// The longest sleep.
const SLEEP_FOREVER: Duration = Duration::from_secs(86400);
/// Messages preprocessed between two looks at what else there is to do.
const BATCH: usize = 16;
/// Longest command (bytes).
const COMMAND_MAX: usize = 32;

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    let controls = Controls::of(&home);
    sys::signal::ignore(sys::signal::SIGPIPE);
    sys::process::umask(0o077);
    sys::process::no_core_dumps();
    // What fails here fails in qmail-send too, which says so.
    let Ok(routes) = Routes::read(&controls) else { return Exit::TEMPORARY };
    if sys::process::chdir(&queue).is_err() {
        return Exit::TEMPORARY;
    }
    let Ok(layout) = Layout::find() else { return Exit::TEMPORARY };
    let mut todo = Todo {
        controls,
        preprocessor: Preprocessor::new(layout, routes),
        journal: Journal::new(layout),
        arrivals: Arrivals::new(layout),
        phase: Phase::Waiting,
        command: Vec::new(),
        records: Vec::new(),
    };
    todo.serve()
}

/// How far qmail-send lets us go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `S` has not come yet.
    Waiting,
    Working,
    /// `X` came: nothing new is begun.
    Leaving,
}

struct Todo {
    controls: Controls,
    preprocessor: Preprocessor,
    journal: Journal,
    arrivals: Arrivals,
    phase: Phase,
    /// A command of which the end has not come yet.
    command: Vec<u8>,
    /// What goes to qmail-send next.
    records: Vec<u8>,
}

impl Todo {
    fn serve(&mut self) -> Exit {
        loop {
            if self.phase == Phase::Leaving && self.journal.is_settled() {
                self.records.extend_from_slice(b"X\0");
                // If qmail-send is gone, that is as well.
                let _ = sys::fd::write_all(RECORDS, &self.records);
                return Exit::OK;
            }
            let requests = self.journal.take_requests();
            if sys::fd::write_all(CLEAN_REQUESTS, &requests).is_err() {
                return self.clean_died();
            }
            if sys::fd::write_all(RECORDS, &self.records).is_err() {
                return Exit::OK;
            }
            self.records.clear();
            if let Some(end) = self.wait_and_work() {
                return end;
            }
        }
    }

    /// Waits for something to do and does it. Some(code): the end.
    fn wait_and_work(&mut self) -> Option<Exit> {
        let [trigger, names] = self.arrivals.interests();
        let mut fds = [Interest::read(COMMANDS), Interest::read(CLEAN_ANSWERS), trigger, names];
        if sys::poll::wait(&mut fds, Some(self.time_to_sleep())).is_err() {
            return Some(Exit::TEMPORARY);
        }
        let [commands, answers, pulled, names] = fds.map(|f| f.readable);
        if commands && !self.read_commands() {
            // qmail-send is gone. What is in the journal stays there: the next qmail-send begins with it.
            return Some(Exit::OK);
        }
        if answers && !self.read_answers() {
            return Some(self.clean_died());
        }
        if self.phase == Phase::Working {
            self.arrivals.listen(pulled, names, Instant::now());
            self.work_on_arrivals();
        }
        for file in self.journal.commit(Instant::now()) {
            let file = file.to_string_lossy().into_owned();
            self.log(&[b"warning: trouble fsyncing ", file.as_bytes(), b"; will try again later\n"]);
        }
        for n in self.journal.take_written() {
            self.records.extend_from_slice(format!("W{n}\0").as_bytes());
        }
        None
    }

    fn time_to_sleep(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.journal.next_due();
        if self.phase == Phase::Working {
            let arrival = if self.arrivals.is_busy() { now } else { self.arrivals.next_scan() };
            until = Some(until.map_or(arrival, |u| u.min(arrival)));
        }
        until.map_or(SLEEP_FOREVER, |u| u.saturating_duration_since(now))
    }

    fn clean_died(&mut self) -> Exit {
        self.log(&[b"alert: oh no! lost qmail-clean connection! dying...\n"]);
        // The last words; whether they are heard changes nothing.
        let _ = sys::fd::write_all(RECORDS, &self.records);
        Exit::TEMPORARY
    }

    fn log(&mut self, parts: &[&[u8]]) {
        self.records.push(b'L');
        parts.iter().for_each(|p| self.records.extend_from_slice(p));
        self.records.push(0);
    }

    /// False: there are no more commands, ever.
    fn read_commands(&mut self) -> bool {
        let mut buffer = [0; 2048];
        let n = match Fd(COMMANDS).read(&mut buffer) {
            Ok(n) if n > 0 => n,
            _ => return false,
        };
        for &b in buffer.iter().take(n) {
            self.command_byte(b);
        }
        true
    }

    fn command_byte(&mut self, b: u8) {
        match (self.command.first(), b) {
            (None, b'S') => {
                self.phase = Phase::Working;
                self.arrivals.begin(Instant::now());
            }
            (None, b'H') => self.read_controls_again(),
            (None, b'X') => {
                self.phase = Phase::Leaving;
                self.arrivals.end();
                self.journal.settle_all();
            }
            (None, b'F' | b'K') => self.command.push(b),
            (None, _) => {}
            (Some(&letter), 0) => {
                if let Some(n) = self.command.get(1..).and_then(MessNum::parse) {
                    if letter == b'F' { self.finished(n) } else { self.journal.keep(n) }
                }
                self.command.clear();
            }
            (Some(_), _) if self.command.len() < COMMAND_MAX => self.command.push(b),
            (Some(_), _) => {}
        }
    }

    fn finished(&mut self, n: MessNum) {
        if let Err(file) = self.journal.finished(n, Instant::now()) {
            let file = file.to_string_lossy().into_owned();
            self.log(&[b"warning: unable to unlink ", file.as_bytes(), b"\n"]);
        }
    }

    fn read_controls_again(&mut self) {
        let file: &[u8] = match self.preprocessor.routes.read_again(&self.controls) {
            Ok(()) => return,
            Err(route::Error::Missing(_)) => b"locals",
            Err(route::Error::Unreadable(e)) if e.file.ends_with("virtualdomains") => b"virtualdomains",
            Err(route::Error::Unreadable(_)) => b"locals",
        };
        self.log(&[b"alert: unable to reread control/", file, b"\n"]);
    }

    /// False: qmail-clean is gone.
    fn read_answers(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let n = match Fd(CLEAN_ANSWERS).read(&mut buffer) {
            Ok(n) if n > 0 => n,
            _ => return false,
        };
        for &b in buffer.iter().take(n) {
            if let Some(file) = self.journal.answer(b) {
                self.log(&[b"warning: qmail-clean unable to clean up ", file.as_bytes(), b"\n"]);
            }
        }
        true
    }

    fn work_on_arrivals(&mut self) {
        for _ in 0..BATCH {
            match self.arrivals.next(Instant::now()) {
                Ok(Some(n)) => self.preprocess(n),
                Ok(None) => return,
                Err(dir) => {
                    let dir = dir.to_string_lossy().into_owned();
                    self.log(&[b"alert: unable to opendir ", dir.as_bytes(), b", sleeping...\n"]);
                }
            }
        }
    }

    fn preprocess(&mut self, n: MessNum) {
        if self.journal.has(n) {
            return;
        }
        match self.preprocessor.preprocess(n, self.journal.room(), &mut self.records) {
            None => {}
            Some(Preprocessed::Told(envelope)) => {
                envelope.tell(n, &mut self.records);
                self.journal.add(n, Some(envelope), Instant::now());
            }
            Some(Preprocessed::Written(channels)) => {
                let letter = match channels {
                    [true, true] => 'B',
                    [true, false] => 'L',
                    [false, true] => 'R',
                    [false, false] => 'X',
                };
                self.records.extend_from_slice(format!("D{letter}{n}\0").as_bytes());
                self.journal.add(n, None, Instant::now());
            }
        }
    }
}
