//! The dialogue by SMTP, from greeting to QUIT (spec/smtp.md 9.2).

use crate::connect::{not_offered, secure};
use crate::hosts::Host;
use crate::report::{self, Report};
use crate::settings::Settings;
use crate::{Conversation, Mail};
use smtp::client::{Dropped, End, Envelope, Kind, Login, Recipient, Session, Why};
use std::io::{self, Read};
use std::net::TcpStream;
use sys::fd::STDIN;
use tunnel::Stream;

/// How far the newest Received field is looked for (bytes).
const TRACE_MAX: usize = 8192;
/// Bytes that nobody can foresee, for an exchange of AUTH.
const RANDOM: usize = 18;

/// Hands the message over.
pub fn converse(stream: TcpStream, host: &Host, settings: &Settings, mail: &Mail, report: &mut Report) -> Conversation {
    let from = host.address.to_string().into_bytes();
    let mut session = match begin(stream, host, &from, settings) {
        Ok(session) => session,
        Err(Begun::Not(conversation)) => return conversation,
        // The time for an answer is long: to wait it out for one server is enough.
        Err(Begun::Dropped(dropped @ Dropped { why: Why::Timeout, .. })) => {
            report.record(&[&report::dropped(&from, dropped)]);
            return Conversation::Over;
        }
        Err(Begun::Dropped(dropped)) => return Conversation::NotServed(report::dropped(&from, dropped)),
    };
    match hand_over(&mut session, &from, settings, mail, report) {
        Ok(record) => report.record(&[&record]),
        Err(dropped) => report.record(&[&report::dropped(&from, dropped)]),
    }
    Conversation::Over
}

/// Why the message can not be handed over.
enum Begun {
    Not(Conversation),
    Dropped(Dropped),
}

impl From<Dropped> for Begun {
    fn from(dropped: Dropped) -> Begun {
        Begun::Dropped(dropped)
    }
}

/// The server says no: it is left politely.
fn refused(session: &mut Session<Stream>, record: Vec<u8>) -> Begun {
    session.quit();
    Begun::Not(Conversation::NotServed(record))
}

/// Greeting, name, TLS, and who we are.
fn begin(stream: TcpStream, host: &Host, from: &[u8], settings: &Settings) -> Result<Session<Stream>, Begun> {
    let mut stream = Stream::Plain(stream);
    if settings.starts_with_tls() {
        stream = secure(stream, host, settings).map_err(|record| Begun::Not(Conversation::NotServed(record)))?;
    }
    let starts_with_tls = stream.is_tls();
    let mut session = Session::new(stream, settings.remote);
    let greeting = session.greeting()?;
    if greeting.code != 220 {
        return Err(refused(&mut session, report::not_greeted(from, &greeting)));
    }
    hello(&mut session, from, settings)?;
    if !starts_with_tls && settings.policy.level.wants_tls() {
        session = start_tls(session, host, from, settings)?;
    }
    if let Some(account) = &settings.route.account {
        let mut random = [0; RANDOM];
        let known = sys::random::fill(&mut random).map_err(|_| report::NO_RESOURCES.to_vec());
        let login = match known {
            Ok(()) => session.authenticate(&account.user, &account.password, &random)?,
            Err(record) => return Err(refused(&mut session, record)),
        };
        let record = match login {
            Login::Done => return Ok(session),
            Login::NoMechanism => report::no_mechanism(from),
            Login::Refused(what, reply) => report::not_authenticated(from, what, &reply),
            Login::NotBelieved(what) => report::not_believed(from, what),
        };
        return Err(refused(&mut session, record));
    }
    Ok(session)
}

fn hello(session: &mut Session<Stream>, from: &[u8], settings: &Settings) -> Result<(), Begun> {
    let reply = session.hello(&settings.helohost)?;
    if reply.code == 250 {
        return Ok(());
    }
    Err(refused(session, report::connected(b'Z', from, b"my name was rejected", &reply)))
}

/// STARTTLS, if it is offered; then everything begins anew.
fn start_tls(
    mut session: Session<Stream>,
    host: &Host,
    from: &[u8],
    settings: &Settings,
) -> Result<Session<Stream>, Begun> {
    if !session.offers().starttls {
        return match settings.policy.level.is_mandatory() {
            true => Err(refused(&mut session, not_offered(host, settings))),
            false => Ok(session),
        };
    }
    let reply = session.starttls()?;
    if reply.code != 220 {
        // It says that it can not just now: no reason to begin anew.
        return match settings.may_fall_back {
            true => Ok(session),
            false => Err(refused(&mut session, report::connected(b'Z', from, b"STARTTLS was rejected", &reply))),
        };
    }
    let secured = secure(session.into_stream(), host, settings).map_err(|record| {
        Begun::Not(match settings.may_fall_back {
            true => Conversation::OnlyWithoutTls(record),
            false => Conversation::NotServed(record),
        })
    })?;
    let mut session = Session::new(secured, settings.remote);
    hello(&mut session, from, settings)?;
    Ok(session)
}

