//! qmail-remote: hands a message to another host by SMTP.
//!
//! `qmail-remote HOST SENDER RECIPIENT...`, started for each delivery by qmail-rspawn as user qmailr, group qmail.
//!
//! fd 0 is the message (a file). fd 1 takes the report, records that end with a NUL (qmail-remote(8)): one for each
//! recipient, `r` accepted, `h` refused for good, `s` refused for now; then one for the message, `K` accepted, `D`
//! failed for good, `Z` failed for now; what went wrong before the recipients were named is told by the last alone.
//!
//! Files below home: control/me, helohost, smtproutes, timeoutconnect, timeoutremote (read), queue/lock/tcpto (read and
//! written). Exit: 0 when the report has been written, 111 if it could not be.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod hosts;
mod report;
mod route;

use control::{Controls, Unreadable};
use hosts::{Hosts, Nowhere};
use queue::tcpto;
use report::Report;
use route::Route;
use smtp::client::{Dropped, End, Kind, Recipient, Session, Why};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use sys::Exit;
use sys::fd::STDIN;

/// Seconds to wait for a connection, if control/timeoutconnect does not say otherwise.
const TIMEOUT_CONNECT: u64 = 60;
/// Seconds to wait for each answer, if control/timeoutremote does not say otherwise.
const TIMEOUT_REMOTE: u64 = 1200;
/// The most servers that are heard out: each may take long, and a domain may list as many as it likes.
const REFUSALS_MAX: usize = 10;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let mut report = Report::default();
    if let Err(text) = deliver(&args, &mut report) {
        report.record(&[text]);
    }
    if report.flush().is_err() { Exit::TEMPORARY } else { Exit::OK }
}

/// Does the whole job. What it returns as an error is the record for the message; else that has been written.
fn deliver(args: &[&[u8]], report: &mut Report) -> Result<(), &'static [u8]> {
    let [host, sender, recipients @ ..] = args else { return Err(report::USAGE) };
    if recipients.is_empty() {
        return Err(report::USAGE);
    }
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    sys::process::no_core_dumps();
    sys::process::chdir(&home).map_err(|_| report::NO_HOME)?;
    let (settings, route) = read_controls(&home, host).map_err(|_| report::NO_CONTROLS)?;
    let mail = Mail {
        sender: mess822::quote::address(sender).into_owned(),
        recipients: recipients.iter().map(|r| mess822::quote::address(r).into_owned()).collect(),
    };
    let resolver = dns::Resolver::new();
    let mut hosts = Hosts::of(&route, &resolver).map_err(|_| report::NO_RESOURCES)?;
    let table = tcpto::Table::of(&home);
    let mut tried = false;
    let mut refusals = 0;
    let mut refusal = None;
    while let Some(address) = hosts.next() {
        tried = true;
        let Some(stream) = connect(SocketAddr::new(address, route.port), &table, &settings) else { continue };
        match converse(stream, address, &settings, &mail, report) {
            Conversation::Over => return Ok(()),
            Conversation::NotServed(record) => refusal = Some(record),
        }
        refusals += 1;
        if refusals == REFUSALS_MAX {
            break;
        }
    }
    match (refusal, hosts.nowhere()) {
        (Some(record), _) => report.record(&[&record]),
        _ if tried => return Err(report::NO_CONNECTION),
        (_, Nowhere::NoSuchHost) => report.no_such_host(&route.host),
        (_, Nowhere::NoMail) => report.no_mail(&route.host),
        (_, Nowhere::Temporary) => return Err(report::DNS_TEMPORARY),
        (_, Nowhere::NoAddress) => return Err(report::NO_ADDRESS),
        (_, Nowhere::Ourselves) => return Err(report::OURSELVES),
    }
    Ok(())
}

struct Settings {
    helohost: Vec<u8>,
    connect: Duration,
    remote: Duration,
}

fn read_controls(home: &Path, host: &[u8]) -> Result<(Settings, Route), Option<Unreadable>> {
    let controls = Controls::of(home);
    // A limit of nothing would mean none at all to the system.
    let seconds = |name, default| -> Result<Duration, Unreadable> {
        Ok(Duration::from_secs(controls.number(name)?.unwrap_or(default).max(1)))
    };
    let settings = Settings {
        remote: seconds("timeoutremote", TIMEOUT_REMOTE)?,
        connect: seconds("timeoutconnect", TIMEOUT_CONNECT)?,
        helohost: controls.line_or_me("helohost")?.ok_or(None)?,
    };
    let routes = controls.list("smtproutes")?.unwrap_or_default();
    Ok((settings, Route::find(host, &routes).ok_or(None)?))
}

