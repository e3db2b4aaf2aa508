//! Waiting for descriptors, and streams with a time limit.

use crate::fd::Fd;
use crate::{rest, signal};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// What to wait for on one descriptor, and afterwards whether it came (errors and hang-ups count as ready).
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    /// The descriptor; a negative number is skipped.
    pub fd: RawFd,
    /// Wait until reading does not block.
    pub read: bool,
    /// Wait until writing does not block.
    pub write: bool,
    /// Set by [`wait`]: reading will not block.
    pub readable: bool,
    /// Set by [`wait`]: writing will not block.
    pub writable: bool,
}

impl Interest {
    /// Wait for input.
    pub fn read(fd: RawFd) -> Interest {
        Interest { fd, read: true, write: false, readable: false, writable: false }
    }

    /// Wait for room to write.
    pub fn write(fd: RawFd) -> Interest {
        Interest { fd, read: false, write: true, readable: false, writable: false }
    }
}

/// Waits until a descriptor is ready, the time is up (`None`: no limit), or a caught signal arrived; returns how many
/// are ready. Signals blocked by [`crate::signal::catch`] are let in only while this waits, so none is missed. A program
/// for which nothing comes for a while rests (lib/sys/src/rest.rs).
pub fn wait(list: &mut [Interest], limit: Option<Duration>) -> io::Result<usize> {
    let mut fds = Vec::with_capacity(list.len());
    for i in list.iter_mut() {
        i.readable = false;
        i.writable = false;
        let mut events = 0;
        if i.read {
            events |= libc::POLLIN;
        }
        if i.write {
            events |= libc::POLLOUT;
        }
        fds.push(libc::pollfd { fd: i.fd, events, revents: 0 });
    }
    let mask = crate::signal::mask_while_waiting();
    // Without a mask of its own the call leaves the present one in force.
    let mask = mask.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let long = limit.is_none_or(|l| l > rest::PATIENCE);
    let first = if long { Some(rest::PATIENCE) } else { limit };
    let spec = first.map(timespec);
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array holds `len` pollfds, the timespec and the mask live through the call.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, spec, mask) };
    let mut n = usize::try_from(n).map_err(|_| io::Error::last_os_error());
    if long && matches!(n, Ok(0)) {
        let mut left = limit.map(|l| timespec(l.saturating_sub(rest::PATIENCE)));
        // SAFETY: the mask lives through the call.
        n = unsafe { rest::wait(&mut fds, left.as_mut(), mask) };
    }
    let n = match n {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(0),
        n => n?,
    };
    let bad = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
    for (i, p) in list.iter_mut().zip(&fds) {
        i.readable = i.read && p.revents & (libc::POLLIN | bad) != 0;
        i.writable = i.write && p.revents & (libc::POLLOUT | bad) != 0;
    }
    Ok(n)
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos()),
    }
}

/// Waits for one descriptor; `Err(TimedOut)` when the time is up.
fn wait_one(mut interest: Interest, limit: Duration) -> io::Result<()> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if wait(std::slice::from_mut(&mut interest), Some(left))? > 0 {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// A descriptor read and written with a time limit for each operation; `ErrorKind::TimedOut` when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    fd: Fd,
    /// The limit for one read or write.
    pub limit: Duration,
}

impl Timed {
    /// Descriptor `fd` with `limit` seconds for each operation.
    pub fn new(fd: RawFd, seconds: u64) -> Timed {
        Timed { fd: Fd(fd), limit: Duration::from_secs(seconds) }
    }
}

/// A descriptor that a resident program reads its requests from, and nothing else: it waits in the read itself, which
/// costs a busy program no call more than the read, and still rests (lib/sys/src/rest.rs) when nothing comes for a while.
///
/// SIGALRM tells when: it comes again and again while there are requests, so that none which comes just before a read is
/// waited for in vain. To other system calls of the program it is EINTR.
#[derive(Debug)]
pub struct Requests {
    fd: Fd,
    /// SIGALRM comes.
    ticking: bool,
    /// Something was read since it came.
    busy: bool,
}

impl Requests {
    /// Reads from descriptor `fd`. From now on SIGALRM is this one's.
    pub fn new(fd: RawFd) -> io::Result<Requests> {
        signal::catch_interrupting(signal::SIGALRM)?;
        Ok(Requests { fd: Fd(fd), ticking: false, busy: false })
    }

    fn tick(&mut self, ticking: bool) {
        if self.ticking != ticking {
            signal::alarm_every(if ticking { rest::PATIENCE } else { Duration::ZERO });
            self.ticking = ticking;
        }
    }
}

impl Read for Requests {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.tick(true);
            match self.fd.read_once(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.busy = true;
                    return done;
                }
            }
            if signal::take(signal::SIGALRM) && !std::mem::take(&mut self.busy) {
                self.tick(false);
                rest::wait_to_read(self.fd.0)?;
            }
        }
    }
}

impl AsRawFd for Timed {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.0
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait_one(Interest::read(self.fd.0), self.limit)?;
        self.fd.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        wait_one(Interest::write(self.fd.0), self.limit)?;
        self.fd.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
