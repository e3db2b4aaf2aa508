//! The line ends of a stream, changed as it flows by. Shared by addcr, delcr and fixcrio; each uses a part.
#![allow(dead_code)]

use std::io::{self, Read};
use sys::Exit;
use sys::error::{complain, text};

/// Bytes read at a time.
const BUFFER: usize = 8192;

/// Copies fd 0 to fd 1 through `change`; at the end `finish` may add something.
pub fn run_filter(mut change: impl FnMut(&[u8], &mut Vec<u8>), finish: impl FnOnce(&mut Vec<u8>)) -> Exit {
    let mut copy = || -> Result<(), (&'static str, io::Error)> {
        let mut buffer = [0; BUFFER];
        let mut out = Vec::with_capacity(2 * BUFFER);
        loop {
            let length = sys::fd::Fd(0).read(&mut buffer).map_err(|e| ("read input", e))?;
            if length == 0 {
                return Ok(());
            }
            change(buffer.get(..length).unwrap_or_default(), &mut out);
            sys::fd::write_all(1, &out).map_err(|e| ("write output", e))?;
            out.clear();
        }
    };
    let mut rest = Vec::new();
    let done = copy().and_then(|()| {
        finish(&mut rest);
        sys::fd::write_all(1, &rest).map_err(|e| ("write output", e))
    });
    match done {
        Ok(()) => Exit::OK,
        Err((what, e)) => {
            complain(&[b"fatal: unable to ", what.as_bytes(), b": ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// Appends `bytes` to `out` with a carriage return before every line feed.
pub fn add_cr(bytes: &[u8], out: &mut Vec<u8>) {
    for &b in bytes {
        if b == b'\n' {
            out.push(b'\r');
        }
        out.push(b);
    }
}

/// Puts a carriage return before each line feed that has none. `.0`: the last byte was a carriage return.
#[derive(Clone, Copy, Default)]
pub struct FixCr(bool);

impl FixCr {
    /// Appends the changed `bytes` to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &b in bytes {
            if b == b'\n' && !self.0 {
                out.push(b'\r');
            }
            out.push(b);
            self.0 = b == b'\r';
        }
    }
}

/// Removes the carriage return before each line feed. `.0`: a carriage return is held back until the next byte.
#[derive(Clone, Copy, Default)]
pub struct DelCr(bool);

impl DelCr {
    /// Appends the changed `bytes` to `out`; returns the state for the next ones.
    #[must_use]
    pub fn feed(mut self, bytes: &[u8], out: &mut Vec<u8>) -> DelCr {
        for &b in bytes {
            if self.0 && b != b'\n' {
                out.push(b'\r');
            }
            self.0 = b == b'\r';
            if !self.0 {
                out.push(b);
            }
        }
        self
    }

    /// Gives out what is held back, at the end.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.0 {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, and what add_cr, FixCr and DelCr make of it.
    type Row = [&'static [u8]; 4];
    const ROWS: &[Row] = &[
        [b"", b"", b"", b""],
        [b"\n", b"\r\n", b"\r\n", b"\n"],
        [b"\r", b"\r", b"\r", b"\r"],
        [b"\r\n", b"\r\r\n", b"\r\n", b"\n"],
        [b"\r\r\n", b"\r\r\r\n", b"\r\r\n", b"\r\n"],
        [b"a\rb\n\nc", b"a\rb\r\n\r\nc", b"a\rb\r\n\r\nc", b"a\rb\n\nc"],
        [b"\0\xff\n\r", b"\0\xff\r\n\r", b"\0\xff\r\n\r", b"\0\xff\n\r"],
    ];

    #[test]
    fn line_ends_are_changed_however_the_stream_is_cut() {
        for &[input, added, fixed, deleted] in ROWS {
            for cut in 0..=input.len() {
                let (a, b) = input.split_at(cut);
                let mut out = Vec::new();
                add_cr(a, &mut out);
                add_cr(b, &mut out);
                assert_eq!(out, added);
                let (mut out, mut fix) = (Vec::new(), FixCr::default());
                fix.feed(a, &mut out);
                fix.feed(b, &mut out);
                assert_eq!(out, fixed);
                let mut out = Vec::new();
                DelCr::default().feed(a, &mut out).feed(b, &mut out).finish(&mut out);
                assert_eq!(out, deleted);
            }
        }
    }
}
