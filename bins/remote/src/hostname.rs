//! hostname: prints the name of this host, as the kernel knows it, on fd 1.
//!
//! No arguments. Run by people and scripts, as any user.
//!
//! Exit codes: 0 printed; 111 there is no name, or fd 1 failed.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use sys::Exit;
use sys::error::{complain, text};

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let printed = sys::process::hostname().and_then(|name| sys::fd::write_all(1, &[&name[..], b"\n"].concat()));
    match printed {
        Ok(()) => Exit::OK,
        Err(e) => {
            complain(&[b"fatal: unable to print host name: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}
