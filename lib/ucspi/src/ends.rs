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

/// Which names of variables a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// TCP and TCP6.
    Tcp,
    /// SSL: of a connection that has TLS, or may get it.
    Ssl,
    /// All of them.
    Both,
}

/// What stands between SSL and the end of a name that tells of one end.
const SSL_ENDS: &[&[u8]] =
    &[b"LOCALIP", b"LOCALPORT", b"LOCALHOST", b"REMOTEIP", b"REMOTEPORT", b"REMOTEHOST", b"REMOTEINFO"];
/// Variables of mod_ssl, and those of UCSPI-TLS, by how they begin. SSL_USER, SSL_UID and the like are no such.
const SSL_FACTS: &[&[u8]] = &[
    b"SSL_PROTOCOL",
    b"SSL_CIPHER",
    b"SSL_SESSION_",
    b"SSL_VERSION_",
    b"SSL_TLS_SNI",
    b"SSL_CLIENT_",
    b"SSL_SERVER_",
    b"SSLCTL",
    b"SSLREADFD",
    b"SSLWRITEFD",
];

/// `env` without what a connection with TLS sets, so that nobody takes for a fact what was there before.
pub fn without_any_variables(env: Env) -> Env {
    let mut env = without_variables(env);
    env.unset_all(|name| {
        SSL_FACTS.iter().any(|f| name.starts_with(f))
            || name.strip_prefix(b"SSL").is_some_and(|n| SSL_ENDS.contains(&n))
    });
    env
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

    /// The program's environment: `base` and the connection, under these names.
    pub fn environment(&self, base: &Env, names: Names) -> Env {
        let mut env = base.clone();
        let (local_port, remote_port) = (self.local.port().to_string(), self.remote.port().to_string());
        let protocol: &[u8] = match (names, self.ipv6) {
            (Names::Ssl, _) => b"SSL",
            (_, false) => b"TCP",
            (_, true) => b"TCP6",
        };
        env.set(b"PROTO", protocol);
        let prefixes: &[&[u8]] = match (names, self.ipv6) {
            (Names::Tcp, false) => &[b"TCP"],
            (Names::Tcp, true) => &[b"TCP", b"TCP6"],
            (Names::Ssl, _) => &[b"SSL"],
            (Names::Both, false) => &[b"SSL", b"TCP"],
            (Names::Both, true) => &[b"SSL", b"TCP", b"TCP6"],
        };
        let mut set = |end: &[u8], value: &[u8]| {
            prefixes.iter().for_each(|prefix| env.set(&[prefix, end].concat(), value));
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
            // There has never been a TCP6REMOTEINFO from a server.
            prefixes.iter().filter(|p| **p != b"TCP6").for_each(|p| env.set(&[p, &b"REMOTEINFO"[..]].concat(), info));
        }
        if names != Names::Ssl
            && let SocketAddr::V6(local) = self.local
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(remote: &str, as_ipv6: bool, names: Names) -> Vec<String> {
        let local = if remote.starts_with('[') { "[2001:db8::1]:465" } else { "192.0.2.1:465" };
        let mut ends = Ends::new(as_ipv6, remote.parse().unwrap(), local.parse().unwrap());
        ends.remote_info = Some(b"joe".to_vec());
        ends.local_host = Some(b"mx".to_vec());
        let env = ends.environment(&Env::default(), names);
        let all = VARIABLES.iter().map(|v| v.to_vec()).chain(SSL_ENDS.iter().map(|e| [b"SSL", *e].concat()));
        let pair = |name: Vec<u8>| {
            let value = env.get(&name)?;
            Some([&name, &b"="[..], value].concat())
        };
        all.filter_map(pair).map(|p| String::from_utf8(p).unwrap()).collect()
    }

    #[test]
    fn names_of_variables() {
        let tcp4 = "TCPLOCALIP=192.0.2.1 TCPLOCALPORT=465 TCPLOCALHOST=mx TCPREMOTEIP=192.0.2.9 TCPREMOTEPORT=77 TCPREMOTEINFO=joe";
        let ssl4 = tcp4.replace("TCP", "SSL");
        let tcp6 = "TCPLOCALIP=2001:db8::1 TCPLOCALPORT=465 TCPLOCALHOST=mx TCPREMOTEIP=2001:db8::9 TCPREMOTEPORT=77 TCPREMOTEINFO=joe";
        let ssl6 = tcp6.replace("TCP", "SSL");
        let also6 = tcp6.replace("TCP", "TCP6").replace(" TCP6REMOTEINFO=joe", "");
        let (v4, v6) = ("192.0.2.9:77", "[2001:db8::9]:77");
        let rows = [
            (v4, false, Names::Tcp, format!("PROTO=TCP {tcp4}")),
            (v4, false, Names::Ssl, format!("PROTO=SSL {ssl4}")),
            (v4, false, Names::Both, format!("PROTO=TCP {tcp4} {ssl4}")),
            (v6, false, Names::Tcp, format!("PROTO=TCP6 {tcp6} {also6}")),
            (v6, false, Names::Ssl, format!("PROTO=SSL {ssl6}")),
            (v6, false, Names::Both, format!("PROTO=TCP6 {tcp6} {also6} {ssl6}")),
        ];
        for (remote, as_ipv6, names, expected) in rows {
            assert_eq!(told(remote, as_ipv6, names).join(" "), expected);
        }
        let mapped = told(v4, true, Names::Both);
        assert!(mapped.contains(&"TCP6REMOTEIP=::ffff:192.0.2.9".to_owned()), "{mapped:?}");
    }

    #[test]
    fn what_was_there_before_is_no_fact() {
        let mut env = Env::default();
        let facts =
            ["SSL_CLIENT_S_DN", "SSL_PROTOCOL", "SSLREMOTEIP", "TCPREMOTEIP", "SSLCTLFD", "SSL_CIPHER_USEKEYSIZE"];
        let settings = ["SSL_UID", "SSL_CHROOT", "SSLX", "CERTFILE"];
        facts.iter().chain(&settings).for_each(|name| env.set(name.as_bytes(), b"x"));
        let env = without_any_variables(env);
        assert!(facts.iter().all(|name| env.get(name.as_bytes()).is_none()));
        assert!(settings.iter().all(|name| env.get(name.as_bytes()).is_some()));
    }
}
