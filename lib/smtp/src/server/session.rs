//! The dialogue: who the client is, what it says, what it is answered (RFC 5321, spec/smtp.md 1).

use super::command::{self, Verb};
use super::connection::Connection;
use super::envelope::{NameVerdict, Transaction};
use super::host::Host;
use super::input::{Input, Line, Source};
use super::log::Event;
use super::rules::{Rules, Trouble};
use super::switches::Switches;
use super::tls::Tls;
use std::convert::Infallible;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// So many lines that make no sense are answered in a session (reliability.md S12).
const ERRORS_MAX: u32 = 100;
/// Replies wait until the client has nothing more to say, but no more bytes of them than this.
const REPLIES_MAX: usize = 8192;

pub(super) const LINE_TOO_LONG: &[u8] = b"500 line too long (#5.5.2)";

/// The longest time limit there is: 68 years, what the classic's number can hold.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(i32::MAX as u64);

/// What is settled before the client says a word.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stands behind the code in the greeting and the replies to HELO, EHLO and QUIT.
    pub greeting: Vec<u8>,
    /// How long a command line, one read of a message and one write may take; at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
    /// The largest message taken, in bytes; 0 is no limit.
    pub databytes: u64,
    /// Set for a client that may send to anybody: this is appended to every recipient.
    pub relayclient: Option<Vec<u8>>,
    /// Who is at either end.
    pub connection: Connection,
    /// The connection, if TLS came before everything.
    pub tls: Option<Tls>,
    /// There is a program that checks passwords.
    pub checks_passwords: bool,
    /// What the site wants besides.
    pub switches: Switches,
}

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// The client said QUIT.
    Quit,
    /// The client is gone.
    Lost,
    /// The client was silent for too long.
    Timeout,
    /// The client sent a bare line feed in a message.
    BareLineFeed,
    /// The client does not know what it is doing.
    TooManyErrors,
    /// The client guesses passwords.
    Guessing,
    /// The client guesses recipients.
    Notorious,
    /// TLS was asked for, but there is none.
    NoTls(io::Error),
    /// This host is not able to go on.
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        End::Trouble(trouble)
    }
}

impl End {
    /// The reply that ends the session, line end included; QUIT and wrong passwords have had their own, a lost client
    /// needs none.
    pub fn last_words(&self) -> &'static [u8] {
        match self {
            End::Quit | End::Lost | End::Guessing => b"",
            End::Timeout => b"451 timeout (#4.4.2)\r\n",
            End::BareLineFeed => {
                b"451 Bare Line Feeds (LF) are not accepted in SMTP; CRLF is required according to RFC 2822.\r\n"
            }
            End::TooManyErrors => b"421 too many errors (#4.7.0)\r\n",
            End::Notorious => b"503 DATA command not accepted at this time (#5.5.1)\r\n",
            End::NoTls(_) => b"454 TLS not available due to temporary reason (#5.7.3)\r\n",
            End::Trouble(trouble) => trouble.last_words(),
        }
    }
}

impl Trouble {
    fn last_words(&self) -> &'static [u8] {
        match self {
            Trouble::Controls(_) | Trouble::Content(_) | Trouble::Switches => {
                b"421 unable to read controls (#4.3.0)\r\n"
            }
            Trouble::Addresses(_) => b"421 unable to figure out my IP addresses (#4.3.0)\r\n",
            Trouble::Recipients(_) => b"421 unable to check recipients (#4.3.0)\r\n",
            Trouble::Memory => b"421 out of memory (#4.3.0)\r\n",
        }
    }
}

/// What HELO or EHLO has said.
#[derive(Default)]
pub(super) struct Hello {
    /// The client's name for itself, once it has given one.
    pub(super) name: Option<Vec<u8>>,
    /// It was EHLO.
    pub(super) extended: bool,
    /// What is to be thought of the name, once that was looked at.
    pub(super) verdict: Option<NameVerdict>,
}

/// A client that has proved who it is.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) method: &'static str,
    pub(super) name: Vec<u8>,
}

/// A session with one client.
pub struct Session<S, W, H: Host> {
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) host: H,
    pub(super) input: Input<S>,
    output: W,
    /// Replies not sent yet.
    replies: Vec<u8>,
    pub(super) hello: Hello,
    pub(super) tls: Option<Tls>,
    pub(super) user: Option<User>,
    /// A certificate has given the client its rights.
    pub(super) certificate: bool,
    /// Set for a client that may send to anybody; appended to every recipient.
    pub(super) relay: Option<Vec<u8>>,
    /// The client's user, from its host, its certificate or its login.
    pub(super) remote_info: Option<Vec<u8>>,
    pub(super) transaction: Option<Transaction>,
    errors: u32,
    pub(super) wrong_passwords: u32,
    /// Recipients that do not exist.
    pub(super) failed_recipients: u64,
    /// The next DATA is one too many.
    pub(super) notorious: bool,
}

