//! The client's half.

use super::{
    ITERATIONS, ITERATIONS_MAX, Key, Wrong, attribute, client_key, exclusive_or, hmac, is_nonce, number,
    prepared_or_as_is, salted,
};
use crate::{Secret, base64, same};
use sha2::{Digest, Sha256};

/// No channel binding, no other user to act as.
const HEADER: &[u8] = b"n,,";

/// A client in one exchange: sends [`Client::first`], gives the server's answer to [`Client::answer`] and sends what
/// that returns, gives the server's next answer to [`Client::check`].
pub struct Client {
    bare: Vec<u8>,
    nonce: Vec<u8>,
    password: Secret,
    /// What the server must prove that it knows.
    expected: Option<Key>,
}

impl Client {
    /// A client that has `password`. It and the name are prepared here (RFC 5802 5.1 and 2.2). `random` are at least 18
    /// bytes nobody can foresee, for this exchange only.
    pub fn new(user: &[u8], password: &[u8], random: &[u8]) -> Client {
        let nonce = base64::encode(random).to_vec();
        let bare = [b"n=".as_slice(), &escape(&prepared_or_as_is(user)), b",r=", &nonce].concat();
        Client { bare, nonce, password: prepared_or_as_is(password), expected: None }
    }

    /// The first message, before Base64.
    pub fn first(&self) -> Vec<u8> {
        [HEADER, &self.bare].concat()
    }

    /// The answer to the server's first message, both without Base64.
    pub fn answer(&mut self, server_first: &[u8]) -> Result<Vec<u8>, Wrong> {
        if server_first.starts_with(b"m=") {
            return Err(Wrong::Unsupported);
        }
        let parse = || {
            let (nonce, rest) = attribute(server_first, b'r')?;
            let (salt, rest) = attribute(rest?, b's')?;
            let (iterations, _) = attribute(rest?, b'i')?;
            Some((nonce, base64::decode(salt).filter(|s| !s.is_empty())?, number(iterations)?))
        };
        let (nonce, salt, iterations) = parse().ok_or(Wrong::Message)?;
        // The server must have added something of its own.
        if !is_nonce(nonce) || !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Wrong::Message);
        }
        if !(ITERATIONS..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Wrong::Unsupported);
        }
        let salted = salted(&self.password, &salt, iterations);
        let mut message = [b"c=".as_slice(), &base64::encode(HEADER), b",r=", nonce].concat();
        let whole = [&self.bare, b",".as_slice(), server_first, b",", &message].concat();
        let client = client_key(&salted);
        let signature = hmac(&Sha256::digest(client), &whole);
        self.expected = Some(hmac(&hmac(&salted, b"Server Key"), &whole));
        message.extend_from_slice(b",p=");
        message.extend_from_slice(&base64::encode(&exclusive_or(&client, &signature)));
        Ok(message)
    }

    /// Looks at the server's last message, without Base64. Only if this is `Ok` it was the right server: do not go on
    /// otherwise, even if it says that all went well.
    pub fn check(&self, server_final: &[u8]) -> Result<(), Wrong> {
        if server_final.starts_with(b"e=") {
            return Err(Wrong::Proof);
        }
        let signature = attribute(server_final, b'v').and_then(|(v, _)| base64::decode(v)).ok_or(Wrong::Message)?;
        match self.expected {
            Some(expected) if same(&signature, &expected) => Ok(()),
            _ => Err(Wrong::Proof),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(expected) = &mut self.expected {
            crate::secret::wipe(expected);
        }
    }
}

/// RFC 5802 5.1, attribute n.
fn escape(user: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(user.len());
    for &byte in user {
        match byte {
            b'=' => name.extend_from_slice(b"=3D"),
            b',' => name.extend_from_slice(b"=2C"),
            _ => name.push(byte),
        }
    }
    name
}
