//! condredirect: sends a message on to another address if a program says so (condredirect(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message, a file that can be rewound, since the
//! program may read it first. Reads SENDER and DTLINE, which qmail-local sets. Starts bin/qmail-queue, or what
//! QMAILQUEUE names.
//!
//! Exit codes: 0 not to be redirected; 99 queued, with its qp on fd 2; 100 bad usage, not called from qmail-local, or
//! the queue will never take it; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod ask;

use std::io::{BufReader, SeekFrom};
use sys::Exit;
use sys::error::{complain, text};
use sys::fd::STDIN;

/// The buffer for the message (bytes).
const BUFFER: usize = 16384;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let [address, program @ ..] = &args[..] else { return usage() };
    if program.is_empty() {
        return usage();
    }
    match ask::says_yes(program) {
        Ok(true) => redirect(address),
        Ok(false) => Exit::OK,
        Err(code) => code,
    }
}

fn usage() -> Exit {
    complain(&[b"usage: condredirect newaddress program [ arg ... ]"]);
    Exit::PERMANENT
}

fn redirect(address: &[u8]) -> Exit {
    if let Err(e) = STDIN.seek(SeekFrom::Start(0)) {
        complain(&[b"fatal: unable to rewind: ", text(&e).as_bytes()]);
        return Exit::TEMPORARY;
    }
    let env = sys::env::Env::inherit();
    let Some(sender) = env.get(b"SENDER").map(<[u8]>::to_vec) else {
        complain(&[b"fatal: SENDER not set"]);
        return Exit::PERMANENT;
    };
    let Some(dtline) = env.get(b"DTLINE").map(<[u8]>::to_vec) else {
        complain(&[b"fatal: DTLINE not set"]);
        return Exit::PERMANENT;
    };
    let home = conf::home(env.get(b"QMAILHOME").map(<[u8]>::to_vec), sys::process::is_privileged_beyond_caller());
    let message = BufReader::with_capacity(BUFFER, STDIN);
    match queue::client::send_on(&home, env, (&dtline, message), &sender, [address]) {
        Ok(qp) => {
            complain(&[b"qp ", qp.to_string().as_bytes()]);
            Exit::STOP
        }
        Err((code, text)) => {
            complain(&[b"fatal: ", &text]);
            code
        }
    }
}
