//! qmail-postgrey: asks a greylisting daemon about a recipient.
//!
//! `qmail-postgrey ip[%ifname][;port] mailfrom rcptto remoteip remotehost`, run by qmail-smtpd for each recipient if
//! POSTGREY is set, as qmaild. Connects to postgrey, or anything else that speaks Postfix's policy protocol, and reads
//! no files. Mail is never lost for want of that daemon: trouble with it counts as consent, and is told on fd 2.
//!
//! Exit codes: 0 take the recipient; 10 put it off; 100 wrong usage.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream};
use std::time::{Duration, Instant};
use sys::error::{complain, text};
use sys::{Exit, process};

/// Where postgrey listens unless told otherwise.
const PORT: u16 = 60000;
/// The recipient is to be put off.
const DEFERRED: Exit = Exit(10);
/// How long connecting and the answer may take together: a client is waiting for its reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes. postgrey's is one short line and an empty one.
const ANSWER_MAX: usize = 4096;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    process::no_new_privileges();
    let &[server, sender, recipient, ip, host] = args.as_slice() else {
        complain(&[b"usage: qmail-postgrey ip[%ifname][;port] mailfrom rcptto remoteip remotehost"]);
        return Exit::PERMANENT;
    };
    let Some(server) = address(server) else {
        complain(&[b"fatal: no IP address: ", server]);
        return Exit::PERMANENT;
    };
    match ask(server, &request(sender, recipient, ip, host)) {
        Ok(answer) if is_deferral(&answer) => DEFERRED,
        Ok(_) => Exit::OK,
        Err(e) => {
            complain(&[b"warning: no answer from postgrey, recipient taken: ", text(&e).as_bytes()]);
            Exit::OK
        }
    }
}

/// The address in `ip[%ifname][;port]`.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, port) = match text.split_once(';') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, PORT),
    };
    match host.split_once('%') {
        Some((ip, interface)) => {
            let scope = sys::socket::interface_number(interface.as_bytes())?;
            Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, scope).into())
        }
        None => Some((host.parse::<IpAddr>().ok()?, port).into()),
    }
}

/// A request of the policy protocol (Postfix's SMTPD_POLICY_README): attributes, one a line, and an empty line.
fn request(sender: &[u8], recipient: &[u8], ip: &[u8], host: &[u8]) -> Vec<u8> {
    let mut request = b"request=smtpd_access_policy\nprotocol_state=RCPT\n".to_vec();
    let attributes = [("client_address", ip), ("client_name", host), ("sender", sender), ("recipient", recipient)];
    for (name, value) in attributes {
        request.extend_from_slice(name.as_bytes());
        request.push(b'=');
        // A line end in a value would begin an attribute of the client's choice.
        request.extend(value.iter().map(|&b| if b < b' ' || b == 0x7f { b'?' } else { b }));
        request.push(b'\n');
    }
    request.push(b'\n');
    request
}

/// The answer up to its empty line.
fn ask(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let mut stream = sys::socket::connect(None, server, PATIENCE)?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\n\n") && answer.len() < ANSWER_MAX {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        read_some(&mut stream, left, &mut answer)?;
    }
    Ok(answer)
}

fn read_some(stream: &mut TcpStream, limit: Duration, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut buf = [0; 512];
    stream.set_read_timeout(Some(limit))?;
    match stream.read(&mut buf) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            answer.extend_from_slice(buf.get(..n).unwrap_or_default());
            Ok(())
        }
        // What the system says when the time is over.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether the action is one of putting off: `DEFER`, `DEFER_IF_PERMIT` and the like, or a temporary code.
fn is_deferral(answer: &[u8]) -> bool {
    let action = answer.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"action="));
    action.is_some_and(|action| {
        action.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"defer")) || action.starts_with(b"4")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, expected) in [
            ("127.0.0.1", Some("127.0.0.1:60000")),
            ("127.0.0.1;10023", Some("127.0.0.1:10023")),
            ("::1", Some("[::1]:60000")),
            ("::1;1", Some("[::1]:1")),
            ("127.0.0.1:10023", None),
            ("127.0.0.1;", None),
            ("127.0.0.1;x", None),
            ("127.0.0.1%lo", None),
            ("fe80::1%nowhere", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(address(text.as_bytes()), expected.map(|e| e.parse().unwrap()), "{text}");
        }
        let Some(SocketAddr::V6(scoped)) = address(b"fe80::1%lo;7") else { panic!() };
        assert!(scoped.scope_id() > 0 && scoped.port() == 7);
    }

    #[test]
    fn a_request_has_its_lines_and_no_others() {
        let text = request(b"a@b.test\nrecipient=x", b"c d@e.test", b"::1", b"h.test");
        let expected = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=::1\nclient_name=h.test\n\
                        sender=a@b.test?recipient=x\nrecipient=c d@e.test\n\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn actions() {
        for (answer, deferred) in [
            ("action=DEFER_IF_PERMIT Greylisted\n\n", true),
            ("action=defer\n\n", true),
            ("x=y\naction=450 4.2.0 later\n\n", true),
            ("action=DUNNO\n\n", false),
            ("action=PREPEND X-Greylist: delayed\n\n", false),
            ("action=def\n\n", false),
            ("action=\n\n", false),
            ("\n\n", false),
        ] {
            assert_eq!(is_deferral(answer.as_bytes()), deferred, "{answer:?}");
        }
    }
}
