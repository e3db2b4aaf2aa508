//! qmail-queue: puts one message into the queue.
//!
//! Started by everything that submits mail, installed set-user-ID qmailq. Reads the message from fd 0, then the envelope
//! from fd 1 (`F` sender NUL, `T` recipient NUL ..., NUL). Touches queue/pid, mess, intd, todo and lock/trigger, nothing
//! else. Runs no program but the scanner that QHPSI names, if it does. Exit codes: [`Trouble`]; 0 means that the message is
//! on the disk, contents and names, and will be delivered whatever happens to this host's power (qmail-internals(7)).
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

#[path = "queue/scan.rs"]
mod scan;

use queue::layout::{Layout, MessNum};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys::Exit;
use sys::fd::{Fd, STDIN, STDOUT};

/// How long one submission may take: 24 hours. It must be less than the 36 hours after which unfinished files are swept.
const DEATH_SECS: u32 = 86400;
/// What is read and written at a time (bytes).
const BUFFER_BYTES: usize = 65536;
/// Names tried in pid/ before giving up.
const PID_TRIES: u32 = 9;

/// Why a message was not queued: the exit code says so (qmail-queue(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    AddressTooLong = 11,
    Virus = 32,
    Timeout = 52,
    Write = 53,
    Read = 54,
    Home = 61,
    QueueDir = 62,
    PidFile = 63,
    MessFile = 64,
    IntdFile = 65,
    TodoFile = 66,
    Scanner = 71,
    Envelope = 91,
}

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    // Set-user-ID: nothing of what the caller left behind may matter.
    sys::signal::unblock_all();
    sys::signal::ignore(sys::signal::SIGPIPE);
    sys::signal::exit_after(DEATH_SECS, Trouble::Timeout as u8);
    sys::process::umask(0o033);
    match accept() {
        Ok(()) => Exit::OK,
        Err(trouble) => Exit(trouble as u8),
    }
}

fn accept() -> Result<(), Trouble> {
    // Before anything is opened: a new file would take the number of a closed descriptor.
    if !STDIN.is_open() || !STDOUT.is_open() {
        return Err(Trouble::Read);
    }
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    sys::process::chdir(&home).map_err(|_| Trouble::Home)?;
    let received = received_field(&home);
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    sys::process::chdir(&queue).map_err(|_| Trouble::QueueDir)?;
    let layout = Layout::find().map_err(|_| Trouble::QueueDir)?;

    let (mut mess, pid_name) = new_message()?;
    let number = MessNum(mess.metadata().map_err(|_| Trouble::PidFile)?.ino());
    let mut files = Unfinished { mess: layout.mess(number), intd: None, done: false };
    sys::fs::move_new(&pid_name, &files.mess).map_err(|_| {
        // The name belongs to another message, or there is no room for it: that one is not to be cleaned up.
        files.done = true;
        let _ = std::fs::remove_file(&pid_name);
        Trouble::MessFile
    })?;
    copy_message(&mut mess, &received)?;

    let intd_name = layout.intd(number);
    let mut intd = sys::fs::create_new(&intd_name, 0o644).map_err(|_| Trouble::IntdFile)?;
    files.intd = Some(intd_name.clone());
    if copy_envelope(&mut intd)? == Content::Unknown {
        scan::pass(&home, &mess, &files.mess)?;
    }

    publish(&mess, &intd, &files.mess, &intd_name, &layout.todo(number))?;
    files.done = true;
    sync_parent(&layout.todo(number)).map_err(|_| Trouble::TodoFile)?;
    queue::trigger::pull();
    Ok(())
}

