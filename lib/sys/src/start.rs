//! The way into a program: an own C-style `main` instead of the standard library's.
//!
//! The standard library's start-up would open /dev/null on descriptors 0 to 2 that are closed, ignore SIGPIPE, and
//! spend system calls on handlers that one-shot programs never need (spec/reliability.md 4.3). With [`program!`] a
//! program starts as a C program does: closed descriptors stay closed and signals stay as the parent left them.

use crate::Exit;
use std::ffi::{CStr, c_char, c_int};
use std::io::Write;

/// The arguments after argv[0]; they live as long as the process.
pub type Args = Vec<&'static [u8]>;

/// Makes `fn run(args: sys::start::Args) -> sys::Exit` the entry point of this program.
///
/// The source file needs `#![cfg_attr(not(test), no_main)]` at its top.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        #[cfg(not(test))]
        #[allow(unsafe_code)]
        #[global_allocator]
        // SAFETY: a section for what is 0 at the start; package/compile gives it its place.
        #[unsafe(link_section = ".bss.room")]
        static MEMORY: $crate::memory::Room = $crate::memory::Room::new();

        #[cfg(not(test))]
        #[allow(unsafe_code)]
        // SAFETY: the C runtime calls the one `main` of the program, with its argc and argv.
        #[unsafe(no_mangle)]
        extern "C" fn main(argc: core::ffi::c_int, argv: *const *const core::ffi::c_char) -> core::ffi::c_int {
            // SAFETY: argc and argv come straight from the C runtime, before anything else runs.
            unsafe { $crate::start::enter(argc, argv, $run) }
        }

        // In a test build nothing else refers to it, and all that it calls would be dead code.
        #[cfg(test)]
        const _: fn($crate::start::Args) -> $crate::Exit = $run;
    };
}

static mut ARGV0: &[u8] = b"";

/// argv[0] as the program was called, without directories.
pub fn program_name() -> &'static [u8] {
    // SAFETY: written once by `enter` before anything else runs, only read afterwards, and there are no threads.
    let name = unsafe { ARGV0 };
    name.rsplit(|&b| b == b'/').next().unwrap_or(name)
}

static mut WITHOUT_MEMORY: &[u8] = b"";

/// From now on the end of memory is reported by `record` on fd 1 and exit code 0, as is the way of a program whose caller
/// reads records; else it is an abort. Where the standard library's last words are in place it is an abort all the same.
pub fn report_without_memory(record: &'static [u8]) {
    // SAFETY: only `quoll_out_of_memory` reads it, and there are no threads.
    unsafe { WITHOUT_MEMORY = record };
}

/// Called by [`program!`] only.
///
/// # Safety
/// `argv` holds `argc` pointers to NUL-ended strings that live as long as the process, and nothing has run before.
#[doc(hidden)]
pub unsafe fn enter(argc: c_int, argv: *const *const c_char, run: fn(Args) -> Exit) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let mut args = Args::with_capacity(count);
    for i in 0..count {
        // SAFETY: the caller promises it; see above.
        let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
        args.push(arg.to_bytes());
    }
    if !args.is_empty() {
        let name = args.remove(0);
        // SAFETY: the first thing the only thread does; see `program_name`.
        unsafe { ARGV0 = name };
    }
    if crate::process::is_privileged_beyond_caller() {
        keep_closed_unreadable();
    }
    std::panic::set_hook(Box::new(report_bug));
    let code = run(args).0;
    c_int::from(code)
}

/// Makes reading from 0 or 1 fail if the caller of a set-id program had closed it.
///
/// The C library opens closed ones before anything of ours runs, so that they never come to name a file of ours. glibc
/// does it in a way that makes reading 0 fail; musl opens /dev/null for reading and writing, which would make no
/// message an empty one. Its mark is just that, so it gets /dev/null for writing only instead.
fn keep_closed_unreadable() {
    for n in 0..=1 {
        // SAFETY: F_GETFL only reads flags.
        let flags = unsafe { libc::fcntl(n, libc::F_GETFL) };
        if flags == -1 || flags & libc::O_ACCMODE != libc::O_RDWR || !is_null(n) {
            continue;
        }
        // SAFETY: the name is NUL-ended; the number is checked below.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        if null == -1 || crate::fd::copy(n, null).is_err() {
            // Then as the caller had it.
            crate::fd::close(n);
        }
        if null != -1 {
            crate::fd::close(null);
        }
    }
}

/// Whether descriptor `n` is /dev/null (character device 1, 3).
fn is_null(n: c_int) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let null = libc::makedev(1, 3);
    crate::fd::Fd(n).metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == null)
}

/// A panic is a bug: one line on fd 2, no backtrace whatever the environment says; then the process aborts, which
/// every parent in the system takes for a temporary failure.
fn report_bug(info: &std::panic::PanicHookInfo<'_>) {
    report_bug_at(info.location());
}

fn report_bug_at(place: Option<&std::panic::Location<'_>>) {
    let place = place.map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
    crate::error::complain(&[b"fatal: internal bug at ", place.as_bytes()]);
}

/// What lib/sys/last-words.rs calls on a panic where it stands in for the standard library's.
#[unsafe(no_mangle)]
fn quoll_panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    report_bug_at(info.location());
    std::process::abort()
}

/// The same when there is no more memory; so none is asked for here.
#[unsafe(no_mangle)]
fn quoll_out_of_memory() -> ! {
    let mut line = [0; 160];
    let room = line.len();
    let mut rest = &mut line[..];
    // A name too long for the line is cut.
    let _ = rest.write_all(program_name()).and_then(|()| rest.write_all(b": fatal: out of memory\n"));
    let used = room - rest.len();
    let _ = crate::fd::write_all(2, line.get(..used).unwrap_or_default());
    // SAFETY: written by `report_without_memory`, of the only thread.
    let record = unsafe { WITHOUT_MEMORY };
    if !record.is_empty() && crate::fd::write_all(1, record).is_ok() {
        crate::process::exit_now(Exit::OK);
    }
    std::process::abort()
}
