//! forward: sends a delivered message on to other addresses.
//!
//! Started from a .qmail file (`|forward address ...`), as the user whose mail it is. fd 0 is the message. Reads
//! NEWSENDER and DTLINE, which qmail-local sets. Starts bin/qmail-queue, or what QMAILQUEUE names.
//!
//! Exit codes: 0 queued, with its qp on fd 2; 100 not called from qmail-local, or the queue will never take it; 111
//! anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use std::io::BufReader;
use sys::Exit;
use sys::error::complain;
use sys::fd::STDIN;

/// The buffer for the message (bytes).
const BUFFER: usize = 16384;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let env = sys::env::Env::inherit();
    let Some(sender) = env.get(b"NEWSENDER").map(<[u8]>::to_vec) else {
        complain(&[b"fatal: NEWSENDER not set"]);
        return Exit::PERMANENT;
    };
    let Some(dtline) = env.get(b"DTLINE").map(<[u8]>::to_vec) else {
        complain(&[b"fatal: DTLINE not set"]);
        return Exit::PERMANENT;
    };
    let home = conf::home(env.get(b"QMAILHOME").map(<[u8]>::to_vec), sys::process::is_privileged_beyond_caller());
    let message = BufReader::with_capacity(BUFFER, STDIN);
    match queue::client::send_on(&home, env, (&dtline, message), &sender, args) {
        Ok(qp) => {
            complain(&[b"qp ", qp.to_string().as_bytes()]);
            Exit::OK
        }
        Err((code, text)) => {
            complain(&[b"fatal: ", &text]);
            code
        }
    }
}
