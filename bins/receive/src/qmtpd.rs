//! qmail-qmtpd: takes mail from the network by QMTP and hands it to qmail-queue.
//!
//! Started by tcpserver or a program like it for one connection, as qmaild. fd 0 and fd 1 are the connection; fd 2 is
//! the log. Reads control/rcpthosts and databytes, and when an address calls for it morercpthosts.cdb. The environment
//! tells of the connection (tcp-environ(5)) and of the client's rights: RELAYCLIENT, DATABYTES, QMAILQUEUE. Under
//! sslserver this is QMTPS, which port 6209 must be; a client with a certificate may send to any domain. Starts
//! bin/qmail-queue below home, or what QMAILQUEUE names, for each message.
//!
//! Exit codes: 0 the client closed the connection; 100 it does not speak QMTP; 111 a length over 200000000, a session
//! over an hour, or trouble on this host. In each case an unfinished message is not queued.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod front;

use control::{Controls, Unreadable};
use front::{ADDRESS_MAX, Connection, SESSION_SECS, Stop};
use qmtp::{Body, Broken, Reader, netstring};
use queue::Submission;
use smtp::server::RcptHosts;
use std::convert::Infallible;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use sys::env::{self, Env};
use sys::fd::{Fd, STDIN, STDOUT};
use sys::{Exit, process, signal};

/// How many recipients of a message are told apart; what became of each must be kept until all are known, in a byte.
const RECIPIENTS_MAX: usize = 1 << 20;

const BAD_SENDER: &[u8] = b"Dunacceptable sender (#5.1.7)";
const BAD_RECIPIENT: &[u8] = b"Dsorry, I can't handle that recipient (#5.1.3)";
const NOT_LISTED: &[u8] = b"Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)";
const TOO_LARGE: &[u8] = b"Dsorry, that message size exceeds my databytes limit (#5.3.4)";
const TOO_MANY: &[u8] = b"Zsorry, too many recipients (#4.5.3)";

/// On this port TLS comes before everything.
const QMTPS_PORT: &[u8] = b"6209";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    signal::exit_after(SESSION_SECS, Exit::TEMPORARY.0);
    match serve() {
        Ok(never) => match never {},
        Err(stop) => stop.exit(),
    }
}

/// One message after the other, until something stops it.
fn serve() -> Result<Infallible, Stop> {
    let mut session = Session::prepare()?;
    loop {
        session.message()?;
    }
}

/// What became of one recipient.
#[derive(Clone, Copy)]
enum Outcome {
    /// The same as of the message.
    Taken,
    BadAddress,
    NotListed,
}

/// What became of the recipients of a message, in their order.
#[derive(Default)]
struct Outcomes {
    first: Vec<Outcome>,
    /// How many came after those; none of them is taken.
    too_many: u64,
}

struct Session {
    home: PathBuf,
    queue_program: Option<Vec<u8>>,
    rcpthosts: RcptHosts,
    relayclient: Option<Vec<u8>>,
    /// The largest message in bytes; 0: any.
    databytes: u64,
    connection: Connection,
    reader: Reader<Fd>,
}

impl Session {
    fn prepare() -> Result<Session, Stop> {
        let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
        process::chdir(&home)
            .map_err(|e| front::trouble(&[b"unable to chdir to ", home.as_os_str().as_bytes()], &e))?;
        let controls = Controls::of(&home);
        let connection = Connection::from_environment();
        if connection.ends.local_port == QMTPS_PORT && connection.tls.is_none() {
            return Err(front::trouble(&[b"no TLS on port ", QMTPS_PORT], &io::ErrorKind::NotConnected.into()));
        }
        let certificate = connection.tls.as_ref().is_some_and(|tls| tls.client.is_some());
        let relayclient = if certificate { Some(Vec::new()) } else { env::get(b"RELAYCLIENT") };
        let databytes = match env::get(b"DATABYTES") {
            // A value that is no number lifts the limit, as it always did.
            Some(value) => control::leading_number(&value).unwrap_or(0),
            None => controls.number("databytes").map_err(|e| unreadable(&e))?.unwrap_or(0),
        };
        Ok(Session {
            rcpthosts: RcptHosts::read(&controls).map_err(|e| unreadable(&e))?,
            home,
            queue_program: env::get(b"QMAILQUEUE"),
            relayclient,
            databytes,
            connection,
            reader: Reader::new(STDIN),
        })
    }

