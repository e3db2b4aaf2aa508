//! Macro strings (RFC 7208 7): parsing, and what they stand for.

/// The longest name (RFC 7208 7.3); labels are dropped from the left until it fits.
const NAME_MAX: usize = 253;

/// A name that grows beyond this while it is expanded, in bytes, is cut from the left at once: only its end counts.
const GROWTH_MAX: usize = 4096;

/// One part of a macro string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself.
    Literal(Vec<u8>),
    /// A value to be put in.
    Macro(Macro),
}

/// What stands between `%{` and `}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macro {
    /// Which value: a lower-case letter of `slodiphcrtv`.
    pub letter: u8,
    /// Bytes that have a meaning in a URL are to be escaped.
    pub escape: bool,
    /// How many parts to keep, from the right.
    pub keep: usize,
    /// Parts come in reverse order; before they are counted.
    pub reverse: bool,
    /// The bytes at which the value is split.
    pub delimiters: Vec<u8>,
}

/// Where a macro string stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a policy: no blanks, and no values that are for people only (c, r and t).
    Policy,
    /// In an explanation.
    Explanation,
}

/// The pieces of `text`; `None` if it is no macro string.
pub fn parse(text: &[u8], place: Place) -> Option<Vec<Piece>> {
    Some(parse_noting_end(text, place)?.0)
}

/// The pieces of a `domain-spec`: a macro string that ends in a macro or in a dot and a top label.
pub fn parse_domain(text: &[u8]) -> Option<Vec<Piece>> {
    let (pieces, end) = parse_noting_end(text, Place::Policy)?;
    let tail = text.get(end..)?;
    if tail.is_empty() {
        return (!text.is_empty()).then_some(pieces);
    }
    let tail = tail.strip_suffix(b".").unwrap_or(tail);
    let dot = tail.iter().rposition(|&b| b == b'.')?;
    is_top_label(tail.get(dot + 1..)?).then_some(pieces)
}

/// Letters, digits and hyphens, the latter not at the ends; not only digits.
fn is_top_label(label: &[u8]) -> bool {
    let inside = |&b: &u8| b.is_ascii_alphanumeric() || b == b'-';
    let (Some(first), Some(last)) = (label.first(), label.last()) else { return false };
    label.iter().all(inside) && *first != b'-' && *last != b'-' && !label.iter().all(u8::is_ascii_digit)
}

/// The pieces, and where the last one that begins with `%` ends.
fn parse_noting_end(text: &[u8], place: Place) -> Option<(Vec<Piece>, usize)> {
    let (mut pieces, mut literal, mut end) = (Vec::new(), Vec::new(), 0);
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (&kind, after) = rest.split_first()?;
                rest = after;
                match kind {
                    b'%' => literal.push(b'%'),
                    b'_' => literal.push(b' '),
                    b'-' => literal.extend_from_slice(b"%20"),
                    b'{' => {
                        let close = rest.iter().position(|&b| b == b'}')?;
                        let inside = parse_macro(rest.get(..close)?, place)?;
                        rest = rest.get(close + 1..)?;
                        if !literal.is_empty() {
                            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::Macro(inside));
                    }
                    _ => return None,
                }
                end = text.len() - rest.len();
            }
            b'!'..=b'~' => literal.push(first),
            b' ' if place == Place::Explanation => literal.push(first),
            _ => return None,
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Some((pieces, end))
}

fn parse_macro(text: &[u8], place: Place) -> Option<Macro> {
    let (&letter, rest) = text.split_first()?;
    let allowed: &[u8] = if place == Place::Policy { b"slodiphv" } else { b"slodiphvcrt" };
    if !allowed.contains(&letter.to_ascii_lowercase()) {
        return None;
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let keep = number.iter().fold(0usize, |n, b| n.saturating_mul(10).saturating_add(usize::from(b - b'0')));
    // Part of the value has to be left (RFC 7208 7.3).
    if digits > 0 && keep == 0 {
        return None;
    }
    let keep = if digits == 0 { usize::MAX } else { keep };
    let (reverse, delimiters) = match rest.split_first() {
        Some((b'r' | b'R', after)) => (true, after),
        _ => (false, rest),
    };
    if !delimiters.iter().all(|b| b".-+,/_=".contains(b)) {
        return None;
    }
    let delimiters = if delimiters.is_empty() { b"." } else { delimiters }.to_vec();
    Some(Macro { letter: letter.to_ascii_lowercase(), escape: letter.is_ascii_uppercase(), keep, reverse, delimiters })
}

impl Macro {
    /// Appends `value` as this macro changes it.
    pub fn apply(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut parts: Vec<&[u8]> = value.split(|b| self.delimiters.contains(b)).collect();
        if self.reverse {
            parts.reverse();
        }
        let kept = parts.get(parts.len().saturating_sub(self.keep)..).unwrap_or_default();
        let text = kept.join(&b'.');
        if !self.escape {
            out.extend_from_slice(&text);
            return;
        }
        for b in text {
            // The unreserved characters of RFC 3986 2.3.
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                out.push(b);
            } else {
                out.extend_from_slice(format!("%{b:02X}").as_bytes());
            }
        }
    }
}

