//! Reading a maildir (maildir(5)): which messages are there, in which order, and what a reader may do with them.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What nobody has accessed in tmp for so long (seconds) is left over from a crash: writers give up well before.
pub const LEFTOVER_SECS: i64 = 129_600;

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// No reader has seen it.
    New,
    /// A reader has seen it.
    Cur,
}

impl Part {
    /// The name of the directory in the maildir.
    pub fn name(self) -> &'static str {
        match self {
            Part::New => "new",
            Part::Cur => "cur",
        }
    }
}

/// Why a maildir can not be read.
#[derive(Debug)]
pub enum Error {
    /// This part of it can not be opened.
    Open(Part, io::Error),
    /// This part can not be read to its end.
    Read(Part, io::Error),
}

/// One message; its name is a piece of [`Listing::names`].
#[derive(Clone, Copy, Debug)]
struct Entry {
    mtime: i64,
    size: u64,
    part: Part,
    start: usize,
    end: usize,
}

/// The messages of a maildir as they were when it was read, oldest first. It takes some 50 bytes and the name for each.
///
/// Other readers may move and remove messages meanwhile; every operation can fail for that reason.
pub struct Listing {
    dir: PathBuf,
    entries: Vec<Entry>,
    /// All names, one behind the other.
    names: Vec<u8>,
}

impl Listing {
    /// Reads these parts of the maildir `dir`; the empty path is the working directory.
    ///
    /// Names that begin with a dot are skipped. So is what has changed in the present second: more of the same time may
    /// still come, and would get a smaller number than what was listed already.
    pub fn read(dir: &Path, parts: &[Part]) -> Result<Listing, Error> {
        let mut listing = Listing { dir: dir.into(), entries: vec![], names: vec![] };
        let now = now();
        for &part in parts {
            listing.add(part, now)?;
        }
        let names = listing.names.as_slice();
        // Within a second by name, so that the order does not depend on the directory.
        listing.entries.sort_unstable_by(|a, b| a.mtime.cmp(&b.mtime).then_with(|| id(names, a).cmp(id(names, b))));
        Ok(listing)
    }

    fn add(&mut self, part: Part, now: i64) -> Result<(), Error> {
        let dir = self.dir.join(part.name());
        for found in std::fs::read_dir(&dir).map_err(|e| Error::Open(part, e))? {
            let name = found.map_err(|e| Error::Read(part, e))?.file_name();
            if name.as_bytes().first() == Some(&b'.') {
                continue;
            }
            // Gone already: another reader was faster.
            let Ok(about) = std::fs::metadata(dir.join(&name)) else { continue };
            if about.mtime() >= now {
                continue;
            }
            let start = self.names.len();
            self.names.extend_from_slice(name.as_bytes());
            let end = self.names.len();
            self.entries.push(Entry { mtime: about.mtime(), size: about.size(), part, start, end });
        }
        Ok(())
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When message `n` was delivered, in seconds since 1970; 0 if there is none.
    pub fn seconds(&self, n: usize) -> i64 {
        self.entries.get(n).map_or(0, |e| e.mtime)
    }

    /// The size in bytes of message `n`, counted from 0; 0 if there is none.
    pub fn size(&self, n: usize) -> u64 {
        self.entries.get(n).map_or(0, |e| e.size)
    }

    /// The part of message `n`'s name that never changes: what stands before the colon.
    pub fn id(&self, n: usize) -> &[u8] {
        self.entries.get(n).map_or(b"", |e| id(&self.names, e))
    }

    /// Where message `n` is.
    pub fn path(&self, n: usize) -> Option<PathBuf> {
        let entry = self.entries.get(n)?;
        Some(self.dir.join(entry.part.name()).join(crate::maildir::as_path(name(&self.names, entry))))
    }

    /// Removes message `n`.
    pub fn remove(&self, n: usize) -> io::Result<()> {
        std::fs::remove_file(self.path(n).ok_or(io::ErrorKind::NotFound)?)
    }

    /// Moves message `n` to cur, without flags, if it is in new. It never takes the place of another.
    pub fn move_to_cur(&self, n: usize) -> io::Result<()> {
        let (Some(entry), Some(from)) = (self.entries.get(n), self.path(n)) else { return Ok(()) };
        if entry.part == Part::Cur {
            return Ok(());
        }
        let name = [name(&self.names, entry), b":2,"].concat();
        sys::fs::move_new(&from, &self.dir.join(Part::Cur.name()).join(crate::maildir::as_path(&name)))
    }
}

fn name<'n>(names: &'n [u8], entry: &Entry) -> &'n [u8] {
    names.get(entry.start..entry.end).unwrap_or_default()
}

