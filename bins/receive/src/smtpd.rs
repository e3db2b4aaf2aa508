//! qmail-smtpd: takes mail from the network by SMTP and hands it to qmail-queue.
//!
//! Started by tcpserver or sslserver (through tcprules and rblsmtpd, if there are any) for one connection, as qmaild.
//! fd 0 and fd 1 are the connection; fd 2 is the log. Reads control/me, smtpgreeting, timeoutsmtpd, databytes,
//! badmailfrom and rcpthosts, and when an address calls for it localiphost and morercpthosts.cdb. The environment tells
//! of the connection (tcp-environ(5)) and of the client's rights: RELAYCLIENT, DATABYTES, QMAILQUEUE. Starts
//! bin/qmail-queue below home, or what QMAILQUEUE names, for each message.
//!
//! Exit codes: 0 the client said QUIT; 1 the session ended in another way.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use control::{Controls, Unreadable};
use queue::Submission;
use smtp::server::{End, Queue, Rules, Session, Settings, TIMEOUT_MAX, Trouble};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::env::{self, Env};
use sys::poll::Timed;
use sys::{Exit, error, process, signal};

/// Default limit for a command line, a read of a message, or a write, in seconds (RFC 5321 4.5.3.2.7 asks for 5
/// minutes at least).
const TIMEOUT_SECS: u64 = 1200;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    // A client that hangs up is an error of write, not the death of this process.
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    let end = match prepare(&home) {
        Err(unreadable) => {
            let trouble = Trouble::Controls(unreadable);
            // The client may be gone already; then nobody is left to tell.
            let _ = sys::fd::write_all(1, trouble.last_words());
            End::Trouble(trouble)
        }
        Ok((settings, rules)) => {
            let seconds = settings.timeout.as_secs();
            let queue = LocalQueue { home, program: env::get(b"QMAILQUEUE") };
            Session::new(settings, rules, queue, Timed::new(0, seconds), Timed::new(1, seconds)).run()
        }
    };
    match end {
        End::Quit => Exit::OK,
        End::Trouble(trouble) => {
            log(&trouble);
            Exit::NO
        }
        _ => Exit::NO,
    }
}

/// Reads what every session needs from the controls and the environment.
fn prepare(home: &Path) -> Result<(Settings, Rules), Unreadable> {
    let controls = Controls::of(home);
    process::chdir(home).map_err(|error| Unreadable { file: home.into(), error })?;
    let greeting = controls.line_or_me("smtpgreeting")?;
    let nameless = || Unreadable { file: controls.path("me"), error: io::ErrorKind::NotFound.into() };
    let relayclient = env::get(b"RELAYCLIENT");
    let databytes = match env::get(b"DATABYTES") {
        // A value that is no number lifts the limit, as it always did.
        Some(value) => control::leading_number(&value).unwrap_or(0),
        None => controls.number("databytes")?.unwrap_or(0),
    };
    let seconds = controls.number("timeoutsmtpd")?.unwrap_or(TIMEOUT_SECS).max(1);
    let rules = Rules::read(&controls, relayclient.is_some())?;
    let or_unknown = |name: &[u8]| env::get(name).unwrap_or_else(|| b"unknown".to_vec());
    let settings = Settings {
        greeting: greeting.ok_or_else(nameless)?,
        timeout: Duration::from_secs(seconds).min(TIMEOUT_MAX),
        databytes,
        relayclient,
        remote_ip: or_unknown(b"TCPREMOTEIP"),
        remote_host: or_unknown(b"TCPREMOTEHOST"),
        remote_info: env::get(b"TCPREMOTEINFO"),
        local: env::get(b"TCPLOCALHOST").unwrap_or_else(|| or_unknown(b"TCPLOCALIP")),
    };
    Ok((settings, rules))
}

/// qmail-queue of this home, or the program that stands in for it.
struct LocalQueue {
    home: PathBuf,
    program: Option<Vec<u8>>,
}

impl Queue for LocalQueue {
    type Mail = Submission;

    fn open(&mut self) -> io::Result<Submission> {
        Submission::start(&self.home, self.program.as_deref(), Env::inherit())
    }
}

/// The client is only told that it is not its fault; the log gets to know what is wrong.
fn log(trouble: &Trouble) {
    match trouble {
        Trouble::Controls(Unreadable { file, error: e }) => {
            error::complain(&[
                b"fatal: unable to read ",
                file.as_os_str().as_bytes(),
                b": ",
                error::text(e).as_bytes(),
            ]);
        }
        Trouble::Addresses(e) => {
            error::complain(&[b"fatal: unable to find my IP addresses: ", error::text(e).as_bytes()]);
        }
        Trouble::Memory => error::complain(&[b"fatal: out of memory"]),
    }
}
