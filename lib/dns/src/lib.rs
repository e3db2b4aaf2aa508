//! Names and addresses: one small blocking interface to the DNS.
//!
//! A [`Resolver`] costs nothing until its first look-up; only then /etc/resolv.conf is read and the engine set up.
//! Other name servers than those in it can be given, as the environment variable DNSCACHEIP does (environment.md 1).
//! Every name is taken as fully qualified: the search list of resolv.conf is used only by programs that ask for it
//! with [`Resolver::candidates`], never for mail routing. The hosts file and the name service are not consulted.
//!
//! CNAMEs are followed, at most [`CNAME_MAX`] of them; what comes back is only of the type that was asked for.
//! Names come back without the final dot, the root as an empty name, and bytes that have no place in a host name in
//! the notation of RFC 1035 5.1.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod connected;
mod engine;
mod name;

use engine::Engine;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// The most CNAMEs that one look-up follows; a longer chain, or a loop, is a temporary failure.
pub const CNAME_MAX: usize = 10;

/// What a look-up came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// At least one record of the wanted type.
    Found(Vec<T>),
    /// The name exists, but has no record of this type.
    NoRecords,
    /// There is no such name, or it can be none (an empty label, one over 63 bytes).
    NoSuchName,
    /// No answer, or one that does not make sense: it may be otherwise later.
    Temporary,
}

impl<T> Answer<T> {
    /// The records; an empty list if there are surely none, `None` if that could not be found out.
    pub fn records(self) -> Option<Vec<T>> {
        match self {
            Answer::Found(list) => Some(list),
            Answer::NoRecords | Answer::NoSuchName => Some(Vec::new()),
            Answer::Temporary => None,
        }
    }
}

/// An answer, and how much it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<T> {
    /// What the look-up came to.
    pub answer: Answer<T>,
    /// The records were found, and a name server that is believed says that it has checked the signatures of all that
    /// led to them (the AD bit, RFC 4035 3.2.3).
    pub is_secure: bool,
    /// The name at the end of the chain of aliases: that of the records.
    pub name: Vec<u8>,
}

/// Whose word is believed that an answer is authentic. This resolver checks no signatures itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// No answer is secure.
    #[default]
    Nobody,
    /// That of servers on loopback, if there are no others: between those and this process nobody can put himself.
    ThisHost,
    /// That of every server.
    Everybody,
}

/// A mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// The lower, the better.
    pub preference: u16,
    /// Its name; empty is the root, the sign of a domain without mail (RFC 7505).
    pub name: Vec<u8>,
}

/// What a certificate must be like (RFC 6698 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Which part of the certificate.
    pub selector: u8,
    /// How it is compared.
    pub matching: u8,
    /// What it is compared to.
    pub data: Vec<u8>,
}

/// The parts of an address in reverse order, octets of IPv4 and nibbles of IPv6, joined by dots: the beginning of its
/// name in a list of addresses (RFC 5782 2.1, 2.4).
pub fn reversed(address: IpAddr) -> Vec<u8> {
    let name = name::of_address(address);
    let zone: &[u8] = if address.is_ipv4() { b".in-addr.arpa" } else { b".ip6.arpa" };
    name.strip_suffix(zone).unwrap_or(&name).to_vec()
}

/// The form of `name` that stands in the DNS: itself, or with IDNA if some label is not ASCII; `None` if it has none.
pub fn to_ascii(name: &[u8]) -> Option<Vec<u8>> {
    name::to_ascii(name)
}

/// Asks the name servers of /etc/resolv.conf, 127.0.0.1 if it names none.
#[derive(Default)]
pub struct Resolver {
    engine: OnceCell<Engine>,
    caches: Option<Vec<u8>>,
    end: Cell<Option<Instant>>,
    trust: Trust,
}

impl Resolver {
    /// A resolver that is not set up yet.
    pub fn new() -> Resolver {
        Resolver::default()
    }

    /// A resolver that asks the name servers in `caches`, the value of DNSCACHEIP, instead of those in resolv.conf:
    /// addresses with blanks between them, each with `%` and an interface if it needs one, and `;` and a port if that is
    /// not 53. Without a good one, as [`Resolver::new`].
    pub fn asking(caches: Option<Vec<u8>>) -> Resolver {
        Resolver { caches, ..Resolver::default() }
    }

