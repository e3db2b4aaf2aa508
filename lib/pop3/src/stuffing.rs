//! A stored message as POP3 sends it: CR LF for LF, a dot more before a dot at the start of a line (RFC 1939 3).

use crate::output::Output;
use memchr::memchr;
use std::io::{self, Write};

/// Turns the pieces of one message into what goes over the wire.
pub(crate) struct Stuffing {
    at_line_start: bool,
    in_header: bool,
    /// How many lines of the body are still to be sent; `None`: all.
    lines_left: Option<u64>,
}

impl Stuffing {
    pub(crate) fn new(body_lines: Option<u64>) -> Stuffing {
        Stuffing { at_line_start: true, in_header: true, lines_left: body_lines }
    }

    /// Sends the next piece of the message; `Ok(false)` says that the client wants no more of it.
    pub(crate) fn put<W: Write>(&mut self, mut piece: &[u8], output: &mut Output<W>) -> io::Result<bool> {
        while let Some(&first) = piece.first() {
            if self.at_line_start && !self.begin_line(first, output)? {
                return Ok(false);
            }
            let Some(length) = memchr(b'\n', piece) else {
                output.put(piece)?;
                return Ok(true);
            };
            output.put(piece.get(..length).unwrap_or_default())?;
            output.put(b"\r\n")?;
            self.at_line_start = true;
            piece = piece.get(length + 1..).unwrap_or_default();
        }
        Ok(true)
    }

    fn begin_line<W: Write>(&mut self, first: u8, output: &mut Output<W>) -> io::Result<bool> {
        if !self.in_header
            && let Some(left) = &mut self.lines_left
        {
            match left.checked_sub(1) {
                None => return Ok(false),
                Some(fewer) => *left = fewer,
            }
        }
        match first {
            b'\n' => self.in_header = false,
            b'.' => output.put(b".")?,
            _ => {}
        }
        self.at_line_start = false;
        Ok(true)
    }

    /// Ends the message. The empty line before the dot is not part of it: some old clients need it, and every qmail
    /// has sent it.
    pub(crate) fn finish<W: Write>(self, output: &mut Output<W>) -> io::Result<()> {
        if !self.at_line_start {
            output.put(b"\r\n")?;
        }
        output.put(b"\r\n.\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn send(message: &[u8], step: usize, body_lines: Option<u64>) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut output = Output::new(&mut wire);
        let mut stuffing = Stuffing::new(body_lines);
        for piece in message.chunks(step) {
            if !stuffing.put(piece, &mut output).unwrap() {
                break;
            }
        }
        stuffing.finish(&mut output).unwrap();
        output.flush().unwrap();
        drop(output);
        wire
    }

    #[test]
    fn m6_dots_are_stuffed_and_a_last_line_is_completed() {
        let rows: &[(&[u8], Option<u64>, &[u8])] = &[
            (b"", None, b"\r\n.\r\n"),
            (b"\n", None, b"\r\n\r\n.\r\n"),
            (b".", None, b"..\r\n\r\n.\r\n"),
            (b".\n..\na.\n", None, b"..\r\n...\r\na.\r\n\r\n.\r\n"),
            (b"a\r\n\0\xff", None, b"a\r\r\n\0\xff\r\n\r\n.\r\n"),
            (b"h\n\n1\n2\n", Some(0), b"h\r\n\r\n\r\n.\r\n"),
            (b"h\n\n1\n2\n", Some(1), b"h\r\n\r\n1\r\n\r\n.\r\n"),
            (b"h\n\n1\n\n3\n", Some(2), b"h\r\n\r\n1\r\n\r\n\r\n.\r\n"),
            (b"h\n\n1\n2", Some(2), b"h\r\n\r\n1\r\n2\r\n\r\n.\r\n"),
            (b"h\n\n1\n2\n", Some(u64::MAX), b"h\r\n\r\n1\r\n2\r\n\r\n.\r\n"),
            (b"h\nh\n", Some(0), b"h\r\nh\r\n\r\n.\r\n"),
        ];
        for &(message, body_lines, expected) in rows {
            for step in [1, 2, 3, 100] {
                let wire = send(message, step, body_lines);
                assert_eq!(wire.escape_ascii().to_string(), expected.escape_ascii().to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn the_client_gets_the_message_back(
            message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            step in 1usize..50,
        ) {
            let wire = send(&message, step, None);
            let text = wire.strip_suffix(b"\r\n.\r\n").unwrap();
            let mut back = Vec::new();
            for line in text.split_inclusive(|&b| b == b'\n') {
                prop_assert!(line != b".\r\n");
                let line = line.strip_suffix(b"\r\n").unwrap();
                back.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
                back.push(b'\n');
            }
            if message.last().is_some_and(|&b| b != b'\n') {
                back.pop();
            }
            prop_assert_eq!(back, message);
        }
    }
}
