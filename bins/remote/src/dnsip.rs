//! dnsip: the addresses of a host.
//!
//! `dnsip name`, run by people, as any user, to see what the mail programs see. Prints one address a line on fd 1, or
//! `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |name| {
        let list = lookup::addresses(&lookup::resolver(), name)?;
        Ok(list.iter().map(|ip| ip.to_string().into_bytes()).collect())
    })
}
