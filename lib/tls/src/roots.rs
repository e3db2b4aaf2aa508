//! The authorities that are trusted: those of a file or a directory, or else the set that is compiled in.

use crate::{Error, pem};
use rustls::RootCertStore;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The authorities of `file` and of all files of `dir`, or the compiled-in ones if neither is given.
pub fn load(file: Option<&[u8]>, dir: Option<&[u8]>) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    if let Some(file) = file {
        add(&mut store, pem::certificates(file)?);
    }
    if let Some(dir) = dir {
        let fail = |e| Error::Read(dir.to_vec(), e);
        for entry in std::fs::read_dir(Path::new(OsStr::from_bytes(dir))).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            // Whatever else lies about in the directory is no authority.
            if let Some(list) = std::fs::read(path).ok().and_then(|text| pem::certificates_in(&text)) {
                add(&mut store, list);
            }
        }
    }
    if file.is_none() && dir.is_none() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else if store.is_empty() {
        return Err(Error::NoCertificate(file.or(dir).unwrap_or_default().to_vec()));
    }
    Ok(Arc::new(store))
}

/// What the library can not use, such as a certificate of version 1, is left out: the others still count.
fn add(store: &mut RootCertStore, list: Vec<rustls::pki_types::CertificateDer<'static>>) {
    store.add_parsable_certificates(list);
}
