//! Starting a program with chosen descriptors, ids and environment, at vfork's price.

use crate::env::Env;
use crate::process::{Gid, Pid, Uid};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

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
    ends_with_parent: bool,
}

fn c(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Program {
    /// The program in `file` (a path; no search), called with `argv` (argv[0] included). A NUL is `InvalidInput`.
    pub fn new(file: &[u8], argv: &[&[u8]]) -> io::Result<Program> {
        let argv = argv.iter().map(|a| c(a)).collect::<io::Result<_>>()?;
        Ok(Program {
            file: c(file)?,
            argv,
            env: None,
            fds: vec![],
            closed: vec![],
            ids: None,
            dir: None,
            ends_with_parent: false,
        })
    }

    /// The program that `argv` calls, looked for in `path` (the value of PATH; `None`: where the system's own programs
    /// are), as execvp(3) does. ENOENT if there is none.
    pub fn named(argv: &[&[u8]], path: Option<&[u8]>) -> io::Result<Program> {
        let found = argv.first().and_then(|name| search(name, path.unwrap_or(SYSTEM_PATH)));
        Program::new(&found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?, argv)
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

    /// Sends the child SIGTERM when this process ends, which may then be somebody who could not send it.
    pub fn ends_with_parent(mut self) -> Program {
        self.ends_with_parent = true;
        self
    }

    /// Starts the child in this directory.
    pub fn dir(mut self, dir: &[u8]) -> io::Result<Program> {
        self.dir = Some(c(dir)?);
        Ok(self)
    }

    /// Starts the program. An `Err` covers all that can go wrong up to and including exec; no child is left then.
    pub fn start(&self) -> io::Result<Pid> {
        self.try_start().map_err(NotStarted::into_error)
    }

    /// Like [`Program::start`], for those who must tell the reasons apart.
    ///
    /// A child with ids of its own may be stopped by its new user just before it execs. Its parent waits for it no
    /// longer than [`PATIENCE`] then and takes it for started; should it fail later, it ends with
    /// [`crate::Exit::TEMPORARY`].
    pub fn try_start(&self) -> Result<Pid, NotStarted> {
        self.launch(&[]).map_err(|(why, child)| {
            if let Some(pid) = child {
                // The child exited without exec; nobody else may take its status.
                let _ = crate::process::wait(pid);
            }
            why
        })
    }

    /// Like [`Program::try_start`], but a file that has no format the system knows is taken for a script of /bin/sh, as
    /// execvp(3) does.
    pub fn try_start_or_shell(&self) -> Result<Pid, NotStarted> {
        match self.try_start() {
            Err(NotStarted::Exec(e)) if e.raw_os_error() == Some(libc::ENOEXEC) => {
                let mut shell = self.clone();
                shell.file = c"/bin/sh".to_owned();
                let arguments = self.argv.iter().skip(1).cloned();
                shell.argv = [shell.file.clone(), self.file.clone()].into_iter().chain(arguments).collect();
                shell.try_start()
            }
            result => result,
        }
    }

    /// Like [`Program::start`], but before the program runs the child writes `said` to this process's descriptor 2, in
    /// one go, with its own process id in decimal between the pieces. At most 8 pieces; a failure to say is ignored.
    ///
    /// When something goes wrong after the child was made, its id is in the error: it has ended with code 111 and is
    /// still to be waited for.
    pub fn start_saying(&self, said: &[&[u8]]) -> Result<Pid, (io::Error, Option<Pid>)> {
        self.launch(said).map_err(|(why, child)| (why.into_error(), child))
    }

    /// Starts the program without waiting until it runs: both processes go on at once. What goes wrong once there is a
    /// child shows in its end, with code `failed`. Only for callers to whom a failed system call is a failure, whatever its
    /// errno says: until exec the child shares that with its parent, too, and changes it if exec fails.
    pub fn start_ahead(&self, failed: crate::Exit) -> io::Result<Pid> {
        release_parked();
        let task = Box::into_raw(Box::new(Task { failed, ..Task::new(self, &[]) }));
        // SAFETY: the task came from a box just now, and it is freed only when the kernel has cleared `busy`.
        match unsafe { make_child(task, libc::CLONE_CHILD_CLEARTID) } {
            Ok(pid) => {
                park(task);
                Ok(pid)
            }
            Err(e) => {
                // SAFETY: there is no child; the pointer came from a box.
                recycle(unsafe { Box::from_raw(task) });
                Err(e)
            }
        }
    }

    fn launch(&self, said: &[&[u8]]) -> Result<Pid, (NotStarted, Option<Pid>)> {
        release_parked();
        let task = Box::into_raw(Box::new(Task::new(self, said)));
        // CLONE_VFORK holds this process until the child has exec'd or exited. With other ids that would put this
        // process at the mercy of a user who sends the child SIGSTOP, so the kernel is asked to tell instead.
        let until = if self.ids.is_some() { libc::CLONE_CHILD_CLEARTID } else { libc::CLONE_VFORK };
        // SAFETY: the task came from a box just now; either CLONE_VFORK holds this process, or the task is freed only
        // when the kernel has cleared `busy`.
        let pid = unsafe { make_child(task, until) };
        // SAFETY: the atomic is part of the live task.
        let left = pid.is_err() || self.ids.is_none() || wait_until_zero(unsafe { &(*task).busy }, PATIENCE);
        let pid = match pid {
            Ok(pid) if !left => {
                park(task);
                return Ok(pid);
            }
            pid => pid,
        };
        // SAFETY: no child uses the task any more; the pointer came from a box.
        let task = unsafe { Box::from_raw(task) };
        let pid = pid.map_err(|e| (NotStarted::Fork(e), None))?;
        let (error, stage) = (task.error.load(Ordering::SeqCst), task.stage.load(Ordering::SeqCst));
        recycle(task);
        if error == 0 {
            return Ok(pid);
        }
        let error = io::Error::from_raw_os_error(error);
        let why = match stage {
            STAGE_EXEC => NotStarted::Exec(error),
            STAGE_IDS => NotStarted::Ids(error),
            _ => NotStarted::Arrange(error),
        };
        Err((why, Some(pid)))
    }

    /// Becomes the program. Returns only the error that prevented it.
    pub fn exec(&self) -> io::Error {
        let task = Task::new(self, &[]);
        // SAFETY: the task's pointers are live; this process has one thread and becomes the program.
        let code = unsafe { arrange_and_exec(&task) };
        io::Error::from_raw_os_error(code)
    }
}

/// What kept a program from being started.
#[derive(Debug)]
pub enum NotStarted {
    /// There could be no new process.
    Fork(io::Error),
    /// Descriptors or the directory could not be put into place.
    Arrange(io::Error),
    /// The user and group could not be taken on.
    Ids(io::Error),
    /// The program could not be executed.
    Exec(io::Error),
}

impl NotStarted {
    /// What the system said, whatever it was about.
    pub fn into_error(self) -> io::Error {
        match self {
            NotStarted::Fork(e) | NotStarted::Arrange(e) | NotStarted::Ids(e) | NotStarted::Exec(e) => e,
        }
    }
}

/// Where programs are looked for when PATH is not set.
const SYSTEM_PATH: &[u8] = b"/bin:/usr/bin";
/// How long a child with other ids may take from clone to exec before its parent goes on without knowing.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(250);
unsafe extern "C" {
    /// The environment, which no program of the house changes.
    static environ: *const *const c_char;
}

/// Room for the few frames between clone and exec.
const STACK_BYTES: usize = 16384;
const STAGE_IDS: c_int = 1;
const STAGE_EXEC: c_int = 2;

/// All that a child reads and writes between clone and exec, in one place that can outlive the call that started it.
struct Task {
    program: Program,
    argv: Vec<*const c_char>,
    /// `None`: this process's own.
    envp: Option<Vec<*const c_char>>,
    above: RawFd,
    said: Vec<Vec<u8>>,
    /// What the child ends with if it does not become the program.
    failed: crate::Exit,
    stack: Vec<u8>,
    /// Not 0 while the child uses this; the kernel clears it (CLONE_CHILD_CLEARTID).
    busy: AtomicI32,
    error: AtomicI32,
    stage: AtomicI32,
}

impl Task {
    fn new(program: &Program, said: &[&[u8]]) -> Task {
        let program = program.clone();
        // Descriptors that a later dup2 would overwrite are moved out of the way first.
        let highest = program.fds.iter().flat_map(|&(t, f)| [t, f]).max().unwrap_or(0).max(2);
        Task {
            argv: pointers(&program.argv),
            envp: program.env.as_ref().map(|env| pointers(env.list())),
            program,
            above: highest + 1,
            said: said.iter().map(|s| s.to_vec()).collect(),
            failed: crate::Exit::TEMPORARY,
            stack: SPARE_STACK.lock().ok().and_then(|mut s| s.take()).unwrap_or_else(|| vec![0; STACK_BYTES]),
            busy: AtomicI32::new(1),
            error: AtomicI32::new(0),
            stage: AtomicI32::new(0),
        }
    }

    fn stack_top(&mut self) -> *mut u8 {
        let base = self.stack.as_mut_ptr();
        base.wrapping_add(STACK_BYTES - (base as usize + STACK_BYTES) % 16)
    }
}

/// The stack of the last child, for the next one: a spawner need not map and unmap one each time.
static SPARE_STACK: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Frees a task that no child uses, all but its stack.
fn recycle(mut task: Box<Task>) {
    if let Ok(mut spare) = SPARE_STACK.lock() {
        *spare = Some(std::mem::take(&mut task.stack));
    }
}

/// A task whose child was not seen to leave it.
struct Parked(*mut Task);

// SAFETY: the pointer is only an address of heap memory that nobody but the list and one child knows.
unsafe impl Send for Parked {}

static PARKED: Mutex<Vec<Parked>> = Mutex::new(Vec::new());

fn park(task: *mut Task) {
    if let Ok(mut list) = PARKED.lock() {
        list.push(Parked(task));
    }
}

/// Frees the tasks that their children have left meanwhile.
fn release_parked() {
    if let Ok(mut list) = PARKED.lock() {
        list.retain(|parked| {
            // SAFETY: a parked task is live until it is freed here.
            if unsafe { (*parked.0).busy.load(Ordering::SeqCst) } != 0 {
                return true;
            }
            // SAFETY: the pointer came from a box, its child has left it, and the list forgets it now.
            recycle(unsafe { Box::from_raw(parked.0) });
            false
        });
    }
}

/// Waits until `word` is 0, but no longer than `limit`; says whether it is.
fn wait_until_zero(word: &AtomicI32, limit: std::time::Duration) -> bool {
    let end = std::time::Instant::now() + limit;
    loop {
        let now = word.load(Ordering::SeqCst);
        if now == 0 {
            return true;
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return false;
        }
        let left = libc::timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        // SAFETY: the word and the timespec live through the call; futex only looks at them.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, now, &left) };
    }
}

/// Makes the child that becomes the task's program. With CLONE_CHILD_CLEARTID in `until` the kernel clears the task's `busy`
/// when the child has no more use for it; with CLONE_VFORK it has none when this returns.
///
/// # Safety
/// The task is live, and stays so until the child has no more use for it.
unsafe fn make_child(task: *mut Task, until: c_int) -> io::Result<Pid> {
    // SAFETY: no child uses the task yet.
    let (top, busy) = unsafe { ((*task).stack_top(), (*task).busy.as_ptr()) };
    let (no_tid, no_tls) = (std::ptr::null_mut::<libc::pid_t>(), std::ptr::null_mut::<c_void>());
    let flags = libc::CLONE_VM | until | libc::SIGCHLD;
    let before = block_all();
    // SAFETY: the child runs `child` on the task's own stack with all signals blocked.
    let pid = unsafe { libc::clone(child, top.cast(), flags, task.cast::<c_void>(), no_tid, no_tls, busy) };
    let pid = crate::fd::check(pid);
    restore(&before);
    pid.map(Pid)
}

extern "C" fn child(task: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a pointer to a live task; shared access only, what changes in it is atomic.
    let task = unsafe { &*task.cast::<Task>() };
    say(&task.said);
    // SAFETY: this runs in the child made by `launch`, with all signals blocked.
    let error = unsafe { arrange_and_exec(task) };
    task.error.store(error, Ordering::SeqCst);
    // SAFETY: _exit ends the child without touching the memory it shares with its parent.
    unsafe { libc::_exit(c_int::from(task.failed.0)) }
}

/// Writes the pieces with this process's id between them. Like `arrange_and_exec` without any allocation.
fn say(pieces: &[Vec<u8>]) {
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
        for part in [if i == 0 { &[] } else { pid }, piece.as_slice()] {
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
/// The pointers of the task are live, and the caller is about to become another program.
unsafe fn arrange_and_exec(task: &Task) -> c_int {
    let p = &task.program;
    // SAFETY: plain system calls on descriptors, ids and signals of a process that is about to exec; the strings are
    // NUL-ended and live.
    unsafe {
        let mut moved = [(0, 0); 16];
        let mut n = 0;
        for &(to, from) in &p.fds {
            let Some(place) = moved.get_mut(n) else { return libc::EMFILE };
            let in_the_way = from != to && p.fds.iter().any(|&(t, _)| t == from);
            let safe = if in_the_way { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, task.above) } else { from };
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
        if let Some(dir) = &p.dir
            && libc::chdir(dir.as_ptr()) == -1
        {
            return *libc::__errno_location();
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
        // Last of all: from here on the new user may send signals to this process.
        task.stage.store(STAGE_IDS, Ordering::SeqCst);
        if let Some((Uid(uid), Gid(gid))) = p.ids {
            // The raw calls: the C library's wrappers keep books about threads in memory that is not ours to change.
            if libc::syscall(libc::SYS_setgroups, 1usize, &gid) == -1
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
            {
                return *libc::__errno_location();
            }
        }
        if p.ends_with_parent {
            // Taking on an identity would have forgotten it.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong);
        }
        task.stage.store(STAGE_EXEC, Ordering::SeqCst);
        let envp = task.envp.as_ref().map_or(environ, |e| e.as_ptr());
        libc::execve(p.file.as_ptr(), task.argv.as_ptr(), envp);
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
    fn a_program_started_ahead_tells_by_its_end_if_it_failed() {
        let (r, w) = crate::fd::pipe().unwrap();
        let p = Program::new(b"/bin/sh", &[b"sh", b"-c", b"echo here >&3; exit 7"]).unwrap();
        let pid = p.fd(3, w.as_raw_fd()).start_ahead(crate::Exit(9)).unwrap();
        // The pipe may be closed here while the child is still on its way.
        drop(w);
        let mut out = String::new();
        std::fs::File::from(r).read_to_string(&mut out).unwrap();
        assert_eq!((out.as_str(), wait(pid).unwrap()), ("here\n", Ended::Exit(7)));
        let missing = Program::new(b"/nonexistent/x", &[b"x"]).unwrap();
        let pid = missing.start_ahead(crate::Exit(9)).unwrap();
        assert_eq!(wait(pid).unwrap(), Ended::Exit(9));
    }

    #[test]
    fn the_child_says_its_id_and_a_failed_one_is_handed_back() {
        let said: &[&[u8]] = &[b"", b" is my id; again: ", b"\n"];
        let (error, child) = Program::new(b"/nonexistent/x", &[b"x"]).unwrap().start_saying(said).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(wait(child.unwrap()).unwrap(), Ended::Exit(111));
    }

    #[test]
    fn the_reason_for_not_starting_is_told() {
        let start = |p: Program| p.try_start().unwrap_err();
        let missing = Program::new(b"/nonexistent/x", &[b"x"]).unwrap();
        assert!(matches!(start(missing.clone()), NotStarted::Exec(_)));
        assert!(matches!(start(missing.clone().fd(0, 9999)), NotStarted::Arrange(_)));
        assert!(matches!(start(missing.clone().dir(b"/nonexistent").unwrap()), NotStarted::Arrange(_)));
        if crate::process::euid() == Uid(0) {
            assert!(matches!(start(missing.ids(Uid(12345), Gid(12345))), NotStarted::Exec(_)));
        } else {
            assert!(matches!(start(missing.ids(Uid(0), Gid(0))), NotStarted::Ids(_)));
        }
    }

    #[test]
    fn ids_are_taken_on() {
        if crate::process::euid() != Uid(0) {
            return;
        }
        let (r, w) = crate::fd::pipe().unwrap();
        let p = Program::new(b"/bin/sh", &[b"sh", b"-c", b"id -u; id -g; id -G"]).unwrap();
        let pid = p.fd(1, w.as_raw_fd()).ids(Uid(12345), Gid(23456)).start().unwrap();
        drop(w);
        let mut out = String::new();
        std::fs::File::from(r).read_to_string(&mut out).unwrap();
        assert_eq!(out, "12345\n23456\n23456\n");
        assert_eq!(wait(pid).unwrap(), Ended::Exit(0));
        assert!(PARKED.lock().unwrap().is_empty());
    }

    #[test]
    fn waiting_for_a_stopped_child_has_a_limit() {
        let word = AtomicI32::new(1);
        assert!(!wait_until_zero(&word, std::time::Duration::from_millis(1)));
        word.store(0, Ordering::SeqCst);
        assert!(wait_until_zero(&word, PATIENCE));
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
