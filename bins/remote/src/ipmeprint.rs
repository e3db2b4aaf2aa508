//! ipmeprint: prints the addresses that qmail-remote takes for this host's own, one a line, on fd 1.
//!
//! No arguments. Run by people, as any user, when a delivery loops or a host is thought to be this one.
//!
//! Exit codes: 0 printed; 100 the system does not tell its addresses; 111 fd 1 failed.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    match sys::net::local_addresses() {
        Ok(list) => {
            let lines: Vec<Vec<u8>> = list.iter().map(|ip| ip.to_string().into_bytes()).collect();
            lookup::print(&lines)
        }
        Err(_) => {
            // The exit code says it again.
            let _ = sys::fd::write_all(2, b"hard error\n");
            Exit::PERMANENT
        }
    }
}
