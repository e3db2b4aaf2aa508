//! Base64 as the SASL exchanges use it (RFC 4648 4): with padding, without line ends. No table is looked up by what is
//! secret.

use crate::Secret;

/// The text for `bytes`.
pub fn encode(bytes: &[u8]) -> Secret {
    let mut text = Secret::new(Vec::with_capacity(bytes.len().div_ceil(3) * 4));
    for piece in bytes.chunks(3) {
        let group = piece.iter().enumerate().fold(0u32, |group, (n, &b)| group | u32::from(b) << (16 - 8 * n));
        for n in 0..4 {
            text.push(if n <= piece.len() { letter(group >> (18 - 6 * n) & 63) } else { b'=' });
        }
    }
    text
}

/// The bytes of `text`; `None` if it is not Base64 to the last bit. The empty text stands for no bytes.
pub fn decode(text: &[u8]) -> Option<Secret> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&b| b == b'=').count();
    decode_unpadded(text.get(..text.len() - padding)?)
}

/// The same for text from which the padding was left out.
pub fn decode_unpadded(text: &[u8]) -> Option<Secret> {
    let mut bytes = Secret::new(Vec::with_capacity(text.len() / 4 * 3 + 2));
    for piece in text.chunks(4) {
        let mut group = 0;
        for (n, &letter) in piece.iter().enumerate() {
            group |= value(letter)? << (18 - 6 * n);
        }
        let whole = piece.len() - 1;
        // One letter alone is not a byte, and what is left of the last one must be 0.
        if whole == 0 || group & (0xff_ffff >> (8 * whole)) != 0 {
            return None;
        }
        bytes.extend([16, 8, 0].iter().take(whole).map(|shift| (group >> shift & 255) as u8));
    }
    Some(bytes)
}

/// The letter for 6 bits.
fn letter(value: u32) -> u8 {
    let value = value as u8;
    // All are computed whatever the value is, and one is chosen.
    [
        (value < 26, value.wrapping_add(b'A')),
        ((26..52).contains(&value), value.wrapping_sub(26).wrapping_add(b'a')),
        ((52..62).contains(&value), value.wrapping_sub(52).wrapping_add(b'0')),
        (value == 62, b'+'),
        (value == 63, b'/'),
    ]
    .iter()
    .fold(0, |found, &(is, letter)| found | letter & 0u8.wrapping_sub(u8::from(is)))
}

/// The 6 bits of a letter.
fn value(letter: u8) -> Option<u32> {
    let ranges = [
        (letter.is_ascii_uppercase(), letter.wrapping_sub(b'A')),
        (letter.is_ascii_lowercase(), letter.wrapping_sub(b'a').wrapping_add(26)),
        (letter.is_ascii_digit(), letter.wrapping_sub(b'0').wrapping_add(52)),
        (letter == b'+', 62),
        (letter == b'/', 63),
    ];
    let is_one = ranges.iter().fold(false, |any, &(is, _)| any | is);
    let value = ranges.iter().fold(0, |found, &(is, value)| found | value & 0u8.wrapping_sub(u8::from(is)));
    is_one.then_some(u32::from(value))
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
