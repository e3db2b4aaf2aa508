//! Handing a message to qmail-queue: the message on its fd 0, then the envelope on its fd 1 (qmail-queue(8)).

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;
use sys::env::Env;
use sys::process::{Ended, Pid};
use sys::spawn::Program;

/// The longest own text that a replacement for qmail-queue may give with exit code 82 (bytes).
const CUSTOM_TEXT_MAX: u64 = 255;
/// Exit code of a replacement for qmail-queue that wrote its own text to fd 6.
const CUSTOM_TEXT: u8 = 82;
/// The buffer before each pipe (bytes): what a Linux pipe takes in one go.
const PIPE_BYTES: usize = 16384;

/// A running qmail-queue (or what QMAILQUEUE names) that is being given one message.
///
/// First [`Submission::put`] the message, then [`Submission::sender`] once, [`Submission::recipient`] for each
/// recipient, then [`Submission::finish`]. Errors on the way are kept for `finish`: a message whose hand-over failed
/// is cut off, so that nothing is queued.
pub struct Submission {
    pid: Pid,
    message: Option<BufWriter<File>>,
    envelope: Option<BufWriter<File>>,
    own_text: Option<File>,
    failed: bool,
}

/// What became of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Queued: from now on the queue answers for it.
    Queued,
    /// Not queued. The text begins with `D` (permanent) or `Z` (temporary), without a newline.
    Refused(Vec<u8>),
}

impl Verdict {
    /// What a program says that was asked to send one message: nothing, or exit code and text of the refusal.
    pub fn result(&self) -> Result<(), (Exit, &[u8])> {
        match self {
            Verdict::Queued => Ok(()),
            Verdict::Refused(text) => match text.split_first() {
                Some((b'D', text)) => Err((Exit::PERMANENT, text)),
                Some((_, text)) => Err((Exit::TEMPORARY, text)),
                None => Err((Exit::TEMPORARY, b"")),
            },
        }
    }
}

/// Sends a message that qmail-local is delivering on: `trace` (the variable DTLINE, by which a loop is seen), then
/// `message`, from `sender` to `recipients`. QMAILQUEUE in `env` names the queue program. Returns its qp; or exit code and
/// text, without a newline, for who wanted it sent.
pub fn send_on<'a>(
    home: &Path,
    env: Env,
    (trace, message): (&[u8], impl BufRead),
    sender: &[u8],
    recipients: impl IntoIterator<Item = &'a [u8]>,
) -> Result<i32, (Exit, Vec<u8>)> {
    let trouble = |what: &[u8], e: &io::Error| (Exit::TEMPORARY, [what, sys::error::text(e).as_bytes()].concat());
    let program = env.get(b"QMAILQUEUE").map(<[u8]>::to_vec);
    let mut mail = Submission::start(home, program.as_deref(), env).map_err(|e| trouble(b"unable to fork: ", &e))?;
    mail.put(trace);
    if let Err(e) = mail.put_all(message) {
        // It was told not to queue what it got.
        let _ = mail.finish();
        return Err(trouble(b"unable to read message: ", &e));
    }
    let qp = mail.qp();
    mail.sender(sender);
    for recipient in recipients {
        mail.recipient(recipient);
    }
    mail.finish().result().map(|()| qp).map_err(|(code, text)| (code, text.to_vec()))
}

impl Submission {
    /// Starts the queue program of `home`: `program` (the value of QMAILQUEUE) if given, else bin/qmail-queue. The
    /// child's directory is `home`, its environment `env`. SIGPIPE is ignored from now on.
    pub fn start(home: &Path, program: Option<&[u8]>, env: Env) -> io::Result<Submission> {
        sys::signal::ignore(sys::signal::SIGPIPE);
        let program = program.unwrap_or(b"bin/qmail-queue");
        let (message_read, message) = sys::fd::pipe()?;
        let (envelope_read, envelope) = sys::fd::pipe()?;
        let (text, text_write) = sys::fd::pipe()?;
        let child = Program::new(program, &[program])?
            .dir(home.as_os_str().as_bytes())?
            .fd(0, message_read.as_raw_fd())
            .fd(1, envelope_read.as_raw_fd())
            .fd(6, text_write.as_raw_fd())
            .env(env);
        Ok(Submission {
            pid: child.start_ahead(Exit::NOT_EXECUTED)?,
            message: Some(BufWriter::with_capacity(PIPE_BYTES, File::from(message))),
            envelope: Some(BufWriter::with_capacity(1024, File::from(envelope))),
            own_text: Some(File::from(text)),
            failed: false,
        })
    }

