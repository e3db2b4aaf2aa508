//! Patterns as in the lists of s/qmail: `*`, `?`, `[a-z]`, `[^a-z]` and `\x`, over a whole text.

/// Whether `pattern` covers all of `text`. ASCII case does not count. A class that is never closed covers nothing.
///
/// The time is at most the product of both lengths: of several stars only the last one is ever tried again.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a star that has taken one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(&byte) => one(pattern.get(p..).unwrap_or_default(), byte),
        };
        match (step, retry) {
            (Some(used), _) => {
                p += used;
                t += 1;
            }
            (None, Some((after_star, taken))) => {
                p = after_star;
                t = taken + 1;
                retry = Some((after_star, t));
            }
            (None, None) => return false,
        }
    }
}

/// How many bytes of the pattern stand for `byte`, if it is covered.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |p: u8| p.eq_ignore_ascii_case(&byte);
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', p, ..] => same(*p).then_some(2),
        [b'[', class @ ..] => one_of(class, byte),
        [p, ..] => same(*p).then_some(1),
        [] => None,
    }
}

/// The same for a class; `class` begins behind its bracket.
fn one_of(class: &[u8], byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    let inverted = class.first() == Some(&b'^');
    let first = usize::from(inverted);
    let (mut at, mut found) = (first, false);
    loop {
        let low = class.get(at)?.to_ascii_lowercase();
        // A bracket or a minus at the start stands for itself.
        if low == b']' && at > first {
            return (found != inverted).then_some(at + 2);
        }
        match (class.get(at + 1), class.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=high.to_ascii_lowercase()).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

/// Patterns in the order of a file; one that begins with `!` takes back what an earlier one has caught.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<(bool, Vec<u8>)>);

impl Patterns {
    /// The patterns among `items`: those that `is_pattern` takes for one.
    pub fn of(items: &[Vec<u8>], is_pattern: impl Fn(&[u8]) -> bool) -> Patterns {
        let patterns = items.iter().filter(|item| is_pattern(item));
        Patterns(
            patterns.map(|item| item.strip_prefix(b"!").map_or((true, item.clone()), |p| (false, p.into()))).collect(),
        )
    }

    /// Whether the last pattern that decides something about `text` catches it.
    pub fn catch(&self, text: &[u8]) -> bool {
        let decide = |caught, (catches, pattern): &(bool, Vec<u8>)| {
            if *catches != caught && matches(pattern, text) { *catches } else { caught }
        };
        self.0.iter().fold(false, decide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_covers_the_whole_text() {
        let rows: [(&str, &str, bool); 32] = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "ab", true),
            ("?", "", false),
            ("?", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*@earthlink.net", "joe@EarthLink.net", true),
            ("*@earthlink.net", "joe@earthlink.net.x", false),
            ("[0-9][0-9]@[0-9].com", "12@3.com", true),
            ("[0-9]@x", "a@x", false),
            ("[^0-9]@x", "a@x", true),
            ("[^0-9]@x", "1@x", false),
            ("[]x]", "]", true),
            ("[^]x]", "]", false),
            ("[-a]", "-", true),
            ("[a-]", "-", true),
            ("[A-C]", "b", true),
            ("[z-a]", "m", false),
            ("[a", "a", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("answerme@save*", "answerme@savetrees.com", true),
            ("*%*", "a%b@c", true),
            ("*%*", "ab@c", false),
            ("*ab*ab*", "aabab", true),
            ("*ab*ab*", "aabaa", false),
            ("a?c", "ac", false),
            ("*.", "a.b", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn stars_do_not_multiply() {
        let (pattern, text) = ("*a".repeat(2000) + "b", "a".repeat(2000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn the_last_pattern_that_decides_wins() {
        let items = ["*", "!", "!*@*.*", "*viagra*"].map(|i| i.as_bytes().to_vec());
        let list = Patterns::of(&items, |_| true);
        for (text, caught) in [("joe", true), ("", false), ("a@b.c", false), ("viagra@b.c", true)] {
            assert_eq!(list.catch(text.as_bytes()), caught, "{text}");
        }
        assert!(!Patterns::default().catch(b""));
    }

    proptest! {
        #[test]
        fn text_without_signs_covers_itself_only(text in "[a-z0-9@.]{0,12}", other in "[a-z0-9@.]{0,12}") {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            prop_assert_eq!(matches(text.as_bytes(), other.as_bytes()), text == other);
            let (pattern, longer) = (format!("*{text}*"), format!("{other}{text}{other}"));
            prop_assert!(matches(pattern.as_bytes(), longer.as_bytes()));
        }

        #[test]
        fn any_pattern_ends(pattern in "[]ab*?^!\\[-]{0,12}", text in "[]ab*?^!\\[-]{0,12}") {
            matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
