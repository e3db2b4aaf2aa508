//! The users mechanism (qmail-users(5)): which account a local part belongs to.
//!
//! A key of users/cdb is `!`, the name in lower case, and a NUL if the name must match as a whole. The record with
//! the empty key holds the last characters of all wildcard names, so that only these prefixes have to be looked up.
//! Data are six fields with NULs between them.

use crate::cdb::Cdb;
use std::io;
use std::path::Path;

/// The account that a local part is delivered to, as users/cdb and qmail-getpw tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Login name, for the environment only.
    pub user: Vec<u8>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home directory.
    pub home: Vec<u8>,
    /// What stands between `.qmail` and the extension in file names: nothing or `-`.
    pub dash: Vec<u8>,
    /// The extension.
    pub ext: Vec<u8>,
}

impl Assignment {
    /// Reads six fields, each ended by a NUL; `None` if there are fewer or an id does not begin with a 32-bit number.
    /// -1, which the system takes for "no change", is no id.
    pub fn parse(text: &[u8]) -> Option<Assignment> {
        let end = text.iter().rposition(|&b| b == 0)?;
        let mut fields = text.get(..end)?.split(|&b| b == 0);
        let mut field = || fields.next().map(<[u8]>::to_vec);
        let (user, uid, gid) = (field()?, id(&field()?)?, id(&field()?)?);
        Some(Assignment { user, uid, gid, home: field()?, dash: field()?, ext: field()? })
    }
}

fn id(text: &[u8]) -> Option<u32> {
    u32::try_from(crate::leading_number(text)?).ok().filter(|&n| n != u32::MAX)
}

/// The key of an assignment to exactly this name.
pub fn simple_key(name: &[u8]) -> Vec<u8> {
    let mut key = wildcard_key(name);
    key.push(0);
    key
}

/// The key of an assignment to all names that begin so.
pub fn wildcard_key(prefix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 2);
    key.push(b'!');
    key.extend(prefix.iter().map(u8::to_ascii_lowercase));
    key
}

/// Looks `local` up: the simple assignment, else the longest wildcard. `Ok(None)`: not assigned, or no such file.
/// The result is what [`Assignment::parse`] reads. A file that is no users/cdb is `InvalidData`.
pub fn find(file: &Path, local: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let cdb = match Cdb::open(file) {
        Ok(cdb) => cdb,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut key = simple_key(local);
    if let Some(mut data) = cdb.get(&key)? {
        data.push(0);
        return Ok(Some(data));
    }
    let last_characters = cdb.get(b"")?.ok_or(io::ErrorKind::InvalidData)?;
    // The key without its NUL stands for `local` itself, the key `!` for every name.
    while key.pop().is_some() {
        let Some(&last) = key.last() else { break };
        if key.len() > 1 && !last_characters.contains(&last) {
            continue;
        }
        if let Some(mut data) = cdb.get(&key)? {
            data.extend_from_slice(local.get(key.len() - 1..).unwrap_or_default());
            data.push(0);
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdb::Writer;
    use std::path::PathBuf;

    fn make(name: &str, records: &[(&[u8], &[u8])]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("users-{name}-{}", std::process::id()));
        let mut w = Writer::new(std::fs::File::create(&path).unwrap()).unwrap();
        records.iter().for_each(|(k, d)| w.add(k, d).unwrap());
        w.finish().unwrap();
        path
    }

    #[test]
    fn simple_goes_before_wildcard_and_long_before_short() {
        let path = make(
            "order",
            &[
                (b"!joe\0", b"joe\x001\x001\0/joe\0\0"),
                (b"!joe-", b"joe\x001\x001\0/joe\0-\0"),
                (b"!joe-list-", b"list\x002\x002\0/list\0-\0pre-"),
                (b"!", b"alias\x003\x003\0/alias\0-\0"),
                (b"", b"-"),
            ],
        );
        let rows: &[(&str, &str, &str)] = &[
            ("joe", "joe", ""),
            ("JOE", "joe", ""),
            ("joe-", "joe", ""),
            ("Joe-Foo", "joe", "Foo"),
            ("joe-list-Sub", "list", "pre-Sub"),
            ("joey", "alias", "joey"),
            ("-", "alias", "-"),
            ("", "alias", ""),
            ("Mary", "alias", "Mary"),
        ];
        for (local, user, ext) in rows {
            let found = find(&path, local.as_bytes()).unwrap().unwrap();
            let found = Assignment::parse(&found).unwrap();
            assert_eq!((found.user, found.ext), (user.as_bytes().to_vec(), ext.as_bytes().to_vec()), "{local}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nothing_found_is_no_error_but_a_foreign_file_is() {
        let path = make("none", &[(b"", b"")]);
        assert_eq!(find(&path, b"joe").unwrap(), None);
        std::fs::write(&path, b"garbage").unwrap();
        assert!(find(&path, b"joe").is_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(find(&path, b"joe").unwrap(), None);
        let path = make("foreign", &[(b"x", b"y")]);
        assert!(find(&path, b"joe").is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn d5_a_cut_cdb_never_gives_another_account() {
        let path =
            make("cut", &[(b"!joe\0", b"joe\x001\x001\0/joe\0\0"), (b"!a", b"a\x002\x002\0/a\0-\0"), (b"", b"a")]);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, whole.get(..len).unwrap()).unwrap();
            if let Ok(Some(found)) = find(&path, b"joe") {
                assert_eq!(found, b"joe\x001\x001\0/joe\0\0\0");
            }
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn six_fields_and_whole_numbers_or_nothing() {
        let ok = Assignment::parse(b"u\x007801\x00100\0/h\0-\0ext\0").unwrap();
        assert_eq!(
            (ok.uid, ok.gid, ok.home, ok.dash, ok.ext),
            (7801, 100, b"/h".to_vec(), b"-".to_vec(), b"ext".to_vec())
        );
        assert_eq!(Assignment::parse(b"u\x001 \x001\0/h\0-\0e\0").unwrap().uid, 1);
        let bad: &[&[u8]] = &[
            b"",
            b"\0",
            b"u\x001\x001\0/h\0-\0",
            b"u\x001\x001\0/h\0-\0ext",
            b"u\0\x001\0/h\0-\0e\0",
            b"u\x00x\x001\0/h\0-\0e\0",
            b"u\x00+1\x001\0/h\0-\0e\0",
            b"u\x001\x00-1\0/h\0-\0e\0",
            b"u\x004294967295\x001\0/h\0-\0e\0",
            b"u\x001\x004294967295\0/h\0-\0e\0",
            b"u\x004294967296\x001\0/h\0-\0e\0",
        ];
        for text in bad {
            assert_eq!(Assignment::parse(text), None, "{}", text.escape_ascii());
        }
    }
}
