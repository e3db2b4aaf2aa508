//! qmail-getpw LOCAL: tells which account a local part belongs to where users/cdb says nothing about it.
//!
//! Started by qmail-lspawn as qmailp:nofiles, fd 1 a pipe. Writes six fields, each ended by a NUL: user, uid, gid, home,
//! dash, extension. The account is the longest name, in lower case, that the local part begins with, up to its end or to
//! a `-`; it must not have uid 0 and must own its home. All else belongs to the account alias with the whole local part
//! as extension, or, in a private instance without that account, to the running user and home/alias.
//!
//! The one program of the mail system that asks the site's name service, and so the one that is linked dynamically.
//! Exit codes: 0; 100 without the argument; else what qmail-lspawn knows: 115 a home is out of reach for now,
//! 116 no alias account, 118 the name service failed or the answer could not be written.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;
use sys::process::{Gid, Uid};
use sys::user::Account;

/// No account name is longer (bytes): what comes from outside never makes the name service work harder than that.
const NAME_MAX: usize = 31;
const HOME_OUT_OF_REACH: Exit = Exit(115);
const NO_ALIAS: Exit = Exit(116);
const TROUBLE: Exit = Exit(118);

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&local) = args.first() else { return Exit::PERMANENT };
    let mut accounts = Accounts::new();
    let found = match owner(local, |name| accounts.find(name)) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => alias(&mut accounts).map(|account| Owner { account, dash: b"-", extension: local }),
        Err(code) => Err(code),
    };
    let Owner { account, dash, extension } = match found {
        Ok(found) => found,
        Err(code) => return code,
    };
    let (uid, gid) = (account.uid.0.to_string(), account.gid.0.to_string());
    let fields = [&account.name[..], uid.as_bytes(), gid.as_bytes(), &account.home, dash, extension, b""];
    match sys::fd::write_all(1, &fields.join(&0)) {
        Ok(()) => Exit::OK,
        Err(_) => TROUBLE,
    }
}

/// Whose mail it is, and what the address says beyond the name.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'a> {
    account: Account,
    dash: &'static [u8],
    extension: &'a [u8],
}

