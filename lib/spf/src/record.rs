//! The text of a policy (RFC 7208 4.5, 4.6, 12): from bytes to mechanisms and modifiers.

use crate::Outcome;
use crate::macros::{Piece, Place, parse, parse_domain};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The mechanisms in their order.
    pub directives: Vec<Directive>,
    /// Whose policy holds if no mechanism matches.
    pub redirect: Option<Vec<Piece>>,
    /// Where the explanation of a failure stands.
    pub explanation: Option<Vec<Piece>>,
}

/// A mechanism and the result if it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The result.
    pub outcome: Outcome,
    /// The mechanism.
    pub mechanism: Mechanism,
    /// It is a rule of the site, not of the domain.
    pub local: bool,
}

/// The domain a mechanism is about; `None`: the one whose policy it is.
pub type Target = Option<Vec<Piece>>;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Everybody.
    All,
    /// Who passes another policy.
    Include(Vec<Piece>),
    /// The addresses of a name, or networks around them.
    A(Target, Widths),
    /// The addresses of mail exchangers, or networks around them.
    Mx(Target, Widths),
    /// Whose address has a name in a domain.
    Ptr(Target),
    /// A network.
    Ip4(Ipv4Addr, u8),
    /// A network.
    Ip6(Ipv6Addr, u8),
    /// Everybody, if a name has an address.
    Exists(Vec<Piece>),
}

impl Mechanism {
    /// Its name in a policy.
    pub fn name(&self) -> &'static str {
        match self {
            Mechanism::All => "all",
            Mechanism::Include(_) => "include",
            Mechanism::A(..) => "a",
            Mechanism::Mx(..) => "mx",
            Mechanism::Ptr(_) => "ptr",
            Mechanism::Ip4(..) => "ip4",
            Mechanism::Ip6(..) => "ip6",
            Mechanism::Exists(_) => "exists",
        }
    }
}

/// Lengths of the network parts of addresses, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of IPv4 addresses.
    pub v4: u8,
    /// Of IPv6 addresses.
    pub v6: u8,
}

/// Why a text is no policy: the term, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of the mechanism or modifier.
    pub term: Vec<u8>,
    /// A few words.
    pub problem: &'static str,
}

const SYNTAX: &str = "syntax error";
const UNKNOWN: &str = "unknown mechanism";
const TWICE: &str = "modifier occurs twice";

/// Whether a text of a domain is meant as a policy of this version.
pub fn is_policy(text: &[u8]) -> bool {
    let (version, rest) = text.split_at_checked(6).unwrap_or((text, b""));
    version.eq_ignore_ascii_case(b"v=spf1") && rest.first().is_none_or(|&b| b == b' ')
}

/// Parses a policy, of which [`is_policy`] holds. An error anywhere makes the whole invalid (RFC 7208 4.6).
pub fn parse_record(text: &[u8]) -> Result<Record, Fault> {
    parse_terms(text.get(6..).unwrap_or_default())
}

/// Parses what stands after the version.
pub fn parse_terms(text: &[u8]) -> Result<Record, Fault> {
    let mut record = Record::default();
    for term in text.split(|&b| b == b' ').filter(|t| !t.is_empty()) {
        let name = term.get(..name_len(term)).unwrap_or_default();
        let fault = |problem| Fault { term: name.to_vec(), problem };
        match term.get(name.len()..).and_then(|rest| rest.strip_prefix(b"=")) {
            Some(value) if name.first().is_some_and(u8::is_ascii_alphabetic) => {
                if name.eq_ignore_ascii_case(b"redirect") || name.eq_ignore_ascii_case(b"exp") {
                    let pieces = parse_domain(value).ok_or_else(|| fault(SYNTAX))?;
                    let place = if name.len() == 3 { &mut record.explanation } else { &mut record.redirect };
                    if place.replace(pieces).is_some() {
                        return Err(fault(TWICE));
                    }
                } else if parse(value, Place::Explanation).is_none() {
                    return Err(fault(SYNTAX));
                }
            }
            _ => record.directives.push(directive(term)?),
        }
    }
    Ok(record)
}

