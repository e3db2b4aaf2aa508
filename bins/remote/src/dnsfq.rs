//! dnsfq: the full name of a host.
//!
//! `dnsfq name`, run by people, as any user, to see what the mail programs see. Prints the name of the host's first
//! address on fd 1, or `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use lookup::{Trouble, addresses, found};
use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |name| {
        let dns = lookup::resolver();
        let mut last = Err(Trouble::Hard);
        // The name may be short: the search list of resolv.conf completes it.
        for full in dns.candidates(name) {
            last = addresses(&dns, &full);
            if last != Err(Trouble::Hard) {
                break;
            }
        }
        let ip = last?.first().copied().ok_or(Trouble::Hard)?;
        let mut names = found(dns.ptr(ip))?;
        names.truncate(1);
        Ok(names)
    })
}
