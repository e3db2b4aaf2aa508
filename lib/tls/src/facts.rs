//! What is told about a session: the variables of mod_ssl, and the two words for a log.

use crate::ciphers::openssl_name;
use crate::x509::{self, Certificate, Name};
use rustls::pki_types::CertificateDer;
use rustls::{CommonState, Connection, HandshakeKind, ProtocolVersion};

/// A list of variables: name and value, neither with a NUL.
pub type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// What was found out about the far end's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It showed none, or nobody looked at it.
    Unknown,
    /// It showed a good one.
    Verified,
    /// It showed one that is not good, and this is why.
    Refused(String),
}

/// The version of the protocol in OpenSSL's words.
pub fn protocol(session: &CommonState) -> &'static str {
    match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    }
}

/// The cipher in OpenSSL's words, and the bits of its key.
pub fn cipher(session: &CommonState) -> (&'static [u8], u16) {
    let suite = session.negotiated_cipher_suite().and_then(|s| openssl_name(s.suite()));
    suite.unwrap_or((b"unknown", 0))
}

/// All that is told about a session. `own` is the chain that this end showed. A far end's certificate that is not
/// [`Peer::Verified`] is not told about, so that nobody takes it for good: only that there was one.
pub fn variables(connection: &mut Connection, own: &[CertificateDer<'_>], peer: &Peer) -> Variables {
    let mut list = Variables::new();
    let mut set = |name: &str, value: &[u8]| list.push((name.as_bytes().to_vec(), value.to_vec()));
    set("SSL_PROTOCOL", protocol(connection).as_bytes());
    let mut id = [0; 16];
    if connection.export_keying_material(&mut id, b"EXPORTER-session-id", None).is_ok() {
        set("SSL_SESSION_ID", id.iter().map(|b| format!("{b:02x}")).collect::<String>().as_bytes());
    }
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    set("SSL_SESSION_RESUMED", if resumed { b"Resumed" } else { b"Initial" });
    let (name, bits) = cipher(connection);
    set("SSL_CIPHER", name);
    set("SSL_CIPHER_EXPORT", b"false");
    set("SSL_CIPHER_USEKEYSIZE", bits.to_string().as_bytes());
    set("SSL_CIPHER_ALGKEYSIZE", bits.to_string().as_bytes());
    set("SSL_VERSION_INTERFACE", concat!("quoll/", env!("CARGO_PKG_VERSION")).as_bytes());
    set("SSL_VERSION_LIBRARY", b"rustls/0.23");
    let is_server = matches!(connection, Connection::Server(_));
    if let Connection::Server(server) = connection
        && let Some(name) = server.server_name()
    {
        set("SSL_TLS_SNI", name.as_bytes());
    }
    let (mine, theirs) = if is_server { ("SSL_SERVER_", "SSL_CLIENT_") } else { ("SSL_CLIENT_", "SSL_SERVER_") };
    chain(&mut list, mine, own);
    let verify = [theirs.as_bytes(), b"VERIFY"].concat();
    match peer {
        Peer::Unknown => list.push((verify, b"NONE".to_vec())),
        Peer::Refused(why) => list.push((verify, clean(format!("FAILED:{why}").as_bytes()))),
        Peer::Verified => {
            list.push((verify, b"SUCCESS".to_vec()));
            chain(&mut list, theirs, connection.peer_certificates().unwrap_or_default());
        }
    }
    list
}

/// The list as it goes over a control socket: `NAME=value` and a NUL each, and one more NUL at the end.
pub fn as_text(list: &Variables) -> Vec<u8> {
    let mut text = Vec::with_capacity(4096);
    for (name, value) in list {
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
        text.push(0);
    }
    // An empty list is two of them.
    text.extend_from_slice(if list.is_empty() { b"\0\0" } else { b"\0" });
    text
}

fn chain(list: &mut Variables, prefix: &str, certificates: &[CertificateDer<'_>]) {
    let Some((first, others)) = certificates.split_first() else { return };
    let mut set = |name: &str, value: &[u8]| list.push(([prefix.as_bytes(), name.as_bytes()].concat(), value.to_vec()));
    if let Some(certificate) = Certificate::parse(first) {
        set("M_VERSION", certificate.version.to_string().as_bytes());
        set("M_SERIAL", x509::decimal(certificate.serial).as_bytes());
        let mut name = |which: &str, name: &Name<'_>| {
            set(which, &name.one_line());
            for (attribute, value) in name.attributes() {
                set(&format!("{which}_{attribute}"), &clean(value));
            }
        };
        name("S_DN", &certificate.subject);
        name("I_DN", &certificate.issuer);
        set("V_START", x509::time_text(certificate.not_before).as_bytes());
        set("V_END", x509::time_text(certificate.not_after).as_bytes());
        set("A_SIG", x509::algorithm_name(certificate.signature_algorithm).as_bytes());
        set("A_KEY", x509::algorithm_name(certificate.key_algorithm).as_bytes());
    }
    set("CERT", &pem(first));
    for (i, certificate) in others.iter().enumerate() {
        set(&format!("CERT_CHAIN_{i}"), &pem(certificate));
    }
}

/// A value without anything that could end it early, or a line.
fn clean(value: &[u8]) -> Vec<u8> {
    value.iter().map(|&b| if b < b' ' || b == 127 { b'?' } else { b }).collect()
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = b"-----BEGIN CERTIFICATE-----\n".to_vec();
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for i in 0..4 {
                let digit = DIGITS.get((bits >> (18 - 6 * i)) as usize & 63).copied().unwrap_or(b'=');
                text.push(if i <= group.len() { digit } else { b'=' });
            }
        }
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_text() {
        assert_eq!(as_text(&vec![]), b"\0\0");
        let list = vec![(b"A".to_vec(), b"1".to_vec()), (b"B".to_vec(), b"".to_vec())];
        assert_eq!(as_text(&list), b"A=1\0B=\0\0");
    }

    #[test]
    fn certificates_as_text_can_be_read_again() {
        for length in [1, 2, 3, 47, 48, 49, 96, 100] {
            let der: Vec<u8> = (0..length).map(|i| (i * 37) as u8).collect();
            assert_eq!(crate::pem::certificates_in(&pem(&der)).unwrap()[0].as_ref(), der, "{length}");
        }
    }

    #[test]
    fn a_value_ends_nothing_early() {
        assert_eq!(clean(b"admin\0.example\r\nX=\x7f\xc3\xa4"), b"admin?.example??X=?\xc3\xa4");
    }
}
