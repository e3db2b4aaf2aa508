//! Starting a program with chosen descriptors, ids and environment, at vfork's price.

use crate::env::Env;
use crate::process::{Gid, Pid, Uid};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;

/// A program to be started: the file, its arguments, and what it gets.
///
/// All descriptors of this house are close-on-exec, so the child has just 0, 1, 2 (as inherited or as given) and the
/// numbers named by [`Program::fd`].
#[derive(Clone)]
pub struct Program {
    file: CString,
    argv: Vec<CString>,
    env: Option<Env>,
    fds: Vec<(RawFd, RawFd)>,
    closed: Vec<RawFd>,
    ids: Option<(Uid, Gid)>,
    dir: Option<CString>,
}

fn c(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Program {
    /// The program in `file` (a path; no search), called with `argv` (argv[0] included). A NUL is `InvalidInput`.
    pub fn new(file: &[u8], argv: &[&[u8]]) -> io::Result<Program> {
        let argv = argv.iter().map(|a| c(a)).collect::<io::Result<_>>()?;
        Ok(Program { file: c(file)?, argv, env: None, fds: vec![], closed: vec![], ids: None, dir: None })
    }

    /// Gives the child descriptor `from` of this process as number `to`.
    pub fn fd(mut self, to: RawFd, from: RawFd) -> Program {
        self.fds.push((to, from));
        self
    }

    /// Makes sure that the child has nothing open as number `n`.
    pub fn closed(mut self, n: RawFd) -> Program {
        self.closed.push(n);
        self
    }

    /// Gives the child this environment instead of a copy of the present one.
    pub fn env(mut self, env: Env) -> Program {
        self.env = Some(env);
        self
    }

    /// Runs the child as this user and group, without supplementary groups. Needs root.
    pub fn ids(mut self, uid: Uid, gid: Gid) -> Program {
        self.ids = Some((uid, gid));
        self
    }

    /// Starts the child in this directory.
    pub fn dir(mut self, dir: &[u8]) -> io::Result<Program> {
        self.dir = Some(c(dir)?);
        Ok(self)
    }

    /// Starts the program. An `Err` covers all that can go wrong up to and including exec; no child is left then.
    pub fn start(&self) -> io::Result<Pid> {
        match self.start_saying(&[]) {
            Ok(pid) => Ok(pid),
            Err((error, child)) => {
                if let Some(pid) = child {
                    // The child exited without exec; nobody else may take its status.
                    let _ = crate::process::wait(pid);
                }
                Err(error)
            }
        }
    }

    /// Like [`Program::start`], but before the program runs the child writes `said` to this process's descriptor 2, in
    /// one go, with its own process id in decimal between the pieces. At most 8 pieces; a failure to say is ignored.
    ///
    /// When something goes wrong after the child was made, its id is in the error: it has ended with code 111 and is
    /// still to be waited for.
    pub fn start_saying(&self, said: &[&[u8]]) -> Result<Pid, (io::Error, Option<Pid>)> {
        let argv = pointers(&self.argv);
        let env = match &self.env {
            Some(e) => e.clone(),
            None => Env::inherit(),
        };
        let envp = pointers(env.list());
        // Descriptors that a later dup2 would overwrite are moved out of the way first.
        let highest = self.fds.iter().flat_map(|&(t, f)| [t, f]).max().unwrap_or(0).max(2);
        let (argv, envp) = (argv.as_ptr(), envp.as_ptr());
        let mut job = Job { program: self, argv, envp, above: highest + 1, said, error: 0 };
        let before = block_all();
        let mut stack = vec![0u8; STACK_BYTES];
        let top = stack.as_mut_ptr().wrapping_add(STACK_BYTES - (stack.as_ptr() as usize + STACK_BYTES) % 16);
        // SAFETY: the child runs `child` on a stack of its own; CLONE_VFORK holds this process until the child has
        // exec'd or exited, so the borrowed job and the stack outlive its use of them; all signals are blocked.
        let pid = unsafe {
            libc::clone(
                child,
                top.cast::<c_void>(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                std::ptr::from_mut(&mut job).cast::<c_void>(),
            )
        };
        let result = crate::fd::check(pid);
        restore(&before);
        let pid = Pid(result.map_err(|e| (e, None))?);
        // SAFETY: `job` is a live local; the child wrote to it through the pointer above, which a plain read may miss.
        let error = unsafe { std::ptr::read_volatile(&job.error) };
        if error != 0 {
            return Err((io::Error::from_raw_os_error(error), Some(pid)));
        }
        Ok(pid)
    }

    /// Becomes the program. Returns only the error that prevented it.
    pub fn exec(&self) -> io::Error {
        let argv = pointers(&self.argv);
        let env = match &self.env {
            Some(e) => e.clone(),
            None => Env::inherit(),
        };
        let envp = pointers(env.list());
        let highest = self.fds.iter().flat_map(|&(t, f)| [t, f]).max().unwrap_or(0).max(2);
        let (argv, envp) = (argv.as_ptr(), envp.as_ptr());
        let mut job = Job { program: self, argv, envp, above: highest + 1, said: &[], error: 0 };
        // SAFETY: the job's pointers are live; this process has one thread and becomes the program.
        let code = unsafe { arrange_and_exec(&mut job) };
        io::Error::from_raw_os_error(code)
    }
}

/// Room for the few frames between clone and exec.
const STACK_BYTES: usize = 16384;

struct Job<'a> {
    program: &'a Program,
    argv: *const *const c_char,
    envp: *const *const c_char,
    above: RawFd,
    said: &'a [&'a [u8]],
    error: c_int,
}

