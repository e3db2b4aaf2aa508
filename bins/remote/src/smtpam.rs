//! qmail-smtpam: asks another host whether it would take mail for a recipient.
//!
//! `qmail-smtpam HOST [PORT]`, started by qmail-smtpd for a domain of qmail-recipients(5), or by anything that
//! speaks the checkpassword interface. fd 3 has the recipient and a NUL; what follows is ignored; 512 bytes at most.
//! Says EHLO, STARTTLS if control/tlsdestinations asks for it, `MAIL FROM:<>` and `RCPT TO`, and leaves.
//!
//! Files below home: control/me, helohost, timeoutconnect, timeoutremote, domainips (its entry `*`), tlsdestinations.
//! Exit: 0 the recipient is accepted, 1 it is refused, 111 the host has not said which; then a text ended by NUL is on
//! fd 1. A temporary refusal is of the last kind: mail that may be welcome later must not bounce now.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

#[path = "remote/source.rs"]
mod source;

use control::{Controls, Unreadable};
use smtp::client::{Asked, Dropped, Kind, Reply, Session};
use source::Source;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use sys::fd::Fd;
use sys::{Exit, fd, process, signal};
use tunnel::{Credentials, Failed, Failure, Level, Policy, Request, Stream, Tlsa, Way};

/// All that fd 3 may hold (bytes).
const INPUT_MAX: usize = 512;
/// Seconds to wait for a connection, if control/timeoutconnect does not say otherwise.
const TIMEOUT_CONNECT: u64 = 60;
/// Seconds to wait for each answer, if control/timeoutremote does not say otherwise.
const TIMEOUT_REMOTE: u64 = 1200;
const PORT: u16 = 25;
/// On this port TLS comes first.
const TLS_PORT: u16 = 465;

const USAGE: &[u8] = b"Dqmail-smtpam was invoked improperly. (#5.3.5)\n";
const NO_HOME: &[u8] = b"ZUnable to switch to home directory. (#4.3.0)\n";
const NO_CONTROLS: &[u8] = b"ZUnable to read control files. (#4.3.0)\n";
const BAD_SOURCE: &[u8] = b"ZInvalid ipaddr in control/domainips (#4.3.0)\n";
const NO_RESOURCES: &[u8] = b"ZSystem resources temporarily unavailable. (#4.3.0)\n";
const NO_CONNECTION: &[u8] = b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n";
const OURSELVES: &[u8] = b"DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
    it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    match ask(&args) {
        Ok(true) => Exit::OK,
        Ok(false) => Exit::NO,
        Err(text) => {
            // Whether it is read or not, the exit code says what counts.
            let _ = fd::write_all(1, &[text.as_slice(), b"\0"].concat());
            Exit::TEMPORARY
        }
    }
}

/// Whether the host takes mail for the recipient. An error is the text on why that is not known.
fn ask(args: &[&[u8]]) -> Result<bool, Vec<u8>> {
    let (host, port) = match args {
        [host] => (*host, PORT),
        [host, port] => (*host, number(port).ok_or(USAGE)?),
        _ => return Err(USAGE.to_vec()),
    };
    let home = conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    process::chdir(&home).map_err(|_| NO_HOME)?;
    let setting = Setting::read(&home, host, port)?;
    let recipient = recipient(Fd(3)).ok_or(USAGE)?;
    let address = address(&setting)?;
    let from = address.to_string().into_bytes();
    let said = |why: Dropped| {
        let text: &[u8] = match why.why {
            smtp::client::Why::OutOfStep => b"its answers do not fit to what it was asked. (#4.5.0)\n",
            _ => b"connection died. (#4.4.2)\n",
        };
        [b"ZConnected to ", from.as_slice(), b" but ", text].concat()
    };
    let mut session = match begin(&setting, address, &from) {
        Ok(session) => session,
        Err(Begun::Dropped(why)) => return Err(said(why)),
        Err(Begun::Not(text)) => return Err(text),
    };
    let asked = session.ask(&mess822::quote::address(&recipient)).map_err(said)?;
    session.quit();
    match asked {
        // No server could take it.
        Asked::Unsendable(_) => Ok(false),
        Asked::Sender(reply) => Err(connected(&from, b"sender was rejected", &reply)),
        Asked::Recipient(reply) => match reply.kind() {
            Kind::Good => Ok(true),
            Kind::Permanent => Ok(false),
            Kind::Temporary => Err(connected(&from, b"recipient was not decided on", &reply)),
        },
    }
}

/// The port's number.
fn number(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|port| *port != 0)
}

