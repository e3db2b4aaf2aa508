//! maildirwatch: shows who has sent new mail, over and over (maildirwatch(1)).
//!
//! Started by a user, in a terminal window. Reads MAILDIR; every 30 seconds clears the screen (fd 1, a VT100) and shows
//! sender, recipient, From field, subject and the beginning of the body of each message in new.
//!
//! Exit code: 111 the maildir can not be read, or nobody reads fd 1.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod reading;

use mailbox::reading::{Listing, Part};
use mess822::header::{Error, Fields};
use mess822::hfield::{self, Name};
use std::io::{BufReader, Read};
use std::time::Duration;
use sys::Exit;
use sys::error::complain;

/// How long one picture stays.
const EVERY: Duration = Duration::from_secs(30);
/// VT100: to the top left corner, and clear all that follows.
const CLEAR: &[u8] = b"\x1b[;H\x1b[;J";
const BOLD: &[u8] = b"\x1b[1m";
const PLAIN: &[u8] = b"\x1b[0m";
/// How much is shown of subject and body together (bytes).
const TEXT_MAX: usize = 158;
/// The longest header that is looked at (bytes).
const HEADER_MAX: u64 = 1 << 20;

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    if let Err(code) = reading::enter() {
        return code;
    }
    loop {
        let messages = match reading::list(&[Part::New]) {
            Ok(messages) => messages,
            Err(code) => return code,
        };
        if show(&messages).is_err() {
            return Exit::TEMPORARY;
        }
        // Nothing is awaited but the time; an early end only shows the same again.
        let _ = sys::poll::wait(&mut [], Some(EVERY));
    }
}

fn show(messages: &Listing) -> Result<(), ()> {
    let put = |bytes: &[u8]| sys::fd::write_all(1, bytes).map_err(|_| ());
    put(CLEAR)?;
    for file in (0..messages.len()).filter_map(|n| messages.path(n)) {
        // One that is gone was taken by another reader.
        let Ok(file) = sys::fs::open_read(&file) else { continue };
        let Some(text) = summary(file) else {
            complain(&[b"fatal: trouble reading new message"]);
            return Err(());
        };
        put(&text)?;
    }
    Ok(())
}

/// What is shown of a message; `None` if it can not be read.
fn summary(message: impl Read) -> Option<Vec<u8>> {
    let (mut sender, mut recipient) = (b"?".to_vec(), b"?".to_vec());
    let (mut from, mut text) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(BufReader::new(message), HEADER_MAX);
    loop {
        let field = match fields.next_field() {
            Ok(Some(field)) => field,
            Ok(None) => break,
            // What was seen must do: no stranger's header ends the watch.
            Err(Error::TooLong) => break,
            Err(Error::Read(_)) => return None,
        };
        let body = hfield::body(&field);
        let line = body.strip_suffix(b"\n").unwrap_or(body);
        match hfield::known(&field) {
            Some(Name::Subject) => {
                text.extend_from_slice(body);
                text.truncate(TEXT_MAX);
            }
            Some(Name::DeliveredTo) if !body.is_empty() => recipient = line.to_vec(),
            Some(Name::ReturnPath) if !body.is_empty() => sender = line.to_vec(),
            Some(Name::From) => from = field.strip_suffix(b"\n").unwrap_or(&field).to_vec(),
            _ => {}
        }
    }
    let (start, rest) = fields.into_body();
    let room = TEXT_MAX - text.len().min(TEXT_MAX);
    start.chain(rest).take(room as u64).read_to_end(&mut text).ok()?;
    for (part, by) in [(&mut sender, b'?'), (&mut recipient, b'?'), (&mut from, b'/'), (&mut text, b'/')] {
        mask(part, by);
    }
    let mut all = [b"FROM ", &sender[..], b" TO <", &recipient, b">\n"].concat();
    if !from.is_empty() {
        all.extend_from_slice(&[BOLD, &from, PLAIN, b"\n"].concat());
    }
    all.extend_from_slice(&text);
    all.extend_from_slice(b"\n\n");
    Some(all)
}

/// What is not printable could do anything to a terminal.
fn mask(text: &mut [u8], by: u8) {
    for b in text.iter_mut().filter(|b| !(32..=126).contains(*b)) {
        *b = by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_by_its_fields_and_first_words() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b"FROM ? TO <?>\n\n\n"),
            (b"\nx\n", b"FROM ? TO <?>\n/x/\n\n"),
            (
                b"Return-Path: <j@r>\nDelivered-To: g@h\nFrom: J \x1b[0m <j@r>\nSubject: s\n\nbody\n",
                b"FROM <j@r> TO <g@h>\n\x1b[1mFrom: J /[0m <j@r>\x1b[0m\ns//body/\n\n",
            ),
        ];
        for &(message, expected) in rows {
            assert_eq!(summary(message).as_deref(), Some(expected), "{message:?}");
        }
    }

    #[test]
    fn an_endless_header_does_not_end_the_watch() {
        let message = [b"Subject: s\nX: ".to_vec(), vec![b'x'; 2 << 20]].concat();
        let shown = summary(&message[..]).unwrap_or_default();
        assert!(shown.starts_with(b"FROM ? TO <?>\ns/"), "{:?}", shown.get(..40));
    }

    #[test]
    fn no_more_is_shown_than_fits_two_lines() {
        let message = [b"Subject: ".to_vec(), vec![b's'; 200], b"\n\nbody\n".to_vec()].concat();
        let shown = summary(&message[..]).unwrap_or_default();
        assert_eq!(shown, [b"FROM ? TO <?>\n", &[b's'; TEXT_MAX][..], b"\n\n"].concat());
    }
}
