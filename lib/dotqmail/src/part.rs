//! Parts of addresses, as commands find them in their environment (qmail-command(8)).

/// EXT, EXT2, EXT3 and EXT4: the extension, and what follows its first, second and third hyphen.
pub fn extensions(ext: &[u8]) -> [&[u8]; 4] {
    let after = |text: &'_ [u8]| -> usize { text.iter().position(|&b| b == b'-').map_or(text.len(), |at| at + 1) };
    let mut parts = [ext; 4];
    let mut rest = ext;
    for part in parts.iter_mut().skip(1) {
        rest = rest.get(after(rest)..).unwrap_or_default();
        *part = rest;
    }
    parts
}

/// HOST, HOST2, HOST3 and HOST4: the domain, and what precedes its last, second to last and third to last dot. Without
/// a dot it is all of it.
pub fn hosts(host: &[u8]) -> [&[u8]; 4] {
    let mut parts = [host; 4];
    let mut rest = host;
    for part in parts.iter_mut().skip(1) {
        let end = rest.iter().rposition(|&b| b == b'.').unwrap_or(rest.len());
        rest = rest.get(..end).unwrap_or_default();
        *part = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_extensions_and_hosts() {
        assert_eq!(extensions(b""), [b"", b"", b"", b""]);
        assert_eq!(extensions(b"a"), [&b"a"[..], b"", b"", b""]);
        assert_eq!(extensions(b"A-b.c-D-e-f"), [&b"A-b.c-D-e-f"[..], b"b.c-D-e-f", b"D-e-f", b"e-f"]);
        assert_eq!(extensions(b"--"), [&b"--"[..], b"-", b"", b""]);
        assert_eq!(hosts(b""), [b"", b"", b"", b""]);
        assert_eq!(hosts(b"mail"), [b"mail", b"mail", b"mail", b"mail"]);
        assert_eq!(hosts(b"a.b.c.d.e"), [&b"a.b.c.d.e"[..], b"a.b.c.d", b"a.b.c", b"a.b"]);
        assert_eq!(hosts(b".x"), [&b".x"[..], b"", b"", b""]);
    }
}