/// The first field on `source`.
fn recipient(mut source: impl Read) -> Option<Vec<u8>> {
    let mut input = Vec::new();
    // One byte more than is allowed shows that there is too much.
    source.by_ref().take(INPUT_MAX as u64 + 1).read_to_end(&mut input).ok()?;
    let at = input.iter().position(|&b| b == 0)?;
    input.get(..at).filter(|r| input.len() <= INPUT_MAX && !r.is_empty()).map(<[u8]>::to_vec)
}

/// What is decided before anybody is asked.
struct Setting {
    host: Vec<u8>,
    port: u16,
    helohost: Vec<u8>,
    connect: Duration,
    remote: Duration,
    source: Source,
    policy: Policy,
    /// The program that speaks TLS.
    tlsc: Vec<u8>,
}

impl Setting {
    fn read(home: &Path, host: &[u8], port: u16) -> Result<Setting, Vec<u8>> {
        let controls = Controls::of(home);
        let read = || -> Result<_, Option<Unreadable>> {
            let seconds = |name, default| -> Result<Duration, Unreadable> {
                // A limit of nothing would mean none at all to the system.
                Ok(Duration::from_secs(controls.number(name)?.unwrap_or(default).max(1)))
            };
            let domainips = controls.list("domainips")?.unwrap_or_default();
            let destinations = controls.list("tlsdestinations")?.unwrap_or_default();
            let policy = Policy::find(&destinations, host, host).map_err(|_| None)?;
            let helohost = controls.line_or_me("helohost")?.ok_or(None)?;
            let (connect, remote) =
                (seconds("timeoutconnect", TIMEOUT_CONNECT)?, seconds("timeoutremote", TIMEOUT_REMOTE)?);
            Ok((domainips, policy, helohost, connect, remote))
        };
        let (domainips, policy, helohost, connect, remote) = read().map_err(|_| NO_CONTROLS)?;
        // There is no sender whose domain could have an entry: that for all remains.
        let mut source = Source::find(&domainips, b"").map_err(|_| BAD_SOURCE)?;
        Ok(Setting {
            host: host.to_vec(),
            port: policy.port.unwrap_or(port),
            helohost: source.helohost.take().unwrap_or(helohost),
            connect,
            remote,
            source,
            policy,
            tlsc: conf::below(home, "bin/qmail-tlsc"),
        })
    }

    fn starts_with_tls(&self) -> bool {
        self.port == TLS_PORT && self.policy.level != Level::Never
    }

    fn request(&self, address: IpAddr) -> Request {
        Request {
            host: self.host.clone(),
            server: self.host.clone(),
            peer: SocketAddr::new(address, self.port),
            policy: self.policy.clone(),
            credentials: Credentials::default(),
            tlsa: Tlsa::default(),
        }
    }
}

/// Where the host is: one address, IPv4 if it has one; mail exchangers are not asked for.
fn address(setting: &Setting) -> Result<IpAddr, Vec<u8>> {
    let host = setting.host.as_slice();
    let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let literal = std::str::from_utf8(bare).ok().and_then(|t| t.parse::<IpAddr>().ok());
    let found = match literal {
        Some(address) => Some(address),
        None => look_up(host)?,
    };
    let none = || [b"DSorry, I couldn't find any host named ", visible(host).as_slice(), b". (#5.1.2)\n"].concat();
    let address = found.ok_or_else(none)?.to_canonical();
    // A host that asks itself is asked again, by itself.
    if setting.port == PORT && sys::net::local_addresses().map_err(|_| NO_RESOURCES)?.contains(&address) {
        return Err(OURSELVES.to_vec());
    }
    Ok(address)
}

fn look_up(host: &[u8]) -> Result<Option<IpAddr>, Vec<u8>> {
    let Some(name) = dns::to_ascii(host) else { return Ok(None) };
    let resolver = dns::Resolver::new();
    let four = resolver.a(&name).records();
    let six = match &four {
        Some(list) if !list.is_empty() => Some(Vec::new()),
        _ => resolver.aaaa(&name).records(),
    };
    let first =
        four.iter().flatten().map(|&a| IpAddr::V4(a)).chain(six.iter().flatten().map(|&a| IpAddr::V6(a))).next();
    match first {
        None if four.is_none() || six.is_none() => {
            Err([b"ZSorry, I couldn't find any host named: ", visible(host).as_slice(), b". (#4.1.2)\n"].concat())
        }
        first => Ok(first),
    }
}

fn visible(host: &[u8]) -> Vec<u8> {
    host.iter().map(|&b| if b.is_ascii_graphic() { b } else { b'?' }).collect()
}

