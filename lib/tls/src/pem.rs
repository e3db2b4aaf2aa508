//! Certificates and private keys in PEM form.

use crate::Error;
use ring::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The whole of `file`, wiped when dropped: it may hold a key.
pub fn read(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = std::fs::read(Path::new(OsStr::from_bytes(file)));
    bytes.map(Zeroizing::new).map_err(|e| Error::Read(file.to_vec(), e))
}

/// All certificates of `file`, in their order: at least one.
pub fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates_in(&read(file)?).ok_or_else(|| Error::NoCertificate(file.to_vec()))
}

/// All certificates of a text, in their order; `None` if there is none, or a broken one.
pub fn certificates_in(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let list = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().ok()?;
    Some(list).filter(|l| !l.is_empty())
}

/// The first private key of `file`, be it PKCS#8, PKCS#1 or SEC1.
pub fn private_key(file: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(file)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&text) {
        return Ok(key);
    }
    let locked = text.windows(9).any(|w| w == b"ENCRYPTED");
    // No encrypted form is understood yet.
    let _ = password;
    Err(if locked { Error::Locked(file.to_vec()) } else { Error::NoKey(file.to_vec()) })
}

/// A certificate chain with the private key that belongs to it. The certificate comes first in the file, or else last.
pub fn certified_key(
    chain_file: &[u8],
    key_file: &[u8],
    password: Option<&[u8]>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let mut chain = certificates(chain_file)?;
    let key = private_key(key_file, password)?;
    match CertifiedKey::from_der(chain.clone(), key.clone_key(), provider) {
        Err(rustls::Error::InconsistentKeys(_)) if chain.len() > 1 => {
            chain.reverse();
            Ok(CertifiedKey::from_der(chain, key, provider)?)
        }
        made => Ok(made?),
    }
}

/// The digest of a certificate by which it may be pinned; the number of bytes chooses the algorithm: 20 (SHA-1), 32, 48,
/// 64 (SHA-2). `None` for another length.
pub fn fingerprint(certificate: &[u8], bytes: usize) -> Option<digest::Digest> {
    let algorithm = match bytes {
        20 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        32 => &digest::SHA256,
        48 => &digest::SHA384,
        64 => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate))
}
