//! The addresses to try, in order (RFC 5321 5.1).

use crate::route::Route;
use dns::{Answer, Checked, Mx, Resolver};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

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

/// A server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it is.
    pub address: IpAddr,
    /// Whose address that is.
    pub exchanger: Rc<Exchanger>,
}

/// A mail exchanger or a relay, and how sure it is that this is the right one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchanger {
    /// What it is called; empty if it is just an address.
    pub name: Vec<u8>,
    /// The name that its addresses belong to; another one if it is an alias.
    pub end: Vec<u8>,
    /// Nobody can have forged that this is its name: it was given, or stood in a secure answer.
    pub is_sure: bool,
    /// Nor its addresses.
    pub is_secure: bool,
}

/// The look-ups that are needed.
pub trait Names {
    /// The mail exchangers of a name.
    fn mx(&self, name: &[u8]) -> Checked<Mx>;
    /// Its IPv4 addresses.
    fn a(&self, name: &[u8]) -> Checked<Ipv4Addr>;
    /// Its IPv6 addresses.
    fn aaaa(&self, name: &[u8]) -> Checked<Ipv6Addr>;
}

impl Names for Resolver {
    fn mx(&self, name: &[u8]) -> Checked<Mx> {
        self.checked_mx(name)
    }
    fn a(&self, name: &[u8]) -> Checked<Ipv4Addr> {
        self.checked_a(name)
    }
    fn aaaa(&self, name: &[u8]) -> Checked<Ipv6Addr> {
        self.checked_aaaa(name)
    }
}

/// Finds addresses one preference after the other, so that no name is looked up that is not needed.
pub struct Hosts<'n, N> {
    names: &'n N,
    /// Whether meeting an own address ends the search.
    may_be_ours: bool,
    own: Vec<IpAddr>,
    ready: VecDeque<Host>,
    /// The exchangers still to be looked up, the best last.
    left: Vec<Mx>,
    /// Nobody can have forged their names.
    are_sure: bool,
    nowhere: Nowhere,
}

