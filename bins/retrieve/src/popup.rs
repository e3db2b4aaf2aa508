//! qmail-popup: takes a user's name and password by POP3 and starts the program that checks them.
//!
//! Started by tcpserver, sslserver or a program like them for one connection, as root if the checking program needs
//! that. fd 0 and fd 1 are the connection; fd 5 is the log, or if it is closed fd 2. Arguments: the name of this host,
//! then the checking program with its own arguments, searched in PATH. That program has the connection on 0, 1 and 2,
//! and on fd 3 reads the name, the password (or the digest of APOP or CRAM-MD5) and the timestamp of the greeting, each
//! ended by NUL; if they are right it becomes its last argument, qmail-pop3d as a rule. One try for a connection. For
//! SCRAM-SHA-256 it also talks, on fd 4 (qmail-authuser(8)).
//! UCSPITLS and POP3AUTH say what is offered (qmail-popup(8)).
//!
//! Exit code: 1, however the session ended.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

#[path = "popup/log.rs"]
mod log;
#[path = "popup/scram.rs"]
mod scram;
#[path = "popup/tls.rs"]
mod tls;

use log::Log;
use pop3::line::Lines;
use pop3::login::{self, Credentials, End, Method, Offer, Tls};
use pop3::output::Output;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use sys::env::{self, Env};
use sys::poll::Timed;
use sys::process::{self, Ended, Pid};
use sys::spawn::{NotStarted, Program};
use sys::{Exit, error, fd, signal, spawn};
use tls::Control;

/// How long a client may be silent, or not take an answer (seconds; RFC 1939 3 asks for 10 minutes at least).
const TIMEOUT_SECS: u64 = 1200;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

const USAGE: &[u8] = b"-ERR usage: popup hostname subprogram\r\n";
const NO_PIPE: &[u8] = b"-ERR unable to open pipe\r\n";
const NOT_WRITTEN: &[u8] = b"-ERR unable to write pipe\r\n";
const NO_FORK: &[u8] = b"-ERR unable to fork\r\n";
const CRASHED: &[u8] = b"-ERR aack, child crashed\r\n";
const REFUSED: &[u8] = b"-ERR authorization failed\r\n";
const NO_TLS: &[u8] = b"-ERR TLS required but not negotiated\r\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    // A client that hangs up is an error of write, not the death of this process.
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    if let Some(last_words) = serve(&args) {
        // The client may be gone already; then nobody is left to tell.
        let _ = Timed::new(1, TIMEOUT_SECS).write_all(last_words);
    }
    Exit::NO
}

/// The whole session; returns what the client is still to be told.
fn serve(args: &[&[u8]]) -> Option<&'static [u8]> {
    let Some((host, checker)) = args.split_first().filter(|(_, checker)| !checker.is_empty()) else {
        return Some(USAGE);
    };
    let control = Control::find();
    let mut log = Log::new(control.as_ref());
    let mut offer = offer(log.is_secure(), control.is_some());
    let mut variables = None;
    let start = format!("<{}.{}@", process::pid().0, sys::time::now());
    let timestamp = [start.as_bytes(), host, b">"].concat();
    // Trouble with the connection and a client that leaves come to the same.
    let mut end = converse(&timestamp, offer, true)?;
    if let End::StartTls = end {
        let variables = variables.insert(Env::inherit());
        // Without TLS nothing more is said: it would be in clear.
        control?.start(variables).ok()?;
        log.secured();
        offer.tls = Tls::Active;
        end = converse(&timestamp, offer, false)?;
    }
    match end {
        End::Check(credentials) => check(checker, credentials, &timestamp, variables, &log).err(),
        End::Scram(first) => scram::check(checker, &first, variables, &log).err(),
        End::WithoutTls => {
            log.say("Reject::STLS::Any", b"unknown");
            Some(NO_TLS)
        }
        End::Gone | End::StartTls => None,
    }
}

