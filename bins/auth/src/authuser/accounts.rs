//! users/authuser: lines `name:value`.

use auth::Secret;
use std::io::{self, Read};
use std::path::Path;

/// The file, below home.
const FILE: &str = "users/authuser";

/// What the file says of a user.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// How it is checked.
    Value(&'a [u8]),
    /// It must not log in, whatever other entries say.
    Disabled,
    /// Nothing.
    None,
}

/// All of the file; no such file is an empty one.
pub fn read(home: &Path) -> io::Result<Secret> {
    let mut file = match sys::fs::open_read(&home.join(FILE)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Secret::default()),
        opened => opened?,
    };
    // In one piece, so that no part is left behind in memory when it grows.
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut text = Secret::new(Vec::with_capacity(size.saturating_add(1)));
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// Looks for the user itself, then its `@domain`, then `@`, then `*`; of the same name the first line counts, and upper
/// and lower case are the same. A line `!user` or `!@domain`, with or without colon and value, goes before them all.
pub fn find<'a>(text: &'a [u8], user: &[u8]) -> Entry<'a> {
    let domain = user.iter().rposition(|&b| b == b'@').and_then(|at| user.get(at..));
    // Names that stand for many, or for none, are nobody's own name.
    if matches!(user.first(), None | Some(b'@' | b'!' | b'#' | b'*')) {
        return Entry::None;
    }
    let names = [Some(user), domain, Some(b"@".as_slice()), Some(b"*")];
    let mut found: [Option<&[u8]>; 4] = [None; 4];
    for line in text.split(|&b| b == b'\n').map(trim).filter(|l| !matches!(l.first(), None | Some(b'#'))) {
        let at = line.iter().position(|&b| b == b':');
        let (name, value) = line.split_at(at.unwrap_or(line.len()));
        let is_name = |n: &Option<&[u8]>, name: &[u8]| n.is_some_and(|n| n.eq_ignore_ascii_case(name));
        if let Some(disabled) = name.strip_prefix(b"!") {
            if names.iter().take(2).any(|n| is_name(n, disabled)) {
                return Entry::Disabled;
            }
            continue;
        }
        let Some(value) = value.get(1..) else { continue };
        for (place, _) in found.iter_mut().zip(&names).filter(|(place, n)| place.is_none() && is_name(n, name)) {
            *place = Some(value);
        }
    }
    found.into_iter().flatten().next().map_or(Entry::None, Entry::Value)
}

/// Without blanks and tabs at the end, as in a control file.
fn trim(line: &[u8]) -> &[u8] {
    let keep = line.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r')).map_or(0, |at| at + 1);
    line.get(..keep).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_entry_counts_and_a_disabled_one_before_all() {
        let text = b"# comment:x\n*:star\n@:at\n@a.test:dom ain \t\njoe@A.test:own:with:colons\njoe@a.test:second\n\
            !mary@a.test:\n!@b.test\njim:jim\n!ann\nann:x\nempty:\nnovalue\n#joe2:x\n!old:secret\nold:x\n";
        use Entry::*;
        let rows: &[(&[u8], Entry)] = &[
            (b"joe@a.test", Value(b"own:with:colons")),
            (b"JOE@a.test", Value(b"own:with:colons")),
            (b"other@a.test", Value(b"dom ain")),
            (b"other@c.test", Value(b"at")),
            (b"mary@a.test", Disabled),
            (b"MARY@a.test", Disabled),
            (b"x@b.test", Disabled),
            (b"jim", Value(b"jim")),
            (b"ann", Disabled),
            (b"old", Disabled),
            (b"empty", Value(b"")),
            (b"novalue", Value(b"at")),
            (b"nobody", Value(b"at")),
            (b"joe@a.test:own", Value(b"at")),
            // What stands in the file for many or for none.
            (b"", None),
            (b"*", None),
            (b"@", None),
            (b"@a.test", None),
            (b"!old", None),
            (b"#joe2", None),
        ];
        for (user, expected) in rows {
            assert_eq!(find(text, user), *expected, "{}", user.escape_ascii());
        }
        assert_eq!(find(b"*:?\n", b"joe"), Value(b"?"));
        assert_eq!(find(b"@x:?\n", b"joe"), None);
        assert_eq!(find(b"", b"joe"), None);
    }
}
