//! Base64 as the SASL exchanges use it (RFC 4648 4): with padding, without line ends.

use crate::Secret;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text for `bytes`.
pub fn encode(bytes: &[u8]) -> Secret {
    let mut text = Secret::new(Vec::with_capacity(bytes.len().div_ceil(3) * 4));
    for group in bytes.chunks(3) {
        let byte = |i: usize| group.get(i).map_or(0, |b| u32::from(*b));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            // A group of n bytes has n + 1 digits.
            let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize);
            text.push(digit.copied().filter(|_| i <= group.len()).unwrap_or(b'='));
        }
    }
    text
}

/// The bytes of `text`; `None` if it is not Base64 to the last bit. The empty text stands for no bytes.
pub fn decode(text: &[u8]) -> Option<Secret> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let digits = text.get(..text.len() - padding)?;
    let mut bytes = Secret::new(Vec::with_capacity(text.len() / 4 * 3));
    for group in digits.chunks(4) {
        let bits = group.iter().try_fold(0u32, |bits, digit| Some(bits << 6 | value(*digit)?))?;
        let [_, whole @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        // A group of n digits has n - 1 bytes, and no other bits.
        let (whole, rest) = whole.split_at_checked(group.len() - 1)?;
        if rest.iter().any(|b| *b != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let (first, start) = match digit {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(digit - first) + start)
}
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s22_only_base64_is_decoded() {
        // RFC 4648 10, then what is none.
        let good: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"fooba", b"Zm9vYmE="),
            (b"foobar", b"Zm9vYmFy"),
            (b"\0\xff\xfe", b"AP/+"),
        ];
        for &(bytes, text) in good {
            assert_eq!(encode(bytes).as_slice(), text);
            assert_eq!(decode(text).unwrap().as_slice(), bytes);
        }
        let bad: &[&[u8]] = &[
            b"Z",
            b"Zg",
            b"Zg=",
            b"Zg===",
            b"Zh==",
            b"Zm9",
            b"Zm9v ",
            b" Zm9v",
            b"Zm9v\r",
            b"Zm9v\n",
            b"Zm-_",
            b"=",
            b"*",
            b"Zm\0v",
            b"Zg==Zg==",
        ];
        for text in bad {
            assert!(decode(text).is_none(), "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap().to_vec(), bytes);
        }

        #[test]
        fn anything_may_be_tried(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes).to_vec(), text);
            }
        }
    }
}
