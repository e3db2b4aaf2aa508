//! The trace field that a server puts on top of a message.

/// What a Received field tells about the way a message came.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The client's name as the DNS has it, or `unknown`.
    pub remote_host: &'a [u8],
    /// The name the client gave itself, if that is another one.
    pub helo: Option<&'a [u8]>,
    /// Who the client's host or a password check says the client is.
    pub remote_info: Option<&'a [u8]>,
    /// The client's address, or `unknown`.
    pub remote_ip: &'a [u8],
    /// This host's name for the connection.
    pub local: &'a [u8],
    /// The protocol, a word of RFC 5321 4.4 or RFC 3848.
    pub protocol: &'a [u8],
}

impl Trace<'_> {
    /// The field, on two lines, with the time `now` (seconds since 1970).
    ///
    /// Whatever came from outside is masked: bytes that could mean something in a header become `?`, and none can
    /// begin another line.
    pub fn field(&self, now: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"Received: from ");
        mask(&mut out, self.remote_host);
        if let Some(helo) = self.helo {
            out.extend_from_slice(b" (HELO ");
            mask(&mut out, helo);
            out.push(b')');
        }
        out.extend_from_slice(b" (");
        if let Some(info) = self.remote_info {
            mask(&mut out, info);
            out.push(b'@');
        }
        mask(&mut out, self.remote_ip);
        out.extend_from_slice(b")\n  by ");
        mask(&mut out, self.local);
        out.extend_from_slice(b" with ");
        out.extend_from_slice(self.protocol);
        out.extend_from_slice(b"; ");
        out.extend_from_slice(&mess822::date::rfc822(now));
        out.push(b'\n');
        out
    }
}

fn mask(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|&b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => b,
        b'.' | b'@' | b'%' | b'+' | b'/' | b'=' | b':' | b'-' | b'[' | b']' => b,
        _ => b'?',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Trace<'_> = Trace {
        remote_host: b"client.example.net",
        helo: None,
        remote_info: None,
        remote_ip: b"192.0.2.1",
        local: b"mx.example.org",
        protocol: b"SMTP",
    };

    #[test]
    fn a_trace_field_has_two_lines() {
        let field = PLAIN.field(811_399_614);
        let expected = b"Received: from client.example.net (192.0.2.1)\n  by mx.example.org with SMTP; \
            18 Sep 1995 04:46:54 -0000\n";
        assert_eq!(field.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn s20_bytes_from_outside_are_masked_in_the_trace_field() {
        let t = Trace { helo: Some(b"a\r\nX: y(\x80\x1b)[1]"), remote_info: Some(b"joe <x>"), ..PLAIN };
        let field = t.field(0);
        let expected = b"Received: from client.example.net (HELO a??X:?y????[1]) (joe??x?@192.0.2.1)\n  by ";
        assert!(field.starts_with(expected), "{}", field.escape_ascii());
        assert_eq!(field.iter().filter(|&&b| b == b'\n').count(), 2);
    }
}
