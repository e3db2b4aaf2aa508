//! Base64 as the SASL exchanges use it (RFC 4648 4): with padding, without line ends.

use crate::Secret;
use data_encoding::BASE64;

/// The text for `bytes`.
pub fn encode(bytes: &[u8]) -> Secret {
    let mut text = vec![0; BASE64.encode_len(bytes.len())];
    BASE64.encode_mut(bytes, &mut text);
    Secret::new(text)
}

/// The bytes of `text`; `None` if it is not Base64 to the last bit. The empty text stands for no bytes.
pub fn decode(text: &[u8]) -> Option<Secret> {
    // Two texts joined, each with its padding, are none.
    if text.iter().rev().skip(2).any(|&b| b == b'=') {
        return None;
    }
    let mut bytes = Secret::new(vec![0; BASE64.decode_len(text.len()).ok()?]);
    let length = BASE64.decode_mut(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
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
