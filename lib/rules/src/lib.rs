//! Connection rules: which client a network server serves, and with which variables.
//!
//! Rules are written as text (one a line, tcprules(1)), compiled into a cdb by [`compile`], and looked up for each
//! client by [`find`]. A record's key is the address of the rule, its data the instructions: `D` NUL refuses the
//! client, `+NAME=value` NUL sets a variable. Networks in the notation of ucspi-tcp6 have keys of their own kind, see
//! [`key`]; a file made by either of the two families of tcprules can be read.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod compile;
pub mod key;

use control::cdb::Cdb;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its address as text, IPv4 or IPv6. Text that is no address matches only rules with exactly this text.
    pub ip: &'a [u8],
    /// Its name, if it has one.
    pub host: Option<&'a [u8]>,
    /// Who it says it is (ident), if it said so.
    pub info: Option<&'a [u8]>,
}

/// The rule that applies to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The address of the rule as it could stand in the text; empty for the rule that applies to everybody.
    pub name: Vec<u8>,
    data: Vec<u8>,
}

/// One instruction of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The client is not served.
    Deny,
    /// `NAME=value`: a variable for the program.
    Set(&'a [u8]),
}

impl Rule {
    /// The instructions in order. What is neither of the two kinds is passed over, as it always was.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        // Only what ends in NUL counts: the last piece of the split is what follows the last NUL.
        let mut pieces: Vec<&[u8]> = self.data.split(|&b| b == 0).collect();
        pieces.pop();
        pieces.into_iter().filter_map(|piece| match piece.split_first() {
            Some((b'D', _)) => Some(Step::Deny),
            Some((b'+', assignment)) => Some(Step::Set(assignment)),
            _ => None,
        })
    }

    /// Whether the client is to be refused.
    pub fn denies(&self) -> bool {
        self.steps().any(|s| s == Step::Deny)
    }

    /// The variables for the program: (name, value). An instruction without `=` sets nothing.
    pub fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.steps().filter_map(|s| match s {
            Step::Set(assignment) => {
                let at = assignment.iter().position(|&b| b == b'=')?;
                Some((assignment.get(..at)?, assignment.get(at + 1..)?))
            }
            Step::Deny => None,
        })
    }
}

/// The rule for `client`: the first that exists of info@ip, info@=host, ip, =host, the shorter dotted prefixes of ip,
/// the networks that hold ip (longest first), the shorter suffixes of =host, `=` if it has a name, and the empty
/// address. `Ok(None)` if there is none. An `Err` says that the file can not be read or is damaged.
pub fn find(cdb: &Cdb, client: &Client<'_>) -> io::Result<Option<Rule>> {
    let address = parse(client.ip);
    // The text of an IPv4 address is its key; the key of an IPv6 address is its full form. As a site may have made
    // its file by other means, the text itself is looked for, too.
    let plain: Vec<u8> = match address {
        Some(IpAddr::V4(ip)) => ip.to_string().into_bytes(),
        _ => client.ip.to_vec(),
    };
    let full = match address {
        Some(IpAddr::V6(ip)) => Some(key::full(ip)),
        _ => None,
    };
    let exact: Vec<&[u8]> = full.iter().map(Vec::as_slice).chain([plain.as_slice()]).collect();

    let look = |key: &[u8], name: &[u8]| -> io::Result<Option<Rule>> {
        Ok(cdb.get(key)?.map(|data| Rule { name: name.to_vec(), data }))
    };
    // Looks a key up, and returns from here with the rule if there is one.
    macro_rules! first {
        ($key:expr, $name:expr) => {
            if let Some(rule) = look($key, $name)? {
                return Ok(Some(rule));
            }
        };
    }

    if let Some(info) = client.info {
        for ip in &exact {
            let key = [info, b"@", ip].concat();
            first!(&key, &[info, b"@", &plain].concat());
        }
        if let Some(host) = client.host {
            let key = [info, b"@=", host].concat();
            first!(&key, &key);
        }
    }
    for ip in &exact {
        first!(ip, &plain);
    }
    if let Some(host) = client.host {
        let key = [b"=", host].concat();
        first!(&key, &key);
    }
    for prefix in dotted_prefixes(&plain) {
        first!(prefix, prefix);
    }
    if let Some(ip) = address {
        let bits = key::bits(ip);
        for len in (1..=bits.len() - 1).rev() {
            if let Some(key) = bits.get(..=len)
                && let Some(data) = cdb.get(key)?
            {
                return Ok(Some(Rule { name: key::network(ip, len), data }));
            }
        }
    }
    if let Some(host) = client.host {
        for (at, _) in host.iter().enumerate().filter(|(_, b)| **b == b'.') {
            let key = [b"=", host.get(at..).unwrap_or_default()].concat();
            first!(&key, &key);
        }
        first!(b"=", b"=");
    }
    look(b"", b"")
}

/// The prefixes of `ip` that end in a dot, longest first.
fn dotted_prefixes(ip: &[u8]) -> impl Iterator<Item = &[u8]> {
    (1..=ip.len()).rev().filter_map(|len| ip.get(..len)).filter(|p| p.ends_with(b"."))
}

/// The address in `text`; an IPv4 address in IPv6 clothes (`::ffff:1.2.3.4`) is an IPv4 address.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(ip));
    }
    Some(text.parse::<Ipv6Addr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests;
