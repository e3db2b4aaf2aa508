//! Addresses written so that they can stand in SMTP commands and in header fields.
//!
//! Inside the system an address is plain bytes: the local part as it is meant, `@`, the domain; the last `@` is the
//! separator (addresses(5)). On the wire a local part with unusual bytes stands in double quotes. One form serves RFC
//! 821 and RFC 822, whose rules differ; as little as possible is quoted.

use std::borrow::Cow;

/// Whether `local` can not stand bare: it is empty, has a byte that is no atom byte in RFC 821 or 822 (or a blank, a
/// control byte, anything above 126), or a dot at an end or beside another dot.
pub fn is_needed(local: &[u8]) -> bool {
    let misplaced_dot = |pair: &[u8]| pair == b"..";
    local.is_empty()
        || !local.iter().all(|&b| can_stand_bare(b))
        || local.starts_with(b".")
        || local.ends_with(b".")
        || local.windows(2).any(misplaced_dot)
}

fn can_stand_bare(b: u8) -> bool {
    b.is_ascii_graphic()
        && !matches!(b, b'"' | b'(' | b')' | b',' | b':' | b';' | b'<' | b'>' | b'@' | b'[' | b'\\' | b']')
}

/// The local part, in double quotes if it needs them. CR, LF, `"` and `\` then get a backslash in front.
pub fn local_part(local: &[u8]) -> Cow<'_, [u8]> {
    if !is_needed(local) {
        return Cow::Borrowed(local);
    }
    let mut out = Vec::with_capacity(local.len() + 8);
    out.push(b'"');
    for &b in local {
        if matches!(b, b'\r' | b'\n' | b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
    Cow::Owned(out)
}

/// A whole address with its local part quoted if that is needed. The domain is what follows the last `@` and is left
/// as it is; without an `@` all is local part. The empty address (null sender) stays empty.
pub fn address(address: &[u8]) -> Cow<'_, [u8]> {
    if address.is_empty() {
        return Cow::Borrowed(address);
    }
    let at = address.iter().rposition(|&b| b == b'@').unwrap_or(address.len());
    let (local, domain) = address.split_at(at);
    match local_part(local) {
        Cow::Borrowed(_) => Cow::Borrowed(address),
        Cow::Owned(mut quoted) => {
            quoted.extend_from_slice(domain);
            Cow::Owned(quoted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_are_quoted_only_if_needed() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b"\"\""),
            (b"joe", b"joe"),
            (b"joe.user", b"joe.user"),
            (b"Joe-User+x=y/z_{|}~!#$%&'*?^`", b"Joe-User+x=y/z_{|}~!#$%&'*?^`"),
            (b"a b", b"\"a b\""),
            (b".a", b"\".a\""),
            (b"a.", b"\"a.\""),
            (b"a..b", b"\"a..b\""),
            (b"a\"b\\c", b"\"a\\\"b\\\\c\""),
            (b"a\nb\rc", b"\"a\\\nb\\\rc\""),
            (b"a@b", b"\"a@b\""),
            (b"a(b)", b"\"a(b)\""),
            (b"\x7f", b"\"\x7f\""),
            (b"\0", b"\"\0\""),
            (b"j\xf6rg", b"\"j\xf6rg\""),
        ];
        for &(plain, quoted) in rows {
            assert_eq!(local_part(plain).as_ref(), quoted);
        }
    }

    #[test]
    fn domains_and_the_null_sender_are_left_alone() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"joe@a.test", b"joe@a.test"),
            (b"joe", b"joe"),
            (b"a b", b"\"a b\""),
            (b"@a.test", b"\"\"@a.test"),
            (b"a b@c d", b"\"a b\"@c d"),
            (b"a@b@c", b"\"a@b\"@c"),
            (b"#@[]", b"#@[]"),
            (b"joe@", b"joe@"),
        ];
        for &(plain, quoted) in rows {
            assert_eq!(address(plain).as_ref(), quoted);
        }
    }
}
