//! The addresses to try, in order (RFC 5321 5.1).

use crate::route::Route;
use dns::{Answer, Mx, Resolver};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of a domain with more mail exchangers than this only the best are looked at.
const MX_MAX: usize = 100;

/// Why there is no address (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// The host has neither MX nor address.
    NoSuchHost,
    /// The host says that it takes no mail.
    NoMail,
    /// A look-up failed and may succeed later.
    Temporary,
    /// No mail exchanger has an address.
    NoAddress,
    /// What is left is this host itself, or worse.
    Ourselves,
}

/// Finds addresses one preference after the other, so that no name is looked up that is not needed.
pub struct Hosts<'r> {
    resolver: &'r Resolver,
    /// Whether meeting an own address ends the search.
    may_be_ours: bool,
    own: Vec<IpAddr>,
    ready: VecDeque<IpAddr>,
    /// The exchangers still to be looked up, the best last.
    left: Vec<Mx>,
    nowhere: Nowhere,
}

impl<'r> Hosts<'r> {
    /// The hosts of a route. Nothing is looked up for an address literal. Errors: the addresses of this host cannot be
    /// had.
    pub fn of(route: &Route, resolver: &'r Resolver) -> io::Result<Hosts<'r>> {
        let literal = literal(&route.host);
        // A relay that is an address needs to be compared with nothing.
        let own = if route.relay && literal.is_some() { Vec::new() } else { sys::net::local_addresses()? };
        let itself = |nowhere| (vec![Mx { preference: 0, name: route.host.clone() }], nowhere);
        let (left, nowhere) = if literal.is_some() || route.relay {
            itself(Nowhere::NoSuchHost)
        } else {
            match resolver.mx(&route.host) {
                Answer::Found(list) if list.iter().all(|mx| mx.name.is_empty()) => (Vec::new(), Nowhere::NoMail),
                Answer::Found(list) => (in_order(list, &mut Random::new()), Nowhere::NoAddress),
                Answer::NoRecords | Answer::NoSuchName => itself(Nowhere::NoSuchHost),
                Answer::Temporary => (Vec::new(), Nowhere::Temporary),
            }
        };
        Ok(Hosts { resolver, may_be_ours: !route.relay, own, ready: VecDeque::new(), left, nowhere })
    }

    /// The next address to try.
    pub fn next(&mut self) -> Option<IpAddr> {
        loop {
            if let Some(address) = self.ready.pop_front() {
                return Some(address);
            }
            let preference = self.left.last()?.preference;
            while let Some(mx) = self.left.pop_if(|mx| mx.preference == preference) {
                match self.addresses(&mx.name) {
                    Some(list) => self.ready.extend(list),
                    None => self.nowhere = Nowhere::Temporary,
                }
            }
            if self.may_be_ours && self.ready.iter().any(|a| self.own.contains(a)) {
                // To hand mail to one of these would be to hand it around in a circle (RFC 5321 5.1).
                self.ready.clear();
                self.left.clear();
                self.nowhere = Nowhere::Ourselves;
            }
        }
    }

    /// After `next` has returned `None`: why, if no address was found at all.
    pub fn nowhere(&self) -> Nowhere {
        self.nowhere
    }

    /// The addresses of a host: IPv4 first, so that a site which has long sent by IPv4 goes on to do so. IPv6 is looked
    /// for if this host has it, or if there is nothing else. `None`: this may be otherwise later.
    fn addresses(&self, name: &[u8]) -> Option<Vec<IpAddr>> {
        if let Some(address) = literal(name) {
            return Some(vec![address]);
        }
        let v4 = self.resolver.a(name).records();
        let mut all: Vec<IpAddr> = v4.iter().flatten().map(|&a| IpAddr::V4(a)).collect();
        let mut known = v4.is_some();
        if all.is_empty() || self.own.iter().any(is_global_ipv6) {
            let v6 = self.resolver.aaaa(name).records();
            known &= v6.is_some();
            all.extend(v6.iter().flatten().map(|a| IpAddr::V6(*a).to_canonical()));
        }
        (known || !all.is_empty()).then_some(all)
    }
}

fn is_global_ipv6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if !a.is_loopback() && !a.is_unspecified() && !a.is_unicast_link_local())
}

/// `1.2.3.4`, `[1.2.3.4]`, `::1`, `[::1]` or `[IPv6:::1]` (RFC 5321 4.1.3).
fn literal(host: &[u8]) -> Option<IpAddr> {
    let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let (tag, tagged) = bare.split_at_checked(5).unwrap_or_default();
    if tag.eq_ignore_ascii_case(b"IPv6:") && bare.len() < host.len() {
        return str::from_utf8(tagged).ok()?.parse::<Ipv6Addr>().ok().map(|a| IpAddr::V6(a).to_canonical());
    }
    let text = str::from_utf8(bare).ok()?;
    let v4 = text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    v4.or_else(|| text.parse::<Ipv6Addr>().ok().map(|a| IpAddr::V6(a).to_canonical()))
}

/// The best last; in any order among equals. The root is no host.
fn in_order(mut list: Vec<Mx>, random: &mut Random) -> Vec<Mx> {
    list.retain(|mx| !mx.name.is_empty());
    list.sort_by_cached_key(|mx| (mx.preference, random.next()));
    list.truncate(MX_MAX);
    list.reverse();
    list
}

/// Good enough to spread the load over equal hosts (xorshift).
struct Random(u64);

impl Random {
    fn new() -> Random {
        let (seconds, nanoseconds) = sys::time::stamp();
        Random((seconds << 32 ^ u64::from(nanoseconds)) ^ u64::from(std::process::id()) << 16 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (text, want) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("[127.0.0.1]", Some("127.0.0.1")),
            ("::1", Some("::1")),
            ("[::1]", Some("::1")),
            ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
            ("[ipv6:::1]", Some("::1")),
            ("::ffff:127.0.0.1", Some("127.0.0.1")),
            ("IPv6:::1", None),
            ("[127.0.0.1", None),
            ("127.0.0.1]", None),
            ("[]", None),
            ("", None),
            ("1.2.3", None),
            ("1.2.3.4.", None),
            ("a.test", None),
        ] {
            assert_eq!(literal(text.as_bytes()), want.map(|w| w.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn better_exchangers_come_first_and_equal_ones_in_any_order() {
        let mx = |preference, name: &str| Mx { preference, name: name.into() };
        let list = || vec![mx(20, "c"), mx(10, "a"), mx(65535, "d"), mx(10, "b"), mx(0, "")];
        let mut seen = std::collections::HashSet::new();
        let mut random = Random(42);
        for _ in 0..50 {
            let names: Vec<u8> = in_order(list(), &mut random).iter().rev().flat_map(|m| m.name.clone()).collect();
            assert!(names.ends_with(b"cd"), "{names:?}");
            seen.insert(names);
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn r10_two_hundred_exchangers_are_cut_to_the_best() {
        let list = (0..200).rev().map(|n| Mx { preference: n, name: b"x".to_vec() }).collect();
        let list = in_order(list, &mut Random(1));
        assert_eq!((list.len(), list[0].preference, list[99].preference), (100, 99, 0));
    }
}
