//! What the sender and qmail-tlsc say to each other before the plain bytes begin.
//!
//! The sender writes a request, a netstring of fields that each end with a NUL, and hands the connection over with it.
//! The answer is one byte, [`TAKEN`] or [`OTHER`], and after the first of these a netstring: `K`, protocol NUL cipher NUL
//! and `1` if a session was resumed; or `Z`, the letter of a [`Failure`] and the reason. After `K` everything is plain
//! text of the connection.

use crate::{Credentials, Failed, Failure, Level, Policy, Tlsa};
use std::net::SocketAddr;
use zeroize::Zeroizing;

/// The longest request and the longest answer that are read (bytes). TLSA records may hold whole certificates.
pub const REQUEST_MAX: usize = 65536;
/// See [`REQUEST_MAX`].
pub const ANSWER_MAX: usize = 1024;
/// First byte of an answer: the connection is now qmail-tlsc's alone.
pub const TAKEN: u8 = b'T';
/// First byte of an answer: this process serves another request, and has not touched the connection.
pub const OTHER: u8 = b'O';

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// What a connection is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose certificate it must be: the relay, or the recipient's domain.
    pub host: Vec<u8>,
    /// The server's own name, which it is told so that it can choose a certificate; empty: none.
    pub server: Vec<u8>,
    /// Where the connection goes.
    pub peer: SocketAddr,
    /// What is demanded.
    pub policy: Policy,
    /// Our certificate, or empty fields.
    pub credentials: Credentials,
    /// What the server's domain says about its certificate: demanded besides.
    pub tlsa: Tlsa,
}

impl Request {
    /// The netstring. Two requests are the same if and only if these bytes are.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let Policy { level, depth, port, .. } = &self.policy;
        let peer = self.peer.to_string();
        let [level, depth, port] = [u32::from(level.number()), *depth, port.unwrap_or(0).into()].map(|n| n.to_string());
        let records = self.tlsa.text();
        let mut fields: Vec<&[u8]> = vec![
            &self.host,
            &self.server,
            peer.as_bytes(),
            level.as_bytes(),
            &self.policy.ca,
            &self.policy.ciphers,
            depth.as_bytes(),
            port.as_bytes(),
            &self.credentials.certificate,
            &self.credentials.key,
            &self.credentials.password,
            &records,
        ];
        fields.extend(self.tlsa.names.iter().map(Vec::as_slice));
        // Of the right size from the start, so that nothing of the password is left where a vector grew.
        let length: usize = fields.iter().map(|f| f.len() + 1).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + 24));
        bytes.extend_from_slice(format!("{length}:").as_bytes());
        for field in fields {
            bytes.extend_from_slice(field);
            bytes.push(0);
        }
        bytes.push(b',');
        bytes
    }

    /// Reads what [`Request::encode`] made: `Ok(None)` if more bytes are needed, `Err` if no more can help.
    pub fn decode(bytes: &[u8]) -> Result<Option<Request>, Garbled> {
        let Some((inside, _)) = netstring(bytes, REQUEST_MAX)? else { return Ok(None) };
        let fields: Vec<&[u8]> = inside.strip_suffix(b"\0").ok_or(Garbled)?.split(|&b| b == 0).collect();
        let [host, server, peer, level, ca, ciphers, depth, port, certificate, key, password, records, ref names @ ..] =
            fields[..]
        else {
            return Err(Garbled);
        };
        let port = number(port).and_then(|n| u16::try_from(n).ok()).ok_or(Garbled)?;
        let level = number(level).and_then(|n| u8::try_from(n).ok()).and_then(Level::of_number).ok_or(Garbled)?;
        Ok(Some(Request {
            host: host.to_vec(),
            server: server.to_vec(),
            peer: str::from_utf8(peer).ok().and_then(|p| p.parse().ok()).ok_or(Garbled)?,
            policy: Policy {
                level,
                ca: ca.to_vec(),
                ciphers: ciphers.to_vec(),
                depth: number(depth).ok_or(Garbled)?,
                port: (port != 0).then_some(port),
            },
            credentials: Credentials {
                certificate: certificate.to_vec(),
                key: key.to_vec(),
                password: password.to_vec().into(),
            },
            tlsa: Tlsa::parse(records, names).ok_or(Garbled)?,
        }))
    }

    /// The name under which a process that serves such requests is found: a short digest, good enough to tell them
    /// apart, since that process compares the whole (FNV-1a, 64 bits).
    pub(crate) fn short_name(encoded: &[u8]) -> String {
        let digest = encoded
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{digest:016x}")
    }
}

/// The answer's netstring, after [`TAKEN`]. The words hold no NUL.
pub(crate) fn decode_answer(inside: &[u8]) -> Result<Agreed, Failed> {
    match inside.split_first() {
        Some((b'K', rest)) => {
            let mut words = rest.split(|&b| b == 0).map(<[u8]>::to_vec);
            let mut next = || words.next().unwrap_or_default();
            Ok(Agreed { protocol: next(), cipher: next(), resumed: next() == b"1" })
        }
        Some((b'Z', [letter, reason @ ..])) => {
            Err(Failed { failure: Failure::of_letter(*letter).unwrap_or(Failure::Context), reason: reason.to_vec() })
        }
        _ => Err(Failure::Context.into()),
    }
}

