//! The two exchanges in which the client sends a digest of the password and of what the server said first: CRAM-MD5
//! (RFC 2195) and POP3's APOP (RFC 1939 7). Both need the password itself on both sides.

use crate::{Secret, hex};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

/// CRAM-MD5's name in the list of mechanisms.
pub const CRAM_MD5: &[u8] = b"CRAM-MD5";

/// The digest that proves knowledge of `password` to whoever sent `challenge`: 32 lower-case hexadecimal digits.
pub fn cram(challenge: &[u8], password: &[u8]) -> Vec<u8> {
    // HMAC has no key it would refuse.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(password) else { return Vec::new() };
    mac.update(challenge);
    hex::encode(&mac.finalize().into_bytes())
}

/// What a client answers to `challenge`, before Base64.
pub fn cram_response(user: &[u8], password: &[u8], challenge: &[u8]) -> Vec<u8> {
    [user, b" ", &cram(challenge, password)].concat()
}

/// User and digest of a client's answer: the last blank is between them, a user name may hold others.
pub fn split_cram_response(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = response.iter().rposition(|&b| b == b' ')?;
    Some((response.get(..at)?, response.get(at + 1..)?))
}

/// APOP's digest for the server that greeted with `timestamp`, its angle brackets included: 32 lower-case hexadecimal
/// digits.
pub fn apop(timestamp: &[u8], password: &[u8]) -> Vec<u8> {
    let both = Secret::new([timestamp, password].concat());
    hex::encode(&Md5::digest(both.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cram_md5_of_rfc_2195_and_hmac_md5_of_rfc_2202() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(cram_response(b"tim", b"tanstaaftanstaaf", challenge), b"tim b913a602c7eda7a495b4e6e7334d3890");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let rows: &[(&[u8], &[u8], &str)] = &[
            (&[0x0b; 16], b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
            (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
            (&[0xaa; 16], &[0xdd; 50], "56be34521d144c88dbb8c733f0e8b3f6"),
            (&[0xaa; 80], long, "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"),
        ];
        for &(key, text, expected) in rows {
            assert_eq!(cram(text, key), expected.as_bytes());
        }
    }

    #[test]
    fn apop_of_rfc_1939() {
        let timestamp = b"<1896.697170952@dbc.mtview.ca.us>";
        assert_eq!(apop(timestamp, b"tanstaaf"), b"c4c9334bac560ecc979e58001b3e22fb");
    }

    #[test]
    fn the_last_blank_ends_the_user() {
        type Row = (&'static [u8], Option<(&'static [u8], &'static [u8])>);
        let rows: &[Row] = &[
            (b"joe 00", Some((b"joe", b"00"))),
            (b"joe smith 00", Some((b"joe smith", b"00"))),
            (b" 00", Some((b"", b"00"))),
            (b"joe ", Some((b"joe", b""))),
            (b"joe", None),
            (b"", None),
        ];
        for &(response, expected) in rows {
            assert_eq!(split_cram_response(response), expected, "{}", response.escape_ascii());
        }
    }
}
