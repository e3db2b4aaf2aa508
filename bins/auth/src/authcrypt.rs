//! qmail-authcrypt: checks a password as the host does, with its user database and its crypt(3).
//!
//! Started by qmail-authuser, with its ids and no environment; nobody else runs it. It is linked dynamically: the name
//! service loads modules of the host, which a static program must not do, and Debian's kind of hash is known to no
//! other library than the host's. fd 3 has three fields, each ended by NUL: account, password, hash. If the hash is
//! empty the account's own is taken, and on success five fields, each ended by NUL, are written to fd 1: name, uid,
//! gid, home, shell.
//!
//! Exit codes: 0 the password is right; 1 it is not, or there is no such account; 2 it was not called as above;
//! 111 trouble.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use auth::{Secret, same, secret};
use std::io::Read;
use sys::fd::{self, Fd};
use sys::{Exit, crypt, process, user};

/// More than qmail-authuser ever has (bytes).
const INPUT_MAX: usize = 4096;
const MISUSED: Exit = Exit(2);

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    process::no_core_dumps();
    let mut input = Secret::new(vec![0; INPUT_MAX]);
    let mut length = 0;
    while let Some(room) = input.get_mut(length..).filter(|room| !room.is_empty()) {
        match Fd(3).read(room) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(_) => return MISUSED,
        }
    }
    fd::close(3);
    let mut fields = input.get(..length).unwrap_or_default().split(|&b| b == 0);
    let (Some(name), Some(password), Some(hash), Some(b""), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return MISUSED;
    };
    if !hash.is_empty() {
        return fits(password, hash);
    }
    let mut login = match user::login(name) {
        Ok(Some(login)) => login,
        Ok(None) => return Exit::NO,
        Err(_) => return Exit::TEMPORARY,
    };
    let answer = fits(password, &login.hash);
    secret::wipe(&mut login.hash);
    if answer == Exit::OK && tell(&login).is_err() {
        return Exit::TEMPORARY;
    }
    answer
}

/// An account without a hash has no password that would be right.
fn fits(password: &[u8], hash: &[u8]) -> Exit {
    match crypt::crypt(password, hash) {
        Ok(Some(made)) if same(&made, hash) => Exit::OK,
        Ok(_) => Exit::NO,
        Err(_) => Exit::TEMPORARY,
    }
}

fn tell(login: &user::Login) -> std::io::Result<()> {
    let account = &login.account;
    let (uid, gid) = (account.uid.0.to_string(), account.gid.0.to_string());
    let mut fields = Vec::new();
    for field in [&account.name, uid.as_bytes(), gid.as_bytes(), &account.home, &login.shell] {
        fields.extend_from_slice(field);
        fields.push(0);
    }
    fd::write_all(1, &fields)
}
