//! Writing to a maildir (maildir(5)): a message is written under a unique name in tmp, synced, and only then moved to
//! new, whose names are synced last. A reader never sees a part of a message, and no lock is needed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use sys::fd::Fd;

/// How long a delivery may take (seconds). Readers remove what is older than 36 hours from tmp, so a writer must have
/// given up well before (maildir(5)).
pub const DELIVERY_SECS: u64 = 86400;
/// How many names are tried for a file in tmp.
const TRIES: u32 = 3;
/// How much the kernel copies between two looks at the clock (bytes).
const COPY_STEP: usize = 16 << 20;

/// Why there is no delivery. Nothing is left in the maildir then.
#[derive(Debug)]
pub enum Error {
    /// The maildir is not there, is no directory, or may not be entered.
    NoDirectory(io::Error),
    /// The message could not be read.
    Read(io::Error),
    /// The delivery took longer than [`DELIVERY_SECS`].
    Late,
    /// Anything else.
    Failed(io::Error),
}

/// A message on its way into a maildir. Dropped before [`Draft::deliver`] succeeds, it leaves nothing behind.
pub struct Draft<'d> {
    dir: &'d Path,
    name: Vec<u8>,
    tmp: PathBuf,
    /// `None` once the file is closed.
    file: Option<File>,
    started: u64,
    /// Whether there is something to remove in tmp.
    unfinished: bool,
}

impl<'d> Draft<'d> {
    /// Creates a file in `dir`/tmp, mode 0600 under the umask.
    pub fn create(dir: &'d Path) -> Result<Draft<'d>, Error> {
        let host = sys::process::hostname().unwrap_or_default();
        let mut tries = 0;
        loop {
            let started = sys::time::now();
            let name = unique_name(started, sys::process::pid().0, next_number(), &host);
            let tmp = dir.join("tmp").join(as_path(&name));
            match sys::fs::create_new(&tmp, 0o600) {
                Ok(file) => return Ok(Draft { dir, name, tmp, file: Some(file), started, unfinished: true }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => tries += 1,
                Err(e) => return Err(why_not(dir, e)),
            }
        }
    }

    /// Adds to the message.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check_time()?;
        self.file.as_mut().map_or(Ok(()), |f| f.write_all(bytes)).map_err(Error::Failed)
    }

    /// Adds all that is left to read from `source`, by the kernel alone if it can.
    pub fn put_rest_of(&mut self, mut source: Fd) -> Result<(), Error> {
        if let Some(file) = &self.file {
            // An error, and an early end, is left to the loop below, which can tell reading from writing.
            while sys::fd::copy_range(source.as_raw_fd(), file.as_raw_fd(), COPY_STEP).is_ok_and(|n| n > 0) {
                self.check_time()?;
            }
        }
        let mut buffer = vec![0; crate::BUFFER];
        loop {
            let count = source.read(&mut buffer).map_err(Error::Read)?;
            if count == 0 {
                return Ok(());
            }
            self.put(buffer.get(..count).unwrap_or_default())?;
        }
    }

    /// Puts the message into new. When this returns `Ok`, a loss of power loses neither it nor its name.
    pub fn deliver(mut self) -> Result<(), Error> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_all().map_err(Error::Failed)?;
        sys::fd::close_checked(file.into()).map_err(Error::Failed)?;
        self.check_time()?;
        let new = self.dir.join("new");
        let place = new.join(as_path(&self.name));
        sys::fs::move_new(&self.tmp, &place).map_err(Error::Failed)?;
        self.unfinished = false;
        crate::sync_names(&new, &place).map_err(|e| {
            // It will be delivered again, so this one may go. If a reader was faster, there will be two.
            let _ = std::fs::remove_file(&place);
            Error::Failed(e)
        })
    }

    fn check_time(&self) -> Result<(), Error> {
        // By the wall clock, since that is what readers hold against a file's age.
        if sys::time::now() >= self.started.saturating_add(DELIVERY_SECS) { Err(Error::Late) } else { Ok(()) }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.unfinished {
            // What can not be removed now, readers remove after 36 hours.
            let _ = std::fs::remove_file(&self.tmp);
        }
    }
}

/// `seconds.pid.host`, and with a number behind the pid for every further delivery of this process.
fn unique_name(seconds: u64, pid: i32, number: u32, host: &[u8]) -> Vec<u8> {
    let mut name = seconds.to_string().into_bytes();
    name.extend_from_slice(format!(".{pid}").as_bytes());
    if number > 0 {
        name.extend_from_slice(format!("_{number}").as_bytes());
    }
    name.push(b'.');
    for &b in host {
        match b {
            // Neither can stand in a name: one ends a directory, the other begins the flags.
            b'/' => name.extend_from_slice(b"\\057"),
            b':' => name.extend_from_slice(b"\\072"),
            b => name.push(b),
        }
    }
    name
}

