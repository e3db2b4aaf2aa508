//! What a session asks of the host it runs on. The programs of the house implement this with processes and descriptors.

use policy::recipients::Answer;
use queue::{Submission, Verdict};
use std::io;
use std::time::Duration;

/// The surroundings of a session. What has no default every session may need; the rest is asked only if the policy of
/// the session calls for it.
pub trait Host {
    /// One message on its way.
    type Mail: Mail;
    /// A password check under way.
    type Check: Check;

    /// Begins a message.
    fn open(&mut self) -> io::Result<Self::Mail>;

    /// A message will begin soon: what starts slowly may be started now, while the client has its turn.
    fn expect_mail(&mut self) {}

    /// The message that was expected does not come.
    fn expect_no_mail(&mut self) {}

    /// Gives programs that are started from now on the variable with this value, or takes it away.
    fn export(&mut self, name: &[u8], value: Option<&[u8]>);

    /// Writes one event to the log; all bytes are harmless.
    fn log(&mut self, event: &[u8]);

    /// Does nothing for a while.
    fn pause(&mut self, time: Duration);

    /// Begins TLS on the connection, and waits until it is there: the variables that tell of it.
    fn start_tls(&mut self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether a domain has what it is asked for.
    fn look_up(&mut self, _what: Wanted, _domain: &[u8]) -> Found {
        Found::Temporary
    }

    /// Evaluates SPF.
    fn spf(&mut self, _question: &SpfQuestion<'_>) -> Spf {
        Spf::unknown()
    }

    /// Whether the greylist at `server` wants to see this recipient again later.
    fn is_greylisted(&mut self, _server: &[u8], _envelope: &SpfQuestion<'_>, _recipient: &[u8]) -> bool {
        false
    }

    /// Asks a program whether it knows an address.
    fn ask(&mut self, _argv: &[Vec<u8>], _address: &[u8]) -> Answer {
        Answer::Temporary
    }

    /// Starts the program that checks passwords.
    fn start_check(&mut self, talks: bool) -> Result<Self::Check, NoCheck>;

    /// What makes a challenge unique: the number of this process and the time.
    fn unique(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Bytes that nobody can guess.
    fn random(&mut self, _bytes: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A message that is being handed to the queue. If it is dropped before [`Mail::close`] nothing is queued.
pub trait Mail {
    /// The number that stands for the message in the reply.
    fn qp(&self) -> i32;
    /// Adds to the message.
    fn put(&mut self, bytes: &[u8]);
    /// Gives the message up: it will not be queued.
    fn fail(&mut self);
    /// Adds the envelope; `recipients` are ended by a NUL each. What became of it, and the queue program's exit code.
    fn close(self, sender: &[u8], recipients: &[u8], scan: bool) -> (Verdict, Option<u8>);
}

impl Mail for Submission {
    fn qp(&self) -> i32 {
        Submission::qp(self)
    }

    fn put(&mut self, bytes: &[u8]) {
        Submission::put(self, bytes);
    }

    fn fail(&mut self) {
        Submission::fail(self);
    }

    fn close(mut self, sender: &[u8], recipients: &[u8], scan: bool) -> (Verdict, Option<u8>) {
        self.sender(sender);
        for recipient in recipients.split_inclusive(|&b| b == 0) {
            self.recipient(recipient.strip_suffix(b"\0").unwrap_or(recipient));
        }
        if !scan {
            self.spare_scanner();
        }
        self.finish_with_code()
    }
}

/// A message that may have no queue program, because there could be no new process: it is taken in and refused.
impl<M: Mail> Mail for io::Result<M> {
    fn qp(&self) -> i32 {
        self.as_ref().map_or(0, Mail::qp)
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Ok(mail) = self {
            mail.put(bytes);
        }
    }

    fn fail(&mut self) {
        if let Ok(mail) = self {
            mail.fail();
        }
    }

    fn close(self, sender: &[u8], recipients: &[u8], scan: bool) -> (Verdict, Option<u8>) {
        match self {
            Ok(mail) => mail.close(sender, recipients, scan),
            Err(_) => (Verdict::Refused(b"Zqqt failure (#4.3.0)".to_vec()), None),
        }
    }
}

/// What a name in the DNS is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An address.
    Address,
    /// A host that takes its mail.
    Exchanger,
}

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is one.
    Yes,
    /// There surely is none.
    No,
    /// No answer.
    Temporary,
}

/// What SPF is evaluated for, and what a greylist is asked about.
#[derive(Clone, Copy, Debug)]
pub struct SpfQuestion<'a> {
    /// The client's address.
    pub ip: &'a [u8],
    /// The client's name in the DNS, or `unknown`.
    pub host: &'a [u8],
    /// The name it gave itself.
    pub helo: &'a [u8],
    /// The envelope sender.
    pub sender: &'a [u8],
    /// This host's name.
    pub receiver: &'a [u8],
}

/// The result of SPF (RFC 7208 2.6), in the words that go into the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// The client may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It rather may not.
    SoftFail,
    /// The domain does not say.
    Neutral,
    /// The domain has no record.
    None,
    /// It could not be found out.
    TempError,
    /// The record makes no sense.
    PermError,
}

impl SpfResult {
    /// As programs and clients are told.
    pub fn word(self) -> &'static [u8] {
        match self {
            SpfResult::Pass => b"pass",
            SpfResult::Fail => b"fail",
            SpfResult::SoftFail => b"softfail",
            SpfResult::Neutral => b"neutral",
            SpfResult::None => b"none",
            SpfResult::TempError => b"error",
            SpfResult::PermError => b"unknown",
        }
    }
}

/// What SPF came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spf {
    /// In a word.
    pub result: SpfResult,
    /// The domain whose record counts.
    pub domain: Vec<u8>,
    /// What the domain, or this site, has to say about a failure; may have several lines.
    pub explanation: Vec<u8>,
    /// What went wrong, if something did.
    pub problem: Vec<u8>,
    /// Where in the record.
    pub mechanism: Vec<u8>,
}

impl Spf {
    /// What is known when the evaluation could not even begin.
    pub fn unknown() -> Spf {
        let none = Vec::new;
        Spf { result: SpfResult::TempError, domain: none(), explanation: none(), problem: none(), mechanism: none() }
    }
}

/// A program with the checkpassword interface, and what it may be told.
pub trait Check {
    /// Says something on the program's descriptor 3.
    fn say(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits for a line on its descriptor 4; the end of the program's words is an error.
    fn hear(&mut self) -> io::Result<Vec<u8>>;
    /// Waits for its end.
    fn finish(self) -> Checked;
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The password is right.
    Right,
    /// It is not, or the program will not say.
    Wrong,
    /// The program crashed.
    Crashed,
}

/// Why there can be no check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCheck {
    /// No pipe.
    Pipe,
    /// The program can not be started.
    Start,
}