/// Makes contents and names of both files durable, then gives the envelope its name in todo, which is what queues the
/// message. That name is not durable yet.
fn publish(mess: &File, intd: &File, mess_name: &Path, intd_name: &Path, todo_name: &Path) -> Result<(), Trouble> {
    // Both files on their way at once: the syncs then wait for one flush where the disk can do it.
    sys::fs::start_writeback(mess);
    sys::fs::start_writeback(intd);
    mess.sync_all().map_err(|_| Trouble::Write)?;
    intd.sync_all().map_err(|_| Trouble::Write)?;
    if !sys::fs::sync_covers_name(mess) {
        sync_parent(mess_name).map_err(|_| Trouble::Write)?;
    }
    // The name in intd needs no sync: todo will be the only name that matters.
    std::fs::hard_link(intd_name, todo_name).map_err(|_| Trouble::TodoFile)
}

fn sync_parent(name: &Path) -> io::Result<()> {
    sys::fs::sync_dir(name.parent().unwrap_or(Path::new(".")))
}

/// The files made so far; they are removed unless the message was queued. Never called from a signal handler: after
/// [`DEATH_SECS`] the files stay for qmail-send to sweep.
struct Unfinished {
    mess: PathBuf,
    intd: Option<PathBuf>,
    done: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // intd first: while mess exists its number is taken. What can not be removed is swept after 36 hours.
        if let Some(intd) = &self.intd {
            let _ = std::fs::remove_file(intd);
        }
        let _ = std::fs::remove_file(&self.mess);
    }
}

/// A new file in pid/ under a name of its own.
fn new_message() -> Result<(File, PathBuf), Trouble> {
    let (pid, now) = (sys::process::pid().0, sys::time::now());
    for sequence in 1..=PID_TRIES {
        let name = PathBuf::from(format!("pid/{pid}.{now}.{sequence}"));
        if let Ok(file) = sys::fs::create_new(&name, 0o644) {
            return Ok((file, name));
        }
    }
    Err(Trouble::PidFile)
}

/// `Received: (qmail PID invoked by uid N); date`.
fn received_field(home: &Path) -> Vec<u8> {
    let uid = sys::process::uid().0;
    let ids = conf::ids::Ids::load(home);
    let is = |name| ids.user(name) == Some(uid);
    let who = if is(conf::names::ALIAS) {
        "by alias".to_string()
    } else if is(conf::names::QMAILD) {
        "from network".to_string()
    } else if is(conf::names::QMAILS) {
        "for bounce".to_string()
    } else {
        format!("by uid {uid}")
    };
    let date = mess822::date::rfc822(sys::time::now());
    let mut field = format!("Received: (qmail {} invoked {who}); ", sys::process::pid().0).into_bytes();
    field.extend_from_slice(&date);
    field.push(b'\n');
    field
}

/// Copies fd 0 behind the trace field. Short messages are written at once.
fn copy_message(mess: &mut File, received: &[u8]) -> Result<(), Trouble> {
    // Fresh memory that is 0 by itself: of a short message's buffer only the beginning is ever touched.
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = received.len();
    buffer.get_mut(..filled).ok_or(Trouble::Write)?.copy_from_slice(received);
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let n = read(STDIN, room)?;
        filled += n;
        if n == 0 || filled == BUFFER_BYTES {
            mess.write_all(buffer.get(..filled).unwrap_or_default()).map_err(|_| Trouble::Write)?;
            filled = 0;
        }
        if n == 0 {
            return Ok(());
        }
    }
}

fn read(mut from: Fd, room: &mut [u8]) -> Result<usize, Trouble> {
    from.read(room).map_err(|_| Trouble::Read)
}

/// Where the envelope reader stands.
enum Place {
    /// Before the letter of the sender.
    Sender,
    /// Before the letter of a recipient, or the final NUL.
    Recipient,
    /// Inside an address of which so many bytes were seen.
    Address(usize),
    /// Behind the letter that ends the list of a message without anything to scan; it is not kept.
    Spared,
}

/// What the submitter says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// There is nothing in it for a scanner.
    Harmless,
    Unknown,
}

