//! Getting connected.

use super::options::{Options, parse_ip};
use crate::{Ends, Verbosity, names};
use dns::Resolver;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpStream};
use sys::error::text;

/// Why there is no connection; `None` if it was told already.
pub type Reason = Option<Vec<u8>>;

/// Connects to where the options say, and finds out about both ends what the options want to be known. `tell` gets what
/// is worth a line at this verbosity.
pub fn begin(options: &Options<'_>, dns: &Resolver, tell: &mut dyn FnMut(&[u8])) -> Result<(TcpStream, Ends), Reason> {
    let stream = connect(options, dns, &mut |line| {
        if options.verbosity > Verbosity::Nothing {
            tell(line);
        }
    })?;
    let failed = |what: &str, e: io::Error| Some(format!("{what}: {}", text(&e)).into_bytes());
    let local = stream.local_addr().map_err(|e| failed("unable to get local address", e))?;
    let remote = stream.peer_addr().map_err(|e| failed("unable to get remote address", e))?;
    let mut ends = Ends::new(options.as_ipv6, remote, local);
    if options.verbosity == Verbosity::All {
        tell(&[b"connected to ", ends.remote_ip.as_slice(), format!(" port {}", remote.port()).as_bytes()].concat());
    }
    match options.local_name {
        Some(name) => ends.local_host = Some(name.to_vec()),
        None => ends.look_up_local_host(dns),
    }
    if options.remote_host {
        ends.look_up_remote_host(dns, false);
    }
    if options.remote_info {
        ends.ask_remote_info(options.ident_secs);
    }
    Ok((stream, ends))
}

/// Connects. What is tried in vain and not the last hope goes to `tell`.
fn connect(options: &Options<'_>, dns: &Resolver, tell: &mut dyn FnMut(&[u8])) -> Result<TcpStream, Reason> {
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
    let addresses = addresses(options, dns).map_err(Some)?;
    let stream = try_all(options, &addresses, port, interface, tell).ok_or(None)?;
    if options.no_delay {
        // Only a wish: without it small packets may come a little later.
        let _ = stream.set_nodelay(true);
    }
    let failed = |e: io::Error| Some(format!("unable to set up connection: {}", text(&e)).into_bytes());
    stream.set_nonblocking(false).map_err(failed)?;
    Ok(stream)
}

/// The addresses of the host, in the order in which they are tried; never empty.
fn addresses(options: &Options<'_>, dns: &Resolver) -> Result<Vec<IpAddr>, Vec<u8>> {
    let none = || [b"no IP address for ", options.host].concat();
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
        return Err([b"temporarily unable to figure out IP address for ", options.host].concat());
    }
    Err(none())
}

/// Tries all addresses, briefly; then those that did not answer in time once more, patiently.
fn try_all(
    options: &Options<'_>,
    list: &[IpAddr],
    port: u16,
    interface: u32,
    tell: &mut dyn FnMut(&[u8]),
) -> Option<TcpStream> {
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
                Ok(stream) => return Some(stream),
                Err(e) if again && is_timeout(&e) => late.push(ip),
                Err(e) => tell(format!("unable to connect to {ip} port {port}: {}", text(&e)).as_bytes()),
            }
        }
        left = late;
    }
    None
}

fn is_timeout(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::TimedOut
}
