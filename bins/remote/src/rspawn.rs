//! qmail-rspawn: makes the remote deliveries that qmail-send orders.
//!
//! Started by qmail-start as qmailr in the queue's group; fds 0 and 1: orders and reports (lib/queue, spawner). For
//! each order it starts qmail-remote HOST SENDER RECIPIENT with the message as fd 0 and with fds 1 and 2 on the pipe
//! that the report is read from. QMAILREMOTE names a program to be run instead, searched in PATH if it has no slash.
//! Files: queue/mess, and queue/lock/tcpto, which is emptied at the start.
//!
//! Exit codes: 0 after the end of orders and of all deliveries; 111 if it cannot start.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use queue::spawner::{Deliverer, Order, Output, Step};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use sys::Exit;
use sys::process::Ended;
use sys::spawn::{NotStarted, Program};

/// The longest output of qmail-remote (bytes), far more than it ever writes.
const OUTPUT_MAX: usize = 65536;

const NOT_RUN: &str = "DUnable to run qmail-remote.\n";
const NOT_RUN_NOW: &str = "ZUnable to run qmail-remote.\n";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    sys::process::no_core_dumps();
    if sys::process::chdir(&home.join("queue/mess")).is_err() {
        return Exit::TEMPORARY;
    }
    forget_timeouts();
    let own = conf::below(&home, "bin/qmail-remote");
    let other = sys::env::get(b"QMAILREMOTE").filter(|name| !name.is_empty());
    if other.is_none() {
        // qmail-remote has no need of qmail-queue's set-id bit. What a site runs instead may have.
        sys::process::no_new_privileges();
    }
    let mut rspawn = Rspawn { remote: other.unwrap_or(own), path: sys::env::get(b"PATH").unwrap_or_default() };
    match queue::spawner::serve(&mut rspawn, Path::new("."), conf::SPAWN) {
        Ok(()) => Exit::OK,
        Err(_) => Exit::TEMPORARY,
    }
}

/// A restart is also how an administrator gets the waiting mail tried at once.
fn forget_timeouts() {
    let table = sys::fs::open_write_nonblocking(Path::new("../lock/tcpto"));
    // The table is only a cache: without it, or with an old one, mail goes out all the same.
    let _ = table.and_then(|mut t| t.write_all(&[0; queue::tcpto::SIZE]));
}

struct Rspawn {
    remote: Vec<u8>,
    path: Vec<u8>,
}

impl Deliverer for Rspawn {
    type Phase = ();
    const OUTPUT_MAX: usize = OUTPUT_MAX;

    fn begin(&mut self, order: &Order) -> Step<()> {
        let file = sys::spawn::search(&self.remote, &self.path);
        // What is nowhere in PATH fails to execute, like any other file that is not there.
        let file = file.as_deref().unwrap_or(&self.remote);
        match Program::new(file, &[&self.remote, order.host(), &order.sender, &order.recipient]) {
            Ok(program) => {
                let program = program.fd(0, order.message.as_raw_fd());
                Step::Run { program, errors_too: true, phase: () }
            }
            Err(_) => Step::report(NOT_RUN),
        }
    }

    fn ended(&mut self, _order: &Order, _phase: (), how: Ended, output: &Output) -> Step<()> {
        match how {
            Ended::Signal(_) => Step::report("Zqmail-remote crashed.\n"),
            Ended::Exit(111) => Step::report(NOT_RUN_NOW),
            Ended::Exit(1..) => Step::report(NOT_RUN),
            Ended::Exit(0) if output.bytes().is_empty() => Step::report("Zqmail-remote produced no output.\n"),
            // The record that decides may have been lost: when in doubt the mail is kept.
            Ended::Exit(0) if output.is_cut() => Step::report("Zqmail-remote produced too much output.\n"),
            Ended::Exit(0) => Step::Report(report(output.bytes())),
        }
    }

    fn not_started(&mut self, _phase: &(), why: NotStarted) -> &'static str {
        match why {
            NotStarted::Fork(_) => "Zqmail-spawn unable to fork. (#4.3.0)\n",
            NotStarted::Exec(e) if !sys::error::is_temporary(&e) => NOT_RUN,
            _ => NOT_RUN_NOW,
        }
    }
}

/// How a delivery went, from worst to best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Failure,
    Deferral,
    Success,
}

/// The report on one recipient from what qmail-remote wrote: records, each ended by a NUL. The first record is the
/// recipient's if it begins with r, s or h; the first one that begins with K, Z or D is the message's.
///
/// The recipient's letter decides where it is s or h. The message's text follows the recipient's unless the message
/// fared better than the recipient.
fn report(output: &[u8]) -> Vec<u8> {
    let whole = output.iter().rposition(|&b| b == 0).map_or(0, |end| end + 1);
    let mut records = output.get(..whole).unwrap_or_default().split_inclusive(|&b| b == 0).map(|r| {
        let (letter, text) = r.split_first().unwrap_or((&0, &[]));
        (*letter, text.strip_suffix(b"\0").unwrap_or_default())
    });
    let message = records.clone().find_map(|(letter, _)| outcome(letter)).unwrap_or(Outcome::Failure);
    let this = match output.first() {
        Some(b's') => Outcome::Deferral,
        Some(b'h') => Outcome::Failure,
        _ => message,
    };
    let mut report = vec![match this {
        Outcome::Success => b'K',
        Outcome::Deferral => b'Z',
        Outcome::Failure => b'D',
    }];
    report.extend_from_slice(records.next().unwrap_or_default().1);
    if message <= this
        && let Some((letter, text)) = records.next()
        && outcome(letter).is_some()
    {
        report.extend_from_slice(text);
    }
    report
}

fn outcome(letter: u8) -> Option<Outcome> {
    match letter {
        b'K' => Some(Outcome::Success),
        b'Z' => Some(Outcome::Deferral),
        b'D' => Some(Outcome::Failure),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipient_and_message_records_make_one_report() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"r\0Kok\n\0", b"Kok\n"),
            (b"rto x\n\0Kok\n\0", b"Kto x\nok\n"),
            (b"r\0Zlater\n\0", b"Zlater\n"),
            (b"r\0Dno\n\0", b"Dno\n"),
            (b"slater\n\0Kok\n\0", b"Zlater\n"),
            (b"slater\n\0Znow\n\0", b"Zlater\nnow\n"),
            (b"slater\n\0Dno\n\0", b"Zlater\nno\n"),
            (b"hno\n\0Kok\n\0", b"Dno\n"),
            (b"hno\n\0Ztry\n\0", b"Dno\n"),
            (b"hno\n\0Dgone\n\0", b"Dno\ngone\n"),
            (b"Zno connection\n\0", b"Zno connection\n"),
            (b"Dno host\n\0", b"Dno host\n"),
            (b"Kfine\n\0", b"Kfine\n"),
            // The message's record need not be the second; only a second one is quoted.
            (b"r\0r\0Kok\n\0", b"K"),
            // Without any letter that is known nothing is known to be done.
            (b"rfoo", b"D"),
            (b"rfoo\0", b"Dfoo"),
            (b"rfoo\0Kno end", b"Dfoo"),
            (b"\0", b"D"),
            (b"s", b"Z"),
        ];
        for (output, text) in rows {
            assert_eq!(report(output).escape_ascii().to_string(), text.escape_ascii().to_string());
        }
    }
}
