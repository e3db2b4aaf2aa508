//! qmail-getnss LOCAL: does what qmail-getpw does, and asks the site's name service for each account.
//!
//! qmail-getpw becomes this program, with its ids, descriptors and exit codes, where /etc/passwd alone cannot tell. It
//! is linked dynamically: the name service loads modules of the host, which a static program must not do.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

#[path = "getpw/owner.rs"]
mod owner;

use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&local) = args.first() else { return Exit::PERMANENT };
    match owner::answer(local, |name| sys::user::by_name(name).map_err(|_| owner::TROUBLE)) {
        Ok(()) => Exit::OK,
        Err(code) => code,
    }
}
