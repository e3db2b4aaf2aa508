//! Giving memory back while there is nothing to do.
//!
//! A resident program sleeps nearly all its life, and what it has mapped meanwhile is memory that no other can have. So who
//! has waited for [`PATIENCE`] in vain rests: the pages of its code and constants, which the file still has, go back to the
//! system. They return by page faults when there is something to do, 16 at a time and as a rule without a look at the
//! disk. Who is kept busy never gets here.
//!
//! The kernel returns whole neighbourhoods, and the first page fault comes before the wait even begins: the code that
//! waits must be there. So the page that holds it becomes a mapping of its own, and that one page is all that returns.
//!
//! A breakpoint that a debugger has written into the code is lost.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// How long a wait lasts before the program rests: so long that the page faults afterwards, 20 to 50 µs, are nothing beside
/// it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Rests until reading from `fd` does not block, or a signal arrives.
pub(crate) fn wait_to_read(fd: RawFd) -> io::Result<()> {
    let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    // SAFETY: there is no mask.
    match unsafe { wait(&mut fds, None, std::ptr::null()) } {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use here::wait;

/// Where nobody has written the system calls down, nobody rests.
///
/// # Safety
/// `mask` is null or a signal set.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) unsafe fn wait(
    fds: &mut [libc::pollfd],
    limit: Option<&mut libc::timespec>,
    mask: *const libc::sigset_t,
) -> io::Result<usize> {
    let limit = limit.map_or(std::ptr::null(), |l| std::ptr::from_ref(l));
    // SAFETY: the caller promises a mask that is one or null; the rest are references.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit, mask) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod here {
    use std::io;
    use std::ops::Range;
    use std::ptr::{from_mut, null_mut};

    /// No more code than this is needed for the wait (bytes): [`give_back_and_wait`] has less.
    const WAITING_CODE: usize = 256;
    /// The kernel's signal set (bytes).
    const SIGSET_BYTES: usize = 8;
    /// Linkers make up to three segments that are not written; one place more is for the page that waits.
    const PLACES: usize = 8;

    /// What madvise(2) is asked.
    #[derive(Clone, Copy)]
    struct Advice {
        start: usize,
        bytes: usize,
        what: libc::c_int,
    }

    /// Gives back what can be had again, then waits as ppoll(2) does.
    ///
    /// # Safety
    /// `mask` is null or a signal set.
    pub(crate) unsafe fn wait(
        fds: &mut [libc::pollfd],
        limit: Option<&mut libc::timespec>,
        mask: *const libc::sigset_t,
    ) -> io::Result<usize> {
        // SAFETY: sysconf only tells.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
        let mut advices = [Advice { start: 0, bytes: 0, what: libc::MADV_DONTNEED }; PLACES];
        let used = if page.is_power_of_two() { advise(&mut advices, page) } else { 0 };
        let advices = advices.get(..used).unwrap_or_default();
        let limit = limit.map_or(null_mut(), from_mut);
        // SAFETY: the places are those of `advise`; the array is `fds`, the limit is one or null, and so is the mask, as
        // the caller promises.
        let n = unsafe { give_back_and_wait(advices, fds.as_mut_ptr(), fds.len(), limit, mask) };
        usize::try_from(n).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-n).unwrap_or(libc::EINVAL)))
    }

    /// Finds what may go: the program's segments that are never written, code and constants, whose contents the file has.
    /// The page with the code that waits gets a mapping of its own before. Says how many places of the list are in use.
    fn advise(list: &mut [Advice; PLACES], page: usize) -> usize {
        let whole = |place: Range<usize>| (place.start & !(page - 1), place.end.next_multiple_of(page));
        let waiting = give_back_and_wait as *const () as usize;
        let mut used = 1;
        let [own, others @ ..] = list;
        for (segment, advice) in segments().zip(others) {
            let (start, end) = whole(segment.clone());
            (advice.start, advice.bytes) = (start, end - start);
            used += 1;
            if segment.contains(&waiting) {
                let (start, end) = whole(waiting..segment.end.min(waiting + WAITING_CODE));
                *own = Advice { start, bytes: end - start, what: libc::MADV_RANDOM };
            }
        }
        used
    }

    /// The segments of this program that are mapped from its file and not written.
    fn segments() -> impl Iterator<Item = Range<usize>> {
        unsafe extern "C" {
            /// The linker's name for the beginning of the file, where its first segment has it.
            static __ehdr_start: libc::Elf64_Ehdr;
        }
        let base = &raw const __ehdr_start;
        // SAFETY: the linker defines it, as part of the first segment, which is mapped and not written.
        let header = unsafe { &*base };
        // SAFETY: the program headers are in the same segment, at the distance from the file's header that it tells.
        let first = unsafe { base.byte_add(usize::try_from(header.e_phoff).unwrap_or(0)) };
        // SAFETY: there are so many, in a row, for the kernel has read them to map this program.
        let all = unsafe { std::slice::from_raw_parts(first.cast::<libc::Elf64_Phdr>(), usize::from(header.e_phnum)) };
        let number = |n: u64| usize::try_from(n).unwrap_or(0);
        let loaded = all.iter().filter(|s| s.p_type == libc::PT_LOAD);
        // The first segment begins with the file. How far the whole program lies from where it was linked to.
        let moved = (base as usize).wrapping_sub(loaded.clone().next().map_or(0, |s| number(s.p_vaddr)));
        loaded.filter(|s| s.p_flags & libc::PF_W == 0).map(move |s| {
            let start = moved.wrapping_add(number(s.p_vaddr));
            start..start + number(s.p_filesz)
        })
    }

    /// Asks for the advices, and waits. From the last advice to the end of the wait nothing is needed but this function's
    /// code, its arguments and the stack. Refused advice leaves all as it is.
    ///
    /// # Safety
    /// The contents of all places come back by themselves; what ppoll(2) is given lives through the call.
    #[inline(never)]
    unsafe fn give_back_and_wait(
        advices: &[Advice],
        fds: *mut libc::pollfd,
        count: usize,
        limit: *mut libc::timespec,
        mask: *const libc::sigset_t,
    ) -> isize {
        for a in advices {
            // SAFETY: the caller promises it.
            unsafe { system_call(libc::SYS_madvise, [a.start, a.bytes, a.what as usize, 0, 0]) };
        }
        let poll = [fds as usize, count, limit as usize, mask as usize, SIGSET_BYTES];
        // SAFETY: the caller promises it.
        unsafe { system_call(libc::SYS_ppoll, poll) }
    }

    /// The system call itself: the C library's function would be elsewhere. The negative of an error number is an error.
    ///
    /// # Safety
    /// As for the call.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn system_call(number: libc::c_long, [a, b, c, d, e]: [usize; 5]) -> isize {
        let result;
        // SAFETY: the kernel's convention: it keeps all registers but these. The caller answers for the call.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
                in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _);
        }
        result
    }

    /// The same.
    ///
    /// # Safety
    /// As for the call.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    unsafe fn system_call(number: libc::c_long, [a, b, c, d, e]: [usize; 5]) -> isize {
        let result;
        // SAFETY: the kernel's convention: it keeps all registers but these. The caller answers for the call.
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c,
                in("x3") d, in("x4") e);
        }
        result
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::poll::Interest;
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::time::Duration;

        /// What /proc says of the mapping that holds the code that waits.
        fn mapping() -> String {
            let waiting = give_back_and_wait as *const () as usize;
            let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut parts = all.split_inclusive("VmFlags:");
            let whole = |part: &str, flags: &str| format!("{part}{}", flags.lines().next().unwrap_or_default());
            let found = parts.clone().zip(parts.by_ref().skip(1)).find(|(part, _)| {
                let head = part.lines().find(|l| l.contains("-") && l.contains(" r-xp "));
                let (start, end) = head.and_then(|h| h.split_once(' ')?.0.split_once('-')).unwrap_or(("0", "0"));
                let number = |n| usize::from_str_radix(n, 16).unwrap();
                (number(start)..number(end)).contains(&waiting)
            });
            found.map(|(part, flags)| whole(part, flags)).unwrap()
        }

        #[test]
        fn a_rested_program_goes_on() {
            let (reading, mut writing) = std::io::pipe().unwrap();
            let mut list = [Interest::read(reading.as_raw_fd())];
            assert!(!mapping().contains(" rr "), "{}", mapping());
            for byte in [b'a', b'b'] {
                let long = crate::rest::PATIENCE + Duration::from_millis(10);
                assert_eq!(crate::poll::wait(&mut list, Some(long)).unwrap(), 0);
                assert!(mapping().contains(" rr "), "{}", mapping());
                let later = std::thread::spawn(move || {
                    std::thread::sleep(long);
                    writing.write_all(&[byte]).unwrap();
                    writing
                });
                assert_eq!(crate::poll::wait(&mut list, None).unwrap(), 1);
                assert!(list[0].readable);
                writing = later.join().unwrap();
                std::io::Read::read_exact(&mut &reading, &mut [0]).unwrap();
            }
        }

        #[test]
        fn what_goes_is_code_and_constants() {
            let has = |place: usize| segments().any(|s| s.contains(&place));
            static WRITTEN: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
            let local = 0;
            assert!(has(give_back_and_wait as *const () as usize) && has(b"text".as_ptr() as usize));
            assert!(!has(WRITTEN.as_ptr() as usize) && !has(&raw const local as usize));
        }
    }
}
