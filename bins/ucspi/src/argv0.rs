//! argv0: runs a program under another name.
//!
//! `argv0 program zero [arg ...]` becomes the program, with zero as its argv[0]. Run by people and scripts.
//!
//! Exit codes: 100 wrong usage; 111 the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use std::io;
use sys::Exit;
use sys::error::{complain, text};
use sys::spawn::Program;

/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let [name, argv @ ..] = args.as_slice() else { return usage() };
    if argv.is_empty() {
        return usage();
    }
    let path = sys::env::get(b"PATH").unwrap_or_else(|| PATH.to_vec());
    let file = sys::spawn::search(name, &path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    let error = match file.and_then(|file| Program::new(&file, argv)) {
        Ok(program) => program.exec(),
        Err(e) => e,
    };
    complain(&[b"fatal: unable to run ", name, b": ", text(&error).as_bytes()]);
    Exit::TEMPORARY
}

fn usage() -> Exit {
    complain(&[b"usage: argv0 program zero [ arg ... ]"]);
    Exit::PERMANENT
}