/// Checks the envelope on fd 1 and writes it behind the submitter's uid and this process's number.
fn copy_envelope(intd: &mut File) -> Result<Content, Trouble> {
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, intd);
    let header = format!("u{}\0p{}\0", sys::process::uid().0, sys::process::pid().0);
    out.write_all(header.as_bytes()).map_err(|_| Trouble::Write)?;
    let mut place = Place::Sender;
    let mut buffer = [0; 4096];
    loop {
        let n = read(STDOUT, &mut buffer)?;
        if n == 0 {
            return Err(Trouble::Read);
        }
        let read = buffer.get(..n).unwrap_or_default();
        let end = check_envelope(&mut place, read)?;
        let keep = end.unwrap_or(n);
        let (keep, content) = match place {
            Place::Spared => (keep.saturating_sub(1), Content::Harmless),
            _ => (keep, Content::Unknown),
        };
        out.write_all(read.get(..keep).unwrap_or_default()).map_err(|_| Trouble::Write)?;
        if end.is_some() {
            return out.flush().map_err(|_| Trouble::Write).map(|()| content);
        }
    }
}

/// Takes the next bytes of an envelope. `Some(n)`: it ends before byte `n`, the final NUL; what follows is ignored.
fn check_envelope(place: &mut Place, bytes: &[u8]) -> Result<Option<usize>, Trouble> {
    for (i, &b) in bytes.iter().enumerate() {
        *place = match (&*place, b) {
            (Place::Sender, b'F') | (Place::Recipient, b'T') => Place::Address(0),
            (Place::Recipient, b'Q') => Place::Spared,
            (Place::Recipient | Place::Spared, 0) => return Ok(Some(i)),
            (Place::Sender | Place::Recipient | Place::Spared, _) => return Err(Trouble::Envelope),
            (Place::Address(_), 0) => Place::Recipient,
            (Place::Address(seen), _) if seen + 1 >= queue::ADDRESS_MAX => return Err(Trouble::AddressTooLong),
            (Place::Address(seen), _) => Place::Address(seen + 1),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(envelope: &[u8]) -> Result<Option<usize>, Trouble> {
        let whole = check_envelope(&mut Place::Sender, envelope);
        // Any chunking gives the same answer.
        let mut place = Place::Sender;
        let mut bytewise = Ok(None);
        for (i, b) in envelope.iter().enumerate() {
            bytewise = check_envelope(&mut place, &[*b]).map(|end| end.map(|_| i));
            if !matches!(bytewise, Ok(None)) {
                break;
            }
        }
        assert_eq!(whole, bytewise);
        whole
    }

    #[test]
    fn q1_envelopes_are_checked() {
        let long = |n: usize| [b"F", vec![b'a'; n].as_slice(), b"\0Tb\0\0"].concat();
        assert_eq!(check(b"Fa@b\0Tc@d\0\0"), Ok(Some(10)));
        assert_eq!(check(b"Fa@b\0Tc@d\0\0Tmore"), Ok(Some(10)));
        assert_eq!(check(b"F\0\0"), Ok(Some(2)));
        assert_eq!(check(b"Fa@b\0Tc@d\0Q\0\0"), Ok(Some(11)));
        assert_eq!(check(b"Fa@b\0Tc@d\0Q"), Ok(None));
        assert_eq!(check(b"Fa@b\0Tc@d\0Qx\0"), Err(Trouble::Envelope));
        assert_eq!(check(b"Q\0"), Err(Trouble::Envelope));
        assert_eq!(check(b"Ta\0\0"), Err(Trouble::Envelope));
        assert_eq!(check(b"\0"), Err(Trouble::Envelope));
        assert_eq!(check(b"Fa\0Fb\0\0"), Err(Trouble::Envelope));
        assert_eq!(check(b"Fa\0Tb\0"), Ok(None));
        assert!(matches!(check(&long(1002)), Ok(Some(_))));
        assert_eq!(check(&long(1003)), Err(Trouble::AddressTooLong));
    }
}
