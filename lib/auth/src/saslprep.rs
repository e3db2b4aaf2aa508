//! SASLprep (RFC 4013): one form for text that can be typed in several ways.

use crate::Secret;

/// What is to be hashed or compared in place of `text`; `None` if it is not UTF-8, or has characters that have no place
/// in a name or password. ASCII without control characters is what it was.
pub fn prepared(text: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(text).ok()?;
    Some(Secret::new(stringprep::saslprep(text).ok()?.into_owned().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_4013() {
        let rows: &[(&str, Option<&str>)] = &[
            ("I\u{ad}X", Some("IX")),
            ("user", Some("user")),
            ("USER", Some("USER")),
            ("\u{aa}", Some("a")),
            ("\u{2168}", Some("IX")),
            ("\u{7}", None),
            ("\u{627}1", None),
            // And others: blanks, composition, nothing at all, a character of a later time.
            ("a\u{a0}b\u{3000}c", Some("a b c")),
            ("u\u{308}", Some("\u{fc}")),
            ("\u{212b}", Some("\u{c5}")),
            ("", Some("")),
            ("\u{ad}", Some("")),
            ("\u{1f600}", None),
        ];
        for (text, want) in rows {
            assert_eq!(prepared(text.as_bytes()).as_deref().map(Vec::as_slice), want.map(str::as_bytes), "{text:?}");
        }
        assert_eq!(prepared(b"\xff").as_deref(), None);
    }
}
