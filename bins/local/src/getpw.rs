//! qmail-getpw LOCAL: tells which account a local part belongs to where users/cdb says nothing about it.
//!
//! Started by qmail-lspawn as qmailp:nofiles, fd 1 a pipe. Writes six fields, each ended by a NUL: user, uid, gid,
//! home, dash, extension. The account is the longest name, in lower case, that the local part begins with, up to its
//! end or to a `-`; it must not have uid 0 and must own its home. All else belongs to the account alias with the
//! whole local part as extension, or, in a private instance, to the running user and home/alias.
//!
//! Where /etc/nsswitch.conf asks the plain files first, /etc/passwd is read here. What that leaves open is for the
//! site's name service: then this program becomes bin/qmail-getnss, which is linked with it and takes five times as
//! long. Exit codes: 0; 100 without the argument; else what qmail-lspawn knows: 115 a home is out of reach for now,
//! 116 no alias account, 118 the name service failed or the answer could not be written, 121 qmail-getnss could not
//! be run.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

#[path = "getpw/owner.rs"]
mod owner;

use std::path::Path;
use sys::Exit;
use sys::process::{Gid, Uid};
use sys::spawn::Program;
use sys::user::Account;

const NO_GETNSS: Exit = Exit(121);

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&local) = args.first() else { return Exit::PERMANENT };
    sys::process::no_new_privileges();
    let accounts = Accounts::read();
    match owner::answer(local, |name| accounts.find(name)) {
        Ok(()) => Exit::OK,
        Err(NoAnswer::Because(code)) => code,
        Err(NoAnswer::AskElsewhere) => become_getnss(local),
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum NoAnswer {
    /// This exit code tells.
    Because(Exit),
    /// /etc/passwd alone cannot tell.
    AskElsewhere,
}

impl From<Exit> for NoAnswer {
    fn from(code: Exit) -> NoAnswer {
        NoAnswer::Because(code)
    }
}

fn become_getnss(local: &[u8]) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    if let Ok(program) = Program::new(&conf::below(&home, "bin/qmail-getnss"), &[b"qmail-getnss", local]) {
        program.exec();
    }
    NO_GETNSS
}

/// The accounts of /etc/passwd.
struct Accounts {
    passwd: Vec<u8>,
    sources: Sources,
}

impl Accounts {
    fn read() -> Accounts {
        let sources = read("/etc/nsswitch.conf").map_or(Sources::Unknown, |text| sources(&text));
        let passwd = match sources {
            Sources::Unknown => None,
            Sources::FilesFirst | Sources::FilesOnly => read("/etc/passwd"),
        };
        match passwd {
            // A file that is empty, even for a moment, must not make all accounts vanish.
            Some(passwd) if !passwd.is_empty() => Accounts { passwd, sources },
            _ => Accounts { passwd: Vec::new(), sources: Sources::Unknown },
        }
    }

    fn find(&self, name: &[u8]) -> Result<Option<Account>, NoAnswer> {
        match (in_passwd(&self.passwd, name), self.sources) {
            (Some(account), _) => Ok(Some(account)),
            (None, Sources::FilesOnly) => Ok(None),
            (None, _) => Err(NoAnswer::AskElsewhere),
        }
    }
}

fn read(file: &str) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut file = sys::fs::open_read(Path::new(file)).ok()?;
    std::io::Read::read_to_end(&mut file, &mut all).ok()?;
    Some(all)
}

/// Who is asked about accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sources {
    /// /etc/passwd and nobody else.
    FilesOnly,
    /// /etc/passwd, then others.
    FilesFirst,
    /// The name service has to decide.
    Unknown,
}

/// Reads nsswitch.conf(5).
fn sources(nsswitch: &[u8]) -> Sources {
    let line = nsswitch.split(|&b| b == b'\n').find_map(|line| {
        let line = line.split(|&b| b == b'#').next().unwrap_or_default();
        line.trim_ascii().strip_prefix(b"passwd")?.trim_ascii_start().strip_prefix(b":")
    });
    let mut words = line.unwrap_or_default().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    match (words.next(), words.next()) {
        (Some(b"files"), None) => Sources::FilesOnly,
        (Some(b"files"), Some(_)) => Sources::FilesFirst,
        _ => Sources::Unknown,
    }
}

/// The account called `name` in the text of passwd(5). A line that is not in order is left to the name service.
fn in_passwd(passwd: &[u8], name: &[u8]) -> Option<Account> {
    // What could not stand before the first colon, or what only the compat source understands.
    if name.iter().any(|b| matches!(b, b':' | b'\n')) || matches!(name.first(), None | Some(b'+' | b'-')) {
        return None;
    }
    let line =
        passwd.split(|&b| b == b'\n').find(|l| l.strip_prefix(name).is_some_and(|r| r.first() == Some(&b':')))?;
    let mut fields = line.split(|&b| b == b':').skip(2);
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (uid, gid) = (Uid(number()?), Gid(number()?));
    let home = fields.nth(1).filter(|_| fields.next().is_some())?.to_vec();
    Some(Account { name: name.to_vec(), uid, gid, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_asks_the_files_first_is_trusted_to_them() {
        use Sources::*;
        let rows: &[(&str, Sources)] = &[
            ("passwd: files\n", FilesOnly),
            ("group: x\npasswd:\tfiles # systemd\n", FilesOnly),
            ("  passwd :  files systemd\n", FilesFirst),
            ("passwd:files [NOTFOUND=return] ldap", FilesFirst),
            ("passwd: ldap files\n", Unknown),
            ("passwd: compat\n", Unknown),
            ("#passwd: files\n", Unknown),
            ("passwd_compat: files\n", Unknown),
            ("passwd:\n", Unknown),
            ("", Unknown),
        ];
        for (text, expected) in rows {
            assert_eq!(sources(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn passwd_lines_are_found_by_their_whole_name() {
        let text = b"joe-x:x:1:2::/joex:/bin/sh\n\
            joe:x:3:4:Joe, J.:/home/joe:/bin/sh\nbad:x:5\nodd:x:y:1::/odd:\n+nis:x:8:8::/n:\nlast:x:6:7::/l:";
        let found = in_passwd(text, b"joe").unwrap();
        assert_eq!((found.uid, found.gid, found.home), (Uid(3), Gid(4), b"/home/joe".to_vec()));
        assert_eq!(in_passwd(text, b"last").unwrap().home, b"/l");
        for name in [&b"jo"[..], b"joe-", b"x", b"bad", b"odd", b"none", b"joe:x", b"+nis", b"", b"none\njoe"] {
            assert_eq!(in_passwd(text, name), None, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn only_what_the_files_decide_is_answered_here() {
        let accounts = |sources| Accounts { passwd: b"joe:x:3:4::/home/joe:\n".to_vec(), sources };
        for sources in [Sources::FilesFirst, Sources::FilesOnly] {
            assert_eq!(accounts(sources).find(b"joe").unwrap().unwrap().uid, Uid(3));
        }
        assert_eq!(accounts(Sources::FilesOnly).find(b"mary"), Ok(None));
        assert_eq!(accounts(Sources::FilesFirst).find(b"mary"), Err(NoAnswer::AskElsewhere));
    }
}
