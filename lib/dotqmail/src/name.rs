//! Which .qmail file serves an extension.

/// The word that takes any rest of an extension.
const DEFAULT: &[u8] = b"default";

/// A file that may serve the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, relative to the home directory.
    pub file: Vec<u8>,
    /// Where in the extension the part begins that `default` stands for, if the name ends with it.
    pub default_at: Option<usize>,
}

/// The files to try for `dash` and `ext`, in order: the exact name first, then `-default` in place of ever more of the
/// extension, cut behind its hyphens. The first that is a regular file counts.
pub fn candidates<'a>(dash: &'a [u8], ext: &'a [u8]) -> impl Iterator<Item = Candidate> + 'a {
    let safe = safe_extension(ext);
    let stem = [b".qmail", dash].concat();
    let default_at = safe.ends_with(DEFAULT).then(|| safe.len() - DEFAULT.len());
    let exact = Candidate { file: [&stem[..], &safe].concat(), default_at };
    let cuts = (0..=safe.len()).rev().filter_map(move |at| {
        let (kept, _) = safe.split_at_checked(at)?;
        let at_hyphen = kept.last().is_none_or(|&b| b == b'-');
        at_hyphen.then(|| Candidate { file: [&stem[..], kept, DEFAULT].concat(), default_at: Some(at) })
    });
    std::iter::once(exact).chain(cuts)
}

/// The name of the file for `dash` and `ext` with `suffix` behind it: `-owner` or `-owner-default`.
pub fn with_suffix(dash: &[u8], ext: &[u8], suffix: &[u8]) -> Vec<u8> {
    [b".qmail", dash, &safe_extension(ext), suffix].concat()
}

/// An extension as it stands in file names: lower case, `:` for each dot, so that no extension can name a parent
/// directory. A slash stays: behind the fixed `.qmail-` it only names a subdirectory.
pub fn safe_extension(ext: &[u8]) -> Vec<u8> {
    ext.iter().map(|b| if *b == b'.' { b':' } else { b.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_the_search() {
        let rows: &[(&str, &str, &str)] = &[
            ("", "", ".qmail .qmaildefault=0"),
            ("", "foo", ".qmailfoo .qmaildefault=0"),
            ("-", "", ".qmail- .qmail-default=0"),
            ("-", "a", ".qmail-a .qmail-default=0"),
            ("-", "a-", ".qmail-a- .qmail-a-default=2 .qmail-default=0"),
            ("-", "a-b-c", ".qmail-a-b-c .qmail-a-b-default=4 .qmail-a-default=2 .qmail-default=0"),
            ("-", "default", ".qmail-default=0 .qmail-default=0"),
            ("-", "a-default", ".qmail-a-default=2 .qmail-a-default=2 .qmail-default=0"),
            ("-", "Xdefault", ".qmail-xdefault=1 .qmail-default=0"),
            ("+", "foo", ".qmail+foo .qmail+default=0"),
            ("-lists/", "foo", ".qmail-lists/foo .qmail-lists/default=0"),
        ];
        for (dash, ext, expected) in rows {
            let found: Vec<String> = candidates(dash.as_bytes(), ext.as_bytes())
                .map(|c| String::from_utf8(c.file).unwrap() + &c.default_at.map_or(String::new(), |n| format!("={n}")))
                .collect();
            assert_eq!(found.join(" "), *expected, "{dash:?} {ext:?}");
        }
    }

    #[test]
    fn l3_extensions_are_made_harmless() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"../../etc/passwd", b"::/::/etc/passwd"),
            (b".", b":"),
            (b"FoO.Bar", b"foo:bar"),
            (b"\xc4", b"\xc4"),
            (b"a\nb", b"a\nb"),
        ];
        for &(ext, safe) in rows {
            assert_eq!(safe_extension(ext), safe);
        }
    }
}
