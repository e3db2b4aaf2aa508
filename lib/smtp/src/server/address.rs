//! The argument of MAIL and RCPT: an address and parameters.

use super::command::skip_blanks;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest address taken, after parsing, in bytes; one less than 900 as the classic counts a closing NUL.
pub const ADDRESS_MAX: usize = 899;

/// Takes the argument of MAIL or RCPT apart into the address, with quotes, backslashes and a source route removed, and
/// what follows it.
///
/// The address stands in angle brackets; without any it begins behind the first colon and ends at a blank, as some
/// clients have always sent it. A bracket that is never closed ends with the line. Nothing here can fail: what is no
/// address just becomes a strange one, which the rules about domains then judge by what follows its last `@`.
pub fn parse(argument: &[u8]) -> (Vec<u8>, &[u8]) {
    let (text, terminator) = match argument.iter().position(|&b| b == b'<') {
        Some(at) => (argument.get(at + 1..).unwrap_or_default(), b'>'),
        None => (skip_blanks(after_colon(argument)), b' '),
    };
    // A source route goes up to its colon, and with it all of an address that has none (RFC 5321 C).
    let text = if text.first() == Some(&b'@') { after_colon(text) } else { text };

    let mut address = Vec::with_capacity(text.len().min(ADDRESS_MAX + 1));
    let (mut escaped, mut quoted) = (false, false);
    for (at, &b) in text.iter().enumerate() {
        if escaped {
            address.push(b);
            escaped = false;
        } else if b == terminator && !quoted {
            return (address, text.get(at + 1..).unwrap_or_default());
        } else if b == b'\\' {
            escaped = true;
        } else if b == b'"' {
            quoted = !quoted;
        } else {
            address.push(b);
        }
    }
    (address, b"")
}

fn after_colon(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|&b| b == b':').map_or(text.len(), |at| at + 1);
    text.get(at..).unwrap_or_default()
}

/// The domain: what follows the last `@`.
pub fn domain(address: &[u8]) -> Option<&[u8]> {
    let at = address.iter().rposition(|&b| b == b'@')?;
    address.get(at + 1..)
}

/// The address literal in place of a domain: `[192.0.2.1]`, `[IPv6:2001:db8::1]` or just `[2001:db8::1]`.
pub fn literal(domain: &[u8]) -> Option<IpAddr> {
    let inner = domain.strip_prefix(b"[")?.strip_suffix(b"]")?;
    if let Some(v4) = dotted(inner) {
        return Some(IpAddr::V4(v4));
    }
    let tag = inner.get(..5).is_some_and(|t| t.eq_ignore_ascii_case(b"IPv6:"));
    let inner = if tag { inner.get(5..).unwrap_or_default() } else { inner };
    std::str::from_utf8(inner).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Four decimal numbers of one to three digits; leading zeros mean nothing (RFC 5321 4.1.3).
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let mut numbers = [0u8; 4];
    let mut parts = text.split(|&b| b == b'.');
    for number in &mut numbers {
        let digits = parts.next()?;
        if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
        *number = u8::try_from(value).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(numbers))
}

/// What a MAIL command says about the size of the message (RFC 1870).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Nothing.
    Unknown,
    /// So many bytes.
    Bytes(u64),
    /// More than can be counted.
    Huge,
    /// `SIZE=` without a proper number.
    Malformed,
}

/// What a MAIL command says besides the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// SIZE (RFC 1870).
    pub size: Size,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// AUTH (RFC 4954 5), decoded; `unknown` for `<>`.
    pub user: Option<Vec<u8>>,
}

