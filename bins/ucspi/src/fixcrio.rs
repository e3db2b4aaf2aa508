//! fixcrio: runs a program and gives every bare line feed that it reads or writes a carriage return.
//!
//! `fixcrio program [arg ...]`, run in front of a server program for clients, or by a client for servers, that end
//! lines with a bare line feed. A line feed that has its carriage return stays as it is. The program becomes this
//! process; a child passes fds 0 and 1 on.
//!
//! Exit codes: 100 wrong usage; 111 the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod between;
mod filter;

use filter::FixCr;
use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    if args.is_empty() {
        sys::error::complain(&[b"usage: fixcrio program [ arg ... ]"]);
        return Exit::PERMANENT;
    }
    between::become_with(&args, |_, directions| {
        let (mut inward, mut outward) = (FixCr::default(), FixCr::default());
        directions.pass(&mut |bytes, out| inward.feed(bytes.unwrap_or_default(), out), &mut |bytes, out| {
            outward.feed(bytes.unwrap_or_default(), out)
        });
    })
}
