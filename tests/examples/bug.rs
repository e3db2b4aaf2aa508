//! A program with a bug: it reports success as qmail-remote does, then indexes out of range. A stand-in for programs
//! of which a bug must not cost mail.
#![no_main]
#![allow(unsafe_code)]

use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let _ = sys::fd::write_all(1, b"r\0Kdone\0");
    let n = args.len();
    Exit(args[n][0])
}