/// How many bytes at the start can belong to the name of a term.
fn name_len(term: &[u8]) -> usize {
    term.iter().take_while(|&&b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)).count()
}

fn directive(term: &[u8]) -> Result<Directive, Fault> {
    let (outcome, text) = match term.split_first() {
        Some((b'+', rest)) => (Outcome::Pass, rest),
        Some((b'-', rest)) => (Outcome::Fail, rest),
        Some((b'~', rest)) => (Outcome::SoftFail, rest),
        Some((b'?', rest)) => (Outcome::Neutral, rest),
        _ => (Outcome::Pass, term),
    };
    let (name, rest) = text.split_at(text.iter().position(|b| b":/".contains(b)).unwrap_or(text.len()));
    let name = name.to_ascii_lowercase();
    let fault = |problem| Fault { term: name.clone(), problem };
    let after_colon = rest.strip_prefix(b":");
    let mechanism = match name.as_slice() {
        b"all" => rest.is_empty().then_some(Mechanism::All),
        b"include" => after_colon.and_then(parse_domain).map(Mechanism::Include),
        b"exists" => after_colon.and_then(parse_domain).map(Mechanism::Exists),
        b"a" => target_and_widths(rest).map(|(target, widths)| Mechanism::A(target, widths)),
        b"mx" => target_and_widths(rest).map(|(target, widths)| Mechanism::Mx(target, widths)),
        b"ptr" => target(rest).map(Mechanism::Ptr),
        b"ip4" => after_colon.and_then(|net| network(net, 32)).map(|(ip, width)| Mechanism::Ip4(ip, width)),
        b"ip6" => after_colon.and_then(|net| network(net, 128)).map(|(ip, width)| Mechanism::Ip6(ip, width)),
        _ => return Err(fault(UNKNOWN)),
    };
    let mechanism = mechanism.ok_or_else(|| fault(SYNTAX))?;
    Ok(Directive { outcome, mechanism, local: false })
}

/// Nothing, or a colon and a domain.
fn target(text: &[u8]) -> Option<Target> {
    match text.split_first() {
        None => Some(None),
        Some((b':', domain)) => Some(Some(parse_domain(domain)?)),
        Some(_) => None,
    }
}

/// A target with `/` and an IPv4 width, `//` and an IPv6 width, or both after it. A domain may have slashes in it, so
/// the widths are looked for at the end.
fn target_and_widths(text: &[u8]) -> Option<(Target, Widths)> {
    let (mut rest, mut widths) = (text, Widths { v4: 32, v6: 128 });
    if let Some((before, digits)) = split_number(rest)
        && let Some(before) = before.strip_suffix(b"//")
    {
        widths.v6 = width(digits, 128)?;
        rest = before;
    }
    if let Some((before, digits)) = split_number(rest)
        && let Some(before) = before.strip_suffix(b"/")
    {
        widths.v4 = width(digits, 32)?;
        rest = before;
    }
    Some((target(rest)?, widths))
}

/// What stands before the digits at the end, and these.
fn split_number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    (digits > 0).then(|| text.split_at(text.len() - digits))
}

/// A number of bits without leading zeros.
fn width(digits: &[u8], max: u8) -> Option<u8> {
    let canonical = digits == b"0" || !digits.starts_with(b"0");
    let number: u8 =
        std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    (canonical && number <= max).then_some(number)
}

