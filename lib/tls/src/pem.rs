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

/// The first private key of `file`, be it PKCS#8, PKCS#1 or SEC1; one that is encrypted is opened with the password.
pub fn private_key(file: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(file)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&text) {
        return Ok(key);
    }
    let missing = Error::NoKey(file.to_vec());
    if !text.windows(9).any(|w| w == b"ENCRYPTED") {
        return Err(missing);
    }
    decrypted(&text, password.unwrap_or_default()).ok_or_else(|| Error::Locked(file.to_vec()))
}

/// The key of a text with `ENCRYPTED PRIVATE KEY` (PKCS#8); the older form of OpenSSL, which says so in a header, is not
/// understood.
fn decrypted(text: &[u8], password: &[u8]) -> Option<PrivateKeyDer<'static>> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = std::str::from_utf8(text).ok()?;
    let first = text.find(BEGIN)?;
    let last = first + text.get(first..)?.find(END)? + END.len();
    let (_, document) = pkcs8::SecretDocument::from_pem(text.get(first..last)?).ok()?;
    let locked = pkcs8::EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).ok()?;
    let open = locked.decrypt(password).ok()?;
    Some(PrivateKeyDer::Pkcs8(open.as_bytes().to_vec().into()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn openssl(dir: &Path, arguments: &str) {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(out.status.success(), "{arguments}: {out:?}");
    }

    #[test]
    fn keys_of_all_forms_and_locked_ones() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        openssl(at, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain");
        openssl(at, "ec -in plain -out sec1");
        openssl(at, "genrsa -traditional -out pkcs1 2048");
        openssl(at, "pkcs8 -topk8 -in plain -out locked -passout pass:secret");
        openssl(at, "ec -in plain -aes256 -out old -passout pass:secret");
        std::fs::write(at.join("empty"), "").unwrap();
        let read = |name: &str, password: Option<&str>| {
            let file = at.join(name);
            private_key(file.as_os_str().as_bytes(), password.map(str::as_bytes)).map_err(|e| e.to_string())
        };
        let plain = read("plain", None).unwrap();
        assert!(read("sec1", None).is_ok() && read("pkcs1", None).is_ok());
        let open = read("locked", Some("secret")).unwrap();
        assert_eq!(open.secret_der(), plain.secret_der());
        for (name, password) in [("locked", None), ("locked", Some("Secret")), ("old", Some("secret"))] {
            assert!(read(name, password).unwrap_err().starts_with("unable to decrypt the private key in "), "{name}");
        }
        assert!(read("empty", None).unwrap_err().starts_with("no private key in "));
        assert!(read("none", None).unwrap_err().starts_with("unable to read "));
    }
}
