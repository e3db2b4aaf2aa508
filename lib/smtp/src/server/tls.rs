//! What is known of the TLS connection, and STARTTLS (spec/smtp.md 2).

use super::host::Host;
use super::input::Source;
use super::session::{End, Hello, Session, User};
use std::io::Write;

/// A TLS connection, as the variables of mod_ssl tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// For the trace field: protocol, cipher, key sizes, and the client's name.
    pub info: Vec<u8>,
    /// The client's name, if it has shown a certificate that was accepted: the common name, else the whole.
    pub client: Option<Vec<u8>>,
    /// The address in its certificate.
    pub email: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the variables through `get`; `None` if there is no TLS.
    pub fn read(get: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Tls> {
        let protocol = get(b"SSL_PROTOCOL")?;
        let or_unknown = |name: &[u8]| get(name).unwrap_or_else(|| b"unknown".to_vec());
        let verified = get(b"SSL_CLIENT_VERIFY").is_none_or(|result| result == b"SUCCESS");
        let name = get(b"SSL_CLIENT_S_DN").filter(|_| verified);
        let mut info = [protocol.as_slice(), b": ", &or_unknown(b"SSL_CIPHER"), b" ["].concat();
        info.extend_from_slice(&or_unknown(b"SSL_CIPHER_USEKEYSIZE"));
        info.push(b'/');
        info.extend_from_slice(&or_unknown(b"SSL_CIPHER_ALGKEYSIZE"));
        info.extend_from_slice(b"] DN=");
        info.extend_from_slice(name.as_deref().unwrap_or(b"none"));
        let email = name.as_ref().and_then(|_| get(b"SSL_CLIENT_S_DN_Email"));
        let client = name.map(|name| get(b"SSL_CLIENT_S_DN_CN").unwrap_or(name));
        Some(Tls { info, client, email })
    }
}

impl<S: Source, W: Write, H: Host> Session<S, W, H> {
    /// Begins TLS. What the client has sent in clear behind the command is thrown away, and it is unknown again.
    pub(super) fn starttls(&mut self, argument: &[u8]) -> Result<(), End> {
        if self.tls.is_some() {
            return self.error(b"503 TLS already active (#5.5.1)");
        }
        if !self.settings.switches.starttls.offered {
            return self.error(b"500 unimplemented (#5.5.1)");
        }
        if !argument.is_empty() {
            return self.error(b"501 STARTTLS has no parameters (#5.5.4)");
        }
        self.reply(&[b"220 Ready to start TLS (#5.7.0)"]);
        self.flush()?;
        let variables = self.host.start_tls().map_err(End::NoTls)?;
        // The process that does TLS may be in a stranger's hands: it has no other variables to set.
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(b"SSL_")).collect();
        for (name, value) in &variables {
            self.host.export(name, Some(value));
        }
        self.input.clear();
        self.forget_transaction();
        self.host.export(b"HELOHOST", None);
        self.hello = Hello::default();
        self.forget_user();
        let get = |name: &[u8]| variables.iter().find(|v| v.0 == name).map(|v| v.1.clone());
        let tls = Tls::read(get).ok_or(End::NoTls(std::io::ErrorKind::InvalidData.into()))?;
        let relays = self.settings.switches.starttls.certificate_relays;
        self.encrypted(tls, relays);
        Ok(())
    }

    /// The connection is encrypted from now on. A client with a certificate may be allowed to relay for it.
    pub(super) fn encrypted(&mut self, tls: Tls, certificate_relays: bool) {
        if let Some(name) = tls.client.as_ref().filter(|_| certificate_relays) {
            self.relay = Some(Vec::new());
            self.certificate = true;
            self.host.export(b"RELAYCLIENT", Some(b""));
            self.known_as(name);
            if self.settings.switches.starttls.certificate_names {
                self.logged_in(User { method: "cert", name: name.clone() });
            }
        }
        self.tls = Some(tls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Option<Tls> {
        Tls::read(|name| variables.iter().find(|v| v.0.as_bytes() == name).map(|v| v.1.into()))
    }

    #[test]
    fn variables_tell_of_the_connection() {
        assert_eq!(read(&[("SSL_CIPHER", "X")]), None);
        let tls = read(&[("SSL_PROTOCOL", "TLSv1.3")]).unwrap();
        assert_eq!((&*tls.info, tls.client), (&b"TLSv1.3: unknown [unknown/unknown] DN=none"[..], None));
        let full = [
            ("SSL_PROTOCOL", "TLSv1.2"),
            ("SSL_CIPHER", "ECDHE-X"),
            ("SSL_CIPHER_USEKEYSIZE", "128"),
            ("SSL_CIPHER_ALGKEYSIZE", "256"),
            ("SSL_CLIENT_S_DN", "/C=DE/CN=node"),
            ("SSL_CLIENT_S_DN_CN", "node"),
            ("SSL_CLIENT_S_DN_Email", "a@b"),
        ];
        let tls = read(&full).unwrap();
        assert_eq!(tls.info, b"TLSv1.2: ECDHE-X [128/256] DN=/C=DE/CN=node");
        assert_eq!((tls.client.as_deref(), tls.email.as_deref()), (Some(&b"node"[..]), Some(&b"a@b"[..])));
        let good = read(&[&full[..], &[("SSL_CLIENT_VERIFY", "SUCCESS")]].concat()).unwrap();
        assert!(good.client.is_some());
        let bad = read(&[&full[..], &[("SSL_CLIENT_VERIFY", "FAILED:expired")]].concat()).unwrap();
        assert_eq!((bad.client, bad.email), (None, None));
        let nameless = read(&[("SSL_PROTOCOL", "x"), ("SSL_CLIENT_S_DN", "/C=DE")]).unwrap();
        assert_eq!(nameless.client.as_deref(), Some(&b"/C=DE"[..]));
    }
}
