//! This process and its children: ids, limits, waiting.

use crate::fd::check;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A user id. Not a group id, not an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uid(pub u32);
/// A group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gid(pub u32);
/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exit(u8),
    /// This signal killed it: it crashed.
    Signal(i32),
}

impl Ended {
    /// The exit code, or `None` if it crashed.
    pub fn code(self) -> Option<u8> {
        match self {
            Ended::Exit(c) => Some(c),
            Ended::Signal(_) => None,
        }
    }

    fn from_status(status: libc::c_int) -> Ended {
        if libc::WIFSIGNALED(status) {
            Ended::Signal(libc::WTERMSIG(status))
        } else {
            Ended::Exit(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
        }
    }
}

/// Real user id.
pub fn uid() -> Uid {
    Uid(nix::unistd::getuid().as_raw())
}

/// Effective user id.
pub fn euid() -> Uid {
    Uid(nix::unistd::geteuid().as_raw())
}

/// Effective group id.
pub fn egid() -> Gid {
    Gid(nix::unistd::getegid().as_raw())
}

/// This process's id.
pub fn pid() -> Pid {
    Pid(nix::unistd::getpid().as_raw())
}

/// Whether this process was started with more authority than its caller has (AT_SECURE: set-user-id execution).
pub fn is_privileged_beyond_caller() -> bool {
    // SAFETY: getauxval only reads what the kernel gave the process at its start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Gives up the present identity for good: no supplementary groups, then the group, then the user, real, effective and
/// saved. Checks that root cannot be had back.
pub fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    let g = nix::unistd::Gid::from_raw(gid.0);
    let u = nix::unistd::Uid::from_raw(uid.0);
    nix::unistd::setgroups(&[g])?;
    nix::unistd::setresgid(g, g, g)?;
    nix::unistd::setresuid(u, u, u)?;
    if uid.0 != 0 && nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_ok() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// Gives up for good what this set-id program has beyond its caller: effective and saved ids become the real ones.
/// Checks that they cannot be had back.
pub fn become_caller() -> io::Result<()> {
    let (u, g) = (nix::unistd::getuid(), nix::unistd::getgid());
    let was = nix::unistd::geteuid();
    nix::unistd::setresgid(g, g, g)?;
    nix::unistd::setresuid(u, u, u)?;
    if was != u && !u.is_root() && nix::unistd::setuid(was).is_ok() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// Gives up for good whom this set-id program was called by: the real and saved user become the effective one.
pub fn become_effective() -> io::Result<()> {
    let u = nix::unistd::geteuid();
    nix::unistd::setresuid(u, u, u)?;
    Ok(())
}

/// Sets only the group (and clears the supplementary groups): for qmail-start, which hands its group to its children.
pub fn become_group(gid: Gid) -> io::Result<()> {
    let g = nix::unistd::Gid::from_raw(gid.0);
    nix::unistd::setgroups(&[g])?;
    nix::unistd::setgid(g)?;
    Ok(())
}

/// Sets the file creation mask, returns the old one.
pub fn umask(mask: u32) -> u32 {
    let mode = nix::sys::stat::Mode::from_bits_truncate(mask as libc::mode_t);
    nix::sys::stat::umask(mode).bits()
}

/// Changes the working directory.
pub fn chdir(dir: &Path) -> io::Result<()> {
    std::env::set_current_dir(dir)
}

/// Makes `dir` the root of all that this process can see of the file system. Needs root, and means little while the
/// process stays root.
pub fn chroot(dir: &Path) -> io::Result<()> {
    nix::unistd::chroot(dir)?;
    chdir(Path::new("/"))
}

/// The host name as the kernel knows it.
pub fn hostname() -> io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    Ok(nix::unistd::gethostname()?.into_vec())
}

/// No core dumps: they would hold other people's mail.
pub fn no_core_dumps() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a complete rlimit; lowering a limit always succeeds.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}

/// Keeps other processes of the same user out of this one's memory (no ptrace, no /proc/PID/mem), and core dumps off.
pub fn no_looking_in() {
    // SAFETY: prctl with these arguments only changes a flag of the process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0u64, 0u64, 0u64, 0u64) };
}

/// From now on nothing that this process executes gains rights by its set-id bits, qmail-queue neither.
pub fn no_new_privileges() {
    // SAFETY: prctl with these arguments only sets a flag of the process; a kernel without it does nothing.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1u64, 0u64, 0u64, 0u64) };
}

/// How many descriptors this process may have open, at present.
pub fn open_files_limit() -> u64 {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is a valid place for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) };
    now.rlim_cur
}

/// In [`fork`]'s result: which of the two this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's id.
    Parent(Pid),
}

/// Makes a copy of this process. For programs without threads only, and those are all of them that fork. The child
/// must end by exec or [`exit_now`]. To just start a program, [`crate::spawn`] is cheaper.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread, so the child may do anything a process may.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(Pid(child.as_raw()))),
    }
}

/// Ends the process at once, without flushing or cleaning anything up: for forked children.
pub fn exit_now(code: crate::Exit) -> ! {
    // SAFETY: _exit ends the process.
    unsafe { libc::_exit(libc::c_int::from(code.0)) }
}

/// Waits for one child.
pub fn wait(pid: Pid) -> io::Result<Ended> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        match check(unsafe { libc::waitpid(pid.0, &mut status, 0) }) {
            Ok(_) => return Ok(Ended::from_status(status)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A child that has ended, if there is one; never waits.
pub fn reap() -> Option<(Pid, Ended)> {
    reap_status().map(|(pid, status)| (pid, Ended::from_status(status)))
}

/// Like [`reap`], with the system's wait status as a number, as tcpserver has always logged it: 256 times the exit
/// code, or the number of the signal, 128 more if it left a core.
pub fn reap_status() -> Option<(Pid, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        match check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }) {
            Ok(0) => return None,
            Ok(pid) => return Some((Pid(pid), status)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Processor time, user and system, of all children that were waited for, and of theirs.
pub fn children_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    // It cannot fail for this set of processes.
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
    let micros = |t: nix::sys::time::TimeVal| u64::try_from(t.num_microseconds()).unwrap_or(0);
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// Sends `signal` to a process.
pub fn kill(pid: Pid, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill touches no memory of this process.
    check(unsafe { libc::kill(pid.0, signal) })?;
    Ok(())
}
