//! The four kinds of delivery.

use super::failure::{Failure, explain};
use super::job::Job;
use super::message::{Message, rewind};
use mailbox::maildir::{self, Draft};
use mailbox::mbox;
use queue::Submission;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;
use sys::fd::STDIN;
use sys::process::Ended;
use sys::spawn::{NotStarted, Program};

const SHELL: &[u8] = b"/bin/sh";
/// Exit codes of a command that mean: never. Besides 100 they are those of sysexits(3) that can not get better, and the
/// usage error of old programs.
const NEVER: [u8; 8] = [100, 64, 65, 70, 76, 77, 78, 112];
/// When the system kills a maildir delivery that does not even come to look at the clock (seconds).
const STUCK_SECS: u32 = maildir::DELIVERY_SECS as u32 + 300;

/// Whether later lines are carried out.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// They are.
    Continue,
    /// The command has asked that they are not (exit code 99).
    Stop,
}

/// Delivers to maildir `name`.
pub fn maildir(message: &Message, name: &[u8]) -> Result<(), Failure> {
    survive_size_limit();
    sys::signal::alarm(STUCK_SECS);
    let done = store(message, Path::new(OsStr::from_bytes(name)));
    sys::signal::alarm(0);
    done
}

fn store(message: &Message, dir: &Path) -> Result<(), Failure> {
    let why = |e| match e {
        maildir::Error::NoDirectory(_) => Failure::temporary(&[b"Unable to chdir to maildir. (#4.2.1)"]),
        maildir::Error::Late => Failure::temporary(&[b"Timeout on maildir delivery. (#4.3.0)"]),
        maildir::Error::Read(_) => Failure::temporary(&[b"Unable to read message. (#4.3.0)"]),
        maildir::Error::Failed(_) => Failure::temporary(&[b"Temporary error on maildir delivery. (#4.3.0)"]),
    };
    let mut draft = Draft::create(dir).map_err(why)?;
    draft.put(message.beginning()).map_err(why)?;
    if message.has_more()? {
        draft.put_rest_of(STDIN).map_err(why)?;
    }
    draft.deliver().map_err(why)
}

/// Appends to mbox file `name`.
pub fn mbox(job: &Job, message: &Message, name: &[u8]) -> Result<(), Failure> {
    survive_size_limit();
    let front = [&job.from_line[..], &job.front].concat();
    let mut reader = message.reader()?;
    mbox::append(Path::new(OsStr::from_bytes(name)), &front, &mut reader).map_err(|e| match e {
        mbox::Error::Open(e) => explain(&[b"Unable to open ", name], &e, b"4.2.1"),
        mbox::Error::NotRegular => Failure::temporary(&[b"Unable to open ", name, b": not a regular file. (#4.2.1)"]),
        mbox::Error::Locked => Failure::temporary(&[b"File has been locked for 30 seconds straight. (#4.3.0)"]),
        mbox::Error::Read(e) => super::message::unreadable(&e),
        mbox::Error::Write(e) => explain(&[b"Unable to write ", name], &e, b"4.3.0"),
    })
}

/// A write beyond the limit for file sizes must fail, so that what was written can be taken back, not kill.
fn survive_size_limit() {
    // Caught, not ignored: commands get it back with its default action. Only an invalid signal number can fail.
    let _ = sys::signal::catch_interrupting(sys::signal::SIGXFSZ);
}

/// Feeds the message to a command of the user.
pub fn program(job: &Job, command: &[u8]) -> Result<Next, Failure> {
    rewind(0)?;
    let cannot = |e| explain(&[b"Unable to run /bin/sh"], &e, b"4.3.0");
    let shell = Program::new(SHELL, &[SHELL, b"-c", command]).map_err(cannot)?;
    let started = shell.env(job.environment(&job.new_sender()?)).try_start();
    let pid = started.map_err(|e| match e {
        NotStarted::Fork(e) => cannot_fork(&e),
        e => cannot(e.into_error()),
    })?;
    match sys::process::wait(pid) {
        Ok(Ended::Exit(0)) => Ok(Next::Continue),
        Ok(Ended::Exit(code)) if code == Exit::STOP.0 => Ok(Next::Stop),
        Ok(Ended::Exit(code)) if NEVER.contains(&code) => Err(Failure::silent(Exit::PERMANENT)),
        Ok(Ended::Exit(_)) => Err(Failure::silent(Exit::TEMPORARY)),
        Ok(Ended::Signal(_)) | Err(_) => Err(Failure::temporary(&[b"Aack, child crashed. (#4.3.0)"])),
    }
}

/// Queues the message for all of `addresses`; the number of the queue program that took it.
pub fn forward(job: &Job, message: &Message, addresses: &[&[u8]]) -> Result<i32, Failure> {
    let sender = job.new_sender()?;
    let mut reader = message.reader()?;
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = sys::env::get(b"QMAILQUEUE");
    let started = Submission::start(&home, queue.as_deref(), job.environment(&sender));
    let mut copy = started.map_err(|e| cannot_fork(&e))?;
    let qp = copy.qp();
    copy.put(&job.delivered_to);
    // A message that can not be read is cut off, and refused for that.
    let _ = copy.put_all(&mut reader);
    copy.sender(&sender);
    for address in addresses {
        copy.recipient(address);
    }
    copy.finish().result().map(|()| qp).map_err(|(code, text)| {
        let text: &[&[u8]] = &[b"Unable to forward message: ", text, b"."];
        if code == Exit::PERMANENT { Failure::permanent(text) } else { Failure::temporary(text) }
    })
}

fn cannot_fork(error: &std::io::Error) -> Failure {
    explain(&[b"Unable to fork"], error, b"4.3.0")
}
