//! The message as it comes after DATA: line ends, dots, the end, and counting hops.

use memchr::memchr;

/// A line feed without a carriage return before it. The message is not to be taken: another server on its way may see
/// the end of the message there, and read commands in what follows (SMTP smuggling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareLineFeed;

/// What the bytes before the next one were; the bytes named here have not been passed on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The beginning, or CR LF, which was passed on as a line feed.
    LineEnd,
    /// CR LF `.`
    Dot,
    /// CR LF `.` CR
    DotReturn,
    /// A CR inside a line.
    Return,
    /// Anything else.
    Text,
}

/// Turns the bytes on the wire into those of the message: CR LF becomes LF, a dot at the start of a line is dropped,
/// and CR LF `.` CR LF ends it, nothing else does. All other bytes, CR and NUL among them, are passed on as they are.
///
/// No state grows with the message: lines may be of any length, and the wire may be cut anywhere.
#[derive(Clone, Debug)]
pub struct Decoder {
    seen: Seen,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { seen: Seen::LineEnd }
    }
}

/// What a call of [`Decoder::decode`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were used; the message goes on.
    More,
    /// The message ended; so many bytes belonged to it, the rest are commands.
    End(usize),
}

impl Decoder {
    /// Decodes the next bytes from the wire, gives the message's bytes to `out` in as few pieces as there are lines.
    pub fn decode(&mut self, wire: &[u8], mut out: impl FnMut(&[u8])) -> Result<Progress, BareLineFeed> {
        let Some(&first) = wire.first() else { return Ok(Progress::More) };
        // `from`: start of what is not passed on yet; `at`: where the search goes on.
        let (mut from, mut at) = (0, 0);
        match (self.seen, first) {
            (Seen::LineEnd, _) => match self.line_start(wire, 0, &mut from, &mut out)? {
                Start::Line(next) => at = next,
                Start::Cut => return Ok(Progress::More),
                Start::End(used) => return Ok(Progress::End(used)),
            },
            (Seen::Dot, b'\n') | (Seen::Text, b'\n') => return Err(BareLineFeed),
            (Seen::Dot, b'\r') => match wire.get(1) {
                None => {
                    self.seen = Seen::DotReturn;
                    return Ok(Progress::More);
                }
                Some(b'\n') => return Ok(Progress::End(2)),
                Some(_) => out(b"."),
            },
            (Seen::DotReturn, b'\n') => return Ok(Progress::End(1)),
            (Seen::DotReturn, _) => out(b".\r"),
            (Seen::Return, b'\n') => {
                // The line feed itself goes out with the line that follows it.
                match self.line_start(wire, 1, &mut from, &mut out)? {
                    Start::Line(next) => at = next,
                    Start::Cut => return Ok(Progress::More),
                    Start::End(used) => return Ok(Progress::End(used)),
                }
            }
            (Seen::Return, _) => out(b"\r"),
            (Seen::Dot | Seen::Text, _) => {}
        }
        self.lines(wire, from, at, out)
    }

    /// The main loop, from inside a line at `at`.
    fn lines(
        &mut self,
        wire: &[u8],
        mut from: usize,
        mut at: usize,
        mut out: impl FnMut(&[u8]),
    ) -> Result<Progress, BareLineFeed> {
        loop {
            let rest = wire.get(at..).unwrap_or_default();
            let Some(length) = memchr(b'\n', rest) else {
                let (text, seen) = match rest.split_last() {
                    Some((b'\r', _)) => (wire.get(from..wire.len() - 1), Seen::Return),
                    _ => (wire.get(from..), Seen::Text),
                };
                give(text, &mut out);
                self.seen = seen;
                return Ok(Progress::More);
            };
            let feed = at + length;
            if length == 0 || wire.get(feed - 1) != Some(&b'\r') {
                return Err(BareLineFeed);
            }
            give(wire.get(from..feed - 1), &mut out);
            from = feed;
            match self.line_start(wire, feed + 1, &mut from, &mut out)? {
                Start::Line(next) => at = next,
                Start::Cut => return Ok(Progress::More),
                Start::End(used) => return Ok(Progress::End(used)),
            }
        }
    }

    /// Looks at the first bytes of the line at `at`; `from..at`, at most a line feed, waits to be passed on.
    fn line_start(
        &mut self,
        wire: &[u8],
        at: usize,
        from: &mut usize,
        out: &mut impl FnMut(&[u8]),
    ) -> Result<Start, BareLineFeed> {
        let seen = match wire.get(at..).unwrap_or_default() {
            [] => Seen::LineEnd,
            [b'\n', ..] | [b'.', b'\n', ..] => return Err(BareLineFeed),
            [b'.'] => Seen::Dot,
            [b'.', b'\r'] => Seen::DotReturn,
            [b'.', b'\r', b'\n', ..] => {
                give(wire.get(*from..at), out);
                return Ok(Start::End(at + 3));
            }
            // The classic keeps the dot here: no client that stuffs dots sends this.
            [b'.', b'\r', ..] => return Ok(Start::Line(at + 2)),
            [b'.', ..] => {
                give(wire.get(*from..at), out);
                *from = at + 1;
                return Ok(Start::Line(at + 1));
            }
            _ => return Ok(Start::Line(at)),
        };
        give(wire.get(*from..at), out);
        self.seen = seen;
        Ok(Start::Cut)
    }
}

