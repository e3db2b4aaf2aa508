//! qmail-rspawn: makes the remote deliveries that qmail-send orders.
//!
//! Started by qmail-start as qmailr in the queue's group; fds 0 and 1: orders and reports (lib/queue, spawner). For
//! each job it starts qmail-remote HOST SENDER RECIPIENT... with the message as fd 0 and with fds 1 and 2 on the pipe
//! that the reports are read from. Many orders that come together for one message, sender and host make one job.
//! QMAILREMOTE names a program to be run instead, searched in PATH if it has no slash; it gets one recipient at a time.
//! Files: queue/mess, and queue/lock/tcpto, which is emptied at the start.
//!
//! Exit codes: 0 after the end of orders and of all deliveries; 111 if it cannot start.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use queue::spawner::{Deliverer, Job, Output, Recipient, Step};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use sys::Exit;
use sys::process::Ended;
use sys::spawn::{NotStarted, Program};

/// The longest output of qmail-remote (bytes): it quotes a server with at most 5000 bytes for each recipient and for the
/// message (lib/smtp), so that this is enough for [`RECIPIENTS_MAX`].
const OUTPUT_MAX: usize = 262_144;
/// The most recipients of one job. Every server takes 100 (RFC 5321 4.5.3.1.8); less keeps both processors busy.
const RECIPIENTS_MAX: usize = 50;
/// The fewest that are handed over together: a few are there sooner, each over a connection of its own.
const RECIPIENTS_MIN: usize = 16;
/// The most that their addresses take (bytes): the system limits what fits into a program's arguments.
const ADDRESSES_MAX: usize = 65536;

const NOT_RUN: &str = "DUnable to run qmail-remote.\n";
const NOT_RUN_NOW: &str = "ZUnable to run qmail-remote.\n";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue_dir = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    sys::process::no_core_dumps();
    if sys::process::chdir(&queue_dir.join("mess")).is_err() {
        return Exit::TEMPORARY;
    }
    forget_timeouts();
    let own = conf::below(&home, "bin/qmail-remote");
    let other = sys::env::get(b"QMAILREMOTE").filter(|name| !name.is_empty());
    if other.is_none() {
        // qmail-remote has no need of qmail-queue's set-id bit. What a site runs instead may have.
        sys::process::no_new_privileges();
    }
    let path = sys::env::get(b"PATH").unwrap_or_default();
    // Whoever wrote a program for QMAILREMOTE has seen one recipient at a time.
    let one_by_one = other.is_some();
    let mut rspawn = Rspawn { remote: other.unwrap_or(own), path, one_by_one };
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
    /// Every recipient is a job of its own.
    one_by_one: bool,
}

impl Deliverer for Rspawn {
    type Phase = ();
    const OUTPUT_MAX: usize = OUTPUT_MAX;

    fn joins(&self, group: &[Recipient], next: &Recipient) -> bool {
        let bytes: usize = group.iter().map(|r| r.address.len()).sum();
        group.len() < RECIPIENTS_MAX
            && group.first().is_some_and(|first| first.host() == next.host())
            && bytes + next.address.len() <= ADDRESSES_MAX
    }

    fn is_worth_it(&self, deliveries: usize) -> bool {
        !self.one_by_one && deliveries >= RECIPIENTS_MIN
    }

    fn begin(&mut self, job: &Job) -> Step<()> {
        let file = sys::spawn::search(&self.remote, &self.path);
        // What is nowhere in PATH fails to execute, like any other file that is not there.
        let file = file.as_deref().unwrap_or(&self.remote);
        let mut argv: Vec<&[u8]> = vec![&self.remote, job.first.host(), &job.sender];
        argv.extend(job.recipients().map(|r| r.address.as_slice()));
        match Program::new(file, &argv) {
            Ok(program) => {
                let program = program.fd(0, job.message.as_raw_fd());
                Step::Run { program, errors_too: true, phase: () }
            }
            Err(_) => Step::report(NOT_RUN),
        }
    }

