//! Reading a message: first its header fields one by one, then what is left.
//!
//! A header ends at an empty line, at the first line that can be no header field, or with the message. A `From ` line
//! as mailboxes have it is kept as a field `MBOX-Line`.

use crate::hfield;
use std::io::{self, BufRead, Read};

/// Why the next field could not be had.
#[derive(Debug)]
pub enum Error {
    /// The message could not be read.
    Read(io::Error),
    /// The header is longer than allowed.
    TooLong,
}

/// The fields of a message that is read from `R`.
pub struct Fields<R> {
    source: R,
    /// How many bytes of header may still come.
    allowed: u64,
    /// A line that was read but belongs to no field yet.
    ahead: Option<Line>,
    body_start: Vec<u8>,
    ended: bool,
}

struct Line {
    /// With its newline, if it has one.
    text: Vec<u8>,
    /// The limit was reached before the line's end.
    cut: bool,
}

impl<R: BufRead> Fields<R> {
    /// Begins a message whose header may have at most `limit` bytes.
    pub fn new(source: R, limit: u64) -> Fields<R> {
        Fields { source, allowed: limit, ahead: None, body_start: Vec::new(), ended: false }
    }

    /// The next field with its continuation lines and its newline (which is added if the message ends without one);
    /// `None` when the header is over.
    pub fn next_field(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let first = match self.ahead.take() {
            Some(line) => line,
            None => match self.line()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let mut field = match self.field_start(first)? {
            Some(field) => field,
            None => return Ok(None),
        };
        while let Some(line) = self.line()? {
            if !line.text.starts_with(b" ") && !line.text.starts_with(b"\t") {
                self.ahead = Some(line);
                break;
            }
            if line.cut {
                return Err(Error::TooLong);
            }
            field.extend_from_slice(&line.text);
        }
        Ok(Some(field))
    }

    /// What a line becomes as the first one of a field; `None` if it is the first of the body.
    fn field_start(&mut self, line: Line) -> Result<Option<Vec<u8>>, Error> {
        let Line { text, cut } = line;
        let mbox = text.starts_with(b"From ");
        if !mbox && !hfield::is_valid(&text) {
            self.ended = true;
            if text != b"\n" {
                // The empty line that should stand before it.
                self.body_start.push(b'\n');
            }
            self.body_start.extend_from_slice(&text);
            return Ok(None);
        }
        if cut {
            return Err(Error::TooLong);
        }
        Ok(Some(if mbox { [b"MBOX-Line: ", &text[..]].concat() } else { text }))
    }

    fn line(&mut self) -> Result<Option<Line>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut text = Vec::new();
        (&mut self.source).take(self.allowed).read_until(b'\n', &mut text).map_err(Error::Read)?;
        self.allowed -= u64::try_from(text.len()).unwrap_or(self.allowed).min(self.allowed);
        if text.ends_with(b"\n") {
            return Ok(Some(Line { text, cut: false }));
        }
        if self.allowed == 0 && !self.source.fill_buf().map_err(Error::Read)?.is_empty() {
            return Ok(Some(Line { text, cut: true }));
        }
        self.ended = true;
        if text.is_empty() {
            return Ok(None);
        }
        text.push(b'\n');
        Ok(Some(Line { text, cut: false }))
    }

    /// The body, once the header is over: the bytes of it that were read already (its separating empty line is among
    /// them, if there is a body at all), and the source of the others. A missing newline at the end is not added.
    pub fn into_body(self) -> (Vec<u8>, R) {
        (self.body_start, self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(message: &[u8], limit: u64) -> Result<(Vec<Vec<u8>>, Vec<u8>), Error> {
        let mut fields = Fields::new(message, limit);
        let mut found = Vec::new();
        while let Some(f) = fields.next_field()? {
            found.push(f);
        }
        let (mut body, rest) = fields.into_body();
        body.extend_from_slice(rest);
        Ok((found, body))
    }

    #[test]
    fn header_and_body_are_separated() {
        let rows: &[(&str, &[&str], &str)] = &[
            ("", &[], ""),
            ("\n", &[], "\n"),
            ("a: b\n", &["a: b\n"], ""),
            ("a: b", &["a: b\n"], ""),
            ("a: b\nc: d\n\nx\n", &["a: b\n", "c: d\n"], "\nx\n"),
            ("a: b\n c\n\td\ne: f\n\n", &["a: b\n c\n\td\n", "e: f\n"], "\n"),
            ("a: b\n \n\nx", &["a: b\n \n"], "\nx"),
            (" a: b\n", &[], "\n a: b\n"),
            ("no field\n", &[], "\nno field\n"),
            ("no field", &[], "\nno field\n"),
            ("a: b\nno field\n\nx\n", &["a: b\n"], "\nno field\n\nx\n"),
            ("From me\na: b\n", &["MBOX-Line: From me\n", "a: b\n"], ""),
            ("From: me\n", &["From: me\n"], ""),
            ("a: b\r\n\r\nx", &["a: b\r\n"], "\n\r\nx"),
        ];
        for &(message, fields, body) in rows {
            let (f, b) = read(message.as_bytes(), 1000).unwrap();
            assert_eq!(f, fields.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>(), "{message:?}");
            assert_eq!(b, body.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn the_header_is_limited_and_the_body_is_not() {
        let message = b"a: b\n c\n\nlong body\n";
        assert!(read(message, 9).is_ok());
        assert!(matches!(read(message, 7), Err(Error::TooLong)));
        assert!(matches!(read(b"a: bcdefgh", 6), Err(Error::TooLong)));
        assert!(read(b"a: bcd", 6).is_ok());
        assert_eq!(read(b"abcdefgh", 3).unwrap(), (vec![], b"\nabcdefgh".to_vec()));
        assert_eq!(read(b"a:\nbcdefgh\nx", 5).unwrap(), (vec![b"a:\n".to_vec()], b"\nbcdefgh\nx".to_vec()));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_invented(message in "[ a:\nF]{0,40}", limit in 0u64..50) {
            let Ok((fields, body)) = read(message.as_bytes(), limit) else { return Ok(()) };
            let mut all = fields.concat();
            all.extend_from_slice(&body);
            // Only a newline at the end and the empty line before the body may be new.
            let expected = message.bytes().filter(|&b| b != b'\n').count();
            prop_assert_eq!(all.iter().filter(|&&b| b != b'\n').count(), expected);
            let newlines = message.bytes().filter(|&b| b == b'\n').count();
            let now = all.iter().filter(|&&b| b == b'\n').count();
            prop_assert!(now >= newlines && now <= newlines + 2);
        }
    }
}