impl<S: Source, W: Write, H: Host> Session<S, W, H> {
    /// A session that reads from `source` and writes to `output`. Nothing is sent yet.
    pub fn new(mut settings: Settings, rules: Rules, host: H, source: S, output: W) -> Session<S, W, H> {
        settings.timeout = settings.timeout.min(TIMEOUT_MAX);
        let (relay, remote_info) = (settings.relayclient.clone(), settings.connection.remote_info.clone());
        let tls = settings.tls.take();
        let mut session = Session {
            settings,
            rules,
            host,
            input: Input::new(source),
            output,
            replies: Vec::with_capacity(512),
            hello: Hello::default(),
            tls: None,
            user: None,
            certificate: false,
            relay,
            remote_info,
            transaction: None,
            errors: 0,
            wrong_passwords: 0,
            failed_recipients: 0,
            notorious: false,
        };
        if let Some(tls) = tls {
            session.encrypted(tls, true);
        }
        session
    }

    /// Greets the client and serves it to the end.
    pub fn run(mut self) -> End {
        self.reply(&[b"220 ", &self.settings.greeting.clone(), b" ESMTP"]);
        let Err(end) = self.serve();
        self.replies.extend_from_slice(end.last_words());
        // The session is over whether or not the client hears of it.
        let _ = self.flush();
        end
    }

    fn serve(&mut self) -> Result<Infallible, End> {
        let mut line = Vec::with_capacity(512);
        loop {
            match self.read_line(&mut line)? {
                Line::Whole => self.obey(&mut line)?,
                _ => self.error(LINE_TOO_LONG)?,
            }
        }
    }

