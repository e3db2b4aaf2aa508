//! AUTH: a client proves who it is, a program checks it (spec/smtp.md 7, RFC 4954).
//!
//! The program gets user, password and perhaps a challenge on descriptor 3. For SCRAM-SHA-256, where the server has to
//! answer the client, it also talks: qmail-smtpd(8) has the words.

use super::host::{Check, Checked, Host, NoCheck};
use super::input::{Line, Source};
use super::session::{End, Session, User};
use auth::scram::ClientFirst;
use auth::{Secret, base64, digest, plain, scram};
use std::io::Write;
use std::time::Duration;

/// How long a client waits for the answer that its password is wrong.
const WRONG_PAUSE: Duration = Duration::from_secs(5);
/// So many wrong passwords end the session (spec/reliability.md S23).
const WRONG_MAX: u32 = 3;
/// The most that a program is told about a user (bytes): what the checkpassword interface allows.
const SAID_MAX: usize = 512;
/// The same when the program is told a SCRAM message, which may have extensions.
const SAID_SCRAM_MAX: usize = 4096;
/// Random bytes in the server's part of a nonce.
const NONCE_BYTES: usize = 18;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Login,
    Plain,
    Cram,
    Scram,
}

const METHODS: [(&[u8], Method); 4] = [
    (plain::LOGIN, Method::Login),
    (plain::PLAIN, Method::Plain),
    (digest::CRAM_MD5, Method::Cram),
    (scram::NAME, Method::Scram),
];

impl Method {
    /// As the log has it.
    fn name(self) -> &'static str {
        match self {
            Method::Login => "login",
            Method::Plain => "plain",
            Method::Cram => "cram-md5",
            Method::Scram => "scram-sha-256",
        }
    }
}

/// Why an exchange ended without a result.
enum Stop {
    Cancelled,
    Malformed,
    TooLong,
    /// The check itself failed.
    Trouble(&'static [u8]),
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Stop {
        Stop::End(end)
    }
}

impl From<NoCheck> for Stop {
    fn from(why: NoCheck) -> Stop {
        Stop::Trouble(match why {
            NoCheck::Pipe => b"454 unable to open pipe and I can't auth (#4.3.0)",
            NoCheck::Start => b"454 child won't start and I can't auth (#4.3.0)",
        })
    }
}

const CRASHED: Stop = Stop::Trouble(b"454 problem with child and I can't auth (#4.3.0)");
const UNWRITABLE: Stop = Stop::Trouble(b"454 unable to write pipe and I can't auth (#4.3.0)");

/// What an exchange came to.
struct Outcome {
    user: Vec<u8>,
    right: bool,
}

impl<S: Source, W: Write, H: Host> Session<S, W, H> {
    /// One AUTH command, with all that the client says until it is answered.
    pub(super) fn auth(&mut self, argument: &[u8]) -> Result<(), End> {
        let switches = &self.settings.switches;
        let Some(offer) = switches.auth.filter(|_| self.settings.checks_passwords) else {
            return self.error(b"503 auth not available (#5.3.3)");
        };
        if switches.starttls.required && self.tls.is_none() {
            return self.error(b"535 STARTTLS required (#5.7.1)");
        }
        if self.user.is_some() || self.certificate {
            return self.error(b"503 you're already authenticated (#5.5.0)");
        }
        if self.transaction.is_some() {
            return self.error(b"503 no auth during mail transaction (#5.5.0)");
        }
        let end = argument.iter().position(|&b| b == b' ').unwrap_or(argument.len());
        let (name, initial) = argument.split_at(end);
        let initial = super::command::skip_blanks(initial);
        let Some((_, method)) = METHODS.iter().find(|m| m.0.eq_ignore_ascii_case(name)) else {
            return self.error(b"504 auth type unimplemented (#5.5.1)");
        };
        let offered = match method {
            Method::Login | Method::Plain => offer.plain,
            Method::Cram => offer.cram,
            Method::Scram => offer.scram,
        };
        if !offered {
            self.log(&[b"Reject::AUTH::Auth_Meth"], None, None, Some(b"none"));
            return self.error(b"535 authentication failed (#5.7.1)");
        }
        let outcome = self.exchange(*method, initial);
        self.input.wipe();
        match outcome {
            Ok(Outcome { user, right: true }) => {
                self.relay = Some(Vec::new());
                self.host.export(b"RELAYCLIENT", Some(b""));
                self.known_as(&user);
                self.logged_in(User { method: method.name(), name: user });
                self.reply(&[b"235 ok, go ahead (#2.0.0)"]);
                Ok(())
            }
            Ok(Outcome { user, right: false }) => self.wrong(*method, &user),
            Err(stop) => {
                self.host.export(b"AUTHUSER", None);
                match stop {
                    Stop::Cancelled => self.error(b"501 auth exchange canceled (#5.0.0)"),
                    Stop::Malformed => self.error(b"501 malformed auth input (#5.5.4)"),
                    Stop::TooLong => self.error(super::session::LINE_TOO_LONG),
                    Stop::Trouble(reply) => self.error(reply),
                    Stop::End(end) => Err(end),
                }
            }
        }
    }

    /// Makes guessing slow, and tells nothing about why it is wrong.
    fn wrong(&mut self, method: Method, user: &[u8]) -> Result<(), End> {
        self.flush()?;
        self.host.export(b"AUTHUSER", None);
        self.host.pause(WRONG_PAUSE);
        self.log(&[b"Reject::AUTH::", method.name().as_bytes()], None, None, Some(user));
        self.reply(&[b"535 authentication failed (#5.7.1)"]);
        self.wrong_passwords += 1;
        if self.wrong_passwords >= WRONG_MAX { Err(End::Guessing) } else { Ok(()) }
    }

