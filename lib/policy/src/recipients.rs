//! control/recipients: which addresses of the own domains exist (spec/control.md 4.10).

use control::cdb::Cdb;
use std::io;
use std::path::{Path, PathBuf};

/// What the file says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is no file, or a `!*` line lets the domain pass.
    NotAsked,
    /// In a cdb.
    InCdb,
    /// A program knows it.
    ByProgram,
    /// All addresses of its domain are taken.
    Wildcard,
    /// It does not exist.
    No,
}

/// Why it could not be found out.
#[derive(Debug)]
pub enum Trouble {
    /// A cdb could not be read.
    Cdb(PathBuf, io::Error),
    /// A program could not answer.
    Program,
    /// A cdb is not there, and nothing else knows the address.
    Missing(PathBuf),
}

/// What a program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It knows the address.
    Yes,
    /// It does not.
    No,
    /// It could not find out.
    Temporary,
}

/// The most arguments that a program is called with.
const ARGUMENTS_MAX: usize = 5;

/// Where an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Cdb(Vec<u8>),
    /// The program and its arguments.
    Program(Vec<Vec<u8>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// `!d`
    Wildcard(Vec<u8>),
    /// `!*`
    PassOthers,
    /// `@d:...`
    Exact(Vec<u8>, Source),
    /// `d:...`
    Domain(Vec<u8>, Source),
    /// `*:...`
    Any(Source),
    /// `file.cdb`
    Others(Source),
}

/// The lines of control/recipients.
#[derive(Clone, Debug)]
pub struct Recipients {
    home: PathBuf,
    /// `None`: no such file.
    lines: Option<Vec<Line>>,
}

impl Recipients {
    /// The items of the file, if there is one; cdb files stand below `home`.
    pub fn of(home: &Path, items: Option<Vec<Vec<u8>>>) -> Recipients {
        Recipients { home: home.into(), lines: items.map(|items| items.iter().map(|item| Line::parse(item)).collect()) }
    }

    /// Asks for an address. `run` runs a program (its name and arguments) with an address, and gives its answer.
    pub fn ask(&self, address: &[u8], mut run: impl FnMut(&[Vec<u8>], &[u8]) -> Answer) -> Result<Known, Trouble> {
        let Some(lines) = &self.lines else { return Ok(Known::NotAsked) };
        let asked = Asked::about(address);
        let (mut mentioned, mut missing) = (false, None);
        for line in lines {
            let source = match line {
                Line::Wildcard(domain) if *domain == asked.domain => return Ok(Known::Wildcard),
                Line::PassOthers if !mentioned => return Ok(Known::NotAsked),
                Line::Exact(domain, source) if *domain == asked.domain => {
                    mentioned = true;
                    source
                }
                Line::Domain(domain, source) if is_below(&asked.domain, domain) => {
                    mentioned = true;
                    source
                }
                Line::Any(source) => source,
                Line::Others(source) if !mentioned => source,
                _ => continue,
            };
            match source {
                Source::Cdb(file) => match self.look_up(file, &asked)? {
                    Some(true) => return Ok(Known::InCdb),
                    Some(false) => {}
                    None => missing = Some(self.path(file)),
                },
                Source::Program(argv) => {
                    for form in asked.forms() {
                        match run(argv, form) {
                            Answer::Yes => return Ok(Known::ByProgram),
                            Answer::No => {}
                            Answer::Temporary => return Err(Trouble::Program),
                        }
                    }
                }
            }
        }
        missing.map_or(Ok(Known::No), |file| Err(Trouble::Missing(file)))
    }

    fn path(&self, file: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.home.join(std::ffi::OsStr::from_bytes(file))
    }