    /// The same, but answers may be secure.
    pub fn trusting(self, trust: Trust) -> Resolver {
        Resolver { trust, ..self }
    }

    /// Sets the time at which every look-up that has no answer by then fails temporarily; `None` takes it away.
    pub fn until(&self, end: Option<Instant>) {
        self.end.set(end);
    }

    fn engine(&self) -> &Engine {
        self.engine.get_or_init(|| Engine::start(self.caches.as_deref()))
    }

    /// The IPv4 addresses of `name`.
    pub fn a(&self, name: &[u8]) -> Answer<Ipv4Addr> {
        self.checked_a(name).answer
    }

    /// The same, with its worth.
    pub fn checked_a(&self, name: &[u8]) -> Checked<Ipv4Addr> {
        self.look_up(name, RecordType::A, |data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        })
    }

    /// The IPv6 addresses of `name`.
    pub fn aaaa(&self, name: &[u8]) -> Answer<Ipv6Addr> {
        self.checked_aaaa(name).answer
    }

    /// The same, with its worth.
    pub fn checked_aaaa(&self, name: &[u8]) -> Checked<Ipv6Addr> {
        self.look_up(name, RecordType::AAAA, |data| match data {
            RData::AAAA(a) => Some(a.0),
            _ => None,
        })
    }

    /// The mail exchangers of `name`, in the order of the answer.
    pub fn mx(&self, name: &[u8]) -> Answer<Mx> {
        self.checked_mx(name).answer
    }

    /// The same, with its worth.
    pub fn checked_mx(&self, name: &[u8]) -> Checked<Mx> {
        self.look_up(name, RecordType::MX, |data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, name: name::to_bytes(&mx.exchange) }),
            _ => None,
        })
    }

    /// The texts of `name`, the strings of each record joined without a separator.
    pub fn txt(&self, name: &[u8]) -> Answer<Vec<u8>> {
        self.look_up(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        })
        .answer
    }

    /// The name that `name` is an alias of. Only this one step is looked at.
    pub fn cname(&self, name: &[u8]) -> Answer<Vec<u8>> {
        self.checked_cname(name).answer
    }

    /// The same, with its worth.
    pub fn checked_cname(&self, name: &[u8]) -> Checked<Vec<u8>> {
        self.look_up(name, RecordType::CNAME, |data| match data {
            RData::CNAME(target) => Some(name::to_bytes(target)),
            _ => None,
        })
    }

    /// The TLSA records of `name`, which begins with port and protocol: `_25._tcp.mx.example`.
    pub fn tlsa(&self, name: &[u8]) -> Answer<Tlsa> {
        self.checked_tlsa(name).answer
    }

    /// The same, with its worth.
    pub fn checked_tlsa(&self, name: &[u8]) -> Checked<Tlsa> {
        self.look_up(name, RecordType::TLSA, |data| match data {
            RData::TLSA(t) => Some(Tlsa {
                usage: t.cert_usage.into(),
                selector: t.selector.into(),
                matching: t.matching.into(),
                data: t.cert_data.clone(),
            }),
            _ => None,
        })
    }

    /// The names of an address.
    pub fn ptr(&self, address: IpAddr) -> Answer<Vec<u8>> {
        self.look_up(&name::of_address(address), RecordType::PTR, |data| match data {
            RData::PTR(target) => Some(name::to_bytes(target)),
            _ => None,
        })
        .answer
    }

    /// The fully qualified names that `name` may stand for by the search list of resolv.conf, in the order in which
    /// they are to be tried. A name with a final dot stands for itself alone.
    pub fn candidates(&self, name: &[u8]) -> Vec<Vec<u8>> {
        name::candidates(name, self.engine().search(), self.engine().ndots())
    }

    fn look_up<T>(&self, name: &[u8], kind: RecordType, pick: fn(&RData) -> Option<T>) -> Checked<T> {
        match name::parse(name) {
            Some(name) => self.engine().look_up(name, kind, self.end.get(), self.trust, pick),
            None => Checked { answer: Answer::NoSuchName, is_secure: false, name: name.to_vec() },
        }
    }
}

#[cfg(test)]
mod tests;
