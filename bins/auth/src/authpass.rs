//! qmail-authpass: makes a value for users/authuser of a new password.
//!
//! Usage: `qmail-authpass [-s]`. The first line on fd 0 is the password; the value, one line, goes to fd 1. It is an
//! argon2 string, or with -s what SCRAM-SHA-256 needs. Run by people; it touches no files.
//!
//! Exit codes: 0; 100 not called as above, or no password; 111 no random bytes, no memory, or fd 0 or 1 fails.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use auth::scram::{ITERATIONS, Verifier};
use auth::{Secret, stored};
use std::io::Read;
use sys::fd::{self, Fd};
use sys::opt::{Opt, Scanner};
use sys::{Exit, error, process, random};

/// The longest password that still fits into what a checking program reads (bytes).
const PASSWORD_MAX: usize = 500;
/// Bytes of a new salt.
const SALT: usize = 16;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    process::no_core_dumps();
    let mut options = Scanner::new(b"s", &args);
    let mut scram = false;
    for option in options.by_ref() {
        match option {
            Opt::Flag(_) => scram = true,
            _ => return usage(),
        }
    }
    if !options.rest().is_empty() {
        return usage();
    }
    let Ok(line) = read() else {
        error::complain(&[b"fatal: unable to read the password"]);
        return Exit::TEMPORARY;
    };
    let Some(password) = line.split(|&b| b == b'\n').next().filter(|p| p.len() >= 2 && p.len() <= PASSWORD_MAX) else {
        error::complain(&[b"fatal: a password has 2 to 500 bytes"]);
        return Exit::PERMANENT;
    };
    let mut salt = [0; SALT];
    let made = match random::fill(&mut salt) {
        Ok(()) if scram => Some(Verifier::of_password(password, &salt, ITERATIONS).text()),
        Ok(()) => stored::argon2id(password, &salt),
        Err(_) => None,
    };
    match made.map(|value| fd::write_all(1, &[value.as_slice(), b"\n"].concat())) {
        Some(Ok(())) => Exit::OK,
        _ => {
            error::complain(&[b"fatal: unable to make or write the value"]);
            Exit::TEMPORARY
        }
    }
}

fn usage() -> Exit {
    error::complain(&[b"usage: qmail-authpass [-s]"]);
    Exit::PERMANENT
}

/// All of fd 0, or more than enough of it.
fn read() -> std::io::Result<Secret> {
    let mut input = Secret::new(vec![0; PASSWORD_MAX + 2]);
    let mut length = 0;
    while let Some(room) = input.get_mut(length..).filter(|room| !room.is_empty()) {
        let n = Fd(0).read(room)?;
        length += n;
        if n == 0 {
            break;
        }
        // A terminal does not end.
        if input.get(..length).is_some_and(|text| text.contains(&b'\n')) {
            break;
        }
    }
    input.truncate(length);
    Ok(input)
}
