//! The side that is connected to: which certificate it shows, what it wants to see of clients, and when its files have
//! changed.

use crate::ciphers::Ciphers;
use crate::facts::Peer;
use crate::ticket::Tickets;
use crate::x509::{self, Certificate};
use crate::{Error, pem, roots};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, Connection, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// What a server is made of: names of files, and numbers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The certificate and those between it and an authority.
    pub chain_file: Vec<u8>,
    /// Its private key.
    pub key_file: Vec<u8>,
    /// What the key is encrypted with.
    pub password: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Certificates for further host names: lines `name:chain file[|key file]`; `.name` is for all names below.
    pub names_file: Option<Vec<u8>>,
    /// OpenSSL cipher list.
    pub ciphers: Option<Vec<u8>>,
    /// Authorities of clients, and single clients: whoever is not in here or vouched for by these is not known.
    pub client_file: Option<Vec<u8>>,
    /// Authorities of clients, if there is no `client_file`.
    pub authorities_file: Option<Vec<u8>>,
    /// Files with further ones.
    pub authorities_dir: Option<Vec<u8>>,
    /// How many certificates may stand between a client's and its authority's.
    pub depth: usize,
}

/// What a server wants to see of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing. Only then are sessions resumed: a ticket is no proof that a certificate is still good.
    Nothing,
    /// A certificate, if it has one. It may be a bad one: [`Server::judge`] tells.
    Certificate,
    /// A good certificate.
    GoodCertificate,
}

/// Everything that is needed for connections, in memory.
pub struct Server {
    provider: Arc<CryptoProvider>,
    chooser: Arc<Chooser>,
    tickets: Arc<Tickets>,
    nothing: Arc<ServerConfig>,
    clients: Option<Arc<Clients>>,
    stamps: Vec<(Vec<u8>, Option<Stamp>)>,
    /// Words of the cipher list that could not be used.
    pub unknown_ciphers: Vec<Vec<u8>>,
}

impl Server {
    /// Reads all files. `tickets` outlives a server that is made anew when files have changed. With `clients` the files
    /// about clients are read as well.
    pub fn load(settings: &Settings, tickets: Arc<Tickets>, clients: bool) -> Result<Server, Error> {
        let ciphers = settings.ciphers.as_deref().map_or_else(|| Ok(Ciphers::default()), Ciphers::parse)?;
        let provider = ciphers.provider();
        let mut files = vec![settings.chain_file.clone(), settings.key_file.clone()];
        let mut chooser = Chooser::new(certified(settings, &settings.chain_file, &settings.key_file, &provider)?);
        if let Some(file) = &settings.names_file {
            files.push(file.clone());
            for line in pem::read(file)?.split(|&b| b == b'\n').map(<[u8]>::trim_ascii) {
                if line.is_empty() || line.starts_with(b"#") {
                    continue;
                }
                let (name, chain, key) = name_line(line).ok_or_else(|| Error::Line(file.clone(), line.to_vec()))?;
                chooser.names.insert(name.to_ascii_lowercase(), certified(settings, chain, key, &provider)?);
                files.extend([chain.to_vec(), key.to_vec()]);
            }
        }
        let clients = if clients { Clients::load(settings, &provider)?.map(Arc::new) } else { None };
        files.extend(settings.client_file.clone());
        let stamps = files.into_iter().map(|f| (stamp(&f), f)).map(|(stamp, f)| (f, stamp)).collect();
        let chooser = Arc::new(chooser);
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(chooser.clone());
        usual(&mut config);
        config.ticketer = tickets.clone();
        let unknown_ciphers = ciphers.unknown;
        Ok(Server { provider, chooser, tickets, nothing: Arc::new(config), clients, stamps, unknown_ciphers })
    }

    /// Whether one of the files is not any more what was read.
    pub fn is_outdated(&self) -> bool {
        self.stamps.iter().any(|(file, then)| stamp(file) != *then)
    }

    /// Takes the files as they are now for what was read: [`Server::is_outdated`] waits for the next change.
    pub fn look_again(&mut self) {
        self.stamps.iter_mut().for_each(|(file, then)| *then = stamp(file));
    }

    /// To be called now and then: changes the key of tickets when it is time.
    pub fn rotate_tickets(&self) {
        self.tickets.rotate();
    }

