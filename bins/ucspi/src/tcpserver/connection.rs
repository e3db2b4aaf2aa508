//! What is known of one connection, and how it is told: to the program in its environment, to the log in a line.

use crate::ident;
use crate::options::Options;
use control::cdb::Cdb;
use dns::{Answer, Resolver};
use rules::{Client, Rule};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::env::Env;

/// The variables that tcpserver sets or removes, whatever it was started with.
const VARIABLES: &[&[u8]] = &[
    b"PROTO",
    b"TCPLOCALIP",
    b"TCPLOCALPORT",
    b"TCPLOCALHOST",
    b"TCPREMOTEIP",
    b"TCPREMOTEPORT",
    b"TCPREMOTEHOST",
    b"TCPREMOTEINFO",
    b"TCP6LOCALIP",
    b"TCP6LOCALPORT",
    b"TCP6LOCALHOST",
    b"TCP6REMOTEIP",
    b"TCP6REMOTEPORT",
    b"TCP6REMOTEHOST",
    b"TCP6REMOTEINFO",
    b"TCP6INTERFACE",
];
/// The most of one item that goes into a log line, in bytes.
const LOG_ITEM_MAX: usize = 100;

/// A connection and what was found out about its ends.
pub struct Connection {
    remote: SocketAddr,
    local: SocketAddr,
    /// Shown as a connection of IPv6.
    ipv6: bool,
    remote_ip: Vec<u8>,
    local_ip: Vec<u8>,
    local_host: Option<Vec<u8>>,
    remote_host: Option<Vec<u8>>,
    remote_info: Option<Vec<u8>>,
}

/// What the rules say about a client.
pub enum Verdict {
    /// It is served, with the variables of the rule.
    Serve(Option<Rule>),
    /// It is not.
    Deny,
}

/// The environment without what a connection sets: made once.
pub fn clean_environment() -> Env {
    let mut env = Env::inherit();
    VARIABLES.iter().for_each(|name| env.unset(name));
    env
}

