//! The user database, through the C library and so through the site's name service. Only qmail-getpw and the password
//! checkers may ask it: in a static program the C library may crash on it (spec/dependencies.md 4.2).

use crate::process::{Gid, Uid};
use std::io;

/// An account as the name service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: Vec<u8>,
    /// User id.
    pub uid: Uid,
    /// Primary group id.
    pub gid: Gid,
    /// Home directory.
    pub home: Vec<u8>,
}

/// Looks `name` up; `Ok(None)`: surely no such account, which the name service may say with any of four errors
/// (getpwnam(3)). A name that is not UTF-8 names no account.
pub fn by_name(name: &[u8]) -> io::Result<Option<Account>> {
    use std::os::unix::ffi::OsStringExt;
    let Ok(text) = std::str::from_utf8(name) else { return Ok(None) };
    if text.is_empty() || text.contains('\0') {
        return Ok(None);
    }
    use nix::errno::Errno;
    let found = match nix::unistd::User::from_name(text) {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => None,
        answer => answer?,
    };
    Ok(found.map(|u| Account {
        name: u.name.into_bytes(),
        uid: Uid(u.uid.as_raw()),
        gid: Gid(u.gid.as_raw()),
        home: u.dir.into_os_string().into_vec(),
    }))
}

/// What it takes to log in as somebody.
#[derive(Clone)]
pub struct Login {
    /// The account.
    pub account: Account,
    /// Its shell.
    pub shell: Vec<u8>,
    /// The hash of its password, from shadow(5) if it is there. What is no hash fits no password.
    pub hash: Vec<u8>,
}

/// Looks `name` up with its password; `Ok(None)`: surely no such account. Who is not allowed to read the hash gets the
/// error EACCES.
pub fn login(name: &[u8]) -> io::Result<Option<Login>> {
    let Some(account) = by_name(name)? else { return Ok(None) };
    let Ok(text) = std::str::from_utf8(name) else { return Ok(None) };
    let Some(user) = nix::unistd::User::from_name(text)? else { return Ok(None) };
    let shell = user.shell.into_os_string();
    let shell = std::os::unix::ffi::OsStringExt::into_vec(shell);
    let hash = shadow(text)?.unwrap_or_else(|| user.passwd.into_bytes());
    Ok(Some(Login { account, shell, hash }))
}

/// The hash in shadow(5); `None` if there is no line.
fn shadow(name: &str) -> io::Result<Option<Vec<u8>>> {
    let Ok(name) = std::ffi::CString::new(name) else { return Ok(None) };
    let mut text = vec![0; 16384];
    // SAFETY: all-zero is a valid place for the answer.
    let mut entry: libc::spwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: the name is NUL-ended, and all places live through the call with the lengths given.
    let code = unsafe { libc::getspnam_r(name.as_ptr(), &mut entry, text.as_mut_ptr(), text.len(), &mut found) };
    if found.is_null() || entry.sp_pwdp.is_null() {
        return match code {
            0 | libc::ENOENT | libc::ESRCH => Ok(None),
            code => Err(io::Error::from_raw_os_error(code)),
        };
    }
    // SAFETY: the call has found an entry, whose strings are NUL-ended and lie in `text`.
    let hash = unsafe { std::ffi::CStr::from_ptr(entry.sp_pwdp) };
    Ok(Some(hash.to_bytes().to_vec()))
}
