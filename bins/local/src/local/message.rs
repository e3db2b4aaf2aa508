//! The message on fd 0: its beginning is read once, and serves every delivery; what does not fit is read again.

use super::failure::{Failure, explain};
use std::io::{self, BufRead, BufReader, Read, SeekFrom};
use sys::fd::STDIN;

/// The message, with the fields of this delivery in front.
pub struct Message {
    /// The fields in front, then the beginning of the message.
    bytes: Vec<u8>,
    /// Length of the fields.
    front: usize,
    /// Whether `bytes` holds all of the message.
    whole: bool,
}

impl Message {
    /// Rewinds fd 0 and reads as much of it as fits into the buffer behind `front`.
    pub fn open(front: &[u8]) -> Result<Message, Failure> {
        rewind(0)?;
        let about = STDIN.metadata().map_err(|e| unreadable(&e))?;
        // Nobody else writes to the file, so that its size says how much there is.
        let size = if about.is_file() { usize::try_from(about.len()).unwrap_or(usize::MAX) } else { usize::MAX };
        let room = size.min(mailbox::BUFFER);
        let mut bytes = front.to_vec();
        bytes.resize(front.len() + room, 0);
        let mut filled = front.len();
        let mut whole = filled == bytes.len();
        while let Some(free @ [_, ..]) = bytes.get_mut(filled..) {
            match STDIN.clone().read(free).map_err(|e| unreadable(&e))? {
                0 => {
                    whole = true;
                    break;
                }
                count => filled += count,
            }
            whole = size <= mailbox::BUFFER && filled == bytes.len();
        }
        bytes.truncate(filled);
        Ok(Message { bytes, front: front.len(), whole })
    }

    /// The fields in front and the beginning of the message, to be stored as they are.
    pub fn beginning(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts fd 0 behind [`Message::beginning`]; false if nothing follows.
    pub fn has_more(&self) -> Result<bool, Failure> {
        if self.whole {
            return Ok(false);
        }
        rewind(self.held().len() as u64)?;
        Ok(true)
    }

    /// All of the message, without the fields in front.
    pub fn reader(&self) -> Result<Box<dyn BufRead + '_>, Failure> {
        if !self.has_more()? {
            return Ok(Box::new(self.held()));
        }
        Ok(Box::new(self.held().chain(BufReader::with_capacity(mailbox::BUFFER, STDIN))))
    }

    /// Whether `line`, with its newline, is a line of the header.
    pub fn header_has(&self, line: &[u8]) -> Result<bool, Failure> {
        let mut reader = self.reader()?;
        let mut search = Search { line, at: 0, same: true };
        loop {
            let some = reader.fill_buf().map_err(|e| unreadable(&e))?;
            if some.is_empty() {
                return Ok(false);
            }
            if let Some(found) = search.feed(some) {
                return Ok(found);
            }
            let count = some.len();
            reader.consume(count);
        }
    }

    fn held(&self) -> &[u8] {
        self.bytes.get(self.front..).unwrap_or_default()
    }
}

/// Puts fd 0, which every delivery and every command shares, to `position`.
pub fn rewind(position: u64) -> Result<(), Failure> {
    match STDIN.seek(SeekFrom::Start(position)) {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::temporary(&[b"Unable to rewind message. (#4.3.0)"])),
    }
}

/// The failure to read fd 0.
pub fn unreadable(error: &io::Error) -> Failure {
    explain(&[b"Unable to read message"], error, b"4.3.0")
}

/// A search for a line in a header that comes in pieces. A last line without newline does not count, as in qmail.
struct Search<'l> {
    line: &'l [u8],
    /// How many bytes of the current line have been seen.
    at: usize,
    /// Whether they are those of `line`.
    same: bool,
}

impl Search<'_> {
    /// `Some` when the answer is known.
    fn feed(&mut self, bytes: &[u8]) -> Option<bool> {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let ends = piece.ends_with(b"\n");
            if ends && self.at == 0 && piece.len() == 1 {
                return Some(false);
            }
            let end = self.at.saturating_add(piece.len());
            self.same = self.same && self.line.get(self.at..end) == Some(piece);
            self.at = end;
            if ends {
                // The newline is part of the line searched for, so that nothing longer can be the same.
                if self.same {
                    return Some(true);
                }
                (self.at, self.same) = (0, true);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_the_delivered_to_line_is_found_in_the_header_only() {
        let line = b"Delivered-To: a@b\n";
        let rows: &[(&[u8], bool)] = &[
            (b"", false),
            (b"Delivered-To: a@b\n", true),
            (b"Delivered-To: a@b", false),
            (b"X: y\nDelivered-To: a@b\n\n", true),
            (b"X: y\n\nDelivered-To: a@b\n", false),
            (b"\nDelivered-To: a@b\n", false),
            (b"X: y\n\r\n", false),
            (b"X: y\n\r\nDelivered-To: a@b\n", true),
            (b"Delivered-To: a@bc\n", false),
            (b"delivered-to: a@b\n", false),
            (b"Delivered-To: a@b \n", false),
            (b" Delivered-To: a@b\n", false),
            (b"XDelivered-To: a@b\n", false),
        ];
        for &(message, expected) in rows {
            for step in [1, 2, 7, 100] {
                let mut search = Search { line, at: 0, same: true };
                let found = message.chunks(step).find_map(|piece| search.feed(piece)).unwrap_or(false);
                assert_eq!(found, expected, "{message:?} by {step}");
            }
        }
    }
}