fn id<'n>(names: &'n [u8], entry: &Entry) -> &'n [u8] {
    name(names, entry).split(|&b| b == b':').next().unwrap_or_default()
}

/// Removes from tmp of the maildir `dir` what a crash has left there, as every reader does.
pub fn clean_tmp(dir: &Path) {
    let tmp = dir.join("tmp");
    let now = now();
    for found in std::fs::read_dir(&tmp).into_iter().flatten().flatten() {
        let name = found.file_name();
        let file = tmp.join(&name);
        let old = |about: std::fs::Metadata| now > about.atime().saturating_add(LEFTOVER_SECS);
        if name.as_bytes().first() != Some(&b'.') && std::fs::metadata(&file).is_ok_and(old) {
            // What can not be removed now, the next reader tries again.
            let _ = std::fs::remove_file(&file);
        }
    }
}

fn now() -> i64 {
    i64::try_from(sys::time::now()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn maildir(files: &[(&str, &str, i64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for (name, text, time) in files {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            sys::fs::set_mtime(&file, *time).unwrap();
        }
        dir
    }

    const BOTH: [Part; 2] = [Part::New, Part::Cur];

    fn ids(listing: &Listing) -> Vec<String> {
        (0..listing.len()).map(|n| String::from_utf8_lossy(listing.id(n)).into_owned()).collect()
    }

    #[test]
    fn the_oldest_message_is_the_first_wherever_it_lies() {
        let files = [
            ("new/c", "1", 30),
            ("cur/b:2,S", "22", 20),
            ("new/a", "", 40),
            ("cur/d:2,", "333", 20),
            ("new/.x", "", 1),
        ];
        let dir = maildir(&files);
        fs::write(dir.path().join("new/now"), "").unwrap();
        sys::fs::set_mtime(&dir.path().join("new/now"), now() + 100).unwrap();
        let listing = Listing::read(dir.path(), &BOTH).unwrap();
        assert_eq!(ids(&listing), ["b", "d", "c", "a"]);
        assert_eq!((0..5).map(|n| listing.size(n)).collect::<Vec<_>>(), [2, 3, 1, 0, 0]);
        assert_eq!(listing.path(0), Some(dir.path().join("cur/b:2,S")));
        assert_eq!(listing.path(4), None);
        assert_eq!((listing.seconds(0), listing.seconds(4)), (20, 0));
        assert_eq!(ids(&Listing::read(dir.path(), &[Part::New]).unwrap()), ["c", "a"]);
    }

    #[test]
    fn a_message_is_moved_once_and_never_over_another() {
        let dir =
            maildir(&[("new/a", "new", 10), ("new/b", "new", 20), ("cur/b:2,", "old", 30), ("cur/c:2,F", "", 40)]);
        let listing = Listing::read(dir.path(), &BOTH).unwrap();
        assert!(listing.move_to_cur(0).is_ok());
        assert!(listing.move_to_cur(0).is_err());
        assert!(listing.move_to_cur(1).is_err());
        assert!(listing.move_to_cur(3).is_ok());
        assert!(listing.remove(3).is_ok());
        assert!(listing.remove(3).is_err());
        assert_eq!(fs::read(dir.path().join("cur/a:2,")).unwrap(), b"new");
        assert_eq!(fs::read(dir.path().join("cur/b:2,")).unwrap(), b"old");
        assert_eq!(fs::read(dir.path().join("new/b")).unwrap(), b"new");
        assert!(!dir.path().join("cur/c:2,F").exists());
    }

    #[test]
    fn a_maildir_without_its_parts_is_an_error() {
        let dir = maildir(&[]);
        assert!(Listing::read(dir.path(), &BOTH).unwrap().is_empty());
        fs::remove_dir(dir.path().join("cur")).unwrap();
        assert!(matches!(Listing::read(dir.path(), &BOTH), Err(Error::Open(Part::Cur, _))));
    }

    #[test]
    fn leftovers_go_after_36_hours() {
        let t = now();
        let files = [
            ("tmp/old", "", t - LEFTOVER_SECS - 60),
            ("tmp/.old", "", 1),
            ("tmp/young", "", t - LEFTOVER_SECS + 60),
            ("new/x", "", 1),
        ];
        let dir = maildir(&files);
        clean_tmp(dir.path());
        let left = files.iter().filter(|f| dir.path().join(f.0).exists()).map(|f| f.0).collect::<Vec<_>>();
        assert_eq!(left, ["tmp/.old", "tmp/young", "new/x"]);
        clean_tmp(&dir.path().join("none"));
    }
}
