//! Control files, constant maps and cdb files.
//!
//! Control files are read as qmail reads them: a one-line file's value ends at the newline, trailing blanks and tabs
//! are dropped; a list file has one item a line, lines that are empty or begin with `#` are skipped
//! (qmail-control(5), spec/control.md).
#![forbid(unsafe_code)]

pub mod cdb;
pub mod constmap;
pub mod users;

pub use constmap::ConstMap;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A control file that exists but could not be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The file.
    pub file: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// A control directory.
#[derive(Clone, Debug)]
pub struct Controls {
    dir: PathBuf,
}

impl Controls {
    /// The controls of the home directory `home`.
    pub fn of(home: &Path) -> Controls {
        Controls { dir: home.join("control") }
    }

    /// The path of a control file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// All bytes of a control file; `None` if there is none.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        let file = self.path(name);
        let opened = sys::fs::open_read(&file).and_then(|mut f| {
            // Most of these files are one short line: asking for their size first would take longer than reading them.
            let (mut all, mut piece) = (Vec::new(), [0; 1024]);
            loop {
                match f.read(&mut piece) {
                    Ok(0) => return Ok(all),
                    Ok(n) => all.extend_from_slice(piece.get(..n).unwrap_or_default()),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        });
        match opened {
            Ok(all) => Ok(Some(all)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Unreadable { file, error }),
        }
    }

    /// The first line without trailing blanks and tabs; `None` if there is no such file.
    pub fn line(&self, name: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        let all = self.bytes(name)?;
        Ok(all.map(|all| trim(all.split(|&b| b == b'\n').next().unwrap_or_default()).to_vec()))
    }

    /// Like [`Controls::line`], with the first line of control/me in place of a missing file.
    pub fn line_or_me(&self, name: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        match self.line(name)? {
            Some(l) => Ok(Some(l)),
            None => self.line("me"),
        }
    }

    /// The number that the first line begins with; `None` if there is no such file or no digit.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Unreadable> {
        Ok(self.line(name)?.and_then(|l| leading_number(&l)))
    }

    /// The items of a list file, blanks and tabs at their ends dropped, in order; `None` if there is no such file.
    pub fn list(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>, Unreadable> {
        Ok(self.bytes(name)?.map(|all| items(&all)))
    }

    /// Like [`Controls::list`], with control/me's first line as the only item in place of a missing file.
    pub fn list_or_me(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>, Unreadable> {
        match self.list(name)? {
            Some(l) => Ok(Some(l)),
            None => Ok(self.line("me")?.map(|me| vec![me])),
        }
    }
}

/// The items of a list file with the contents `text`: see [`Controls::list`].
pub fn items(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&b| b == b'\n').map(trim);
    lines.filter(|l| !l.is_empty() && l.first() != Some(&b'#')).map(<[u8]>::to_vec).collect()
}

/// Drops blanks, tabs and newlines at the end, as qmail does with every control line.
fn trim(line: &[u8]) -> &[u8] {
    let keep = line.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\n')).map_or(0, |at| at + 1);
    line.get(..keep).unwrap_or_default()
}

/// The decimal number at the start of `text`; what follows the digits is ignored. A number too large for 64 bits is
/// the largest.
pub fn leading_number(text: &[u8]) -> Option<u64> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let digits = text.iter().take(count).map(|b| u64::from(b - b'0'));
    Some(digits.fold(0u64, |n, d| n.saturating_mul(10).saturating_add(d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_lists_are_read_as_qmail_reads_them() {
        let home = std::env::temp_dir().join(format!("control-{}", std::process::id()));
        std::fs::create_dir_all(home.join("control")).unwrap();
        let c = Controls::of(&home);
        std::fs::write(c.path("me"), "host.test \t\nsecond\n").unwrap();
        std::fs::write(c.path("locals"), "#no\n a \n\nb\t\n#\nc").unwrap();
        std::fs::write(c.path("n"), "12x\n").unwrap();
        assert_eq!(c.line("me").unwrap(), Some(b"host.test".to_vec()));
        assert_eq!(c.line_or_me("helohost").unwrap(), Some(b"host.test".to_vec()));
        assert_eq!(c.list("locals").unwrap(), Some(vec![b" a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
        assert_eq!(c.list_or_me("none").unwrap(), Some(vec![b"host.test".to_vec()]));
        assert_eq!(c.number("n").unwrap(), Some(12));
        assert_eq!(c.list("none").unwrap(), None);
        std::fs::create_dir_all(c.path("dir")).unwrap();
        assert!(c.line("dir").is_err());
        std::fs::remove_dir_all(home).unwrap();
    }
}
