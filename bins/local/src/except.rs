//! except: turns a program's exit code around (except(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message, which only the program reads.
//!
//! Exit codes: 100 the program succeeded, or bad usage; 0 it did not; 111 it could not say.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod ask;

use sys::Exit;
use sys::error::complain;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    if args.is_empty() {
        complain(&[b"usage: except program [ arg ... ]"]);
        return Exit::PERMANENT;
    }
    match ask::says_yes(&args) {
        Ok(true) => Exit::PERMANENT,
        Ok(false) => Exit::OK,
        Err(code) => code,
    }
}