    /// Whether anything is known about clients.
    pub fn knows_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// A new connection. Without anything known about clients nothing can be wanted of them: `Error::Refused`.
    pub fn connection(&self, wanted: Wanted) -> Result<Connection, Error> {
        let config = match (wanted, &self.clients) {
            (Wanted::Nothing, _) => self.nothing.clone(),
            (_, None) => return Err(Error::Refused("no authority of clients is known".to_owned())),
            (_, Some(clients)) => {
                let verifier = Verifier { clients: clients.clone(), mandatory: wanted == Wanted::GoodCertificate };
                let builder = ServerConfig::builder_with_provider(self.provider.clone());
                let builder = builder.with_safe_default_protocol_versions()?;
                let builder = builder.with_client_cert_verifier(Arc::new(verifier));
                let mut config = builder.with_cert_resolver(self.chooser.clone());
                usual(&mut config);
                config.send_tls13_tickets = 0;
                Arc::new(config)
            }
        };
        Ok(Connection::Server(ServerConnection::new(config)?))
    }

    /// What to think of the client's certificate.
    pub fn judge(&self, connection: &Connection) -> Peer {
        let (Some(clients), Some(chain)) = (&self.clients, connection.peer_certificates()) else {
            return Peer::Unknown;
        };
        let Some((first, others)) = chain.split_first() else { return Peer::Unknown };
        match clients.verify(first, others, UnixTime::now()) {
            Ok(()) => Peer::Verified,
            Err(e) => Peer::Refused(e.to_string()),
        }
    }

    /// The chain that was shown to the client of the connection made last.
    pub fn shown(&self) -> Vec<CertificateDer<'static>> {
        let shown = self.chooser.shown.lock().ok().and_then(|s| s.clone());
        shown.unwrap_or_else(|| self.chooser.default.clone()).cert.clone()
    }
}

/// Whether the certificate that a far end shows is in the name `host` (an address counts as a name).
pub fn is_named(certificate: &[u8], host: &[u8]) -> bool {
    let certificate = CertificateDer::from(certificate);
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let Ok(name) = rustls::pki_types::ServerName::try_from(host.strip_suffix('.').unwrap_or(host)) else {
        return false;
    };
    let Ok(end) = EndEntityCert::try_from(&certificate) else { return false };
    if end.verify_is_valid_for_subject_name(&name).is_ok() {
        return true;
    }
    // The common name counts where there is no other name (RFC 6125 6.4.4).
    let common = Certificate::parse(&certificate).and_then(|c| c.subject.attributes().filter(|a| a.0 == "CN").last());
    end.valid_dns_names().next().is_none() && common.is_some_and(|(_, cn)| cn.eq_ignore_ascii_case(host.as_bytes()))
}

/// What is the same for all configurations.
fn usual(config: &mut ServerConfig) {
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Each session gives one for the next; the library's two are for clients that open several connections at once.
    config.send_tls13_tickets = 1;
}

fn certified(
    settings: &Settings,
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    pem::certified_key(chain, key, settings.password.as_ref().map(|p| p.as_slice()), provider).map(Arc::new)
}

/// The parts of `name:chain file[|key file]`; without a key file the key is in the chain file.
fn name_line(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = line.iter().position(|&b| b == b':').filter(|&at| at > 0)?;
    let (name, rest) = (line.get(..colon)?, line.get(colon + 1..)?);
    let mut files = rest.split(|&b| b == b'|').map(<[u8]>::trim_ascii);
    let chain = files.next().filter(|f| !f.is_empty())?;
    let key = files.next().filter(|f| !f.is_empty()).unwrap_or(chain);
    Some((name.trim_ascii(), chain, key))
}

/// What changes when a file is written anew.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([i64; 7]);

fn stamp(file: &[u8]) -> Option<Stamp> {
    let of = |m: Metadata| {
        let unsigned = [m.dev(), m.ino(), m.size()].map(|n| n.cast_signed());
        let [dev, ino, size] = unsigned;
        Stamp([dev, ino, size, m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()])
    };
    std::fs::metadata(Path::new(OsStr::from_bytes(file))).ok().map(of)
}

