//! Bytes that must all be there before the first of them can be sent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is kept in memory; when it is more, all of it goes into a file without a name (bytes).
const MEMORY_MAX: usize = 65536;
/// How many names are tried for a file. Each is free unless somebody wants to be in the way.
const NAMES_MAX: u32 = 100;

/// Takes bytes of any number and gives them out again, as often as wanted.
#[derive(Default)]
pub struct Spool {
    memory: Vec<u8>,
    file: Option<Beyond>,
    length: u64,
}

/// A file that has lost its name: it goes away with this process.
struct Beyond {
    writer: File,
    reader: File,
}

impl Spool {
    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.memory.extend_from_slice(bytes);
        if self.memory.len() <= MEMORY_MAX {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => Beyond::make()?,
        };
        (&file.writer).write_all(&self.memory)?;
        self.memory.clear();
        self.file = Some(file);
        Ok(())
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives all bytes to `out`, in pieces, in order. An error of the file is `Err(Ok(_))`, one of `out` `Err(Err(_))`.
    pub fn replay<E>(&self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Result<io::Error, E>> {
        if let Some(file) = &self.file {
            let mut left = self.length - self.memory.len() as u64;
            (&file.reader).rewind().map_err(Ok)?;
            let mut buffer = vec![0; 16384];
            while left > 0 {
                let n = (&file.reader).read(&mut buffer).map_err(Ok)?;
                let piece = buffer.get(..n).unwrap_or_default();
                if piece.is_empty() {
                    return Err(Ok(io::ErrorKind::UnexpectedEof.into()));
                }
                out(piece).map_err(Err)?;
                left = left.saturating_sub(n as u64);
            }
        }
        out(&self.memory).map_err(Err)
    }
}

impl Beyond {
    /// A new file in TMPDIR, or /tmp.
    fn make() -> io::Result<Beyond> {
        let dir = sys::env::get(b"TMPDIR").filter(|d| !d.is_empty()).unwrap_or_else(|| b"/tmp".to_vec());
        let dir = Path::new(OsStr::from_bytes(&dir));
        let mut last = io::ErrorKind::AlreadyExists.into();
        for _ in 0..NAMES_MAX {
            let (seconds, fraction) = sys::time::stamp();
            let path = dir.join(format!("qmqpc.{}.{seconds}.{fraction}", sys::process::pid().0));
            match sys::fs::create_new(&path, 0o600) {
                Ok(writer) => {
                    let reader = File::open(&path);
                    std::fs::remove_file(&path)?;
                    return Ok(Beyond { writer, reader: reader? });
                }
                Err(e) => last = e,
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in_as_often_as_wanted() {
        for size in [0, 1, MEMORY_MAX - 1, MEMORY_MAX, MEMORY_MAX + 1, 3 * MEMORY_MAX + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut spool = Spool::default();
            bytes.chunks(1000).for_each(|piece| spool.put(piece).unwrap());
            assert_eq!((spool.length(), spool.file.is_some()), (size as u64, size > MEMORY_MAX));
            assert!(spool.memory.len() <= MEMORY_MAX);
            for _ in 0..2 {
                let mut seen = Vec::new();
                let done = spool.replay(|piece| {
                    seen.extend_from_slice(piece);
                    Ok::<(), ()>(())
                });
                assert!(done.is_ok() && seen == bytes);
            }
        }
    }

    #[test]
    fn a_failing_taker_is_told_from_a_failing_file() {
        let mut spool = Spool::default();
        spool.put(b"x").unwrap();
        assert!(matches!(spool.replay(|_| Err(7)), Err(Err(7))));
    }
}
