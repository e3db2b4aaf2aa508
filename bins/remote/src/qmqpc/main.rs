//! qmail-qmqpc: sends a message to a QMQP server, in place of qmail-queue on a host without a queue.
//!
//! Called by every program that would call qmail-queue, through QMAILQUEUE or under the name bin/qmail-queue, as its
//! user. fd 0 is the message, fd 1 the envelope, as for qmail-queue(8). Reads control/qmqpservers below home and tries
//! the addresses there in order, until one takes the connection. A message too large for a little memory waits in an
//! unnamed file in TMPDIR or /tmp: its length must be known before the first byte is sent.
//!
//! Exit codes: 0 the server has queued the message; 11 address too long; 31 refused for good; 51 out of memory; 53 the
//! unnamed file can not be written or read; 54 message or envelope can not be read; 55 controls can not be read, or
//! name no server; 56 no socket; 61 home not there; 71 refused for now; 72 connecting timed out; 73 connecting failed;
//! 74 the connection broke; 91 the envelope makes no sense.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod spool;

use control::Controls;
use qmtp::{Reader, netstring};
use spool::Spool;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;
use sys::fd::{Fd, STDIN};
use sys::poll::Timed;
use sys::{Exit, env, process, signal};

/// The port of the service.
const PORT: u16 = 628;
/// Limit for connecting to one server, in seconds.
const CONNECT_SECS: u64 = 10;
/// Limit for each read and write, in seconds.
const TALK_SECS: u64 = 60;
/// The longest address (bytes). Servers have lower limits of their own and say so.
const ADDRESS_MAX: usize = 65536;

// Exit codes as qmail-queue(8) has them.
const TOO_LONG: Exit = Exit(11);
const REFUSED: Exit = Exit(31);
const NO_MEMORY: Exit = Exit(51);
const NO_SPACE: Exit = Exit(53);
const UNREAD: Exit = Exit(54);
const NO_CONTROLS: Exit = Exit(55);
const NO_SOCKET: Exit = Exit(56);
const NO_HOME: Exit = Exit(61);
const NOT_NOW: Exit = Exit(71);
const CONNECT_TIMEOUT: Exit = Exit(72);
const CONNECT_FAILED: Exit = Exit(73);
const TALK_FAILED: Exit = Exit(74);
const BAD_ENVELOPE: Exit = Exit(91);

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    process::no_new_privileges();
    match send() {
        Ok(code) | Err(code) => code,
    }
}

/// Reads everything, then finds a server. `Err` is for what fails before.
fn send() -> Result<Exit, Exit> {
    let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    process::chdir(&home).map_err(|_| NO_HOME)?;
    let servers = Controls::of(&home).list("qmqpservers").map_err(|_| NO_CONTROLS)?.ok_or(NO_CONTROLS)?;
    let message = message(STDIN)?;
    let addresses = envelope(BufReader::new(Fd(1)))?;
    let mut result = NO_CONTROLS;
    for server in servers.iter().filter_map(|line| address(line)) {
        match sys::socket::connect(None, server, Duration::from_secs(CONNECT_SECS)) {
            // What was connected to must answer. Another server might take the message a second time.
            Ok(stream) => return Ok(talk(Timed::new(stream.as_raw_fd(), TALK_SECS), &message, &addresses)),
            Err(e) if sys::error::is_scarcity(&e) => return Ok(NO_SOCKET),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => result = CONNECT_TIMEOUT,
            Err(_) => result = CONNECT_FAILED,
        }
    }
    Ok(result)
}

/// The address in a line of qmqpservers: IPv4 or IPv6, with `%interface` if it is link-local; a blank ends it.
fn address(line: &[u8]) -> Option<SocketAddr> {
    let word = line.split(|&b| b == b' ' || b == b'\t').next().unwrap_or_default();
    let mut parts = word.splitn(2, |&b| b == b'%');
    let ip: IpAddr = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    match (ip, parts.next()) {
        (ip, None) => Some(SocketAddr::new(ip, PORT)),
        (IpAddr::V6(ip), Some(interface)) => {
            let scope = sys::socket::interface_number(interface)?;
            Some(SocketAddrV6::new(ip, PORT, 0, scope).into())
        }
        (IpAddr::V4(_), Some(_)) => None,
    }
}

/// The whole message.
fn message(mut from: impl Read) -> Result<Spool, Exit> {
    let mut spool = Spool::default();
    let mut buffer = vec![0; 16384];
    loop {
        let length = from.read(&mut buffer).map_err(|e| unread(&e))?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(spool),
            Some(piece) => spool.put(piece).map_err(|_| NO_SPACE)?,
        }
    }
}

/// The addresses of an envelope, the sender first, as netstrings.
fn envelope(mut from: impl BufRead) -> Result<Spool, Exit> {
    let mut spool = Spool::default();
    let mut field = Vec::new();
    let mut letter = b'F';
    loop {
        field.clear();
        (&mut from).take(ADDRESS_MAX as u64 + 2).read_until(0, &mut field).map_err(|e| unread(&e))?;
        match field.as_slice() {
            // The empty field ends the envelope, but there must be a sender.
            [0] if letter == b'T' => return Ok(spool),
            [first, address @ .., 0] if *first == letter => {
                spool.put(&netstring(address)).map_err(|_| NO_SPACE)?;
            }
            [first, ..] if *first == letter && field.len() > ADDRESS_MAX => return Err(TOO_LONG),
            _ => return Err(BAD_ENVELOPE),
        }
        letter = b'T';
    }
}

fn unread(e: &io::Error) -> Exit {
    if e.kind() == io::ErrorKind::OutOfMemory { NO_MEMORY } else { UNREAD }
}

