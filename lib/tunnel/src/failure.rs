//! Why there is no TLS, in s/qmail's words (spec/smtp.md 9.5). Every one of them is temporary.

use crate::Request;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The certificate has another digest.
    Fingerprint,
    /// No digest is that long.
    DigestLength,
    /// The client certificate can not be read.
    Certificate,
    /// Its key can not.
    Key,
    /// They do not belong together.
    Mismatch,
    /// The library can not be set up, or its process not be started.
    Context,
    /// No cipher is left.
    Ciphers,
    /// The trusted authorities can not be read.
    Authorities,
    /// The server shows no certificate.
    NoPeerCertificate,
    /// Nobody who is trusted has signed it, or it has expired.
    PeerUnverified,
    /// It is another host's.
    PeerName,
    /// The connection broke, or the server takes too long.
    Connection,
    /// The server says what it must not, or that it does not go on.
    Protocol,
    /// The server does not offer TLS.
    NotOffered,
    /// The certificate is not what the server's domain says.
    Tlsa,
}

/// All of them with the letter that stands for them between processes.
const LETTERS: [(Failure, u8); 15] = [
    (Failure::Fingerprint, b'f'),
    (Failure::DigestLength, b'l'),
    (Failure::Certificate, b'c'),
    (Failure::Key, b'k'),
    (Failure::Mismatch, b'm'),
    (Failure::Context, b'x'),
    (Failure::Ciphers, b'i'),
    (Failure::Authorities, b'a'),
    (Failure::NoPeerCertificate, b'n'),
    (Failure::PeerUnverified, b'v'),
    (Failure::PeerName, b's'),
    (Failure::Connection, b'b'),
    (Failure::Protocol, b'p'),
    (Failure::NotOffered, b'o'),
    (Failure::Tlsa, b't'),
];

impl Failure {
    /// The letter between processes.
    pub fn letter(self) -> u8 {
        LETTERS.iter().find(|(f, _)| *f == self).map_or(b'x', |(_, letter)| *letter)
    }

    /// What a letter stands for.
    pub fn of_letter(letter: u8) -> Option<Failure> {
        LETTERS.iter().find(|(_, l)| *l == letter).map(|(f, _)| *f)
    }
}

/// What went wrong, and why in a few words for people; empty if nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What.
    pub failure: Failure,
    /// Why: masked, one line.
    pub reason: Vec<u8>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed { failure, reason: Vec::new() }
    }
}

impl Failed {
    /// The record for the message: one or two lines. No secret of the request is in it.
    pub fn record(&self, request: &Request) -> Vec<u8> {
        let [host, server, ca] = [&request.host, &request.server, &request.policy.ca].map(|v| visible(v));
        let pin = visible(request.policy.pin().unwrap_or_default());
        let [certificate, key] = [&request.credentials.certificate, &request.credentials.key].map(|v| visible(v));
        let ciphers = visible(&request.policy.ciphers);
        let text: [&[u8]; 5] = match self.failure {
            Failure::Fingerprint => {
                [b"Received X.509 certificate from: ", &host, b" does not match fingerprint: ", &pin, b"."]
            }
            Failure::DigestLength => [b"Invalid digest length provided for: ", &host, b".", b"", b""],
            Failure::Certificate => [b"Can't load X.509 certificate: ", &certificate, b".", b"", b""],
            Failure::Key => [b"Can't load X.509 private key: ", &key, b".", b"", b""],
            Failure::Mismatch => [b"Keyfile does not match X.509 certificate: ", &certificate, b".", b"", b""],
            Failure::Context => [b"I wasn't able to create TLS context for: ", &host, b".", b"", b""],
            Failure::Ciphers => [b"I wasn't able to process the TLS ciphers: ", &ciphers, b".", b"", b""],
            Failure::Authorities => [b"I wasn't able to set up CAFILE or CADIR: ", &ca, b" for TLS.", b"", b""],
            Failure::NoPeerCertificate => [b"Unable to obtain X.509 certificate from: ", &host, b".", b"", b""],
            Failure::PeerUnverified => [b"Unable to verify X.509 certificate from: ", &host, b".", b"", b""],
            Failure::PeerName => [b"Unable to validate X.509 certificate Subject for: ", &host, b".", b"", b""],
            Failure::Connection => [b"I wasn't able to establish a TLS connection with: ", &host, b".", b"", b""],
            Failure::Protocol => [b"TLS connection/protocol error for host: ", &host, b".", b"", b""],
            Failure::NotOffered => [b"I wasn't able to negotiate a TLS connection with: ", &host, b".", b"", b""],
            Failure::Tlsa => {
                [b"Received X.509 certificate from: ", &server, b" does not match its TLSA records.", b"", b""]
            }
        };
        let mut record = [b"Z ".as_slice(), &text.concat(), b" (#4.4.1)\n"].concat();
        if !self.reason.is_empty() {
            record.extend_from_slice(&[b"TLS: ", visible(&self.reason).as_slice(), b"\n"].concat());
        }
        record
    }
}

/// What is not visible ASCII becomes `?`; blanks stay.
fn visible(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b } else { b'?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, Level, Policy, Tlsa};

    #[test]
    fn letters_and_texts_are_distinct() {
        let request = Request {
            host: b"h.test\n".to_vec(),
            server: b"mx.test".to_vec(),
            peer: "192.0.2.1:25".parse().unwrap(),
            policy: Policy { ca: b"=ab".to_vec(), ciphers: b"HIGH".to_vec(), ..Policy::of_level(Level::MustPin) },
            credentials: Credentials {
                certificate: b"cert".to_vec(),
                key: b"key".to_vec(),
                password: b"s3cret".to_vec().into(),
            },
            tlsa: Tlsa::default(),
        };
        let rows = [
            (Failure::Fingerprint, "Received X.509 certificate from: h.test? does not match fingerprint: ab."),
            (Failure::DigestLength, "Invalid digest length provided for: h.test?."),
            (Failure::Certificate, "Can't load X.509 certificate: cert."),
            (Failure::Key, "Can't load X.509 private key: key."),
            (Failure::Mismatch, "Keyfile does not match X.509 certificate: cert."),
            (Failure::Context, "I wasn't able to create TLS context for: h.test?."),
            (Failure::Ciphers, "I wasn't able to process the TLS ciphers: HIGH."),
            (Failure::Authorities, "I wasn't able to set up CAFILE or CADIR: =ab for TLS."),
            (Failure::NoPeerCertificate, "Unable to obtain X.509 certificate from: h.test?."),
            (Failure::PeerUnverified, "Unable to verify X.509 certificate from: h.test?."),
            (Failure::PeerName, "Unable to validate X.509 certificate Subject for: h.test?."),
            (Failure::Connection, "I wasn't able to establish a TLS connection with: h.test?."),
            (Failure::Protocol, "TLS connection/protocol error for host: h.test?."),
            (Failure::NotOffered, "I wasn't able to negotiate a TLS connection with: h.test?."),
            (Failure::Tlsa, "Received X.509 certificate from: mx.test does not match its TLSA records."),
        ];
        for (failure, text) in rows {
            assert_eq!(Failure::of_letter(failure.letter()), Some(failure));
            let record = Failed::from(failure).record(&request);
            assert_eq!(String::from_utf8(record).unwrap(), format!("Z {text} (#4.4.1)\n"));
        }
        let failed = Failed { failure: Failure::Protocol, reason: b"bad\x1b".to_vec() };
        assert!(failed.record(&request).ends_with(b". (#4.4.1)\nTLS: bad?\n"));
    }
}