/// The envelope as it goes over the wire.
struct Mail {
    sender: Vec<u8>,
    recipients: Vec<Vec<u8>>,
}

/// Connects, unless the host is known to time out, and keeps that knowledge up to date.
fn connect(to: SocketAddr, table: &tcpto::Table, settings: &Settings) -> Option<TcpStream> {
    let now = sys::time::now();
    let seen = table.look(to.ip(), now, std::process::id());
    if seen.skip {
        return None;
    }
    let connected = TcpStream::connect_timeout(&to, settings.connect);
    // The table is a help only: a failure to write it must not stop a delivery.
    let _ = match &connected {
        Err(e) if e.kind() == io::ErrorKind::TimedOut => table.timed_out(to.ip(), sys::time::now()),
        _ if seen.known => table.reached(to.ip()),
        _ => Ok(()),
    };
    let stream = connected.ok()?;
    let set = stream.set_read_timeout(Some(settings.remote)).is_ok()
        && stream.set_write_timeout(Some(settings.remote)).is_ok()
        && stream.set_nodelay(true).is_ok();
    set.then_some(stream)
}

/// How a conversation with a server ended.
enum Conversation {
    /// The report is complete.
    Over,
    /// The server did not come to the point where it could have refused anything of this message: another one may take
    /// it. The record is for the case that none does.
    NotServed(Vec<u8>),
}

fn converse(stream: TcpStream, from: IpAddr, settings: &Settings, mail: &Mail, report: &mut Report) -> Conversation {
    let from = from.to_string().into_bytes();
    let mut session = Session::new(stream, settings.remote);
    match begin(&mut session, &from, settings) {
        Ok(None) => {}
        Ok(Some(refusal)) => {
            session.quit();
            return Conversation::NotServed(refusal);
        }
        // The time for an answer is long: to wait it out for one server is enough.
        Err(dropped @ Dropped { why: Why::Timeout, .. }) => {
            report.record(&[&report::dropped(&from, dropped)]);
            return Conversation::Over;
        }
        Err(dropped) => return Conversation::NotServed(report::dropped(&from, dropped)),
    }
    match hand_over(&mut session, &from, mail, report) {
        Ok(record) => report.record(&[&record]),
        Err(dropped) => report.record(&[&report::dropped(&from, dropped)]),
    }
    Conversation::Over
}

/// Greeting and name; returns the record for a refusal.
fn begin(session: &mut Session<TcpStream>, from: &[u8], settings: &Settings) -> Result<Option<Vec<u8>>, Dropped> {
    let greeting = session.greeting()?;
    if greeting.code != 220 {
        return Ok(Some(report::connected(b'Z', from, b"greeting failed", &greeting)));
    }
    let hello = session.hello(&settings.helohost)?;
    if hello.code != 250 {
        return Ok(Some(report::connected(b'Z', from, b"my name was rejected", &hello)));
    }
    Ok(None)
}

/// The message; returns the record for it.
fn hand_over(
    session: &mut Session<TcpStream>,
    from: &[u8],
    mail: &Mail,
    report: &mut Report,
) -> Result<Vec<u8>, Dropped> {
    // The length is only a hint for the size of the buffers.
    let size = STDIN.metadata().map_or(0, |m| m.len());
    let end = session.transact(&mail.sender, &mail.recipients, &mut STDIN.clone(), size, &mut |what| match what {
        Recipient::Accepted => report.record(&[b"r"]),
        Recipient::Refused(reply) => report.recipient_refused(from, reply),
        Recipient::Unsendable => report.record(&[report::UNSENDABLE_RECIPIENT]),
    })?;
    let letter = |kind| if kind == Kind::Permanent { b'D' } else { b'Z' };
    let record = match end {
        // Without QUIT: the server would take it for a part of the message, which must not get an end.
        End::Unreadable => return Ok(report::UNREADABLE.to_vec()),
        End::Partial => return Ok(report::PARTIAL.to_vec()),
        End::UnsendableSender => report::UNSENDABLE_SENDER.to_vec(),
        End::Sender(reply) => report::connected(letter(reply.kind()), from, b"sender was rejected", &reply),
        End::NoRecipients => [b"DGiving up on ", from, b".\n"].concat(),
        End::Data(reply) => report::host(letter(reply.kind()), from, b"failed on DATA command", &reply),
        End::Message(reply) if reply.kind() == Kind::Good => report::host(b'K', from, b"accepted message", &reply),
        End::Message(reply) => report::host(letter(reply.kind()), from, b"failed after I sent the message", &reply),
    };
    session.quit();
    Ok(record)
}
