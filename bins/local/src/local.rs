//! qmail-local: delivers a message as the recipient's .qmail file says (qmail-local(8), dot-qmail(5)).
//!
//! Started by qmail-lspawn, as the user whose address it is. fd 0 is the message, a file that can be rewound; fd 1 and
//! 2 take the report. Reads the home directory and .qmail*; writes mbox files and maildirs; starts /bin/sh for program
//! lines, and bin/qmail-queue (or what QMAILQUEUE names) to forward. The environment it gives both is that of
//! qmail-command(8).
//!
//! Exit codes: 0 delivered; 100 never to be delivered; 111 anything else, the mail is tried again.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![deny(unsafe_code)]

#[path = "local/deliver.rs"]
mod deliver;
#[path = "local/failure.rs"]
mod failure;
#[path = "local/job.rs"]
mod job;
#[path = "local/message.rs"]
mod message;

use dotqmail::Instruction;
use failure::{Failure, explain};
use job::Job;
use message::Message;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;
use sys::error::complain;
use sys::opt::{Opt, Scanner};

const USAGE: &[u8] = b"usage: qmail-local [ -nN ] user homedir local dash ext domain sender aliasempty";
/// The mode bit by which a user tells that a home is being changed, and mail is to wait.
const STICKY: u32 = 0o1000;
/// The mode bit of a .qmail file that allows forwarding only.
const FORWARD_ONLY: u32 = 0o100;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    sys::process::umask(0o077);
    // A report that nobody reads is no reason to deliver twice.
    sys::signal::ignore(sys::signal::SIGPIPE);
    let mut really = true;
    let mut options = Scanner::new(b"nN", &args);
    for option in options.by_ref() {
        match option {
            Opt::Flag(letter) => really = letter == b'N',
            Opt::Unknown(letter) | Opt::Value(letter, _) => {
                complain(&[b"illegal option -- ", &[letter]]);
                return usage();
            }
        }
    }
    let Some(job) = Job::from_arguments(options.rest()) else { return usage() };
    match work(job, really) {
        Ok(()) => Exit::OK,
        Err(failure) => failure.report(),
    }
}

fn usage() -> Exit {
    complain(&[USAGE]);
    Exit::PERMANENT
}

/// Everything from the home directory to the report; with `really` false, only says what it would do.
fn work(mut job: Job, really: bool) -> Result<(), Failure> {
    enter_home(&job, really)?;
    let message = if really { Some(Message::open(&job.front)?) } else { None };
    if let Some(message) = &message
        && message.header_has(&job.delivered_to)?
    {
        let text = b"This message is looping: it already has my Delivered-To line. (#5.4.6)";
        return Err(Failure::permanent(&[text]));
    }
    let dotqmail = find(&mut job)?;
    let (file, forward_only) = match dotqmail {
        Some(DotQmail { lines, forward_only }) if !lines.is_empty() => (lines, forward_only),
        _ => (job.default_delivery.to_vec(), false),
    };
    let mut did = Counts::default();
    let mut forwards = Vec::new();
    carry_out(&job, message.as_ref(), &file, forward_only, &mut did, &mut forwards)?;
    let mut qp = 0;
    if let (Some(message), false) = (&message, forwards.is_empty()) {
        qp = deliver::forward(&job, message, &forwards)?;
    }
    did.report(qp);
    Ok(())
}

/// Goes through the lines; addresses to forward to are only collected, since they go out together at the end.
fn carry_out<'f>(
    job: &Job,
    message: Option<&Message>,
    file: &'f [u8],
    mut forward_only: bool,
    did: &mut Counts,
    forwards: &mut Vec<&'f [u8]>,
) -> Result<(), Failure> {
    for (number, instruction) in dotqmail::instructions(file).enumerate() {
        match instruction {
            // An editor that has not finished leaves such a file.
            Instruction::Blank if number == 0 => {
                return Err(Failure::temporary(&[b"Uh-oh: first line of .qmail file is blank. (#4.2.1)"]));
            }
            Instruction::Blank | Instruction::Comment | Instruction::Reserved => {}
            Instruction::ForwardOnly => forward_only = true,
            Instruction::Mbox(_) | Instruction::Maildir(_) if forward_only => {
                let text = b"Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)";
                return Err(Failure::temporary(&[text]));
            }
            Instruction::Program(_) if forward_only => {
                let text = b"Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)";
                return Err(Failure::temporary(&[text]));
            }
            Instruction::Mbox(name) => {
                did.files += 1;
                message.map_or_else(|| say(b"mbox ", name), |m| deliver::mbox(job, m, name))?;
            }
            Instruction::Maildir(name) => {
                did.files += 1;
                message.map_or_else(|| say(b"maildir ", name), |m| deliver::maildir(m, name))?;
            }
            Instruction::Program(command) => {
                did.programs += 1;
                match message {
                    None => say(b"program ", command)?,
                    Some(_) => {
                        if deliver::program(job, command)? == deliver::Next::Stop {
                            return Ok(());
                        }
                    }
                }
            }
            Instruction::Forward(address) => {
                did.forwards += 1;
                if message.is_none() {
                    say(b"forward ", address)?;
                }
                forwards.push(address);
            }
        }
    }
    Ok(())
}

