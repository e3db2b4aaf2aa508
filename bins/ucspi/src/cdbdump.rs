//! cdbdump: prints all records of the constant database on fd 0, in the form that cdbmake reads.
//!
//! Called as `cdbdump` with the database on fd 0, a file or a pipe; it is read once from its start to the end of the
//! records, a bit at a time. Prints on fd 1.
//!
//! Exit codes: 0 done; 111 trouble with input or output, or a damaged database.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use sys::Exit;
use sys::error::{complain, text};

/// Positions and sizes of the 256 tables stand before the records.
const HEADER_BYTES: u64 = 2048;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let mut output = BufWriter::with_capacity(16384, sys::fd::STDOUT);
    let dumped = dump(&mut BufReader::with_capacity(16384, sys::fd::STDIN), &mut output);
    let dumped = dumped.and_then(|()| output.flush().map_err(Trouble::Output));
    match dumped {
        Ok(()) => Exit::OK,
        Err(Trouble::Input(e)) => {
            let reason = match e.kind() {
                ErrorKind::InvalidData => "bad format",
                ErrorKind::UnexpectedEof => "truncated file",
                _ => text(&e),
            };
            complain(&[b"fatal: unable to read input: ", reason.as_bytes()]);
            Exit::TEMPORARY
        }
        Err(Trouble::Output(e)) => {
            complain(&[b"fatal: unable to write output: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// On which side it went wrong.
#[derive(Debug)]
enum Trouble {
    Input(io::Error),
    Output(io::Error),
}

fn dump(input: &mut impl Read, output: &mut impl Write) -> Result<(), Trouble> {
    // The first table stands right behind the last record.
    let (end, _) = pair(input)?;
    copy(input, HEADER_BYTES - 8, &mut io::sink())?;
    let mut at = HEADER_BYTES;
    while at < u64::from(end) {
        let (key, data) = pair(input)?;
        at += 8 + u64::from(key) + u64::from(data);
        if at > u64::from(end) {
            return Err(Trouble::Input(ErrorKind::InvalidData.into()));
        }
        write!(output, "+{key},{data}:").map_err(Trouble::Output)?;
        copy(input, u64::from(key), output)?;
        output.write_all(b"->").map_err(Trouble::Output)?;
        copy(input, u64::from(data), output)?;
        output.write_all(b"\n").map_err(Trouble::Output)?;
    }
    output.write_all(b"\n").map_err(Trouble::Output)
}

/// Two numbers of 32 bits.
fn pair(input: &mut impl Read) -> Result<(u32, u32), Trouble> {
    let (mut first, mut second) = ([0; 4], [0; 4]);
    input.read_exact(&mut first).and_then(|()| input.read_exact(&mut second)).map_err(Trouble::Input)?;
    Ok((u32::from_le_bytes(first), u32::from_le_bytes(second)))
}

/// Copies `length` bytes through a small buffer.
fn copy(input: &mut impl Read, mut length: u64, output: &mut impl Write) -> Result<(), Trouble> {
    let mut buffer = [0; 4096];
    while length > 0 {
        let want = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..want).unwrap_or_default();
        input.read_exact(part).map_err(Trouble::Input)?;
        output.write_all(part).map_err(Trouble::Output)?;
        length -= want as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Vec<u8> {
        let mut file = control::cdb::Writer::new(tempfile::tempfile().unwrap()).unwrap();
        file.add(b"one", b"Hello").unwrap();
        file.add(b"", b"a\nb").unwrap();
        let mut file = file.finish().unwrap();
        let mut all = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn records_come_out_as_cdbmake_takes_them() {
        let mut out = Vec::new();
        dump(&mut database().as_slice(), &mut out).unwrap();
        assert_eq!(out, b"+3,5:one->Hello\n+0,3:->a\nb\n\n");
    }

    #[test]
    fn d5_a_database_cut_within_its_records_is_an_error() {
        let whole = database();
        let end = 2048 + 8 + 3 + 5 + 8 + 3;
        for length in 0..end {
            let cut = dump(&mut whole.get(..length).unwrap(), &mut Vec::new());
            assert!(matches!(cut, Err(Trouble::Input(_))), "{length}");
        }
        assert!(dump(&mut whole.get(..end).unwrap(), &mut Vec::new()).is_ok());
    }

    #[test]
    fn d5_lengths_beyond_the_records_are_an_error() {
        let mut bad = database();
        bad[2048 + 4] = 255;
        let result = dump(&mut bad.as_slice(), &mut Vec::new());
        assert!(matches!(result, Err(Trouble::Input(e)) if e.kind() == ErrorKind::InvalidData));
    }
}
