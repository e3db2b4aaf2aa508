//! The two ends of a connection: addresses, ports, names, and the environment that tells of them.

use dns::{Answer, Resolver};
use std::net::{IpAddr, SocketAddr};
use sys::env::Env;

/// The variables that tell of a connection, all of them set or removed.
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

/// A connection and what was found out about its ends.
pub struct Ends {
    /// The far end.
    pub remote: SocketAddr,
    /// The near end.
    pub local: SocketAddr,
    /// Shown as a connection of IPv6.
    pub ipv6: bool,
    /// The far address as it is shown.
    pub remote_ip: Vec<u8>,
    /// The near address as it is shown.
    pub local_ip: Vec<u8>,
    /// TCPLOCALHOST
    pub local_host: Option<Vec<u8>>,
    /// TCPREMOTEHOST, a stranger's word.
    pub remote_host: Option<Vec<u8>>,
    /// TCPREMOTEINFO, a stranger's word.
    pub remote_info: Option<Vec<u8>>,
}

/// `env` without what a connection sets.
pub fn without_variables(mut env: Env) -> Env {
    VARIABLES.iter().for_each(|name| env.unset(name));
    env
}

/// The address that counts: an IPv4 end of an IPv6 socket is an IPv4 end.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Ends {
    /// What is known without asking anybody. `as_ipv6`: an IPv4 connection is shown as one of IPv6.
    pub fn new(as_ipv6: bool, remote: SocketAddr, local: SocketAddr) -> Ends {
        let ipv6 = as_ipv6 || canonical(remote.ip()).is_ipv6();
        let show = |ip: IpAddr| -> Vec<u8> {
            match canonical(ip) {
                IpAddr::V4(ip) if ipv6 => ip.to_ipv6_mapped().to_string().into_bytes(),
                ip => ip.to_string().into_bytes(),
            }
        };
        let (remote_ip, local_ip) = (show(remote.ip()), show(local.ip()));
        Ends { remote, local, ipv6, remote_ip, local_ip, local_host: None, remote_host: None, remote_info: None }
    }

    /// Finds the near end's name in the DNS.
    pub fn look_up_local_host(&mut self, dns: &Resolver) {
        self.local_host = name_of(dns, canonical(self.local.ip()));
    }

    /// Finds the far end's name in the DNS; with `paranoid` only one that leads back to its address is kept.
    pub fn look_up_remote_host(&mut self, dns: &Resolver, paranoid: bool) {
        let ip = canonical(self.remote.ip());
        self.remote_host = name_of(dns, ip).filter(|name| !paranoid || leads_to(dns, name, ip));
    }

    /// Asks the far end's host who is at that end, for at most `secs` seconds.
    pub fn ask_remote_info(&mut self, secs: u64) {
        let plain = |at: SocketAddr| match canonical(at.ip()) {
            IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), at.port()),
            IpAddr::V6(_) => at,
        };
        // A NUL would end the variable; let it end the text for everybody else as well.
        let answer = crate::ident::ask(plain(self.remote), plain(self.local), secs);
        self.remote_info = answer.map(|a| a.split(|&b| b == 0).next().unwrap_or_default().to_vec());
    }

    /// The program's environment: `base` and the connection.
    pub fn environment(&self, base: &Env) -> Env {
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
        env
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
