//! tcpclient: connects to a TCP port and becomes a program that talks to it.
//!
//! `tcpclient [options] host port program [arg ...]` (tcpclient(1)), started by people and scripts, as any user. The
//! program gets the connection as fd 6 to read from and fd 7 to write to, and the ends of the connection in its
//! environment; 0, 1 and 2 stay as they are. Reads /etc/services for the name of a port, /etc/resolv.conf when names
//! are looked up.
//!
//! Exit codes: 100 wrong usage; 111 no connection, or the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod options;

use dns::Resolver;
use options::{Misuse, Options, Verbosity, parse_ip};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::AsRawFd;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::spawn::Program;
use ucspi::{Ends, ends, names};

/// The program reads from the network here.
const READ_FD: i32 = 6;
/// And writes to it here.
const WRITE_FD: i32 = 7;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(Misuse(letter)) => {
            if let Some(letter) = letter {
                complain(&[b"illegal option -- ", &[letter]]);
            }
            complain(&[options::USAGE]);
            return Exit::PERMANENT;
        }
    };
    let reason = match work(&options) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    if let Some(reason) = reason.filter(|_| options.verbosity > Verbosity::Nothing) {
        complain(&[b"fatal: ", &reason]);
    }
    Exit::TEMPORARY
}

/// Why there will be no program; `None` if it was told already.
type Reason = Option<Vec<u8>>;

fn failed(what: &str, e: &io::Error) -> Reason {
    Some(format!("{what}: {}", text(e)).into_bytes())
}

/// Connects, finds out what the options want to be known, and becomes the program.
fn work(options: &Options<'_>) -> Result<std::convert::Infallible, Reason> {
    let services = || std::fs::read("/etc/services").unwrap_or_default();
    let port = names::port(options.port, services)
        .ok_or_else(|| Some([b"unable to figure out port number for ", options.port].concat()))?;
    let interface = match options.interface {
        Some(name) => {
            let number = sys::socket::interface_number(name);
            number.ok_or_else(|| Some([b"unable to find interface ", name].concat()))?
        }
        None => 0,
    };
    let dns = Resolver::new();
    let addresses = addresses(options, &dns)?;
    let stream = connect(options, &addresses, port, interface)?;
    if options.no_delay {
        // Only a wish: without it small packets may come a little later.
        let _ = stream.set_nodelay(true);
    }
    stream.set_nonblocking(false).map_err(|e| failed("unable to set up connection", &e))?;
    let local = stream.local_addr().map_err(|e| failed("unable to get local address", &e))?;
    let remote = stream.peer_addr().map_err(|e| failed("unable to get remote address", &e))?;
    let mut ends = Ends::new(options.as_ipv6, remote, local);
    if options.verbosity == Verbosity::All {
        complain(&[b"connected to ", &ends.remote_ip, format!(" port {port}").as_bytes()]);
    }
    match options.local_name {
        Some(name) => ends.local_host = Some(name.to_vec()),
        None => ends.look_up_local_host(&dns),
    }
    if options.remote_host {
        ends.look_up_remote_host(&dns, false);
    }
    if options.remote_info {
        ends.ask_remote_info(options.ident_secs);
    }
    let env = ends.environment(&ends::without_variables(Env::inherit()));
    let name = options.program.first().copied().unwrap_or_default();
    let error = match program(options.program, &stream, env) {
        Ok(program) => program.exec(),
        Err(e) => e,
    };
    Err(Some([b"unable to run ", name, b": ", text(&error).as_bytes()].concat()))
}

fn program(argv: &[&[u8]], stream: &TcpStream, env: Env) -> io::Result<Program> {
    let name = argv.first().copied().unwrap_or_default();
    let path = env.get(b"PATH").unwrap_or(PATH);
    let file = sys::spawn::search(name, path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let fd = stream.as_raw_fd();
    Ok(Program::new(&file, argv)?.fd(READ_FD, fd).fd(WRITE_FD, fd).env(env))
}

/// The addresses of the host, in the order in which they are tried; never empty.
fn addresses(options: &Options<'_>, dns: &Resolver) -> Result<Vec<IpAddr>, Reason> {
    let none = || Some([b"no IP address for ", options.host].concat());
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match options.host {
        // RFC 6761 6.3: no name server is asked about localhost.
        b"" | b"0" | b"localhost" => return Ok(vec![local]),
        _ => {}
    }
    if let Some(ip) = parse_ip(options.host) {
        return if ip.is_ipv6() && options.ipv4_only { Err(none()) } else { Ok(vec![ip]) };
    }
    let mut unsure = false;
    for name in dns.candidates(options.host) {
        let a = dns.a(&name).records();
        let aaaa = if options.ipv4_only { Some(Vec::new()) } else { dns.aaaa(&name).records() };
        unsure |= a.is_none() || aaaa.is_none();
        let a = a.unwrap_or_default().into_iter().map(IpAddr::V4);
        let aaaa = aaaa.unwrap_or_default().into_iter().map(IpAddr::V6);
        let list: Vec<IpAddr> = if options.as_ipv6 { aaaa.chain(a).collect() } else { a.chain(aaaa).collect() };
        if !list.is_empty() {
            return Ok(list);
        }
    }
    if unsure {
        return Err(Some([b"temporarily unable to figure out IP address for ", options.host].concat()));
    }
    Err(none())
}

/// Tries all addresses, briefly; then those that did not answer in time once more, patiently.
fn connect(options: &Options<'_>, list: &[IpAddr], port: u16, interface: u32) -> Result<TcpStream, Reason> {
    let mut left = list.to_vec();
    let [first, second] = options.rounds;
    for (limit, again) in [(first, !second.is_zero()), (second, false)] {
        if limit.is_zero() {
            break;
        }
        let mut late = Vec::new();
        for ip in left {
            let to = match ip {
                IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, interface)),
                ip => SocketAddr::new(ip, port),
            };
            let from = options.local_address(ip).map(|local| SocketAddr::new(local, options.local_port));
            match sys::socket::connect_from(from, to, limit) {
                Ok(stream) => return Ok(stream),
                Err(e) if again && is_timeout(&e) => late.push(ip),
                Err(e) if options.verbosity > Verbosity::Nothing => {
                    let what = format!("unable to connect to {ip} port {port}: {}", text(&e));
                    complain(&[what.as_bytes()]);
                }
                Err(_) => {}
            }
        }
        left = late;
    }
    Err(None)
}

fn is_timeout(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::TimedOut
}
