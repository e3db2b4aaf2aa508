//! tcp-env: tells a program about the TCP connection on its descriptor 0, for servers under inetd.
//!
//! Started by inetd, or a program like it, as `tcp-env [-rR] [-t timeout] program args`, as any user. Finds out the
//! ends of the connection on fd 0, puts them into the environment (tcp-environ(5)) and becomes the program. Under
//! tcpserver, which has done this already, it only becomes the program. Reads /etc/resolv.conf.
//!
//! Exit codes: those of the program; 111, without a word, if fd 0 is no TCP connection or the program can not be run.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use dns::{Answer, Resolver};
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr, TcpStream};
use sys::Exit;
use sys::env::Env;
use sys::opt::{Opt, Scanner};
use sys::spawn::Program;
use ucspi::ident;

/// How long the client's host may take to say who the client is, in seconds, all steps together.
const IDENT_SECS: u64 = 30;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";
/// What stands in place of a name that could not be looked up now: programs can tell it from a host without a name.
const NOT_NOW: &[u8] = b"softdnserror";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let (mut remote_info, mut ident_secs) = (true, IDENT_SECS);
    let mut scanner = Scanner::new(b"rRt:", &args);
    for option in scanner.by_ref() {
        match option {
            Opt::Flag(letter) => remote_info = letter == b'r',
            Opt::Value(_, value) => ident_secs = control::leading_number(value).unwrap_or(IDENT_SECS).min(86400),
            // As ever: the program matters more than a letter.
            Opt::Unknown(_) => {}
        }
    }
    let program = scanner.rest();
    let Some(&name) = program.first() else { return Exit::TEMPORARY };
    let mut env = Env::inherit();
    let told = matches!(env.get(b"PROTO"), Some(b"TCP" | b"TCP6"));
    if !told && describe(&mut env, remote_info.then_some(ident_secs)).is_err() {
        return Exit::TEMPORARY;
    }
    sys::signal::default(sys::signal::SIGPIPE);
    if let Some(file) = sys::spawn::search(name, env.get(b"PATH").unwrap_or(PATH))
        && let Ok(program) = Program::new(&file, program)
    {
        // It did not become the program, for whatever reason.
        let _: io::Error = program.env(env).exec();
    }
    Exit::TEMPORARY
}

/// Puts the ends of the connection on fd 0 into `env`. `ident_secs`: ask the client's host who the client is.
fn describe(env: &mut Env, ident_secs: Option<u64>) -> io::Result<()> {
    // The descriptor is the program's: it must not be closed here.
    let connection = ManuallyDrop::new(TcpStream::from(sys::fd::STDIN.own()));
    let (local, remote) = (plain(connection.local_addr()?), plain(connection.peer_addr()?));
    let dns = Resolver::new();
    let names = [local, remote].map(|at| name_of(&dns, at.ip()));
    let info = ident_secs.and_then(|secs| ident::ask(remote, local, secs));
    tell(env, [local, remote], names, info.as_deref());
    Ok(())
}

/// An IPv4 client of an IPv6 socket is an IPv4 client. An IPv6 address keeps its interface.
fn plain(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), at.port()),
        IpAddr::V6(_) => at,
    }
}

/// Puts what is known into `env`, the local end first, and removes what an older connection may have left there.
fn tell(env: &mut Env, ends: [SocketAddr; 2], names: [Option<Vec<u8>>; 2], info: Option<&[u8]>) {
    let ipv6 = ends.iter().all(SocketAddr::is_ipv6);
    env.set(b"PROTO", if ipv6 { b"TCP6" } else { b"TCP" });
    for ((side, at), name) in [&b"LOCAL"[..], b"REMOTE"].into_iter().zip(ends).zip(names) {
        let items = [
            (&b"PORT"[..], Some(at.port().to_string().into_bytes())),
            (b"IP", Some(at.ip().to_string().into_bytes())),
            (b"HOST", name),
        ];
        for (item, value) in items {
            set(env, b"TCP", &[side, item].concat(), value.as_deref());
            set(env, b"TCP6", &[side, item].concat(), value.as_deref().filter(|_| ipv6));
        }
    }
    set(env, b"TCP", b"REMOTEINFO", info);
}

fn set(env: &mut Env, prefix: &[u8], end: &[u8], value: Option<&[u8]>) {
    let name = [prefix, end].concat();
    match value {
        Some(value) => env.set(&name, value),
        None => env.unset(&name),
    }
}

/// The name of `ip` in lower case; `None` if it has none.
fn name_of(dns: &Resolver, ip: IpAddr) -> Option<Vec<u8>> {
    match dns.ptr(ip) {
        Answer::Found(names) => names.into_iter().find(|n| !n.is_empty()).map(|n| n.to_ascii_lowercase()),
        Answer::Temporary => Some(NOT_NOW.to_vec()),
        Answer::NoRecords | Answer::NoSuchName => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        plain(text.parse().unwrap())
    }

    #[test]
    fn old_variables_go_and_new_ones_come() {
        let mut env = Env::default();
        for name in ["TCPLOCALHOST", "TCPREMOTEHOST", "TCPREMOTEINFO", "TCP6REMOTEIP"] {
            env.set(name.as_bytes(), b"old");
        }
        let ends = [at("[::ffff:192.0.2.1]:25"), at("192.0.2.2:1025")];
        tell(&mut env, ends, [None, Some(b"b.test".to_vec())], Some(b"joe\0x"));
        let rows: &[(&str, Option<&str>)] = &[
            ("PROTO", Some("TCP")),
            ("TCPLOCALIP", Some("192.0.2.1")),
            ("TCPLOCALPORT", Some("25")),
            ("TCPLOCALHOST", None),
            ("TCPREMOTEIP", Some("192.0.2.2")),
            ("TCPREMOTEPORT", Some("1025")),
            ("TCPREMOTEHOST", Some("b.test")),
            ("TCPREMOTEINFO", Some("joe")),
            ("TCP6REMOTEIP", None),
        ];
        for (name, value) in rows {
            assert_eq!(env.get(name.as_bytes()), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn ipv6_has_both_names() {
        let mut env = Env::default();
        tell(&mut env, [at("[2001:db8::1]:25"), at("[2001:db8::2]:9")], [None, Some(b"b.test".to_vec())], None);
        for prefix in ["TCP", "TCP6"] {
            for (end, value) in [
                ("LOCALIP", Some("2001:db8::1")),
                ("LOCALHOST", None),
                ("REMOTEIP", Some("2001:db8::2")),
                ("REMOTEPORT", Some("9")),
                ("REMOTEHOST", Some("b.test")),
                ("REMOTEINFO", None),
            ] {
                assert_eq!(env.get(format!("{prefix}{end}").as_bytes()), value.map(str::as_bytes), "{prefix}{end}");
            }
        }
        assert_eq!(env.get(b"PROTO"), Some(&b"TCP6"[..]));
    }
}