/// The address that counts: an IPv4 client of an IPv6 socket is an IPv4 client.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Connection {
    /// What is known without asking anybody.
    pub fn new(options: &Options<'_>, remote: SocketAddr, local: SocketAddr) -> Connection {
        let ipv6 = options.as_ipv6 || canonical(remote.ip()).is_ipv6();
        let show = |ip: IpAddr| -> Vec<u8> {
            match canonical(ip) {
                IpAddr::V4(ip) if ipv6 => ip.to_ipv6_mapped().to_string().into_bytes(),
                ip => ip.to_string().into_bytes(),
            }
        };
        Connection {
            remote,
            local,
            ipv6,
            remote_ip: show(remote.ip()),
            local_ip: show(local.ip()),
            local_host: options.local_name.map(<[u8]>::to_vec),
            remote_host: None,
            remote_info: None,
        }
    }

    /// Finds out what the options want to be known, in the network.
    pub fn look_up(&mut self, options: &Options<'_>) {
        let dns = Resolver::new();
        if self.local_host.is_none() {
            self.local_host = name_of(&dns, canonical(self.local.ip()));
        }
        if options.remote_host {
            let ip = canonical(self.remote.ip());
            self.remote_host = name_of(&dns, ip).filter(|name| !options.paranoid || leads_to(&dns, name, ip));
        }
        if options.remote_info {
            let plain = |at: SocketAddr| match canonical(at.ip()) {
                IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), at.port()),
                IpAddr::V6(_) => at,
            };
            // A NUL would end the variable; let it end the text for the rules and the log as well.
            let answer = ident::ask(plain(self.remote), plain(self.local), options.ident_secs);
            self.remote_info = answer.map(|a| a.split(|&b| b == 0).next().unwrap_or_default().to_vec());
        }
    }

    /// Asks the rules. `present` is how many connections the same client has already. An `Err`: they can not be read.
    pub fn judge(&self, options: &Options<'_>, present: usize) -> io::Result<Verdict> {
        let Some(file) = options.rules else { return Ok(Verdict::Serve(None)) };
        let cdb = match Cdb::open(Path::new(OsStr::from_bytes(file))) {
            Ok(cdb) => cdb,
            Err(e) if e.kind() == io::ErrorKind::NotFound && options.rules_may_miss => return Ok(Verdict::Serve(None)),
            Err(e) => return Err(e),
        };
        let client =
            Client { ip: &self.remote_ip, host: self.remote_host.as_deref(), info: self.remote_info.as_deref() };
        let Some(rule) = rules::find(&cdb, &client)? else { return Ok(Verdict::Serve(None)) };
        let most = rule.variables().filter(|(name, _)| *name == b"MAXCONNIP").last();
        let most = most.and_then(|(_, value)| control::leading_number(value));
        let crowded = most.is_some_and(|most| present as u64 >= most);
        Ok(if rule.denies() || crowded { Verdict::Deny } else { Verdict::Serve(Some(rule)) })
    }

    /// The program's environment: `base`, the connection, then what the rule sets or overrides.
    pub fn environment(&self, base: &Env, rule: Option<&Rule>) -> Env {
        let mut env = base.clone();
        let (local_port, remote_port) = (self.local.port().to_string(), self.remote.port().to_string());
        env.set(b"PROTO", if self.ipv6 { b"TCP6" } else { b"TCP" });
        let mut set = |end: &[u8], value: &[u8]| {
            env.set(&[b"TCP", end].concat(), value);
            if self.ipv6 {
                env.set(&[b"TCP6", end].concat(), value);
            }
        };
        set(b"LOCALIP", &self.local_ip);
        set(b"LOCALPORT", local_port.as_bytes());
        set(b"REMOTEIP", &self.remote_ip);
        set(b"REMOTEPORT", remote_port.as_bytes());
        if let Some(host) = &self.local_host {
            set(b"LOCALHOST", host);
        }
        if let Some(host) = &self.remote_host {
            set(b"REMOTEHOST", host);
        }
        if let Some(info) = &self.remote_info {
            env.set(b"TCPREMOTEINFO", info);
        }
        if let SocketAddr::V6(local) = self.local
            && let Some(name) = Some(local.scope_id()).filter(|&n| n != 0).and_then(sys::socket::interface_name)
        {
            env.set(b"TCP6INTERFACE", &name);
        }
        for (name, value) in rule.iter().flat_map(|r| r.variables()) {
            env.set(name, value);
        }
        env
    }

    /// What the log line `pid P from IP` has behind the process id.
    pub fn log_from(&self) -> Vec<u8> {
        [b" from ", self.remote_ip.as_slice()].concat()
    }

    /// What the log lines `ok P ...` and `deny P ...` have behind the process id.
    pub fn log_ends(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(128);
        let empty: &[u8] = b"";
        line.push(b' ');
        log_item(&mut line, self.local_host.as_deref().unwrap_or(empty));
        line.push(b':');
        log_item(&mut line, &self.local_ip);
        line.extend_from_slice(format!(":{} ", self.local.port()).as_bytes());
        log_item(&mut line, self.remote_host.as_deref().unwrap_or(empty));
        line.push(b':');
        log_item(&mut line, &self.remote_ip);
        line.push(b':');
        log_item(&mut line, self.remote_info.as_deref().unwrap_or(empty));
        line.extend_from_slice(format!(":{}", self.remote.port()).as_bytes());
        line
    }
}

/// Adds what a stranger may have chosen: only printable ASCII without `%`, and not too much of it.
fn log_item(line: &mut Vec<u8>, item: &[u8]) {
    line.extend(item.iter().take(LOG_ITEM_MAX).map(|&b| match b {
        b'%' => b'?',
        33..=126 => b,
        _ => b'?',
    }));
    if item.len() >= LOG_ITEM_MAX {
        line.extend_from_slice(b"...");
    }
}

/// The name of `ip`, in lower case.
fn name_of(dns: &Resolver, ip: IpAddr) -> Option<Vec<u8>> {
    match dns.ptr(ip) {
        Answer::Found(names) => names.into_iter().find(|n| !n.is_empty()).map(|n| n.to_ascii_lowercase()),
        _ => None,
    }
}

/// Whether one of the addresses of `name` is `ip`.
fn leads_to(dns: &Resolver, name: &[u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(dns.a(name), Answer::Found(list) if list.contains(&ip)),
        IpAddr::V6(ip) => matches!(dns.aaaa(name), Answer::Found(list) if list.contains(&ip)),
    }
}

/// The address that the argument `host` means, and whether IPv4 and IPv6 clients share the socket. `Ok(None)`: there is
/// no such address; `Err(())`: that could not be found out now.
pub fn listening_address(options: &Options<'_>) -> Result<Option<(IpAddr, bool)>, ()> {
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