    /// The qp: the process number of the queue program, as it stands in logs and in the trace field.
    pub fn qp(&self) -> i32 {
        self.pid.0
    }

    /// Adds to the message.
    pub fn put(&mut self, bytes: &[u8]) {
        if !self.failed {
            let put = self.message.as_mut().map_or(Ok(()), |m| m.write_all(bytes));
            self.failed = put.is_err();
        }
    }

    /// Adds everything that `from` has. If it can not be read, or the hand-over fails, the message is given up; the
    /// error is that of reading.
    pub fn put_all(&mut self, mut from: impl BufRead) -> io::Result<()> {
        while !self.failed {
            let count = match from.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    self.put(bytes);
                    bytes.len()
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
                Err(e) => {
                    self.fail();
                    return Err(e);
                }
            };
            from.consume(count);
        }
        Ok(())
    }

    /// Gives the message up: whatever follows, it will not be queued.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether the hand-over has failed already.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Ends the message and names the envelope sender.
    pub fn sender(&mut self, address: &[u8]) {
        if let Some(mut m) = self.message.take() {
            let sent = !self.failed && m.flush().is_ok();
            self.failed |= !sent;
            // Without this a failed hand-over would still write its buffer when it is dropped.
            drop(m.into_parts());
        }
        self.field(b'F', address);
    }

    /// Names a recipient.
    pub fn recipient(&mut self, address: &[u8]) {
        self.field(b'T', address);
    }

    /// Tells the queue program that there is nothing in the message for the scanner that it may have. It is the last
    /// word of the envelope.
    pub fn spare_scanner(&mut self) {
        self.field(b'Q', b"");
    }

    fn field(&mut self, letter: u8, address: &[u8]) {
        if self.failed {
            return;
        }
        // A NUL would begin another field: addresses are data, never structure.
        let address = address.split(|&b| b == 0).next().unwrap_or_default();
        if let Some(e) = &mut self.envelope {
            let put = e.write_all(&[letter]).and_then(|()| e.write_all(address)).and_then(|()| e.write_all(b"\0"));
            self.failed = put.is_err();
        }
    }

    /// Ends the envelope, unless something failed, and waits for the queue program's answer.
    pub fn finish(self) -> Verdict {
        self.finish_with_code().0
    }

    /// Like [`Submission::finish`], with the queue program's exit code, if it has ended with one: a server may have an
    /// answer of its own for some of them.
    pub fn finish_with_code(mut self) -> (Verdict, Option<u8>) {
        drop(self.message.take().map(BufWriter::into_parts));
        if let Some(mut e) = self.envelope.take() {
            if !self.failed {
                self.failed = e.write_all(b"\0").and_then(|()| e.flush()).is_err();
            }
            drop(e.into_parts());
        }
        let mut text = Vec::new();
        if let Some(f) = self.own_text.take() {
            // No text is as good as an unreadable one.
            let _ = f.take(CUSTOM_TEXT_MAX).read_to_end(&mut text);
        }
        let code = match sys::process::wait(self.pid) {
            Err(_) => return (Verdict::Refused(b"Zqq waitpid surprise (#4.3.0)".to_vec()), None),
            Ok(Ended::Signal(_)) => return (Verdict::Refused(b"Zqq crashed (#4.3.0)".to_vec()), None),
            Ok(Ended::Exit(code)) => code,
        };
        let verdict = if code == 0 && !self.failed {
            Verdict::Queued
        } else if code == CUSTOM_TEXT && text.len() > 2 {
            Verdict::Refused(text)
        } else {
            Verdict::Refused(refusal(code).as_bytes().to_vec())
        };
        (verdict, Some(code))
    }
}

