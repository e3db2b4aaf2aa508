//! From the text of a rule to its records.
//!
//! A rule is `address:allow` or `address:deny`, followed by any number of `,NAME="value"`, where in place of the double
//! quote any character may stand that is not in the value. Lines that are empty or begin with `#`, and lines without
//! any colon, are no rules.

use crate::key;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a line is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Neither `allow` nor `deny`, a variable without `=` or without its second quote, a range without numbers, a NUL.
    Syntax,
    /// What stands before the slash, or has a colon, is no address.
    Address,
    /// The length behind the slash is 0, larger than the address, or reaches beyond the numbers given.
    Length,
}

/// What a line says. The data is the same for all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The keys; none if the line is no rule, many for a range.
    pub keys: Vec<Vec<u8>>,
    /// The instructions.
    pub data: Vec<u8>,
}

/// Compiles one line, with or without its newline.
pub fn line(line: &[u8]) -> Result<Records, Unfit> {
    let end = line.iter().rposition(|b| !matches!(b, b'\n' | b' ' | b'\t')).map_or(0, |at| at + 1);
    let line = line.get(..end).unwrap_or_default();
    if line.first() == Some(&b'#') || !line.contains(&b':') {
        return Ok(Records::default());
    }
    if line.contains(&0) {
        return Err(Unfit::Syntax);
    }
    let (address, instruction) = split(line).ok_or(Unfit::Syntax)?;
    let data = instructions(instruction).ok_or(Unfit::Syntax)?;
    Ok(Records { keys: keys(address)?, data })
}

/// Splits at the first colon that is followed by an instruction: an IPv6 address has colons of its own.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colons = line.iter().enumerate().filter(|(_, b)| **b == b':');
    colons.map(|(at, _)| (line.get(..at), line.get(at + 1..))).find_map(|parts| match parts {
        (Some(address), Some(rest)) if rest.starts_with(b"allow") || rest.starts_with(b"deny") => Some((address, rest)),
        _ => None,
    })
}

/// The data for `allow` or `deny` and the variables behind it.
fn instructions(text: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = match text.strip_prefix(b"deny") {
        Some(rest) => {
            data.extend_from_slice(b"D\0");
            rest
        }
        None => text.strip_prefix(b"allow")?,
    };
    while !rest.is_empty() {
        let assignment = rest.strip_prefix(b",")?;
        let (name, quoted) = assignment.split_at_checked(assignment.iter().position(|&b| b == b'=')?)?;
        let (&quote, value) = quoted.get(1..)?.split_first()?;
        let (value, after) = value.split_at_checked(value.iter().position(|&b| b == quote)?)?;
        data.push(b'+');
        data.extend_from_slice(name);
        data.push(b'=');
        data.extend_from_slice(value);
        data.push(0);
        rest = after.get(1..)?;
    }
    Some(data)
}

/// The keys for the address of a rule. Hosts, and whatever is none of the kinds below, stand for themselves.
fn keys(address: &[u8]) -> Result<Vec<Vec<u8>>, Unfit> {
    if address.contains(&b'=') {
        return Ok(vec![address.to_vec()]);
    }
    let slash = address.iter().position(|&b| b == b'/');
    let ipv6 = address.contains(&b':');
    if let Some(at) = address.iter().position(|&b| b == b'@') {
        let (info, ip) = (address.get(..=at).unwrap_or_default(), address.get(at + 1..).unwrap_or_default());
        let ip = if ipv6 && slash.is_none() { single(ip)? } else { ip.to_vec() };
        return Ok(vec![[info, &ip].concat()]);
    }
    if let Some(at) = slash {
        let (ip, len) = (address.get(..at).unwrap_or_default(), address.get(at + 1..).unwrap_or_default());
        return Ok(vec![network(ip, len, ipv6)?]);
    }
    if ipv6 {
        return Ok(vec![single(address)?]);
    }
    match address.iter().position(|&b| b == b'-') {
        Some(at) => range(address, at).ok_or(Unfit::Syntax),
        None => Ok(vec![address.to_vec()]),
    }
}

fn ipv6_address(text: &[u8]) -> Result<Ipv6Addr, Unfit> {
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or(Unfit::Address)
}

/// The key of one IPv6 address. An IPv4 address in IPv6 clothes is looked up as IPv4, so that is its key.
fn single(text: &[u8]) -> Result<Vec<u8>, Unfit> {
    let ip = ipv6_address(text)?;
    Ok(match ip.to_ipv4_mapped() {
        Some(ip) => ip.to_string().into_bytes(),
        None => key::full(ip),
    })
}

/// The key of a network, `ip` of `len` bits.
fn network(ip: &[u8], len: &[u8], ipv6: bool) -> Result<Vec<u8>, Unfit> {
    let len = number(len).filter(|&n| n > 0).ok_or(Unfit::Length)?;
    let (ip, len) = if ipv6 {
        let ip = ipv6_address(ip)?;
        match ip.to_ipv4_mapped() {
            Some(ip) if len > 96 => (IpAddr::V4(ip), len - 96),
            _ => (IpAddr::V6(ip), len),
        }
    } else {
        let (ip, known) = ipv4_start(ip).ok_or(Unfit::Address)?;
        if len > known {
            return Err(Unfit::Length);
        }
        (IpAddr::V4(ip), len)
    };
    Ok(key::bits(ip).get(..=len).ok_or(Unfit::Length)?.to_vec())
}

/// One to four numbers with dots between them, a last dot allowed: the address, and how many of its bits were given.
fn ipv4_start(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut octets = [0u8; 4];
    let mut places = octets.iter_mut();
    let mut known = 0;
    for part in text.split(|&b| b == b'.') {
        let fits = !part.is_empty() && part.len() <= 3;
        *places.next()? = u8::try_from(number(part).filter(|_| fits)?).ok()?;
        known += 8;
    }
    Some((octets.into(), known))
}

/// A range `a-b` in one of the dotted numbers: a key for each number. `dash` is where the dash is.
fn range(address: &[u8], dash: usize) -> Option<Vec<Vec<u8>>> {
    let (left, right) = (address.get(..dash)?, address.get(dash + 1..)?);
    let start = left.iter().rposition(|&b| b == b'.').map_or(0, |at| at + 1);
    let end = right.iter().position(|&b| b == b'.').unwrap_or(right.len());
    let (before, bottom) = left.split_at_checked(start)?;
    let (top, after) = right.split_at_checked(end)?;
    let (bottom, top) = (number(bottom)?, number(top)?.min(255));
    Some((bottom..=top).map(|n| [before, n.to_string().as_bytes(), after].concat()).collect())
}

/// A decimal number, digits only; no digits are 0, as ever. What is too large for the machine is its largest number.
fn number(text: &[u8]) -> Option<usize> {
    text.iter()
        .try_fold(0usize, |n, b| b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(usize::from(b - b'0'))))
}
