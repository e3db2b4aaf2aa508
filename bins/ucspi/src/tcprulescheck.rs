//! tcprulescheck: says what the rules in a file mean for a client.
//!
//! Called by the administrator as `tcprulescheck rules.cdb`. The client is described by TCPREMOTEIP, TCPREMOTEHOST and
//! TCPREMOTEINFO in the environment, as tcpserver would find them out. Says on fd 1 which rule applies and what it
//! does.
//!
//! Exit codes: 0 said; 100 wrong usage; 111 the file can not be read, or is damaged.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use control::cdb::Cdb;
use rules::{Client, Rule, Step};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;
use sys::error::{complain, text};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&file) = args.first() else {
        complain(&[b"usage: tcprulescheck rules.cdb"]);
        return Exit::PERMANENT;
    };
    let ip = sys::env::get(b"TCPREMOTEIP").unwrap_or_else(|| b"0.0.0.0".to_vec());
    let host = sys::env::get(b"TCPREMOTEHOST");
    let info = sys::env::get(b"TCPREMOTEINFO");
    let client = Client { ip: &ip, host: host.as_deref(), info: info.as_deref() };
    let found = Cdb::open(Path::new(OsStr::from_bytes(file))).and_then(|cdb| rules::find(&cdb, &client));
    let answer = match found {
        Ok(rule) => describe(rule.as_ref()),
        Err(e) => {
            complain(&[b"fatal: unable to read ", file, b": ", text(&e).as_bytes()]);
            return Exit::TEMPORARY;
        }
    };
    match sys::fd::write_all(1, &answer) {
        Ok(()) => Exit::OK,
        Err(e) => {
            complain(&[b"fatal: unable to write output: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// The rule, its instructions up to the one that refuses the client, and the outcome.
fn describe(rule: Option<&Rule>) -> Vec<u8> {
    let Some(rule) = rule else {
        return b"default:\nallow connection\n".to_vec();
    };
    let mut said = [b"rule ", rule.name.as_slice(), b":\n"].concat();
    for step in rule.steps() {
        match step {
            Step::Deny => {
                said.extend_from_slice(b"deny connection\n");
                return said;
            }
            Step::Set(assignment) => {
                said.extend_from_slice(b"set environment variable ");
                said.extend_from_slice(assignment);
                said.push(b'\n');
            }
        }
    }
    said.extend_from_slice(b"allow connection\n");
    said
}
