//! Netstrings out of a stream.

use crate::length::Length;
use std::io::Read;

/// What one read asks for, and all that is ever held of the stream (bytes).
const BUFFER_BYTES: usize = 16384;

/// Why no more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The stream ended, or could not be read.
    Ended,
    /// This is no netstring, or it does not fit into the one around it.
    Malformed,
    /// The length is over [`crate::LENGTH_MAX`].
    TooLong,
}

/// Reads netstrings from a stream.
///
/// Usually: [`Reader::length`], then the bytes inside, then [`Reader::comma`]. [`Reader::enter`] fences the reader in
/// until [`Reader::leave`]: what is inside of a netstring can then not reach beyond its end.
pub struct Reader<R> {
    stream: R,
    buffer: Box<[u8]>,
    /// The bytes that were read and not yet taken: `buffer[at..end]`.
    at: usize,
    end: usize,
    /// How many bytes are left inside of the netstring that was entered.
    inside: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads from `stream`, with a buffer of its own.
    pub fn new(stream: R) -> Reader<R> {
        Reader { stream, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), at: 0, end: 0, inside: None }
    }

    /// A length with its colon. Inside of a netstring that was entered, a length that does not leave room for the
    /// comma is [`Broken::Malformed`], whatever it is.
    pub fn length(&mut self) -> Result<u64, Broken> {
        let mut length = Length::default();
        loop {
            let byte = self.byte()?;
            match (length.push(byte), self.inside) {
                (Err(Broken::TooLong), Some(_)) => return Err(Broken::Malformed),
                (Err(broken), _) => return Err(broken),
                (Ok(None), _) => {}
                (Ok(Some(value)), Some(left)) if value >= left => return Err(Broken::Malformed),
                (Ok(Some(value)), _) => return Ok(value),
            }
        }
    }

    /// From now on only `length` bytes may be read, the inside of a netstring whose length was just read. One level
    /// only: an older fence is forgotten.
    pub fn enter(&mut self, length: u64) {
        self.inside = Some(length);
    }

    /// How many bytes are left inside of the netstring that was entered; 0 outside of any.
    pub fn left(&self) -> u64 {
        self.inside.unwrap_or(0)
    }

    /// Ends what [`Reader::enter`] began: all of the netstring must have been read, and its comma must follow.
    pub fn leave(&mut self) -> Result<(), Broken> {
        if self.left() > 0 {
            return Err(Broken::Malformed);
        }
        self.inside = None;
        self.comma()
    }

    /// The comma behind a netstring.
    pub fn comma(&mut self) -> Result<(), Broken> {
        if self.byte()? == b',' { Ok(()) } else { Err(Broken::Malformed) }
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Broken> {
        self.piece(1)?.first().copied().ok_or(Broken::Ended)
    }

    /// The next bytes, as many as are there, at least one and at most `most`.
    pub fn piece(&mut self, most: u64) -> Result<&[u8], Broken> {
        let most = most.min(self.inside.unwrap_or(u64::MAX));
        if most == 0 {
            return Err(Broken::Malformed);
        }
        if self.at == self.end {
            self.at = 0;
            self.end = self.stream.read(&mut self.buffer).map_err(|_| Broken::Ended)?;
        }
        let there = self.buffer.get(self.at..self.end).unwrap_or_default();
        let piece = there.get(..usize::try_from(most).unwrap_or(usize::MAX)).unwrap_or(there);
        if piece.is_empty() {
            return Err(Broken::Ended);
        }
        self.at += piece.len();
        if let Some(left) = &mut self.inside {
            *left -= piece.len() as u64;
        }
        Ok(piece)
    }

    /// A whole netstring of at most `max` bytes. A longer one is read to its end and forgotten: `None`.
    pub fn small(&mut self, max: usize) -> Result<Option<Vec<u8>>, Broken> {
        let mut left = self.length()?;
        let fits = left <= max as u64;
        let mut text = Vec::new();
        while left > 0 {
            let piece = self.piece(left)?;
            left -= piece.len() as u64;
            if fits {
                text.extend_from_slice(piece);
            }
        }
        self.comma()?;
        Ok(fits.then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io;

    /// Gives `step` bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(to.len());
            (&mut self.0).take(n as u64).read(to)
        }
    }

    #[test]
    fn small_netstrings() {
        type Row = (&'static [u8], Result<Option<&'static [u8]>, Broken>);
        let rows: &[Row] = &[
            (b"0:,", Ok(Some(b""))),
            (b"3:a,b,", Ok(Some(b"a,b"))),
            (b"4:\0\xff\r\n,", Ok(Some(b"\0\xff\r\n"))),
            (b"5:abcde,", Ok(None)),
            (b"5:abcde;", Err(Broken::Malformed)),
            (b"3:abcd", Err(Broken::Malformed)),
            (b"3:ab", Err(Broken::Ended)),
            (b"3:abc", Err(Broken::Ended)),
            (b"3", Err(Broken::Ended)),
            (b"", Err(Broken::Ended)),
            (b"x", Err(Broken::Malformed)),
            (b"300000000:", Err(Broken::TooLong)),
        ];
        for (text, want) in rows {
            for step in 1..4 {
                let got = Reader::new(Drip(text, step)).small(4);
                assert_eq!(got, want.map(|t| t.map(<[u8]>::to_vec)), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn n2_an_inner_netstring_stays_inside() {
        for inner in [&b"5:"[..], b"4:", b"3:", b"999999999999:", b"01:a;", b"1:ab", b"1:a,1", b"55555"] {
            let text = [b"5:", inner, b"abcdefghijk,,,,"].concat();
            let mut r = Reader::new(&text[..]);
            let length = r.length().unwrap();
            r.enter(length);
            let mut list = Ok(());
            while list.is_ok() && r.left() > 0 {
                list = r.small(100).map(|_| ());
            }
            assert_eq!(list, Err(Broken::Malformed), "{}", text.escape_ascii());
        }
        let mut r = Reader::new(&b"4:1:a,;"[..]);
        let length = r.length().unwrap();
        r.enter(length);
        assert_eq!(r.small(9), Ok(Some(b"a".to_vec())));
        assert_eq!((r.left(), r.byte(), r.leave()), (0, Err(Broken::Malformed), Err(Broken::Malformed)));
        let mut r = Reader::new(&b"4:1:a,,"[..]);
        let length = r.length().unwrap();
        r.enter(length);
        assert_eq!(r.leave(), Err(Broken::Malformed));
    }

    #[test]
    fn a_huge_netstring_is_read_in_pieces_and_not_kept() {
        let stream = (&b"200000000:"[..]).chain(io::repeat(b'x'));
        let mut r = Reader::new(stream);
        let length = r.length().unwrap();
        let mut seen = 0;
        while seen < 10_000_000 {
            let piece = r.piece(length - seen).unwrap();
            assert!(piece.len() <= BUFFER_BYTES);
            seen += piece.len() as u64;
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            step in 1usize..20,
        ) {
            let inner: Vec<u8> = texts.iter().flat_map(|t| crate::netstring(t)).collect();
            let wire = crate::netstring(&inner);
            let mut r = Reader::new(Drip(&wire, step));
            let length = r.length().unwrap();
            r.enter(length);
            let mut seen = Vec::new();
            while r.left() > 0 {
                seen.push(r.small(50).unwrap().unwrap());
            }
            prop_assert_eq!(r.leave(), Ok(()));
            prop_assert_eq!(seen, texts);
            prop_assert_eq!(r.byte(), Err(Broken::Ended));
        }

        #[test]
        fn any_bytes_are_read_or_refused(wire in proptest::collection::vec(any::<u8>(), 0..60), step in 1usize..9) {
            let mut r = Reader::new(Drip(&wire, step));
            while r.small(10).is_ok() {}
        }
    }
}