extern "C" fn child(job: *mut c_void) -> c_int {
    // SAFETY: `start_saying` passes a pointer to its live job and waits; nobody else uses it meanwhile.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    say(job.said);
    // SAFETY: this runs in the child made by `start_saying`, with all signals blocked.
    let error = unsafe { arrange_and_exec(job) };
    // SAFETY: `job` is live; volatile, since the parent reads it after what looks to the compiler like a plain call.
    unsafe { std::ptr::write_volatile(&mut job.error, error) };
    // SAFETY: _exit ends the child without touching the memory it shares with its parent.
    unsafe { libc::_exit(libc::c_int::from(crate::Exit::TEMPORARY.0)) }
}

/// Writes the pieces with this process's id between them. Like `arrange_and_exec` without any allocation.
fn say(pieces: &[&[u8]]) {
    if pieces.is_empty() {
        return;
    }
    let mut digits = [0u8; 10];
    let mut first = digits.len();
    // SAFETY: getpid has no conditions.
    let mut n = unsafe { libc::getpid() }.unsigned_abs();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        first -= 1;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    let pid = digits.get(first..).unwrap_or_default();
    let mut list = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 16];
    let mut count = 0;
    for (i, piece) in pieces.iter().enumerate() {
        for part in [if i == 0 { &[] } else { pid }, piece] {
            if let Some(place) = list.get_mut(count) {
                *place = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
                count += 1;
            }
        }
    }
    // SAFETY: the vector holds `count` entries, at most 16, of live memory that the call only reads.
    unsafe { libc::writev(2, list.as_ptr(), count as c_int) };
    // If nobody reads descriptor 2 any more a SIGPIPE is pending now; ignoring it for a moment throws it away, so that
    // the program lives. `arrange_and_exec` then gives the signal its default action.
    // SAFETY: an invalid signal number is all that can be wrong here.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Puts descriptors, directory, ids and signals into place and execs; returns the errno of what failed. Only raw
