//! Hexadecimal digits.

/// Two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let digit = |n: u8| n + if n < 10 { b'0' } else { b'a' - 10 };
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// The bytes of digits in upper or lower case; `None` if there is something else, or half a byte.
pub fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_and_read() {
        assert_eq!(encode(b"\x00\x9a\xff"), b"009aff");
        assert_eq!(decode(b"009aFf"), Some(b"\x00\x9a\xff".to_vec()));
        for digits in [&b"0"[..], b"0g", b"+1", b" 1", b"012"] {
            assert_eq!(decode(digits), None, "{}", digits.escape_ascii());
        }
        assert_eq!(decode(b""), Some(vec![]));
    }
}
