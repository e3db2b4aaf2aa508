//! From a request to what the TLS library is told, and from its refusals to the sender's words.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tls::Error;
use tls::client::{Certificate, Client, Demands, NameCheck, Refusal, Tlsa, Trust};
use tunnel::{Failed, Failure, Level, Request};

/// Reads all that a request names.
pub fn client(request: &Request) -> Result<Client, Failed> {
    let policy = &request.policy;
    let digest = policy.pin().map(|digits| unhex(digits).ok_or(Failure::DigestLength)).transpose()?;
    let trust = match (&digest, policy.ca.as_slice()) {
        (Some(digest), _) => Trust::Digest(digest),
        // Anybody will do: what else stands in the line does not matter.
        _ if matches!(policy.level, Level::Any | Level::MustAny | Level::Unset) => Trust::Anybody,
        (None, b"") => Trust::Anybody,
        (None, b"+") => Trust::BuiltIn,
        (None, dir) if dir.ends_with(b"/") => Trust::Directory(dir),
        (None, file) => Trust::File(file),
    };
    let name = match policy.level {
        Level::MustWildcard => NameCheck::Wildcard,
        Level::MustName => NameCheck::Exact,
        _ => NameCheck::None,
    };
    let own = &request.credentials;
    let password = (!own.password.is_empty()).then_some(own.password.as_slice());
    let certificate = Certificate { chain: &own.certificate, key: &own.key, password };
    let published = request.tlsa.records.iter();
    let tlsa: Vec<Tlsa> = published
        .map(|r| Tlsa { usage: r.usage, selector: r.selector, matching: r.matching, data: r.data.clone() })
        .collect();
    let demands = Demands {
        host: &request.host,
        name,
        trust,
        depth: policy.depth,
        ciphers: &policy.ciphers,
        certificate: (!own.certificate.is_empty()).then_some(certificate),
        tlsa: &tlsa,
        tlsa_names: &request.tlsa.names,
    };
    Client::new(&demands).map_err(|e| failed(request, &e))
}

/// Why there is no configuration, or no connection.
pub fn failed(request: &Request, e: &Error) -> Failed {
    let own = &request.credentials;
    let failure = match e {
        Error::Read(file, _) | Error::NoCertificate(file) if *file == request.policy.ca => Failure::Authorities,
        Error::Read(file, _) | Error::NoCertificate(file) if *file == own.certificate => Failure::Certificate,
        Error::Read(..) | Error::NoKey(_) | Error::Locked(_) => Failure::Key,
        Error::NoCertificate(_) => Failure::Authorities,
        Error::Mismatch => Failure::Mismatch,
        Error::Ciphers(_) => Failure::Ciphers,
        Error::Refused(_) if request.policy.pin().is_some() => Failure::DigestLength,
        Error::Refused(_) | Error::Line(..) => Failure::Context,
    };
    Failed { failure, reason: e.text() }
}

/// Why a handshake failed.
pub fn refused(refusal: Refusal, reason: String) -> Failed {
    let failure = match refusal {
        Refusal::Digest => Failure::Fingerprint,
        Refusal::Tlsa => Failure::Tlsa,
        Refusal::Name => Failure::PeerName,
        Refusal::Untrusted => Failure::PeerUnverified,
        Refusal::NoCertificate => Failure::NoPeerCertificate,
        Refusal::Protocol => Failure::Protocol,
    };
    // The words of the record say it all.
    let reason =
        if matches!(refusal, Refusal::Digest | Refusal::Tlsa | Refusal::Name) { String::new() } else { reason };
    Failed { failure, reason: reason.into_bytes() }
}

/// Device, inode, size and time of change of a file: enough to see that it was replaced.
pub type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Those of the files that a request names.
pub fn stamps(request: &Request) -> Vec<Stamp> {
    let own = &request.credentials;
    let files = [&request.policy.ca, &own.certificate, &own.key];
    let stamp = |file: &Vec<u8>| {
        let m = std::fs::metadata(Path::new(OsStr::from_bytes(file))).ok()?;
        Some((m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()))
    };
    files.into_iter().filter(|f| !f.is_empty() && f.first() != Some(&b'=')).map(stamp).collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks(2).map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tunnel::{Credentials, Policy};

    fn request(level: Level, ca: &str, own: &str) -> Request {
        let own = own.as_bytes().to_vec();
        Request {
            host: b"h.test".to_vec(),
            server: Vec::new(),
            peer: "192.0.2.1:25".parse().unwrap(),
            policy: Policy { ca: ca.as_bytes().to_vec(), ..Policy::of_level(level) },
            credentials: Credentials { certificate: own.clone(), key: own, password: Vec::new().into() },
            tlsa: tunnel::Tlsa::default(),
        }
    }

    #[test]
    fn what_can_not_be_had_is_told() {
        for (level, ca, own, want) in [
            (Level::MustCertificate, "", "", None),
            (Level::MustCertificate, "+", "", None),
            (Level::MustCertificate, "/no/such/file", "", Some(Failure::Authorities)),
            (Level::MustCertificate, "/no/such/dir/", "", Some(Failure::Authorities)),
            (Level::MustCertificate, "/dev/null", "", Some(Failure::Authorities)),
            // Not read at these levels.
            (Level::Any, "/no/such/file", "", None),
            (Level::MustAny, "/no/such/file", "", None),
            (Level::MustPin, "=00", "", Some(Failure::DigestLength)),
            (Level::MustPin, "=0", "", Some(Failure::DigestLength)),
            (Level::MustPin, "=zz", "", Some(Failure::DigestLength)),
            (Level::MustPin, "=00112233445566778899aabbccddeeff00112233", "", None),
            (Level::Any, "", "/no/such/file", Some(Failure::Certificate)),
            (Level::Any, "", "/dev/null", Some(Failure::Certificate)),
        ] {
            let request = request(level, ca, own);
            assert_eq!(client(&request).err().map(|f| f.failure), want, "{level:?} {ca} {own}");
        }
        let mut bad = request(Level::Any, "", "");
        bad.policy.ciphers = b"RC4".to_vec();
        assert_eq!(client(&bad).unwrap_err().failure, Failure::Ciphers);
    }

    #[test]
    fn a_replaced_file_has_another_stamp() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let request = request(Level::MustCertificate, file.path().to_str().unwrap(), "");
        let before = stamps(&request);
        assert_eq!((before.len(), stamps(&request)), (1, before.clone()));
        std::fs::write(file.path(), "x").unwrap();
        assert_ne!(stamps(&request), before);
    }
}
