//! Making a cdb beside the old one and putting it in its place: what tcprules and cdbmake have in common.

use control::cdb::Writer;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::error::{complain, text};

/// A cdb that is being written under its temporary name.
pub struct Making<'a> {
    path: &'a [u8],
    temporary: &'a [u8],
    writer: Writer,
}

/// The step that failed; the old file stays as it was.
pub enum Failed<'a> {
    /// The temporary file could not be made.
    Create(&'a [u8], io::Error),
    /// It could not be filled or made durable.
    Write(&'a [u8], io::Error),
    /// It could not be moved to its place.
    Move(&'a [u8], &'a [u8], io::Error),
}

impl Failed<'_> {
    /// Says so on fd 2.
    pub fn complain(&self) {
        match self {
            Failed::Create(file, e) => complain(&[b"fatal: unable to create ", file, b": ", text(e).as_bytes()]),
            Failed::Write(file, e) => complain(&[b"fatal: unable to write to ", file, b": ", text(e).as_bytes()]),
            Failed::Move(from, to, e) => {
                complain(&[b"fatal: unable to move ", from, b" to ", to, b": ", text(e).as_bytes()]);
            }
        }
    }
}

impl<'a> Making<'a> {
    /// Starts a cdb that is to become `path`, in the file `temporary` of the same file system. A file of that name is
    /// overwritten.
    pub fn start(path: &'a [u8], temporary: &'a [u8]) -> Result<Making<'a>, Failed<'a>> {
        let file = std::fs::File::create(as_path(temporary)).map_err(|e| Failed::Create(temporary, e))?;
        let writer = Writer::new(file).map_err(|e| Failed::Write(temporary, e))?;
        Ok(Making { path, temporary, writer })
    }

    /// Adds a record.
    pub fn add(&mut self, key: &[u8], data: &[u8]) -> Result<(), Failed<'a>> {
        self.writer.add(key, data).map_err(|e| Failed::Write(self.temporary, e))
    }

    /// Completes the cdb, makes it durable and moves it into place.
    pub fn finish(self) -> Result<(), Failed<'a>> {
        drop(self.writer.finish().map_err(|e| Failed::Write(self.temporary, e))?);
        let path = as_path(self.path);
        std::fs::rename(as_path(self.temporary), path).map_err(|e| Failed::Move(self.temporary, self.path, e))?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sys::fs::sync_dir(dir).map_err(|e| Failed::Write(self.path, e))
    }
}

/// Bytes as a path.
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
