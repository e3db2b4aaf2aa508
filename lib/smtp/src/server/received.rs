//! The fields that a server puts on top of a message: Received, Received-SPF, X-RBL-Info.

use super::host::{Spf, SpfResult};

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
    /// What is known of the connection, if it is encrypted.
    pub tls: Option<&'a [u8]>,
    /// This host's name for the connection.
    pub local: &'a [u8],
    /// The protocol, a word of RFC 5321 4.4 or RFC 3848.
    pub protocol: &'a [u8],
}

impl Trace<'_> {
    /// The field, on two lines, with TLS on three, with the time `now` (seconds since 1970).
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
        out.push(b')');
        if let Some(tls) = self.tls {
            out.extend_from_slice(b"\n  de/crypted with ");
            out.extend(tls.iter().filter(|b| !b"\r\n".contains(b)).map(|&b| match b {
                b' ' | b'(' | b')' | b'_' | b',' | b'*' => b,
                b => safe(b),
            }));
        }
        out.extend_from_slice(b"\n  by ");
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
    out.extend(text.iter().map(|&b| safe(b)));
}

fn safe(b: u8) -> u8 {
    match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => b,
        b'.' | b'@' | b'%' | b'+' | b'/' | b'=' | b':' | b'-' | b'[' | b']' => b,
        _ => b'?',
    }
}

/// The field with what rblsmtpd has found: what stands behind the first `]` and a blank.
pub(super) fn rbl(text: &[u8]) -> Vec<u8> {
    let start = text.iter().position(|&b| b == b']').map_or(0, |at| at + 2);
    let mut out = b"X-RBL-Info: ".to_vec();
    out.extend(text.get(start..).unwrap_or_default().iter().map(|&b| if b == b' ' { b } else { safe(b) }));
    out.push(b'\n');
    out
}

/// The field that says what SPF came to (RFC 7208 9.1, in the words of s/qmail).
pub(super) fn spf(spf: &Spf, helo: &[u8], client: &[u8], receiver: &[u8], sender: &[u8]) -> Vec<u8> {
    let masked = |text: &[u8]| {
        let mut out = Vec::with_capacity(text.len());
        mask(&mut out, text);
        out
    };
    let (helo, client, domain) = (masked(helo), masked(client), masked(&spf.domain));
    let or_unknown = |text: &[u8]| masked(if text.is_empty() { b"unknown" } else { text });
    let mut out = b"Received-SPF: ".to_vec();
    let mut add = |pieces: &[&[u8]]| out.extend_from_slice(&pieces.concat());
    match spf.result {
        SpfResult::Pass => {
            add(&[b"pass (", &helo, b": domain of ", &domain, b"\n  designates ", &client]);
            add(&[b" as permitted sender)\n  receiver=", &masked(receiver), b"; client-ip=", &client]);
            add(&[b"\n  envelope-from=<", &masked(sender), b">\n"]);
        }
        SpfResult::Fail => {
            add(&[b"fail (", &helo, b": domain of ", &domain, b"\n  does not designate ", &client]);
            add(&[b" as permitted sender)\n"]);
        }
        SpfResult::SoftFail => {
            add(&[b"softfail (", &helo, b": domain of transitioning ", &domain, b"\n  does not designate ", &client]);
            add(&[b" as permitted sender)\n"]);
        }
        SpfResult::Neutral => {
            add(&[b"neutral (", &helo, b"; client-ip=", &client, b" is neither permitted\n"]);
            add(&[b"  nor denied by domain of ", &domain, b")\n"]);
        }
        SpfResult::None => {
            add(&[b"none (", &helo, b": domain of ", &domain, b" does\n"]);
            add(&[b"  not designate permitted sender hosts)\n"]);
        }
        SpfResult::TempError | SpfResult::PermError => {
            let word: &[u8] = if spf.result == SpfResult::TempError { b"temperror" } else { b"permerror" };
            add(&[word, b" (", &helo, b": domain of ", &domain, b" evaluated\n  with error: "]);
            add(&[&or_unknown(&spf.problem), b" for mechanism: ", &or_unknown(&spf.mechanism), b")\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Trace<'_> = Trace {
        remote_host: b"client.example.net",
        helo: None,
        remote_info: None,
        remote_ip: b"192.0.2.1",
        tls: None,
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
    fn an_encrypted_connection_has_a_line_of_its_own() {
        let tls = b"TLSv1.3: TLS_AES_256_GCM_SHA384 [256/256] DN=/O=A, (B)*/CN=x\r\ny;\xe4";
        let field = Trace { tls: Some(tls), ..PLAIN }.field(0);
        let expected = "Received: from client.example.net (192.0.2.1)\n  de/crypted with TLSv1.3: \
            TLS_AES_256_GCM_SHA384 [256/256] DN=/O=A, (B)*/CN=xy??\n  by mx.example.org with SMTP; \
            1 Jan 1970 00:00:00 -0000\n";
        assert_eq!(String::from_utf8(field).unwrap(), expected);
    }

    #[test]
    fn rblsmtpd_is_quoted() {
        for (text, expected) in [
            ("[x] http://rbl.test/?ip=127.0.0.2", "http://rbl.test/?ip=127.0.0.2"),
            ("-[x] a;b\nc", "a?b?c"),
            ("plain words", "plain words"),
            ("x]", ""),
        ] {
            assert_eq!(rbl(text.as_bytes()), format!("X-RBL-Info: {expected}\n").into_bytes(), "{text}");
        }
    }

    #[test]
    fn each_result_of_spf_has_its_words() {
        let rows = [
            (
                SpfResult::Pass,
                "pass (h: domain of d\n  designates c as permitted sender)\n  receiver=r; client-ip=c\n  \
                 envelope-from=<f>\n",
            ),
            (SpfResult::Fail, "fail (h: domain of d\n  does not designate c as permitted sender)\n"),
            (
                SpfResult::SoftFail,
                "softfail (h: domain of transitioning d\n  does not designate c as permitted sender)\n",
            ),
            (SpfResult::Neutral, "neutral (h; client-ip=c is neither permitted\n  nor denied by domain of d)\n"),
            (SpfResult::None, "none (h: domain of d does\n  not designate permitted sender hosts)\n"),
            (SpfResult::TempError, "temperror (h: domain of d evaluated\n  with error: p for mechanism: m)\n"),
            (SpfResult::PermError, "permerror (h: domain of d evaluated\n  with error: p for mechanism: m)\n"),
        ];
        for (result, expected) in rows {
            let [domain, explanation, problem, mechanism] = ["d", "", "p", "m"].map(|t| t.as_bytes().to_vec());
            let about = Spf { result, domain, explanation, problem, mechanism };
            let field = String::from_utf8(spf(&about, b"h", b"c", b"r", b"f")).unwrap();
            assert_eq!(field, format!("Received-SPF: {expected}"));
        }
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
