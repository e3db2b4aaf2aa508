//! What a session asks of this host: the queue, TLS, and the programs that check what must be asked elsewhere.

use policy::recipients::Answer;
use queue::Submission;
use smtp::server::{Check, Checked, Found, Host, NoCheck, Spf, SpfQuestion, SpfResult, Wanted};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use sys::env::{self, Env};
use sys::poll::Timed;
use sys::process::{self, Ended, Pid};
use sys::spawn::Program;

/// The most that is read about a TLS connection (bytes).
const TLS_VARIABLES_MAX: u64 = 1 << 20;
/// The most that a program may answer (bytes): spfquery also tells what it has read.
const ANSWER_MAX: u64 = 1 << 20;
/// The longest line in a conversation with a program (bytes).
const LINE_MAX: u64 = 8192;
/// The exit code of a program that found out that there is none: a name, an address.
const SURELY_NOT: u8 = 100;
/// qmail-postgrey's exit code for mail that is to come again.
const GREYLISTED: u8 = 10;

/// What the site adds to the policies of others.
#[derive(Default)]
pub struct SpfTexts {
    /// control/spflocalrules: mechanisms before the last one.
    pub rules: Vec<u8>,
    /// control/spfexplain: what is said of a failure.
    pub explanation: Vec<u8>,
}

/// The process, and what its children get.
pub struct ThisHost {
    home: PathBuf,
    queue_program: Option<Vec<u8>>,
    /// Nothing that is started for a message looks at the environment, so it need not wait for the last recipient.
    starts_early: bool,
    /// The queue program of a message that has not begun.
    expected: Option<Submission>,
    check_program: Vec<&'static [u8]>,
    limit: Duration,
    /// What children see besides this process's own environment, or no more.
    exports: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    spf: SpfTexts,
    pid: Vec<u8>,
    null: Option<File>,
}

impl ThisHost {
    /// `check_program` with its arguments checks passwords; `limit` is how long TLS, or a word of it, may take.
    pub fn new(home: PathBuf, check_program: Vec<&'static [u8]>, limit: Duration, spf: SpfTexts) -> ThisHost {
        let queue_program = env::get(b"QMAILQUEUE");
        for name in [b"SSLCTLFD".as_slice(), b"SSLREADFD", b"SSLWRITEFD"] {
            // They are for this process only: what it starts has no business with the connection.
            if let Some(n) = number(name) {
                let _ = sys::fd::close_on_exec(n);
            }
        }
        ThisHost {
            home,
            starts_early: queue_program.is_none() && env::get(b"QHPSI").is_none(),
            queue_program,
            expected: None,
            check_program,
            limit,
            exports: Vec::new(),
            spf,
            pid: process::pid().0.to_string().into_bytes(),
            null: None,
        }
    }

    /// The environment of a child.
    fn env(&self) -> Env {
        let mut env = Env::inherit();
        for (name, value) in &self.exports {
            match value {
                Some(value) => env.set(name, value),
                None => env.unset(name),
            }
        }
        env
    }

