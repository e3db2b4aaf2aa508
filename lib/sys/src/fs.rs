//! Files beyond what std offers: syncs of contents and names, locks, fifos.

use crate::fd::check;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the names in directory `dir` durable. Linux keeps a new name only in memory until its directory is synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?.sync_all()
}

/// Whether the file system of `file` makes the name of a new file durable when the file itself is synced, so that
/// [`sync_dir`] would flush the disk once more for nothing. It holds for a file that got its present name before the sync
/// and after the file system was mounted.
///
/// ext4 commits one journal for all, and without a journal writes the directories of a new file itself; xfs writes its
/// log up to the file's last change, of which the name was a part; btrfs logs new names with their file.
pub fn sync_covers_name(file: &File) -> bool {
    use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
    let known = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC];
    fstatfs(file).is_ok_and(|about| known.contains(&about.filesystem_type()))
}

/// Asks the system to start writing the contents of `file` out, without waiting: a later sync then waits less.
/// Only a hint, so failure is ignored.
pub fn start_writeback(file: &File) {
    // SAFETY: a hint on an open descriptor; it touches no memory.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes everything written to the file system that holds `file` durable, in one go.
pub fn sync_file_system(file: &File) -> io::Result<()> {
    // SAFETY: syncfs only takes an open descriptor.
    check(unsafe { libc::syncfs(file.as_raw_fd()) })?;
    Ok(())
}

/// A directory whose files are found by their bare names, which costs less than whole paths where there are many. It
/// need not exist: what is wrong with it is then wrong with each file.
pub struct Dir(nix::Result<OwnedFd>);

impl Dir {
    /// Opens `path`.
    pub fn open(path: &Path) -> Dir {
        use nix::fcntl::{OFlag, open};
        Dir(open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()))
    }

    /// The size of a file in bytes.
    pub fn size(&self, name: &CStr) -> io::Result<u64> {
        let dir = self.0.as_ref().map_err(|&e| e)?;
        let about = nix::sys::stat::fstatat(dir, name, nix::fcntl::AtFlags::empty())?;
        Ok(u64::try_from(about.st_size).unwrap_or(0))
    }

    /// Opens a file for reading and asks the system to fetch its beginning, at most `bytes`, without waiting: reading it
    /// later then waits less, and what is asked for many files comes at once.
    pub fn open_ahead(&self, name: &CStr, bytes: u32) -> io::Result<File> {
        use nix::fcntl::{OFlag, openat};
        let dir = self.0.as_ref().map_err(|&e| e)?;
        let file = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        // SAFETY: a hint on an open descriptor; it touches no memory.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, bytes.into(), libc::POSIX_FADV_WILLNEED) };
        Ok(file.into())
    }
}

/// Creates a file that must not exist yet (O_EXCL), for writing, with `mode` under the umask.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Opens a file for reading without ever blocking on a fifo that stands in its place.
pub fn open_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Opens a fifo's reading end at once, whether or not anybody writes (O_NONBLOCK).
pub fn open_fifo_reader(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?.into())
}

/// Opens for writing at once (O_NONBLOCK): a fifo that nobody reads gives ENXIO.
pub fn open_write_nonblocking(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Takes the exclusive lock (flock) of `file`; waits for it if `wait`, else `Ok(false)` says that another holds it.
/// The lock lasts until the file is closed.
pub fn lock(file: &File, wait: bool) -> io::Result<bool> {
    let how = if wait { libc::LOCK_EX } else { libc::LOCK_EX | libc::LOCK_NB };
    // SAFETY: flock only takes an open descriptor.
    match check(unsafe { libc::flock(file.as_raw_fd(), how) }) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        // A blocking lock that an alarm interrupts is the caller's time limit.
        Err(e) => Err(e),
    }
}

/// Moves a file to a name that must not exist yet: one rename where the file system can refuse to overwrite, else link
/// and unlink.
pub fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let name = |p: &Path| std::ffi::CString::new(p.as_os_str().as_bytes());
    let (from_c, to_c) = (name(from)?, name(to)?);
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: two live NUL-ended names. The raw call, since not every C library has a wrapper.
    let r = unsafe { libc::syscall(libc::SYS_renameat2, here, from_c.as_ptr(), here, to_c.as_ptr(), flags) };
    if r == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        e => Err(e),
    }
}

/// Like [`lock`], but waits at most `seconds`: `Ok(false)` when another still holds it then. An alarm is used, so the
/// caller must have none pending.
pub fn lock_within(file: &File, seconds: u32) -> io::Result<bool> {
    if lock(file, false)? {
        return Ok(true);
    }
    crate::signal::catch_interrupting(libc::SIGALRM)?;
    // It repeats: an alarm that comes just before the wait begins must not leave it waiting for ever.
    crate::signal::alarm_repeating(seconds);
    let result = lock(file, true);
    crate::signal::alarm(0);
    let late = crate::signal::take(libc::SIGALRM);
    crate::signal::default(libc::SIGALRM);
    match result {
        Err(e) if e.kind() == io::ErrorKind::Interrupted && late => Ok(false),
        r => r,
    }
}

/// Opens for appending, and creates if need be with `mode` under the umask, without ever blocking: a fifo that nobody
/// reads gives ENXIO.
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(mode).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Makes a fifo with `mode` under the umask.
pub fn make_fifo(path: &Path, mode: u32) -> io::Result<()> {
    Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(mode))?)
}

/// Sets the modification and access time of `path` to `seconds` since 1970.
pub fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    let t = nix::sys::time::TimeSpec::new(seconds, 0);
    Ok(nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, path, &t, &t, nix::sys::stat::UtimensatFlags::FollowSymlink)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_held_by_another_is_given_up_in_time() {
        use crate::process::{Ended, Fork, exit_now, fork, wait};
        let path = std::env::temp_dir().join(format!("lock-{}", std::process::id()));
        let one = open_append(&path, 0o600).unwrap();
        assert!(lock(&one, false).unwrap());
        // In a child, since there the alarm can not arrive at another thread of the test.
        match fork().unwrap() {
            Fork::Child => {
                let got = open_append(&path, 0o600).and_then(|f| lock_within(&f, 1));
                exit_now(crate::Exit(if matches!(got, Ok(false)) { 0 } else { 1 }));
            }
            Fork::Parent(pid) => assert_eq!(wait(pid).unwrap(), Ended::Exit(0)),
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn move_new_never_replaces() {
        let dir = std::env::temp_dir().join(format!("rename-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (a, b) = (dir.join("a"), dir.join("b"));
        std::fs::write(&a, "a").unwrap();
        move_new(&a, &b).unwrap();
        std::fs::write(&a, "c").unwrap();
        assert_eq!(move_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&b).unwrap(), b"a");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_fifo_without_reader_does_not_block() {
        let path = std::env::temp_dir().join(format!("fifo-{}", std::process::id()));
        make_fifo(&path, 0o600).unwrap();
        assert_eq!(open_append(&path, 0o600).unwrap_err().raw_os_error(), Some(libc::ENXIO));
        std::fs::remove_file(path).unwrap();
    }
}
