//! control/domainips: the address and the name that this host shows for a sending domain (spec/control.md 4.7).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use tunnel::{suffixes, value_of};

/// The line names no address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What a sending domain has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where connections come from.
    pub address: Option<SocketAddr>,
    /// The name for EHLO.
    pub helohost: Option<Vec<u8>>,
}

impl Source {
    /// Looks the sender's domain up: itself, its suffixes, the empty key, and last `*`.
    pub fn find(lines: &[Vec<u8>], domain: &[u8]) -> Result<Source, Malformed> {
        let keys = suffixes(domain).chain([&b"*"[..]]);
        match keys.into_iter().find_map(|key| value_of(key, lines)) {
            Some(value) => Source::parse(value),
            None => Ok(Source::default()),
        }
    }

    /// `ip[%interface][|helohost]`; without an address only the name is special.
    pub fn parse(value: &[u8]) -> Result<Source, Malformed> {
        let mut parts = value.splitn(2, |&b| b == b'|');
        let address = parts.next().unwrap_or_default();
        let helohost = parts.next().filter(|h| !h.is_empty()).map(<[u8]>::to_vec);
        if address.is_empty() {
            return Ok(Source { address: None, helohost });
        }
        let mut parts = address.splitn(2, |&b| b == b'%');
        let ip = parts.next().and_then(|ip| str::from_utf8(ip).ok()?.parse::<IpAddr>().ok()).ok_or(Malformed)?;
        let address = match (ip, parts.next()) {
            (ip, None) => SocketAddr::new(ip, 0),
            (IpAddr::V6(ip), Some(interface)) => {
                let scope = sys::socket::interface_number(interface).ok_or(Malformed)?;
                SocketAddrV6::new(ip, 0, 0, scope).into()
            }
            // Such an address has no scope; the name of its interface does no harm.
            (ip, Some(_)) => SocketAddr::new(ip, 0),
        };
        Ok(Source { address: Some(address), helohost })
    }

    /// The address to come from when connecting to `to`: only one of the same kind can be.
    pub fn address_for(&self, to: &SocketAddr) -> Option<SocketAddr> {
        self.address.filter(|own| own.is_ipv4() == to.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: Option<&str>, helohost: Option<&str>) -> Source {
        let address = address.map(|a| SocketAddr::new(a.parse().unwrap(), 0));
        Source { address, helohost: helohost.map(|h| h.as_bytes().to_vec()) }
    }

    #[test]
    fn the_most_specific_key_counts() {
        let lines: Vec<Vec<u8>> =
            ["*:192.0.2.1", ".b.test:192.0.2.2|sub", "a.b.test:2001:db8::1|own"].map(|l| l.into()).to_vec();
        let find = |domain: &str| Source::find(&lines, domain.as_bytes()).unwrap();
        assert_eq!(find("a.b.test"), source(Some("2001:db8::1"), Some("own")));
        assert_eq!(find("c.b.test"), source(Some("192.0.2.2"), Some("sub")));
        assert_eq!(find("b.test"), source(Some("192.0.2.1"), None));
        assert_eq!(find(""), source(Some("192.0.2.1"), None));
        assert_eq!(Source::find(&[], b"a"), Ok(Source::default()));
        let empty = [b":192.0.2.3".to_vec(), b"*:192.0.2.1".to_vec()];
        assert_eq!(Source::find(&empty, b""), Ok(source(Some("192.0.2.3"), None)));
    }

    #[test]
    fn values() {
        assert_eq!(Source::parse(b"|name"), Ok(source(None, Some("name"))));
        assert_eq!(Source::parse(b"192.0.2.1|"), Ok(source(Some("192.0.2.1"), None)));
        assert_eq!(Source::parse(b"192.0.2.1%lo"), Ok(source(Some("192.0.2.1"), None)));
        let Ok(Source { address: Some(SocketAddr::V6(scoped)), .. }) = Source::parse(b"fe80::1%lo|n") else { panic!() };
        assert_ne!(scoped.scope_id(), 0);
        for bad in ["192.0.2", "a.test", "fe80::1%no-such-if", "[::1]", "192.0.2.1:25"] {
            assert_eq!(Source::parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn only_an_address_of_the_same_kind_is_bound() {
        let v4 = source(Some("192.0.2.1"), None);
        assert!(v4.address_for(&"192.0.2.9:25".parse().unwrap()).is_some());
        assert!(v4.address_for(&"[::1]:25".parse().unwrap()).is_none());
    }
}
