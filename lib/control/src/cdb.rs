//! D. J. Bernstein's constant database, to the byte: reading by position, writing in one pass.
//!
//! A file begins with 256 pairs (position, slots) of hash tables, then the records (key length, data length, key,
//! data), then the tables. All numbers are 32 bits, least significant byte first.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: u64 = 2048;

type Header = [u8; HEADER_BYTES as usize];

/// The hash of a key.
pub fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |h: u32, &b| (h << 5).wrapping_add(h) ^ u32::from(b))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged cdb")
}

fn pair(file: &File, at: u64) -> io::Result<(u32, u32)> {
    let mut b = [0; 8];
    file.read_exact_at(&mut b, at).map_err(|_| damaged())?;
    let [a0, a1, a2, a3, b0, b1, b2, b3] = b;
    Ok((u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([b0, b1, b2, b3])))
}

/// An open cdb. Every read is checked against the file's size: a cut or garbled file gives an error, no more.
#[derive(Debug)]
pub struct Cdb {
    file: File,
    size: u64,
    header: OnceCell<Box<Header>>,
}

impl Cdb {
    /// Opens a cdb file. A missing file is `NotFound`.
    pub fn open(path: &Path) -> io::Result<Cdb> {
        Cdb::from_file(sys::fs::open_read(path)?)
    }

    /// Reads an open file as a cdb.
    pub fn from_file(file: File) -> io::Result<Cdb> {
        let size = file.metadata()?.len();
        Ok(Cdb { file, size, header: OnceCell::new() })
    }

    /// The data of the first record with `key`.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.find(key).next().transpose()
    }

    /// The data of all records with `key`, in the order of the file.
    pub fn find<'a>(&'a self, key: &'a [u8]) -> Find<'a> {
        Find { cdb: self, key, hash: hash(key), slot: None, done: false }
    }

    /// All records in the order of the file: (key, data).
    pub fn records(&self) -> Records<'_> {
        Records { cdb: self, at: HEADER_BYTES, end: None, failed: false }
    }

    /// Position and slots of the table for `hash`. The header is read at the first look-up, for all that follow: who
    /// asks for many keys that are not there, as for the networks that may hold an address, mostly meets empty tables.
    fn table(&self, hash: u32) -> io::Result<(u32, u32)> {
        let header = match self.header.get() {
            Some(header) => header,
            None => {
                let mut header = Box::new([0; HEADER_BYTES as usize]);
                self.file.read_exact_at(header.as_mut_slice(), 0).map_err(|_| damaged())?;
                self.header.get_or_init(|| header)
            }
        };
        let at = (hash & 255) as usize * 8;
        match header.get(at..at + 8) {
            Some(&[a0, a1, a2, a3, b0, b1, b2, b3]) => {
                Ok((u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([b0, b1, b2, b3])))
            }
            _ => Err(damaged()),
        }
    }

    fn bytes(&self, at: u64, len: u32) -> io::Result<Vec<u8>> {
        let len = u64::from(len);
        if at > self.size || self.size - at < len {
            return Err(damaged());
        }
        let mut buf = vec![0; usize::try_from(len).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut buf, at).map_err(|_| damaged())?;
        Ok(buf)
    }
}

/// See [`Cdb::find`].
pub struct Find<'a> {
    cdb: &'a Cdb,
    key: &'a [u8],
    hash: u32,
    /// Position of the table, its slots, the slot to look at next, slots looked at.
    slot: Option<(u64, u32, u32, u32)>,
    done: bool,
}

impl Find<'_> {
    fn step(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (table, slots, mut slot, mut seen) = match self.slot {
            Some(s) => s,
            None => {
                let (table, slots) = self.cdb.table(self.hash)?;
                (u64::from(table), slots, (self.hash >> 8).checked_rem(slots).unwrap_or(0), 0)
            }
        };
        while seen < slots {
            let (h, at) = pair(&self.cdb.file, table + u64::from(slot) * 8)?;
            if at == 0 {
                return Ok(None);
            }
            seen += 1;
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
            self.slot = Some((table, slots, slot, seen));
            if h == self.hash {
                let at = u64::from(at);
                let (klen, dlen) = pair(&self.cdb.file, at)?;
                if klen as usize == self.key.len() && self.cdb.bytes(at + 8, klen)? == self.key {
                    return Ok(Some(self.cdb.bytes(at + 8 + u64::from(klen), dlen)?));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Find<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let found = self.step().transpose();
        self.done = !matches!(found, Some(Ok(_)));
        found
    }
}

/// See [`Cdb::records`].
pub struct Records<'a> {
    cdb: &'a Cdb,
    at: u64,
    end: Option<u64>,
    failed: bool,
}

impl Records<'_> {
    fn step(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let end = match self.end {
            Some(e) => e,
            // The first table follows the last record.
            None => *self.end.insert(u64::from(pair(&self.cdb.file, 0)?.0)),
        };
        if self.at >= end {
            return Ok(None);
        }
        let (klen, dlen) = pair(&self.cdb.file, self.at)?;
        let key = self.cdb.bytes(self.at + 8, klen)?;
        let data = self.cdb.bytes(self.at + 8 + u64::from(klen), dlen)?;
        self.at += 8 + u64::from(klen) + u64::from(dlen);
        Ok(Some((key, data)))
    }
}

