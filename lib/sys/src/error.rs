//! Texts for system errors, and the one way to write a diagnostic.

use std::io;

/// Writes `program: parts...` and a newline to fd 2 in one write. A failure to complain is nobody's business.
pub fn complain(parts: &[&[u8]]) {
    let mut line = Vec::with_capacity(128);
    line.extend_from_slice(crate::start::program_name());
    line.extend_from_slice(b": ");
    for part in parts {
        line.extend_from_slice(part);
    }
    line.push(b'\n');
    // The line is a last word: there is nowhere to report that it could not be said.
    let _ = crate::fd::write_all(2, &line);
}

/// The classic lower-case text of a system error, as qmail's programs have always printed it.
pub fn text(e: &io::Error) -> &'static str {
    let Some(code) = e.raw_os_error() else {
        return match e.kind() {
            io::ErrorKind::NotFound => "file does not exist",
            io::ErrorKind::TimedOut => "timed out",
            io::ErrorKind::UnexpectedEof => "end of file",
            io::ErrorKind::WriteZero => "device not writable",
            io::ErrorKind::InvalidData => "format error",
            _ => "unknown error",
        };
    };
    match code {
        libc::EINTR => "interrupted system call",
        libc::ENOMEM => "out of memory",
        libc::ENOENT => "file does not exist",
        libc::ETXTBSY => "text busy",
        libc::EIO => "input/output error",
        libc::EEXIST => "file already exists",
        libc::ETIMEDOUT => "timed out",
        libc::EINPROGRESS => "operation in progress",
        libc::EAGAIN => "temporary failure",
        libc::EPIPE => "broken pipe",
        libc::EPERM => "permission denied",
        libc::EACCES => "access denied",
        libc::ENODEV => "device not configured",
        libc::EPROTO => "protocol error",
        libc::EISDIR => "is a directory",
        libc::ESRCH => "no such process",
        libc::E2BIG => "argument list too long",
        libc::ENOEXEC => "exec format error",
        libc::EBADF => "file descriptor not open",
        libc::ECHILD => "no child processes",
        libc::EDEADLK => "operation would cause deadlock",
        libc::EFAULT => "bad address",
        libc::ENOTBLK => "not a block device",
        libc::EBUSY => "device busy",
        libc::EXDEV => "cross-device link",
        libc::ENOTDIR => "not a directory",
        libc::EINVAL => "invalid argument",
        libc::ENFILE => "system cannot open more files",
        libc::EMFILE => "process cannot open more files",
        libc::ENOTTY => "not a tty",
        libc::EFBIG => "file too big",
        libc::ENOSPC => "disk full",
        libc::ESPIPE => "unseekable descriptor",
        libc::EROFS => "file system read-only",
        libc::EMLINK => "too many links",
        libc::EALREADY => "operation already in progress",
        libc::ENOTSOCK => "not a socket",
        libc::EDESTADDRREQ => "destination address required",
        libc::EMSGSIZE => "message too long",
        libc::EPROTOTYPE => "incorrect protocol type",
        libc::ENOPROTOOPT => "protocol not available",
        libc::EPROTONOSUPPORT => "protocol not supported",
        libc::EOPNOTSUPP => "operation not supported",
        libc::EAFNOSUPPORT => "address family not supported by protocol family",
        libc::EADDRINUSE => "address already used",
        libc::EADDRNOTAVAIL => "address not available",
        libc::ENETDOWN => "network down",
        libc::ENETUNREACH => "network unreachable",
        libc::ENETRESET => "network reset",
        libc::ECONNABORTED => "connection aborted",
        libc::ECONNRESET => "connection reset",
        libc::ENOBUFS => "out of buffer space",
        libc::EISCONN => "already connected",
        libc::ENOTCONN => "not connected",
        libc::ECONNREFUSED => "connection refused",
        libc::ELOOP => "symbolic link loop",
        libc::ENAMETOOLONG => "file name too long",
        libc::EHOSTDOWN => "host down",
        libc::EHOSTUNREACH => "host unreachable",
        libc::ENOTEMPTY => "directory not empty",
        libc::EDQUOT => "disk quota exceeded",
        libc::ESTALE => "stale NFS file handle",
        libc::ENOLCK => "no locks available",
        libc::ENOSYS => "system call not available",
        _ => "unknown error",
    }
}

/// Whether this host lacks descriptors or memory: nothing that another address, file or peer could change.
pub fn is_scarcity(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Whether trying again later may help. What is not surely permanent is temporary (spec/reliability.md P5).
pub fn is_temporary(e: &io::Error) -> bool {
    !matches!(
        e.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::ENOTDIR
                | libc::EACCES
                | libc::EPERM
                | libc::EISDIR
                | libc::ENOEXEC
                | libc::E2BIG
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::EINVAL
        )
    )
}
