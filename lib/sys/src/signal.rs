//! Signals: flags that a main loop looks at. No handler does more than set one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use libc::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGXFSZ};

/// Bit n: signal n arrived and was not taken yet.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// Bit n: `catch` was called for signal n.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(signal: libc::c_int) {
    ARRIVED.fetch_or(1 << (signal & 63), Ordering::SeqCst);
}

fn install(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction (no flags, empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `action` is complete; the handlers used here are async-signal-safe.
    crate::fd::check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) })?;
    Ok(())
}

fn change_mask(how: libc::c_int, signal: Option<libc::c_int>) {
    // SAFETY: all-zero is a valid place for a signal set, sigemptyset then makes it a proper one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place.
    unsafe { libc::sigemptyset(&mut set) };
    if let Some(s) = signal {
        // SAFETY: `set` was initialised.
        unsafe { libc::sigaddset(&mut set, s) };
    }
    // SAFETY: the set was initialised; there are no threads.
    unsafe { libc::sigprocmask(how, &set, std::ptr::null_mut()) };
}

/// From now on `signal` only sets a flag for [`take`]. It is blocked but while [`crate::poll::wait`] waits, so a main
/// loop that looks at the flags before it waits misses none.
pub fn catch(signal: libc::c_int) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, Some(signal));
    install(signal, note as *const () as libc::sighandler_t, 0)?;
    CAUGHT.fetch_or(1 << (signal & 63), Ordering::SeqCst);
    Ok(())
}

/// Like [`catch`], but the signal is not blocked: it interrupts a system call that waits (EINTR).
pub fn catch_interrupting(signal: libc::c_int) -> io::Result<()> {
    install(signal, note as *const () as libc::sighandler_t, 0)?;
    CAUGHT.fetch_or(1 << (signal & 63), Ordering::SeqCst);
    change_mask(libc::SIG_UNBLOCK, Some(signal));
    Ok(())
}

/// Whether `signal` arrived since the last call.
pub fn take(signal: libc::c_int) -> bool {
    let bit = 1 << (signal & 63);
    ARRIVED.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// Ignores `signal`.
pub fn ignore(signal: libc::c_int) {
    // Only an invalid signal number can fail.
    let _ = install(signal, libc::SIG_IGN, 0);
}

/// Gives `signal` its default action.
pub fn default(signal: libc::c_int) {
    // Only an invalid signal number can fail.
    let _ = install(signal, libc::SIG_DFL, 0);
}

/// Unblocks everything: a blocked mask may have been inherited from whoever started this program.
pub fn unblock_all() {
    change_mask(libc::SIG_SETMASK, None);
}

/// Ends the process with `code` when `seconds` are over, whatever it is doing. 0 cancels.
pub fn exit_after(seconds: u32, code: u8) {
    static CODE: AtomicU64 = AtomicU64::new(0);
    extern "C" fn die(_: libc::c_int) {
        // SAFETY: _exit is async-signal-safe and ends the process without touching its state.
        unsafe { libc::_exit(CODE.load(Ordering::SeqCst) as libc::c_int) }
    }
    CODE.store(u64::from(code), Ordering::SeqCst);
    let _ = install(SIGALRM, die as *const () as libc::sighandler_t, 0);
    change_mask(libc::SIG_UNBLOCK, Some(SIGALRM));
    alarm(seconds);
}

/// Sends SIGALRM to this process in `seconds`; 0 cancels.
pub fn alarm(seconds: u32) {
    // SAFETY: alarm only sets a timer.
    unsafe { libc::alarm(seconds) };
}

/// Sends SIGALRM to this process in `seconds` and then every second; [`alarm`] with 0 cancels.
pub fn alarm_repeating(seconds: u32) {
    let after = |s: libc::time_t| libc::timeval { tv_sec: s, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: after(1), it_value: after(libc::time_t::from(seconds)) };
    // SAFETY: `timer` is complete; the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// Sends SIGALRM to this process after each such time, until it is told anew; zero: no more.
pub fn alarm_every(time: Duration) {
    let time = libc::timeval {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(time.subsec_micros()),
    };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: `timer` is complete; the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// The mask in force while waiting: the present one without the caught signals; `None` if none was ever caught, which
/// spares most programs a system call for each wait.
pub(crate) fn mask_while_waiting() -> Option<libc::sigset_t> {
    let caught = CAUGHT.load(Ordering::SeqCst);
    if caught == 0 {
        return None;
    }
    // SAFETY: all-zero is a valid place for a signal set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: with a null new set the call only stores the present mask.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut set) };
    for s in 1..32 {
        if caught & (1 << s) != 0 {
            // SAFETY: the set was initialised by sigprocmask.
            unsafe { libc::sigdelset(&mut set, s) };
        }
    }
    Some(set)
}

/// The signals that a child must get back with their default action.
pub(crate) fn caught() -> u64 {
    CAUGHT.load(Ordering::SeqCst)
}
