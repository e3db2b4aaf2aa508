//! qmail-newu: compiles users/assign into users/cdb, which qmail-lspawn reads (qmail-users(5)).
//!
//! Started by an administrator. Writes users/cdb.tmp, makes it durable and renames it: deliveries see the old
//! assignments or the new ones, and after any trouble the old ones.
//!
//! Exit codes: 0; 111 trouble, or a bad line in users/assign.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use control::cdb::Writer;
use control::users::{simple_key, wildcard_key};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use sys::Exit;

/// The longest line of users/assign (bytes): more than any six fields need.
const LINE_MAX: u64 = 65536;
const ASSIGN: &str = "users/assign";
const CDB: &str = "users/cdb";
const TEMPORARY: &str = "users/cdb.tmp";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    sys::process::umask(0o033);
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    match compile(&home) {
        Ok(()) => Exit::OK,
        Err(why) => {
            sys::error::complain(&[b"fatal: ", why.as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

fn compile(home: &Path) -> Result<(), &'static str> {
    sys::process::chdir(home).map_err(|_| "unable to chdir")?;
    let assign = File::open(ASSIGN).map_err(|_| "unable to open users/assign")?;
    let temporary = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(TEMPORARY);
    let temporary = temporary.map_err(|_| "unable to open users/cdb.tmp")?;
    let unwritable = |_| "unable to write users/cdb.tmp";
    let mut writer = Writer::new(temporary).map_err(unwritable)?;
    let last_characters = copy(BufReader::new(assign), |key, data| writer.add(key, data).map_err(unwritable))?;
    writer.add(b"", &last_characters).map_err(unwritable)?;
    drop(writer.finish().map_err(unwritable)?);
    let renamed = std::fs::rename(TEMPORARY, CDB).and_then(|()| sys::fs::sync_dir(Path::new("users")));
    renamed.map_err(|_| "unable to move users/cdb.tmp to users/cdb")
}

/// Adds a record for each line up to the one that begins with a dot. Returns the last characters of the wildcards.
fn copy(
    mut assign: impl BufRead,
    mut add: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<Vec<u8>, &'static str> {
    const BAD_FORMAT: &str = "bad format in users/assign";
    let mut last_characters = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = assign.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        read.map_err(|_| "unable to read users/assign")?;
        if line.first() == Some(&b'.') {
            return Ok(last_characters);
        }
        // Without its newline the line is cut off, and so is a file without the dot.
        let assignment = line.strip_suffix(b"\n").and_then(Assignment::parse).ok_or(BAD_FORMAT)?;
        match assignment {
            Assignment::Simple { name, data } => add(&simple_key(name), &data)?,
            Assignment::Wildcard { prefix, data } => {
                if let Some(&last) = prefix.last()
                    && !last_characters.contains(&last)
                {
                    last_characters.push(last);
                }
                add(&wildcard_key(prefix), &data)?;
            }
        }
    }
}

/// A line of users/assign. The data are its six fields with NULs between them.
#[derive(Debug, PartialEq, Eq)]
enum Assignment<'a> {
    /// `=name:user:uid:gid:home:dash:ext:`
    Simple { name: &'a [u8], data: Vec<u8> },
    /// `+prefix:user:uid:gid:home:dash:pre:`
    Wildcard { prefix: &'a [u8], data: Vec<u8> },
}

impl Assignment<'_> {
    /// Parses a line without its newline. As in qmail any first character but `+` is taken for `=`, and what follows
    /// the seventh colon is ignored.
    fn parse(line: &[u8]) -> Option<Assignment<'_>> {
        if line.contains(&0) {
            return None;
        }
        let colon = line.iter().position(|&b| b == b':')?;
        let (sign, name) = line.get(..colon)?.split_first()?;
        let mut fields = line.get(colon + 1..)?.split(|&b| b == b':');
        let first_six: Vec<&[u8]> = fields.by_ref().take(6).collect();
        // Something, though it be nothing, has to follow the sixth field's colon.
        fields.next()?;
        let data = first_six.join(&0);
        Some(match sign {
            b'+' => Assignment::Wildcard { prefix: name, data },
            _ => Assignment::Simple { name, data },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_records() {
        let simple = |name, data: &[u8]| Some(Assignment::Simple { name, data: data.to_vec() });
        let wildcard = |prefix, data: &[u8]| Some(Assignment::Wildcard { prefix, data: data.to_vec() });
        let rows: &[(&[u8], Option<Assignment>)] = &[
            (b"=joe:joe:1:2:/joe:::", simple(b"joe", b"joe\x001\x002\0/joe\0\0")),
            (b"=joe:joe:1:2:/joe:-:x:more:", simple(b"joe", b"joe\x001\x002\0/joe\0-\0x")),
            (b"+joe-:joe:1:2:/joe:-::", wildcard(b"joe-", b"joe\x001\x002\0/joe\0-\0")),
            (b"+:alias:1:2:/alias:-::", wildcard(b"", b"alias\x001\x002\0/alias\0-\0")),
            (b"?joe:::::::", simple(b"joe", b"\0\0\0\0\0")),
            (b"=joe:joe:1:2:/joe::", None),
            (b"=joe", None),
            (b":joe:1:2:/joe:::", None),
            (b"", None),
            (b"=j\0oe:joe:1:2:/joe:::", None),
        ];
        for (line, expected) in rows {
            assert_eq!(Assignment::parse(line), *expected, "{}", line.escape_ascii());
        }
    }

    fn keys(text: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<u8>), &'static str> {
        let mut keys = Vec::new();
        let last = copy(text, |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        Ok((keys, last))
    }

    #[test]
    fn a_dot_ends_the_file_and_must_be_there() {
        let (found, last) =
            keys(b"=Joe:j:1:1:/:::\n+Joe-:j:1:1:/:-::\n+a-:j:1:1:/:-::\n+b+:j:1:1:/:-::\n.rest\n=x\n").unwrap();
        assert_eq!(found, [&b"!joe\0"[..], b"!joe-", b"!a-", b"!b+"]);
        assert_eq!(last, b"-+");
        assert_eq!(keys(b".").unwrap(), (vec![], vec![]));
        for bad in [&b""[..], b"=joe:j:1:1:/:::\n", b"=joe:j:1:1:/:::", b"\n.\n"] {
            assert_eq!(keys(bad), Err("bad format in users/assign"), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let endless = BufReader::new(std::io::repeat(b'x'));
        assert_eq!(copy(endless, |_, _| Ok(())), Err("bad format in users/assign"));
    }
}
