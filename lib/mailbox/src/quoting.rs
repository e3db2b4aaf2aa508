//! The quoting of mbox files: a line that begins with `From `, or with that after any number of `>`, gets one more `>`
//! in front, so that no line of a message looks like the beginning of the next one, and a reader can undo it.

use std::io::{self, Write};

const FROM: &[u8] = b"From ";

/// Writes a message, given in pieces of any size, quoted. It holds back no more than a count, whatever the lines are.
pub struct Quoter<W> {
    out: W,
    /// `>` seen at the beginning of this line and not written yet.
    arrows: u64,
    /// Bytes of `From ` seen behind them and not written yet.
    matched: usize,
    /// Whether it is still open if this line must be quoted.
    at_start: bool,
    /// Whether the last line seen lacks its newline.
    open: bool,
}

impl<W: Write> Quoter<W> {
    /// Begins at the start of a line.
    pub fn new(out: W) -> Quoter<W> {
        Quoter { out, arrows: 0, matched: 0, at_start: true, open: false }
    }

    /// Writes the next piece.
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&first, after)) = bytes.split_first() {
            self.open = true;
            if !self.at_start {
                let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                let (line, rest) = bytes.split_at(end);
                self.out.write_all(line)?;
                self.at_start = line.ends_with(b"\n");
                self.open = !self.at_start;
                bytes = rest;
            } else if self.matched == 0 && first == b'>' {
                self.arrows += 1;
                bytes = after;
            } else if FROM.get(self.matched) == Some(&first) {
                self.matched += 1;
                bytes = after;
                if self.matched == FROM.len() {
                    self.arrows += 1;
                    self.release()?;
                }
            } else {
                self.release()?;
            }
        }
        Ok(())
    }

    /// Writes what was held back; the line is decided.
    fn release(&mut self) -> io::Result<()> {
        const ARROWS: [u8; 64] = [b'>'; 64];
        while self.arrows > 0 {
            let some = ARROWS.get(..usize::try_from(self.arrows).unwrap_or(ARROWS.len())).unwrap_or(&ARROWS);
            self.out.write_all(some)?;
            self.arrows -= some.len() as u64;
        }
        self.out.write_all(FROM.get(..self.matched).unwrap_or_default())?;
        self.matched = 0;
        self.at_start = false;
        Ok(())
    }

    /// Ends the message: a newline if its last line has none, and the blank line between messages. Returns the writer,
    /// which is not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.release()?;
        self.out.write_all(if self.open { b"\n\n" } else { b"\n" })?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(pieces: &[&[u8]]) -> Vec<u8> {
        let mut q = Quoter::new(Vec::new());
        for piece in pieces {
            q.put(piece).unwrap();
        }
        q.finish().unwrap()
    }

    #[test]
    fn lines_that_look_like_from_are_quoted() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b"\n"),
            (b"\n", b"\n\n"),
            (b"a", b"a\n\n"),
            (b"From", b"From\n\n"),
            (b"From ", b">From \n\n"),
            (b"From\n x", b"From\n x\n\n"),
            (b"Fro\nFrom a\n", b"Fro\n>From a\n\n"),
            (b">", b">\n\n"),
            (b">>From ", b">>>From \n\n"),
            (b">F>From a\n>>\n", b">F>From a\n>>\n\n"),
            (b"\n\n>From\nFrom \n", b"\n\n>From\n>From \n\n"),
            (b" From a\nfrom b\nFrome\n\0From \n", b" From a\nfrom b\nFrome\n\0From \n\n"),
        ];
        for &(message, expected) in rows {
            assert_eq!(quoted(&[message]), expected, "{message:?}");
        }
    }

    #[test]
    fn a_run_of_arrows_costs_no_memory() {
        let mut q = Quoter::new(io::sink());
        for _ in 0..1000 {
            q.put(&[b'>'; 4096]).unwrap();
        }
        assert_eq!(q.arrows, 4_096_000);
        q.put(b"From x\n").unwrap();
        assert_eq!(q.arrows, 0);
    }

    /// The rule in its plainest form, line by line.
    fn plainly(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|&b| b == b'\n') {
            let bare = line.iter().position(|&b| b != b'>').map_or(&b""[..], |at| &line[at..]);
            if bare.starts_with(FROM) {
                out.push(b'>');
            }
            out.extend_from_slice(line);
        }
        if !message.is_empty() && !message.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.push(b'\n');
        out
    }

    proptest! {
        #[test]
        fn any_message_in_any_pieces(text in "[>From \n]{0,80}", cut in 0usize..80, other in 0usize..80) {
            let bytes = text.as_bytes();
            let (a, b) = (cut.min(other).min(bytes.len()), cut.max(other).min(bytes.len()));
            prop_assert_eq!(quoted(&[&bytes[..a], &bytes[a..b], &bytes[b..]]), plainly(bytes));
        }
    }
}