    /// Whether the file has the address; `None`: there is no such file.
    fn look_up(&self, file: &[u8], asked: &Asked) -> Result<Option<bool>, Trouble> {
        let path = self.path(file);
        let cdb = match Cdb::open(&path) {
            Ok(cdb) => cdb,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Trouble::Cdb(path, e)),
        };
        for form in asked.forms() {
            let key = [b":", form].concat().to_ascii_lowercase();
            match cdb.get(&key) {
                Ok(Some(_)) => return Ok(Some(true)),
                Ok(None) => {}
                Err(e) => return Err(Trouble::Cdb(path, e)),
            }
        }
        Ok(Some(false))
    }
}

impl Line {
    fn parse(item: &[u8]) -> Line {
        if let Some(domain) = item.strip_prefix(b"!") {
            return if domain == b"*" { Line::PassOthers } else { Line::Wildcard(domain.to_ascii_lowercase()) };
        }
        let Some(at) = item.iter().position(|&b| b == b':' || b == b'|') else {
            return Line::Others(Source::Cdb(item.to_vec()));
        };
        let (domain, rest) = item.split_at(at);
        let source = match rest {
            [b'|', command @ ..] => {
                let words = command.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
                Source::Program(words.take(1 + ARGUMENTS_MAX).map(<[u8]>::to_vec).collect())
            }
            _ => Source::Cdb(rest.get(1..).unwrap_or_default().to_vec()),
        };
        match domain {
            b"*" => Line::Any(source),
            [b'@', domain @ ..] => Line::Exact(domain.to_ascii_lowercase(), source),
            domain => Line::Domain(domain.to_ascii_lowercase(), source),
        }
    }
}

/// Whether `domain` is `parent`, or ends in a dot and it.
fn is_below(domain: &[u8], parent: &[u8]) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with(b".") || parent.starts_with(b"."))
}

/// An address in the forms in which it is looked up.
struct Asked {
    domain: Vec<u8>,
    whole: Vec<u8>,
    /// With the local part cut behind the first break character.
    short: Option<Vec<u8>>,
}

impl Asked {
    fn about(address: &[u8]) -> Asked {
        let at = address.iter().rposition(|&b| b == b'@');
        let (local, domain) = match at {
            Some(at) => (address.get(..at), address.get(at + 1..).unwrap_or_default().to_ascii_lowercase()),
            None => (Some(address), b"localhost".to_vec()),
        };
        let local = local.unwrap_or_default();
        let short = local.iter().position(|&b| b == conf::BREAK).and_then(|end| local.get(..=end));
        let with_domain = |local: &[u8]| [local, b"@", &domain].concat();
        Asked { whole: with_domain(local), short: short.map(with_domain), domain }
    }

