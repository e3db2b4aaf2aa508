//! Look-up in the lines of a map file (spec/control.md 1): `key:value`, of which few are asked for, once.

/// The value of `key`, its case aside; of several lines with the same key the last one counts, as in qmail.
pub fn value_of<'a>(key: &[u8], lines: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    lines.iter().rev().find_map(|line| {
        let at = line.iter().position(|&b| b == b':')?;
        let (this, value) = line.split_at(at);
        this.eq_ignore_ascii_case(key).then(|| value.get(1..).unwrap_or_default())
    })
}

/// A name, then what follows each of its dots, dot included, and last the empty key.
pub fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = (0..=name.len()).filter(|&i| i == 0 || i == name.len() || name.get(i) == Some(&b'.'));
    starts.filter_map(|i| name.get(i..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fold_case_and_the_last_line_wins() {
        let lines: Vec<Vec<u8>> = ["A.test:1", "none", "a.test:2", ":3:4"].map(|l| l.as_bytes().to_vec()).to_vec();
        assert_eq!(value_of(b"a.TEST", &lines), Some(&b"2"[..]));
        assert_eq!(value_of(b"", &lines), Some(&b"3:4"[..]));
        assert_eq!(value_of(b"none", &lines), None);
    }

    #[test]
    fn suffixes_begin_with_their_dot() {
        let of = |name: &'static str| suffixes(name.as_bytes()).map(|s| String::from_utf8_lossy(s)).collect::<Vec<_>>();
        assert_eq!(of("a.b.c"), ["a.b.c", ".b.c", ".c", ""]);
        assert_eq!(of(""), [""]);
        assert_eq!(of("."), [".", ""]);
    }
}