    fn null(&mut self) -> io::Result<RawFd> {
        if self.null.is_none() {
            self.null = Some(File::options().read(true).write(true).open("/dev/null")?);
        }
        self.null.as_ref().map(File::as_raw_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A program of a site, looked for as execvp does. It gets nothing of the connection; what it prints goes to the
    /// log.
    fn foreign(&mut self, argv: &[&[u8]]) -> io::Result<Program> {
        let null = self.null()?;
        let program = Program::named(argv, env::get(b"PATH").as_deref())?;
        Ok(program.fd(0, null).fd(1, 2).env(self.env()))
    }

    /// Runs a program of the house to its end: its exit code (`None`: it crashed), and what it has said.
    fn own(&mut self, argv: &[&[u8]]) -> io::Result<(Option<u8>, Vec<u8>)> {
        let null = self.null()?;
        let file = argv.first().copied().unwrap_or_default();
        let (said, say) = sys::fd::pipe()?;
        let program = Program::new(file, argv)?.fd(0, null).fd(1, say.as_raw_fd()).fd(2, null);
        let pid = program.env(self.env()).start().inspect_err(|e| {
            sys::error::complain(&[b"unable to start ", file, b": ", sys::error::text(e).as_bytes()]);
        })?;
        drop(say);
        let mut text = Vec::new();
        let read = File::from(said).take(ANSWER_MAX).read_to_end(&mut text);
        let ended = process::wait(pid)?;
        read?;
        Ok((ended.code(), text))
    }
}

/// The number in a variable.
fn number(name: &[u8]) -> Option<RawFd> {
    env::get(name).and_then(|value| control::leading_number(&value)).and_then(|n| RawFd::try_from(n).ok())
}

impl Drop for ThisHost {
    fn drop(&mut self) {
        self.expect_no_mail();
    }
}

impl Host for ThisHost {
    type Mail = Submission;
    type Check = Checkpassword;

    fn open(&mut self) -> io::Result<Submission> {
        if let Some(submission) = self.expected.take() {
            return Ok(submission);
        }
        Submission::start(&self.home, self.queue_program.as_deref(), self.env())
    }

    fn expect_mail(&mut self) {
        if self.starts_early && self.expected.is_none() {
            // What fails now may succeed when it is needed.
            self.expected = Submission::start(&self.home, None, self.env()).ok();
        }
    }

    fn expect_no_mail(&mut self) {
        if let Some(mut submission) = self.expected.take() {
            submission.fail();
            // There is no message to have a verdict.
            let _ = submission.finish();
        }
    }

    fn export(&mut self, name: &[u8], value: Option<&[u8]>) {
        let value = value.map(<[u8]>::to_vec);
        match self.exports.iter_mut().find(|export| export.0 == name) {
            Some(export) => export.1 = value,
            None => self.exports.push((name.to_vec(), value)),
        }
    }

    fn log(&mut self, event: &[u8]) {
        let line = [b"qmail-smtpd: pid ", self.pid.as_slice(), b" ", event, b"\n"].concat();
        // A session goes on without its log, as it does without a logger.
        let _ = sys::fd::write_all(2, &line);
    }

    fn pause(&mut self, time: Duration) {
        // Nothing can go wrong in waiting for nothing.
        let _ = sys::poll::wait(&mut [], Some(time));
    }

    /// The UCSPI-TLS conversation (qmail-tls(7)): `Y` asks for TLS and for the variables that tell of it.
    fn start_tls(&mut self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let missing = || io::Error::from(io::ErrorKind::NotConnected);
        let control = number(b"SSLCTLFD").ok_or_else(missing)?;
        let (read, write) = (number(b"SSLREADFD").ok_or_else(missing)?, number(b"SSLWRITEFD").ok_or_else(missing)?);
        sys::fd::write_all(control, b"Y")?;
        // From here on nothing goes out in clear, whatever becomes of the handshake.
        sys::fd::copy(0, read)?;
        sys::fd::copy(1, write)?;
        let mut text = Vec::new();
        let mut words = Timed::new(control, self.limit.as_secs()).take(TLS_VARIABLES_MAX);
        let mut piece = [0; 4096];
        while !text.ends_with(b"\0\0") {
            match words.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => text.extend_from_slice(piece.get(..n).unwrap_or_default()),
            }
        }
        for n in [control, read, write].into_iter().filter(|n| *n > 2) {
            sys::fd::close(n);
        }
        let pairs = text.split(|&b| b == 0).filter_map(|pair| {
            let at = pair.iter().position(|&b| b == b'=')?;
            Some((pair.get(..at)?.to_vec(), pair.get(at + 1..)?.to_vec()))
        });
        Ok(pairs.collect())
    }

    fn look_up(&mut self, what: Wanted, domain: &[u8]) -> Found {
        let program: &[u8] = match what {
            Wanted::Address => b"bin/dnsip",
            Wanted::Exchanger => b"bin/dnsmxip",
        };
        match self.own(&[program, domain]) {
            Ok((Some(0), _)) => Found::Yes,
            Ok((Some(SURELY_NOT), _)) => Found::No,
            _ => Found::Temporary,
        }
    }

    /// spfquery(8) with -0 prints fields that are ended by NULs. It does not ask whether the client is this host.
    fn spf(&mut self, question: &SpfQuestion<'_>) -> Spf {
        let ip = std::str::from_utf8(question.ip).ok().and_then(|ip| ip.parse::<IpAddr>().ok());
        let own = sys::net::local_addresses().unwrap_or_default();
        if ip.is_some_and(|ip| ip.to_canonical().is_loopback() || own.contains(&ip.to_canonical())) {
            return Spf { result: SpfResult::Pass, ..Spf::unknown() };
        }
        let (rules, explanation) = (self.spf.rules.clone(), self.spf.explanation.clone());
        let SpfQuestion { ip, helo, sender, receiver, .. } = *question;
        let argv: [&[u8]; 8] = [b"bin/spfquery", b"-0", ip, helo, sender, receiver, &rules, &explanation];
        let Ok((Some(0), text)) = self.own(&argv) else { return Spf::unknown() };
        let mut fields = text.split(|&b| b == 0).map(<[u8]>::to_vec);
        let mut field = || fields.next().unwrap_or_default();
        let result = match field().as_slice() {
            b"pass" | b"loopback" => SpfResult::Pass,
            b"fail" => SpfResult::Fail,
            b"softfail" => SpfResult::SoftFail,
            b"neutral" => SpfResult::Neutral,
            b"none" => SpfResult::None,
            b"unknown" => SpfResult::PermError,
            _ => SpfResult::TempError,
        };
        let (domain, problem, mechanism) = (field(), field(), field());
        Spf { result, domain, explanation: field(), problem, mechanism }
    }

    fn is_greylisted(&mut self, server: &[u8], envelope: &SpfQuestion<'_>, recipient: &[u8]) -> bool {
        let argv = [b"bin/qmail-postgrey", server, envelope.sender, recipient, envelope.ip, envelope.host];
        matches!(self.own(&argv), Ok((Some(GREYLISTED), _)))
    }

    /// The program gets the address in the place of a user name, with an empty password.
    fn ask(&mut self, argv: &[Vec<u8>], address: &[u8]) -> Answer {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        let run = |program: Program| {
            let (read, write) = sys::fd::pipe()?;
            let pid = program.fd(3, read.as_raw_fd()).start()?;
            drop(read);
            // A program that does not read it all has made up its mind already.
            let _ = File::from(write).write_all(&[address, b"\0\0\0"].concat());
            process::wait(pid)
        };
        let name = argv.first().copied().unwrap_or_default();
        match self.foreign(&argv).and_then(run) {
            Ok(Ended::Exit(0)) => Answer::Yes,
            Ok(Ended::Exit(code)) if code != sys::Exit::TEMPORARY.0 => Answer::No,
            Ok(_) => Answer::Temporary,
            Err(e) => {
                sys::error::complain(&[b"unable to start ", name, b": ", sys::error::text(&e).as_bytes()]);
                Answer::Temporary
            }
        }
    }

    fn start_check(&mut self, talks: bool) -> Result<Checkpassword, NoCheck> {
        let argv = self.check_program.clone();
        let pipe = || sys::fd::pipe().map_err(|_| NoCheck::Pipe);
        let (read, write) = pipe()?;
        let (hear, talk) = if talks { pipe().map(|(hear, talk)| (Some(hear), Some(talk)))? } else { (None, None) };
        let program = self.foreign(&argv).map_err(|_| NoCheck::Start)?.fd(3, read.as_raw_fd());
        let program = talk.iter().fold(program, |program, talk| program.fd(4, talk.as_raw_fd()));
        let pid = program.start().map_err(|_| NoCheck::Start)?;
        Ok(Checkpassword { pid, say: write.into(), hear: hear.map(File::from), limit: self.limit })
    }

    fn unique(&self) -> Vec<u8> {
        [self.pid.as_slice(), b".", sys::time::now().to_string().as_bytes()].concat()
    }

    fn random(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        sys::random::fill(bytes)
    }
}

/// A program with the checkpassword interface.
pub struct Checkpassword {
    pid: Pid,
    say: File,
    /// What it says, if it talks.
    hear: Option<File>,
    limit: Duration,
}

impl Check for Checkpassword {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.say.write_all(bytes) {
            // It does not listen, or has ended already: what it makes of that, its end tells.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    fn hear(&mut self) -> io::Result<Vec<u8>> {
        let hear = self.hear.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut program = Timed::new(hear.as_raw_fd(), self.limit.as_secs()).take(LINE_MAX);
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            match (program.read(&mut byte)?, byte) {
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (_, [b'\n']) => return Ok(line),
                (_, [b]) => line.push(b),
            }
        }
    }

    fn finish(self) -> Checked {
        drop((self.say, self.hear));
        match process::wait(self.pid) {
            Ok(Ended::Exit(0)) => Checked::Right,
            Ok(Ended::Exit(_)) => Checked::Wrong,
            Ok(Ended::Signal(_)) | Err(_) => Checked::Crashed,
        }
    }
}