/// Sends the request over a connection and reads the answer.
fn talk<S: Read + Write + Copy>(stream: S, message: &Spool, addresses: &Spool) -> Exit {
    let mut to = BufWriter::with_capacity(16384, stream);
    let sent = request(&mut to, message, addresses);
    // What was not sent shall not be sent now.
    drop(to.into_parts());
    if let Err(code) = sent {
        return code;
    }
    let mut reader = Reader::new(stream);
    // The first letter decides; what follows is for people, and nobody reads it here.
    match reader.length().and_then(|length| reader.piece(length.min(1)).map(<[u8]>::to_vec)).as_deref() {
        Ok(b"K") => Exit::OK,
        Ok(b"Z") => NOT_NOW,
        Ok(b"D") => REFUSED,
        _ => TALK_FAILED,
    }
}

/// The request: a netstring that holds the message as a netstring, and the addresses.
fn request(to: &mut impl Write, message: &Spool, addresses: &Spool) -> Result<(), Exit> {
    let before = format!("{}:", message.length());
    let length = before.len() as u64 + message.length() + 1 + addresses.length();
    let failed = |_: io::Error| TALK_FAILED;
    to.write_all(format!("{length}:{before}").as_bytes()).map_err(failed)?;
    copy(message, to)?;
    to.write_all(b",").map_err(failed)?;
    copy(addresses, to)?;
    to.write_all(b",").and_then(|()| to.flush()).map_err(failed)
}

fn copy(spool: &Spool, to: &mut impl Write) -> Result<(), Exit> {
    spool.replay(|piece| to.write_all(piece)).map_err(|e| if e.is_ok() { NO_SPACE } else { TALK_FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn servers() {
        let v4 = |a, b, c, d| Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), PORT));
        assert_eq!(address(b"192.0.2.1"), v4(192, 0, 2, 1));
        assert_eq!(address(b"192.0.2.1 # the big one"), v4(192, 0, 2, 1));
        assert_eq!(address(b"::1"), Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), PORT)));
        let Some(SocketAddr::V6(scoped)) = address(b"fe80::1%lo") else { panic!() };
        assert_eq!((scoped.ip().segments()[0], scoped.port()), (0xfe80, PORT));
        assert_ne!(scoped.scope_id(), 0);
        for line in [&b"not.an.address"[..], b"192.0.2", b"192.0.2.1%lo", b"fe80::1%", b"fe80::1%no-such-if", b"\xff"] {
            assert_eq!(address(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn envelopes() {
        let long = [b"F", [b'a'; ADDRESS_MAX + 1].as_slice(), b"\0T\0\0"].concat();
        type Row<'a> = (&'a [u8], Result<&'a [u8], Exit>);
        let rows: &[Row<'_>] = &[
            (b"Fa\0Tb\0\0", Ok(b"1:a,1:b,")),
            (b"F\0T\0\0", Ok(b"0:,0:,")),
            (b"F\0\0rest", Ok(b"0:,")),
            (b"", Err(BAD_ENVELOPE)),
            (b"\0", Err(BAD_ENVELOPE)),
            (b"F", Err(BAD_ENVELOPE)),
            (b"Fa\0", Err(BAD_ENVELOPE)),
            (b"Fa\0Tb\0", Err(BAD_ENVELOPE)),
            (b"Fa\0Tb\0Tc", Err(BAD_ENVELOPE)),
            (b"Fa\0Xb\0\0", Err(BAD_ENVELOPE)),
            (b"Ta\0\0", Err(BAD_ENVELOPE)),
            (&long, Err(TOO_LONG)),
        ];
        for (text, want) in rows {
            let got = envelope(*text).map(|spool| {
                let mut seen = Vec::new();
                let done = spool.replay(|piece| seen.write_all(piece));
                assert!(done.is_ok());
                seen
            });
            assert_eq!(got, want.map(<[u8]>::to_vec), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn requests() {
        let (message, addresses) = (message(&b"hi\n"[..]).unwrap(), envelope(&b"F\0Ta@x\0\0"[..]).unwrap());
        let mut wire = Vec::new();
        request(&mut wire, &message, &addresses).unwrap();
        assert_eq!(String::from_utf8(wire).unwrap(), "15:3:hi\n,0:,3:a@x,,");
    }

    #[test]
    fn the_first_letter_of_the_answer_decides() {
        let rows: &[(&[u8], Exit)] = &[
            (b"5:Kokay,", Exit::OK),
            (b"1:K", Exit::OK),
            (b"3:Dno,", REFUSED),
            (b"6:Zlater,", NOT_NOW),
            (b"", TALK_FAILED),
            (b"5:", TALK_FAILED),
            (b"0:,K", TALK_FAILED),
            (b"2:oK,", TALK_FAILED),
            (b"Kok", TALK_FAILED),
            (b"200000001:K", TALK_FAILED),
        ];
        let (message, addresses) = (message(&b"hi\n"[..]).unwrap(), envelope(&b"F\0Ta@x\0\0"[..]).unwrap());
        for (answer, want) in rows {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            (&theirs).write_all(answer).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let got = talk(Timed::new(ours.as_raw_fd(), 5), &message, &addresses);
            assert_eq!(got, *want, "{}", answer.escape_ascii());
            drop(ours);
            let mut seen = Vec::new();
            (&theirs).read_to_end(&mut seen).unwrap();
            assert_eq!(seen, b"15:3:hi\n,0:,3:a@x,,");
        }
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        signal::ignore(signal::SIGPIPE);
        assert_eq!(talk(Timed::new(ours.as_raw_fd(), 5), &message, &addresses), TALK_FAILED);
    }
}