impl<'n, N: Names> Hosts<'n, N> {
    /// The hosts of a route. Nothing is looked up for an address literal. Errors: the addresses of this host cannot be
    /// had.
    pub fn of(route: &Route, names: &'n N) -> io::Result<Hosts<'n, N>> {
        // A relay that is an address needs to be compared with nothing.
        let bare_relay = route.relay && literal(&route.host).is_some();
        let own = if bare_relay { Vec::new() } else { sys::net::local_addresses()? };
        Ok(Hosts::with_own(route, names, own))
    }

    fn with_own(route: &Route, names: &'n N, own: Vec<IpAddr>) -> Hosts<'n, N> {
        let host = dns::to_ascii(&route.host);
        let itself = || {
            let list = host.iter().map(|name| Mx { preference: 0, name: name.clone() }).collect();
            // Without exchangers in a signed domain there is an answer that is secure, or none; in another one the
            // addresses are not, either.
            (list, true, Nowhere::NoSuchHost)
        };
        let (left, are_sure, nowhere) = if route.relay || literal(&route.host).is_some() || host.is_none() {
            itself()
        } else {
            let found = names.mx(host.as_deref().unwrap_or_default());
            match found.answer {
                Answer::Found(list) if list.iter().all(|mx| mx.name.is_empty()) => (Vec::new(), false, Nowhere::NoMail),
                Answer::Found(list) => (in_order(list, &mut Random::new()), found.is_secure, Nowhere::NoAddress),
                Answer::NoRecords | Answer::NoSuchName => itself(),
                Answer::Temporary => (Vec::new(), false, Nowhere::Temporary),
            }
        };
        Hosts { names, may_be_ours: !route.relay, own, ready: VecDeque::new(), left, are_sure, nowhere }
    }

    /// The next address to try.
    pub fn next(&mut self) -> Option<Host> {
        loop {
            if let Some(host) = self.ready.pop_front() {
                return Some(host);
            }
            let preference = self.left.last()?.preference;
            while let Some(mx) = self.left.pop_if(|mx| mx.preference == preference) {
                match self.addresses(mx.name) {
                    Some((list, exchanger)) => {
                        let exchanger = Rc::new(exchanger);
                        let host = |address| Host { address, exchanger: exchanger.clone() };
                        self.ready.extend(list.into_iter().map(host));
                    }
                    None => self.nowhere = Nowhere::Temporary,
                }
            }
            if self.may_be_ours && self.ready.iter().any(|h| self.own.contains(&h.address)) {
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
    fn addresses(&self, name: Vec<u8>) -> Option<(Vec<IpAddr>, Exchanger)> {
        if let Some(address) = literal(&name) {
            return Some((vec![address], Exchanger::default()));
        }
        let Checked { answer, mut is_secure, name: mut end } = self.names.a(&name);
        let v4 = answer.records();
        let mut all: Vec<IpAddr> = v4.iter().flatten().map(|&a| IpAddr::V4(a)).collect();
        let mut known = v4.is_some();
        if all.is_empty() || self.own.iter().any(is_global_ipv6) {
            let found = self.names.aaaa(&name);
            let v6 = found.answer.records();
            known &= v6.is_some();
            if v6.as_ref().is_some_and(|list| !list.is_empty()) {
                // Both, if there are both.
                is_secure = found.is_secure && (is_secure || all.is_empty());
                end = found.name;
            }
            all.extend(v6.iter().flatten().map(|a| IpAddr::V6(*a).to_canonical()));
        }
        let exchanger = Exchanger { name, end, is_sure: self.are_sure, is_secure };
        (known || !all.is_empty()).then_some((all, exchanger))
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
    use std::cell::RefCell;

    /// Names with their records; what is not listed does not exist. Notes which addresses were asked for.
    #[derive(Default)]
    struct Fake {
        mx: Vec<(&'static str, u16, &'static str)>,
        address: Vec<(&'static str, &'static str)>,
        broken: Vec<&'static str>,
        asked: RefCell<Vec<String>>,
        /// Names whose records are secure.
        secure: Vec<&'static str>,
        alias: Vec<(&'static str, &'static str)>,
    }

    impl Fake {
        fn answer<T>(&self, name: &[u8], list: Vec<T>) -> Checked<T> {
            let answer = match list {
                _ if self.broken.iter().any(|b| b.as_bytes() == name) => Answer::Temporary,
                list if list.is_empty() => Answer::NoSuchName,
                list => Answer::Found(list),
            };
            let is_secure = matches!(answer, Answer::Found(_)) && self.secure.iter().any(|s| s.as_bytes() == name);
            Checked { answer, is_secure, name: name.to_vec() }
        }

        fn addresses<T: std::str::FromStr>(&self, name: &[u8]) -> Checked<T> {
            let end = self.alias.iter().find(|a| a.0.as_bytes() == name).map_or(name, |a| a.1.as_bytes());
            let here = self.address.iter().filter(|a| a.0.as_bytes() == end);
            self.answer(end, here.filter_map(|a| a.1.parse().ok()).collect())
        }
    }

    impl Names for Fake {
        fn mx(&self, name: &[u8]) -> Checked<Mx> {
            let here = self.mx.iter().filter(|m| m.0.as_bytes() == name);
            self.answer(name, here.map(|m| Mx { preference: m.1, name: m.2.into() }).collect())
        }
        fn a(&self, name: &[u8]) -> Checked<Ipv4Addr> {
            self.asked.borrow_mut().push(String::from_utf8(name.to_vec()).unwrap());
            self.addresses(name)
        }
        fn aaaa(&self, name: &[u8]) -> Checked<Ipv6Addr> {
            self.addresses(name)
        }
    }

    /// The addresses for mail to `d.test`, and why there are no more.
    fn walk(names: &Fake, own: &[&str]) -> (Vec<String>, Nowhere) {
        let route = Route { host: b"d.test".to_vec(), ..Route::default() };
        walk_route(&route, names, own)
    }

    fn walk_route(route: &Route, names: &Fake, own: &[&str]) -> (Vec<String>, Nowhere) {
        let own = own.iter().map(|o| o.parse().unwrap()).collect();
        let mut hosts = Hosts::with_own(route, names, own);
        let found = std::iter::from_fn(|| hosts.next()).map(|h| h.address.to_string()).collect();
        (found, hosts.nowhere())
    }

    fn two_exchangers() -> Fake {
        Fake {
            mx: vec![("d.test", 20, "b.test"), ("d.test", 10, "a.test"), ("d.test", 30, "c.test")],
            address: vec![("a.test", "192.0.2.1"), ("b.test", "192.0.2.2"), ("c.test", "192.0.2.3")],
            ..Fake::default()
        }
    }

    #[test]
    fn exchangers_are_looked_up_only_when_their_turn_comes() {
        let names = two_exchangers();
        let route = Route { host: b"d.test".to_vec(), ..Route::default() };
        let mut hosts = Hosts::with_own(&route, &names, Vec::new());
        let first = hosts.next().unwrap();
        assert_eq!((first.address.to_string().as_str(), &first.exchanger.name[..]), ("192.0.2.1", &b"a.test"[..]));
        assert_eq!(*names.asked.borrow(), ["a.test"]);
        assert_eq!(walk(&names, &[]).0, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn it_is_told_how_sure_names_and_addresses_are() {
        let relay = Route { host: b"a.test".to_vec(), relay: true, ..Route::default() };
        let domain = Route { host: b"d.test".to_vec(), ..Route::default() };
        for (route, secure, own, want) in [
            (&domain, &["d.test", "a.test"][..], "::1", (true, true)),
            (&domain, &["a.test"], "::1", (false, true)),
            (&domain, &["d.test"], "::1", (true, false)),
            (&domain, &[], "::1", (false, false)),
            (&relay, &["a.test"], "::1", (true, true)),
            (&relay, &[], "::1", (true, false)),
            // A host with IPv6 asks for both.
            (&relay, &["a.test"], "2001:db8::1", (true, true)),
        ] {
            let mut names = Fake { secure: secure.to_vec(), ..two_exchangers() };
            names.address.push(("a.test", "2001:db8::2"));
            let mut hosts = Hosts::with_own(route, &names, vec![own.parse().unwrap()]);
            let found = hosts.next().unwrap();
            assert_eq!((found.exchanger.is_sure, found.exchanger.is_secure), want, "{secure:?} {own}");
        }
        // An alias of a name in another zone.
        let names = Fake {
            alias: vec![("a.test", "end.test")],
            address: vec![("end.test", "192.0.2.1")],
            secure: vec!["end.test"],
            ..Fake::default()
        };
        let exchanger = Hosts::with_own(&relay, &names, Vec::new()).next().unwrap().exchanger;
        let want = Exchanger { name: b"a.test".to_vec(), end: b"end.test".to_vec(), is_sure: true, is_secure: true };
        assert_eq!(*exchanger, want);
        let bare = Route { host: b"[192.0.2.1]".to_vec(), ..relay };
        let exchanger = Hosts::with_own(&bare, &names, Vec::new()).next().unwrap().exchanger;
        assert_eq!(*exchanger, Exchanger::default());
    }

    #[test]
    fn r10_an_own_address_cuts_off_its_preference_and_worse() {
        let names = two_exchangers();
        assert_eq!(walk(&names, &["192.0.2.2"]).0, ["192.0.2.1"]);
        assert_eq!(walk(&names, &["192.0.2.1"]), (vec![], Nowhere::Ourselves));
        let alone = Fake { address: vec![("d.test", "0.0.0.0")], ..Fake::default() };
        assert_eq!(walk(&alone, &["0.0.0.0", "::"]), (vec![], Nowhere::Ourselves));
        let mapped = Fake { address: vec![("d.test", "::ffff:192.0.2.9")], ..Fake::default() };
        assert_eq!(walk(&mapped, &["192.0.2.9"]), (vec![], Nowhere::Ourselves));
        let equal = Fake {
            mx: vec![("d.test", 10, "a.test"), ("d.test", 10, "b.test")],
            address: vec![("a.test", "192.0.2.1"), ("b.test", "192.0.2.2")],
            ..Fake::default()
        };
        assert_eq!(walk(&equal, &["192.0.2.2"]), (vec![], Nowhere::Ourselves));
    }

    #[test]
    fn a_relay_may_be_this_host_and_is_not_asked_for_exchangers() {
        let mut names = two_exchangers();
        names.address.push(("d.test", "192.0.2.7"));
        let relay = |host: &str| Route { host: host.into(), relay: true, ..Route::default() };
        assert_eq!(walk_route(&relay("d.test"), &names, &["192.0.2.7"]).0, ["192.0.2.7"]);
        assert_eq!(walk_route(&relay("[::1]"), &names, &["::1"]).0, ["::1"]);
        assert_eq!(walk_route(&relay("no.test"), &names, &[]), (vec![], Nowhere::NoSuchHost));
        let own = Route { host: b"[127.0.0.1]".to_vec(), ..Route::default() };
        assert_eq!(walk_route(&own, &names, &["127.0.0.1"]), (vec![], Nowhere::Ourselves));
    }

    #[test]
    fn why_there_is_no_address() {
        let mx = |list: &[(u16, &'static str)]| list.iter().map(|&(p, n)| ("d.test", p, n)).collect();
        let rows = [
            (Fake::default(), Nowhere::NoSuchHost),
            (Fake { mx: mx(&[(0, "")]), ..Fake::default() }, Nowhere::NoMail),
            (Fake { mx: mx(&[(0, ""), (5, "a.test")]), ..Fake::default() }, Nowhere::NoAddress),
            (Fake { mx: mx(&[(5, "a.test")]), broken: vec!["a.test"], ..Fake::default() }, Nowhere::Temporary),
            (Fake { broken: vec!["d.test"], ..Fake::default() }, Nowhere::Temporary),
        ];
        for (names, why) in rows {
            assert_eq!(walk(&names, &[]), (vec![], why));
        }
    }

    #[test]
    fn names_beyond_ascii_are_looked_up_in_their_other_form() {
        let names = Fake { address: vec![("xn--bcher-kva.test", "192.0.2.1")], ..Fake::default() };
        let find = |host: &str| {
            let route = Route { host: host.into(), ..Route::default() };
            walk_route(&route, &names, &[])
        };
        assert_eq!(find("b\u{fc}cher.test").0, ["192.0.2.1"]);
        assert_eq!(find("b\u{fc}..test"), (vec![], Nowhere::NoSuchHost));
    }

    #[test]
    fn one_broken_exchanger_does_not_hide_the_others() {
        let mut names = two_exchangers();
        names.broken = vec!["a.test"];
        assert_eq!(walk(&names, &[]).0, ["192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn ipv4_comes_first_and_ipv6_if_it_can_be_of_use() {
        let names = Fake { address: vec![("d.test", "192.0.2.1"), ("d.test", "2001:db8::1")], ..Fake::default() };
        assert_eq!(walk(&names, &["127.0.0.1", "::1", "fe80::1"]).0, ["192.0.2.1"]);
        assert_eq!(walk(&names, &["2001:db8::9"]).0, ["192.0.2.1", "2001:db8::1"]);
        let only6 = Fake { address: vec![("d.test", "2001:db8::1")], ..Fake::default() };
        assert_eq!(walk(&only6, &[]).0, ["2001:db8::1"]);
    }

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
