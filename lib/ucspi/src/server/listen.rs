//! Everything up to the first connection: the port, then the identity.

use super::options::Options;
use crate::ends::canonical;
use crate::names;
use dns::Resolver;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;
use sys::error::text;
use sys::process::{self, Gid, Uid};
use sys::socket::{Listening, NoListener};

/// Gets the port that the options name: the listener, and the address it is bound to. An `Err` is the reason why there
/// is none.
pub fn listen(options: &Options<'_>) -> Result<(TcpListener, SocketAddr), Vec<u8>> {
    let port = names::port(options.port, || read("/etc/services"))
        .ok_or_else(|| [b"unable to figure out port number for ", options.port].concat())?;
    let (ip, dual_stack) = match listening_address(options) {
        Ok(Some(found)) => found,
        Ok(None) => return Err([b"no IP address for ", options.host].concat()),
        Err(()) => return Err([b"temporarily unable to figure out IP address for ", options.host].concat()),
    };
    let interface = match options.interface {
        Some(name) => {
            let number = sys::socket::interface_number(name);
            number.ok_or_else(|| [b"unable to find interface ", name].concat())?
        }
        None => 0,
    };
    let address = match ip {
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, interface)),
        ip => SocketAddr::new(ip, port),
    };
    let listener = sys::socket::listen(&Listening { address, dual_stack, backlog: options.backlog });
    let mut listener = listener.map_err(|e| match e {
        NoListener::Create(e) => failed("unable to create socket", &e),
        NoListener::Bind(e) => failed("unable to bind", &e),
        NoListener::Listen(e) => failed("unable to listen", &e),
    })?;
    if listener.as_raw_fd() <= 2 {
        // Started with a standard descriptor closed: its number is needed for the programs.
        listener = listener.try_clone().map_err(|e| failed("unable to create socket", &e))?;
    }
    let bound = listener.local_addr().map_err(|e| failed("unable to get local address", &e))?;
    Ok((listener, bound))
}

/// `what: reason`.
pub fn failed(what: &str, e: &io::Error) -> Vec<u8> {
    format!("{what}: {}", text(e)).into_bytes()
}

/// A file of the system; what can not be read is empty.
fn read(file: &str) -> Vec<u8> {
    std::fs::read(file).unwrap_or_default()
}

/// Who a program is to run as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `None`: as whoever this process is.
    pub user: Option<u32>,
    /// `None`: in the group this process is in.
    pub group: Option<u32>,
}

impl Identity {
    /// The identity that these names or numbers ask for. What is no number and no known name is an error, so that a slip
    /// in a run script does not leave a server running as root.
    pub fn of(user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, Vec<u8>> {
        let named = |what: &str, name: &[u8]| [b"unable to find ", what.as_bytes(), b" ", name].concat();
        let mut found = Identity::default();
        if let Some(name) = user {
            let (uid, gid) = names::user(name, || read("/etc/passwd")).ok_or_else(|| named("user", name))?;
            found = Identity { user: Some(uid), group: gid };
        }
        if let Some(name) = group {
            found.group = Some(names::group(name, || read("/etc/group")).ok_or_else(|| named("group", name))?);
        }
        // 0 asks for nothing: so it has always been.
        found.user = found.user.filter(|&u| u != 0);
        found.group = found.group.filter(|&g| g != 0);
        Ok(found)
    }

    /// Takes the identity on. Without one, or when it is the present one, nothing changes.
    pub fn assume(self) -> Result<(), Vec<u8>> {
        let uid = self.user.filter(|&u| Uid(u) != process::euid());
        let gid = self.group.filter(|&g| Gid(g) != process::egid() || uid.is_some());
        if let Some(gid) = gid {
            process::become_group(Gid(gid)).map_err(|e| failed("unable to set gid", &e))?;
        }
        if let Some(uid) = uid {
            process::become_user(Uid(uid), process::egid()).map_err(|e| failed("unable to set uid", &e))?;
        }
        Ok(())
    }
}

/// The address that the argument `host` means, and whether IPv4 and IPv6 clients share the socket. `Ok(None)`: there is
/// no such address; `Err(())`: that could not be found out now.
fn listening_address(options: &Options<'_>) -> Result<Option<(IpAddr, bool)>, ()> {
    let any4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match options.host {
        b"" | b"0" => return Ok(Some((any4, false))),
        b":0" if options.ipv4_only => return Ok(Some((any4, false))),
        b":0" => return Ok(Some((IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), true))),
        // RFC 6761 6.3: no name server is asked.
        b"localhost" => return Ok(Some((IpAddr::V4(Ipv4Addr::LOCALHOST), false))),
        _ => {}
    }
    if let Some(ip) = std::str::from_utf8(options.host).ok().and_then(|h| h.parse::<IpAddr>().ok()) {
        let ip = canonical(ip);
        return Ok(Some((ip, false)).filter(|_| ip.is_ipv4() || !options.ipv4_only));
    }
    let dns = Resolver::new();
    let mut unsure = false;
    for name in dns.candidates(options.host) {
        let a = dns.a(&name).records();
        let aaaa = if options.ipv4_only { Some(Vec::new()) } else { dns.aaaa(&name).records() };
        unsure |= a.is_none() || aaaa.is_none();
        let a = a.unwrap_or_default().into_iter().map(IpAddr::V4);
        let aaaa = aaaa.unwrap_or_default().into_iter().map(IpAddr::V6);
        let found = if options.as_ipv6 { aaaa.chain(a).next() } else { a.chain(aaaa).next() };
        if let Some(ip) = found {
            return Ok(Some((ip, false)));
        }
    }
    if unsure { Err(()) } else { Ok(None) }
}
