//! Checking a password by the method that users/authuser names.

use crate::request::Request;
use crate::{Failure, Setting, dovecot, helper};
use auth::stored::Stored;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::env::{self, Env};
use sys::process::{self, Gid, Uid};
use sys::spawn::Program;

/// A Unix account that the program is to be run as.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub name: Vec<u8>,
    pub uid: Uid,
    pub gid: Gid,
    pub home: Vec<u8>,
    pub shell: Vec<u8>,
}

impl Account {
    /// Makes this process the account's for good, in its home, and sets the variables of the checkpassword interface.
    pub fn take_on(&self, variables: &mut Env) -> io::Result<()> {
        // In a private instance there is nobody else one could become.
        if process::euid() == Uid(0) || process::uid() != self.uid {
            // A caller who is not root must not become root by any password.
            if self.uid == Uid(0) && process::uid() != Uid(0) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            process::become_user(self.uid, self.gid)?;
        }
        process::chdir(Path::new(std::ffi::OsStr::from_bytes(&self.home)))?;
        variables.set(b"USER", &self.name);
        variables.set(b"HOME", &self.home);
        variables.set(b"SHELL", &self.shell);
        Ok(())
    }
}

/// Checks `request` as `value` says: one of the marks of spec/smtp.md 7.1, or a kept password. The account is returned
/// only for `!`.
pub fn check(setting: &Setting<'_>, request: &Request, value: &[u8]) -> Result<Option<Account>, Failure> {
    if request.response.is_empty() {
        return Err(Failure::Refused);
    }
    match value {
        b"?" => helper::account(&setting.home, request).map(|_| None),
        b"!" => helper::account(&setting.home, request).map(Some),
        b"+" => wrapped(setting, request, &[b"checkvpw"], &[b"true", b"Maildir"]),
        b"&" => wrapped(setting, request, &[b"vchkpw"], &[]),
        b"=" => dovecot::check(setting, request).map(|()| None),
        // No password is that short.
        [_] => Err(Failure::Misused),
        _ => {
            let stored = Stored::parse(value);
            let fits = match stored.fits(&request.response, &request.challenge) {
                Some(fits) => fits,
                None => helper::hash(&setting.home, &request.response, value)?,
            };
            if fits { Ok(None) } else { Err(Failure::Refused) }
        }
    }
}

/// Lets another program of the checkpassword interface decide. If qmail-pop3d is to be run, that program runs it: only
/// it knows the mailbox of its user.
fn wrapped(
    setting: &Setting<'_>,
    request: &Request,
    name: &[&[u8]],
    arguments: &[&[u8]],
) -> Result<Option<Account>, Failure> {
    let first = setting.program.first().copied().unwrap_or_default();
    let serves = first.rsplit(|&b| b == b'/').next() == Some(b"qmail-pop3d");
    let argv = [name, if serves { setting.program } else { arguments }].concat();
    let trouble = |_: io::Error| Failure::Trouble;
    let program = Program::named(&argv, Some(&search_path())).map_err(trouble)?.env(variables());
    let reader = helper::pipe_with(&request.raw).map_err(trouble)?;
    let program = program.fd(3, std::os::fd::AsRawFd::as_raw_fd(&reader));
    if serves {
        program.exec();
        return Err(Failure::Trouble);
    }
    let child = program.start().map_err(trouble)?;
    match process::wait(child).map_err(trouble)?.code() {
        Some(0) => Ok(None),
        None | Some(111) => Err(Failure::Trouble),
        Some(_) => Err(Failure::Refused),
    }
}

/// Where these programs are, if this one has more rights than the caller whose PATH it is.
const SAFE_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin:/home/vpopmail/bin:/var/vpopmail/bin";

fn caller_is_trusted() -> bool {
    !process::is_privileged_beyond_caller() || process::uid() == Uid(0)
}

fn search_path() -> Vec<u8> {
    env::get(b"PATH").filter(|_| caller_is_trusted()).unwrap_or_else(|| SAFE_PATH.to_vec())
}

/// All variables, or of somebody who is less than root those about the connection only.
fn variables() -> Env {
    let all = Env::inherit();
    if caller_is_trusted() {
        return all;
    }
    let mut some = Env::default();
    for name in CONNECTION {
        if let Some(value) = all.get(name) {
            some.set(name, value);
        }
    }
    some.set(b"PATH", SAFE_PATH);
    some
}

/// What programs that check passwords look at.
const CONNECTION: [&[u8]; 13] = [
    b"PROTO",
    b"TCPREMOTEIP",
    b"TCPREMOTEHOST",
    b"TCPREMOTEPORT",
    b"TCPREMOTEINFO",
    b"TCPLOCALIP",
    b"TCPLOCALHOST",
    b"TCPLOCALPORT",
    b"TCP6REMOTEIP",
    b"TCP6LOCALIP",
    b"TCP6LOCALPORT",
    b"SSL_PROTOCOL",
    b"AUTHUSER",
];
