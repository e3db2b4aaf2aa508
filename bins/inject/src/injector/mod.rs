//! The work of qmail-inject, also done by sendmail in its own process: read the header, complete it, hand it and the
//! body to qmail-queue.

mod fields;
mod settings;

use fields::Header;
use mess822::{date, header, quote};
use queue::{Submission, Verdict};
use settings::{Options, Settings};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use sys::Exit;
use sys::env::Env;
use sys::fd::{Fd, STDIN, STDOUT};

/// The longest header (bytes). It must be held until its end, since the new fields come first. A longer one is
/// refused: passing it on unread could lose recipients or show Bcc to everybody.
const HEADER_MAX: u64 = 1 << 20;
/// The buffer for reading the message (bytes).
const BUFFER: usize = 16384;

/// Why there is no message in the queue.
#[derive(Debug)]
enum Failure {
    /// An option that is none, or (`true`) one without its value.
    Usage(u8, bool),
    /// Home could not be entered.
    NoHome,
    /// A control file or the message could not be read.
    Read,
    /// The result could not be written (`-n`).
    Write,
    /// A field (or what was to become one) that must be understood and is not.
    Unparsable(Vec<u8>),
    /// A recipient in the arguments.
    BadRecipient(Vec<u8>),
    /// The header is longer than [`HEADER_MAX`].
    HeaderTooLong,
    /// No process to be had for qmail-queue.
    NoQueue,
    /// What qmail-queue's exit code means: a letter, then the text.
    Refused(Vec<u8>),
}

/// Does all of qmail-inject(8): `args` are its arguments, `env` is its environment and that of qmail-queue.
pub fn run(args: &[&[u8]], env: Env) -> Exit {
    match inject(args, env) {
        Ok(()) => Exit::OK,
        Err(failure) => complain(&failure),
    }
}

/// One line (or two) on fd 2. Always in the name of qmail-inject, whoever it is that injects.
fn complain(failure: &Failure) -> Exit {
    let (exit, text): (Exit, &[&[u8]]) = match failure {
        Failure::Usage(letter, false) => (Exit::PERMANENT, &[b"illegal option -- ", &[*letter], b"\n"]),
        Failure::Usage(letter, true) => (Exit::PERMANENT, &[b"option requires an argument -- ", &[*letter], b"\n"]),
        Failure::NoHome => (Exit::TEMPORARY, &[b"fatal: internal bug\n"]),
        Failure::Read => (Exit::TEMPORARY, &[b"fatal: read error\n"]),
        Failure::Write => (Exit::TEMPORARY, &[b"fatal: write error\n"]),
        Failure::Unparsable(line) => (Exit::PERMANENT, &[b"fatal: unable to parse this line:\n", line]),
        Failure::BadRecipient(address) => (Exit::PERMANENT, &[b"fatal: unable to parse address: ", address, b"\n"]),
        Failure::HeaderTooLong => (Exit::PERMANENT, &[b"fatal: header too long\n"]),
        Failure::NoQueue => (Exit::TEMPORARY, &[b"fatal: unable to run qmail-queue\n"]),
        Failure::Refused(text) => match text.split_first() {
            Some((b'D', text)) => (Exit::PERMANENT, &[b"fatal: ", text, b"\n"]),
            other => (Exit::TEMPORARY, &[b"fatal: ", other.map_or(b"", |(_, text)| text), b"\n"]),
        },
    };
    // A last word: there is nowhere to report that it could not be said.
    let _ = sys::fd::write_all(2, &[b"qmail-inject: ", &text.concat()[..]].concat());
    exit
}

