//! A message in QMTP: its first byte tells how lines end in the rest.

/// Turns a message as QMTP carries it into one whose lines end with LF.
#[derive(Clone, Debug)]
pub struct Body {
    /// Lines end with CR LF.
    dos: bool,
    /// A CR was seen that is not given out yet: it may belong to a LF.
    cr: bool,
}

impl Body {
    /// By the first byte of the netstring: LF means that the message is as it shall be, CR that each CR LF stands for
    /// a LF. `None`: neither.
    pub fn start(first: u8) -> Option<Body> {
        match first {
            b'\n' => Some(Body { dos: false, cr: false }),
            b'\r' => Some(Body { dos: true, cr: false }),
            _ => None,
        }
    }

    /// Takes a piece and gives out, in pieces, what it means. All bytes but the CR of a CR LF are kept.
    pub fn decode(&mut self, mut piece: &[u8], mut out: impl FnMut(&[u8])) {
        if !self.dos {
            return out(piece);
        }
        while let Some(&first) = piece.first() {
            if self.cr && first != b'\n' {
                out(b"\r");
            }
            let cr = memchr::memchr(b'\r', piece);
            self.cr = cr.is_some();
            let (run, rest) = piece.split_at_checked(cr.unwrap_or(piece.len())).unwrap_or((piece, b""));
            if !run.is_empty() {
                out(run);
            }
            piece = rest.get(1..).unwrap_or_default();
        }
    }

    /// The end of the message: gives out a CR that still waits for its LF.
    pub fn finish(self, mut out: impl FnMut(&[u8])) {
        if self.cr {
            out(b"\r");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(first: u8, wire: &[u8], step: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut body = Body::start(first).unwrap();
        for piece in wire.chunks(step) {
            body.decode(piece, |b| seen.extend_from_slice(b));
        }
        body.finish(|b| seen.extend_from_slice(b));
        seen
    }

    #[test]
    fn line_ends() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"a\r\nb\r\n", b"a\nb\n"),
            (b"\r\n", b"\n"),
            (b"\r", b"\r"),
            (b"\r\r", b"\r\r"),
            (b"\r\r\n", b"\r\n"),
            (b"\n\r", b"\n\r"),
            (b"a\rb\r\r\nc\n\r\nd\r", b"a\rb\r\nc\n\nd\r"),
            (b"\0\xff\r\0", b"\0\xff\r\0"),
        ];
        for (wire, want) in rows {
            for step in 1..5 {
                assert_eq!(decode(b'\r', wire, step), *want, "{}", wire.escape_ascii());
                assert_eq!(decode(b'\n', wire, step), *wire, "{}", wire.escape_ascii());
            }
        }
    }

    #[test]
    fn n3_other_first_bytes_mean_nothing() {
        for first in (0..=255u8).filter(|b| !matches!(b, b'\r' | b'\n')) {
            assert!(Body::start(first).is_none());
        }
    }
}