/// Why the recipient can not be asked about.
enum Begun {
    Not(Vec<u8>),
    Dropped(Dropped),
}

impl From<Dropped> for Begun {
    fn from(dropped: Dropped) -> Begun {
        Begun::Dropped(dropped)
    }
}

/// Connection, greeting, name and TLS.
fn begin(setting: &Setting, address: IpAddr, from: &[u8]) -> Result<Session<Stream>, Begun> {
    let mut stream = connect(setting, address).map_err(Begun::Not)?;
    if setting.starts_with_tls() {
        stream = secure(stream, setting, address).map_err(Begun::Not)?;
    }
    let is_secure = stream.is_tls();
    let mut session = Session::new(stream, setting.remote);
    let greeting = session.greeting()?;
    if greeting.code != 220 {
        return Err(refused(session, connected(from, b"sender was rejected", &greeting)));
    }
    session = hello(session, setting, from)?;
    if is_secure || !setting.policy.level.wants_tls() {
        return Ok(session);
    }
    if !session.offers().starttls {
        return match setting.policy.level.is_mandatory() {
            true => Err(refused(session, Failed::from(Failure::NotOffered).record(&setting.request(address)))),
            false => Ok(session),
        };
    }
    let reply = session.starttls()?;
    if reply.code != 220 {
        return Err(refused(session, connected(from, b"STARTTLS was rejected", &reply)));
    }
    let stream = secure(session.into_stream(), setting, address).map_err(Begun::Not)?;
    hello(Session::new(stream, setting.remote), setting, from)
}

fn hello(mut session: Session<Stream>, setting: &Setting, from: &[u8]) -> Result<Session<Stream>, Begun> {
    let reply = session.hello(&setting.helohost)?;
    match reply.code {
        250 => Ok(session),
        _ => Err(refused(session, connected(from, b"my name was rejected", &reply))),
    }
}

/// The server is left politely.
fn refused(mut session: Session<Stream>, text: Vec<u8>) -> Begun {
    session.quit();
    Begun::Not(text)
}

fn connected(from: &[u8], but: &[u8], reply: &Reply) -> Vec<u8> {
    let letter: &[u8] = if reply.kind() == Kind::Permanent { b"D" } else { b"Z" };
    let said: &[u8] = if reply.text.is_empty() { b"" } else { b"Remote host said: " };
    [letter, b"Connected to ", from, b" but ", but, b".\n", said, &reply.text].concat()
}

/// Connects, with time limits.
fn connect(setting: &Setting, address: IpAddr) -> Result<Stream, Vec<u8>> {
    let peer = SocketAddr::new(address, setting.port);
    let from = setting.source.address_for(&peer);
    let stream = sys::socket::connect_from(from, peer, setting.connect).map_err(|e| match from {
        Some(from) if e.kind() == io::ErrorKind::AddrNotAvailable => {
            format!("ZCan't bind to local ip address: {}. (#4.3.0)\n", from.ip()).into_bytes()
        }
        _ => NO_CONNECTION.to_vec(),
    })?;
    let set = stream.set_nonblocking(false);
    let set = set.and_then(|()| stream.set_read_timeout(Some(setting.remote)));
    set.and_then(|()| stream.set_write_timeout(Some(setting.remote))).map_err(|_| NO_RESOURCES)?;
    Ok(Stream::Plain(stream))
}

/// Starts TLS as the settings demand.
fn secure(stream: Stream, setting: &Setting, address: IpAddr) -> Result<Stream, Vec<u8>> {
    let request = setting.request(address);
    // None waits for another connection: there is no directory that would be this user's.
    let way = Way { program: &setting.tlsc, waiting: None };
    stream.secure(&request, way, setting.remote).map_err(|failed| failed.record(&request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipient_is_the_first_of_512_bytes() {
        let long = [&[b'x'; 511][..], b"\0"].concat();
        let longer = [&[b'x'; 512][..], b"\0"].concat();
        let rows: &[(&[u8], Option<&[u8]>)] = &[
            (b"joe@a.test\0", Some(b"joe@a.test")),
            (b"joe@a.test\0\0\0", Some(b"joe@a.test")),
            (b"joe@a.test", None),
            (b"\0", None),
            (b"", None),
            (&long, Some(&[b'x'; 511])),
            (&longer, None),
        ];
        for &(input, expected) in rows {
            assert_eq!(recipient(input).as_deref(), expected, "{}", input.len());
        }
    }

    #[test]
    fn ports_are_numbers() {
        for (text, expected) in [("25", Some(25)), ("0", None), ("65536", None), ("x", None), ("", None), ("+1", None)]
        {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }
}