fn inject(args: &[&[u8]], env: Env) -> Result<(), Failure> {
    let now = sys::time::now();
    let home = conf::home(env.get(b"QMAILHOME").map(<[u8]>::to_vec), sys::process::is_privileged_beyond_caller());
    // Before chdir: a relative QMAILMFTFILE belongs to the caller's directory.
    let lists = settings::list_addresses(&env)?;
    sys::process::chdir(&home).map_err(|_| Failure::NoHome)?;
    let settings = Settings::load(&env, &home, lists, now)?;
    let options = Options::parse(args, &settings)?;

    let mut message = header::Fields::new(BufReader::with_capacity(BUFFER, STDIN), HEADER_MAX);
    let mut header = Header::new(&settings, options.sender.clone());
    while let Some(field) = message.next_field().map_err(|e| match e {
        header::Error::Read(_) => Failure::Read,
        header::Error::TooLong => Failure::HeaderTooLong,
    })? {
        header.take(field)?;
    }
    let sender = header.sender()?;
    let mut out = if options.queue { Output::queue(&home, &env)? } else { Output::print(&sender) };
    out.put(&header.finish(now)?);
    let (start, rest) = message.into_body();
    if copy_body(&start, rest, &mut out).is_err() {
        out.give_up();
        return Err(Failure::Read);
    }
    let in_arguments = options.recipients.iter().map(Vec::as_slice);
    let in_header = header.recipients().filter(|_| options.use_header);
    out.finish(&sender, in_arguments.chain(in_header))
}

/// Copies the body as it is; only a newline that is missing at its end is added.
fn copy_body(start: &[u8], mut rest: BufReader<Fd>, out: &mut Output) -> io::Result<()> {
    out.put(start);
    let mut last = start.last().copied();
    loop {
        let bytes = rest.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            break;
        }
        out.put(bytes);
        last = bytes.last().copied();
        rest.consume(count);
    }
    if last.is_some_and(|b| b != b'\n') {
        out.put(b"\n");
    }
    Ok(())
}

/// Where the message goes.
enum Output {
    Queue(Submission),
    /// `-n`; the flag says that a write failed.
    Print(BufWriter<Fd>, bool),
}

impl Output {
    fn queue(home: &Path, env: &Env) -> Result<Output, Failure> {
        let submission = Submission::start(home, env.get(b"QMAILQUEUE"), env.clone());
        Ok(Output::Queue(submission.map_err(|_| Failure::NoQueue)?))
    }

    fn print(sender: &[u8]) -> Output {
        // A reader that has seen enough gives a write error, not a signal.
        sys::signal::ignore(sys::signal::SIGPIPE);
        let mut out = Output::Print(BufWriter::with_capacity(BUFFER, STDOUT), false);
        out.put(&[b"Return-Path: <", &quote::address(settings::to_nul(sender))[..], b">\n"].concat());
        out
    }

    fn put(&mut self, bytes: &[u8]) {
        match self {
            Output::Queue(submission) => submission.put(bytes),
            Output::Print(out, failed) => *failed |= out.write_all(bytes).is_err(),
        }
    }

    /// Lets qmail-queue know that the message is not complete, and waits until it has cleaned up.
    fn give_up(self) {
        if let Output::Queue(mut submission) = self {
            submission.fail();
            // Whatever it says: the message is not queued, and why is known better here.
            let _ = submission.finish();
        }
    }

    fn finish<'a>(self, sender: &[u8], recipients: impl Iterator<Item = &'a [u8]>) -> Result<(), Failure> {
        match self {
            Output::Queue(mut submission) => {
                submission.sender(sender);
                for recipient in recipients {
                    submission.recipient(recipient);
                }
                match submission.finish() {
                    Verdict::Queued => Ok(()),
                    Verdict::Refused(text) => Err(Failure::Refused(text)),
                }
            }
            Output::Print(mut out, failed) => {
                if failed || out.flush().is_err() {
                    return Err(Failure::Write);
                }
                Ok(())
            }
        }
    }
}

/// A new Date field.
fn date_field(now: u64) -> Vec<u8> {
    [b"Date: ", &date::rfc822(now)[..], b"\n"].concat()
}

/// A new Message-ID field: the time and this process's number make it unique at `host`.
fn message_id_field(now: u64, host: &[u8]) -> Vec<u8> {
    let pid = sys::process::pid().0.to_string();
    [b"Message-ID: <", &date::digits(now)[..], b".", pid.as_bytes(), b".qmail@", host, b">\n"].concat()
}
