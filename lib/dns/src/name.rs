//! Host names as bytes, and as the engine has them.

use hickory_resolver::proto::rr::Name;
use std::net::IpAddr;

/// The longest label (RFC 1035 2.3.4), in bytes.
const LABEL_MAX: usize = 63;

/// The fully qualified name; a final dot changes nothing. `None` for what can be no name: empty, an empty label, a
/// label or the whole too long.
pub fn parse(name: &[u8]) -> Option<Name> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let labels: Vec<&[u8]> = name.split(|&b| b == b'.').collect();
    if labels.iter().any(|l| l.is_empty() || l.len() > LABEL_MAX) {
        return None;
    }
    Name::from_labels(labels).ok()
}

/// The form of a name that stands in the DNS, if some label is not ASCII (IDNA); `None` if it has none, since it is no
/// UTF-8 or holds what no name may.
pub fn to_ascii(name: &[u8]) -> Option<Vec<u8>> {
    if name.is_ascii() {
        return Some(name.to_vec());
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let found = to_bytes(&Name::from_utf8(str::from_utf8(name).ok()?).ok()?);
    found.iter().all(|&b| b.is_ascii_graphic() && b != b'\\').then_some(found)
}

/// The labels joined by dots, without a final one. What is not a visible ASCII character, and a dot or backslash
/// inside a label, is escaped (RFC 1035 5.1), so that two names never look the same.
pub fn to_bytes(name: &Name) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for label in name.iter() {
        if !out.is_empty() {
            out.push(b'.');
        }
        for &b in label {
            match b {
                b'.' | b'\\' => out.extend_from_slice(&[b'\\', b]),
                b'!'..=b'~' => out.push(b),
                _ => out.extend_from_slice(&[b'\\', b'0' + b / 100, b'0' + b / 10 % 10, b'0' + b % 10]),
            }
        }
    }
    out
}

/// The name under which the names of an address are found (RFC 1035 3.5, RFC 3596 2.5).
pub fn of_address(address: IpAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(73);
    match address {
        IpAddr::V4(a) => {
            for octet in a.octets().iter().rev() {
                out.extend_from_slice(octet.to_string().as_bytes());
                out.push(b'.');
            }
            out.extend_from_slice(b"in-addr.arpa");
        }
        IpAddr::V6(a) => {
            for octet in a.octets().iter().rev() {
                for nibble in [octet & 15, octet >> 4] {
                    out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
                    out.push(b'.');
                }
            }
            out.extend_from_slice(b"ip6.arpa");
        }
    }
    out
}

/// Applies a search list as resolv.conf(5) says: a name with fewer than `ndots` dots is tried as it is last, any
/// other first; a final dot switches the search off.
pub fn candidates(name: &[u8], search: &[Vec<u8>], ndots: usize) -> Vec<Vec<u8>> {
    if let Some(full) = name.strip_suffix(b".") {
        return vec![full.to_vec()];
    }
    let mut list: Vec<Vec<u8>> =
        search.iter().filter(|s| !s.is_empty()).map(|s| [name, b".", s.as_slice()].concat()).collect();
    let dots = name.iter().filter(|&&b| b == b'.').count();
    list.insert(if dots < ndots { list.len() } else { 0 }, name.to_vec());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_ascii() {
        for (name, want) in [
            ("a.test", Some("a.test")),
            ("b\u{fc}cher.test", Some("xn--bcher-kva.test")),
            ("B\u{fc}cher.Test.", Some("xn--bcher-kva.test")),
            ("bu\u{308}cher.test", Some("xn--bcher-kva.test")),
            ("\u{4f8b}\u{3048}.test", Some("xn--r8jz45g.test")),
            ("\u{fc}..test", None),
            ("\u{fc}\u{2003}.test", None),
        ] {
            assert_eq!(to_ascii(name.as_bytes()), want.map(|w| w.as_bytes().to_vec()), "{name}");
        }
        assert_eq!(to_ascii(b"\xe9.test"), None);
    }

    #[test]
    fn what_can_be_no_name_is_none() {
        let long = [b'a'; 64];
        let row: &[(&[u8], bool)] = &[
            (b"", false),
            (b".", false),
            (b"a", true),
            (b"a.", true),
            (b"a..b", false),
            (b".a", false),
            (b"a..", false),
            (&long, false),
            (&long[1..], true),
            (b"_25._tcp.mx.test", true),
            (b"\xff\x00.test", true),
        ];
        for (name, good) in row {
            assert_eq!(parse(name).is_some(), *good, "{name:?}");
        }
        let whole = [&long[1..], b"."].concat().repeat(4);
        assert!(parse(&whole).is_none(), "256 bytes on the wire");
        assert!(parse(&whole[..252]).is_some());
    }

    #[test]
    fn names_come_back_unambiguous() {
        for (labels, text) in [
            (vec![&b"a"[..], b"test"], &b"a.test"[..]),
            (vec![b"a.b", b"c\\"], b"a\\.b.c\\\\"),
            (vec![b"\x00 \xff"], b"\\000\\032\\255"),
            (vec![], b""),
        ] {
            assert_eq!(to_bytes(&Name::from_labels(labels).unwrap()), text);
        }
    }

    #[test]
    fn addresses_are_reversed() {
        assert_eq!(of_address("192.0.2.1".parse().unwrap()), b"1.2.0.192.in-addr.arpa");
        let v6 = of_address("2001:db8::1a".parse().unwrap());
        let text = "a.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(v6, text.as_bytes());
    }

    #[test]
    fn the_search_list_obeys_ndots_and_the_final_dot() {
        let search = [b"one.test".to_vec(), b"two.test".to_vec()];
        let names = |n: &[u8], ndots| candidates(n, &search, ndots);
        assert_eq!(names(b"h", 1), [&b"h.one.test"[..], b"h.two.test", b"h"]);
        assert_eq!(names(b"h.x", 1), [&b"h.x"[..], b"h.x.one.test", b"h.x.two.test"]);
        assert_eq!(names(b"h.x", 2), [&b"h.x.one.test"[..], b"h.x.two.test", b"h.x"]);
        assert_eq!(names(b"h.", 1), [b"h"]);
        assert_eq!(candidates(b"h", &[], 1), [b"h"]);
    }
}
