//! qmail-qread lists the messages in the queue, with their recipients.
//!
//! Started by people; as root or qmails, for only they can read home/queue. No arguments. Standard output: for each
//! preprocessed message a line `DATE GMT  #ID  SIZE  <SENDER> `, then one line per recipient with its channel, marked
//! `  done` when finished. Complaints go there too, between the messages they belong to.
//! Files: queue/info, queue/mess, queue/local, queue/remote, queue/bounce, only read. A message that arrives or leaves
//! meanwhile may be missing or incomplete in the list.
//! Exit: 0 listed, 111 the queue cannot be read.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use queue::{Channel, Layout, MessNum};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;

/// Bytes of the longest record that is believed to be one. Addresses have at most 1002 bytes when they come in, but
/// virtualdomains may put a long name in front of them.
const RECORD_MAX: u64 = 65536;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let mut out = BufWriter::with_capacity(8192, sys::fd::STDOUT);
    let listed = match sys::process::chdir(&home).and_then(|()| sys::process::chdir(Path::new("queue"))) {
        Ok(()) => list_queue(&mut out),
        Err(e) => complain(&mut out, "fatal: unable to chdir", &e).map(|()| Exit::TEMPORARY),
    };
    match listed.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        // Nobody reads the list any more: there is no place to say so.
        Err(_) => Exit::TEMPORARY,
    }
}

/// Lists the queue in the working directory, one subdirectory of info/ after the other, each as it comes from the
/// disk: the number of messages costs no memory. `Err` only if `out` cannot be written.
fn list_queue(out: &mut impl Write) -> io::Result<Exit> {
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(e) => return complain(out, "fatal: unable to read mess", &e).map(|()| Exit::TEMPORARY),
    };
    for part in 0..layout.split() {
        let name = format!("info/{part}");
        let numbers = match queue::layout::numbers_in(Path::new(&name)) {
            Ok(numbers) => numbers,
            Err(e) => return complain(out, &format!("fatal: unable to opendir {name}"), &e).map(|()| Exit::TEMPORARY),
        };
        for number in numbers {
            match number {
                Ok(number) => list_message(out, layout, number)?,
                Err(e) => return complain(out, &format!("fatal: unable to read {name}"), &e).map(|()| Exit::TEMPORARY),
            }
        }
    }
    Ok(Exit::OK)
}

/// Shows one message: a line about it, then its recipients.
fn list_message(out: &mut impl Write, layout: Layout, id: MessNum) -> io::Result<()> {
    let (size, time, sender) = match head(layout, id) {
        Ok(found) => found,
        Err(e) => return trouble(out, id, &e),
    };
    let mut date = mess822::date::rfc822(time);
    date.truncate(date.len().saturating_sub(b"-0000".len()));
    out.write_all(&date)?;
    write!(out, "GMT  #{id}  {size}  <")?;
    put_masked(out, &sender)?;
    out.write_all(b"> ")?;
    if layout.bounce(id).exists() {
        out.write_all(b" bouncing")?;
    }
    out.write_all(b"\n")?;
    for channel in Channel::BOTH {
        match File::open(layout.recipients(id, channel)) {
            Ok(file) => list_recipients(out, id, channel, file)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => trouble(out, id, &e)?,
        }
    }
    Ok(())
}

/// Size of the message in bytes, when it came, and its envelope sender.
fn head(layout: Layout, id: MessNum) -> io::Result<(u64, u64, Vec<u8>)> {
    let size = std::fs::metadata(layout.mess(id))?.len();
    let info = File::open(layout.info(id))?;
    let arrived = info.metadata()?.mtime();
    let mut records = BufReader::with_capacity(1024, info);
    let record = next_record(&mut records)?.unwrap_or_default();
    let sender = record.strip_prefix(b"F").unwrap_or_default().to_vec();
    Ok((size, u64::try_from(arrived).unwrap_or(0), sender))
}

/// Shows the recipients of one channel, `T` to be tried and `D` done. Records of other kinds are none of ours.
fn list_recipients(out: &mut impl Write, id: MessNum, channel: Channel, file: File) -> io::Result<()> {
    let mut records = BufReader::with_capacity(4096, file);
    loop {
        let record = match next_record(&mut records) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(()),
            Err(e) => return trouble(out, id, &e),
        };
        let (mark, address) = match record.split_first() {
            Some((b'D', address)) => ("  done", address),
            Some((b'T', address)) => ("", address),
            _ => continue,
        };
        write!(out, "{mark}\t{}\t", channel.name())?;
        put_masked(out, address)?;
        out.write_all(b"\n")?;
    }
}

/// The next NUL-ended record, without its NUL. `None` at the end of the file; what a crash left there without a NUL is
/// no record. `Err(InvalidData)` if it is longer than any record can be.
fn next_record(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut record = Vec::new();
    from.take(RECORD_MAX + 1).read_until(0, &mut record)?;
    if record.pop() == Some(0) {
        return Ok(Some(record));
    }
    if u64::try_from(record.len()).is_ok_and(|length| length < RECORD_MAX) {
        return Ok(None);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Writes what a stranger wrote so that it stays on its line: anything but printable ASCII becomes `_`.
fn put_masked(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let masked: Vec<u8> = text.iter().map(|&b| if matches!(b, b' '..=b'~') { b } else { b'_' }).collect();
    out.write_all(&masked)
}

fn trouble(out: &mut impl Write, id: MessNum, e: &io::Error) -> io::Result<()> {
    complain(out, &format!("warning: trouble with #{id}"), e)
}

fn complain(out: &mut impl Write, what: &str, e: &io::Error) -> io::Result<()> {
    writeln!(out, "{what}: {}", sys::error::text(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_with_nul_or_are_none() {
        let long = [vec![b'T'; 65536], vec![0]].concat();
        let cut = vec![b'T'; 65535];
        type Row<'a> = (&'a [u8], Result<Option<usize>, io::ErrorKind>);
        let rows: &[Row<'_>] = &[
            (b"", Ok(None)),
            (b"\0", Ok(Some(0))),
            (b"Ta@b\0Tc", Ok(Some(4))),
            (b"Ta@b", Ok(None)),
            (&cut, Ok(None)),
            (&long, Ok(Some(65536))),
            (&vec![b'T'; 65537], Err(io::ErrorKind::InvalidData)),
            (&vec![b'T'; 1 << 20], Err(io::ErrorKind::InvalidData)),
        ];
        for (bytes, expected) in rows {
            let mut from = *bytes;
            let got = next_record(&mut from).map(|r| r.map(|r| r.len())).map_err(|e| e.kind());
            assert_eq!(got, *expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn q6_foreign_bytes_stay_on_their_line() {
        let mut out = Vec::new();
        put_masked(&mut out, b"a\n\x1b[2J\xe4 ~\x7f\0").unwrap();
        assert_eq!(out, b"a__[2J_ ~__");
    }
}