/// What was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: Vec<u8>,
    /// The cipher suite in OpenSSL's words.
    pub cipher: Vec<u8>,
    /// Whether the handshake was a short one.
    pub resumed: bool,
}

impl Agreed {
    /// The answer's netstring.
    pub fn encode(outcome: &Result<Agreed, Failed>) -> Vec<u8> {
        let inside = match outcome {
            Ok(s) => {
                let resumed: &[u8] = if s.resumed { b"1" } else { b"0" };
                [b"K", s.protocol.as_slice(), b"\0", &s.cipher, b"\0", resumed].concat()
            }
            Err(f) => {
                let reason = f.reason.get(..ANSWER_MAX - 32).unwrap_or(&f.reason);
                [&[b'Z', f.failure.letter()], reason].concat()
            }
        };
        [inside.len().to_string().as_bytes(), b":", &inside, b","].concat()
    }
}

/// The inside of a netstring, and what follows it.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// The inside of the netstring that `bytes` begin with, and the rest; `Ok(None)`: not all of it is there yet.
pub(crate) fn netstring(bytes: &[u8], most: usize) -> Result<Option<Parts<'_>>, Garbled> {
    let Some(colon) = bytes.iter().take(8).position(|&b| b == b':') else {
        return if bytes.len() < 8 { Ok(None) } else { Err(Garbled) };
    };
    let length = number(bytes.get(..colon).unwrap_or_default()).and_then(|n| usize::try_from(n).ok()).ok_or(Garbled)?;
    if length > most {
        return Err(Garbled);
    }
    let Some((inside, rest)) = bytes.get(colon + 1..).and_then(|b| b.split_at_checked(length)) else { return Ok(None) };
    match rest.split_first() {
        None => Ok(None),
        Some((b',', rest)) => Ok(Some((inside, rest))),
        Some(_) => Err(Garbled),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn request() -> Request {
        Request {
            host: b"d.test".to_vec(),
            server: b"mx.d.test".to_vec(),
            peer: "[2001:db8::1]:25".parse().unwrap(),
            policy: Policy { ca: b"+".to_vec(), port: Some(26), depth: 9, ..Policy::of_level(Level::MustName) },
            credentials: Credentials {
                certificate: b"c".to_vec(),
                key: b"k".to_vec(),
                password: b"p:,".to_vec().into(),
            },
            tlsa: Tlsa::default(),
        }
    }

    #[test]
    fn a_request_comes_out_as_it_went_in() {
        let bytes = request().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Request::decode(&bytes[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(Request::decode(&bytes), Ok(Some(request())));
        assert_ne!(Request::short_name(&bytes), Request::short_name(&bytes[1..]));
        let record = Record { usage: 2, selector: 0, matching: 0, data: vec![0xff; 24000] };
        let names = vec![b"mx.d.test".to_vec(), b"d.test".to_vec()];
        let with_records = Request { tlsa: Tlsa::of(vec![record], names), ..request() };
        let bytes = with_records.encode();
        assert_eq!(Request::decode(&bytes), Ok(Some(with_records)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let field = |n: usize| vec![b'1'; n];
        let good = request().encode();
        for bad in [
            b"x:".to_vec(),
            b"12345678".to_vec(),
            b":,".to_vec(),
            b"99999:".to_vec(),
            b"3:a\0bx".to_vec(),
            b"3:a\0b,".to_vec(),
            [b"8:".to_vec(), field(8), b",".to_vec()].concat(),
            // A record without data, one field before the end.
            b"28:h|s|1.2.3.4:5|0|||0|0||||31|,".map(|b| if b == b'|' { 0 } else { b }).to_vec(),
            good.iter().map(|&b| if b == b'6' { b'9' } else { b }).collect(),
        ] {
            assert!(Request::decode(&bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn answers() {
        let ok = Agreed { protocol: b"TLSv1.3".to_vec(), cipher: b"C".to_vec(), resumed: true };
        let no = Failed { failure: Failure::PeerName, reason: b"why".to_vec() };
        for outcome in [Ok(ok), Err(no)] {
            let bytes = Agreed::encode(&outcome);
            let (inside, rest) = netstring(&bytes, ANSWER_MAX).unwrap().unwrap();
            assert_eq!((decode_answer(inside), rest), (outcome, &b""[..]));
        }
        let long = Agreed::encode(&Err(Failed { failure: Failure::Protocol, reason: vec![b'x'; 9999] }));
        assert!(netstring(&long, ANSWER_MAX).unwrap().is_some());
        assert_eq!(decode_answer(b"").unwrap_err().failure, Failure::Context);
    }
}
