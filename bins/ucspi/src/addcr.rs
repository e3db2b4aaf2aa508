//! addcr: copies fd 0 to fd 1 and puts a carriage return before every line feed.
//!
//! No arguments. Run by people and scripts between a program with bare line feeds and a protocol with CR LF; a line
//! feed that has a carriage return gets another one. Memory: one buffer.
//!
//! Exit codes: 0 all copied; 111 the input or the output failed.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod filter;

use filter::{add_cr, run_filter};
use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    run_filter(add_cr, |_| {})
}