/// The account that `local` begins with.
fn owner(local: &[u8], mut find: impl FnMut(&[u8]) -> io::Result<Option<Account>>) -> Result<Option<Owner<'_>>, Exit> {
    for end in (0..=local.len().min(NAME_MAX)).rev() {
        let (name, rest) = local.split_at(end);
        let (dash, extension): (&[u8], _) = match rest.split_first() {
            None => (b"", rest),
            Some((&conf::BREAK, extension)) => (b"-", extension),
            Some(_) => continue,
        };
        let account = find(&name.to_ascii_lowercase()).map_err(|_| TROUBLE)?;
        let Some(account) = account.filter(|a| a.uid != Uid(0)) else { continue };
        match std::fs::metadata(OsStr::from_bytes(&account.home)) {
            Ok(meta) if meta.uid() == account.uid.0 => return Ok(Some(Owner { account, dash, extension })),
            // The home was given to somebody else: then the mail is not this account's either.
            Ok(_) => {}
            Err(e) if sys::error::is_temporary(&e) => return Err(HOME_OUT_OF_REACH),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Whoever gets the mail for names that are no accounts.
fn alias(accounts: &mut Accounts) -> Result<Account, Exit> {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller()).join("alias");
    let (uid, gid) = (sys::process::euid(), sys::process::egid());
    // In an installed system home/alias is the account alias's, never qmailp's.
    if uid != Uid(0) && std::fs::metadata(&home).is_ok_and(|m| m.uid() == uid.0) {
        let home = home.as_os_str().as_bytes().to_vec();
        return Ok(Account { name: conf::names::ALIAS.into(), uid, gid, home });
    }
    accounts.find(conf::names::ALIAS.as_bytes()).map_err(|_| TROUBLE)?.ok_or(NO_ALIAS)
}

/// The accounts of this host.
///
/// Where /etc/nsswitch.conf asks the plain files first, what stands in /etc/passwd is read from there at once, at a
/// tenth of the price of the name service; only what is not there is asked for.
struct Accounts {
    passwd: Vec<u8>,
    only_files: bool,
}

impl Accounts {
    fn new() -> Accounts {
        let read = |file: &str| sys::fs::open_read(Path::new(file)).and_then(read_all);
        let sources = match read("/etc/nsswitch.conf") {
            Ok(text) => sources(&text),
            Err(_) => Sources::Unknown,
        };
        let passwd = match sources {
            Sources::Unknown => Vec::new(),
            Sources::FilesFirst | Sources::FilesOnly => read("/etc/passwd").unwrap_or_default(),
        };
        // A file that is empty or unreadable, even for a moment, must not make all accounts vanish.
        let only_files = sources == Sources::FilesOnly && !passwd.is_empty();
        Accounts { passwd, only_files }
    }

    fn find(&mut self, name: &[u8]) -> io::Result<Option<Account>> {
        match in_passwd(&self.passwd, name) {
            Some(account) => Ok(Some(account)),
            None if self.only_files => Ok(None),
            None => sys::user::by_name(name),
        }
    }
}

fn read_all(mut file: std::fs::File) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    io::Read::read_to_end(&mut file, &mut all)?;
    Ok(all)
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
        let text = b"joe-x:x:1:2::/joex:/bin/sh\njoe:x:3:4:Joe, J.:/home/joe:/bin/sh\nbad:x:5\nodd:x:y:1::/odd:\n+nis:x:8:8::/n:\nlast:x:6:7::/l:";
        let found = in_passwd(text, b"joe").unwrap();
        assert_eq!((found.uid, found.gid, found.home), (Uid(3), Gid(4), b"/home/joe".to_vec()));
        assert_eq!(in_passwd(text, b"last").unwrap().home, b"/l");
        for name in [&b"jo"[..], b"joe-", b"x", b"bad", b"odd", b"none", b"joe:x", b"+nis", b"", b"none\njoe"] {
            assert_eq!(in_passwd(text, name), None, "{}", name.escape_ascii());
        }
    }

    fn look(local: &str, known: &[&str]) -> Result<Option<(String, String, String)>, Exit> {
        let home = std::env::temp_dir().join(format!("getpw-{}-{local}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        if sys::process::euid() == Uid(0) {
            std::os::unix::fs::chown(&home, Some(1), None).unwrap();
        }
        let (uid, gid) = (Uid(home.metadata().unwrap().uid()), Gid(1));
        let found = owner(local.as_bytes(), |name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            if name == "trouble" {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let home = home.as_os_str().as_bytes().to_vec();
            Ok(known.contains(&name.as_str()).then(|| Account { name: name.into(), uid, gid, home }))
        });
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        let found = found.map(|f| f.map(|o| (text(&o.account.name), text(o.dash), text(o.extension))));
        std::fs::remove_dir(home).unwrap();
        found
    }

    #[test]
    fn the_longest_name_wins_and_the_rest_is_the_extension() {
        let known = ["joe", "joe-x", &"n".repeat(31), &"m".repeat(32)];
        let found = |user: &str, dash: &str, ext: &str| Ok(Some((user.into(), dash.into(), ext.into())));
        assert_eq!(look("joe", &known), found("joe", "", ""));
        assert_eq!(look("joe-", &known), found("joe", "-", ""));
        assert_eq!(look("JOE-Foo-bar", &known), found("joe", "-", "Foo-bar"));
        assert_eq!(look("joe-x", &known), found("joe-x", "", ""));
        assert_eq!(look("joe-x-y", &known), found("joe-x", "-", "y"));
        assert_eq!(look("joex", &known), Ok(None));
        assert_eq!(look("", &known), Ok(None));
        assert_eq!(look("-joe", &known), Ok(None));
        assert_eq!(look(&"n".repeat(31), &known), found(&"n".repeat(31), "", ""));
        assert_eq!(look(&"m".repeat(32), &known), Ok(None));
        assert_eq!(look("trouble-x", &known), Err(TROUBLE));
    }
}
