//! Appending to an mbox file (mbox(5)): under a lock, with quoted From_ lines, and cut back to its old length if
//! anything fails.

use crate::quoting::Quoter;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How long another may hold the lock (seconds).
pub const LOCK_SECS: u32 = 30;
/// How often the file may be replaced while this waits for the lock.
const REPLACED_MAX: u32 = 3;

/// Why there is no delivery. The file is as it was, if it could be locked.
#[derive(Debug)]
pub enum Error {
    /// The file could not be opened or created.
    Open(io::Error),
    /// It is no regular file: a fifo or device could block, and keeps nothing.
    NotRegular,
    /// Another process had it locked for [`LOCK_SECS`].
    Locked,
    /// The message could not be read.
    Read(io::Error),
    /// The file could not be written.
    Write(io::Error),
}

/// The From_ line for a message from `sender`, with its newline: blanks, tabs and newlines become hyphens, and the null
/// sender is written as MAILER-DAEMON. `seconds` is the time of delivery.
pub fn from_line(sender: &[u8], seconds: u64) -> Vec<u8> {
    let sender = if sender.is_empty() { b"MAILER-DAEMON" } else { sender };
    let mut line = b"From ".to_vec();
    line.extend(sender.iter().map(|&b| if matches!(b, b' ' | b'\t' | b'\n') { b'-' } else { b }));
    line.push(b' ');
    line.extend_from_slice(&mess822::date::ctime(seconds));
    line.push(b'\n');
    line
}

/// Appends one message to the file `path`, which is created with mode 0600 under the umask if need be: `front` (the
/// From_ line and what else is to stand before the message, not quoted), then the message, quoted, and a blank line.
/// When this returns `Ok`, it is on the disk. The caller must have no alarm pending.
pub fn append(path: &Path, front: &[u8], message: &mut dyn BufRead) -> Result<(), Error> {
    let (file, locked) = open_locked(path)?;
    let before = file.metadata().map_err(Error::Open)?;
    if !before.is_file() {
        return Err(Error::NotRegular);
    }
    let written = write(&file, front, message).and_then(|()| {
        if before.len() > 0 {
            return Ok(());
        }
        // It may be new: its name must last as well.
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        crate::sync_names(dir, path).map_err(Error::Write)
    });
    if written.is_err() && locked {
        // If this fails as well there is nothing left to do.
        let _ = file.set_len(before.len());
    }
    written
}

/// Opens and locks the file; false: its file system has no locks.
fn open_locked(path: &Path) -> Result<(File, bool), Error> {
    for _ in 0..REPLACED_MAX {
        let file = sys::fs::open_append(path, 0o600).map_err(Error::Open)?;
        match sys::fs::lock_within(&file, LOCK_SECS) {
            Ok(false) => return Err(Error::Locked),
            // A mail reader or maildir2mbox may have put another file in its place meanwhile; what is appended to the
            // old one would be lost.
            Ok(true) if is_still_at(&file, path) => return Ok((file, true)),
            Ok(true) => {}
            // A file system without locks is no reason to refuse mail, but then nothing can be cut off again.
            Err(_) => return Ok((file, false)),
        }
    }
    Err(Error::Locked)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (there.dev(), there.ino())
}

fn write(mut file: &File, front: &[u8], message: &mut dyn BufRead) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(crate::BUFFER, &mut file);
    out.write_all(front).map_err(Error::Write)?;
    let mut quoter = Quoter::new(out);
    loop {
        let count = match message.fill_buf() {
            Ok([]) => break,
            Ok(some) => {
                quoter.put(some).map_err(Error::Write)?;
                some.len()
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(Error::Read(e)),
        };
        message.consume(count);
    }
    let mut out = quoter.finish().map_err(Error::Write)?;
    out.flush().map_err(Error::Write)?;
    drop(out);
    file.sync_all().map_err(Error::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;

    #[test]
    fn from_lines_are_one_line() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"joe@x.test", b"From joe@x.test Thu Jan 01 00:00:00 1970\n"),
            (b"", b"From MAILER-DAEMON Thu Jan 01 00:00:00 1970\n"),
            (b"#@[]", b"From #@[] Thu Jan 01 00:00:00 1970\n"),
            (b"a \tb\nFrom c@x", b"From a--b-From-c@x Thu Jan 01 00:00:00 1970\n"),
        ];
        for &(sender, line) in rows {
            assert_eq!(from_line(sender, 0), line);
        }
    }

    #[test]
    fn messages_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mbox");
        append(&path, b"From a\n", &mut &b"x\nFrom y"[..]).unwrap();
        append(&path, b"From b\n", &mut &b""[..]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"From a\nx\n>From y\n\nFrom b\n\n");
    }

    #[test]
    fn a_file_that_was_replaced_or_removed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("mbox"), dir.path().join("other"));
        let (file, locked) = open_locked(&path).unwrap();
        assert!(locked && is_still_at(&file, &path));
        fs::write(&other, "From a\n\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!is_still_at(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&file, &path));
    }

    /// A message whose reading fails after some bytes.
    struct Broken(&'static [u8]);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!()
        }
    }

    impl BufRead for Broken {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            if self.0.is_empty() { Err(io::Error::other("broken")) } else { Ok(self.0) }
        }

        fn consume(&mut self, n: usize) {
            self.0 = &self.0[n..];
        }
    }

    #[test]
    fn a_failed_delivery_is_cut_off_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mbox");
        fs::write(&path, "From a\nx\n\n").unwrap();
        let long = vec![b'x'; 3 * crate::BUFFER].leak();
        let e = append(&path, b"From b\n", &mut Broken(long)).unwrap_err();
        assert!(matches!(e, Error::Read(_)));
        assert_eq!(fs::read(&path).unwrap(), b"From a\nx\n\n");
    }

    #[test]
    fn l8_what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        sys::fs::make_fifo(&at("fifo"), 0o600).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let try_it = |path: &Path| append(path, b"", &mut &b"x"[..]).unwrap_err();
        assert!(matches!(try_it(&at("fifo")), Error::Open(_)));
        assert!(matches!(try_it(&at("socket")), Error::Open(_)));
        assert!(matches!(try_it(dir.path()), Error::Open(_)));
        assert!(matches!(try_it(Path::new("/dev/null")), Error::NotRegular));
        let reader = sys::fs::open_fifo_reader(&at("fifo")).unwrap();
        assert!(matches!(try_it(&at("fifo")), Error::NotRegular));
        drop(reader);
    }
}
