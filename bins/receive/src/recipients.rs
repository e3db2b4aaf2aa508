//! qmail-recipients: compiles users/recipients into users/recipients.cdb for qmail-smtpd.
//!
//! Run by the administrator after each change of the list, as root or the owner of users. Reads users/recipients below
//! home, one address a line; replaces the cdb in one step, so that a running qmail-smtpd sees the old list or the new
//! one. A key is a colon and the address in lower case; the data are empty.
//!
//! Exit codes: 0 done; 111 not done, the old cdb is as it was.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod compiling;

use compiling::Files;
use sys::Exit;

const FILES: Files = Files { list: "users/recipients", cdb: "users/recipients.cdb", temporary: "users/recipients.tmp" };

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    compiling::compile(&FILES, |text| {
        let addresses = control::items(text).into_iter();
        Ok(addresses.map(|address| ([b":", &address.to_ascii_lowercase()[..]].concat(), Vec::new())).collect())
    })
}
