//! Failures are collected in bounce/N, and sent to the envelope sender when no recipient is left.

use crate::channel::read_info;
use crate::log::Log;
use crate::settings::Settings;
use mess822::quote;
use queue::client::{Submission, Verdict};
use queue::layout::{Layout, MessNum};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;

/// The sender of a bounce of a bounce: if that fails too, it is thrown away.
const DOUBLE: &[u8] = b"#@[]";
/// What is copied at a time (bytes).
const BUFFER_BYTES: usize = 16_384;

/// Notes that `recipient` failed with `report`, durably: the mark in the recipient list comes after this. Does not
/// return before that is done.
pub fn add(n: MessNum, layout: Layout, settings: &Settings, recipient: &[u8], report: &[u8], log: &mut Log) {
    let text = paragraph(settings.routes.without_prefix(recipient), report);
    while append(&layout.bounce(n), &text).is_err() {
        log.line(&[b"alert: unable to append to bounce message; HELP! sleeping..."]);
        log.pause();
    }
}

/// `<recipient>:`, the report, an empty line. The report can hold no empty line of its own and the recipient no newline,
/// so that paragraphs stay what they are (QSBMF).
fn paragraph(recipient: &[u8], report: &[u8]) -> Vec<u8> {
    let mut text = vec![b'<'];
    text.extend(recipient.iter().map(|&b| if b == b'\n' { b'_' } else { b }));
    text.extend_from_slice(b">:\n");
    text.extend_from_slice(report);
    if report.last().is_some_and(|&b| b != b'\n') {
        text.push(b'\n');
    }
    // From the end on, so that of several newlines in a row the first stays.
    for i in (1..text.len().saturating_sub(1)).rev() {
        if text.get(i) == Some(&b'\n')
            && text.get(i - 1) == Some(&b'\n')
            && let Some(b) = text.get_mut(i)
        {
            *b = b'/';
        }
    }
    text.push(b'\n');
    text
}

/// Appends all of `text` and syncs it, or nothing.
fn append(name: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(name)?;
    let before = file.metadata()?.len();
    if let Err(e) = file.write_all(text).and_then(|()| file.sync_all()) {
        // If this fails too the paragraph stands there cut, and once more whole.
        let _ = file.set_len(before);
        return Err(e);
    }
    if before == 0 { sys::fs::sync_dir(Path::new("bounce")) } else { Ok(()) }
}

/// Sends the bounce of message `n`, if it has one, and removes bounce/N. `sender`: if there is no info file that tells.
/// `Err`: not now; it is logged.
pub fn inject(n: MessNum, sender: Option<&[u8]>, layout: Layout, settings: &Settings, log: &mut Log) -> Result<(), ()> {
    let name = layout.bounce(n);
    match std::fs::metadata(&name) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {
            log.about_file("warning: unable to stat ", &name, "");
            return Err(());
        }
    }
    let known = sender.map(<[u8]>::to_vec);
    let Some(sender) = known.or_else(|| read_info(layout, n).map(|(sender, _)| sender)) else {
        log.about_file("warning: trouble opening ", &layout.info(n), "; will try again later");
        return Err(());
    };
    // VERP: owner-@host-@[] stands for owner-@host.
    let sender = sender.strip_suffix(b"-@[]").unwrap_or(&sender);
    if sender == DOUBLE {
        log.about_file("triple bounce: discarding ", &name, "");
    } else {
        let qp = submit(n, layout, settings, sender).map_err(|words| log.line(&[words.as_bytes()]))?;
        log.line(&[format!("bounce msg {n} qp {qp}").as_bytes()]);
    }
    std::fs::remove_file(&name).map_err(|_| log.about_file("warning: unable to unlink ", &name, ""))
}

/// Gives the bounce to qmail-queue; returns its qp, or the warning to be logged.
fn submit(n: MessNum, layout: Layout, settings: &Settings, sender: &[u8]) -> Result<i32, &'static str> {
    let program = sys::env::get(b"QMAILQUEUE");
    let mut qq = Submission::start(&settings.home, program.as_deref(), sys::env::Env::inherit())
        .map_err(|_| "warning: unable to start qmail-queue, will try later")?;
    let qp = qq.qp();
    let (from, to): (&[u8], &[u8]) =
        if sender.is_empty() { (DOUBLE, &settings.double_bounce_to) } else { (b"", sender) };
    qq.put(&header(settings, to, sender.is_empty()));
    put_file(&mut qq, &layout.bounce(n));
    qq.put(if sender.is_empty() {
        b"--- Below this line is the original bounce.\n\n"
    } else {
        b"--- Below this line is a copy of the message.\n\n"
    });
    qq.put(&[b"Return-Path: <", quote::address(sender).as_ref(), b">\n"].concat());
    put_file(&mut qq, &layout.mess(n));
    qq.sender(from);
    qq.recipient(to);
    match qq.finish() {
        Verdict::Queued => Ok(qp),
        Verdict::Refused(_) => Err("warning: trouble injecting bounce message, will try later"),
    }
}

fn header(settings: &Settings, to: &[u8], is_double: bool) -> Vec<u8> {
    let words: &[u8] = if is_double {
        b".\nI tried to deliver a bounce message to this address, but the bounce bounced!\n\n"
    } else {
        b".\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\
          This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
    };
    [
        b"Date: ",
        mess822::date::rfc822(sys::time::now()).as_slice(),
        b"\nFrom: ",
        quote::local_part(&settings.bounce_from).as_ref(),
        b"@",
        &settings.bounce_host,
        b"\nTo: ",
        quote::address(to).as_ref(),
        b"\nSubject: failure notice\n\nHi. This is the qmail-send program at ",
        &settings.bounce_host,
        words,
    ]
    .concat()
}

/// Copies a file into the message; a file that can not be read whole fails the submission.
fn put_file(qq: &mut Submission, name: &Path) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let Ok(mut file) = std::fs::File::open(name) else { return qq.fail() };
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => qq.put(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return qq.fail(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_paragraphs_have_no_empty_line_inside() {
        for (recipient, report, want) in [
            (&b"a@b"[..], &b"Sorry.\n"[..], &b"<a@b>:\nSorry.\n\n"[..]),
            (b"a@b", b"Sorry.", b"<a@b>:\nSorry.\n\n"),
            (b"a\n@b", b"x\n\ny\n", b"<a_@b>:\nx\n/y\n\n"),
            (b"a@b", b"x\n\n\n\ny\n", b"<a@b>:\nx\n///y\n\n"),
            (b"a@b", b"\n\n", b"<a@b>:\n/\n\n"),
            (b"a@b", b"", b"<a@b>:\n\n"),
        ] {
            assert_eq!(paragraph(recipient, report).escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }
}
