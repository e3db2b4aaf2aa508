//! Command lines from a byte stream.

use memchr::memchr;
use std::io::{self, Read};

/// The longest command line that is looked at, without its CR LF (bytes). RFC 2449 4 asks for 255.
pub const LINE_MAX: usize = 512;
/// More than a line with its CR LF; what clients send ahead fits as well.
const BUFFER: usize = 2048;

/// A command line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// At most [`LINE_MAX`] bytes, none of them NUL: a password goes to its checker as a NUL-ended field.
    Good(&'a [u8]),
    /// A longer line, or one with a NUL. It was read to its end.
    Bad,
}

/// Takes lines from `source`. They end with LF; a CR before it belongs to the end.
pub struct Lines<R> {
    source: R,
    buffer: [u8; BUFFER],
    from: usize,
    to: usize,
    /// Whether the start of the present line was dropped because it is too long.
    skipping: bool,
}

impl<R: Read> Lines<R> {
    /// Nothing is read yet.
    pub fn new(source: R) -> Lines<R> {
        Lines { source, buffer: [0; BUFFER], from: 0, to: 0, skipping: false }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or_default()
    }

    /// Whether a whole line is here already, so that the next call of [`Lines::next`] will not wait.
    pub fn is_ready(&self) -> bool {
        memchr(b'\n', self.pending()).is_some()
    }

    /// The next line; `None` at the end of the stream, where a line without LF is none.
    #[allow(clippy::should_implement_trait)] // A line lives only until the next one: no iterator can say that.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            if let Some(length) = memchr(b'\n', self.pending()) {
                let start = self.from;
                self.from += length + 1;
                let line = self.buffer.get(start..start + length).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let bad = std::mem::take(&mut self.skipping) || line.len() > LINE_MAX || memchr(0, line).is_some();
                return Ok(Some(if bad { Line::Bad } else { Line::Good(line) }));
            }
            if self.pending().len() > LINE_MAX + 1 {
                self.skipping = true;
                self.to = self.from;
            }
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let room = self.buffer.get_mut(self.to..).unwrap_or_default();
            match self.source.read(room)? {
                0 => return Ok(None),
                count => self.to += count,
            }
        }
    }

    /// Forgets all that was read: what a client sent ahead, and the password that it sent last.
    pub fn forget(&mut self) {
        auth::secret::wipe(&mut self.buffer);
        (self.from, self.to, self.skipping) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives at most `step` bytes at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buf.len()).min(self.0.len());
            buf[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(bytes: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(Slowly(bytes, step));
        let mut all = vec![];
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Good(line) => Some(line.to_vec()),
                Line::Bad => None,
            });
        }
        all
    }

    #[test]
    fn lines_end_with_lf_or_cr_lf() {
        let rows: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"QUIT", &[]),
            (b"\n", &[b""]),
            (b"\r\n\r\r\n", &[b"", b"\r"]),
            (b"a\r\nb\nc\rd\r\n", &[b"a", b"b", b"c\rd"]),
            (b"\xff \r\nrest", &[b"\xff "]),
        ];
        for (bytes, expected) in rows {
            for step in [1, 2, 4096] {
                let expected: Vec<_> = expected.iter().map(|l| Some(l.to_vec())).collect();
                assert_eq!(lines(bytes, step), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn m1_a_long_line_is_read_to_its_end_in_constant_memory() {
        for length in [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, LINE_MAX + 2, BUFFER - 1, BUFFER, BUFFER + 1, 100_000] {
            for end in [&b"\n"[..], b"\r\n"] {
                let line = vec![b'x'; length];
                let bytes = [line.as_slice(), end, b"NOOP\r\n"].concat();
                let first = if length > LINE_MAX { None } else { Some(line) };
                for step in [1, 100, 4096] {
                    assert_eq!(lines(&bytes, step), [first.clone(), Some(b"NOOP".to_vec())], "{length} {step}");
                }
            }
        }
        assert_eq!(lines(b"PASS a\0b\r\nNOOP\r\n", 9), [None, Some(b"NOOP".to_vec())]);
    }

    #[test]
    fn what_was_sent_ahead_can_be_seen_and_forgotten() {
        let mut lines = Lines::new(&b"a\nb\nc"[..]);
        assert!(!lines.is_ready());
        assert_eq!(lines.next().unwrap(), Some(Line::Good(b"a")));
        assert!(lines.is_ready());
        lines.forget();
        assert!(!lines.is_ready());
        assert_eq!(lines.next().unwrap(), None);
    }

    proptest! {
        #[test]
        fn the_size_of_the_reads_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![8 => Just(b'x'), 1 => Just(b'\r'), 1 => Just(b'\n')], 0..3000),
            step in 1usize..700,
        ) {
            prop_assert_eq!(lines(&bytes, step), lines(&bytes, usize::MAX));
        }
    }
}
