//! Placeholder.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

sys::program!(run);

fn run(_args: sys::start::Args) -> sys::Exit {
    sys::Exit::TEMPORARY
}
