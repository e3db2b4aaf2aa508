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