/// system calls and no allocation: in a vfork child the memory is the parent's.
///
/// # Safety
/// The pointers of the job are live, and the caller is about to become another program.
unsafe fn arrange_and_exec(job: &mut Job<'_>) -> c_int {
    let p = job.program;
    // SAFETY: plain system calls on descriptors, ids and signals of a process that is about to exec; the strings are
    // NUL-ended and live.
    unsafe {
        let mut moved = [(0, 0); 16];
        let mut n = 0;
        for &(to, from) in &p.fds {
            let Some(place) = moved.get_mut(n) else { return libc::EMFILE };
            let safe = if from == to { from } else { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, job.above) };
            if safe == -1 {
                return *libc::__errno_location();
            }
            *place = (to, safe);
            n += 1;
        }
        for &(to, from) in moved.iter().take(n) {
            let r = if from == to { libc::fcntl(to, libc::F_SETFD, 0) } else { libc::dup2(from, to) };
            if r == -1 {
                return *libc::__errno_location();
            }
        }
        for &n in &p.closed {
            libc::close(n);
        }
        if let Some(dir) = &p.dir {
            if libc::chdir(dir.as_ptr()) == -1 {
                return *libc::__errno_location();
            }
        }
        if let Some((Uid(uid), Gid(gid))) = p.ids {
            // The raw calls: the C library's wrappers keep books about threads in memory that is not ours to change.
            if libc::syscall(libc::SYS_setgroups, 1usize, &gid) == -1
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
            {
                return *libc::__errno_location();
            }
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        let caught = crate::signal::caught() | 1 << libc::SIGPIPE | 1 << libc::SIGALRM;
        for s in 1..32 {
            if caught & (1 << s) != 0 {
                libc::signal(s, libc::SIG_DFL);
            }
        }
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        libc::execve(p.file.as_ptr(), job.argv, job.envp);
        *libc::__errno_location()
    }
}

fn pointers(list: &[CString]) -> Vec<*const c_char> {
    list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

fn block_all() -> libc::sigset_t {
    // SAFETY: all-zero is a valid place for a signal set.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: likewise.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a valid place.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: both sets are valid; there are no threads.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &all, &mut before) };
    before
}

fn restore(before: &libc::sigset_t) {
    // SAFETY: the set came from sigprocmask.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// The first executable file called `name` in the directories of `path`; a name with a slash is taken as it is.
pub fn search(name: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    if name.contains(&b'/') {
        return Some(name.to_vec());
    }
    for dir in path.split(|&b| b == b':') {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        let file = [dir, b"/", name].concat();
        let as_path = std::path::Path::new(std::ffi::OsStr::from_bytes(&file));
        if as_path.is_file() && nix::unistd::access(as_path, nix::unistd::AccessFlags::X_OK).is_ok() {
            return Some(file);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Ended, wait};
    use std::io::Read;
    use std::os::fd::AsRawFd;

    #[test]
    fn child_gets_the_descriptors_and_environment_it_was_given() {
        let (r, w) = crate::fd::pipe().unwrap();
        let mut env = Env::default();
        env.set(b"X", b"5");
        let p = Program::new(b"/bin/sh", &[b"sh", b"-c", b"echo $X >&3; exit 7"]).unwrap();
        let pid = p.fd(3, w.as_raw_fd()).env(env).start().unwrap();
        drop(w);
        let mut out = String::new();
        std::fs::File::from(r).read_to_string(&mut out).unwrap();
        assert_eq!(out, "5\n");
        assert_eq!(wait(pid).unwrap(), Ended::Exit(7));
    }

    #[test]
    fn failure_to_exec_is_an_error_and_leaves_no_child() {
        let e = Program::new(b"/nonexistent/x", &[b"x"]).unwrap().start().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_child_says_its_id_and_a_failed_one_is_handed_back() {
        let said: &[&[u8]] = &[b"", b" is my id; again: ", b"\n"];
        let (error, child) = Program::new(b"/nonexistent/x", &[b"x"]).unwrap().start_saying(said).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(wait(child.unwrap()).unwrap(), Ended::Exit(111));
    }

    #[test]
    fn descriptors_can_be_exchanged() {
        let (r1, w1) = crate::fd::pipe().unwrap();
        let (a, b) = (w1.as_raw_fd(), r1.as_raw_fd());
        // Give the child the writing end under the number of the reading end, and the other way round.
        let script = format!("echo swapped >&{b}");
        let p = Program::new(b"/bin/bash", &[b"bash", b"-c", script.as_bytes()]).unwrap();
        let pid = p.fd(b, a).fd(a, b).start().unwrap();
        drop(w1);
        let mut out = String::new();
        std::fs::File::from(r1).read_to_string(&mut out).unwrap();
        assert_eq!(out, "swapped\n");
        assert_eq!(wait(pid).unwrap(), Ended::Exit(0));
    }
}
