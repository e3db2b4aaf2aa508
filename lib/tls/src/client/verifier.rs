//! Looks at a server's certificate.

use super::{NameCheck, Tlsa, dane};
use crate::pem;
use crate::x509::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::Digest;
use std::net::IpAddr;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// Whether a digest of so many bytes can be asked for: SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
pub fn is_digest_length(bytes: usize) -> bool {
    matches!(bytes, 20 | 28 | 32 | 48 | 64)
}

/// The demands on certificates, with what was read for them.
#[derive(Debug)]
pub struct Verifier {
    pub host: Vec<u8>,
    pub name: NameCheck,
    /// `None`: anybody's certificate will do.
    pub roots: Option<Arc<RootCertStore>>,
    /// Certificates that need nobody to vouch for them.
    pub servers: Vec<CertificateDer<'static>>,
    /// The digest of the only good certificate.
    pub digest: Option<Vec<u8>>,
    pub depth: u32,
    /// Records of which one must fit, if there are any.
    pub tlsa: Vec<Tlsa>,
    /// Names that count together with them.
    pub tlsa_names: Vec<Vec<u8>>,
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Nothing is demanded: then it does not matter either whether the server has the key of the certificate it shows,
    /// and old or odd certificates do no harm.
    fn is_blind(&self) -> bool {
        self.roots.is_none() && self.digest.is_none() && self.name == NameCheck::None && self.tlsa.is_empty()
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(roots) = &self.roots else { return Ok(()) };
        if self.servers.iter().any(|s| s == certificate) {
            return Ok(());
        }
        let depth = usize::try_from(self.depth).unwrap_or(usize::MAX);
        let not_too_deep = |path: &VerifiedPath<'_>| match path.intermediate_certificates().count() <= depth {
            true => Ok(()),
            false => Err(webpki::Error::MaximumPathDepthExceeded),
        };
        let end = EndEntityCert::try_from(certificate).map_err(refused)?;
        end.verify_for_usage(
            self.algorithms.all,
            &roots.roots,
            between,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&not_too_deep),
        )
        .map(|_| ())
        .map_err(refused)
    }

    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match self.name == NameCheck::None || is_for(certificate, &self.host, self.name) {
            true => Ok(()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.tlsa.is_empty() {
            let (records, names) = (&self.tlsa, &self.tlsa_names);
            dane::check(records, names, end_entity, intermediates, &self.algorithms, now)?;
        }
        if let Some(digest) = &self.digest {
            // The one certificate that is known needs no names and nobody to vouch for it.
            return match is(end_entity, digest) {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(CertificateError::ApplicationVerificationFailure.into()),
            };
        }
        self.check_chain(end_entity, intermediates, now)?;
        self.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_blind() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_blind() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate is in the name of `host`. Its common name counts only if it has no names of hosts.
pub fn is_for(certificate: &CertificateDer<'_>, host: &[u8], how: NameCheck) -> bool {
    let end = EndEntityCert::try_from(certificate);
    if let (Some(ip), Ok(end)) = (address(host), &end) {
        return end.verify_is_valid_for_subject_name(&ServerName::IpAddress(ip.into())).is_ok();
    }
    let names: Vec<&str> = end.iter().flat_map(|e| e.valid_dns_names()).collect();
    match names[..] {
        [] => Certificate::parse(certificate).is_some_and(|parsed| {
            let common = parsed.subject.attributes().filter(|(kind, _)| *kind == "CN").last();
            common.is_some_and(|(_, name)| fits(name, host, how))
        }),
        _ => names.iter().any(|name| fits(name.as_bytes(), host, how)),
    }
}

/// Whether a certificate has this digest.
fn is(certificate: &CertificateDer<'_>, digest: &[u8]) -> bool {
    if digest.len() == 28 {
        // The one that the TLS library's cryptography does not have.
        return sha2::Sha224::digest(certificate)[..] == *digest;
    }
    pem::fingerprint(certificate, digest.len()).is_some_and(|found| found.as_ref() == digest)
}

/// Whether a name in a certificate is that of `host`, case and final dots aside.
fn fits(name: &[u8], host: &[u8], how: NameCheck) -> bool {
    let [name, host] = [name, host].map(|n| n.strip_suffix(b".").unwrap_or(n));
    if name.eq_ignore_ascii_case(host) {
        return !host.is_empty();
    }
    let (Some(rest), NameCheck::Wildcard) = (name.strip_prefix(b"*"), how) else { return false };
    let first = host.iter().position(|&b| b == b'.').unwrap_or(0);
    // A `*` stands for a whole label, and not for one right below the top.
    first > 0
        && rest.eq_ignore_ascii_case(host.get(first..).unwrap_or_default())
        && rest.iter().filter(|&&b| b == b'.').count() > 1
}

/// The address that a host is called by.
fn address(host: &[u8]) -> Option<IpAddr> {
    let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let text = str::from_utf8(bare).ok()?;
    text.strip_prefix("IPv6:").unwrap_or(text).parse().ok()
}

/// The TLS library's word for that of the library for certificates.
pub fn refused(e: webpki::Error) -> Error {
    let certificate = match e {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        e => CertificateError::Other(rustls::OtherError(Arc::new(e))),
    };
    certificate.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_hosts() {
        use NameCheck::{Exact, Wildcard};
        for (name, host, how, want) in [
            ("mx.a.test", "mx.a.test", Exact, true),
            ("MX.a.test.", "mx.A.test", Exact, true),
            ("*.a.test", "mx.a.test", Exact, false),
            ("*.a.test", "*.a.test", Exact, true),
            ("*.a.test", "mx.a.test", Wildcard, true),
            ("mx.a.test", "mx.a.test", Wildcard, true),
            ("*.a.test", "a.test", Wildcard, false),
            ("*.a.test", "x.mx.a.test", Wildcard, false),
            ("*.a.test", ".a.test", Wildcard, false),
            ("m*.a.test", "mx.a.test", Wildcard, false),
            ("*.test", "a.test", Wildcard, false),
            ("*", "a", Wildcard, false),
            ("*", "", Wildcard, false),
            ("", "", Exact, false),
            ("a.test\0.evil", "a.test", Exact, false),
        ] {
            assert_eq!(fits(name.as_bytes(), host.as_bytes(), how), want, "{name} {host} {how:?}");
        }
    }

    #[test]
    fn hosts_may_be_addresses() {
        for (host, want) in [("192.0.2.1", true), ("[192.0.2.1]", true), ("[IPv6:::1]", true), ("a.test", false)] {
            assert_eq!(address(host.as_bytes()).is_some(), want, "{host}");
        }
    }
}