/// Chooses the certificate by the name that the client asks for (SNI).
#[derive(Debug)]
struct Chooser {
    default: Arc<CertifiedKey>,
    names: BTreeMap<Vec<u8>, Arc<CertifiedKey>>,
    shown: Mutex<Option<Arc<CertifiedKey>>>,
}

impl Chooser {
    fn new(default: Arc<CertifiedKey>) -> Chooser {
        Chooser { default, names: BTreeMap::new(), shown: Mutex::new(None) }
    }

    fn choose(&self, name: &[u8]) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let suffixes = name.iter().enumerate().filter(|(_, b)| **b == b'.').filter_map(|(at, _)| name.get(at..));
        let mut keys = std::iter::once(name.as_slice()).chain(suffixes);
        keys.find_map(|key| self.names.get(key)).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = hello.server_name().map_or(&self.default, |name| self.choose(name.as_bytes()));
        if let Ok(mut shown) = self.shown.lock() {
            *shown = Some(chosen.clone());
        }
        Some(chosen.clone())
    }
}

/// The clients that are known: authorities that vouch for others, and single certificates.
#[derive(Debug)]
struct Clients {
    authorities: RootCertStore,
    single: Vec<CertificateDer<'static>>,
    hints: Vec<DistinguishedName>,
    depth: usize,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    fn load(settings: &Settings, provider: &CryptoProvider) -> Result<Option<Clients>, Error> {
        let mut clients = Clients {
            authorities: RootCertStore::empty(),
            single: Vec::new(),
            hints: Vec::new(),
            depth: settings.depth,
            algorithms: provider.signature_verification_algorithms,
        };
        if let Some(file) = &settings.client_file {
            for certificate in pem::certificates(file)? {
                // Whoever may not vouch for others counts for himself only.
                if Certificate::parse(&certificate).is_some_and(|c| c.is_authority) {
                    clients.authorities.add_parsable_certificates([certificate.clone()]);
                }
                clients.single.push(certificate);
            }
        } else if settings.authorities_file.is_some() || settings.authorities_dir.is_some() {
            let (file, dir) = (settings.authorities_file.as_deref(), settings.authorities_dir.as_deref());
            clients.authorities = RootCertStore { roots: roots::load(file, dir)?.roots.clone() };
        } else {
            return Ok(None);
        }
        clients.hints = clients.authorities.subjects();
        Ok(Some(clients))
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if self.single.contains(certificate) {
            return within_dates(certificate, now);
        }
        let depth_allows = |path: &VerifiedPath<'_>| match path.intermediate_certificates().count() <= self.depth {
            true => Ok(()),
            false => Err(webpki::Error::MaximumPathDepthExceeded),
        };
        let end = EndEntityCert::try_from(certificate).map_err(refused)?;
        let usage = KeyUsage::client_auth();
        let roots = &self.authorities.roots;
        end.verify_for_usage(self.algorithms.all, roots, between, now, usage, None, Some(&depth_allows))
            .map_err(refused)?;
        Ok(())
    }
}

fn within_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let bad = |e: CertificateError| Err(rustls::Error::InvalidCertificate(e));
    let dates = Certificate::parse(certificate).map(|c| (x509::seconds(c.not_before), x509::seconds(c.not_after)));
    match dates {
        Some((Some(first), Some(last))) if first <= now && now <= last => Ok(()),
        Some((Some(first), Some(_))) if now < first => bad(CertificateError::NotValidYet),
        Some((Some(_), Some(_))) => bad(CertificateError::Expired),
        _ => bad(CertificateError::BadEncoding),
    }
}

fn refused(e: webpki::Error) -> rustls::Error {
    rustls::Error::InvalidCertificate(match e {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        e => CertificateError::Other(rustls::OtherError(Arc::new(e))),
    })
}

/// Looks at clients' certificates during the handshake.
#[derive(Debug)]
struct Verifier {
    clients: Arc<Clients>,
    mandatory: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Single certificates are not named by their issuers' names alone: with a hint their clients might not show them.
        if self.clients.single.len() > self.clients.authorities.len() { &[] } else { &self.clients.hints }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.mandatory {
            self.clients.verify(certificate, between, now)?;
        }
        // A mail server that shows a certificate of its own accord is not sent away for it: it is a stranger, no more.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.clients.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.clients.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.algorithms.supported_schemes()
    }
}
