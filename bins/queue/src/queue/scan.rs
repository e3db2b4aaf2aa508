//! The scanner that QHPSI names: it looks at a message before that is queued (qmail-queue(8)).

use crate::Trouble;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::process::{self, Uid};
use sys::{env, signal, spawn};

/// The exit code that means a hit, if QHPSIRC names no other.
const HIT: u64 = 1;
/// The arguments behind the file, as far as they are set.
const ARGUMENTS: [&[u8]; 3] = [b"QHPSIARG1", b"QHPSIARG2", b"QHPSIARG3"];

/// Has the scanner look at the message in the file `name` (from the queue), which is all written. What is refused was not
/// synced yet: nobody needs it on the disk. Without a scanner this costs no system call.
pub fn pass(home: &Path, mess: &File, name: &Path) -> Result<(), Trouble> {
    let Some(scanner) = env::get(b"QHPSI").filter(|scanner| !scanner.is_empty()) else { return Ok(()) };
    let bytes = mess.metadata().map_err(|_| Trouble::Scanner)?.len();
    let (least, most) = (number(b"QHPSIMINSIZE").unwrap_or(0), number(b"QHPSIMAXSIZE").unwrap_or(0));
    if bytes < least || most != 0 && bytes > most || !caller_counts(home) {
        return Ok(());
    }
    match verdict(&scanner, name).ok_or(Trouble::Scanner)? {
        code if u64::from(code) == number(b"QHPSIRC").unwrap_or(HIT) => Err(Trouble::Virus),
        0 => Ok(()),
        _ => Err(Trouble::Scanner),
    }
}

/// The digits a variable begins with, as qmail reads numbers; `None` without any.
fn number(variable: &[u8]) -> Option<u64> {
    let digits = env::get(variable)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// Whether the caller may say what is run. As a set-user-ID program this would be anybody's way to run a program as the
/// owner of the queue.
fn caller_counts(home: &Path) -> bool {
    let caller = process::uid();
    if !process::is_privileged_beyond_caller() || caller == Uid(0) {
        return true;
    }
    if conf::ids::Ids::load(home).user(conf::names::QMAILD) == Some(caller.0) {
        return true;
    }
    let list = control::Controls::of(home).list("scancallers").ok().flatten().unwrap_or_default();
    // These need not be accounts of the mail system: /etc/passwd, not users/ids.
    let host = conf::ids::Ids::default();
    let uid = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|n| n.parse().ok().or_else(|| host.user(n)));
    list.iter().any(|name| uid(name) == Some(caller.0))
}

/// What the scanner exits with; `None` if it can not be started, or crashes.
fn verdict(scanner: &[u8], name: &Path) -> Option<u8> {
    let more: Vec<Vec<u8>> = ARGUMENTS.iter().map_while(|variable| env::get(variable)).collect();
    let mut argv = vec![scanner, name.as_os_str().as_bytes()];
    argv.extend(more.iter().map(Vec::as_slice));
    // The owner of the queue in every way: shells go back to the real user otherwise, who can not read the message.
    process::become_effective().ok()?;
    // A caller may have left this to the kernel, and there would be nothing to wait for.
    signal::default(signal::SIGCHLD);
    let null = File::options().read(true).write(true).open("/dev/null").ok()?;
    let program = spawn::Program::named(&argv, env::get(b"PATH").as_deref()).ok()?;
    let program = program.fd(0, null.as_raw_fd()).fd(1, null.as_raw_fd());
    process::wait(program.try_start_or_shell().ok()?).ok()?.code()
}
