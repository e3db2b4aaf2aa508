//! The sender's side: one message to a server, and its answers.

use crate::reader::{Broken, Reader};
use std::io::{self, Read, Write};

/// The most of an answer that is kept (bytes).
const TEXT_MAX: usize = 5000;
/// What one read of the message asks for (bytes).
const BLOCK: usize = 1 << 16;

/// Why a message was not sent to its end.
#[derive(Debug)]
pub enum NotSent {
    /// It could not be read, or is shorter than it was said to be.
    Unreadable,
    /// The connection broke.
    Network(io::Error),
}

/// Sends a message of `length` bytes, whose lines end with LF, to all `recipients`. Without its end the server drops it.
pub fn send(
    to: &mut dyn Write,
    message: &mut dyn Read,
    length: u64,
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<(), NotSent> {
    // What is not much more goes out together with the rest.
    let mut out = Vec::with_capacity(BLOCK + 64);
    out.extend_from_slice(format!("{}:\n", length.saturating_add(1)).as_bytes());
    let mut left = length;
    while left > 0 {
        let start = out.len();
        let most = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        out.resize(start + most, 0);
        let count = match message.read(out.get_mut(start..).unwrap_or_default()) {
            Ok(0) => return Err(NotSent::Unreadable),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return Err(NotSent::Unreadable),
        };
        out.truncate(start + count);
        left -= count as u64;
        if out.len() >= BLOCK {
            to.write_all(&out).map_err(NotSent::Network)?;
            out.clear();
        }
    }
    out.push(b',');
    out.extend_from_slice(&crate::netstring(sender));
    let list: Vec<u8> = recipients.iter().flat_map(|r| crate::netstring(r)).collect();
    out.extend_from_slice(&crate::netstring(&list));
    to.write_all(&out).and_then(|()| to.flush()).map_err(NotSent::Network)
}

/// What the server says about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `K` taken, `Z` not now, `D` never.
    pub letter: u8,
    /// The words, without the letter; cut, and `?` for what is not visible.
    pub text: Vec<u8>,
}

/// Reads the answer on the next recipient.
pub fn answer<R: Read>(reader: &mut Reader<R>) -> Result<Answer, Broken> {
    let mut left = reader.length()?;
    let mut text = Vec::new();
    while left > 0 {
        let piece = reader.piece(left)?;
        left -= piece.len() as u64;
        let room = TEXT_MAX.saturating_sub(text.len());
        text.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
    reader.comma()?;
    match text.split_first() {
        Some((letter @ (b'K' | b'Z' | b'D'), text)) => {
            let visible = text.iter().map(|&b| if (b' '..=b'~').contains(&b) { b } else { b'?' });
            Ok(Answer { letter: *letter, text: visible.collect() })
        }
        _ => Err(Broken::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_out_whole() {
        let recipients = [b"a@x".to_vec(), b"b@x".to_vec()];
        let mut out = Vec::new();
        send(&mut out, &mut &b"hi\n"[..], 3, b"s@y", &recipients).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "4:\nhi\n,3:s@y,12:3:a@x,3:b@x,,");
        let mut out = Vec::new();
        send(&mut out, &mut &b""[..], 0, b"", &recipients[..1]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "1:\n,0:,6:3:a@x,,");
        for length in [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let message = vec![b'x'; length];
            let mut out = Vec::new();
            send(&mut out, &mut &message[..], length as u64, b"s", &recipients).unwrap();
            let mut reader = Reader::new(&out[..]);
            assert_eq!(reader.length(), Ok(length as u64 + 1));
        }
    }

    #[test]
    fn a_message_that_is_too_short_gets_no_end() {
        let mut out = Vec::new();
        let sent = send(&mut out, &mut &b"hi\n"[..], 4, b"s@y", &[b"a@x".to_vec()]);
        assert!(matches!(sent, Err(NotSent::Unreadable)));
        assert!(!out.contains(&b','));
        // One that has grown is cut at what was promised.
        let mut out = Vec::new();
        send(&mut out, &mut &b"hi\nmore\n"[..], 3, b"", &[]).unwrap();
        assert_eq!(out, b"4:\nhi\n,0:,0:,");
    }

    #[test]
    fn answers_have_a_letter() {
        let read = |wire: &[u8]| answer(&mut Reader::new(wire)).map(|a| (a.letter, a.text));
        assert_eq!(read(b"3:Kok,"), Ok((b'K', b"ok".to_vec())));
        assert_eq!(read(b"1:Z,"), Ok((b'Z', b"".to_vec())));
        assert_eq!(read(b"5:Da\nb\x80,"), Ok((b'D', b"a?b?".to_vec())));
        for wire in [&b"0:,"[..], b"2:ok,", b"3:Kok", b"x", b"", b"3:Kok;"] {
            assert!(read(wire).is_err(), "{}", wire.escape_ascii());
        }
        let long = [b"9000:K".as_slice(), &[b'x'; 8999], b","].concat();
        assert_eq!(read(&long).unwrap().1.len(), TEXT_MAX - 1);
    }
}