    fn exchange(&mut self, method: Method, initial: &[u8]) -> Result<Outcome, Stop> {
        match method {
            Method::Login => self.login(initial),
            Method::Plain => self.plain(initial),
            Method::Cram => self.cram(initial),
            Method::Scram => self.scram(initial),
        }
    }

    fn login(&mut self, initial: &[u8]) -> Result<Outcome, Stop> {
        let user = self.initial_or_ask(initial, plain::ASK_USER)?;
        let password = self.ask(plain::ASK_PASSWORD)?;
        self.check(&user, &password, b"")
    }

    fn plain(&mut self, initial: &[u8]) -> Result<Outcome, Stop> {
        let message = self.initial_or_ask(initial, b"")?;
        let (_, user, password) = plain::split(&message).ok_or(Stop::Malformed)?;
        self.check(user, password, b"")
    }

    fn cram(&mut self, initial: &[u8]) -> Result<Outcome, Stop> {
        if !initial.is_empty() {
            return Err(Stop::Malformed);
        }
        let challenge = [b"<", self.host.unique().as_slice(), b"@", &self.settings.connection.local, b">"].concat();
        let response = self.ask(&base64::encode(&challenge))?;
        let (user, digest) = digest::split_cram_response(&response).ok_or(Stop::Malformed)?;
        self.check(user.trim_ascii_end(), digest, &challenge)
    }

    /// Has the program check a password, or a digest made from it and the challenge.
    fn check(&mut self, user: &[u8], password: &[u8], challenge: &[u8]) -> Result<Outcome, Stop> {
        let empty = user.is_empty() || password.is_empty();
        if empty || user.contains(&0) || password.contains(&0) {
            return Err(Stop::Malformed);
        }
        // Programs that know of CRAM expect a challenge, empty if there is none; others do not expect one.
        let cram = self.settings.switches.auth.is_some_and(|auth| auth.cram);
        let more: &[&[u8]] = if cram { &[challenge, b"\0"] } else { &[] };
        let said = Secret::new([&[user, b"\0", password, b"\0"], more].concat().concat());
        if said.len() > SAID_MAX {
            return Err(Stop::Malformed);
        }
        self.host.export(b"AUTHUSER", Some(user));
        let mut check = self.host.start_check(false)?;
        let written = check.say(&said);
        match (check.finish(), written) {
            (Checked::Crashed, _) => Err(CRASHED),
            (_, Err(_)) => Err(UNWRITABLE),
            (checked, Ok(())) => Ok(Outcome { user: user.to_vec(), right: checked == Checked::Right }),
        }
    }

    /// RFC 5802 5: what the client says is handed to the program, and the other way round.
    fn scram(&mut self, initial: &[u8]) -> Result<Outcome, Stop> {
        let message = self.initial_or_ask(initial, b"")?;
        let first = ClientFirst::parse(&message).map_err(|_| Stop::Malformed)?;
        let mut random = [0; NONCE_BYTES];
        self.host.random(&mut random).map_err(|_| CRASHED)?;
        let nonce = base64::encode(&random);
        let said = [&first.user, &b"\0\0"[..], scram::NAME, b" ", first.bare, b" ", &nonce, b"\0"].concat();
        if said.len() > SAID_SCRAM_MAX {
            return Err(Stop::Malformed);
        }
        self.host.export(b"AUTHUSER", Some(&first.user));
        let mut check = self.host.start_check(true)?;
        let answer = self.converse(&mut check, &said, first.header);
        let checked = check.finish();
        let last_words = match (checked, answer?) {
            (Checked::Crashed, _) => return Err(CRASHED),
            (Checked::Right, Some(words)) => words,
            // A program that does not know the conversation refuses the empty password.
            _ => return Ok(Outcome { user: first.user, right: false }),
        };
        // RFC 4954 4: with a last word of the server, the client has to say something again: nothing.
        if self.ask(&base64::encode(&last_words))?.is_empty() {
            Ok(Outcome { user: first.user, right: true })
        } else {
            Err(Stop::Malformed)
        }
    }

    /// The program's last words; `None` if it would not answer, or the client's message belongs elsewhere.
    fn converse(&mut self, check: &mut H::Check, said: &[u8], header: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        if check.say(said).is_err() {
            return Ok(None);
        }
        let Ok(server_first) = check.hear() else { return Ok(None) };
        let client_final = self.ask(&base64::encode(&server_first))?;
        if client_final.contains(&0) {
            return Err(Stop::Malformed);
        }
        if !scram::same_channel(&client_final, header) || check.say(&[&client_final, &b"\0"[..]].concat()).is_err() {
            return Ok(None);
        }
        Ok(check.hear().ok().filter(|words| words.starts_with(b"v=")))
    }

    /// What stands behind the method's name, or what the client says when it is asked.
    fn initial_or_ask(&mut self, initial: &[u8], question: &[u8]) -> Result<Secret, Stop> {
        match initial {
            b"" => self.ask(question),
            b"=" => Ok(Secret::default()),
            text => base64::decode(text).ok_or(Stop::Malformed),
        }
    }

    /// Asks the client something, in Base64 already; its answer without Base64.
    fn ask(&mut self, question: &[u8]) -> Result<Secret, Stop> {
        self.reply(&[b"334 ", question]);
        let mut line = Secret::default();
        match self.read_line(&mut line)? {
            Line::Whole => {}
            _ => return Err(Stop::TooLong),
        }
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        if text == b"*" {
            return Err(Stop::Cancelled);
        }
        base64::decode(text).ok_or(Stop::Malformed)
    }
}