/// How a line begins.
enum Start {
    /// It goes on as text at this place.
    Line(usize),
    /// The wire is cut before that is known.
    Cut,
    /// It ends the message; the place behind it.
    End(usize),
}

fn give(piece: Option<&[u8]>, out: &mut impl FnMut(&[u8])) {
    if let Some(piece) = piece.filter(|p| !p.is_empty()) {
        out(piece);
    }
}

/// Counts the lines of the header that begin with `Received` or `Delivered`, in any case: the hosts and mailboxes that
/// the message has seen.
#[derive(Clone, Debug, Default)]
pub struct Hops {
    count: u32,
    in_body: bool,
    /// The first bytes of the present line, and how many it has so far.
    start: [u8; 9],
    length: usize,
}

impl Hops {
    /// How many so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes the next decoded bytes of the message.
    pub fn watch(&mut self, message: &[u8]) {
        let mut rest = message;
        while !self.in_body {
            let Some(end) = memchr(b'\n', rest) else {
                self.more(rest);
                return;
            };
            self.more(rest.get(..end).unwrap_or_default());
            rest = rest.get(end + 1..).unwrap_or_default();
            self.in_body = self.length == 0;
            self.length = 0;
        }
    }

    fn more(&mut self, line: &[u8]) {
        for &b in line {
            let Some(place) = self.start.get_mut(self.length) else { return };
            *place = b;
            self.length += 1;
            let start = self.start.get(..self.length).unwrap_or_default();
            if start.eq_ignore_ascii_case(b"received") || start.eq_ignore_ascii_case(b"delivered") {
                self.count = self.count.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `wire`, handed over in pieces that end at the places in `cuts`; gives the message, and what is left
    /// after its end, if it came.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Option<Vec<u8>>), BareLineFeed> {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (wire.len() + 1)).chain([wire.len()]).collect();
        cuts.sort_unstable();
        let (mut decoder, mut message, mut from) = (Decoder::default(), Vec::new(), 0);
        for cut in cuts {
            match decoder.decode(&wire[from..cut], |piece| message.extend_from_slice(piece))? {
                Progress::More => from = cut,
                Progress::End(used) => return Ok((message, Some(wire[from + used..].to_vec()))),
            }
        }
        Ok((message, None))
    }

    /// The same, with the wire cut everywhere and nowhere; both must agree.
    fn both(wire: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), BareLineFeed> {
        let whole = decode(wire, &[]);
        let every: Vec<usize> = (0..=wire.len()).collect();
        assert_eq!(decode(wire, &every), whole, "{}", wire.escape_ascii());
        whole
    }

    /// The classic state machine, one byte at a time, to compare with.
    fn octets(wire: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), BareLineFeed> {
        let (mut state, mut out) = (1, Vec::new());
        for (i, &b) in wire.iter().enumerate() {
            match (state, b) {
                (0..=2, b'\n') => return Err(BareLineFeed),
                (0 | 1, b'\r') => state = 4,
                (1, b'.') => state = 2,
                (2, b'\r') => state = 3,
                (3, b'\n') => return Ok((out, Some(wire[i + 1..].to_vec()))),
                (3, b'\r') => {
                    out.extend_from_slice(b".\r");
                    state = 4;
                }
                (4, b'\n') => {
                    out.push(b'\n');
                    state = 1;
                }
                (4, b'\r') => out.push(b'\r'),
                (3, _) => {
                    out.extend_from_slice(&[b'.', b'\r', b]);
                    state = 0;
                }
                (4, _) => {
                    out.extend_from_slice(&[b'\r', b]);
                    state = 0;
                }
                (_, _) => {
                    out.push(b);
                    state = 0;
                }
            }
        }
        Ok((out, None))
    }

    fn ended(message: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), BareLineFeed> {
        Ok((message.to_vec(), Some(Vec::new())))
    }

    #[test]
    fn lines_and_dots() {
        let rows: [(&[u8], &[u8]); 8] = [
            (b".\r\n", b""),
            (b"\r\n.\r\n", b"\n"),
            (b"a\r\n.\r\n", b"a\n"),
            (b"a\r\n\r\nb\r\n.\r\n", b"a\n\nb\n"),
            (b"..\r\n.\r\n", b".\n"),
            (b"...a\r\n..b\r\n.c\r\n.\r\n", b"..a\n.b\nc\n"),
            (b"a.\r\n.b.\r\n.\r\n", b"a.\nb.\n"),
            (b"\xff\xfe\x80\r\n.\r\n", b"\xff\xfe\x80\n"),
        ];
        for (wire, message) in rows {
            assert_eq!(both(wire), ended(message), "{}", wire.escape_ascii());
        }
        assert_eq!(both(b"a\r\n.\r\nQUIT\r\n"), Ok((b"a\n".to_vec(), Some(b"QUIT\r\n".to_vec()))));
    }

    #[test]
    fn s1_bare_lf_in_data_is_refused_wherever_it_stands() {
        let rows: [&[u8]; 12] = [
            b"\n",
            b"a\n",
            b"a\r\n\n",
            b"a\n.\n",
            b"a\n.\r\n",
            b"a\r\n.\n",
            b"a\n.\rb",
            b"a\n\r\n",
            b"a\n\r",
            b".\n",
            b"..\n",
            b"\r\n.a\n",
        ];
        for wire in rows {
            assert_eq!(both(wire), Err(BareLineFeed), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn s2_bare_cr_is_data_and_never_a_line_end() {
        let rows: [(&[u8], &[u8]); 9] = [
            (b"a\rb\r\n.\r\n", b"a\rb\n"),
            (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\n"),
            (b"a\r.\r\n.\r\n", b"a\r.\n"),
            (b"a\r\n.\rb\r\n.\r\n", b"a\n.\rb\n"),
            (b"a\r\n.\r\r\n.\r\n", b"a\n.\r\n"),
            (b"a\r\r\n.\r\n", b"a\r\n"),
            (b"\r\r\n.\r\n", b"\r\n"),
            (b"a\r\n\r.\r\n.\r\n", b"a\n\r.\n"),
            (b".\r.\r\n.\r\n", b".\r.\n"),
        ];
        for (wire, message) in rows {
            assert_eq!(both(wire), ended(message), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn s3_nul_is_data() {
        assert_eq!(both(b"a\0b\0\0\r\n\0\r\n.\r\n"), ended(b"a\0b\0\0\n\0\n"));
        assert_eq!(both(b"a\r\n\0.\r\n.\r\n"), ended(b"a\n\0.\n"));
        assert_eq!(both(b"a\r\n.\0\r\n.\r\n"), ended(b"a\n\0\n"));
    }

    #[test]
    fn s9_a_line_of_any_length_takes_no_memory() {
        let piece = vec![b'x'; 65536];
        let (mut decoder, mut total) = (Decoder::default(), 0u64);
        for _ in 0..256 {
            assert_eq!(decoder.decode(&piece, |p| total += p.len() as u64), Ok(Progress::More));
        }
        assert_eq!(total, 16 << 20);
        assert_eq!(decoder.decode(b"\r\n.\r\n", |p| total += p.len() as u64), Ok(Progress::End(5)));
        assert_eq!(total, (16 << 20) + 1);
    }

    fn encode(message: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in message.split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line.strip_suffix(b"\n").unwrap());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }

    fn odd_bytes() -> impl Strategy<Value = u8> {
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0u8)]
    }

    proptest! {
        #[test]
        fn any_cut_of_the_wire_gives_the_same_message(
            wire in proptest::collection::vec(odd_bytes(), 0..40),
            cuts in proptest::collection::vec(0usize..1000, 0..6),
        ) {
            prop_assert_eq!(decode(&wire, &cuts), decode(&wire, &[]));
            prop_assert_eq!(both(&wire), octets(&wire));
        }

        #[test]
        fn lines_of_crlf_often_decode_as_the_classic_does(
            lines in proptest::collection::vec("[.\ra]{0,4}", 0..8),
            cuts in proptest::collection::vec(0usize..1000, 0..6),
        ) {
            let wire = lines.join("\r\n").into_bytes();
            prop_assert_eq!(decode(&wire, &cuts), octets(&wire));
        }

        #[test]
        fn what_a_client_encodes_comes_back(
            lines in proptest::collection::vec("[.a-c\0 ]{0,5}", 0..20),
            cuts in proptest::collection::vec(0usize..1000, 0..6),
        ) {
            let message: Vec<u8> = lines.iter().flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect();
            let wire = encode(&message);
            prop_assert_eq!(decode(&wire, &cuts), Ok((message, Some(Vec::new()))));
        }
    }

    fn hops(message: &[u8]) -> u32 {
        let (mut whole, mut bytes) = (Hops::default(), Hops::default());
        whole.watch(message);
        message.chunks(1).for_each(|b| bytes.watch(b));
        assert_eq!(whole.count(), bytes.count());
        whole.count()
    }

    #[test]
    fn s17_hops_are_counted_in_the_header_only() {
        let rows: [(&[u8], u32); 11] = [
            (b"", 0),
            (b"Received: x\n", 1),
            (b"RECEIVED\nreceived by\nrEcEiVeDx\n", 3),
            (b"Delivered-To: x\ndelivered\n", 2),
            (b"Received: x\n\tReceived: y\n Received: z\n", 1),
            (b"Subject: x\n\nReceived: y\n", 0),
            (b"\nReceived: y\n", 0),
            (b"Receive: x\nDelivere: y\n", 0),
            (b"Received", 1),
            (b"\r\nReceived: x\n", 1),
            (b"X-Received: a\nReceived: b\nDelivered-To: c\n\nDelivered-To: d\n", 2),
        ];
        for (message, count) in rows {
            assert_eq!(hops(message), count, "{}", message.escape_ascii());
        }
    }
}
