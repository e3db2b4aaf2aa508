//! The authorization state: who is the client? Ends with credentials, which somebody else checks.

use crate::command::split;
use crate::line::{Line, Lines};
use crate::output::Output;
use auth::scram::{self, ClientFirst};
use auth::{Secret, base64, digest, plain};
use std::io::{self, Read, Write};

/// What a client says to prove who it is.
pub struct Credentials {
    /// As the client wrote it. Without blank after APOP, not empty else.
    pub user: Vec<u8>,
    /// The password, or a digest of timestamp and password in hex, as any client may send any bytes.
    pub secret: Secret,
    /// How it came.
    pub method: Method,
}

impl Credentials {
    /// What a program with the checkpassword interface reads on descriptor 3: user, secret, timestamp, each ended by
    /// NUL. None of the first two holds a NUL.
    pub fn record(&self, timestamp: &[u8]) -> Secret {
        Secret::new([&self.user, b"\0".as_slice(), &self.secret, b"\0", timestamp, b"\0"].concat())
    }
}

/// The ways to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// USER and PASS.
    User,
    /// APOP.
    Apop,
    /// AUTH PLAIN (RFC 4616).
    Plain,
    /// AUTH LOGIN.
    Login,
    /// AUTH CRAM-MD5 (RFC 2195), about the timestamp.
    Cram,
}

/// What an exchange is about.
#[derive(Clone, Copy)]
enum Mechanism {
    Plain,
    Login,
    Cram,
    Scram,
}

/// What a client may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Greet with the timestamp, and take APOP.
    pub apop: bool,
    /// Take CRAM-MD5.
    pub cram: bool,
    /// Take SCRAM-SHA-256.
    pub scram: bool,
    /// About TLS.
    pub tls: Tls,
}

/// TLS, as far as this protocol is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// There is none.
    Off,
    /// STLS will start it.
    Offered,
    /// STLS will start it, and must before anybody logs in.
    Required,
    /// It is there already.
    Active,
}

/// How the conversation ended.
pub enum End {
    /// The client said QUIT or is gone.
    Gone,
    /// The client was told that TLS starts now. All it had sent ahead in clear is forgotten.
    StartTls,
    /// The client tried to log in without TLS. It was not answered.
    WithoutTls,
    /// Somebody else has to look at these.
    Check(Credentials),
    /// Somebody else has to go on with this exchange, by [`challenge`].
    Scram(ScramFirst),
}

/// What a client says first in an exchange of SCRAM-SHA-256.
pub struct ScramFirst {
    /// The user name, without NUL.
    pub user: Vec<u8>,
    /// The message up to its second comma: about channel binding.
    pub header: Vec<u8>,
    /// The rest.
    pub bare: Vec<u8>,
}

/// What a line leads to.
enum Step {
    /// This answer, and the next line.
    Answer(&'static [u8]),
    /// The capabilities, and the next line.
    Capabilities,
    /// An exchange, with what the client has said already.
    Exchange(Mechanism, Option<Secret>),
    /// The end of the conversation, with a yes.
    Quit,
    /// The end of the conversation.
    End(End),
}

/// What is known of the client so far.
struct Login {
    offer: Offer,
    /// The argument of the last USER.
    user: Option<Vec<u8>>,
}

impl Login {
    fn step(&mut self, line: Line<'_>) -> Step {
        let Line::Good(line) = line else { return Step::Answer(crate::SYNTAX) };
        let (verb, argument) = split(line);
        match verb.to_ascii_lowercase().as_slice() {
            b"user" | b"apop" | b"auth" if self.offer.tls == Tls::Required => Step::End(End::WithoutTls),
            b"user" if argument.is_empty() => Step::Answer(crate::SYNTAX),
            b"user" => {
                self.user = Some(argument.to_vec());
                Step::Answer(crate::OK)
            }
            b"pass" => match &self.user {
                None => Step::Answer(b"-ERR USER first\r\n"),
                Some(_) if argument.is_empty() => Step::Answer(crate::SYNTAX),
                Some(user) => check(Method::User, user, argument),
            },
            b"apop" if self.offer.apop => match argument.iter().position(|&b| b == b' ') {
                None => Step::Answer(crate::SYNTAX),
                Some(at) => {
                    let (user, digest) = argument.split_at(at);
                    check(Method::Apop, user, digest.get(1..).unwrap_or_default())
                }
            },
            b"auth" => self.auth(argument),
            b"capa" => Step::Capabilities,
            b"stls" => match self.offer.tls {
                Tls::Off | Tls::Active => Step::Answer(b"-ERR STLS not available\r\n"),
                Tls::Offered | Tls::Required => Step::End(End::StartTls),
            },
            b"noop" => Step::Answer(crate::OK),
            b"quit" => Step::Quit,
            _ => Step::Answer(b"-ERR authorization first\r\n"),
        }
    }

