//! qmail-lspawn DEFAULTDELIVERY: makes the local deliveries that qmail-send orders.
//!
//! Started by qmail-start as root in the queue's group; fds 0 and 1: orders and reports (lib/queue, spawner). For
//! each recipient it finds the account in users/cdb, else asks bin/qmail-getpw, run as qmailp:nofiles, whose answers it
//! remembers for a few seconds, unless /etc/passwd changes. Then it starts
//! bin/qmail-local in home as that user and group, without supplementary groups, with the message as fd 0 and with
//! fds 1 and 2 on the pipe that the report is read from. Files: users/cdb, queue/mess.
//!
//! In a private instance, that is not as root, nothing changes its ids and only accounts with the own uid get mail.
//! Exit codes: 0 after the end of orders and of all deliveries; 100 without the argument; 111 if it cannot start.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

#[path = "lspawn/answers.rs"]
mod answers;

use answers::Answers;
use control::users::{self, Assignment};
use queue::spawner::{Deliverer, Job, Output, Recipient, Step};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use sys::Exit;
use sys::process::{Ended, Gid, Uid};
use sys::spawn::{NotStarted, Program};

/// The longest report (bytes); one that is cut keeps the beginning and says so.
const REPORT_MAX: usize = 3000;
const CUT: &[u8] = b"\nError report too long, sorry.\n";

const NOT_AS_ROOT: &str = "ZNot allowed to perform deliveries as root.\n";
const NOT_AS_OTHERS: &str = "ZNot allowed to perform deliveries as another user.\n";
const BAD_CDB: &str = "ZTrouble reading users/cdb in qmail-lspawn.\n";
const TEMPORARY: &str = "ZTemporary failure in qmail-lspawn.\n";
const BUG: &str = "ZInternal qmail-lspawn bug.\n";
const NO_GETPW: &str = "ZUnable to run qmail-getpw.\n";
const NO_LOCAL_NOW: &str = "ZUnable to run qmail-local.\n";
const NO_LOCAL: &str = "DUnable to run qmail-local.\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&default_delivery) = args.first() else { return Exit::PERMANENT };
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let authority = match sys::process::euid() {
        Uid(0) => match getpw_ids(&home) {
            Ok((uid, gid)) => Authority::Root(uid, gid),
            Err(missing) => {
                sys::error::complain(&[b"fatal: unable to find ", missing.as_bytes()]);
                return Exit::TEMPORARY;
            }
        },
        own => Authority::Private(own),
    };
    if sys::process::chdir(&home).is_err() {
        return Exit::TEMPORARY;
    }
    let mut lspawn = Lspawn {
        default_delivery: default_delivery.to_vec(),
        authority,
        users: home.join("users/cdb"),
        answers: Answers::default(),
    };
    let queue_dir = conf::queue(Path::new(""), sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    match queue::spawner::serve(&mut lspawn, &queue_dir.join("mess"), conf::SPAWN) {
        Ok(()) => Exit::OK,
        Err(_) => Exit::TEMPORARY,
    }
}

/// Who qmail-getpw runs as, or the name of what does not exist.
fn getpw_ids(home: &Path) -> Result<(Uid, Gid), &'static str> {
    let ids = conf::ids::Ids::load(home);
    let uid = ids.user(conf::names::QMAILP).ok_or(conf::names::QMAILP)?;
    let gid = ids.group(conf::names::NOFILES).ok_or(conf::names::NOFILES)?;
    Ok((Uid(uid), Gid(gid)))
}

/// What this spawner may do.
enum Authority {
    /// Deliver as anybody but root; qmail-getpw runs with these ids.
    Root(Uid, Gid),
    /// Deliver as this one user.
    Private(Uid),
}

struct Lspawn {
    default_delivery: Vec<u8>,
    authority: Authority,
    users: PathBuf,
    /// Those of qmail-getpw.
    answers: Answers,
}

/// The program that a delivery waits for.
enum Phase {
    Getpw,
    Local,
}

impl Deliverer for Lspawn {
    type Phase = Phase;
    const OUTPUT_MAX: usize = REPORT_MAX;

    fn joins(&self, _group: &[Recipient], _next: &Recipient) -> bool {
        // Each delivery runs as another user, and what one user's commands print is no other's business.
        false
    }

    fn is_worth_it(&self, _deliveries: usize) -> bool {
        false
    }

    fn begin(&mut self, job: &Job) -> Step<Phase> {
        if job.first.local().is_empty() {
            // The address <>, as it comes here with a host: mail to nobody.
            return Step::report("K");
        }
        // Opened each time, so that a new users/cdb counts at once.
        match users::find(&self.users, job.first.local()) {
            Ok(Some(fields)) => self.local(job, &fields),
            Ok(None) => match self.answers.find(job.first.local()).map(<[u8]>::to_vec) {
                Some(fields) => self.local(job, &fields),
                None => self.getpw(job),
            },
            Err(_) => Step::report(BAD_CDB),
        }
    }

    fn ended(&mut self, job: &Job, phase: Phase, how: Ended, output: &Output) -> Step<Phase> {
        match (phase, how) {
            (Phase::Getpw, Ended::Exit(0)) if output.is_cut() => Step::report(BUG),
            (Phase::Getpw, Ended::Exit(0)) => {
                self.answers.keep(job.first.local(), output.bytes());
                self.local(job, output.bytes())
            }
            (Phase::Getpw, Ended::Exit(code)) => Step::report(fixed_text(code).unwrap_or(NO_GETPW)),
            (Phase::Getpw, Ended::Signal(_)) => Step::report(TEMPORARY),
            (Phase::Local, Ended::Signal(_)) => Step::report("Zqmail-local crashed.\n"),
            (Phase::Local, Ended::Exit(code)) => Step::Report(report(code, output.bytes(), output.is_cut())),
        }
    }

