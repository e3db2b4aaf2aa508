//! Descriptors by number: the fixed ones a program is started with, and how to put others into place.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor by number that this program was handed (0, 1, 2, ...). Reading and writing go straight to the system,
/// are repeated after EINTR, and report every error, EBADF too. Dropping it closes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Fd(pub RawFd);

/// Standard input.
pub const STDIN: Fd = Fd(0);
/// Standard output.
pub const STDOUT: Fd = Fd(1);

impl Fd {
    fn file(self) -> ManuallyDrop<File> {
        // SAFETY: ManuallyDrop keeps the number from being closed; a closed number only gives EBADF.
        ManuallyDrop::new(unsafe { File::from_raw_fd(self.0) })
    }

    /// Reads without repeating after EINTR.
    pub(crate) fn read_once(self, buf: &mut [u8]) -> io::Result<usize> {
        self.file().read(buf)
    }

    /// Takes the number over: it is closed when the result is dropped.
    pub fn own(self) -> OwnedFd {
        // SAFETY: the caller names a descriptor that was handed to this program by number and uses it here only.
        unsafe { OwnedFd::from_raw_fd(self.0) }
    }

    /// Whether the number is open.
    pub fn is_open(self) -> bool {
        // SAFETY: F_GETFD only looks at the descriptor table.
        unsafe { libc::fcntl(self.0, libc::F_GETFD) != -1 }
    }

    /// Size, mode and the like of what is open.
    pub fn metadata(self) -> io::Result<std::fs::Metadata> {
        self.file().metadata()
    }

    /// Moves the read and write position.
    pub fn seek(self, to: io::SeekFrom) -> io::Result<u64> {
        io::Seek::seek(&mut &*self.file(), to)
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Read for Fd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_once(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                r => return r,
            }
        }
    }
}

impl Write for Fd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            match self.file().write(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                r => return r,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of `bytes` to descriptor `n`.
pub fn write_all(n: RawFd, bytes: &[u8]) -> io::Result<()> {
    Fd(n).write_all(bytes)
}

/// Turns the -1 of a system call into the error it stands for.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A pipe, close-on-exec at both ends: (reading end, writing end). [`crate::spawn`] hands ends to children by plan.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}

/// Closes a number this program was handed.
pub fn close(n: RawFd) {
    // SAFETY: the caller says that nobody uses the number any more; a closed number only gives EBADF.
    unsafe { libc::close(n) };
}

/// Closes `fd` and reports what the system says: on a network file system this may be where a write fails.
pub fn close_checked(fd: OwnedFd) -> io::Result<()> {
    match nix::unistd::close(fd) {
        // The descriptor is closed all the same.
        Err(nix::errno::Errno::EINTR) => Ok(()),
        r => Ok(r?),
    }
}

/// Lets the kernel copy at most `bytes` from the position of regular file `from` to that of regular file `to`; both
/// positions move. Returns how many it was, 0 at the end. An error may only mean that the kernel can not do it for
/// these two: read and write then.
pub fn copy_range(from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize> {
    let here: *mut libc::loff_t = std::ptr::null_mut();
    // SAFETY: with null offsets the call only uses the two descriptors.
    let n = unsafe { libc::syscall(libc::SYS_copy_file_range, from, here, to, here, bytes, 0u32) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Makes number `to` a copy of `from` that survives exec (dup2). `from` stays open.
pub fn copy(to: RawFd, from: RawFd) -> io::Result<()> {
    // SAFETY: dup2 replaces `to`, which the caller owns by number.
    check(unsafe { libc::dup2(from, to) })?;
    if to == from { keep_on_exec(to) } else { Ok(()) }
}

/// Lets number `n` survive exec.
pub fn keep_on_exec(n: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD only changes a flag of the descriptor.
    check(unsafe { libc::fcntl(n, libc::F_SETFD, 0) })?;
    Ok(())
}

/// Makes number `n` close on exec.
pub fn close_on_exec(n: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD only changes a flag of the descriptor.
    check(unsafe { libc::fcntl(n, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(())
}

/// Switches O_NONBLOCK on or off.
pub fn set_nonblocking(n: RawFd, on: bool) -> io::Result<()> {
    // SAFETY: F_GETFL only reads flags.
    let flags = check(unsafe { libc::fcntl(n, libc::F_GETFL) })?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: F_SETFL only changes flags of the open file.
    check(unsafe { libc::fcntl(n, libc::F_SETFL, flags) })?;
    Ok(())
}
