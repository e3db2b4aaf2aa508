//! qmail-qmqpd: takes one message from a host without a queue of its own, by QMQP, and hands it to qmail-queue.
//!
//! Started by tcpserver or a program like it for one connection, as qmaild. Any recipient is taken: the rules of the
//! server that starts it must let in only hosts that may relay. fd 0 and fd 1 are the connection; fd 2 is the log. The
//! environment tells of the connection (tcp-environ(5)); no control file is read. Starts bin/qmail-queue below home, or
//! what QMAILQUEUE names.
//!
//! Exit codes: 0 answered, or the client closed the connection; 100 it does not speak QMQP; 111 a length over
//! 200000000, a session over an hour, or trouble on this host. Without an answer the message was not queued, unless the
//! connection broke while the answer was on its way.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod front;

use front::{ADDRESS_MAX, Connection, SESSION_SECS, Stop};
use qmtp::{Reader, netstring};
use queue::Submission;
use std::os::unix::ffi::OsStrExt;
use sys::env::{self, Env};
use sys::fd::{Fd, STDIN};
use sys::{Exit, process, signal};

const BAD_ADDRESS: &[u8] = b"Dsorry, I can't accept addresses like that (#5.1.3)";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    signal::exit_after(SESSION_SECS, Exit::TEMPORARY.0);
    match serve() {
        Ok(()) => Exit::OK,
        Err(stop) => stop.exit(),
    }
}

/// One request, a netstring of netstrings: the message, the sender, the recipients.
fn serve() -> Result<(), Stop> {
    let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    process::chdir(&home).map_err(|e| front::trouble(&[b"unable to chdir to ", home.as_os_str().as_bytes()], &e))?;
    let mut reader = Reader::new(STDIN);
    let request = reader.length()?;
    reader.enter(request);
    let mut left = reader.length()?;
    let program = env::get(b"QMAILQUEUE");
    let mut mail = Submission::start(&home, program.as_deref(), Env::inherit())
        .map_err(|e| front::trouble(&[b"unable to start the queue program"], &e))?;
    mail.put(&Connection::from_environment().trace(b"QMQP"));
    while left > 0 {
        let piece = reader.piece(left)?;
        left -= piece.len() as u64;
        mail.put(piece);
    }
    reader.comma()?;

    let sender = address(&mut reader)?;
    let mut all_good = sender.is_some();
    if sender.is_none() {
        mail.fail();
    }
    mail.sender(sender.as_deref().unwrap_or_default());
    while reader.left() > 0 {
        match address(&mut reader)? {
            Some(recipient) => mail.recipient(&recipient),
            None => {
                mail.fail();
                all_good = false;
            }
        }
    }
    reader.leave()?;

    let qp = mail.qp();
    let answer = front::answer(mail.finish(), qp);
    let answer = netstring(if all_good { &answer } else { BAD_ADDRESS });
    sys::fd::write_all(1, &answer).map_err(|_| Stop::Gone)
}

/// The next address; `None` if it is none that qmail-queue could take.
fn address(reader: &mut Reader<Fd>) -> Result<Option<Vec<u8>>, Stop> {
    Ok(reader.small(ADDRESS_MAX)?.filter(|address| !address.contains(&0)))
}