/// The message; returns the record for it.
fn hand_over(
    session: &mut Session<Stream>,
    from: &[u8],
    settings: &Settings,
    mail: &Mail,
    report: &mut Report,
) -> Result<Vec<u8>, Dropped> {
    let size = STDIN.metadata().map_or(0, |m| m.len());
    let offers_utf8 = session.offers().smtputf8;
    let is_international = !mail.sender.is_ascii() || mail.recipients.iter().any(|r| !r.is_ascii());
    let envelope = Envelope {
        sender: &mail.sender,
        recipients: &mail.recipients,
        user: settings.route.account.as_ref().map(|a| a.user.as_slice()),
        utf8: offers_utf8 && (is_international || came_with_utf8()),
        size,
    };
    let end = session.transact(envelope, &mut STDIN.clone(), &mut |what| match what {
        Recipient::Accepted => report.record(&[b"r"]),
        Recipient::Refused(reply) => report.recipient_refused(from, reply),
        Recipient::Unsendable(why) => report.record(&[report::unsendable_recipient(why)]),
    })?;
    let record = match end {
        // Without QUIT: the server would take it for a part of the message, which must not get an end.
        End::Unreadable => return Ok(report::UNREADABLE.to_vec()),
        End::Partial => return Ok(report::PARTIAL.to_vec()),
        End::UnsendableSender(why) => report::unsendable_sender(why).to_vec(),
        End::Sender(reply) => report::sender_refused(from, &reply),
        End::NoRecipients => [b"DGiving up on ", from, b".\n"].concat(),
        End::Data(reply) => report::data_refused(from, &reply),
        End::Message(reply) if reply.kind() == Kind::Good => {
            let how: &[u8] =
                if session.stream().is_tls() { b"TLS transmitted message accepted" } else { b"accepted message" };
            report::host(b'K', from, how, &reply)
        }
        End::Message(reply) => report::host(report::letter(&reply), from, b"failed after I sent the message", &reply),
    };
    session.quit();
    Ok(record)
}

/// Whether the newest of the message's Received fields that tells how it came says that it was with SMTPUTF8.
fn came_with_utf8() -> bool {
    let mut start = vec![0; TRACE_MAX];
    let mut message = STDIN;
    let count = match message.seek(io::SeekFrom::Current(0)) {
        // What can not be read twice is not looked into.
        Err(_) => return false,
        Ok(at) => {
            let count = message.read(&mut start);
            if message.seek(io::SeekFrom::Start(at)).is_err() {
                return false;
            }
            count.unwrap_or(0)
        }
    };
    newest_is_utf8(start.get(..count).unwrap_or_default())
}

fn newest_is_utf8(header: &[u8]) -> bool {
    let mut in_received = false;
    for line in header.split(|&b| b == b'\n') {
        if line.is_empty() {
            return false;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            in_received = line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:"));
        }
        let with = b" with ";
        if in_received && let Some(at) = line.windows(with.len()).position(|w| w.eq_ignore_ascii_case(with)) {
            let word = line.get(at + with.len()..).unwrap_or_default();
            // The cipher is told with the same word.
            if !line.get(..at).unwrap_or_default().ends_with(b"crypted") {
                return word.get(..4).is_some_and(|w| w.eq_ignore_ascii_case(b"UTF8"));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_received_field_that_says_how_counts() {
        let queue = "Received: (qmail 12 invoked from network); 24 Nov 2026 10:00:00 -0000\n";
        let rows = [
            ("Received: from x by y with UTF8ESMTPS; date\n\nbody", true),
            ("Received: from x\n  by y with UTF8ESMTP; date\n\n", true),
            ("Received: from x\n  de/crypted with TLSv1.3: X\n  by y with UTF8ESMTPS; date\n\n", true),
            ("Received: from x by y with ESMTP; date\nReceived: from x by y with UTF8SMTP; d\n\n", false),
            ("Subject: x with UTF8\n\n", false),
            ("Subject: x\n\nReceived: from x by y with UTF8SMTP; d\n", false),
            ("", false),
        ];
        for (header, want) in rows {
            assert_eq!(newest_is_utf8(header.as_bytes()), want, "{header}");
            assert_eq!(newest_is_utf8([queue, header].concat().as_bytes()), want, "{header}");
        }
    }
}
