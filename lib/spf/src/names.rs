//! What an evaluation asks of the DNS.

use dns::{Answer, Mx, Resolver};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A source of records: the DNS, or a table in a test. Aliases are followed inside.
pub trait Names {
    /// The texts of a name, the strings of each record joined.
    fn txt(&self, name: &[u8]) -> Answer<Vec<u8>>;
    /// The IPv4 addresses of a name.
    fn a(&self, name: &[u8]) -> Answer<Ipv4Addr>;
    /// The IPv6 addresses of a name.
    fn aaaa(&self, name: &[u8]) -> Answer<Ipv6Addr>;
    /// The mail exchangers of a name.
    fn mx(&self, name: &[u8]) -> Answer<Mx>;
    /// The names of an address.
    fn ptr(&self, address: IpAddr) -> Answer<Vec<u8>>;
}

impl Names for Resolver {
    fn txt(&self, name: &[u8]) -> Answer<Vec<u8>> {
        Resolver::txt(self, name)
    }

    fn a(&self, name: &[u8]) -> Answer<Ipv4Addr> {
        Resolver::a(self, name)
    }

    fn aaaa(&self, name: &[u8]) -> Answer<Ipv6Addr> {
        Resolver::aaaa(self, name)
    }

    fn mx(&self, name: &[u8]) -> Answer<Mx> {
        Resolver::mx(self, name)
    }

    fn ptr(&self, address: IpAddr) -> Answer<Vec<u8>> {
        Resolver::ptr(self, address)
    }
}
