//! The forms in which a password is kept, but for those of crypt(3), which only the host's own library knows.

use crate::scram::Verifier;
use crate::{Secret, base64, digest, hex, same};
use argon2::{Algorithm, Argon2, Params, Version};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The most memory that a hash may ask for (KiB); argon2's own recommendation for servers is a quarter of it.
const MEMORY_MAX: u32 = 256 << 10;
/// The most passes over that memory.
const PASSES_MAX: u32 = 64;

/// A kept password.
pub enum Stored<'a> {
    /// The password itself.
    Plain(&'a [u8]),
    /// An MD5, SHA-1 or SHA-256 hash, 16, 20 or 32 bytes, without salt.
    Hash(Vec<u8>),
    /// What SCRAM-SHA-256 keeps.
    Scram(Box<Verifier>),
    /// An argon2 string.
    Argon2(&'a [u8]),
    /// Another string `$...$...`: crypt(3) has to say.
    Crypt(&'a [u8]),
    /// Nothing that a password could fit.
    Unusable,
}

impl<'a> Stored<'a> {
    /// Reads `text`: `%` and hexadecimal digits; `SCRAM-SHA-256$...`; `$...$...`; else a password in clear, from which
    /// one `=` in front is dropped: with it the password may begin like any of the others.
    pub fn parse(text: &'a [u8]) -> Stored<'a> {
        match text {
            [b'=', password @ ..] => Stored::plain(password),
            [b'%', digits @ ..] => match hex::decode(digits) {
                Some(hash) if matches!(hash.len(), 16 | 20 | 32) => Stored::Hash(hash),
                _ => Stored::Unusable,
            },
            _ if text.starts_with(b"SCRAM-SHA-256$") => {
                Verifier::parse(text).map_or(Stored::Unusable, |v| Stored::Scram(Box::new(v)))
            }
            _ if text.starts_with(b"$argon2") => Stored::Argon2(text),
            [b'$', rest @ ..] if rest.contains(&b'$') => Stored::Crypt(text),
            _ => Stored::plain(text),
        }
    }

    fn plain(password: &'a [u8]) -> Stored<'a> {
        if password.is_empty() { Stored::Unusable } else { Stored::Plain(password) }
    }

    /// Whether `response` is the password, or, if the password is kept in clear, the digest that CRAM-MD5 or APOP makes
    /// of it and `challenge`. `None`: crypt(3) has to be asked. Nothing fits an empty response.
    pub fn fits(&self, response: &[u8], challenge: &[u8]) -> Option<bool> {
        if response.is_empty() {
            return Some(false);
        }
        Some(match self {
            // All three whatever the first says: the time is the same.
            Stored::Plain(password) => {
                let with_challenge = !challenge.is_empty()
                    & (same(&digest::cram(challenge, password), response)
                        | same(&digest::apop(challenge, password), response));
                same(password, response) | with_challenge
            }
            Stored::Hash(hash) => match hash.len() {
                16 => same(&Md5::digest(response), hash),
                20 => same(&Sha1::digest(response), hash),
                _ => same(&Sha256::digest(response), hash),
            },
            Stored::Scram(verifier) => verifier.fits(response),
            Stored::Argon2(text) => argon2(text, response).unwrap_or(false),
            Stored::Crypt(_) => return None,
            Stored::Unusable => false,
        })
    }
}

/// The string `$argon2id$...` for a new password, with a salt of the caller's, at least 8 bytes. It takes 19 MiB and about
/// 30 milliseconds to make and to check.
pub fn argon2id(password: &[u8], salt: &[u8]) -> Option<Vec<u8>> {
    let params = Params::DEFAULT;
    let settings = format!("$argon2id$v=19$m={},t={},p={}$", params.m_cost(), params.t_cost(), params.p_cost());
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, &mut hash).ok()?;
    let unpadded = |bytes: &[u8]| base64::encode(bytes).split(|&b| b == b'=').next().unwrap_or_default().to_vec();
    Some([settings.as_bytes(), &unpadded(salt), b"$", &unpadded(&hash)].concat())
}

/// Whether `password` fits the string `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`, or one with argon2i or argon2d;
/// `None` if it is not such a string, or asks for too much.
fn argon2(text: &[u8], password: &[u8]) -> Option<bool> {
    let mut parts = std::str::from_utf8(text).ok()?.strip_prefix('$')?.split('$');
    let algorithm = Algorithm::new(parts.next()?).ok()?;
    let mut part = parts.next()?;
    let mut version = Version::V0x10;
    if let Some(number) = part.strip_prefix("v=") {
        version = Version::try_from(number.parse::<u32>().ok()?).ok()?;
        part = parts.next()?;
    }
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for setting in part.split(',') {
        let (name, value) = setting.split_once('=')?;
        let place = match name {
            "m" => &mut memory,
            "t" => &mut passes,
            "p" => &mut lanes,
            _ => return None,
        };
        *place = Some(value.parse::<u32>().ok()?);
    }
    let memory = memory.filter(|m| *m <= MEMORY_MAX)?;
    let passes = passes.filter(|t| *t <= PASSES_MAX)?;
    let salt = base64::decode_unpadded(parts.next()?.as_bytes())?;
    let hash = base64::decode_unpadded(parts.next()?.as_bytes())?;
    if parts.next().is_some() {
        return None;
    }
    let params = Params::new(memory, passes, lanes?, Some(hash.len())).ok()?;
    let mut made = Secret::new(vec![0; hash.len()]);
    Argon2::new(algorithm, version, params).hash_password_into(password, &salt, &mut made).ok()?;
    Some(same(&made, &hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(kept: &[u8], response: &[u8], challenge: &[u8]) -> Option<bool> {
        Stored::parse(kept).fits(response, challenge)
    }

    #[test]
    fn each_form_fits_its_password_and_nothing_else() {
        let md5 = b"%5EBE2294ecd0e0f08eab7690d2a6ee69";
        let sha1 = b"%e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4";
        let sha256 = b"%2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let scram = Verifier::of_password(b"secret", b"salt", 4096).text();
        // The test string of argon2's own documentation: "password" with "somesalt".
        let argon = b"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
        let rows: &[(&[u8], &[u8], Option<bool>)] = &[
            (b"secret", b"secret", Some(true)),
            (b"secret", b"secreT", Some(false)),
            (b"secret", b"", Some(false)),
            (b"=secret", b"secret", Some(true)),
            (b"=secret", b"=secret", Some(false)),
            (b"=%secret", b"%secret", Some(true)),
            (b"=$1$x", b"$1$x", Some(true)),
            (b"==x", b"=x", Some(true)),
            (b"=", b"=", Some(false)),
            (b"", b"", Some(false)),
            (b"$money", b"$money", Some(true)),
            (md5, b"secret", Some(true)),
            (md5, b"secreT", Some(false)),
            (md5, md5, Some(false)),
            (md5, &md5[1..], Some(false)),
            (sha1, b"secret", Some(true)),
            (sha1, &sha1[1..], Some(false)),
            (sha256, b"secret", Some(true)),
            (sha256, sha256, Some(false)),
            (b"%", b"%", Some(false)),
            (b"%5ebe", b"%5ebe", Some(false)),
            (b"%5ebe2294ecd0e0f08eab7690d2a6ee6g", b"secret", Some(false)),
            (&scram, b"secret", Some(true)),
            (&scram, b"secreT", Some(false)),
            (&scram, &scram, Some(false)),
            (b"SCRAM-SHA-256$x", b"SCRAM-SHA-256$x", Some(false)),
            (argon, b"password", Some(true)),
            (argon, b"passwore", Some(false)),
            (argon, argon, Some(false)),
            (b"$argon2i$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKf", b"password", Some(false)),
            (b"$argon2id$", b"$argon2id$", Some(false)),
            (b"$6$salt$hash", b"secret", None),
            (b"$y$j9T$salt$hash", b"secret", None),
        ];
        for &(kept, response, expected) in rows {
            assert_eq!(fits(kept, response, b""), expected, "{} {}", kept.escape_ascii(), response.escape_ascii());
        }
    }

    #[test]
    fn a_new_string_fits_its_password() {
        let made = argon2id(b"secret", b"sixteen bytes...").unwrap();
        assert!(made.starts_with(b"$argon2id$v=19$m=19456,t=2,p=1$c2l4dGVlbiBieXRlcy4uLg$"));
        assert_eq!((fits(&made, b"secret", b""), fits(&made, b"wrong", b"")), (Some(true), Some(false)));
        assert_eq!(argon2id(b"secret", b"short"), None);
    }

    #[test]
    fn digests_need_a_challenge_and_a_password_in_clear() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let cram = b"b913a602c7eda7a495b4e6e7334d3890";
        let apop = b"c4c9334bac560ecc979e58001b3e22fb";
        let timestamp = b"<1896.697170952@dbc.mtview.ca.us>";
        assert_eq!(fits(b"tanstaaftanstaaf", cram, challenge), Some(true));
        assert_eq!(fits(b"=tanstaaftanstaaf", cram, challenge), Some(true));
        assert_eq!(fits(b"tanstaaf", apop, timestamp), Some(true));
        assert_eq!(fits(b"tanstaaf", b"tanstaaf", timestamp), Some(true));
        assert_eq!(fits(b"tanstaaf", cram, challenge), Some(false));
        assert_eq!(fits(b"tanstaaf", apop, challenge), Some(false));
        assert_eq!(fits(b"tanstaaftanstaaf", cram, b""), Some(false));
        // A digest of the hash would make the hash as good as the password.
        let hash = b"%5ebe2294ecd0e0f08eab7690d2a6ee69";
        for known in [&hash[..], &hash[1..]] {
            assert_eq!(fits(hash, &digest::cram(challenge, known), challenge), Some(false));
            assert_eq!(fits(hash, &digest::apop(challenge, known), challenge), Some(false));
        }
    }
}
