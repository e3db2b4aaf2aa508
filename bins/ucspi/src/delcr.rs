//! delcr: copies fd 0 to fd 1 and removes the carriage return before every line feed.
//!
//! No arguments. Run by people and scripts behind a protocol with CR LF; of several carriage returns one goes, and one
//! that no line feed follows stays. Memory: one buffer.
//!
//! Exit codes: 0 all copied; 111 the input or the output failed.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod filter;

use filter::{DelCr, run_filter};
use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let held = std::cell::Cell::new(DelCr::default());
    run_filter(|bytes, out| held.set(held.get().feed(bytes, out)), |out| held.get().finish(out))
}
