//! What qmail-getpw has answered lately. A busy user's mail need not ask for every message.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long answers count. A name service other than the plain files changes unseen; its own caches are slower.
const FRESH: Duration = Duration::from_secs(5);
/// How many answers are kept.
const ANSWERS_MAX: usize = 1000;
/// The files that decide about most accounts: the accounts, who else is asked, and who asks.
const SOURCES: [&str; 3] = ["/etc/passwd", "/etc/nsswitch.conf", "bin/qmail-getpw"];

/// Answers by local part. They are forgotten all at once: when one of [`SOURCES`] changes, after [`FRESH`], and when
/// they become too many.
#[derive(Default)]
pub struct Answers {
    known: HashMap<Vec<u8>, Vec<u8>>,
    since: Option<Instant>,
    sources: [Stamp; SOURCES.len()],
}

/// What tells one state of a file from another: device, inode, size, and the time of the last change (ns). All zero for
/// a file that is not there.
type Stamp = (u64, u64, u64, i128);

impl Answers {
    /// The answer for a local part, if it is known and still counts.
    pub fn find(&mut self, local: &[u8]) -> Option<&[u8]> {
        let sources = SOURCES.map(|file| stamp(Path::new(file)));
        let fresh = self.since.is_some_and(|since| since.elapsed() < FRESH);
        if !fresh || sources != self.sources || self.known.len() >= ANSWERS_MAX {
            self.known.clear();
            self.since = None;
        }
        self.sources = sources;
        self.known.get(local).map(Vec::as_slice)
    }

    /// Keeps an answer that was asked for after [`Answers::find`] had none.
    pub fn keep(&mut self, local: &[u8], answer: &[u8]) {
        self.since.get_or_insert_with(Instant::now);
        self.known.insert(local.to_vec(), answer.to_vec());
    }
}

fn stamp(file: &Path) -> Stamp {
    std::fs::metadata(file).map_or((0, 0, 0, 0), |m| {
        (m.dev(), m.ino(), m.size(), i128::from(m.ctime()) * 1_000_000_000 + i128::from(m.ctime_nsec()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_a_while() {
        let mut answers = Answers::default();
        assert_eq!(answers.find(b"joe"), None);
        answers.keep(b"joe", b"a");
        answers.keep(b"ann", b"b");
        assert_eq!(answers.find(b"joe"), Some(&b"a"[..]));
        assert_eq!(answers.find(b"ann"), Some(&b"b"[..]));
        assert_eq!(answers.find(b"bob"), None);
        answers.since = Instant::now().checked_sub(FRESH);
        assert_eq!(answers.find(b"joe"), None);
    }

    #[test]
    fn a_change_of_a_source_makes_all_forgotten() {
        let mut answers = Answers::default();
        answers.find(b"joe");
        answers.keep(b"joe", b"a");
        answers.sources[0].3 += 1;
        assert_eq!(answers.find(b"joe"), None);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        let before = stamp(&file);
        std::fs::write(&file, "x").unwrap();
        assert_ne!(stamp(&file), before);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut answers = Answers::default();
        answers.find(b"");
        for n in 0..ANSWERS_MAX {
            answers.keep(n.to_string().as_bytes(), b"a");
        }
        assert_eq!(answers.find(b"1"), None);
        assert!(answers.known.is_empty());
    }
}
