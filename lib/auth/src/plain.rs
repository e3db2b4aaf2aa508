//! The exchanges that carry the password itself, PLAIN (RFC 4616) and LOGIN: for connections nobody can listen to.

use crate::Secret;

/// PLAIN's name in the list of mechanisms.
pub const PLAIN: &[u8] = b"PLAIN";
/// LOGIN's name in the list of mechanisms.
pub const LOGIN: &[u8] = b"LOGIN";

/// What the server asks in LOGIN, in Base64: `Username:`, to be answered with the user name.
pub const ASK_USER: &[u8] = b"VXNlcm5hbWU6";
/// What the server asks in LOGIN, in Base64: `Password:`, to be answered with the password.
pub const ASK_PASSWORD: &[u8] = b"UGFzc3dvcmQ6";

/// PLAIN's only message, before Base64. The user acts as nobody but itself.
pub fn message(user: &[u8], password: &[u8]) -> Secret {
    Secret::new([b"\0", user, b"\0", password].concat())
}

/// Whom the client wants to act as, its user name and its password, each without NUL; `None` if it is no such message.
pub fn split(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut parts = message.split(|&b| b == 0);
    let all = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_a_plain_message_has_two_nuls() {
        type Row = (&'static [u8], Option<(&'static [u8], &'static [u8], &'static [u8])>);
        let rows: &[Row] = &[
            (b"\0tim\0tanstaaftanstaaf", Some((b"", b"tim", b"tanstaaftanstaaf"))),
            (b"Ursel\0Kurt\0xipj3plmq", Some((b"Ursel", b"Kurt", b"xipj3plmq"))),
            (b"\0\0", Some((b"", b"", b""))),
            (b"\0tim", None),
            (b"tim", None),
            (b"", None),
            (b"\0tim\0x\0", None),
            (b"\0\0tim\0x", None),
        ];
        for &(message, expected) in rows {
            assert_eq!(split(message), expected, "{}", message.escape_ascii());
        }
        assert_eq!(split(&message(b"a", b"b")), Some((&b""[..], &b"a"[..], &b"b"[..])));
    }

    #[test]
    fn the_questions_are_what_clients_expect() {
        assert_eq!(crate::base64::encode(b"Username:").as_slice(), ASK_USER);
        assert_eq!(crate::base64::encode(b"Password:").as_slice(), ASK_PASSWORD);
    }
}