    /// Waits for a command line. All of it must come within the time limit, not each of its bytes.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>) -> Result<Line, End> {
        let mut deadline = None;
        loop {
            match self.input.line(line) {
                Line::Incomplete => {}
                complete => return Ok(complete),
            }
            let now = self.input.source.now();
            let end: Instant = *deadline.get_or_insert(now + self.settings.timeout);
            self.fill(end.saturating_duration_since(now))?;
        }
    }

    /// Waits for the client; whatever it has to know must be sent first.
    pub(super) fn fill(&mut self, limit: Duration) -> Result<(), End> {
        self.flush()?;
        match self.input.fill(limit) {
            Ok(0) => Err(End::Lost),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::TimedOut => Err(End::Timeout),
            Err(_) => Err(End::Lost),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), End> {
        if !self.replies.is_empty() {
            let sent = self.output.write_all(&self.replies).and_then(|()| self.output.flush());
            self.replies.clear();
            sent.map_err(|_| End::Lost)?;
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.replies.extend_from_slice(part);
        }
        self.replies.extend_from_slice(b"\r\n");
    }

    /// Answers a line that makes no sense. Too many of them end the session; what the rules refuse does not count, nor
    /// does a DATA that came with refused recipients in one go.
    pub(super) fn error(&mut self, text: &[u8]) -> Result<(), End> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Err(End::TooManyErrors);
        }
        self.reply(&[text]);
        Ok(())
    }

    fn obey(&mut self, line: &mut [u8]) -> Result<(), End> {
        let (verb, argument) = command::split(line);
        if line.contains(&0) {
            // The classic would not look behind the NUL; what it does not see, the next host may.
            let address = matches!(verb, Verb::Mail | Verb::Rcpt);
            self.error(if address { b"555 syntax error (#5.5.4)" } else { b"500 syntax error (#5.5.2)" })?;
        } else {
            match verb {
                Verb::Helo => self.helo(argument),
                Verb::Ehlo => self.ehlo(argument),
                Verb::Mail => self.mail(argument)?,
                Verb::Rcpt => self.rcpt(argument)?,
                Verb::Data => self.data()?,
                Verb::Auth => {
                    let done = self.auth(argument);
                    // There may be a password in it.
                    auth::secret::wipe(line);
                    done?;
                }
                Verb::StartTls => self.starttls(argument)?,
                Verb::Rset => {
                    self.forget_transaction();
                    self.reply(&[b"250 flushed"]);
                }
                Verb::Noop => self.reply(&[b"250 ok"]),
                Verb::Help => self.reply(&[b"214 see the manual page qmail-smtpd(8) of Quoll"]),
                Verb::Vrfy => self.reply(&[b"252 send some mail, i'll try my best"]),
                Verb::Quit => {
                    self.reply(&[b"221 ", &self.settings.greeting.clone()]);
                    return Err(End::Quit);
                }
                Verb::Unknown => self.error(b"500 unimplemented (#5.5.1)")?,
            }
        }
        if self.replies.len() > REPLIES_MAX { self.flush() } else { Ok(()) }
    }

    fn helo(&mut self, name: &[u8]) {
        self.reply(&[b"250 ", &self.settings.greeting.clone()]);
        self.introduce(name, false);
    }

    fn ehlo(&mut self, name: &[u8]) {
        self.reply(&[b"250-", &self.settings.greeting.clone()]);
        self.reply(&[b"250-PIPELINING"]);
        self.reply(&[b"250-SMTPUTF8"]);
        self.reply(&[b"250-8BITMIME"]);
        let starttls = self.settings.switches.starttls;
        if starttls.offered && self.tls.is_none() {
            self.reply(&[b"250-STARTTLS"]);
        }
        let in_clear = starttls.required && self.tls.is_none();
        let known = self.user.is_some() || self.certificate;
        if let Some(auth) = self.settings.switches.auth
            && self.settings.checks_passwords
            && !known
            && !in_clear
        {
            self.reply(&[b"250-", auth.keywords().as_bytes()]);
        }
        self.reply(&[b"250 SIZE ", self.settings.databytes.to_string().as_bytes()]);
        self.introduce(name, true);
    }

    fn introduce(&mut self, name: &[u8], extended: bool) {
        self.forget_transaction();
        self.host.export(b"HELOHOST", Some(name));
        self.hello = Hello { name: Some(name.to_vec()), extended, verdict: None };
    }

    /// Drops the transaction, and what programs would see of it.
    pub(super) fn forget_transaction(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.host.expect_no_mail();
            self.host.export(b"MAILFROM", None);
            self.host.export(b"RCPTTO", None);
            if transaction.claimed_user.is_some() {
                self.export_user(None);
            }
        }
    }

    /// Programs, the trace field and the rules hear of this user from now on.
    pub(super) fn known_as(&mut self, name: &[u8]) {
        self.export_user(Some(name));
        self.remote_info = Some(name.to_vec());
    }

    pub(super) fn export_user(&mut self, name: Option<&[u8]>) {
        self.host.export(b"TCPREMOTEINFO", name);
        self.host.export(b"TCP6REMOTEINFO", name);
    }

    /// The client has proved who it is.
    pub(super) fn logged_in(&mut self, user: User) {
        self.host.export(b"AUTHUSER", Some(&user.name));
        self.host.export(b"AUTHPROTOCOL", Some(user.method.as_bytes()));
        self.user = Some(user);
    }

    /// Whatever the client has proved counts no more (RFC 3207 4.2).
    pub(super) fn forget_user(&mut self) {
        if self.user.take().is_some() {
            self.host.export(b"AUTHUSER", None);
            self.host.export(b"AUTHPROTOCOL", None);
            self.remote_info = self.settings.connection.remote_info.clone();
            self.export_user(self.remote_info.clone().as_deref());
            self.relay = self.settings.relayclient.clone();
            self.host.export(b"RELAYCLIENT", self.relay.clone().as_deref());
        }
    }

    /// The name the client gave, if it is not the one it has in the DNS.
    pub(super) fn other_name(&self) -> Option<&[u8]> {
        self.hello.name.as_deref().filter(|name| !name.eq_ignore_ascii_case(&self.settings.connection.remote_host))
    }

    /// The protocol, for the trace field and the log: what was used of SMTP (RFC 3848, RFC 6531, spec/smtp.md 2).
    pub(super) fn token(&self, transaction: Option<&Transaction>) -> Vec<u8> {
        let extended = self.hello.extended || self.tls.is_some() || self.user.is_some();
        let parts: [(bool, &str); 6] = [
            (transaction.is_some_and(|t| t.utf8), "UTF8"),
            (extended, "E"),
            (true, "SMTP"),
            (self.tls.is_some(), "S"),
            (self.user.is_some(), "A"),
            (transaction.is_some_and(Transaction::is_local), "M"),
        ];
        parts.iter().filter(|part| part.0).flat_map(|part| part.1.bytes()).collect()
    }

    /// Writes an event to the log; with a transaction also the recipient that it is about.
    pub(super) fn log(
        &mut self,
        what: &[&[u8]],
        envelope: Option<(&Transaction, &[u8])>,
        info: Option<&[u8]>,
        user: Option<&[u8]>,
    ) {
        let transaction = envelope.map(|e| e.0);
        let event = Event {
            what,
            token: &self.token(transaction),
            ip: &self.settings.connection.remote_ip,
            host: &self.settings.connection.remote_host,
            helo: self.hello.name.as_deref().unwrap_or_default(),
            envelope: envelope.map(|(transaction, recipient)| (transaction.sender.as_slice(), recipient)),
            info,
            user,
        };
        let line = event.line();
        self.host.log(&line);
    }
}