/// The text for an exit code of qmail-queue, the same in all its callers (spec/programs.md 2.1). 0 here means that the
/// queue program took what the caller had cut off.
fn refusal(code: u8) -> &'static str {
    match code {
        11 | 115 => "Denvelope address too long for qq (#5.1.3)",
        31 => "Dmail server permanently rejected message (#5.3.0)",
        32..=34 => "Dmail server does not accept message (#5.3.0)",
        51 => "Zqq out of memory (#4.3.0)",
        52 => "Zqq timeout (#4.3.0)",
        53 => "Zqq write error or disk full (#4.3.0)",
        0 | 54 => "Zqq read error (#4.3.0)",
        55 => "Zqq unable to read configuration (#4.3.0)",
        56 => "Zqq trouble making network connection (#4.3.0)",
        61 => "Zqq trouble in home directory (#4.3.0)",
        62..=66 => "Zqq trouble creating files in queue (#4.3.0)",
        71 => "Zmail server temporarily rejected message (#4.3.0)",
        72 => "Zconnection to mail server timed out (#4.4.1)",
        73 => "Zconnection to mail server rejected (#4.4.1)",
        74 => "Zcommunication with mail server failed (#4.4.2)",
        81 | 91 => "Zqq internal bug (#4.3.0)",
        120 => "Zunable to exec qq (#4.3.0)",
        12..=40 => "Dqq permanent problem (#5.3.0)",
        _ => "Zqq temporary problem (#4.3.0)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, use_it: impl FnOnce(&mut Submission)) -> Verdict {
        use std::os::unix::fs::PermissionsExt;
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let file = std::env::temp_dir().join(format!("qq-{}-{n}", std::process::id()));
        let text = file.with_extension("text");
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Copied by another process: a file that this one has open for writing while another test forks is busy.
        assert!(std::process::Command::new("cp").args([&text, &file]).status().unwrap().success());
        std::fs::remove_file(text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let mut s = Submission::start(Path::new("/"), Some(file.as_os_str().as_bytes()), Env::inherit()).unwrap();
        use_it(&mut s);
        let v = s.finish();
        std::fs::remove_file(file).unwrap();
        v
    }

    fn refused(text: &str) -> Verdict {
        Verdict::Refused(text.as_bytes().to_vec())
    }

    #[test]
    fn exit_codes_become_texts() {
        let whole = |s: &mut Submission| {
            s.put(b"x\n");
            s.sender(b"a");
            s.recipient(b"b");
        };
        assert_eq!(run("cat >/dev/null; cat <&1 >/dev/null; exit 0", whole), Verdict::Queued);
        assert_eq!(run("exit 53", whole), refused("Zqq write error or disk full (#4.3.0)"));
        assert_eq!(run("kill -9 $$", whole), refused("Zqq crashed (#4.3.0)"));
        assert_eq!(run("echo -n 'Dno thanks' >&6; exit 82", whole), refused("Dno thanks"));
        assert_eq!(run("exit 40", whole), refused("Dqq permanent problem (#5.3.0)"));
    }

    #[test]
    fn a_failed_message_gets_no_end_of_envelope() {
        let v = run("exec 3<&1 >/dev/null; cat; test $(wc -c <&3) -eq 0 && exit 31; exit 0", |s| {
            s.put(b"x");
            s.fail();
            s.sender(b"a");
            s.recipient(b"b");
        });
        assert_eq!(v, refused("Dmail server permanently rejected message (#5.3.0)"));
    }

    #[test]
    fn a_message_that_can_not_be_read_is_given_up() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let use_it = |from: &mut dyn BufRead, s: &mut Submission| {
            let read = s.put_all(from);
            s.sender(b"a");
            s.recipient(b"b");
            read.is_ok()
        };
        let text: &[u8] = b"abc";
        let whole = "test $(cat) = abc && cat <&1 >/dev/null";
        assert_eq!(run(whole, |s| assert!(use_it(&mut &*text, s))), Verdict::Queued);
        let cut = "exec 3<&1 >/dev/null; cat; test $(wc -c <&3) -eq 0 && exit 31; exit 0";
        let mut broken = io::BufReader::new(text.chain(Broken));
        let v = run(cut, |s| assert!(!use_it(&mut broken, s)));
        assert_eq!(v, refused("Dmail server permanently rejected message (#5.3.0)"));
    }

    #[test]
    fn a_refusal_is_an_exit_code_and_a_text() {
        let rows: [(&[u8], Exit, &[u8]); 4] = [
            (b"Dnever (#5.3.0)", Exit::PERMANENT, b"never (#5.3.0)"),
            (b"Zlater", Exit::TEMPORARY, b"later"),
            (b"?", Exit::TEMPORARY, b""),
            (b"", Exit::TEMPORARY, b""),
        ];
        for (text, code, rest) in rows {
            assert_eq!(Verdict::Refused(text.to_vec()).result(), Err((code, rest)));
        }
        assert_eq!(Verdict::Queued.result(), Ok(()));
    }

    #[test]
    fn a_program_that_is_not_there_is_temporary() {
        let s = Submission::start(Path::new("/"), Some(b"/nonexistent"), Env::inherit()).unwrap();
        assert_eq!(s.finish(), refused("Zunable to exec qq (#4.3.0)"));
    }
}
