//! qmail-pw2u: makes lines for users/assign out of a password file (qmail-pw2u(8), qmail-users(5)).
//!
//! Started by the administrator. fd 0 is in the format of passwd(5), fd 1 takes the lines. Reads users/include,
//! exclude, mailnames, subusers and append, all of which may be missing, and looks at the home directories.
//!
//! Exit codes: 0 all lines written, the last one is a dot; 100 bad usage; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use control::ConstMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;
use sys::error::complain;
use sys::fd::{Fd, STDIN, STDOUT};
use sys::opt::{Opt, Scanner};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let mut options = Options { dash: b"-", upper: false, homes: Homes::Existing, separator: Some(conf::BREAK) };
    for option in Scanner::new(b"/ohHuUc:C", &args) {
        match option {
            Opt::Flag(b'/') => options.dash = b"-/",
            Opt::Flag(b'o') => options.homes = Homes::Existing,
            Opt::Flag(b'h') => options.homes = Homes::AllExist,
            Opt::Flag(b'H') => options.homes = Homes::Whatever,
            Opt::Flag(b'u') => options.upper = true,
            Opt::Flag(b'U') => options.upper = false,
            Opt::Flag(_) => options.separator = None,
            Opt::Value(_, value) => options.separator = value.first().copied(),
            Opt::Unknown(letter) => {
                let why: &[u8] =
                    if letter == b'c' { b"option requires an argument -- " } else { b"illegal option -- " };
                complain(&[why, &[letter]]);
                return Exit::PERMANENT;
            }
        }
    }
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let done = match sys::process::chdir(&home) {
        Ok(()) => convert(options, STDIN, STDOUT),
        Err(_) => Err(b"unable to chdir".to_vec()),
    };
    match done {
        Ok(()) => Exit::OK,
        Err(why) => {
            complain(&[b"fatal: ", &why]);
            Exit::TEMPORARY
        }
    }
}

/// What the administrator chose.
struct Options {
    /// What stands in the dash field: `-`, or `-/` for .qmail files in a directory .qmail.
    dash: &'static [u8],
    /// Whether names with upper case letters count, which no address can have.
    upper: bool,
    homes: Homes,
    /// Between user and extension; `None`: no extensions.
    separator: Option<u8>,
}

/// Which home directories a user must have.
#[derive(PartialEq)]
enum Homes {
    /// Users without a home, or with one of somebody else, are left out.
    Existing,
    /// A missing home ends it all; users with a home of somebody else are left out.
    AllExist,
    /// Homes are not looked at.
    Whatever,
}

/// Why there are no lines: the text after `fatal: `.
type Failure = Vec<u8>;

/// From the passwd lines in `input` to all lines in `output`, in the present directory.
fn convert(options: Options, input: Fd, output: Fd) -> Result<(), Failure> {
    let mut job = Job {
        include: list("users/include")?.map(|l| ConstMap::of_keys(&l)),
        exclude: list("users/exclude")?.map(|l| ConstMap::of_keys(&l)),
        mail_names: ConstMap::of_pairs(&list("users/mailnames")?.unwrap_or_default()),
        options,
        accounts: Vec::new(),
        alias: false,
        out: BufWriter::new(output),
    };
    each_line(input, |line| job.account(line))?;
    if !job.alias {
        return Err([b"unable to find ", conf::names::ALIAS.as_bytes(), b" user"].concat());
    }
    if let Some(file) = open("users/subusers")? {
        let accounts = ConstMap::of_pairs(&job.accounts);
        each_line(file, |line| job.subuser(line, &accounts))?;
    }
    if let Some(file) = open("users/append")? {
        each_line(file, |line| job.put(&[line]))?;
    }
    job.put(&[b".\n"])?;
    job.out.flush().map_err(unwritable)
}

fn unwritable(_: io::Error) -> Failure {
    b"unable to write output".to_vec()
}

fn open(name: &str) -> Result<Option<File>, Failure> {
    match sys::fs::open_read(Path::new(name)) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(b"unable to read controls".to_vec()),
    }
}

/// The items of a list file; `None` if there is no such file.
fn list(name: &str) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    let Some(mut file) = open(name)? else { return Ok(None) };
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|_| b"unable to read controls".to_vec())?;
    Ok(Some(control::items(&text)))
}

/// Calls `each` with every line, its newline included if it has one.
fn each_line(input: impl Read, mut each: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => each(&line)?,
            Err(_) => return Err(b"unable to read input".to_vec()),
        }
    }
}

struct Job<W: Write> {
    options: Options,
    include: Option<ConstMap>,
    exclude: Option<ConstMap>,
    /// User to the names that get mail in place of the user's own, with colons between them.
    mail_names: ConstMap,
    /// `user:` and [`Account::fields`] of every user that counts.
    accounts: Vec<Vec<u8>>,
    /// Whether the user of last resort was among them.
    alias: bool,
    out: W,
}

/// A line of the password file.
#[derive(Debug, PartialEq)]
struct Account<'l> {
    user: &'l [u8],
    uid: &'l [u8],
    gid: &'l [u8],
    home: &'l [u8],
}

impl Account<'_> {
    /// `None` for a line that is none.
    fn parse(line: &[u8]) -> Option<Account<'_>> {
        if line.contains(&0) {
            return None;
        }
        let mut fields = line.split(|&b| b == b':');
        let mut next = || fields.next();
        let (user, _password, uid, gid, _name, home) = (next()?, next()?, next()?, next()?, next()?, next()?);
        // The home's field must be ended by a colon.
        next()?;
        Some(Account { user, uid, gid, home })
    }

    /// The number of the user; 0 if there is none.
    fn uid(&self) -> u64 {
        control::leading_number(self.uid).unwrap_or(0)
    }

    /// The part that all lines of this user have.
    fn fields(&self) -> Vec<u8> {
        [b":", self.user, b":", self.uid, b":", self.gid, b":", self.home, b":"].concat()
    }
}

