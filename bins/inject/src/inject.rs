//! qmail-inject: makes a complete message of what a person or program wrote, and queues it.
//!
//! Started by users and their programs, as the user. fd 0 is the message; with `-n` the result goes to fd 1 instead of
//! the queue. Reads control/defaultdomain, defaulthost, idhost, me and plusdomain, and the variables of
//! qmail-inject(8). Starts bin/qmail-queue, or what QMAILQUEUE names.
//!
//! Exit codes: 0 queued (or printed); 100 bad usage, a field or address that cannot be read, or a message that the
//! queue will never take; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod injector;

sys::program!(run);

fn run(args: sys::start::Args) -> sys::Exit {
    injector::run(&args, sys::env::Env::inherit())
}