fn network<A: std::str::FromStr>(text: &[u8], max: u8) -> Option<(A, u8)> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, bits) = match text.split_once('/') {
        Some((address, digits)) => (address, width(digits.as_bytes(), max)?),
        None => (text, max),
    };
    Some((address.parse().ok()?, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(term: &str) -> Option<Mechanism> {
        let record = parse_terms(term.as_bytes()).ok()?;
        let [only] = record.directives.as_slice() else { return None };
        Some(only.mechanism.clone())
    }

    #[test]
    fn versions() {
        for (text, good) in [
            ("v=spf1", true),
            ("V=SPF1 -all", true),
            ("v=spf1 ", true),
            ("v=spf10", false),
            ("v=spf1\t-all", false),
            ("v=spf", false),
            ("", false),
            (" v=spf1", false),
        ] {
            assert_eq!(is_policy(text.as_bytes()), good, "{text:?}");
        }
    }

    #[test]
    fn terms_that_are_right() {
        for text in [
            "",
            "  ",
            "all",
            "-all",
            "~ALL",
            "?all +all",
            "a",
            "A/24",
            "a//64",
            "a/0//0",
            "a:b.test/24//64",
            "a:foo:bar/baz.test",
            "mx",
            "mx:%{d}/32",
            "ptr",
            "ptr:b.test",
            "ip4:1.2.3.4",
            "ip4:1.2.3.4/0",
            "ip6:::1",
            "ip6:::1.1.1.1/0",
            "exists:%{ir}.b.test",
            "include:b.test",
            "redirect=b.test",
            "exp=%{d2}",
            "x=",
            "x.y-z_1=a:b/c",
            "redirect=a.test exp=b.test all",
            "x=%{c}",
        ] {
            assert!(parse_terms(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn terms_that_are_wrong() {
        for text in [
            "all.",
            "all:x",
            "all/8",
            "a:",
            "a/33",
            "a//129",
            "a/024",
            "a/24/64",
            "a/",
            "a//",
            "a:b.test/",
            "mx:b",
            "mx/x",
            "ptr/0",
            "ptr:",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/032",
            "ip4:1.2.3.4//32",
            "ip4:1.2.3.4/+8",
            "ip4:1.2.3.4:8080",
            "ip6::1::",
            "ip6:::1/129",
            "exists",
            "exists:",
            "exists:b.test/24",
            "include",
            "include:",
            "include:b.test/24",
            "redirect=",
            "redirect:b.test",
            "exp=",
            "exp=-all",
            "exp=a.b exp=a.b",
            "redirect=a.b redirect=a.b",
            "1up=x",
            "=all",
            "x/y=z",
            "x:y=z",
            "x=%abc",
            "moo",
            "--all",
            "\u{e9}=x",
            "a\u{1}",
            "a:b\0.test",
            "a\tmx",
            "ip4:1.2.3.4\n",
        ] {
            assert!(parse_terms(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn widths_and_targets_are_told_apart() {
        let (v4, v6) = (32, 128);
        assert_eq!(one("a"), Some(Mechanism::A(None, Widths { v4, v6 })));
        assert_eq!(one("mx/24"), Some(Mechanism::Mx(None, Widths { v4: 24, v6 })));
        assert_eq!(one("a//64"), Some(Mechanism::A(None, Widths { v4, v6: 64 })));
        assert_eq!(one("a/8//9"), Some(Mechanism::A(None, Widths { v4: 8, v6: 9 })));
        let name = |text: &str| Some(vec![Piece::Literal(text.as_bytes().to_vec())]);
        assert_eq!(one("a:x.y/8"), Some(Mechanism::A(name("x.y"), Widths { v4: 8, v6 })));
        assert_eq!(one("a:x/8.y"), Some(Mechanism::A(name("x/8.y"), Widths { v4, v6 })));
        assert_eq!(one("ip4:10.0.0.0/8"), Some(Mechanism::Ip4(Ipv4Addr::new(10, 0, 0, 0), 8)));
    }

    proptest::proptest! {
        #[test]
        fn d2_no_text_makes_the_parser_stumble(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_record(&text);
        }

        #[test]
        fn d2_nor_does_one_of_its_own_alphabet(text in "[aimnpx0-9:/=%{}. +~?-]{0,60}") {
            let _ = parse_record(format!("v=spf1 {text}").as_bytes());
        }
    }
}
