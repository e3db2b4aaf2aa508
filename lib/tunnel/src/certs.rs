//! control/domaincerts: the certificate this host shows for a sending domain (spec/control.md 4.8).

use crate::keys::{suffixes, value_of};
use zeroize::Zeroizing;

/// The files of a client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate and the authorities between it and a trusted one, in PEM form.
    pub certificate: Vec<u8>,
    /// The private key, in PEM form.
    pub key: Vec<u8>,
    /// What it is encrypted with; empty: nothing.
    pub password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// Looks the sender's domain up in the lines of the file: itself, its suffixes, the empty key, and last `*`. None is
    /// what an empty value says, too.
    pub fn find(lines: &[Vec<u8>], domain: &[u8]) -> Option<Credentials> {
        let value = suffixes(domain).chain([&b"*"[..]]).find_map(|key| value_of(key, lines))?;
        let mut parts = value.splitn(3, |&b| b == b'|');
        let mut next = || parts.next().unwrap_or_default();
        let (certificate, key, password) = (next(), next(), next());
        let key = if key.is_empty() { certificate } else { key };
        let found =
            Credentials { certificate: certificate.to_vec(), key: key.to_vec(), password: password.to_vec().into() };
        (!certificate.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_key_counts() {
        let lines: Vec<Vec<u8>> =
            ["*:all", ".b.test:sub|subkey", "a.b.test:own|ownkey|se|cret", "no.test:"].map(|l| l.into()).to_vec();
        let find = |domain: &str| {
            let c = Credentials::find(&lines, domain.as_bytes())?;
            Some([c.certificate, c.key, c.password.to_vec()].map(|p| String::from_utf8(p).unwrap()).join(" "))
        };
        assert_eq!(find("a.b.test").unwrap(), "own ownkey se|cret");
        assert_eq!(find("c.B.test").unwrap(), "sub subkey ");
        assert_eq!(find("b.test").unwrap(), "all all ");
        assert_eq!(find("").unwrap(), "all all ");
        assert_eq!(find("no.test"), None);
        assert_eq!(Credentials::find(&[], b"a"), None);
    }
}