/// What -n prints for one line.
fn say(kind: &[u8], what: &[u8]) -> Result<(), Failure> {
    print(&[kind, what, b"\n"].concat());
    Ok(())
}

/// Writes to fd 1 in one go.
fn print(line: &[u8]) {
    // What was delivered stays delivered, whether or not somebody hears of it.
    let _ = sys::fd::write_all(1, line);
}

/// How many lines of each kind were carried out.
#[derive(Default)]
struct Counts {
    files: u64,
    forwards: u64,
    programs: u64,
}

impl Counts {
    fn report(&self, qp: i32) {
        let mut line = format!("did {}+{}+{}\n", self.files, self.forwards, self.programs);
        if qp != 0 {
            line += &format!("qp {qp}\n");
        }
        print(line.as_bytes());
    }
}

/// Changes to the home directory and checks that nobody else could have put a .qmail file there.
fn enter_home(job: &Job, really: bool) -> Result<(), Failure> {
    let home = Path::new(std::ffi::OsStr::from_bytes(job.home));
    sys::process::chdir(home).map_err(|e| explain(&[b"Unable to switch to ", job.home], &e, b"4.3.0"))?;
    let here = std::fs::metadata(".").map_err(|e| explain(&[b"Unable to stat home directory"], &e, b"4.3.0"))?;
    if here.mode() & conf::PATRN != 0 {
        return Err(Failure::temporary(&[b"Uh-oh: home directory is writable. (#4.7.0)"]));
    }
    if here.mode() & STICKY != 0 {
        if really {
            let text = b"Home directory is sticky: user is editing his .qmail file. (#4.2.1)";
            return Err(Failure::temporary(&[text]));
        }
        // For the eyes of whoever tries -n.
        let _ = sys::fd::write_all(2, b"Warning: home directory is sticky.\n");
    }
    Ok(())
}

/// A .qmail file that was found.
struct DotQmail {
    lines: Vec<u8>,
    forward_only: bool,
}

/// Finds and reads the .qmail file, and notes in the job what its `default` stands for. `None`: there is none, and the
/// address is the user's own.
fn find(job: &mut Job) -> Result<Option<DotQmail>, Failure> {
    for candidate in dotqmail::candidates(job.dash, job.ext) {
        let trouble = |e: &std::io::Error| explain(&[b"Unable to open ", &candidate.file], e, b"4.3.0");
        let mut file = match sys::fs::open_read(Path::new(std::ffi::OsStr::from_bytes(&candidate.file))) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Err(trouble(&e)),
            Err(e) if sys::error::is_temporary(&e) => return Err(trouble(&e)),
            Err(_) => continue,
        };
        let about = file.metadata().map_err(|e| trouble(&e))?;
        if !about.is_file() {
            continue;
        }
        if about.mode() & conf::PATRN != 0 {
            return Err(Failure::temporary(&[b"Uh-oh: .qmail file is writable. (#4.7.0)"]));
        }
        let mut lines = Vec::new();
        file.read_to_end(&mut lines).map_err(|e| trouble(&e))?;
        job.default = candidate.default_at.and_then(|at| job.ext.get(at..));
        return Ok(Some(DotQmail { lines, forward_only: about.mode() & FORWARD_ONLY != 0 }));
    }
    if job.dash.is_empty() {
        return Ok(None);
    }
    Err(Failure::permanent(&[b"Sorry, no mailbox here by that name. (#5.1.1)"]))
}
