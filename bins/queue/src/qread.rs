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
use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::Exit;
use sys::fs::Dir;

/// Bytes of the longest record that is believed to be one. Addresses have at most 1002 bytes when they come in, but
/// virtualdomains may put a long name in front of them.
const RECORD_MAX: u64 = 65536;
/// Messages whose files are open at the same time. When the disk has to be asked, it answers so many questions at once
/// in little more time than one; twice as many gained nothing more.
const AT_ONCE: usize = 128;
/// Descriptors for everything but messages.
const OTHER_FILES: u64 = 16;
/// Bytes of info and of local and remote that are fetched ahead: more than most have.
const INFO_BYTES: u32 = 1024;
const LIST_BYTES: u32 = 4096;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    let mut out = BufWriter::with_capacity(8192, sys::fd::STDOUT);
    let listed = match sys::process::chdir(&home).and_then(|()| sys::process::chdir(&queue)) {
        Ok(()) => list_queue(&mut out),
        Err(e) => complain(&mut out, "fatal: unable to chdir", &e).map(|()| Exit::TEMPORARY),
    };
    match listed.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        // Nobody reads the list any more: there is no place to say so.
        Err(_) => Exit::TEMPORARY,
    }
}

/// Lists the queue in the working directory, one subdirectory of info/ after the other, each in the order of the disk.
/// Only the numbers of one subdirectory are in memory. `Err` only if `out` cannot be written.
fn list_queue(out: &mut impl Write) -> io::Result<Exit> {
    let layout = match Layout::find() {
        Ok(layout) => layout,
        Err(e) => return complain(out, "fatal: unable to read mess", &e).map(|()| Exit::TEMPORARY),
    };
    let at_once = messages_at_once(sys::process::open_files_limit());
    let bouncing = names_in("bounce").unwrap_or_default();
    for part in 0..layout.split() {
        let name = format!("info/{part}");
        let mut numbers = match queue::layout::numbers_in(Path::new(&name)) {
            Ok(numbers) => numbers,
            Err(e) => return complain(out, &format!("fatal: unable to opendir {name}"), &e).map(|()| Exit::TEMPORARY),
        };
        let mut ids = Vec::new();
        let whole = numbers.try_for_each(|number| number.map(|id| ids.push(id)));
        let part = Part::find(part);
        for some in ids.chunks(at_once) {
            let messages: Vec<Message> = some.iter().map(|&id| part.open(id, &bouncing)).collect();
            messages.into_iter().try_for_each(|message| message.list(out))?;
        }
        if let Err(e) = whole {
            return complain(out, &format!("fatal: unable to read {name}"), &e).map(|()| Exit::TEMPORARY);
        }
    }
    Ok(Exit::OK)
}

/// How many messages may be open at once: each has three files.
fn messages_at_once(open_files: u64) -> usize {
    let possible = open_files.saturating_sub(OTHER_FILES) / 3;
    usize::try_from(possible).unwrap_or(AT_ONCE).clamp(1, AT_ONCE)
}

/// The messages named in a directory, sorted; `None` if it cannot be read. Asking it for each message would cost more,
/// and the system would remember every name that is not there.
fn names_in(dir: &str) -> Option<Vec<MessNum>> {
    let mut names: Vec<MessNum> = queue::layout::numbers_in(Path::new(dir)).ok()?.collect::<io::Result<_>>().ok()?;
    names.sort_unstable();
    Some(names)
}

/// One subdirectory of each of mess, info, local and remote.
struct Part {
    mess: Dir,
    info: Dir,
    /// With the messages that have recipients there, if that is known.
    channels: [(Channel, Dir, Option<Vec<MessNum>>); 2],
}

impl Part {
    /// Looks at them; later than at the names in info/, since the recipients of those are there by now.
    fn find(part: u64) -> Part {
        let dir = |name: &str| Dir::open(Path::new(&format!("{name}/{part}")));
        let channel = |c: Channel| (c, dir(c.name()), names_in(&format!("{}/{part}", c.name())));
        Part { mess: dir("mess"), info: dir("info"), channels: Channel::BOTH.map(channel) }
    }

    fn open(&self, id: MessNum, bouncing: &[MessNum]) -> Message {
        // A number has no NUL in it.
        let name = CString::new(id.to_string()).unwrap_or_default();
        Message {
            id,
            size: self.mess.size(&name),
            info: self.info.open_ahead(&name, INFO_BYTES),
            is_bouncing: bouncing.binary_search(&id).is_ok(),
            recipients: self.channels.each_ref().map(|(channel, dir, names)| {
                let may_be_there = names.as_ref().is_none_or(|names| names.binary_search(&id).is_ok());
                (*channel, may_be_there.then(|| dir.open_ahead(&name, LIST_BYTES)))
            }),
        }
    }
}

/// A message whose files are open and, if need be, on their way from the disk.
struct Message {
    id: MessNum,
    /// Size in bytes.
    size: io::Result<u64>,
    info: io::Result<File>,
    is_bouncing: bool,
    recipients: [(Channel, Option<io::Result<File>>); 2],
}

impl Message {
    /// Shows it: a line about it, then its recipients.
    fn list(self, out: &mut impl Write) -> io::Result<()> {
        let id = self.id;
        let (size, (time, sender)) = match self.size.and_then(|size| Ok((size, head(self.info?)?))) {
            Ok(found) => found,
            Err(e) => return trouble(out, id, &e),
        };
        let mut date = mess822::date::rfc822(time);
        date.truncate(date.len().saturating_sub(b"-0000".len()));
        out.write_all(&date)?;
        write!(out, "GMT  #{id}  {size}  <")?;
        put_masked(out, &sender)?;
        out.write_all(if self.is_bouncing { b">  bouncing\n" } else { b"> \n" })?;
        for (channel, file) in self.recipients {
            match file {
                Some(Ok(file)) => list_recipients(out, id, channel, file)?,
                Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => trouble(out, id, &e)?,
                // No recipients, or none left by now.
                _ => {}
            }
        }
        Ok(())
    }
}

/// When the message came, and its envelope sender.
fn head(info: File) -> io::Result<(u64, Vec<u8>)> {
    let arrived = info.metadata()?.mtime();
    let mut records = BufReader::with_capacity(1024, info);
    let record = next_record(&mut records)?.unwrap_or_default();
    let sender = record.strip_prefix(b"F").unwrap_or_default().to_vec();
    Ok((u64::try_from(arrived).unwrap_or(0), sender))
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
    fn descriptors_are_left_for_everything_else() {
        for (limit, messages) in [(0, 1), (3, 1), (16, 1), (21, 1), (22, 2), (256, 80), (1024, 128), (u64::MAX, 128)] {
            assert_eq!(messages_at_once(limit), messages, "{limit}");
        }
    }

    #[test]
    fn q6_foreign_bytes_stay_on_their_line() {
        let mut out = Vec::new();
        put_masked(&mut out, b"a\n\x1b[2J\xe4 ~\x7f\0").unwrap();
        assert_eq!(out, b"a__[2J_ ~__");
    }
}
