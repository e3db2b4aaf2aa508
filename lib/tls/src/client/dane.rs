//! Certificates that are known by TLSA records (RFC 6698 2.1, RFC 7671 5), as the mail of servers has them: those of an
//! authority (usage 2), which has to be in the chain that the server shows, and the server's own (usage 3).

use super::NameCheck;
use super::verifier::{is_for, refused};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use std::fmt;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, spki_for_anchor};

/// Usages of RFC 7218.
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
/// An honest chain has fewer certificates; of a longer one only the first are looked at.
const CHAIN_MAX: usize = 16;

/// A TLSA record in its numbers. One with numbers that are not known fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// 0: the certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: SHA-256; 2: SHA-512.
    pub matching: u8,
    /// What it must be.
    pub data: Vec<u8>,
}

impl Tlsa {
    fn fits(&self, certificate: &[u8], key: &[u8]) -> bool {
        let selected = match self.selector {
            0 => certificate,
            1 => key,
            _ => return false,
        };
        match self.matching {
            0 => selected == self.data,
            1 => ring::digest::digest(&ring::digest::SHA256, selected).as_ref() == self.data,
            2 => ring::digest::digest(&ring::digest::SHA512, selected).as_ref() == self.data,
            _ => false,
        }
    }
}

/// No record fits any certificate of the chain.
#[derive(Debug)]
pub struct NoMatch;

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no TLSA record fits")
    }
}

impl std::error::Error for NoMatch {}

/// Whether the failure was that no record fits.
pub fn is_no_match(e: &OtherError) -> bool {
    e.0.is::<NoMatch>()
}

/// Looks whether a record fits. The server's own certificate then needs no name and no date (RFC 7671 5.1). With an
/// authority's there must be a good chain from it, and one of the `names`; the leftmost label may be `*`.
pub fn check(
    records: &[Tlsa],
    names: &[Vec<u8>],
    certificate: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), Error> {
    let end = EndEntityCert::try_from(certificate).map_err(refused)?;
    let key = end.subject_public_key_info();
    if records.iter().any(|r| r.usage == DANE_EE && r.fits(certificate, &key)) {
        return Ok(());
    }
    let between = between.get(..CHAIN_MAX).unwrap_or(between);
    let anchors: Vec<TrustAnchor<'_>> = between.iter().filter_map(|c| anchor(records, c)).collect();
    if anchors.is_empty() {
        return Err(CertificateError::Other(OtherError(Arc::new(NoMatch))).into());
    }
    let usage = KeyUsage::server_auth();
    end.verify_for_usage(algorithms.all, &anchors, between, now, usage, None, None).map_err(refused)?;
    match names.iter().any(|name| is_for(certificate, name, NameCheck::Wildcard)) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForName.into()),
    }
}

/// The authority that a certificate is, if a record says that it counts.
fn anchor<'a>(records: &[Tlsa], certificate: &'a CertificateDer<'_>) -> Option<TrustAnchor<'a>> {
    let anchor = anchor_from_trusted_cert(certificate).ok()?;
    let key = spki_for_anchor(&anchor);
    records.iter().any(|r| r.usage == DANE_TA && r.fits(certificate, &key)).then_some(anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_fits_what_it_selects_as_it_says() {
        let digest = |algorithm, of: &[u8]| ring::digest::digest(algorithm, of).as_ref().to_vec();
        let [sha256, sha512] = [&ring::digest::SHA256, &ring::digest::SHA512];
        for (selector, matching, data, want) in [
            (0, 0, b"certificate".to_vec(), true),
            (1, 0, b"key".to_vec(), true),
            (0, 0, b"key".to_vec(), false),
            (1, 0, b"ke".to_vec(), false),
            (0, 1, digest(sha256, b"certificate"), true),
            (1, 1, digest(sha256, b"key"), true),
            (1, 1, digest(sha256, b"certificate"), false),
            (1, 1, digest(sha512, b"key"), false),
            (1, 2, digest(sha512, b"key"), true),
            (0, 2, digest(sha512, b"certificate"), true),
            (2, 0, b"key".to_vec(), false),
            (1, 3, b"key".to_vec(), false),
            (1, 1, Vec::new(), false),
        ] {
            let record = Tlsa { usage: DANE_EE, selector, matching, data };
            assert_eq!(record.fits(b"certificate", b"key"), want, "{selector} {matching}");
        }
    }
}
