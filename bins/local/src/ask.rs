//! Asking a program: it reads the message or not, and its exit code is the answer. For bouncesaying, condredirect and
//! except.

use sys::Exit;
use sys::error::{complain, is_temporary, text};
use sys::process::Ended;
use sys::spawn::{NotStarted, Program};

/// Runs `argv`, looked for in PATH, with fds 0 to 2 as they are: whether it said yes (exit code 0).
///
/// Any code but 0 and 111 is a no, and so is a program that is not there. What leaves the question open has been
/// complained about on fd 2; the caller then exits with the code in `Err`.
pub fn says_yes(argv: &[&[u8]]) -> Result<bool, Exit> {
    let path = sys::env::get(b"PATH");
    let started = match Program::named(argv, path.as_deref()) {
        Ok(program) => program.try_start_or_shell(),
        Err(e) => Err(NotStarted::Exec(e)),
    };
    let pid = match started {
        Ok(pid) => pid,
        Err(NotStarted::Exec(e)) if !is_temporary(&e) => return Ok(false),
        Err(NotStarted::Fork(e)) => return Err(fatal(&[b"unable to fork: ", text(&e).as_bytes()])),
        Err(_) => return Err(fatal(&[b"temporary child error"])),
    };
    match sys::process::wait(pid) {
        Ok(Ended::Exit(0)) => Ok(true),
        Ok(Ended::Exit(code)) if code == Exit::TEMPORARY.0 => Err(fatal(&[b"temporary child error"])),
        Ok(Ended::Exit(_)) => Ok(false),
        Ok(Ended::Signal(_)) => Err(fatal(&[b"child crashed"])),
        Err(_) => Err(fatal(&[b"wait failed"])),
    }
}

fn fatal(why: &[&[u8]]) -> Exit {
    complain(&[b"fatal: ", &why.concat()]);
    Exit::TEMPORARY
}
