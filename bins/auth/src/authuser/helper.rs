//! Questions for qmail-authcrypt.

use crate::Failure;
use crate::check::Account;
use crate::request::Request;
use auth::Secret;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use sys::env::Env;
use sys::fd;
use sys::process::{self, Gid, Uid};
use sys::spawn::Program;

/// The longest answer: name, two numbers, home and shell (bytes).
const ANSWER_MAX: u64 = 16384;

/// The Unix account of the request's local part, if that has this password.
pub fn account(home: &Path, request: &Request) -> Result<Account, Failure> {
    if request.local().is_empty() {
        return Err(Failure::Refused);
    }
    let answer = ask(home, [request.local(), &request.response, b""])?;
    parse(&answer).ok_or(Failure::Trouble)
}

/// Whether the password fits a hash of crypt(3).
pub fn hash(home: &Path, password: &[u8], hash: &[u8]) -> Result<bool, Failure> {
    match ask(home, [b"", password, hash]) {
        Ok(_) => Ok(true),
        Err(Failure::Refused) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A pipe with all of `bytes` in it already, for a child to read. At most 4096, which every pipe holds.
pub fn pipe_with(bytes: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = fd::pipe()?;
    fd::set_nonblocking(writer.as_raw_fd(), true)?;
    fd::write_all(writer.as_raw_fd(), bytes)?;
    Ok(reader)
}

fn ask(home: &Path, fields: [&[u8]; 3]) -> Result<Vec<u8>, Failure> {
    let [one, two, three] = fields;
    let question = Secret::new([one, b"\0", two, b"\0", three, b"\0"].concat());
    let trouble = |_: io::Error| Failure::Trouble;
    let input = pipe_with(&question).map_err(trouble)?;
    let (reader, writer) = fd::pipe().map_err(trouble)?;
    let file = conf::below(home, "bin/qmail-authcrypt");
    let program = Program::new(&file, &[b"qmail-authcrypt"]).map_err(trouble)?;
    // No environment: the modules of the host's libraries look at it, and it is the caller's.
    let program = program.env(Env::default()).fd(1, writer.as_raw_fd()).fd(3, input.as_raw_fd());
    let child = program.start().map_err(trouble)?;
    drop((writer, input));
    let mut answer = Vec::new();
    let read = File::from(reader).take(ANSWER_MAX).read_to_end(&mut answer);
    match process::wait(child).map_err(trouble)?.code() {
        Some(0) if read.is_ok() => Ok(answer),
        Some(1) => Err(Failure::Refused),
        _ => Err(Failure::Trouble),
    }
}

/// Name, uid, gid, home, shell.
fn parse(answer: &[u8]) -> Option<Account> {
    let mut fields = answer.strip_suffix(b"\0")?.split(|&b| b == 0);
    let name = fields.next()?.to_vec();
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (uid, gid) = (Uid(number()?), Gid(number()?));
    let (home, shell) = (fields.next()?.to_vec(), fields.next()?.to_vec());
    fields.next().is_none().then_some(Account { name, uid, gid, home, shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_five_fields() {
        let joe = Account {
            name: b"joe".to_vec(),
            uid: Uid(3),
            gid: Gid(4),
            home: b"/home/joe".to_vec(),
            shell: b"".to_vec(),
        };
        assert_eq!(parse(b"joe\x003\x004\0/home/joe\0\0"), Some(joe));
        for answer in [
            &b""[..],
            b"\0",
            b"joe\0",
            b"joe\x003\x004\0/home/joe\0",
            b"joe\0x\x004\0/\0/\0",
            b"joe\x003\x004\0/\0/\0/\0",
        ] {
            assert_eq!(parse(answer), None, "{}", answer.escape_ascii());
        }
    }
}
