//! cdbget: prints the data of a key from the constant database on fd 0.
//!
//! Called as `cdbget key [skip]` with the database file, not a pipe, as fd 0; prints the data of the first record of
//! that key on fd 1, with nothing added; with skip, that of the record after so many of them.
//!
//! Exit codes: 0 printed; 100 there is no such record; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use control::cdb::Cdb;
use std::fs::File;
use sys::Exit;
use sys::error::{complain, text};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let (key, skip) = match *args.as_slice() {
        [key] => (key, 0),
        // As ever: what follows the digits is ignored, no digits are 0.
        [key, skip, ..] => (key, control::leading_number(skip).unwrap_or(0)),
        [] => {
            complain(&[b"usage: cdbget key [skip]"]);
            return Exit::TEMPORARY;
        }
    };
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let cdb = Cdb::from_file(File::from(sys::fd::STDIN.own()));
    match cdb.and_then(|cdb| cdb.find(key).nth_ok(skip)) {
        Ok(None) => Exit::PERMANENT,
        Ok(Some(data)) => match sys::fd::write_all(1, &data) {
            Ok(()) => Exit::OK,
            Err(e) => {
                complain(&[b"fatal: unable to write output: ", text(&e).as_bytes()]);
                Exit::TEMPORARY
            }
        },
        Err(e) => {
            complain(&[b"fatal: unable to read input: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// The item after `n` good ones, or the first error.
trait NthOk<T> {
    fn nth_ok(self, n: usize) -> std::io::Result<Option<T>>;
}

impl<T, I: Iterator<Item = std::io::Result<T>>> NthOk<T> for I {
    fn nth_ok(self, n: usize) -> std::io::Result<Option<T>> {
        for (i, item) in self.enumerate() {
            let item = item?;
            if i == n {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}