    fn ended(&mut self, job: &Job, _phase: (), how: Ended, output: &Output) -> Step<()> {
        match how {
            Ended::Signal(_) => Step::report("Zqmail-remote crashed.\n"),
            Ended::Exit(111) => Step::report(NOT_RUN_NOW),
            Ended::Exit(1..) => Step::report(NOT_RUN),
            Ended::Exit(0) if output.bytes().is_empty() => Step::report("Zqmail-remote produced no output.\n"),
            // The record that decides may have been lost: when in doubt the mail is kept.
            Ended::Exit(0) if output.is_cut() => Step::report("Zqmail-remote produced too much output.\n"),
            Ended::Exit(0) if job.size() == 1 => Step::Report(report(output.bytes())),
            Ended::Exit(0) => reports(output.bytes(), job.size()),
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

/// The reports on several recipients. Each has a record of its own, in order, and the first record that begins with K,
/// Z or D is the message's; it alone, before any recipient's, speaks for all of them.
///
/// A recipient that has no record, as from a program that knows one recipient only, is tried again, and so is one of
/// which the server wants no more in one go (RFC 5321 4.5.3.1.10), if it took others.
fn reports(output: &[u8], size: usize) -> Step<()> {
    let whole = output.iter().rposition(|&b| b == 0).map_or(0, |end| end + 1);
    let records = || output.get(..whole).unwrap_or_default().split_inclusive(|&b| b == 0);
    let Some(of_message) = records().find(|r| r.first().is_some_and(|&letter| outcome(letter).is_some())) else {
        return Step::report("Zqmail-remote did not say what became of the message.\n");
    };
    let of_recipients = || records().take_while(|r| matches!(r.first(), Some(b'r' | b's' | b'h'))).take(size);
    if of_recipients().next().is_none() {
        return Step::Report(report(output));
    }
    let some_taken = of_recipients().any(|r| r.starts_with(b"r"));
    let report_on = |record: &[u8]| {
        let too_many = some_taken && is_too_many(record);
        (!too_many).then(|| report(&[record, of_message].concat()))
    };
    Step::Reports(of_recipients().map(report_on).collect())
}

/// Whether a recipient was refused because there were too many before it.
fn is_too_many(record: &[u8]) -> bool {
    let said = b"Remote host said: 452";
    record.starts_with(b"s") && record.windows(said.len()).any(|w| w == said)
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

    #[test]
    fn each_of_several_recipients_gets_its_own_report() {
        let again = "tried again";
        let full = "sX does not like recipient.\nRemote host said: 452 4.5.3 too many\n\0";
        let rows: &[(&str, &[&str])] = &[
            ("r\0r\0r\0Kok\n\0", &["Kok\n", "Kok\n", "Kok\n"]),
            ("r\0hno\n\0slater\n\0Kok\n\0", &["Kok\n", "Dno\n", "Zlater\n"]),
            ("r\0hno\n\0r\0Znot now\n\0", &["Znot now\n", "Dno\n", "Znot now\n"]),
            (
                "hno\n\0hno\n\0slater\n\0DGiving up\n\0",
                &["Dno\nGiving up\n", "Dno\nGiving up\n", "Zlater\nGiving up\n"],
            ),
            // What happens before the recipients are named concerns all.
            ("Zno connection\n\0", &["Zno connection\n"]),
            // A program that looks at its first recipient only.
            ("r\0Kok\n\0", &["Kok\n", again, again]),
            ("hno\n\0Dno\n\0", &["Dno\nno\n", again, again]),
            (&["r\0", full, "r\0Kok\n\0"].concat(), &["Kok\n", again, "Kok\n"]),
            // Without a verdict on the message nothing is known to have arrived.
            ("r\0r\0r\0", &["Zqmail-remote did not say what became of the message.\n"]),
        ];
        for (output, texts) in rows {
            let got: Vec<String> = match reports(output.as_bytes(), 3) {
                Step::Report(text) => vec![text.escape_ascii().to_string()],
                Step::Reports(mut texts) => {
                    texts.resize(3, None);
                    texts.iter().map(|t| t.as_ref().map_or(again.into(), |t| t.escape_ascii().to_string())).collect()
                }
                Step::Run { .. } => panic!("{output}"),
            };
            let texts: Vec<String> = texts.iter().map(|t| t.as_bytes().escape_ascii().to_string()).collect();
            assert_eq!(got, texts, "{output}");
        }
        let none_taken = [full, full, "DGiving up\n\0"].concat();
        assert!(matches!(reports(none_taken.as_bytes(), 2), Step::Reports(texts) if texts.iter().all(Option::is_some)));
    }
}
