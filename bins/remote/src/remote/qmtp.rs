//! The delivery by QMTP (spec/smtp.md 9.7).

use crate::connect::{not_offered, secure};
use crate::hosts::Host;
use crate::report::{self, Report};
use crate::settings::Settings;
use crate::{Conversation, Mail};
use qmtp::Reader;
use qmtp::client::{Answer, NotSent, answer, send};
use smtp::client::{Dropped, Why};
use std::net::TcpStream;
use sys::fd::STDIN;
use tunnel::Stream;

/// Hands the message over.
pub fn converse(stream: TcpStream, host: &Host, settings: &Settings, mail: &Mail, report: &mut Report) -> Conversation {
    let from = host.address.to_string().into_bytes();
    let mut stream = Stream::Plain(stream);
    if settings.starts_with_tls() {
        stream = match secure(stream, host, settings) {
            Ok(stream) => stream,
            Err(record) => return Conversation::NotServed(record),
        };
    } else if settings.policy.level.is_mandatory() {
        // QMTP has no STARTTLS.
        return Conversation::NotServed(not_offered(host, settings));
    }
    // Its length is said before it is sent.
    let Some(length) = STDIN.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len()) else {
        report.record(&[report::UNREADABLE]);
        return Conversation::Over;
    };
    let dropped = |critical| report::dropped(&from, Dropped { critical, why: Why::Closed });
    match send(&mut stream, &mut STDIN.clone(), length, &mail.sender, &mail.recipients) {
        Ok(()) => {}
        Err(NotSent::Unreadable) => {
            report.record(&[report::UNREADABLE]);
            return Conversation::Over;
        }
        Err(NotSent::Network(_)) => {
            report.record(&[&dropped(false)]);
            return Conversation::Over;
        }
    }
    let word: &[u8] = if stream.is_tls() { b"qmtps:" } else { b"qmtp:" };
    let mut reader = Reader::new(stream);
    let mut taken = 0;
    for recipient in 0..mail.recipients.len() {
        match answer(&mut reader) {
            Ok(answer) => {
                taken += usize::from(answer.letter == b'K');
                report.record(&[&record(&answer, word)]);
            }
            Err(broken) => {
                let text = match broken {
                    qmtp::Broken::Ended => dropped(true),
                    qmtp::Broken::Malformed | qmtp::Broken::TooLong => report::NO_QMTP.to_vec(),
                };
                if recipient == 0 {
                    report.record(&[&text]);
                    return Conversation::Over;
                }
                // Those that were answered are settled; the others are tried again.
                let for_recipient = [b"s", text.get(1..).unwrap_or_default()].concat();
                (recipient..mail.recipients.len()).for_each(|_| report.record(&[&for_recipient]));
                break;
            }
        }
    }
    // With a success for the message each recipient's own record counts.
    match taken {
        0 => report.record(&[b"DGiving up on ", &from, b"\n"]),
        n if n == mail.recipients.len() => report.record(&[b"KAll received okay by ", &from, b"\n"]),
        _ => report.record(&[b"KReceived okay by ", &from, b"\n"]),
    }
    Conversation::Over
}

fn record(answer: &Answer, word: &[u8]) -> Vec<u8> {
    let letter: &[u8] = match answer.letter {
        b'K' => b"r",
        b'D' => b"h",
        _ => b"s",
    };
    let text = answer.text.trim_ascii_start();
    // qmail-mrtg counts the word with an "ok" behind it; there are servers that write it large.
    let text = match text.split_first_chunk::<2>() {
        Some((b"Ok" | b"OK", rest)) => [b"ok", rest].concat(),
        _ => text.to_vec(),
    };
    [letter, word, b" ", &text, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_makes_a_record() {
        for (letter, text, want) in [
            (b'K', "ok 12 qp 3", "rqmtp: ok 12 qp 3\n"),
            (b'K', " Ok 12 qp 3", "rqmtp: ok 12 qp 3\n"),
            (b'K', "", "rqmtp: \n"),
            (b'D', "no (#5.7.1)", "hqmtp: no (#5.7.1)\n"),
            (b'Z', "later", "sqmtp: later\n"),
        ] {
            let answer = Answer { letter, text: text.as_bytes().to_vec() };
            for word in ["qmtp:", "qmtps:"] {
                let record = String::from_utf8(record(&answer, word.as_bytes())).unwrap();
                assert_eq!(record, want.replace("qmtp:", word));
            }
        }
    }
}
