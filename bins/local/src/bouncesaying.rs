//! bouncesaying: bounces a message, always or if a program says so (bouncesaying(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message, which only the program reads; what is
//! written to fd 2 stands in the bounce.
//!
//! Exit codes: 0 not to be bounced; 100 bounced, or bad usage; 111 the program could not say.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod ask;

use sys::Exit;
use sys::error::complain;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some((error, program)) = args.split_first() else {
        complain(&[b"usage: bouncesaying error [ program [ arg ... ] ]"]);
        return Exit::PERMANENT;
    };
    if !program.is_empty() {
        match ask::says_yes(program) {
            Ok(true) => {}
            Ok(false) => return Exit::OK,
            Err(code) => return code,
        }
    }
    // Without it the bounce only lacks its reason.
    let _ = sys::fd::write_all(2, &[error, &b"\n"[..]].concat());
    Exit::PERMANENT
}
