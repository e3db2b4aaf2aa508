//! The mailboxes of the local users.

use crate::load::Result;
use crate::load::messages::USERS;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// `new` of each user's Maildir.
pub struct Mailboxes(Vec<(String, PathBuf)>);

impl Mailboxes {
    /// Of the users whose home directories are in `home`.
    pub fn below(home: &str) -> Mailboxes {
        let user = |n| (format!("b{n:02}"), PathBuf::from(format!("{home}/b{n:02}/Maildir/new")));
        Mailboxes((0..USERS).map(user).collect())
    }

    /// All messages that are there: whose, and where.
    fn files(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.0.iter().flat_map(|(user, dir)| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(move |entry| (user.as_str(), entry.path()))
        })
    }

    /// How many messages are there.
    pub fn count(&self) -> usize {
        self.files().count()
    }

    /// When the last one got its name: that, and nothing after it, changes a file's ctime. So nobody has to look on
    /// while the system under test needs the processor.
    pub fn last_arrival(&self) -> Option<SystemTime> {
        let when = |(_, file): (_, PathBuf)| {
            let meta = fs::metadata(file).ok()?;
            let (seconds, nanos) = (u64::try_from(meta.ctime()).ok()?, u32::try_from(meta.ctime_nsec()).ok()?);
            SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
        };
        self.files().filter_map(when).max()
    }

    /// Shows each message with its user.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &[u8])) -> Result<()> {
        for (user, file) in self.files() {
            visit(user, &fs::read(&file).map_err(|e| format!("unable to read {}: {e}", file.display()))?);
        }
        Ok(())
    }

    /// Removes all messages.
    pub fn empty(&self) -> Result<()> {
        for (_, file) in self.files() {
            fs::remove_file(&file).map_err(|e| format!("unable to remove {}: {e}", file.display()))?;
        }
        Ok(())
    }
}