    fn forms(&self) -> impl Iterator<Item = &[u8]> {
        [Some(self.whole.as_slice()), self.short.as_deref()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(keys: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("users")).unwrap();
        let file = std::fs::File::create(home.path().join("users/recipients.cdb")).unwrap();
        let mut writer = control::cdb::Writer::new(file).unwrap();
        keys.iter().for_each(|key| writer.add(key.as_bytes(), b"").unwrap());
        writer.finish().unwrap();
        home
    }

    /// Programs: `yes`, `no`, `later`; `knows ADDRESS`.
    fn run(argv: &[Vec<u8>], address: &[u8]) -> Answer {
        match argv[0].as_slice() {
            b"yes" => Answer::Yes,
            b"later" => Answer::Temporary,
            b"knows" if argv[1] == address => Answer::Yes,
            _ => Answer::No,
        }
    }

    fn ask(home: &tempfile::TempDir, lines: &str, address: &str) -> Result<Known, Trouble> {
        let recipients = Recipients::of(home.path(), Some(control::items(lines.as_bytes())));
        recipients.ask(address.as_bytes(), run)
    }

    #[test]
    fn each_kind_of_line() {
        let home = home(&[":joe@x.test", ":list-@x.test", ":me@localhost"]);
        let cdb = "users/recipients.cdb";
        let rows: [(String, &str, Known); 28] = [
            ("!x.test".into(), "any@X.test", Known::Wildcard),
            ("!x.test".into(), "any@a.x.test", Known::No),
            (format!("@x.test:{cdb}"), "Joe@X.TEST", Known::InCdb),
            (format!("@X.test:{cdb}"), "joe@x.test", Known::InCdb),
            (format!("@x.test:{cdb}"), "bill@x.test", Known::No),
            (format!("@y.test:{cdb}"), "joe@x.test", Known::No),
            (format!("@x.test.y:{cdb}"), "joe@x.test", Known::No),
            (format!("test:{cdb}"), "joe@x.test", Known::InCdb),
            (format!(".test:{cdb}"), "joe@x.test", Known::InCdb),
            (format!("est:{cdb}"), "joe@x.test", Known::No),
            (format!("*:{cdb}"), "joe@x.test", Known::InCdb),
            (cdb.into(), "joe@x.test", Known::InCdb),
            (cdb.into(), "me", Known::InCdb),
            (cdb.into(), "list-request@x.test", Known::InCdb),
            (cdb.into(), "list-a-b@x.test", Known::InCdb),
            (cdb.into(), "list@x.test", Known::No),
            (format!("x.test|no\n{cdb}"), "joe@x.test", Known::No),
            (format!("x.test|no\n*:{cdb}"), "joe@x.test", Known::InCdb),
            ("x.test|yes".into(), "joe@x.test", Known::ByProgram),
            ("@x.test|knows joe@x.test".into(), "joe@x.test", Known::ByProgram),
            ("*|knows a-@x.test".into(), "a-b@x.test", Known::ByProgram),
            ("*|knows Joe@x.test".into(), "Joe@X.test", Known::ByProgram),
            ("x.test|no\n!*".into(), "joe@x.test", Known::No),
            ("x.test|no\n!*".into(), "joe@y.test", Known::NotAsked),
            ("!*\nx.test|no".into(), "joe@x.test", Known::NotAsked),
            (format!("@x.test:{cdb}\n*|yes"), "bill@x.test", Known::ByProgram),
            ("y.test|yes\n!y.test".into(), "joe@x.test", Known::No),
            (String::new(), "joe@x.test", Known::No),
        ];
        for (lines, address, known) in rows {
            assert_eq!(ask(&home, &lines, address).unwrap(), known, "{lines} {address}");
        }
        assert_eq!(Recipients::of(home.path(), None).ask(b"a@b", run).unwrap(), Known::NotAsked);
    }

    #[test]
    fn doubt_is_no_answer() {
        let home = home(&[]);
        std::fs::write(home.path().join("cut.cdb"), "cut").unwrap();
        assert!(matches!(ask(&home, "*|later", "a@b"), Err(Trouble::Program)));
        assert!(matches!(ask(&home, "*|yes\n*|later", "a@b"), Ok(Known::ByProgram)));
        assert!(matches!(ask(&home, "cut.cdb", "a@b"), Err(Trouble::Cdb(..))));
        assert!(matches!(ask(&home, "none.cdb", "a@b"), Err(Trouble::Missing(_))));
        assert!(matches!(ask(&home, "none.cdb\n*|yes", "a@b"), Ok(Known::ByProgram)));
    }

    #[test]
    fn a_program_gets_at_most_five_arguments() {
        let line = Line::parse(b"*|bin/x 1  2 3 4 5 6");
        let words = ["bin/x", "1", "2", "3", "4", "5"].map(|w| w.as_bytes().to_vec()).to_vec();
        assert_eq!(line, Line::Any(Source::Program(words)));
        assert_eq!(Line::parse(b"a:b|c"), Line::Domain(b"a".to_vec(), Source::Cdb(b"b|c".to_vec())));
        assert_eq!(
            Line::parse(b"a|p h:25"),
            Line::Domain(b"a".to_vec(), Source::Program(vec![b"p".to_vec(), b"h:25".to_vec()]))
        );
    }
}
