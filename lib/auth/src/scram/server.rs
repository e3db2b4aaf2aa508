//! The server's half. It may be two programs: one that talks with the client, and one that knows the verifier.

use super::{Verifier, Wrong, attribute, exclusive_or, hmac, is_nonce, key};
use crate::{base64, same};
use sha2::{Digest, Sha256};

/// A client's first message, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// What it says about channel binding and about whom it wants to act as, with its last comma.
    pub header: &'a [u8],
    /// The rest.
    pub bare: &'a [u8],
    /// The user name.
    pub user: Vec<u8>,
    /// The client's part of the nonce.
    pub nonce: &'a [u8],
}

impl<'a> ClientFirst<'a> {
    /// Takes the whole message, without Base64.
    pub fn parse(message: &'a [u8]) -> Result<ClientFirst<'a>, Wrong> {
        if message.starts_with(b"p=") {
            return Err(Wrong::Unsupported);
        }
        let mut commas = message.iter().enumerate().filter(|&(_, &b)| b == b',').map(|(at, _)| at);
        let (Some(first), Some(second)) = (commas.next(), commas.next()) else { return Err(Wrong::Message) };
        let (binding, acting) = (message.get(..first), message.get(first + 1..second));
        if !matches!(binding, Some(b"n" | b"y")) || !acting.is_some_and(|a| a.is_empty() || a.starts_with(b"a=")) {
            return Err(Wrong::Message);
        }
        let (header, bare) = message.split_at(second + 1);
        Ok(ClientFirst { header, ..ClientFirst::parse_bare(bare)? })
    }

    /// Takes the message without its header.
    pub fn parse_bare(bare: &'a [u8]) -> Result<ClientFirst<'a>, Wrong> {
        if bare.starts_with(b"m=") {
            return Err(Wrong::Unsupported);
        }
        let parse = || {
            let (name, rest) = attribute(bare, b'n')?;
            let (nonce, _) = attribute(rest?, b'r')?;
            Some((unescape(name)?, nonce))
        };
        let (user, nonce) = parse().filter(|(_, nonce)| is_nonce(nonce)).ok_or(Wrong::Message)?;
        Ok(ClientFirst { header: b"", bare, user, nonce })
    }
}

/// Whether the client's last message repeats the header of its first one: for the program that has seen both.
pub fn same_channel(client_final: &[u8], header: &[u8]) -> bool {
    attribute(client_final, b'c').and_then(|(c, _)| base64::decode(c)).is_some_and(|c| c.as_slice() == header)
}

/// A server in one exchange: sends [`Server::first`], gives the client's answer to [`Server::finish`] and sends what
/// that returns.
pub struct Server {
    /// The client's first message without header, a comma, the server's first message.
    so_far: Vec<u8>,
    /// Where the server's begins.
    first: usize,
    nonce: Vec<u8>,
    verifier: Verifier,
}

impl Server {
    /// A server that has got `bare` (the client's first message without header). It adds `nonce` to the client's: bytes
    /// nobody can foresee, printable and without comma, for this exchange only.
    pub fn new(bare: &[u8], nonce: &[u8], verifier: Verifier) -> Result<Server, Wrong> {
        let client = ClientFirst::parse_bare(bare)?;
        if !is_nonce(nonce) {
            return Err(Wrong::Message);
        }
        let nonce = [client.nonce, nonce].concat();
        let iterations = verifier.iterations.to_string();
        let salt = base64::encode(&verifier.salt);
        let so_far = [bare, b",r=", &nonce, b",s=", &salt, b",i=", iterations.as_bytes()].concat();
        Ok(Server { so_far, first: bare.len() + 1, nonce, verifier })
    }

    /// The server's first message, before Base64.
    pub fn first(&self) -> &[u8] {
        self.so_far.get(self.first..).unwrap_or_default()
    }

    /// Looks at the client's last message, without Base64. `Ok` says that the client has the password, and holds the
    /// server's last message, which is for nobody else.
    pub fn finish(&self, client_final: &[u8]) -> Result<Vec<u8>, Wrong> {
        let parse = || {
            let (channel, rest) = attribute(client_final, b'c')?;
            let (nonce, _) = attribute(rest?, b'r')?;
            // The proof is the last attribute; extensions before it are signed and otherwise ignored.
            let at = client_final.windows(3).rposition(|w| w == b",p=")?;
            let (signed, proof) = (client_final.get(..at)?, key(client_final.get(at + 3..)?)?);
            Some((base64::decode(channel)?, nonce, signed, proof))
        };
        let (channel, nonce, signed, proof) = parse().ok_or(Wrong::Message)?;
        if nonce != self.nonce {
            return Err(Wrong::Message);
        }
        if !channel.starts_with(b"n,") && !channel.starts_with(b"y,") {
            return Err(Wrong::Unsupported);
        }
        let whole = [&self.so_far, b",".as_slice(), signed].concat();
        let client = exclusive_or(&proof, &hmac(&self.verifier.stored, &whole));
        if !same(&Sha256::digest(client), &self.verifier.stored) {
            return Err(Wrong::Proof);
        }
        Ok([b"v=".as_slice(), &base64::encode(&hmac(&self.verifier.server, &whole))].concat())
    }
}

/// RFC 5802 5.1, attribute n. A name is not empty.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut user = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'=' => {
                let (code, after) = rest.split_at_checked(2)?;
                user.push(if code == b"2C" {
                    b','
                } else if code == b"3D" {
                    b'='
                } else {
                    return None;
                });
                rest = after;
            }
            0 => return None,
            _ => user.push(byte),
        }
    }
    (!user.is_empty()).then_some(user)
}