    /// One message: its text, its sender, its recipients, then an answer for each recipient.
    fn message(&mut self) -> Result<(), Stop> {
        let length = self.reader.length()?;
        self.reader.enter(length);
        let body = Body::start(self.reader.byte()?).ok_or(Broken::Malformed)?;
        let mut mail = Submission::start(&self.home, self.queue_program.as_deref(), Env::inherit())
            .map_err(|e| front::trouble(&[b"unable to start the queue program"], &e))?;
        let protocol: &[u8] = match &self.connection.tls {
            None => b"QMTP",
            Some(tls) if tls.client.is_none() => b"QMTPS",
            Some(_) => b"QMTPSA",
        };
        mail.put(&self.connection.trace(protocol));
        let fits = self.text(body, &mut mail)?;

        let sender = self.reader.small(ADDRESS_MAX)?.filter(|address| !address.contains(&0));
        if sender.is_none() {
            mail.fail();
        }
        mail.sender(sender.as_deref().unwrap_or_default());

        let outcomes = self.recipients(&mut mail)?;
        if !outcomes.first.iter().any(|o| matches!(o, Outcome::Taken)) {
            // Nobody to send it to.
            mail.fail();
        }
        let qp = mail.qp();
        let verdict = front::answer(mail.finish(), qp);
        let verdict = match (fits, &sender) {
            (false, _) => TOO_LARGE,
            (true, None) => BAD_SENDER,
            (true, Some(_)) => &verdict,
        };
        outcomes.tell(verdict, STDOUT).map_err(|_| Stop::Gone)
    }

    /// Hands the text of the message on, to its end; `false` if it is larger than it may be.
    fn text(&mut self, mut body: Body, mail: &mut Submission) -> Result<bool, Stop> {
        let limit = if self.databytes == 0 { u64::MAX } else { self.databytes };
        let mut size: u64 = 0;
        let mut put = |bytes: &[u8]| {
            size += bytes.len() as u64;
            if size > limit {
                mail.fail();
            }
            mail.put(bytes);
        };
        while self.reader.left() > 0 {
            body.decode(self.reader.piece(u64::MAX)?, &mut put);
        }
        body.finish(&mut put);
        self.reader.leave()?;
        Ok(size <= limit)
    }

    fn recipients(&mut self, mail: &mut Submission) -> Result<Outcomes, Stop> {
        let mut outcomes = Outcomes::default();
        let length = self.reader.length()?;
        self.reader.enter(length);
        while self.reader.left() > 0 {
            let address = self.reader.small(ADDRESS_MAX)?;
            if outcomes.first.len() >= RECIPIENTS_MAX {
                outcomes.too_many += 1;
                continue;
            }
            let outcome = self.recipient(address, mail)?;
            outcomes.first.push(outcome);
        }
        self.reader.leave()?;
        Ok(outcomes)
    }

    /// Decides about one recipient, `None` if its address is too long, and hands it on if it is taken.
    fn recipient(&mut self, address: Option<Vec<u8>>, mail: &mut Submission) -> Result<Outcome, Stop> {
        let Some(mut address) = address.filter(|a| !a.contains(&0)) else { return Ok(Outcome::BadAddress) };
        match &self.relayclient {
            Some(suffix) if address.len() + suffix.len() > ADDRESS_MAX => return Ok(Outcome::BadAddress),
            Some(suffix) => address.extend_from_slice(suffix),
            None if self.rcpthosts.take(&address).map_err(|e| unreadable(&e))? => {}
            None => return Ok(Outcome::NotListed),
        }
        mail.recipient(&address);
        Ok(Outcome::Taken)
    }
}

impl Outcomes {
    /// Answers for each recipient, in order; those that were taken share what became of the message.
    fn tell(&self, verdict: &[u8], to: impl Write) -> std::io::Result<()> {
        let [taken, bad, not_listed, too_many] = [verdict, BAD_RECIPIENT, NOT_LISTED, TOO_MANY].map(netstring);
        let mut to = BufWriter::new(to);
        for outcome in &self.first {
            to.write_all(match outcome {
                Outcome::Taken => &taken,
                Outcome::BadAddress => &bad,
                Outcome::NotListed => &not_listed,
            })?;
        }
        for _ in 0..self.too_many {
            to.write_all(&too_many)?;
        }
        to.flush()
    }
}

fn unreadable(e: &Unreadable) -> Stop {
    front::trouble(&[b"unable to read ", e.file.as_os_str().as_bytes()], &e.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stand_in_the_order_of_the_recipients() {
        let first = vec![Outcome::Taken, Outcome::NotListed, Outcome::BadAddress, Outcome::Taken];
        let mut said = Vec::new();
        Outcomes { first, too_many: 2 }.tell(b"Kx", &mut said).unwrap();
        let want = "2:Kx,66:Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1),\
            46:Dsorry, I can't handle that recipient (#5.1.3),2:Kx,\
            36:Zsorry, too many recipients (#4.5.3),36:Zsorry, too many recipients (#4.5.3),";
        assert_eq!(String::from_utf8(said).unwrap(), want);
    }
}
