//! dnsptr: the name of an address.
//!
//! `dnsptr address`, run by people, as any user, to see what the mail programs see. Prints the first name on fd 1, or
//! `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use lookup::{Trouble, found, literal};
use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |address| {
        let ip = literal(address).ok_or(Trouble::Hard)?;
        let mut names = found(lookup::resolver().ptr(ip.to_canonical()))?;
        names.truncate(1);
        Ok(names)
    })
}
