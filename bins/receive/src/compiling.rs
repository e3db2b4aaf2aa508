//! What the compilers of lists have in common: a text below home is read, a cdb takes the place of the old one.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::{Exit, error, process};

/// A record: key and data.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The files of a list, below home: its text, its cdb, and the cdb while it is written.
pub struct Files {
    /// What people write.
    pub list: &'static str,
    /// What programs read.
    pub cdb: &'static str,
    /// In the same directory.
    pub temporary: &'static str,
}

/// Compiles a list. `entries` makes records of the whole text; a line that it gives back as an error is shown on fd 2,
/// and the old cdb stays, as after any error.
pub fn compile(files: &Files, entries: impl FnOnce(&[u8]) -> Result<Vec<Entry>, Vec<u8>>) -> Exit {
    process::umask(0o033);
    let home = conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    if let Err(e) = process::chdir(&home) {
        return fatal(&[b"unable to chdir to ", home.as_os_str().as_bytes()], &e);
    }
    let &Files { list, cdb, temporary } = files;
    let text = match std::fs::read(list) {
        Ok(text) => text,
        Err(e) => return fatal(&[b"unable to read ", list.as_bytes()], &e),
    };
    let entries = match entries(&text) {
        Ok(entries) => entries,
        Err(line) => {
            error::complain(&[b"fatal: unable to parse this line: ", &printable(&line)]);
            return Exit::PERMANENT;
        }
    };
    let made = control::cdb::replace(Path::new(cdb), Path::new(temporary), 0o644, |writer| {
        entries.iter().try_for_each(|(key, data)| writer.add(key, data))
    });
    match made {
        Ok(()) => Exit::OK,
        Err(e) => fatal(&[b"unable to write to ", temporary.as_bytes()], &e),
    }
}

/// The line as it may be shown on a terminal: its first 200 bytes, what is not ASCII text as `?`.
fn printable(line: &[u8]) -> Vec<u8> {
    line.iter().take(200).map(|&b| if (b' '..=b'~').contains(&b) { b } else { b'?' }).collect()
}

fn fatal(what: &[&[u8]], e: &io::Error) -> Exit {
    error::complain(&[b"fatal: ", &what.concat(), b": ", error::text(e).as_bytes()]);
    Exit::TEMPORARY
}
