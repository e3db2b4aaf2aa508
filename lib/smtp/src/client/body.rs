//! The message on the wire: CRLF line ends and dot transparency (RFC 5321 2.3.8, 4.5.2).

/// The message does not end with a complete line; SMTP cannot carry it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial;

/// What came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing yet, or a line end: a dot here is to be doubled.
    LineEnd,
    /// A CR that has not been sent: it is part of a CRLF, or a line end of its own.
    Cr,
    /// Anything else.
    Text,
}

/// Turns a stored message, piece by piece, into what goes over the wire.
///
/// LF and CRLF become CRLF. A bare CR becomes CRLF, too, and a dot behind it is doubled like any dot at the start of a
/// line: so CR and LF are sent only together, and no message can hold what a server might take for its end
/// (spec/reliability.md R1).
#[derive(Debug)]
pub struct Encoder {
    last: Last,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { last: Last::LineEnd }
    }
}

impl Encoder {
    /// Appends the wire form of `input` to `out`: at most twice as many bytes, and two more.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = input.first() {
            if self.last == Last::Cr {
                out.extend_from_slice(b"\r\n");
                self.last = Last::LineEnd;
                if first == b'\n' {
                    input = input.get(1..).unwrap_or_default();
                    continue;
                }
            }
            if self.last == Last::LineEnd && first == b'.' {
                out.push(b'.');
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', input) else {
                out.extend_from_slice(input);
                self.last = Last::Text;
                return;
            };
            let (line, rest) = input.split_at(end);
            out.extend_from_slice(line);
            if rest.first() == Some(&b'\n') {
                out.extend_from_slice(b"\r\n");
                self.last = Last::LineEnd;
            } else {
                self.last = Last::Cr;
            }
            input = rest.get(1..).unwrap_or_default();
        }
    }

    /// Appends the end of the message, a line with only a dot; `Err` if the last line is not complete (R2).
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Partial> {
        if self.last != Last::LineEnd {
            return Err(Partial);
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(pieces: &[&[u8]]) -> Result<Vec<u8>, Partial> {
        let (mut e, mut out) = (Encoder::default(), Vec::new());
        for piece in pieces {
            let before = out.len();
            e.feed(piece, &mut out);
            assert!(out.len() - before <= 2 * piece.len() + 2);
        }
        e.finish(&mut out)?;
        Ok(out)
    }

    /// What a strict server makes of it: lines by CRLF alone, dots removed, up to the line of one dot.
    fn decode(mut wire: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        loop {
            let end = wire.windows(2).position(|w| w == b"\r\n").unwrap();
            let (line, rest) = (&wire[..end], &wire[end + 2..]);
            assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "CR and LF only together");
            if line == b"." {
                assert!(rest.is_empty(), "nothing behind the end");
                return lines;
            }
            lines.push(line.strip_prefix(b".").unwrap_or(line).to_vec());
            wire = rest;
        }
    }

    #[test]
    fn lines_and_dots() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b"\n", b"\r\n.\r\n"),
            (b"a\n", b"a\r\n.\r\n"),
            (b"a\r\nb\n", b"a\r\nb\r\n.\r\n"),
            (b".\n", b"..\r\n.\r\n"),
            (b"..\n.x\na.\n", b"...\r\n..x\r\na.\r\n.\r\n"),
            (b"\0\xff\n", b"\0\xff\r\n.\r\n"),
        ];
        for (input, wire) in rows {
            assert_eq!(encode(&[input]).unwrap(), *wire, "{input:?}");
        }
    }

    #[test]
    fn r1_a_bare_cr_is_a_line_end_and_the_dot_behind_it_is_doubled() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"a\rb\n", b"a\r\nb\r\n.\r\n"),
            (b"\r.\n", b"\r\n..\r\n.\r\n"),
            (b"\r.\r\n", b"\r\n..\r\n.\r\n"),
            (b"\n.\r.\r.\n", b"\r\n..\r\n..\r\n..\r\n.\r\n"),
            (b"\r\r\n", b"\r\n\r\n.\r\n"),
            (b"a\r\r\r\nb\n", b"a\r\n\r\n\r\nb\r\n.\r\n"),
        ];
        for (input, wire) in rows {
            assert_eq!(encode(&[input]).unwrap(), *wire, "{input:?}");
        }
    }

    #[test]
    fn r2_a_partial_last_line_is_refused() {
        for input in [&b"a"[..], b"a\nb", b"a\r", b"\r", b"a\r\n.", b"a\n\r"] {
            assert_eq!(encode(&[input]), Err(Partial), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(input in "(\r|\n|\\.|a|\r\n){0,24}", a in 0usize..25, b in 0usize..25) {
            let input = input.as_bytes();
            let (a, b) = (a.min(input.len()), b.min(input.len()));
            let (a, b) = (a.min(b), a.max(b));
            prop_assert_eq!(encode(&[input]), encode(&[&input[..a], &input[a..b], &input[b..]]));
        }

        #[test]
        fn a_strict_server_gets_the_lines(input in "((\r|\n|\\.|a|\r\n){0,24}\n)?") {
            let mut lines: Vec<Vec<u8>> = Vec::new();
            let text = input.replace("\r\n", "\n").replace('\r', "\n");
            if let Some(text) = text.strip_suffix('\n') {
                lines.extend(text.split('\n').map(|l| l.as_bytes().to_vec()));
            }
            prop_assert_eq!(decode(&encode(&[input.as_bytes()]).unwrap()), lines);
        }
    }
}
