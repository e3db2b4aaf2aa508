//! qmail-remote: hands a message to another host by SMTP or QMTP.
//!
//! `qmail-remote HOST SENDER RECIPIENT...`, started for each delivery by qmail-rspawn as user qmailr, group qmail.
//!
//! fd 0 is the message (a file). fd 1 takes the report, records that end with a NUL (qmail-remote(8)): one for each
//! recipient, `r` accepted, `h` refused for good, `s` refused for now; then one for the message, `K` accepted, `D`
//! failed for good, `Z` failed for now; what went wrong before the recipients were named is told by the last alone.
//!
//! Files below home: the controls that settings.rs reads, queue/lock/tcpto (read and written), queue/tls. TLS is spoken by
//! another process, bin/qmail-tlsc (lib/tunnel). Exit: 0 when the report has been written, 111 if it could not be.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod connect;
mod dane;
mod hosts;
mod qmtp;
mod report;
mod route;
mod settings;
mod smtp;
mod source;

use connect::NoConnection;
use dane::Dane;
use hosts::{Host, Hosts, Nowhere};
use queue::tcpto;
use report::Report;
use route::Protocol;
use settings::Settings;
use std::net::TcpStream;
use std::path::Path;
use sys::Exit;

/// The most servers that are heard out: each may take long, and a domain may list as many as it likes.
const REFUSALS_MAX: usize = 10;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    sys::start::report_without_memory(report::NO_MEMORY);
    let mut report = Report::default();
    if let Err(text) = deliver(&args, &mut report) {
        report.record(&[&text]);
    }
    if report.flush().is_err() { Exit::TEMPORARY } else { Exit::OK }
}

/// The envelope as it goes over the wire.
struct Mail {
    sender: Vec<u8>,
    recipients: Vec<Vec<u8>>,
}

/// How a conversation with a server ended.
enum Conversation {
    /// The report is complete.
    Over,
    /// The server did not come to the point where it could have refused anything of this message: another one may take
    /// it. The record is for the case that none does.
    NotServed(Vec<u8>),
    /// Likewise, but only TLS failed, and it need not be.
    OnlyWithoutTls(Vec<u8>),
}

/// Does the whole job. What it returns as an error is the record for the message; else that has been written.
fn deliver(args: &[&[u8]], report: &mut Report) -> Result<(), Vec<u8>> {
    let [host, sender, recipients @ ..] = args else { return Err(report::USAGE.to_vec()) };
    if recipients.is_empty() {
        return Err(report::USAGE.to_vec());
    }
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    sys::process::no_core_dumps();
    sys::process::chdir(&home).map_err(|_| report::NO_HOME)?;
    let mut settings = Settings::read(&home, host, sender)?;
    let is_privileged = sys::process::is_privileged_beyond_caller();
    settings.queue = conf::queue(Path::new(""), sys::env::get(b"QUEUEDIR"), is_privileged);
    let mail = Mail {
        sender: mess822::quote::address(sender).into_owned(),
        recipients: recipients.iter().map(|r| mess822::quote::address(r).into_owned()).collect(),
    };
    let resolver = dns::Resolver::asking(sys::env::get(b"DNSCACHEIP")).trusting(settings.trust);
    let mut hosts = Hosts::of(&settings.route, &resolver).map_err(|_| report::NO_RESOURCES)?;
    let table = tcpto::Table::of(&settings.queue);
    let mut dane = Dane::new(&settings, &resolver);
    let mut tried = Tried::default();
    while let Some(host) = hosts.next() {
        tried.any = true;
        let said = match dane.settings_for(&host.exchanger) {
            Ok(settings) => talk(&host, &settings, &table, &mail, report)?,
            Err(record) => Some(Conversation::NotServed(record)),
        };
        match said {
            Some(Conversation::NotServed(record) | Conversation::OnlyWithoutTls(record)) => tried.refused(record),
            Some(Conversation::Over) => return Ok(()),
            None => tried.is_doubtful = true,
        }
        if tried.refusals == REFUSALS_MAX {
            break;
        }
    }
    match (tried.verdict(), hosts.nowhere()) {
        (Some(record), _) => report.record(&[&record]),
        (None, _) if tried.any => return Err(report::NO_CONNECTION.to_vec()),
        (None, Nowhere::NoSuchHost) => report.no_such_host(&settings.route.host),
        (None, Nowhere::NoMail) => report.no_mail(&settings.route.host),
        (None, Nowhere::Temporary) => return Err(report::DNS_TEMPORARY.to_vec()),
        (None, Nowhere::NoAddress) => return Err(report::NO_ADDRESS.to_vec()),
        (None, Nowhere::Ourselves) => return Err(report::OURSELVES.to_vec()),
    }
    Ok(())
}

/// What came of the servers so far.
#[derive(Default)]
struct Tried {
    any: bool,
    /// One of them was not reached, or may say something else later.
    is_doubtful: bool,
    refusals: usize,
    last: Option<Vec<u8>>,
}

impl Tried {
    fn refused(&mut self, record: Vec<u8>) {
        self.is_doubtful |= !record.starts_with(b"D");
        self.refusals += 1;
        self.last = Some(record);
    }

    /// The record of the last server that refused. It is final only if all said so.
    fn verdict(&mut self) -> Option<Vec<u8>> {
        let mut record = self.last.take()?;
        if self.is_doubtful
            && let Some(letter) = record.first_mut()
        {
            *letter = b'Z';
        }
        Some(record)
    }
}

/// Speaks with one server; `None`: it can not be reached. An error is one that no other server would change.
fn talk(
    host: &Host,
    settings: &Settings,
    table: &tcpto::Table,
    mail: &Mail,
    report: &mut Report,
) -> Result<Option<Conversation>, Vec<u8>> {
    let stream = |settings| match connect::connect(host.address, settings, table) {
        Ok(stream) => Ok(Some(stream)),
        Err(NoConnection::Unreachable) => Ok(None),
        Err(NoConnection::NotBound(address)) => Err(report::not_bound(address)),
    };
    let Some(first) = stream(settings)? else { return Ok(None) };
    let said = converse(first, host, settings, mail, report);
    let Conversation::OnlyWithoutTls(record) = said else { return Ok(Some(said)) };
    // What was begun with TLS can not go on without it: once more from the start.
    let clear = settings.without_tls();
    match stream(&clear)? {
        Some(again) => Ok(Some(converse(again, host, &clear, mail, report))),
        None => Ok(Some(Conversation::NotServed(record))),
    }
}

fn converse(stream: TcpStream, host: &Host, settings: &Settings, mail: &Mail, report: &mut Report) -> Conversation {
    match settings.route.protocol {
        Protocol::Smtp => smtp::converse(stream, host, settings, mail, report),
        Protocol::Qmtp => qmtp::converse(stream, host, settings, mail, report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_if_all_servers_refuse_for_good_it_is_final() {
        for (records, unreached, want) in [
            (&["Dno"][..], false, Some("Dno")),
            (&["Dno", "Dnever"], false, Some("Dnever")),
            (&["Zlater", "Dno"], false, Some("Zno")),
            (&["Dno", "Zlater"], false, Some("Zlater")),
            (&["Dno"], true, Some("Zno")),
            (&[], true, None),
        ] {
            let mut tried = Tried { is_doubtful: unreached, ..Tried::default() };
            records.iter().for_each(|r| tried.refused(r.as_bytes().to_vec()));
            assert_eq!(tried.verdict(), want.map(|w| w.as_bytes().to_vec()), "{records:?}");
        }
    }
}
