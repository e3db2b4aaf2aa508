//! The side that connects: what is demanded of the server, and connections that demand it.
//!
//! All connections of one [`Client`] demand the same, so a session of one may be resumed by another. Nothing else can:
//! sessions stay in the memory of their client.

mod dane;
mod verifier;

pub use dane::Tlsa;

use crate::ciphers::Ciphers;
use crate::{Error, pem, roots};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;
use verifier::Verifier;

/// How many sessions are kept for resumption; a server may give several at a time.
const SESSIONS: usize = 32;
/// A file with no more certificates than these may name servers themselves, each for itself, not only authorities.
const SERVERS_MAX: usize = 16;

/// Whether the certificate must be in the host's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameCheck {
    /// Any name will do.
    #[default]
    None,
    /// One of its names is the host's, or stands for it with `*` as the leftmost label.
    Wildcard,
    /// One of its names is the host's.
    Exact,
}

/// Whom the server's certificate must come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Anybody: then nobody knows who is listening in.
    #[default]
    Anybody,
    /// An authority of the compiled-in set.
    BuiltIn,
    /// An authority of this file; or the certificate itself is in it.
    File(&'a [u8]),
    /// An authority in one of this directory's files.
    Directory(&'a [u8]),
    /// What [`Trust::File`] says of the first, and an authority in the directory that is the second.
    FileAndDirectory(&'a [u8], &'a [u8]),
    /// The certificate's digest, as binary: its length says which.
    Digest(&'a [u8]),
}

/// What is demanded of a server, and what it may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands<'a> {
    /// The name that the certificate is compared with: a host name or an address.
    pub host: &'a [u8],
    /// How it is compared.
    pub name: NameCheck,
    /// Whom to trust.
    pub trust: Trust<'a>,
    /// The most authorities between the certificate and a trusted one.
    pub depth: u32,
    /// A cipher list in OpenSSL's words; empty: all good ones.
    pub ciphers: &'a [u8],
    /// What is shown to servers that ask.
    pub certificate: Option<Certificate<'a>>,
    /// Records that the server's domain has published: if there are any, one must fit, besides all else.
    pub tlsa: &'a [Tlsa],
    /// The names of which one must be the certificate's where a record is about an authority.
    pub tlsa_names: &'a [Vec<u8>],
}

/// The files of a certificate of our own.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The certificate and those between it and an authority.
    pub chain: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// What that is encrypted with.
    pub password: Option<&'a [u8]>,
}

/// Makes connections that all demand the same.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    /// Reads the files that the demands name. A digest of a length that is none is `Error::Refused`.
    pub fn new(demands: &Demands<'_>) -> Result<Client, Error> {
        let ciphers = if demands.ciphers.is_empty() { Ciphers::default() } else { Ciphers::parse(demands.ciphers)? };
        let provider = ciphers.provider();
        let (roots, servers, digest) = match demands.trust {
            Trust::Anybody => (None, Vec::new(), None),
            Trust::BuiltIn => (Some(roots::load(None, None)?), Vec::new(), None),
            Trust::File(file) => {
                let servers = servers(file)?;
                (roots_of(file, None, &servers)?, servers, None)
            }
            Trust::FileAndDirectory(file, dir) => {
                let servers = servers(file)?;
                (roots_of(file, Some(dir), &servers)?, servers, None)
            }
            Trust::Directory(dir) => (Some(roots::load(None, Some(dir))?), Vec::new(), None),
            Trust::Digest(digest) if !verifier::is_digest_length(digest.len()) => {
                return Err(Error::Refused("no digest is that long".into()));
            }
            Trust::Digest(digest) => (None, Vec::new(), Some(digest.to_vec())),
        };
        let verifier = Verifier {
            host: demands.host.to_vec(),
            name: demands.name,
            roots,
            servers,
            digest,
            depth: demands.depth,
            tlsa: demands.tlsa.to_vec(),
            tlsa_names: demands.tlsa_names.to_vec(),
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions()?.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match demands.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let certified = pem::certified_key(own.chain, own.key, own.password, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Client { config: Arc::new(config) })
    }

    /// A new connection. The server is told that `server` is meant, if that is a host name.
    pub fn connect(&self, server: &[u8], address: std::net::IpAddr) -> Result<ClientConnection, Error> {
        let server = server.strip_suffix(b".").unwrap_or(server).to_vec();
        let name = String::from_utf8(server).ok().and_then(|name| ServerName::try_from(name).ok());
        let name = name.unwrap_or(ServerName::IpAddress(address.into()));
        Ok(ClientConnection::new(self.config.clone(), name)?)
    }
}

/// The certificates of a file that may be servers' own; none if there are too many.
fn servers(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let servers = pem::certificates(file)?;
    Ok(if servers.len() > SERVERS_MAX { Vec::new() } else { servers })
}

/// The authorities of a file and perhaps a directory; none if all certificates of the file are servers' own, which the
/// library may refuse as authorities.
fn roots_of(
    file: &[u8],
    dir: Option<&[u8]>,
    servers: &[CertificateDer<'static>],
) -> Result<Option<Arc<RootCertStore>>, Error> {
    match roots::load(Some(file), dir) {
        Ok(roots) => Ok(Some(roots)),
        Err(Error::NoCertificate(_)) if !servers.is_empty() => Ok(Some(Arc::new(RootCertStore::empty()))),
        Err(e) => Err(e),
    }
}

/// Why a handshake failed, as far as it matters what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The certificate does not have the demanded digest.
    Digest,
    /// It fits none of the TLSA records.
    Tlsa,
    /// The certificate is in other names.
    Name,
    /// Nobody who is trusted vouches for it, or not any more.
    Untrusted,
    /// There is no certificate.
    NoCertificate,
    /// Anything else: the two do not understand each other, or the server does not like something.
    Protocol,
}

impl Refusal {
    /// The kind of a failure.
    pub fn of(e: &rustls::Error) -> Refusal {
        match e {
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => Refusal::Digest,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Refusal::Name,
            rustls::Error::InvalidCertificate(CertificateError::Other(e)) if dane::is_no_match(e) => Refusal::Tlsa,
            rustls::Error::InvalidCertificate(_) => Refusal::Untrusted,
            rustls::Error::NoCertificatesPresented => Refusal::NoCertificate,
            _ => Refusal::Protocol,
        }
    }
}
