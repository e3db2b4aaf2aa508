//! datemail: sendmail with a Date field in local time (datemail(1)).
//!
//! Started by users and their programs, as the user. fd 0 is the message. Becomes bin/predate, which runs bin/sendmail
//! with the same arguments.
//!
//! Exit codes: those of predate and sendmail; 111 if predate could not be run.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use sys::Exit;
use sys::error::{complain, text};
use sys::spawn::Program;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let (predate, sendmail) = (conf::below(&home, "bin/predate"), conf::below(&home, "bin/sendmail"));
    let argv: Vec<&[u8]> = [&predate[..], &sendmail].into_iter().chain(args).collect();
    let error = match Program::new(&predate, &argv) {
        Ok(program) => program.exec(),
        Err(e) => e,
    };
    complain(&[b"fatal: unable to run ", &predate, b": ", text(&error).as_bytes()]);
    Exit::TEMPORARY
}
