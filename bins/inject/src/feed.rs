//! Running a program on a message that has something put in front. For predate and mailsubj.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use sys::Exit;
use sys::error::{complain, text};
use sys::fd::STDIN;
use sys::process::{Ended, Pid};
use sys::spawn::{NotStarted, Program};

/// The buffer for the message (bytes).
const BUFFER: usize = 16384;

/// Runs `program`, called `name` in complaints, with `front` and then all of fd 0 as its fd 0: its exit code, or 111.
pub fn run(program: io::Result<Program>, name: &[u8], front: &[u8]) -> Exit {
    // A program that has read enough is no reason to die.
    sys::signal::ignore(sys::signal::SIGPIPE);
    let (reading, writing) = match sys::fd::pipe() {
        Ok(ends) => ends,
        Err(e) => return fatal(&[b"unable to create pipe"], &e),
    };
    let started = match program {
        Ok(program) => program.fd(0, reading.as_raw_fd()).try_start_or_shell(),
        Err(e) => Err(NotStarted::Exec(e)),
    };
    let pid = match started {
        Ok(pid) => pid,
        Err(NotStarted::Fork(e)) => return fatal(&[b"unable to fork"], &e),
        Err(NotStarted::Arrange(e)) => return fatal(&[b"unable to set up fds"], &e),
        Err(NotStarted::Ids(e) | NotStarted::Exec(e)) => return fatal(&[b"unable to run ", name], &e),
    };
    drop(reading);
    if let Err(e) = copy(front, File::from(writing), pid) {
        return fatal(&[b"unable to read message"], &e);
    }
    match sys::process::wait(pid) {
        Ok(Ended::Exit(code)) => Exit(code),
        Ok(Ended::Signal(_)) => {
            complain(&[b"fatal: child crashed"]);
            Exit::TEMPORARY
        }
        Err(e) => fatal(&[b"wait failed"], &e),
    }
}

fn fatal(what: &[&[u8]], error: &io::Error) -> Exit {
    complain(&[b"fatal: ", &what.concat(), b": ", text(error).as_bytes()]);
    Exit::TEMPORARY
}

/// Writes `front` and all of fd 0 to the pipe, and closes it. A reader that has seen enough says by its exit code how
/// that is meant; only an unreadable message is an error.
fn copy(front: &[u8], pipe: File, reader: Pid) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, pipe);
    let mut written = out.write_all(front);
    let mut buffer = vec![0; BUFFER];
    while written.is_ok() {
        let count = STDIN.clone().read(&mut buffer).inspect_err(|_| {
            // To the program the end of the pipe would look like the end of the message, and it would send that.
            let _ = sys::process::kill(reader, sys::signal::SIGKILL);
            // The pipe is closed only when it is gone; how it ended is known.
            let _ = sys::process::wait(reader);
        })?;
        if count == 0 {
            break;
        }
        written = out.write_all(buffer.get(..count).unwrap_or_default());
    }
    // See above.
    let _ = out.flush();
    drop(out.into_parts());
    Ok(())
}