    fn not_started(&mut self, phase: &Phase, why: NotStarted) -> &'static str {
        match (phase, why) {
            (_, NotStarted::Arrange(_)) => TEMPORARY,
            (_, NotStarted::Ids(_)) => BUG,
            (Phase::Getpw, NotStarted::Fork(_)) => TEMPORARY,
            (Phase::Getpw, NotStarted::Exec(_)) => NO_GETPW,
            (Phase::Local, NotStarted::Fork(_)) => "Zqmail-spawn unable to fork. (#4.3.0)\n",
            (Phase::Local, NotStarted::Exec(e)) if sys::error::is_temporary(&e) => NO_LOCAL_NOW,
            (Phase::Local, NotStarted::Exec(_)) => NO_LOCAL,
        }
    }
}

impl Lspawn {
    /// Asks qmail-getpw for the account. It gets neither the orders nor the message.
    fn getpw(&self, job: &Job) -> Step<Phase> {
        let Ok(program) = Program::new(b"bin/qmail-getpw", &[b"bin/qmail-getpw", job.first.local()]) else {
            return Step::report(BUG);
        };
        let program = match self.authority {
            Authority::Root(uid, gid) => program.ids(uid, gid),
            Authority::Private(_) => program,
        };
        Step::Run { program: program.closed(0), errors_too: false, phase: Phase::Getpw }
    }

    /// Delivers to the account in `fields`.
    fn local(&self, job: &Job, fields: &[u8]) -> Step<Phase> {
        let Some(account) = Assignment::parse(fields) else { return Step::report(BUG) };
        let Assignment { user, uid, gid, home, dash, ext } = account;
        // The one check that a wrong users/cdb and a qmail-getpw taken over by an attacker cannot get past.
        if uid == 0 {
            return Step::report(NOT_AS_ROOT);
        }
        let (local, host) = (job.first.local(), job.first.host());
        let argv: [&[u8]; 10] =
            [b"bin/qmail-local", b"--", &user, &home, local, &dash, &ext, host, &job.sender, &self.default_delivery];
        let Ok(program) = Program::new(b"bin/qmail-local", &argv) else { return Step::report(BUG) };
        let program = match self.authority {
            Authority::Root(..) => program.ids(Uid(uid), Gid(gid)),
            Authority::Private(own) if own == Uid(uid) => program,
            Authority::Private(_) => return Step::report(NOT_AS_OTHERS),
        };
        Step::Run { program: program.fd(0, job.message.as_raw_fd()), errors_too: true, phase: Phase::Local }
    }
}

/// The texts for exit codes that are not a delivery's (spec/programs.md 2.3). qmail-getpw uses them, and so does
/// qmail-local where it says what the spawner's child said in qmail.
fn fixed_text(code: u8) -> Option<&'static str> {
    Some(match code {
        112 => BUG,
        113 => NOT_AS_ROOT,
        115 => "ZNFS failure in qmail-local.\n",
        116 => "ZUnable to find alias user!\n",
        117 => BAD_CDB,
        118 => TEMPORARY,
        119 => "ZOut of memory in qmail-lspawn.\n",
        120 => NO_LOCAL_NOW,
        121 => NO_GETPW,
        126 => NO_LOCAL,
        _ => return None,
    })
}

/// The report on a qmail-local that exited with `code` and wrote `output`.
fn report(code: u8, output: &[u8], cut: bool) -> Vec<u8> {
    if let Some(text) = fixed_text(code) {
        return text.as_bytes().to_vec();
    }
    let letter = match code {
        0 => b'K',
        71 | 74 | 75 | 111 => b'Z',
        _ => b'D',
    };
    let mut report = vec![letter];
    if cut {
        report.extend(output.iter().take(REPORT_MAX - CUT.len() - 3));
        report.extend_from_slice(CUT);
    } else {
        report.extend_from_slice(output);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_become_letters_and_texts() {
        let rows: &[(u8, &str)] = &[
            (0, "Kout\n"),
            (1, "Dout\n"),
            (71, "Zout\n"),
            (74, "Zout\n"),
            (75, "Zout\n"),
            (99, "Dout\n"),
            (100, "Dout\n"),
            (101, "Dout\n"),
            (111, "Zout\n"),
            (112, "ZInternal qmail-lspawn bug.\n"),
            (113, "ZNot allowed to perform deliveries as root.\n"),
            (114, "Dout\n"),
            (115, "ZNFS failure in qmail-local.\n"),
            (116, "ZUnable to find alias user!\n"),
            (117, "ZTrouble reading users/cdb in qmail-lspawn.\n"),
            (118, "ZTemporary failure in qmail-lspawn.\n"),
            (119, "ZOut of memory in qmail-lspawn.\n"),
            (120, "ZUnable to run qmail-local.\n"),
            (121, "ZUnable to run qmail-getpw.\n"),
            (126, "DUnable to run qmail-local.\n"),
            (255, "Dout\n"),
        ];
        for (code, text) in rows {
            assert_eq!(report(*code, b"out\n", false), text.as_bytes(), "{code}");
        }
    }

    #[test]
    fn a_cut_report_says_so_and_stays_within_the_limit() {
        let long = report(100, &[b'x'; REPORT_MAX], true);
        assert_eq!(long.len(), 1 + REPORT_MAX - 3);
        assert!(long.ends_with(CUT));
        assert_eq!(report(0, &[b'x'; REPORT_MAX], false).len(), 1 + REPORT_MAX);
    }
}
