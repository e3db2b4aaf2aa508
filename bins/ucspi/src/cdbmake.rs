//! cdbmake: makes a constant database from records on fd 0.
//!
//! Called as `cdbmake f ftmp`, under any user who may write the two files. The input is a series of records
//! `+klen,dlen:key->data` newline, and one more newline at its end. Writes ftmp and moves it to f; after any error f is
//! as it was.
//!
//! Exit codes: 0 done; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod making;

use making::{Failed, Making};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use sys::Exit;
use sys::error::{complain, text};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let &[path, temporary, ..] = args.as_slice() else {
        complain(&[b"usage: cdbmake f ftmp"]);
        return Exit::TEMPORARY;
    };
    match make(path, temporary) {
        Ok(()) => Exit::OK,
        Err(Stop::Output(failed)) => {
            failed.complain();
            Exit::TEMPORARY
        }
        Err(Stop::Input(e)) => {
            let reason = match e.kind() {
                ErrorKind::InvalidData => "bad format",
                ErrorKind::UnexpectedEof => "truncated file",
                _ => text(&e),
            };
            complain(&[b"fatal: unable to read input: ", reason.as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// Why there is no new cdb.
enum Stop<'a> {
    Output(Failed<'a>),
    Input(io::Error),
}

fn make<'a>(path: &'a [u8], temporary: &'a [u8]) -> Result<(), Stop<'a>> {
    let mut making = Making::start(path, temporary).map_err(Stop::Output)?;
    let mut input = BufReader::with_capacity(65536, sys::fd::STDIN);
    while let Some((key, data)) = record(&mut input).map_err(Stop::Input)? {
        making.add(&key, &data).map_err(Stop::Output)?;
    }
    making.finish().map_err(Stop::Output)
}

/// The next record: key and data; `None` at the final newline.
fn record(input: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    match byte(input)? {
        b'\n' => return Ok(None),
        b'+' => {}
        _ => return Err(ErrorKind::InvalidData.into()),
    }
    let key_length = length(input, b',')?;
    let data_length = length(input, b':')?;
    let key = bytes(input, key_length)?;
    expect(input, b"->")?;
    let data = bytes(input, data_length)?;
    expect(input, b"\n")?;
    Ok(Some((key, data)))
}

fn byte(input: &mut impl BufRead) -> io::Result<u8> {
    let mut b = [0];
    input.read_exact(&mut b)?;
    let [b] = b;
    Ok(b)
}

fn expect(input: &mut impl BufRead, what: &[u8]) -> io::Result<()> {
    what.iter().try_for_each(|&b| if byte(input)? == b { Ok(()) } else { Err(ErrorKind::InvalidData.into()) })
}

/// Digits up to `end`. No digits are 0; more than the format can hold is bad format.
fn length(input: &mut impl BufRead, end: u8) -> io::Result<u32> {
    let bad = || io::Error::from(ErrorKind::InvalidData);
    let mut n = 0u32;
    loop {
        let b = byte(input)?;
        if b == end {
            return Ok(n);
        }
        let digit = if b.is_ascii_digit() { u32::from(b - b'0') } else { return Err(bad()) };
        n = n.checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or_else(bad)?;
    }
}

/// The next `length` bytes. Memory grows with what really comes, not with what was announced.
fn bytes(input: &mut impl BufRead, length: u32) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut all)?;
    if all.len() as u64 == u64::from(length) { Ok(all) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_their_ends() {
        let mut input: &[u8] = b"+5,3:a\nb\0c->->\n\n+0,0:->\n\nrest";
        assert_eq!(record(&mut input).unwrap(), Some((b"a\nb\0c".to_vec(), b"->\n".to_vec())));
        assert_eq!(record(&mut input).unwrap(), Some((vec![], vec![])));
        assert_eq!(record(&mut input).unwrap(), None);
        assert_eq!(input, b"rest");
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let rows: &[(&[u8], ErrorKind)] = &[
            (b"", ErrorKind::UnexpectedEof),
            (b"3,5:one->Hello\n", ErrorKind::InvalidData),
            (b"+3,2:one->Hello\n", ErrorKind::InvalidData),
            (b"+3,5:one=>Hello\n", ErrorKind::InvalidData),
            (b"+x,5:one->Hello\n", ErrorKind::InvalidData),
            (b"+-1,5:one->Hello\n", ErrorKind::InvalidData),
            (b"+4294967296,5:one->Hello\n", ErrorKind::InvalidData),
            (b"+4294967295,5:one->Hello\n", ErrorKind::UnexpectedEof),
            (b"+3,5:one->Hello", ErrorKind::UnexpectedEof),
            (b"+3,5:on", ErrorKind::UnexpectedEof),
        ];
        for (input, kind) in rows {
            assert_eq!(record(&mut &input[..]).unwrap_err().kind(), *kind, "{}", input.escape_ascii());
        }
    }
}
