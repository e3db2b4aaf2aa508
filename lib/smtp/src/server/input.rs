//! The bytes that came from the client and were not used yet.

use memchr::memchr;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The longest command line taken, line feed included (bytes): what AUTH needs (RFC 4954 4); others need 512.
pub const LINE_MAX: usize = 12288;
/// Room for the bytes of one read: enough for any command line; a message that fills it gets more.
const SMALL_BYTES: usize = 16384;
/// Room while a large message comes in.
const LARGE_BYTES: usize = 65536;

/// Where the client's bytes come from.
pub trait Source {
    /// Reads some bytes as soon as there are any; 0 is the end; `ErrorKind::TimedOut` if none came within `limit`.
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize>;

    /// The clock that time limits are measured by.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Source for sys::poll::Timed {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.limit = limit;
        Read::read(self, buffer)
    }
}

/// The buffer before a [`Source`].
pub(super) struct Input<S> {
    pub(super) source: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The present command line was too long: what is left of it is thrown away.
    skipping: bool,
}

/// What [`Input::line`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line.
    Whole,
    /// The end of a line that was too long; it was thrown away.
    TooLong,
    /// No line end yet.
    Incomplete,
}

impl<S: Source> Input<S> {
    pub(super) fn new(source: S) -> Input<S> {
        Input { source, buffer: vec![0; SMALL_BYTES], start: 0, end: 0, skipping: false }
    }

    /// The bytes that were not used yet.
    pub(super) fn unused(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Uses up the next `count` bytes, or all if there are fewer.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Throws away all bytes that came in, the rest of a line that is too long among them.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
        self.skipping = false;
        self.wipe();
    }

    /// Overwrites what was used up: there may be a password in it.
    pub(super) fn wipe(&mut self) {
        let (used, rest) = self.buffer.split_at_mut(self.start);
        auth::secret::wipe(used);
        if let Some(behind) = rest.get_mut(self.end - self.start..) {
            auth::secret::wipe(behind);
        }
    }

    /// Reads more; waits at most `limit`. `Ok(0)` is the end.
    pub(super) fn fill(&mut self, limit: Duration) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let space = room.len();
        let count = self.source.read(room, limit)?;
        self.end = (self.end + count).min(self.buffer.len());
        if count == space && self.buffer.len() < LARGE_BYTES {
            self.buffer.resize(LARGE_BYTES, 0);
        }
        Ok(count)
    }

    /// Moves the next command line into `line`, without its line feed, if it has come in whole.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Line {
        line.clear();
        let unused = self.unused();
        match memchr(b'\n', unused) {
            Some(at) if at < LINE_MAX && !self.skipping => {
                line.extend_from_slice(unused.get(..at).unwrap_or_default());
                self.consume(at + 1);
                Line::Whole
            }
            Some(at) => {
                self.consume(at + 1);
                self.skipping = false;
                Line::TooLong
            }
            None => {
                if self.skipping || unused.len() >= LINE_MAX {
                    self.skipping = true;
                    self.start = self.end;
                }
                Line::Incomplete
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives all of its bytes, then the end.
    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn read(&mut self, buffer: &mut [u8], _limit: Duration) -> io::Result<usize> {
            let n = self.0.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(bytes: Vec<u8>) -> (Vec<Result<usize, Line>>, usize) {
        let (mut input, mut line, mut found) = (Input::new(Bytes(bytes)), Vec::new(), Vec::new());
        loop {
            match input.line(&mut line) {
                Line::Whole => found.push(Ok(line.len())),
                Line::TooLong => found.push(Err(Line::TooLong)),
                Line::Incomplete if input.fill(Duration::ZERO).unwrap() == 0 => break,
                Line::Incomplete => {}
            }
        }
        (found, input.buffer.len())
    }

    #[test]
    fn s8_a_line_too_long_is_thrown_away_to_its_end() {
        for (length, expected) in [
            (0, Ok(0)),
            (LINE_MAX - 1, Ok(LINE_MAX - 1)),
            (LINE_MAX, Err(Line::TooLong)),
            (LINE_MAX + 1, Err(Line::TooLong)),
            (SMALL_BYTES, Err(Line::TooLong)),
            (3 * LARGE_BYTES, Err(Line::TooLong)),
        ] {
            let wire = [vec![b'x'; length], b"\nNOOP\n".to_vec()].concat();
            let (found, room) = lines(wire);
            assert_eq!(found, [expected, Ok(4)], "{length}");
            assert!(room <= LARGE_BYTES);
        }
    }

    #[test]
    fn lines_come_one_by_one() {
        assert_eq!(lines(b"a\r\n\nbcd\nrest".to_vec()).0, [Ok(2), Ok(0), Ok(3)]);
    }
}
