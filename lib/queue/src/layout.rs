//! Where things are in the queue directory. All paths are relative to it: its programs work from there.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The number of a message: the inode number of its mess file, for as long as the message is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessNum(pub u64);

impl MessNum {
    /// A file name that is a message number: digits only.
    pub fn parse(name: &[u8]) -> Option<MessNum> {
        if name.is_empty() || !name.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(name).ok()?.parse().ok().map(MessNum)
    }
}

impl std::fmt::Display for MessNum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The two ways out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Mailboxes of this host.
    Local,
    /// Other hosts.
    Remote,
}

impl Channel {
    /// Both, in the order of the log.
    pub const BOTH: [Channel; 2] = [Channel::Local, Channel::Remote];

    /// The name of its directory, and what the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Local => "local",
            Channel::Remote => "remote",
        }
    }
}

/// The shape of one queue: the split, and whether todo/ and intd/ are split too (s/qmail) or flat (qmail).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    split: u64,
    todo_is_split: bool,
}

impl Layout {
    /// Looks at the queue in the current directory: what is on the disk decides.
    pub fn find() -> io::Result<Layout> {
        let usual = exists(&format!("mess/{}", conf::SPLIT - 1))? && !exists(&format!("mess/{}", conf::SPLIT))?;
        let split = if usual { conf::SPLIT } else { count_subdirectories()? };
        Ok(Layout { split, todo_is_split: exists("todo/0")? })
    }

    /// The number of subdirectories of mess, info, local and remote.
    pub fn split(self) -> u64 {
        self.split
    }

    fn in_split(self, dir: &str, n: MessNum) -> PathBuf {
        PathBuf::from(format!("{dir}/{}/{n}", n.0 % self.split))
    }

    /// The message itself.
    pub fn mess(self, n: MessNum) -> PathBuf {
        self.in_split("mess", n)
    }

    /// The envelope sender of a preprocessed message; its time is the message's birth.
    pub fn info(self, n: MessNum) -> PathBuf {
        self.in_split("info", n)
    }

    /// The recipients of a preprocessed message on one channel.
    pub fn recipients(self, n: MessNum, channel: Channel) -> PathBuf {
        self.in_split(channel.name(), n)
    }

    /// The envelope as qmail-queue wrote it: the message's place in the journal. In the layout of new messages.
    pub fn todo(self, n: MessNum) -> PathBuf {
        self.flat_or_split("todo", n)
    }

    /// Everywhere the envelope may be: in the layout of new messages, and flat in a queue that was split later.
    pub fn todo_places(self, n: MessNum) -> impl Iterator<Item = PathBuf> {
        self.places("todo", n)
    }

    /// Likewise for the envelope under construction.
    pub fn intd_places(self, n: MessNum) -> impl Iterator<Item = PathBuf> {
        self.places("intd", n)
    }

    fn places(self, dir: &str, n: MessNum) -> impl Iterator<Item = PathBuf> {
        let flat = self.todo_is_split.then(|| PathBuf::from(format!("{dir}/{n}")));
        std::iter::once(self.flat_or_split(dir, n)).chain(flat)
    }

    /// The envelope under construction.
    pub fn intd(self, n: MessNum) -> PathBuf {
        self.flat_or_split("intd", n)
    }

    fn flat_or_split(self, dir: &str, n: MessNum) -> PathBuf {
        if self.todo_is_split { self.in_split(dir, n) } else { PathBuf::from(format!("{dir}/{n}")) }
    }

    /// The failures that the next bounce will tell of.
    pub fn bounce(self, n: MessNum) -> PathBuf {
        PathBuf::from(format!("bounce/{n}"))
    }

    /// Where todo files may be: todo itself, and its subdirectories if it is split.
    pub fn todo_dirs(self) -> Vec<PathBuf> {
        let mut dirs = vec![PathBuf::from("todo")];
        if self.todo_is_split {
            dirs.extend((0..self.split).map(|s| PathBuf::from(format!("todo/{s}"))));
        }
        dirs
    }

    /// The name of a message in the delivery protocol: `<split>/<number>`.
    pub fn split_name(self, n: MessNum) -> Vec<u8> {
        format!("{}/{n}", n.0 % self.split).into_bytes()
    }
}

fn exists(path: &str) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn count_subdirectories() -> io::Result<u64> {
    let mut n = 0;
    while exists(&format!("mess/{n}"))? {
        n += 1;
    }
    // A queue without any is damaged; whoever uses it will fail at the file it needs.
    Ok(if n == 0 { conf::SPLIT } else { n })
}

/// The message numbers among the names in `dir`; other names are passed over, and so are directories: a todo that is
/// split has them, named like the lowest numbers.
pub fn numbers_in(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<MessNum>> + use<>> {
    Ok(std::fs::read_dir(dir)?.filter_map(|entry| match entry {
        // What readdir says of the kind is enough; where it says nothing, that costs a stat.
        Ok(e) if e.file_type().is_ok_and(|kind| kind.is_dir()) => None,
        Ok(e) => MessNum::parse(OsStr::as_bytes(&e.file_name())).map(Ok),
        Err(e) => Some(Err(e)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_no_messages() {
        let dir = std::env::temp_dir().join(format!("numbers-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("5")).unwrap();
        std::fs::write(dir.join("28"), "").unwrap();
        let numbers: io::Result<Vec<_>> = numbers_in(&dir).unwrap().collect();
        std::fs::remove_dir_all(dir).unwrap();
        assert_eq!(numbers.unwrap(), [MessNum(28)]);
    }

    #[test]
    fn only_digits_are_message_numbers() {
        for (name, want) in [
            (&b"0"[..], Some(0)),
            (b"12345", Some(12345)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"12x", None),
            (b"+1", None),
            (b"-1", None),
            (b".", None),
        ] {
            assert_eq!(MessNum::parse(name).map(|n| n.0), want, "{name:?}");
        }
    }
}