/// Takes the words behind an address apart; those that mean nothing here are ignored.
pub fn parameters(text: &[u8]) -> Parameters {
    let words = || text.split(|&b| b == b' ');
    let value = |name: &[u8]| {
        words().find_map(|word| {
            let (start, value) = word.split_at_checked(name.len())?;
            start.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    let user = value(b"AUTH=").map(|value| if value == b"<>" { b"unknown".to_vec() } else { unescape(value) });
    Parameters {
        size: value(b"SIZE=").map_or(Size::Unknown, size),
        utf8: words().any(|word| word.eq_ignore_ascii_case(b"SMTPUTF8")),
        user: user.filter(|user| !user.is_empty()),
    }
}

fn size(value: &[u8]) -> Size {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Size::Malformed;
    }
    let total = value.iter().try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')));
    total.map_or(Size::Huge, Size::Bytes)
}

/// Decodes xtext (RFC 3461 4): `+` and two hexadecimal digits stand for a byte. What is none stays as it is; so does a
/// NUL, which no user name has.
fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let code = match (first, after) {
            (b'+', [high, low, ..]) => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(code.filter(|&b| b != 0).unwrap_or(first));
        if code.is_some_and(|b| b != 0) {
            rest = rest.get(2..).unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(argument: &[u8]) -> String {
        parse(argument).0.escape_ascii().to_string()
    }

    #[test]
    fn s18_addresses_lose_quotes_and_source_routes() {
        let rows: [(&[u8], &str); 24] = [
            (b"FROM:<a@b>", "a@b"),
            (b"FROM: <a@b> SIZE=1", "a@b"),
            (b"<a@b>", "a@b"),
            (b"FROM:<>", ""),
            (b"FROM:<@x,@y:a@b>", "a@b"),
            (b"TO:<@a:x@h>", "x@h"),
            (b"FROM:<@b>", ""),
            (b"FROM:<\"a b\"@c>", "a b@c"),
            (b"FROM:<\"a@b\"@c>", "a@b@c"),
            (b"TO:<\"x@h\"@local>", "x@h@local"),
            (b"TO:<x%h@local>", "x%h@local"),
            (b"TO:<x!y>", "x!y"),
            (b"FROM:<\"a>b\"@c>", "a>b@c"),
            (b"FROM:<a\\>b@c>", "a>b@c"),
            (b"FROM:<\"a\\\"b\"@c>", "a\\\"b@c"),
            (b"FROM:<a@b", "a@b"),
            (b"FROM:<a@b\\", "a@b"),
            (b"FROM:a@b", "a@b"),
            (b"FROM: a@b SIZE=1", "a@b"),
            (b"FROM", ""),
            (b"", ""),
            (b"FROM:<a b@c>", "a b@c"),
            (b"FROM:<a<b@c>", "a<b@c"),
            (b"FROM:<a@b>>", "a@b"),
        ];
        for (argument, expected) in rows {
            assert_eq!(address(argument), expected, "{}", argument.escape_ascii());
        }
    }

    #[test]
    fn what_follows_the_address_is_kept_for_parameters() {
        assert_eq!(parse(b"FROM:<a@b> SIZE=1").1, b" SIZE=1");
        assert_eq!(parse(b"FROM:a@b SIZE=1").1, b"SIZE=1");
        assert_eq!(parse(b"FROM:<\"x> SIZE=2\"@b>").1, b"");
    }

    #[test]
    fn literals_are_read_strictly() {
        let rows: [(&[u8], Option<&str>); 14] = [
            (b"[127.0.0.1]", Some("127.0.0.1")),
            (b"[127.0.0.001]", Some("127.0.0.1")),
            (b"[127.0.0.256]", None),
            (b"[127.0.0]", None),
            (b"[127.0.0.1.1]", None),
            (b"[127.0.0.1] ", None),
            (b"[1270.0.0.1]", None),
            (b"127.0.0.1", None),
            (b"[::1]", Some("::1")),
            (b"[IPv6:::1]", Some("::1")),
            (b"[ipv6:2001:db8::25]", Some("2001:db8::25")),
            (b"[IPv6:]", None),
            (b"[]", None),
            (b"[", None),
        ];
        for (domain, expected) in rows {
            assert_eq!(literal(domain).map(|ip| ip.to_string()).as_deref(), expected, "{}", domain.escape_ascii());
        }
    }

    #[test]
    fn s15_declared_sizes() {
        let rows: [(&[u8], Size); 11] = [
            (b"", Size::Unknown),
            (b" BODY=8BITMIME", Size::Unknown),
            (b" SIZE=0", Size::Bytes(0)),
            (b" BODY=7BIT size=12", Size::Bytes(12)),
            (b" SIZE=18446744073709551615", Size::Bytes(u64::MAX)),
            (b" SIZE=18446744073709551616", Size::Huge),
            (b" SIZE=99999999999999999999999", Size::Huge),
            (b" SIZE=-1", Size::Malformed),
            (b" SIZE=", Size::Malformed),
            (b" SIZE=1x", Size::Malformed),
            (b" SIZE", Size::Unknown),
        ];
        for (parameters, expected) in rows {
            assert_eq!(super::parameters(parameters).size, expected, "{}", parameters.escape_ascii());
        }
    }

    #[test]
    fn users_and_utf8_are_declared_in_xtext_and_by_name() {
        let rows: [(&str, bool, Option<&str>); 10] = [
            (" SMTPUTF8", true, None),
            (" smtputf8 SIZE=3", true, None),
            (" SMTPUTF8X", false, None),
            (" AUTH=<>", false, Some("unknown")),
            (" auth=joe@x.test", false, Some("joe@x.test")),
            (" AUTH=a+3Db+2Bc+2bd", false, Some("a=b+c+d")),
            (" AUTH=a+00b+zz+4", false, Some("a+00b+zz+4")),
            (" AUTH=e+3Dmc2@example.com BODY=8BITMIME", false, Some("e=mc2@example.com")),
            (" AUTH=", false, None),
            ("", false, None),
        ];
        for (text, utf8, user) in rows {
            let p = parameters(text.as_bytes());
            assert_eq!((p.utf8, p.user.map(|u| String::from_utf8(u).unwrap()).as_deref()), (utf8, user), "{text}");
        }
    }
}
