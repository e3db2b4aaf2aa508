//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the client proves that it knows the password, the
//! server that it knows what was made of it; neither says more to the other or to a listener.
//!
//! A [`Verifier`] is made of what SASLprep makes of a password, or if that has no place for it of the bytes as they are
//! (so does PostgreSQL). A [`Client`] sends names and uses passwords likewise; a [`Server`] takes names as they come.

mod client;
mod server;

pub use client::Client;
pub use server::{ClientFirst, Server, same_channel};

use crate::{Secret, base64, same, saslprep};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The name in the list of mechanisms.
pub const NAME: &[u8] = b"SCRAM-SHA-256";
/// How often a new password is hashed (RFC 7677 4: at least).
pub const ITERATIONS: u32 = 4096;
/// How often a client lets a server tell it to hash, and what a verifier may ask for: about a second.
const ITERATIONS_MAX: u32 = 2_000_000;
/// Bytes of a key and of a signature.
const KEY: usize = 32;

type Key = [u8; KEY];

/// What is wrong with a message of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has not the form it should have, or belongs to another exchange.
    Message,
    /// It asks for what is not supported: an extension, channel binding, more work than is reasonable, or less.
    Unsupported,
    /// The other side does not know the password, or what was made of it.
    Proof,
}

/// What a server needs to know of a password: who has it can check clients, but not pose as one.
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored: Key,
    server: Key,
}

impl Drop for Verifier {
    fn drop(&mut self) {
        crate::secret::wipe(&mut self.stored);
        crate::secret::wipe(&mut self.server);
    }
}

impl Verifier {
    /// Makes one of a password, with a salt of the caller's.
    pub fn of_password(password: &[u8], salt: &[u8], iterations: u32) -> Verifier {
        let salted = salted_as_prepared(password, salt, iterations);
        let stored = stored_key(&salted);
        Verifier { iterations, salt: salt.to_vec(), stored, server: hmac(&salted, b"Server Key") }
    }

    /// One that no password fits, for a user who is not known or has none that would do: always the same for the same
    /// secret `key` and `user`, so that nobody without the key can tell such a user from another.
    pub fn of_nobody(key: &[u8], user: &[u8]) -> Verifier {
        let (stored, server) = (tagged(key, b"stored", user), tagged(key, b"server", user));
        Verifier { iterations: ITERATIONS, salt: salt_for(key, user), stored, server }
    }

    /// Reads `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` (RFC 5803 3), as [`Verifier::text`] writes it and as
    /// PostgreSQL keeps it.
    pub fn parse(text: &[u8]) -> Option<Verifier> {
        let mut parts = text.strip_prefix(NAME)?.strip_prefix(b"$")?.split(|&b| b == b'$');
        let (work, keys) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let (iterations, salt) = halves(work)?;
        let (stored, server) = halves(keys)?;
        let iterations = number(iterations).filter(|n| (1..=ITERATIONS_MAX).contains(n))?;
        let salt = base64::decode(salt).filter(|s| !s.is_empty())?.to_vec();
        Some(Verifier { iterations, salt, stored: key(stored)?, server: key(server)? })
    }

    /// The form in which it is kept in a file: one line, without blanks.
    pub fn text(&self) -> Vec<u8> {
        let iterations = self.iterations.to_string();
        let (salt, stored, server) =
            (base64::encode(&self.salt), base64::encode(&self.stored), base64::encode(&self.server));
        [NAME, b"$", iterations.as_bytes(), b":", &salt, b"$", &stored, b":", &server].concat()
    }

    /// Whether it was made of `password`: for clients that send the password itself.
    pub fn fits(&self, password: &[u8]) -> bool {
        same(&stored_key(&salted_as_prepared(password, &self.salt, self.iterations)), &self.stored)
    }
}

/// The salt of a user for whom none is kept: the same at each time, and not to be guessed without `key`.
pub fn salt_for(key: &[u8], user: &[u8]) -> Vec<u8> {
    tagged(key, b"salt", user).get(..16).unwrap_or_default().to_vec()
}

fn tagged(key: &[u8], tag: &[u8], user: &[u8]) -> Key {
    hmac(key, &[tag, b"\0", user].concat())
}

fn hmac(key: &[u8], text: &[u8]) -> Key {
    // HMAC has no key it would refuse.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; KEY] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn salted_as_prepared(password: &[u8], salt: &[u8], iterations: u32) -> Secret {
    salted(&prepared_or_as_is(password), salt, iterations)
}

/// What SASLprep makes of `text`, or the bytes as they are if they have no place there.
fn prepared_or_as_is(text: &[u8]) -> Secret {
    saslprep::prepared(text).unwrap_or_else(|| Secret::new(text.to_vec()))
}

fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Secret {
    let mut salted = Secret::new(vec![0; KEY]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    salted
}

fn client_key(salted: &[u8]) -> Key {
    hmac(salted, b"Client Key")
}

fn stored_key(salted: &[u8]) -> Key {
    Sha256::digest(client_key(salted)).into()
}

fn exclusive_or(one: &Key, other: &Key) -> Key {
    let mut result = *one;
    result.iter_mut().zip(other).for_each(|(a, b)| *a ^= b);
    result
}

/// A key or signature in Base64.
fn key(text: &[u8]) -> Option<Key> {
    base64::decode(text)?.as_slice().try_into().ok()
}

/// What stands before and after the only colon.
fn halves(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == b':')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn number(text: &[u8]) -> Option<u32> {
    // parse() would take a sign.
    std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// The value of the next attribute, which must be `name`, and the attributes after it.
fn attribute(text: &[u8], name: u8) -> Option<(&[u8], Option<&[u8]>)> {
    let text = text.strip_prefix(&[name, b'='])?;
    Some(match text.iter().position(|&b| b == b',') {
        None => (text, None),
        Some(at) => (text.get(..at)?, text.get(at + 1..)),
    })
}

/// RFC 5802 7: `printable`, that is without blank and comma.
fn is_nonce(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| matches!(b, 0x21..=0x2b | 0x2d..=0x7e))
}

#[cfg(test)]
mod tests;