    /// RFC 5034 4: the mechanism, and perhaps what the client would say first; `=` for nothing.
    fn auth(&self, argument: &[u8]) -> Step {
        let (name, initial) = split(argument);
        let initial = match initial {
            b"" => None,
            b"=" => Some(Secret::default()),
            text => match base64::decode(text) {
                None => return Step::Answer(MALFORMED),
                initial => initial,
            },
        };
        match name.to_ascii_uppercase().as_slice() {
            b"" => Step::Answer(crate::SYNTAX),
            plain::PLAIN => Step::Exchange(Mechanism::Plain, initial),
            plain::LOGIN => Step::Exchange(Mechanism::Login, initial),
            // The server speaks first.
            digest::CRAM_MD5 if self.offer.cram && initial.is_some() => Step::Answer(crate::SYNTAX),
            digest::CRAM_MD5 if self.offer.cram => Step::Exchange(Mechanism::Cram, None),
            scram::NAME if self.offer.scram => Step::Exchange(Mechanism::Scram, initial),
            _ => Step::Answer(b"-ERR auth type unimplemented\r\n"),
        }
    }

    fn put_capabilities<W: Write>(&self, output: &mut Output<W>) -> io::Result<()> {
        let Offer { apop, cram, scram, tls } = self.offer;
        let lines: [(bool, &[u8]); 8] = [
            (true, b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n"),
            (apop, b"APOP\r\n"),
            (tls != Tls::Required, b"SASL PLAIN LOGIN"),
            (tls != Tls::Required && cram, b" CRAM-MD5"),
            (tls != Tls::Required && scram, b" SCRAM-SHA-256"),
            (tls != Tls::Required, b"\r\n"),
            (matches!(tls, Tls::Offered | Tls::Required), b"STLS\r\n"),
            (true, b".\r\n"),
        ];
        lines.iter().filter(|(put, _)| *put).try_for_each(|(_, text)| output.put(text))
    }
}

const MALFORMED: &[u8] = b"-ERR malformed auth input\r\n";

fn check(method: Method, user: &[u8], secret: &[u8]) -> Step {
    Step::End(End::Check(Credentials { user: user.to_vec(), secret: Secret::new(secret.to_vec()), method }))
}

/// Talks with the client until it has given credentials, is gone, or wants TLS. Greets it with `timestamp` (RFC 1939 7:
/// in angle brackets, never the same twice) if `greet`; not a second time when TLS has started.
pub fn converse<R: Read, W: Write>(
    lines: &mut Lines<R>,
    output: &mut Output<W>,
    timestamp: &[u8],
    offer: Offer,
    greet: bool,
) -> io::Result<End> {
    let mut login = Login { offer, user: None };
    if greet {
        let greeting = if offer.apop { [b"+OK ", timestamp, b"\r\n"].concat() } else { b"+OK\r\n".to_vec() };
        output.put(&greeting)?;
    }
    loop {
        if !lines.is_ready() {
            output.flush()?;
        }
        let Some(line) = lines.next()? else { return Ok(End::Gone) };
        let mut step = login.step(line);
        if let Step::Exchange(mechanism, initial) = step {
            step = match (Exchange { lines, output, initial }).run(mechanism, timestamp) {
                Ok(end) => Step::End(end),
                Err(Stop::Answer(text)) => Step::Answer(text),
                Err(Stop::Gone) => return Ok(End::Gone),
                Err(Stop::Trouble(e)) => return Err(e),
            };
        }
        match step {
            Step::Answer(text) => output.put(text)?,
            Step::Capabilities => login.put_capabilities(output)?,
            Step::Exchange(..) => {}
            Step::Quit => {
                output.put(crate::OK)?;
                output.flush()?;
                return Ok(End::Gone);
            }
            Step::End(end) => {
                if matches!(end, End::StartTls) {
                    output.put(b"+OK starting TLS negotiation\r\n")?;
                }
                output.flush()?;
                lines.forget();
                return Ok(end);
            }
        }
    }
}

/// Puts one more question to a client in an exchange; its answer. Both are without Base64.
pub fn challenge<R: Read, W: Write>(
    lines: &mut Lines<R>,
    output: &mut Output<W>,
    question: &[u8],
) -> Result<Secret, Stop> {
    Exchange { lines, output, initial: None }.hear(&base64::encode(question))
}

/// An exchange of SASL.
struct Exchange<'a, R, W> {
    lines: &'a mut Lines<R>,
    output: &'a mut Output<W>,
    /// What the client has said before it was asked.
    initial: Option<Secret>,
}

/// Why an exchange ends without credentials.
pub enum Stop {
    /// The client is answered this.
    Answer(&'static [u8]),
    /// The client is gone.
    Gone,
    /// The connection fails.
    Trouble(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Trouble(e)
    }
}

impl<R: Read, W: Write> Exchange<'_, R, W> {
    fn run(&mut self, mechanism: Mechanism, timestamp: &[u8]) -> Result<End, Stop> {
        let (first, second);
        let (method, pair) = match mechanism {
            Mechanism::Plain => {
                first = self.hear(b"")?;
                (Method::Plain, plain::split(&first).map(|(_, user, password)| (user, password)))
            }
            Mechanism::Cram => {
                first = self.hear(&base64::encode(timestamp))?;
                (Method::Cram, digest::split_cram_response(&first))
            }
            Mechanism::Login => {
                first = self.hear(plain::ASK_USER)?;
                second = self.hear(plain::ASK_PASSWORD)?;
                (Method::Login, Some((first.as_slice(), second.as_slice())))
            }
            Mechanism::Scram => {
                first = self.hear(b"")?;
                let ClientFirst { header, bare, user, .. } =
                    ClientFirst::parse(&first).ok().filter(|_| !first.contains(&0)).ok_or(Stop::Answer(MALFORMED))?;
                return Ok(End::Scram(ScramFirst { user, header: header.to_vec(), bare: bare.to_vec() }));
            }
        };
        // The checker gets fields ended by NUL.
        let good = |part: &[u8]| !part.is_empty() && !part.contains(&0);
        let (user, secret) = pair.filter(|(u, s)| good(u) && good(s)).ok_or(Stop::Answer(MALFORMED))?;
        Ok(End::Check(Credentials { user: user.to_vec(), secret: Secret::new(secret.to_vec()), method }))
    }

    /// What the client answers to `question`, which is in Base64 already, or has said already.
    fn hear(&mut self, question: &[u8]) -> Result<Secret, Stop> {
        if let Some(said) = self.initial.take() {
            return Ok(said);
        }
        self.output.put(b"+ ")?;
        self.output.put(question)?;
        self.output.put(b"\r\n")?;
        self.output.flush()?;
        match self.lines.next()? {
            None => Err(Stop::Gone),
            Some(Line::Bad) => Err(Stop::Answer(crate::SYNTAX)),
            Some(Line::Good(b"*")) => Err(Stop::Answer(b"-ERR auth exchange canceled\r\n")),
            Some(Line::Good(text)) => base64::decode(text).ok_or(Stop::Answer(MALFORMED)),
        }
    }
}

#[cfg(test)]
mod tests;
