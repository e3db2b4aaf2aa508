//! What only ext4 has: file systems without a journal, and directories that count as tops of hierarchies.

use crate::fd::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// FS_TOPDIR_FL of linux/fs.h, the `T` of chattr(1).
const TOP: libc::c_long = 0x0002_0000;

/// Whether `file` is on an ext4 that has no journal. Where /proc and /sys don't tell, the answer is no.
pub fn has_no_journal(file: &File) -> bool {
    let options = || {
        let dev = file.metadata().ok()?.dev();
        let device = std::fs::read_link(format!("/sys/dev/block/{}:{}", libc::major(dev), libc::minor(dev))).ok()?;
        std::fs::read(Path::new("/proc/fs/ext4").join(device.file_name()?).join("options")).ok()
    };
    // With a journal there is a line data=ordered, data=journal or data=writeback.
    options().is_some_and(|text| !text.split(|&b| b == b'\n').any(|line| line.starts_with(b"data=")))
}

/// Marks directory `dir` as the top of hierarchies that have nothing to do with each other: the directories made in it
/// from now on get block groups of their own. `Ok(false)`: it was marked before. Fails where the file system has no such
/// mark, and for who doesn't own `dir`.
pub fn mark_as_top(dir: &File) -> io::Result<bool> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the call writes one number, of at most this size, to `flags`.
    check(unsafe { libc::ioctl(dir.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    if flags & TOP != 0 {
        return Ok(false);
    }
    flags |= TOP;
    // SAFETY: the call reads one number, of at most this size, from `flags`.
    check(unsafe { libc::ioctl(dir.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) })?;
    Ok(true)
}
