//! What stands on descriptor 3.

use crate::Failure;
use auth::{Secret, saslprep, scram};
use std::io::Read;

/// All fields with their NULs (bytes).
const INPUT_MAX: usize = 512;
/// The same for a SCRAM exchange: its messages may have extensions.
const SCRAM_MAX: usize = 4096;

/// A user to be checked.
pub struct Request {
    /// The name, its domain in lower case; in a SCRAM exchange what SASLprep makes of it.
    pub user: Vec<u8>,
    /// The password, or a digest. Not empty but in a SCRAM exchange.
    pub response: Secret,
    /// What a digest was made with; empty if there is none.
    pub challenge: Vec<u8>,
    /// The beginning of a SCRAM exchange.
    pub scram: Option<Scram>,
    /// Everything as it came, but for the domain: for programs that take the same.
    pub raw: Secret,
}

/// The beginning of a SCRAM-SHA-256 exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct Scram {
    /// The client's first message, without its header.
    pub bare: Vec<u8>,
    /// The server's part of the nonce.
    pub nonce: Vec<u8>,
}

impl Request {
    /// Reads to the end of input, or, since a SCRAM exchange goes on, to the end of its first part.
    pub fn read(mut source: impl Read) -> Result<Request, Failure> {
        let mut input = Secret::new(vec![0; SCRAM_MAX + 1]);
        let mut length = 0;
        loop {
            let room = input.get_mut(length..).unwrap_or_default();
            match source.read(room) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(_) => return Err(Failure::Misused),
            }
            if length > SCRAM_MAX {
                return Err(Failure::Misused);
            }
            match Request::parse(input.get(..length).unwrap_or_default()) {
                Ok(request) if request.scram.is_some() => return Ok(request),
                Err(Failure::Refused) => return Err(Failure::Refused),
                _ => {}
            }
        }
        if length > INPUT_MAX {
            return Err(Failure::Misused);
        }
        Request::parse(input.get(..length).unwrap_or_default())
    }

    fn parse(input: &[u8]) -> Result<Request, Failure> {
        let mut parts = input.split(|&b| b == 0);
        let (Some(user), Some(response), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Failure::Misused);
        };
        // Who never has challenges may leave the third field out. With one it has an end; what follows is nobody's.
        let challenge = if parts.next().is_some() { rest } else { b"" };
        let scram = if response.is_empty() { Scram::parse(challenge) } else { None };
        let mut raw = Secret::new(input.to_vec());
        let at = user.iter().rposition(|&b| b == b'@').unwrap_or(user.len());
        if let Some(domain) = raw.get_mut(at..user.len()) {
            domain.make_ascii_lowercase();
        }
        let user = raw.get(..user.len()).unwrap_or_default();
        let user = match scram {
            None => user.to_vec(),
            // RFC 5802 5.1: a name that cannot be prepared ends the exchange, and so does one of which nothing is left.
            Some(_) => saslprep::prepared(user).filter(|name| !name.is_empty()).ok_or(Failure::Refused)?.to_vec(),
        };
        Ok(Request { user, response: Secret::new(response.to_vec()), challenge: challenge.to_vec(), scram, raw })
    }

    /// The name up to its domain.
    pub fn local(&self) -> &[u8] {
        let at = self.user.iter().rposition(|&b| b == b'@').unwrap_or(self.user.len());
        self.user.get(..at).unwrap_or_default()
    }
}

impl Scram {
    /// Takes `SCRAM-SHA-256 MESSAGE NONCE`; a message may hold blanks.
    fn parse(field: &[u8]) -> Option<Scram> {
        let rest = field.strip_prefix(scram::NAME)?.strip_prefix(b" ")?;
        let at = rest.iter().rposition(|&b| b == b' ')?;
        Some(Scram { bare: rest.get(..at)?.to_vec(), nonce: rest.get(at + 1..)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(input: &[u8]) -> Result<(String, String, String), Failure> {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        Request::read(input).map(|r| (text(&r.user), text(&r.response), text(&r.challenge)))
    }

    #[test]
    fn two_or_three_fields_of_512_bytes_together() {
        let long = [b"joe\0x\0".as_slice(), &[b'c'; 505], b"\0"].concat();
        let longer = [b"joe\0x\0".as_slice(), &[b'c'; 506], b"\0"].concat();
        type Row<'a> = (&'a [u8], Result<(&'a str, &'a str), Failure>);
        let rows: &[Row<'_>] = &[
            (b"joe\0secret\0", Ok(("joe", "secret"))),
            (b"joe\0secret\0\0", Ok(("joe", "secret"))),
            (b"Joe@Example.ORG\0Se cret\0", Ok(("Joe@example.org", "Se cret"))),
            (b"a@B@C\0x\0", Ok(("a@B@c", "x"))),
            (b"\0\0", Ok(("", ""))),
            (&long, Ok(("joe", "x"))),
            (&longer, Err(Failure::Misused)),
            (b"", Err(Failure::Misused)),
            (b"joe", Err(Failure::Misused)),
            (b"joe\0", Err(Failure::Misused)),
            (b"joe\0secret", Err(Failure::Misused)),
        ];
        for (input, expected) in rows {
            let got = fields(input).map(|(user, response, _)| (user, response));
            assert_eq!(got, expected.map(|(u, r)| (u.to_string(), r.to_string())), "{}", input.escape_ascii());
        }
        assert_eq!(fields(b"joe\0x\0<1@h>\0").unwrap().2, "<1@h>");
        assert_eq!(fields(b"joe\0x\0<1@h>").unwrap().2, "");
    }

    /// The writing end stays open.
    struct Open<'a>(&'a [u8]);

    impl Read for Open<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            assert!(!self.0.is_empty(), "this would wait for ever");
            let n = self.0.read(buf.get_mut(..7).unwrap())?;
            Ok(n)
        }
    }

    #[test]
    fn a_scram_exchange_does_not_wait_for_the_end() {
        let request = Request::read(Open(b"joe smith\0\0SCRAM-SHA-256 n=joe smith,r=abc xyz\0")).unwrap();
        assert_eq!(request.scram, Some(Scram { bare: b"n=joe smith,r=abc".to_vec(), nonce: b"xyz".to_vec() }));
        let request = Request::read(Open("ju\u{308}rg\0\0SCRAM-SHA-256 n=ju\u{308}rg,r=abc xyz\0".as_bytes())).unwrap();
        assert_eq!(request.user, "j\u{fc}rg".as_bytes());
        for name in ["\u{7}", "\u{ad}", "\u{627}1"] {
            let input = format!("{name}\0\0SCRAM-SHA-256 n={name},r=abc xyz\0");
            assert_eq!(Request::read(Open(input.as_bytes())).err(), Some(Failure::Refused));
        }
        // With a password it is a challenge like another.
        assert_eq!(Request::read(&b"joe\0x\0SCRAM-SHA-256 n=joe,r=abc xyz\0"[..]).unwrap().scram, None);
    }
}
