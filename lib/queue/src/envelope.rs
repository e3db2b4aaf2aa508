//! Envelope files: NUL-ended records of a letter and a value (envelopes(5), qmail-internals(7)).

use std::io::{self, BufRead};

/// The longest record that is read (bytes): an address with the longest prefix that makes sense. What is longer did not
/// come from qmail-queue or qmail-todo.
const RECORD_MAX: usize = 10_000;

/// Reads the records of todo, info, local and remote files.
pub struct Records<R> {
    input: R,
    record: Vec<u8>,
    position: u64,
}

/// One record, and where in the file its letter stands.
pub struct Record<'a> {
    /// `u`, `p`, `F`, `T` or `D`; something else in a damaged file. 0 for an empty record.
    pub letter: u8,
    /// What follows the letter, without the NUL.
    pub value: &'a [u8],
    /// Offset of the letter in the file (bytes).
    pub position: u64,
}

impl<R: BufRead> Records<R> {
    /// Starts at the beginning of a file.
    pub fn new(input: R) -> Records<R> {
        Records { input, record: Vec::new(), position: 0 }
    }

    /// The next record; `None` at the end. A last record without its NUL was never finished and is no record. A record
    /// of more than 10000 bytes is `InvalidData`.
    pub fn read(&mut self) -> io::Result<Option<Record<'_>>> {
        self.record.clear();
        loop {
            let seen = self.input.fill_buf()?;
            if seen.is_empty() {
                return Ok(None);
            }
            let end = seen.iter().position(|&b| b == 0);
            let part = seen.get(..end.unwrap_or(seen.len())).unwrap_or_default();
            if self.record.len() + part.len() > RECORD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.record.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        let position = self.position;
        self.position += self.record.len() as u64 + 1;
        let (letter, value) = self.record.split_first().map_or((0, &[][..]), |(l, v)| (*l, v));
        Ok(Some(Record { letter, value, position }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_nul_and_only_there() {
        let file = b"u12\0F\0Ta\nb\0\0Tcut";
        for capacity in 1..20 {
            let mut r = Records::new(io::BufReader::with_capacity(capacity, &file[..]));
            let mut seen = Vec::new();
            while let Some(x) = r.read().unwrap() {
                seen.push((x.letter, x.value.to_vec(), x.position));
            }
            let want: [(u8, &[u8], u64); 4] = [(b'u', b"12", 0), (b'F', b"", 4), (b'T', b"a\nb", 6), (0, b"", 11)];
            assert_eq!(seen, want.map(|(l, v, p)| (l, v.to_vec(), p)));
        }
    }

    #[test]
    fn q6_a_record_without_end_takes_no_memory() {
        let mut r = Records::new(io::BufReader::new(io::Read::take(io::repeat(b'x'), 1 << 30)));
        assert!(r.read().is_err());
    }
}
