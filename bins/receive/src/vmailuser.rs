//! qmail-vmailuser: whether an address is one of a virtual mail user.
//!
//! `qmail-vmailuser [homedir] [-C]`, run by qmail-smtpd from a line of control/recipients, with the address and NULs
//! on fd 3; set-uid root, because the homes of others may be closed to qmaild. Looks the domain up in
//! control/virtualdomains below home, and then for a directory of the user as vmailmgr and vpopmail lay them out
//! below homedir (/home). -C: the local part's case counts. Nothing is opened, read or written there.
//!
//! Exit codes: 0 there is such a user; 1 there is none; 2 wrong usage; 111 that could not be found out.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use control::{ConstMap, Controls};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::fd::Fd;
use sys::{Exit, process};

/// Where virtual users live unless told otherwise.
const HOMES: &[u8] = b"/home";
/// What fd 3 may say at most, in bytes: more than any address that qmail-smtpd takes.
const INPUT_MAX: usize = 1024;
/// The program is misused (as checkpassword says it).
const MISUSE: Exit = Exit(2);

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some((homes, keep_case)) = parse(&args) else { return MISUSE };
    let home = conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    let Ok(domains) = Controls::of(&home).list("virtualdomains") else { return Exit::TEMPORARY };
    let domains = ConstMap::of_pairs(&domains.unwrap_or_default());
    let input = match read_address() {
        Ok(Some(input)) => input,
        Ok(None) => return MISUSE,
        Err(_) => return Exit::TEMPORARY,
    };
    let address = input.split(|&b| b == 0).next().unwrap_or_default();
    for place in places(homes, address, &domains, keep_case) {
        match is_directory(&place) {
            Ok(true) => return Exit::OK,
            Ok(false) => {}
            Err(_) => return Exit::TEMPORARY,
        }
    }
    Exit::NO
}

/// The directory of homes, and whether case counts.
fn parse<'a>(args: &[&'a [u8]]) -> Option<(&'a [u8], bool)> {
    match *args {
        [] => Some((HOMES, false)),
        [b"-C"] => Some((HOMES, true)),
        [homes] => Some((homes, false)),
        [homes, b"-C"] => Some((homes, true)),
        _ => None,
    }
    .filter(|(homes, _)| is_directory(as_path(homes)).unwrap_or(false))
}

/// What stands on fd 3; `None` if that is closed or says too much.
fn read_address() -> io::Result<Option<Vec<u8>>> {
    if !Fd(3).is_open() {
        return Ok(None);
    }
    let mut input = Vec::with_capacity(INPUT_MAX + 1);
    Fd(3).take(INPUT_MAX as u64 + 1).read_to_end(&mut input)?;
    Ok((input.len() <= INPUT_MAX).then_some(input))
}

/// Where a directory shows that the user exists.
fn places(homes: &[u8], address: &[u8], domains: &ConstMap, keep_case: bool) -> Vec<PathBuf> {
    let Some(at) = address.iter().rposition(|&b| b == b'@') else { return Vec::new() };
    let (local, domain) = (address.get(..at).unwrap_or_default(), address.get(at + 1..).unwrap_or_default());
    let local = if keep_case { local.to_vec() } else { local.to_ascii_lowercase() };
    // A local part is one name; it does not lead elsewhere.
    if local.is_empty() || local.contains(&b'/') {
        return Vec::new();
    }
    let Some(user) = domains.get(domain).filter(|user| !user.is_empty()) else { return Vec::new() };
    let colons: Vec<u8> = local.iter().map(|&b| if b == b'.' { b':' } else { b }).collect();
    let mut places = vec![as_path(homes).join(as_path(user)).join("users").join(as_path(&colons))];
    if local != b"." && local != b".." {
        places.push(as_path(homes).join("vpopmail/domains").join(as_path(user)).join(as_path(&local)));
    }
    places
}

/// Whether there is a directory at `path`. An error: that could not be found out.
fn is_directory(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        // No user has a name that no file can have.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput) => Ok(false),
        Err(e) => Err(e),
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_an_address() {
        let domains = ConstMap::of_pairs(&[b"V.test:vu".to_vec(), b"none.test:".to_vec(), b"x@v.test:other".to_vec()]);
        let expected = |local: &str, colons: &str| {
            vec![PathBuf::from(format!("/h/vu/users/{colons}")), format!("/h/vpopmail/domains/vu/{local}").into()]
        };
        for (address, keep_case, wanted) in [
            ("Joe@v.test", false, expected("joe", "joe")),
            ("Joe@V.TEST", true, expected("Joe", "Joe")),
            ("j.d@v.test", false, expected("j.d", "j:d")),
            ("a@b@v.test", false, expected("a@b", "a@b")),
            ("..@v.test", false, vec!["/h/vu/users/::".into()]),
            ("@v.test", false, vec![]),
            ("a/b@v.test", false, vec![]),
            ("joe@none.test", false, vec![]),
            ("joe@other.test", false, vec![]),
            ("joe", false, vec![]),
            ("", false, vec![]),
        ] {
            assert_eq!(places(b"/h", address.as_bytes(), &domains, keep_case), wanted, "{address}");
        }
    }

    #[test]
    fn arguments() {
        let home = |args: &[&'static [u8]]| parse(args);
        assert_eq!(home(&[b"/tmp"]), Some((&b"/tmp"[..], false)));
        assert_eq!(home(&[b"/tmp", b"-C"]), Some((&b"/tmp"[..], true)));
        for wrong in [&[&b"/nowhere"[..]][..], &[b"/tmp", b"-c"], &[b"/tmp", b"-C", b"x"], &[b"-C", b"/tmp"]] {
            assert_eq!(home(wrong), None, "{wrong:?}");
        }
    }
}
