//! qmail-start: starts the daemons of the queue, connects them by pipes, and becomes qmail-send.
//!
//! `qmail-start [ defaultdelivery [ logger arg ... ] ]`. Started by the service's run script, as root; without root
//! everything runs as the one user who started it. qmail-lspawn stays root, qmail-rspawn becomes qmailr, both qmail-cleans qmailq,
//! qmail-todo and qmail-send qmails, the logger qmaill. Touches no file, only, once in the life of a queue, its directories
//! pid and intd (groups.rs). Exits 111 if anything can not be set up.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

#[path = "start/groups.rs"]
mod groups;

use conf::ids::Ids;
use conf::names;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::Exit;
use sys::process::{Gid, Uid};
use sys::spawn::Program;

/// The default delivery if none is given on the command line.
const MAILBOX: &[u8] = b"./Mailbox";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    if sys::process::chdir(Path::new("/")).is_err() {
        return Exit::TEMPORARY;
    }
    sys::process::umask(0o077);
    sys::process::no_core_dumps();
    // Whatever was open as 2 to 8 is none of the daemons' business.
    (2..=8).for_each(sys::fd::close);
    groups::spread(&conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller()));
    // Returns only if something failed.
    let _ = start(&home, &args);
    Exit::TEMPORARY
}

/// Who runs what; `None` without root: then nobody changes identity.
struct Accounts(Option<(Ids, Gid)>);

impl Accounts {
    fn find(home: &Path) -> io::Result<Accounts> {
        if sys::process::euid() != Uid(0) {
            return Ok(Accounts(None));
        }
        let ids = Ids::load(home);
        let group = Gid(ids.queue_group(home).ok_or(io::ErrorKind::NotFound)?);
        Ok(Accounts(Some((ids, group))))
    }

    /// `program` run as `user`, in the group of the queue.
    fn of_queue(&self, program: Program, user: &str) -> io::Result<Program> {
        let Some((ids, group)) = &self.0 else { return Ok(program) };
        Ok(program.ids(Uid(ids.user(user).ok_or(io::ErrorKind::NotFound)?), *group))
    }

    /// `program` run as the logger's account.
    fn of_logger(&self, program: Program) -> io::Result<Program> {
        let Some((ids, _)) = &self.0 else { return Ok(program) };
        let user = ids.user(names::QMAILL).ok_or(io::ErrorKind::NotFound)?;
        let group = ids.group(names::NOFILES).ok_or(io::ErrorKind::NotFound)?;
        Ok(program.ids(Uid(user), Gid(group)))
    }
}

/// A pipe between two of the daemons. Both ends lie above the numbers that the daemons use.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (read, write) = sys::fd::pipe()?;
        Ok(Pipe { read, write })
    }

    fn r(&self) -> i32 {
        self.read.as_raw_fd()
    }

    fn w(&self) -> i32 {
        self.write.as_raw_fd()
    }
}

/// The pipes pi1 to pi10 of spec/programs.md 1, each named after who writes and who reads.
fn start(home: &Path, args: &[&[u8]]) -> io::Result<()> {
    let accounts = Accounts::find(home)?;
    if let Accounts(Some((_, group))) = &accounts {
        sys::process::become_group(*group)?;
    }
    let default_delivery = args.first().copied().unwrap_or(MAILBOX);
    let log = start_logger(&accounts, args.get(1..).unwrap_or_default())?;
    let log_fd = log.as_ref().map_or(1, AsRawFd::as_raw_fd);

    let (send_lspawn, lspawn_send) = (Pipe::new()?, Pipe::new()?);
    let (send_rspawn, rspawn_send) = (Pipe::new()?, Pipe::new()?);
    let (send_clean, clean_send) = (Pipe::new()?, Pipe::new()?);
    let (send_todo, todo_send) = (Pipe::new()?, Pipe::new()?);
    let (todo_clean, clean_todo) = (Pipe::new()?, Pipe::new()?);

    let lspawn = program(home, "qmail-lspawn", &[default_delivery])?;
    lspawn.fd(0, send_lspawn.r()).fd(1, lspawn_send.w()).start()?;
    let rspawn = accounts.of_queue(program(home, "qmail-rspawn", &[])?, names::QMAILR)?;
    rspawn.fd(0, send_rspawn.r()).fd(1, rspawn_send.w()).start()?;
    let clean = accounts.of_queue(program(home, "qmail-clean", &[])?, names::QMAILQ)?;
    clean.clone().fd(0, send_clean.r()).fd(1, clean_send.w()).start()?;
    clean.fd(0, todo_clean.r()).fd(1, clean_todo.w()).start()?;
    let todo = accounts.of_queue(program(home, "qmail-todo", &[])?, names::QMAILS)?;
    todo.fd(0, send_todo.r()).fd(1, todo_send.w()).fd(2, todo_clean.w()).fd(3, clean_todo.r()).start()?;

    let send = accounts.of_queue(program(home, "qmail-send", &[])?, names::QMAILS)?;
    let send = send.fd(0, log_fd).fd(1, send_lspawn.w()).fd(2, lspawn_send.r()).fd(3, send_rspawn.w());
    let send = send.fd(4, rspawn_send.r()).fd(5, send_clean.w()).fd(6, clean_send.r());
    Err(send.fd(7, send_todo.w()).fd(8, todo_send.r()).exec())
}

/// Starts the logger, if one is named, and returns the end it reads from.
fn start_logger(accounts: &Accounts, command: &[&[u8]]) -> io::Result<Option<OwnedFd>> {
    let Some(name) = command.first() else { return Ok(None) };
    let path = sys::env::get(b"PATH").unwrap_or_default();
    let file = sys::spawn::search(name, &path).ok_or(io::ErrorKind::NotFound)?;
    let pipe = Pipe::new()?;
    accounts.of_logger(Program::new(&file, command)?)?.fd(0, pipe.r()).start()?;
    Ok(Some(pipe.write))
}

/// One of our programs with what all of them get: nothing but 0, 1 and what is added.
fn program(home: &Path, name: &str, args: &[&[u8]]) -> io::Result<Program> {
    let file: PathBuf = home.join("bin").join(name);
    let argv: Vec<&[u8]> = std::iter::once(name.as_bytes()).chain(args.iter().copied()).collect();
    Program::new(std::os::unix::ffi::OsStrExt::as_bytes(file.as_os_str()), &argv)
}
