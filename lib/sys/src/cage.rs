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
/// Seeing children end, and being told when they do.
pub const CHILDREN: &[c_long] = &[libc::SYS_wait4, libc::SYS_rt_sigaction];
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
    let mut program = program(architecture, more);
    let list = libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or_default(), filter: program.as_mut_ptr() };
    // SAFETY: the list names a live array of that length, which the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const list) };
}

/// The filter: whoever runs it asks whether the number is below one bound after the other, and halves what is left each
/// time. That is short, and the kernel runs it for every call there is when it is installed.
fn program(architecture: u32, more: &[&[c_long]]) -> Vec<libc::sock_filter> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let verdict = |k| statement(libc::BPF_RET | libc::BPF_K, k, 0, 0);
    let refusal = verdict(libc::SECCOMP_RET_ERRNO | (libc::EPERM as u32 & libc::SECCOMP_RET_DATA));
    let mut calls: Vec<u32> =
        TO_GO_ON.iter().chain(more.iter().copied().flatten()).filter_map(|call| u32::try_from(*call).ok()).collect();
    calls.sort_unstable();
    calls.dedup();
    // Where allowed numbers begin and end, in turns.
    let mut bounds: Vec<u32> = Vec::new();
    for call in calls {
        if bounds.last() == Some(&call) {
            bounds.pop();
        } else {
            bounds.push(call);
        }
        bounds.push(call + 1);
    }
    // seccomp_data: the number at 0, the architecture at 4. Numbers of another one mean other calls.
    let is_ours = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut program = vec![load(4), statement(is_ours, architecture, 1, 0), refusal, load(0)];
    halve(&mut program, &bounds, false, [refusal, verdict(libc::SECCOMP_RET_ALLOW)]);
    program
}

/// Adds the questions about these bounds, of which the first one makes the opposite of `allowed`. A jump is forwards and
/// no longer than 255 statements, so each answer stands where it is found.
fn halve(program: &mut Vec<libc::sock_filter>, bounds: &[u32], allowed: bool, verdicts: [libc::sock_filter; 2]) {
    let middle = bounds.len() / 2;
    let (below, [bound, above @ ..]) = bounds.split_at(middle) else {
        program.push(verdicts[usize::from(allowed)]);
        return;
    };
    let at = program.len();
    program.push(statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, *bound, 0, 0));
    halve(program, below, allowed, verdicts);
    let skipped = program.len() - at - 1;
    if let Some(question) = program.get_mut(at) {
        // Half of a list that has no more than 255 statements in all, see the test.
        question.jt = u8::try_from(skipped).unwrap_or_default();
    }
    halve(program, above, allowed == (middle % 2 == 1), verdicts);
}

fn statement(code: u32, k: u32, jump_true: u8, jump_false: u8) -> libc::sock_filter {
    // These codes all fit.
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: jump_true, jf: jump_false, k }
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

    /// What the kernel makes of a call.
    fn verdict(program: &[libc::sock_filter], architecture: u32, call: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let s = program[at];
            at += 1;
            match u32::from(s.code) {
                c if c == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    loaded = if s.k == 4 { architecture } else { call }
                }
                c if c == libc::BPF_RET | libc::BPF_K => return s.k,
                c => {
                    let jumps = match c & 0xf0 {
                        libc::BPF_JEQ => loaded == s.k,
                        libc::BPF_JGE => loaded >= s.k,
                        _ => panic!("{c:x}"),
                    };
                    at += usize::from(if jumps { s.jt } else { s.jf });
                }
            }
        }
    }

    #[test]
    fn the_filter_allows_what_is_listed_and_nothing_else() {
        let many: Vec<c_long> = (0..60).map(|n| n * 3).collect();
        for more in [&[][..], &[ACCEPT, STAT, CHILDREN], &[&[0, 1, 2, 3, 500, 501]], &[&many]] {
            let program = program(7, more);
            let listed = |call: u32| {
                let mut all = TO_GO_ON.iter().chain(more.iter().copied().flatten());
                all.any(|c| *c == c_long::from(call))
            };
            for call in (0..1000).chain([1 << 30, u32::MAX]) {
                let allowed = verdict(&program, 7, call) == libc::SECCOMP_RET_ALLOW;
                assert_eq!(allowed, listed(call), "{call}");
                assert_ne!(verdict(&program, 8, call), libc::SECCOMP_RET_ALLOW, "{call}");
            }
        }
        assert!(program(7, &[ACCEPT, STAT, CHILDREN]).len() < 128);
    }

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
