//! forward: sends a delivered message on to other addresses.
//!
//! Started from a .qmail file (`|forward address ...`), as the user whose mail it is. fd 0 is the message. Reads
//! NEWSENDER and DTLINE, which qmail-local sets. Starts bin/qmail-queue, or what QMAILQUEUE names.
//!
//! Exit codes: 0 queued, with its qp on fd 2; 100 not called from qmail-local, or the queue will never take it; 111
//! anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use queue::Submission;
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
    let queue = env.get(b"QMAILQUEUE").map(<[u8]>::to_vec);
    let mut message = match Submission::start(&home, queue.as_deref(), env) {
        Ok(message) => message,
        Err(e) => {
            complain(&[b"fatal: unable to fork: ", sys::error::text(&e).as_bytes()]);
            return Exit::TEMPORARY;
        }
    };
    // The trace that lets qmail-local see a loop.
    message.put(&dtline);
    if let Err(e) = message.put_all(BufReader::with_capacity(BUFFER, STDIN)) {
        complain(&[b"fatal: unable to read message: ", sys::error::text(&e).as_bytes()]);
        // It was told not to queue what it got.
        let _ = message.finish();
        return Exit::TEMPORARY;
    }
    let qp = message.qp().to_string();
    message.sender(&sender);
    for address in args {
        message.recipient(address);
    }
    match message.finish().result() {
        Ok(()) => {
            complain(&[b"qp ", qp.as_bytes()]);
            Exit::OK
        }
        Err((code, text)) => {
            complain(&[b"fatal: ", text]);
            code
        }
    }
}
