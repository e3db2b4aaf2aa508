//! Giving up system calls for good (seccomp): what a program does not need, whoever takes it over shall not have.

use libc::c_long;

/// What every program needs to go on with descriptors that it has: reading, writing, waiting, memory, time, the end.
const TO_GO_ON: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_futex,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Taking connections at a listening socket.
pub const ACCEPT: &[c_long] = &[libc::SYS_accept4];
/// Looking at files from outside: size, owner, times.
pub const STAT: &[c_long] = &[
    libc::SYS_statx,
    libc::SYS_newfstatat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// From now on this process, which must have [no new privileges](crate::process::no_new_privileges), can use only what is
/// needed to go on with the descriptors it has, and the calls in `more`, lists such as [`ACCEPT`]. All others fail with
/// EPERM. Where the kernel does not know how, nothing changes.
pub fn only_to_go_on(more: &[&[c_long]]) {
    let Some(architecture) = ARCHITECTURE else { return };
    let statement = |code: u32, k: u32, jump_false: u8| libc::sock_filter {
        // These codes all fit.
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump_false,
        k,
    };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
    let unless = |value, skip| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip);
    let verdict = |k| statement(libc::BPF_RET | libc::BPF_K, k, 0);
    let refusal = libc::SECCOMP_RET_ERRNO | (libc::EPERM as u32 & libc::SECCOMP_RET_DATA);
    // seccomp_data: the number at 0, the architecture at 4. Numbers of another one mean other calls: then what is loaded
    // in place of the number is the architecture still, which is none.
    let mut program = vec![load(4), unless(architecture, 1), load(0)];
    for call in TO_GO_ON.iter().chain(more.iter().copied().flatten()) {
        program.push(unless(u32::try_from(*call).unwrap_or(u32::MAX), 1));
        program.push(verdict(libc::SECCOMP_RET_ALLOW));
    }
    program.push(verdict(refusal));
    let list = libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or_default(), filter: program.as_mut_ptr() };
    // SAFETY: the list names a live array of that length, which the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const list) };
}

/// As the kernel's audit numbers it; `None`: not known here.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Ended, Fork, exit_now, fork, no_new_privileges, wait};

    #[test]
    fn what_is_not_needed_is_refused() {
        let (r, w) = crate::fd::pipe().unwrap();
        match fork().unwrap() {
            Fork::Child => {
                no_new_privileges();
                only_to_go_on(&[&[libc::SYS_dup]]);
                // Without allocating: the other threads of the test may have held the heap's lock.
                // SAFETY: plain calls with plain arguments.
                let refused = unsafe {
                    let opened = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
                    let forbidden = opened == -1 && *libc::__errno_location() == libc::EPERM;
                    forbidden && libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) == -1 && libc::dup(0) != -1
                };
                let said = crate::fd::write_all(std::os::fd::AsRawFd::as_raw_fd(&w), b"x");
                exit_now(crate::Exit(if refused && said.is_ok() { 0 } else { 1 }));
            }
            Fork::Parent(pid) => assert_eq!(wait(pid).unwrap(), Ended::Exit(0)),
        }
        drop(r);
    }
}