impl Iterator for Records<'_> {
    type Item = io::Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let r = self.step().transpose();
        self.failed = matches!(r, Some(Err(_)));
        r
    }
}

/// Writes a cdb, byte for byte what the original cdbmake writes.
pub struct Writer {
    out: BufWriter<File>,
    at: u64,
    entries: Vec<(u32, u32)>,
}

impl Writer {
    /// Starts at the beginning of an empty, seekable file.
    pub fn new(file: File) -> io::Result<Writer> {
        let mut out = BufWriter::with_capacity(16384, file);
        out.seek(SeekFrom::Start(HEADER_BYTES))?;
        Ok(Writer { out, at: HEADER_BYTES, entries: Vec::new() })
    }

    /// Adds a record. More than 4 GiB in all is an error.
    pub fn add(&mut self, key: &[u8], data: &[u8]) -> io::Result<()> {
        let too_big = || io::Error::from(io::ErrorKind::FileTooLarge);
        let at = u32::try_from(self.at).map_err(|_| too_big())?;
        let klen = u32::try_from(key.len()).map_err(|_| too_big())?;
        let dlen = u32::try_from(data.len()).map_err(|_| too_big())?;
        self.out.write_all(&klen.to_le_bytes())?;
        self.out.write_all(&dlen.to_le_bytes())?;
        self.out.write_all(key)?;
        self.out.write_all(data)?;
        self.entries.push((hash(key), at));
        self.at += 8 + u64::from(klen) + u64::from(dlen);
        Ok(())
    }

    /// Writes the tables and the header and syncs; gives the file back, complete and durable in its contents.
    pub fn finish(mut self) -> io::Result<File> {
        let mut header = Vec::with_capacity(2048);
        for low in 0..256u32 {
            let mine: Vec<_> = self.entries.iter().filter(|e| e.0 & 255 == low).collect();
            let at = u32::try_from(self.at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            let slots = mine.len() * 2;
            header.extend_from_slice(&at.to_le_bytes());
            header.extend_from_slice(&u32::try_from(slots).unwrap_or(u32::MAX).to_le_bytes());
            let mut table = vec![(0u32, 0u32); slots];
            for &&(h, position) in &mine {
                let mut i = (h >> 8) as usize % slots;
                while table.get(i).is_some_and(|s| s.1 != 0) {
                    i = if i + 1 == slots { 0 } else { i + 1 };
                }
                if let Some(slot) = table.get_mut(i) {
                    *slot = (h, position);
                }
            }
            for (h, position) in table {
                self.out.write_all(&h.to_le_bytes())?;
                self.out.write_all(&position.to_le_bytes())?;
                self.at += 8;
            }
        }
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        let file = self.out.into_inner().map_err(|e| e.into_error())?;
        file.sync_all()?;
        Ok(file)
    }
}

/// Replaces `path` by a cdb made through `temporary` (a file beside it): written, synced, renamed, and the name synced.
/// On any error the old file stays as it was.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    temporary: &Path,
    mode: u32,
    fill: impl FnOnce(&mut Writer) -> Result<(), E>,
) -> Result<(), E> {
    use std::os::unix::fs::OpenOptionsExt;
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(temporary)?;
    let mut writer = Writer::new(open)?;
    fill(&mut writer)?;
    drop(writer.finish()?);
    std::fs::rename(temporary, path)?;
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sys::fs::sync_dir(dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("cdb-{name}-{}", std::process::id()))
    }

    fn make(name: &str, records: &[(&[u8], &[u8])]) -> std::path::PathBuf {
        let (path, tmp) = (scratch(name), scratch(&format!("{name}.tmp")));
        replace::<io::Error>(&path, &tmp, 0o644, |w| records.iter().try_for_each(|(k, d)| w.add(k, d))).unwrap();
        path
    }

    #[test]
    fn what_was_written_is_found() {
        let path = make("find", &[(b"one", b"1"), (b"two", b"2"), (b"one", b"11"), (b"", b"empty")]);
        let cdb = Cdb::open(&path).unwrap();
        assert_eq!(cdb.get(b"two").unwrap(), Some(b"2".to_vec()));
        assert_eq!(cdb.get(b"").unwrap(), Some(b"empty".to_vec()));
        assert_eq!(cdb.get(b"three").unwrap(), None);
        let ones: Vec<_> = cdb.find(b"one").map(Result::unwrap).collect();
        assert_eq!(ones, [b"1".to_vec(), b"11".to_vec()]);
        assert_eq!(cdb.records().count(), 4);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_empty_cdb_is_valid() {
        let path = make("empty", &[]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2048);
        assert_eq!(Cdb::open(&path).unwrap().get(b"x").unwrap(), None);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn d5_cut_at_every_length_gives_error_or_answer_never_a_crash() {
        let path = make("cut", &[(b"key", b"data"), (b"other", b"more data")]);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, whole.get(..len).unwrap()).unwrap();
            let cdb = Cdb::open(&path).unwrap();
            if let Ok(Some(d)) = cdb.get(b"key") {
                assert_eq!(d, b"data");
            }
            assert!(cdb.records().take(10).count() <= 3);
        }
        std::fs::remove_file(path).unwrap();
    }
}
