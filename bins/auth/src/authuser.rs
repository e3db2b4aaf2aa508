//! qmail-authuser: checks a user's name and password for qmail-smtpd, qmail-popup, or anything else that speaks the
//! checkpassword interface, and becomes its last argument if they are right.
//!
//! Usage: `qmail-authuser [-s socket] [-x name=value ...] program [argument ...]`. fd 3, a pipe, has the name, the
//! password or a digest of it, and the challenge for that digest, each ended by NUL, together at most 512 bytes; or the
//! beginning of a SCRAM-SHA-256 exchange, which goes on on fd 3 and fd 4 (see authuser/exchange.rs). users/authuser
//! below home says how the user is checked. Descriptors but 3, and 4 after SCRAM, are left to the program.
//!
//! It may be set-id root, for passwords that only root can check. Then it answers only to root, qmaild and the users
//! in control/authcallers, and has its caller's ids again before it becomes the program, unless the account's entry
//! asks for the account's own. A refusal takes a multiple of half a second, whatever led to it.
//!
//! Exit codes: the program's; 1 refused; 2 not called as above, or not by one of those; 111 trouble.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

#[path = "authuser/accounts.rs"]
mod accounts;
#[path = "authuser/check.rs"]
mod check;
#[path = "authuser/dovecot.rs"]
mod dovecot;
#[path = "authuser/exchange.rs"]
mod exchange;
#[path = "authuser/helper.rs"]
mod helper;
#[path = "authuser/request.rs"]
mod request;

use accounts::Entry;
use check::Account;
use request::Request;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use sys::env::Env;
use sys::fd::{self, Fd};
use sys::opt::{Opt, Scanner};
use sys::process::{self, Uid};
use sys::spawn::Program;
use sys::{Exit, env, signal};

/// Where the request comes from.
const INPUT: Fd = Fd(3);
/// Where a SCRAM exchange answers.
const ANSWERS: Fd = Fd(4);
/// A refusal ends at a multiple of this after the start: how long the check took must not tell what was wrong.
const REFUSAL: Duration = Duration::from_millis(500);
/// Called in a way that makes no sense, or by somebody who must not.
const MISUSED: Exit = Exit(2);

/// How a check ended, if not with the right password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The answer is no.
    Refused,
    /// See [`MISUSED`].
    Misused,
    /// There is no answer.
    Trouble,
}

/// What the command line and the environment say.
struct Setting<'a> {
    home: PathBuf,
    /// Where Dovecot listens.
    socket: &'a [u8],
    /// What Dovecot is told besides, as it is written.
    extra: Vec<&'a [u8]>,
    program: &'a [&'a [u8]],
}

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let start = Instant::now();
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    let Some(setting) = arguments(&args) else { return MISUSED };
    match checked(&setting) {
        Ok(account) => become_program(&setting, account),
        Err(Failure::Misused) => MISUSED,
        Err(Failure::Trouble) => Exit::TEMPORARY,
        Err(Failure::Refused) => {
            pause(start);
            Exit::NO
        }
    }
}

fn arguments<'a>(args: &'a [&'a [u8]]) -> Option<Setting<'a>> {
    let mut options = Scanner::new(b"s:x:", args);
    let (mut socket, mut extra) = (dovecot::SOCKET, Vec::new());
    for option in options.by_ref() {
        match option {
            Opt::Value(b's', path) => socket = path,
            Opt::Value(_, value) => extra.push(value),
            Opt::Flag(_) | Opt::Unknown(_) => return None,
        }
    }
    let program = options.rest();
    let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    (!program.is_empty()).then_some(Setting { home, socket, extra, program })
}

/// The account to become, if any, of the user who has proved to be one.
fn checked(setting: &Setting<'_>) -> Result<Option<Account>, Failure> {
    if !caller_is_allowed(setting)? || !INPUT.metadata().is_ok_and(|m| m.file_type().is_fifo()) {
        return Err(Failure::Misused);
    }
    let text = accounts::read(&setting.home).map_err(|_| Failure::Trouble)?;
    let request = Request::read(INPUT)?;
    let value = match accounts::find(&text, &request.user) {
        Entry::Value(value) => Some(value),
        Entry::None | Entry::Disabled => None,
    };
    if let Some(scram) = &request.scram {
        exchange::run(&setting.home, &text, &request, scram, value)?;
        fd::close(INPUT.0);
        fd::close(ANSWERS.0);
        return Ok(None);
    }
    fd::close(INPUT.0);
    check::check(setting, &request, value.ok_or(Failure::Refused)?)
}

/// A set-id program would let anybody on this host try passwords.
fn caller_is_allowed(setting: &Setting<'_>) -> Result<bool, Failure> {
    let caller = process::uid();
    if !process::is_privileged_beyond_caller() || caller == Uid(0) {
        return Ok(true);
    }
    if conf::ids::Ids::load(&setting.home).user(conf::names::QMAILD) == Some(caller.0) {
        return Ok(true);
    }
    let controls = control::Controls::of(&setting.home);
    let list = controls.list("authcallers").map_err(|_| Failure::Trouble)?.unwrap_or_default();
    // These need not be accounts of the mail system: /etc/passwd, not users/ids.
    let host = conf::ids::Ids::default();
    let number = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|n| n.parse().ok().or_else(|| host.user(n)));
    Ok(list.iter().any(|name| number(name) == Some(caller.0)))
}

/// Goes on as the program of the command line, with the caller's ids or the account's. Returns only if that failed.
fn become_program(setting: &Setting<'_>, account: Option<Account>) -> Exit {
    let mut variables = Env::inherit();
    let taken_on = match &account {
        None => process::become_caller(),
        Some(account) => account.take_on(&mut variables),
    };
    if taken_on.is_err() {
        return Exit::TEMPORARY;
    }
    if let Ok(program) = Program::named(setting.program, env::get(b"PATH").as_deref()) {
        program.env(variables).exec();
    }
    Exit::TEMPORARY
}

fn pause(start: Instant) {
    let step = REFUSAL.as_millis().max(1);
    let over = start.elapsed().as_millis() % step;
    let end = Instant::now() + Duration::from_millis(u64::try_from(step - over).unwrap_or(0));
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        // It can only end too early, and is asked again then.
        let _ = sys::poll::wait(&mut [], Some(left));
    }
}