fn converse(timestamp: &[u8], offer: Offer, greet: bool) -> Option<End> {
    let mut lines = Lines::new(Timed::new(0, TIMEOUT_SECS));
    let mut output = Output::new(Timed::new(1, TIMEOUT_SECS));
    login::converse(&mut lines, &mut output, timestamp, offer, greet).ok()
}

/// What UCSPITLS and POP3AUTH say, for a connection that is under TLS already, or can be.
fn offer(secure: bool, possible: bool) -> Offer {
    let tls = match env::get(b"UCSPITLS").as_deref() {
        _ if secure => Tls::Active,
        None | Some(b"-") => Tls::Off,
        Some(b"!") => Tls::Required,
        Some(_) if possible => Tls::Offered,
        Some(_) => Tls::Off,
    };
    let auth = env::get(b"POP3AUTH").unwrap_or_default().to_ascii_lowercase();
    let word = |word: &[u8]| auth.split(|&b| b == b'+').any(|w| w.starts_with(word));
    Offer { apop: !auth.starts_with(b"-"), cram: word(b"cram"), scram: word(b"scram"), tls }
}

/// Lets the checking program decide, and whatever it becomes serve the client; returns when that is over.
fn check(
    checker: &[&[u8]],
    credentials: Credentials,
    timestamp: &[u8],
    variables: Option<Env>,
    log: &Log,
) -> Result<(), &'static [u8]> {
    let (reader, writer) = fd::pipe().map_err(|_| NO_PIPE)?;
    let record = credentials.record(timestamp);
    // The pipe holds all of it before anybody reads: a checker that is not interested does no harm.
    let written =
        fd::set_nonblocking(writer.as_raw_fd(), true).and_then(|()| fd::write_all(writer.as_raw_fd(), &record));
    drop(record);
    let Credentials { user, secret, method } = credentials;
    // Not kept through the session that follows.
    drop(secret);
    written.map_err(|_| NOT_WRITTEN)?;
    drop(writer);

    let child = start(checker, &[(3, reader.as_raw_fd())], variables)?;
    drop(reader);
    let method = match method {
        Method::User => "User",
        Method::Apop => "Apop",
        Method::Plain => "Plain",
        Method::Login => "Login",
        Method::Cram => "Cram-MD5",
    };
    judge(child, method, &user, log)
}

/// Starts the checking program with these descriptors besides the connection.
fn start(checker: &[&[u8]], with: &[(RawFd, RawFd)], variables: Option<Env>) -> Result<Pid, &'static [u8]> {
    let name = checker.first().copied().unwrap_or_default();
    let path = env::get(b"PATH").unwrap_or_else(|| PATH.to_vec());
    let program = Program::new(&spawn::search(name, &path).unwrap_or_else(|| name.to_vec()), checker);
    let program = program.map(|p| with.iter().fold(p.fd(2, 1), |p, (to, from)| p.fd(*to, *from)));
    let program = program.map(|p| variables.into_iter().fold(p, Program::env));
    program.map_err(NotStarted::Arrange).and_then(|p| p.try_start()).map_err(|why| {
        let answer = if matches!(why, NotStarted::Fork(_)) { NO_FORK } else { REFUSED };
        error::complain(&[b"fatal: unable to run ", name, b": ", error::text(&why.into_error()).as_bytes()]);
        answer
    })
}

/// Waits for the end, and logs what it means.
fn judge(child: Pid, method: &str, user: &[u8], log: &Log) -> Result<(), &'static [u8]> {
    let (verdict, result): (_, Result<(), &[u8]>) = match process::wait(child) {
        Ok(Ended::Exit(0)) | Err(_) => ("Accept", Ok(())),
        Ok(Ended::Exit(_)) => ("Reject", Err(REFUSED)),
        Ok(Ended::Signal(_)) => ("Reject", Err(CRASHED)),
    };
    log.say(&format!("{verdict}::AUTH::{method}"), user);
    result
}