/// The name that `pieces` stand for, without a final dot.
pub fn expand_name(pieces: &[Piece], mut value: impl FnMut(u8) -> Vec<u8>) -> Vec<u8> {
    let mut name = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => name.extend_from_slice(text),
            Piece::Macro(m) => m.apply(&value(m.letter), &mut name),
        }
        if name.len() > GROWTH_MAX {
            name.drain(..name.len() - GROWTH_MAX / 2);
        }
    }
    if name.ends_with(b".") {
        name.pop();
    }
    while name.len() > NAME_MAX {
        match name.iter().position(|&b| b == b'.') {
            Some(dot) => name.drain(..=dot),
            None => name.drain(..),
        };
    }
    name
}

/// The text that `pieces` stand for, at most `max` bytes.
pub fn expand_text(pieces: &[Piece], max: usize, mut value: impl FnMut(u8) -> Vec<u8>) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.extend_from_slice(literal),
            Piece::Macro(m) => m.apply(&value(m.letter), &mut text),
        }
        if text.len() >= max {
            break;
        }
    }
    text.truncate(max);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(letter: u8) -> Vec<u8> {
        // The example of RFC 7208 7.4.
        match letter {
            b's' => b"strong-bad@email.example.com".to_vec(),
            b'o' | b'd' => b"email.example.com".to_vec(),
            b'l' => b"strong-bad".to_vec(),
            b'i' | b'c' => b"192.0.2.3".to_vec(),
            b'v' => b"in-addr".to_vec(),
            _ => b"other".to_vec(),
        }
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("a%%b%_c%-d.test.", "a%b c%20d.test"),
            ("%{S}", "strong-bad%40email.example.com"),
            ("%{D99999999999999999999}", "email.example.com"),
        ] {
            let pieces = parse(text.as_bytes(), Place::Policy).unwrap();
            assert_eq!(String::from_utf8(expand_name(&pieces, value)).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_macro_string() {
        for text in ["%", "%a", "%(d)", "%{", "%{}", "%{d", "%{a}", "%{d0}", "%{d1x}", "%{d*}", "a b", "a\t", "\u{e9}"]
        {
            assert_eq!(parse(text.as_bytes(), Place::Policy), None, "{text}");
        }
        for text in ["%{c}", "%{r}", "%{t}", "%{R}", "a b"] {
            assert_eq!(parse(text.as_bytes(), Place::Policy), None, "{text}");
            assert!(parse(text.as_bytes(), Place::Explanation).is_some(), "{text}");
        }
    }

    #[test]
    fn a_domain_ends_in_a_macro_or_a_top_label() {
        for (text, good) in [
            ("", false),
            ("a.test", true),
            ("a.test.", true),
            ("a.b-c", true),
            ("a.xn--zckzah", true),
            ("a.1-2", true),
            ("a.-b", false),
            ("a.b-", false),
            ("a.123", false),
            ("a..", false),
            (".", false),
            ("museum", false),
            ("museum.", false),
            ("%{d}", true),
            ("a%{d}", true),
            ("a%%", true),
            ("%{d}test", false),
            ("%{d}.test", true),
            ("%{d}.", false),
            ("a/b:c.test", true),
            ("a.test/", false),
            ("a.te_st", false),
        ] {
            assert_eq!(parse_domain(text.as_bytes()).is_some(), good, "{text}");
        }
    }

    #[test]
    fn d2_names_and_texts_do_not_grow_without_end() {
        let long = "%{s}.".repeat(16000) + "test";
        let pieces = parse(long.as_bytes(), Place::Policy).unwrap();
        let big = |_| vec![b'x'; 450];
        assert_eq!(expand_name(&pieces, big), b"test");
        assert_eq!(expand_text(&pieces, 1000, big).len(), 1000);
        let label = parse(b"%{s}", Place::Policy).unwrap();
        assert_eq!(expand_name(&label, |_| vec![b'x'; 450]), b"");
        assert_eq!(expand_name(&label, |_| b"a.".repeat(200)).len(), 253);
    }
}
