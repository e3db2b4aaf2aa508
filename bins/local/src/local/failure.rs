//! Why a delivery did not succeed, in the words that come to stand in logs and bounces.

use std::io;
use sys::Exit;

/// How qmail-local ends, and what it says on fd 2.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    /// One line without newline; empty if a command has said all there is to say.
    text: Vec<u8>,
}

impl Failure {
    /// The mail is kept and tried again.
    pub fn temporary(text: &[&[u8]]) -> Failure {
        Failure { exit: Exit::TEMPORARY, text: text.concat() }
    }

    /// The mail goes back to its sender.
    pub fn permanent(text: &[&[u8]]) -> Failure {
        Failure { exit: Exit::PERMANENT, text: text.concat() }
    }

    /// A command's own verdict.
    pub fn silent(exit: Exit) -> Failure {
        Failure { exit, text: Vec::new() }
    }

    /// Says it.
    pub fn report(mut self) -> Exit {
        if !self.text.is_empty() {
            self.text.push(b'\n');
            // The exit code says the rest.
            let _ = sys::fd::write_all(2, &self.text);
        }
        self.exit
    }
}

/// A temporary failure for a system error: `what: reason. (#code)`.
pub fn explain(what: &[&[u8]], error: &io::Error, code: &[u8]) -> Failure {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return Failure::temporary(&[b"Out of memory. (#4.3.0)"]);
    }
    Failure::temporary(&[&what.concat(), b": ", sys::error::text(error).as_bytes(), b". (#", code, b")"])
}
