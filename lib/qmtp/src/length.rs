//! The number in front of a netstring.

use crate::Broken;

/// The largest length that is believed (bytes).
pub const LENGTH_MAX: u64 = 200_000_000;
/// The most bytes that a length and its colon may take: leading zeros have no meaning, but are allowed.
pub const LENGTH_BYTES_MAX: u32 = 100;

/// A length as it comes in, byte by byte, up to its colon.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length {
    value: u64,
    bytes: u32,
}

impl Length {
    /// Takes the next byte; the length when it is the colon. A colon without digits is 0, as ever. No byte may follow
    /// the colon or an error.
    pub fn push(&mut self, byte: u8) -> Result<Option<u64>, Broken> {
        self.bytes = self.bytes.saturating_add(1);
        if self.bytes > LENGTH_BYTES_MAX {
            return Err(Broken::Malformed);
        }
        match byte {
            b':' => return Ok(Some(self.value)),
            // At most LENGTH_MAX before: no overflow.
            b'0'..=b'9' => self.value = self.value * 10 + u64::from(byte - b'0'),
            _ => return Err(Broken::Malformed),
        }
        if self.value > LENGTH_MAX { Err(Broken::TooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Option<u64>, Broken> {
        let mut length = Length::default();
        let mut last = Ok(None);
        for &b in text {
            last = length.push(b);
            if last != Ok(None) {
                break;
            }
        }
        last
    }

    #[test]
    fn n1_lengths() {
        type Row = (&'static [u8], Result<Option<u64>, Broken>);
        let rows: &[Row] = &[
            (b":", Ok(Some(0))),
            (b"0:", Ok(Some(0))),
            (b"12:", Ok(Some(12))),
            (b"0000000000000000000000000000012:", Ok(Some(12))),
            (b"12", Ok(None)),
            (b"200000000:", Ok(Some(200_000_000))),
            (b"200000001:", Err(Broken::TooLong)),
            (b"99999999999999999999999999:", Err(Broken::TooLong)),
            (b"-1:", Err(Broken::Malformed)),
            (b"+1:", Err(Broken::Malformed)),
            (b" 1:", Err(Broken::Malformed)),
            (b"1 :", Err(Broken::Malformed)),
            (b"1x:", Err(Broken::Malformed)),
            (b"1,", Err(Broken::Malformed)),
            (b"\n", Err(Broken::Malformed)),
            (b"\0", Err(Broken::Malformed)),
            (b"1\xb2:", Err(Broken::Malformed)),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text), *want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn n1_leading_zeros_come_to_an_end() {
        let zeros = |n: usize| [vec![b'0'; n], b":".to_vec()].concat();
        assert_eq!(parse(&zeros(99)), Ok(Some(0)));
        assert_eq!(parse(&zeros(100)), Err(Broken::Malformed));
    }
}