impl<W: Write> Job<W> {
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        parts.iter().try_for_each(|part| self.out.write_all(part)).map_err(unwritable)
    }

    /// Writes the lines of one user.
    fn account(&mut self, line: &[u8]) -> Result<(), Failure> {
        let Some(account) = Account::parse(line) else { return Ok(()) };
        if !self.counts(&account)? {
            return Ok(());
        }
        let fields = account.fields();
        self.accounts.push([account.user, b":", &fields].concat());
        let dash = self.options.dash;
        if account.user == conf::names::ALIAS.as_bytes() {
            self.alias = true;
            self.put(&[b"+", &fields, dash, b"::\n"])?;
        }
        let names = self.mail_names.get(account.user).unwrap_or(account.user).to_vec();
        for name in names.split(|&b| b == b':').filter(|n| !n.is_empty()) {
            self.put(&[b"=", name, &fields, b"::\n"])?;
            if let Some(separator) = self.options.separator {
                self.put(&[b"+", name, &[separator], &fields, dash, b"::\n"])?;
            }
        }
        Ok(())
    }

    /// Whether the user is to get mail: not root, and as the options and lists say.
    fn counts(&self, account: &Account<'_>) -> Result<bool, Failure> {
        let named = |map: &ConstMap| map.contains(account.user);
        if account.uid() == 0
            || !self.options.upper && account.user.iter().any(u8::is_ascii_uppercase)
            || !self.include.as_ref().is_none_or(named)
            || self.exclude.as_ref().is_some_and(named)
        {
            return Ok(false);
        }
        if self.options.homes == Homes::Whatever {
            return Ok(true);
        }
        match std::fs::metadata(OsStr::from_bytes(account.home)) {
            Ok(about) => Ok(u64::from(about.uid()) == account.uid()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.options.homes == Homes::Existing => Ok(false),
            Err(_) => Err([b"unable to stat ", account.home].concat()),
        }
    }

    /// Writes the lines of one subuser: `sub:user:prefix:`, an address of its own that the user's .qmail-prefix files
    /// decide about.
    fn subuser(&mut self, line: &[u8], accounts: &ConstMap) -> Result<(), Failure> {
        let mut fields = line.split(|&b| b == b':');
        let (Some(sub), Some(user), Some(more)) = (fields.next(), fields.next(), fields.next()) else {
            // Without its colon, the user's name is no field either.
            return Ok(());
        };
        let Some(account) = accounts.get(user) else {
            return Err([b"unable to find ", user, b" user for subuser"].concat());
        };
        if fields.next().is_none() {
            return Ok(());
        }
        let dash = self.options.dash;
        self.put(&[b"=", sub, account, dash, b":", more, b":\n"])?;
        if let Some(separator) = self.options.separator {
            self.put(&[b"+", sub, &[separator], account, dash, b":", more, b"-:\n"])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_seven_fields() {
        let joe = Account { user: b"joe", uid: b"1", gid: b"2", home: b"/h" };
        let rows: &[(&[u8], Option<Account<'_>>)] = &[
            (b"joe:x:1:2:Joe:/h:/bin/sh\n", Some(joe)),
            (b"joe:x:1:2:Joe:/h\n", None),
            (b"joe\n", None),
            (b"\n", None),
            (b"joe:x:1:2:J\0e:/h:\n", None),
            (b":::::", None),
            (b"::::::", Some(Account { user: b"", uid: b"", gid: b"", home: b"" })),
        ];
        for (line, account) in rows {
            assert_eq!(&Account::parse(line), account, "{line:?}");
        }
    }

    fn job(options: Options) -> Job<Vec<u8>> {
        Job {
            options,
            include: None,
            exclude: None,
            mail_names: ConstMap::of_pairs(&[b"joe:j:joseph".to_vec()]),
            accounts: Vec::new(),
            alias: false,
            out: Vec::new(),
        }
    }

    #[test]
    fn users_and_subusers_become_lines() {
        let mut j = job(Options { dash: b"-/", upper: false, homes: Homes::Whatever, separator: Some(b'+') });
        for line in [&b"joe:x:1:2::/h:\n"[..], b"Joe:x:1:2::/h:\n", b"root:x:0:0::/:\n", b"x:x:y:2::/h:\n"] {
            j.account(line).unwrap();
        }
        let accounts = ConstMap::of_pairs(&j.accounts);
        for line in [&b"list:JOE:l:\n"[..], b"list:joe:l\n", b"list:joe\n", b"\n"] {
            j.subuser(line, &accounts).unwrap();
        }
        let expected = "=j:joe:1:2:/h:::\n+j+:joe:1:2:/h:-/::\n=joseph:joe:1:2:/h:::\n+joseph+:joe:1:2:/h:-/::\n\
                        =list:joe:1:2:/h:-/:l:\n+list+:joe:1:2:/h:-/:l-:\n";
        assert_eq!(String::from_utf8_lossy(&j.out), expected);
        assert_eq!(j.subuser(b"l:bob:x:", &accounts), Err(b"unable to find bob user for subuser".to_vec()));
    }

    #[test]
    fn homes_decide_as_asked() {
        let rows = [
            (Homes::Existing, Ok(false)),
            (Homes::AllExist, Err(b"unable to stat /no/such".to_vec())),
            (Homes::Whatever, Ok(true)),
        ];
        for (homes, expected) in rows {
            let j = job(Options { dash: b"-", upper: false, homes, separator: None });
            assert_eq!(j.counts(&Account { user: b"u", uid: b"9", gid: b"9", home: b"/no/such" }), expected);
        }
    }
}
