//! qreceipt: answers a request for a notice of delivery (qreceipt(1)).
//!
//! Started from a .qmail file, as the user whose mail it is. fd 0 is the message; its
//! Notice-Requested-Upon-Delivery-To field must name the address given. Reads SENDER, which qmail-local sets. Starts
//! bin/qmail-queue, or what QMAILQUEUE names.
//!
//! Exit codes: 0 answered, or nothing to answer; 100 bad usage, unreadable request, or the queue will never take the
//! answer; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use mess822::header::{self, Fields};
use mess822::hfield::{self, Name};
use mess822::token::{self, Pile};
use mess822::{list, quote};
use queue::Submission;
use std::io::BufReader;
use sys::Exit;
use sys::error::complain;
use sys::fd::STDIN;

/// The longest header that is looked at (bytes). Who sends a longer one gets no notice.
const HEADER_MAX: u64 = 1 << 20;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    sys::signal::ignore(sys::signal::SIGPIPE);
    let (Some(&address), Some(sender)) = (args.first(), sys::env::get(b"SENDER")) else {
        complain(&[b"usage: qreceipt deliveryaddress"]);
        return Exit::PERMANENT;
    };
    let request = match look_for_request(address) {
        Ok(request) => request,
        Err(code) => return code,
    };
    // RFC 3834 section 2: bounces are not answered.
    if !request.made || sender.is_empty() || sender == b"#@[]" {
        return Exit::OK;
    }
    answer(address, &sender, &request.message_id)
}

/// What the header has about it.
#[derive(Default)]
struct Request {
    made: bool,
    /// The Message-ID field with its newline; empty if there is none.
    message_id: Vec<u8>,
}

fn look_for_request(address: &[u8]) -> Result<Request, Exit> {
    let mut request = Request::default();
    let mut fields = Fields::new(BufReader::new(STDIN), HEADER_MAX);
    loop {
        let field = match fields.next_field() {
            Ok(Some(field)) => field,
            Ok(None) => return Ok(request),
            Err(header::Error::TooLong) => return Ok(Request::default()),
            Err(header::Error::Read(_)) => {
                complain(&[b"fatal: read error"]);
                return Err(Exit::TEMPORARY);
            }
        };
        match hfield::known(&field) {
            Some(Name::MessageId) => request.message_id = field,
            Some(Name::NoticeRequested) => match names(&field, address) {
                Some(found) => request.made |= found,
                None => {
                    let field = field.strip_suffix(b"\n").unwrap_or(&field);
                    complain(&[b"fatal: unable to parse this: ", field]);
                    return Err(Exit::PERMANENT);
                }
            },
            _ => {}
        }
    }
}

/// Whether `address` is among the addresses of the field, in just these letters; `None` if it can not be parsed.
fn names(field: &[u8], address: &[u8]) -> Option<bool> {
    let mut found = false;
    let tokens = Pile::parse(field).ok()?;
    list::rewrite(&tokens, |listed| found |= token::unquote(listed) == address).ok()?;
    Some(found)
}

fn answer(address: &[u8], sender: &[u8], message_id: &[u8]) -> Exit {
    let env = sys::env::Env::inherit();
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let Ok(mut notice) = Submission::start(&home, sys::env::get(b"QMAILQUEUE").as_deref(), env) else {
        complain(&[b"fatal: unable to fork"]);
        return Exit::TEMPORARY;
    };
    notice.put(&text(address, sender, message_id));
    notice.sender(b"");
    notice.recipient(sender);
    match notice.finish().result() {
        Ok(()) => Exit::OK,
        Err((code, _)) => {
            let kind: &[u8] = if code == Exit::PERMANENT { b"permanent" } else { b"temporary" };
            complain(&[b"fatal: ", kind, b" qmail-queue error"]);
            code
        }
    }
}

/// The notice, as it has always been worded: programs look for it.
fn text(address: &[u8], sender: &[u8], message_id: &[u8]) -> Vec<u8> {
    let sender = quote::address(sender);
    let mut text = Vec::new();
    let parts: [&[u8]; 7] = [
        b"From: DELIVERY NOTICE SYSTEM <",
        &sender,
        b">\nTo: <",
        &sender,
        b">\nSubject: success notice\n\nHi! This is the qreceipt program. Your message was delivered to the\n\
          following address: ",
        address,
        b". Thanks for asking.\n",
    ];
    for part in parts {
        text.extend_from_slice(part);
    }
    if !message_id.is_empty() {
        text.extend_from_slice(b"Your ");
        text.extend_from_slice(message_id);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_looked_for_in_all_of_the_list() {
        let rows: &[(&[u8], Option<bool>)] = &[
            (b"N: a@b\n", Some(true)),
            (b"N: A@b\n", Some(false)),
            (b"N: \"a\"@b\n", Some(true)),
            (b"N: x@y, a@b, z@y\n", Some(true)),
            (b"N: name <a@b> (comment)\n", Some(true)),
            (b"N: a@b.c\n", Some(false)),
            (b"N:\n", Some(false)),
            (b"N: <>\n", Some(false)),
            (b"N: a@b (\n", None),
            (b"N: a@b>\n", None),
        ];
        for &(field, found) in rows {
            assert_eq!(names(field, b"a@b"), found, "{field:?}");
        }
    }

    #[test]
    fn the_notice_goes_to_the_sender_and_names_the_message() {
        let all = text(b"a@b", b"x y@z", b"Message-ID: <1@z>\n");
        assert!(all.starts_with(b"From: DELIVERY NOTICE SYSTEM <\"x y\"@z>\nTo: <\"x y\"@z>\nSubject: "));
        assert!(all.ends_with(b"following address: a@b. Thanks for asking.\nYour Message-ID: <1@z>\n"));
        assert!(text(b"a@b", b"x@z", b"").ends_with(b"asking.\n"));
    }
}