/// 0, 1, 2, ...: which delivery of this process it is.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Tells a maildir that can not be entered from other trouble with the file in it.
fn why_not(dir: &Path, error: io::Error) -> Error {
    match std::fs::metadata(dir.join(".")) {
        Err(e) if !sys::error::is_temporary(&e) => Error::NoDirectory(e),
        _ => Error::Failed(error),
    }
}

pub(crate) fn as_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn maildir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        dir
    }

    fn names(dir: &Path, sub: &str) -> Vec<PathBuf> {
        fs::read_dir(dir.join(sub)).unwrap().map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn names_are_unique_within_a_process() {
        let rows: &[(u32, &[u8], &[u8])] = &[
            (0, b"a.test", b"17.42.a.test"),
            (1, b"a.test", b"17.42_1.a.test"),
            (2, b"", b"17.42_2."),
            (0, b"a/b:c", b"17.42.a\\057b\\072c"),
        ];
        for &(number, host, expected) in rows {
            assert_eq!(unique_name(17, 42, number, host), expected);
        }
    }

    #[test]
    fn a_message_is_in_new_whole_or_nowhere() {
        let dir = maildir();
        let mut draft = Draft::create(dir.path()).unwrap();
        draft.put(b"a\n").unwrap();
        draft.put(b"b\0\n").unwrap();
        assert_eq!(names(dir.path(), "new"), [] as [PathBuf; 0]);
        draft.deliver().unwrap();
        let new = names(dir.path(), "new");
        assert_eq!(new.len(), 1);
        assert_eq!(fs::read(&new[0]).unwrap(), b"a\nb\0\n");
        assert_eq!(names(dir.path(), "tmp"), [] as [PathBuf; 0]);

        drop(Draft::create(dir.path()).unwrap());
        assert_eq!(names(dir.path(), "tmp"), [] as [PathBuf; 0]);
        assert_eq!(names(dir.path(), "new").len(), 1);
    }

    #[test]
    fn the_rest_of_a_file_is_copied_from_where_it_stands() {
        use std::io::{Seek, SeekFrom};
        let dir = maildir();
        let body: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let path = dir.path().join("cur/message");
        fs::write(&path, &body).unwrap();
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::Start(10)).unwrap();
        let mut draft = Draft::create(dir.path()).unwrap();
        draft.put(b"x").unwrap();
        draft.put_rest_of(Fd(file.as_raw_fd())).unwrap();
        draft.deliver().unwrap();
        assert_eq!(fs::read(&names(dir.path(), "new")[0]).unwrap(), [b"x", &body[10..]].concat());
    }

    #[test]
    fn a_pipe_is_copied_too() {
        let dir = maildir();
        let (r, w) = sys::fd::pipe().unwrap();
        File::from(w).write_all(b"from a pipe").unwrap();
        let mut draft = Draft::create(dir.path()).unwrap();
        draft.put_rest_of(Fd(r.as_raw_fd())).unwrap();
        draft.deliver().unwrap();
        assert_eq!(fs::read(&names(dir.path(), "new")[0]).unwrap(), b"from a pipe");
    }

    #[test]
    fn l7_trouble_is_told_apart_and_leaves_no_tmp_file() {
        let dir = maildir();
        let path = dir.path();
        assert!(matches!(Draft::create(&path.join("none")), Err(Error::NoDirectory(_))));
        fs::write(path.join("file"), "").unwrap();
        assert!(matches!(Draft::create(&path.join("file")), Err(Error::NoDirectory(_))));

        fs::remove_dir(path.join("new")).unwrap();
        let mut draft = Draft::create(path).unwrap();
        draft.put(b"x").unwrap();
        assert!(matches!(draft.deliver(), Err(Error::Failed(_))));
        assert_eq!(names(path, "tmp"), [] as [PathBuf; 0]);

        // A name that somebody else has in new is not overwritten.
        fs::create_dir(path.join("new")).unwrap();
        let draft = Draft::create(path).unwrap();
        let taken = path.join("new").join(as_path(&draft.name));
        fs::write(&taken, "theirs").unwrap();
        assert!(matches!(draft.deliver(), Err(Error::Failed(_))));
        assert_eq!(fs::read(&taken).unwrap(), b"theirs");
        assert_eq!(names(path, "tmp"), [] as [PathBuf; 0]);

        fs::remove_dir(path.join("tmp")).unwrap();
        assert!(matches!(Draft::create(path), Err(Error::Failed(_))));
    }

    #[test]
    fn a_delivery_that_takes_a_day_is_given_up() {
        let dir = maildir();
        let mut draft = Draft::create(dir.path()).unwrap();
        draft.started -= DELIVERY_SECS;
        assert!(matches!(draft.put(b"x"), Err(Error::Late)));
        assert!(matches!(draft.deliver(), Err(Error::Late)));
        assert_eq!(names(dir.path(), "tmp"), [] as [PathBuf; 0]);
    }
}
