//! The words of a verdict.

use crate::Outcome;
use std::net::IpAddr;

impl Outcome {
    /// The word that s/qmail's spfquery has for it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::PermError => "unknown",
            Outcome::TempError => "error",
            other => other.standard_word(),
        }
    }

    /// The word of RFC 7208 2.6.
    pub fn standard_word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::None => "none",
            Outcome::PermError => "permerror",
            Outcome::Neutral => "neutral",
            Outcome::SoftFail => "softfail",
            Outcome::Fail => "fail",
            Outcome::TempError => "temperror",
        }
    }
}

/// The letter of an outcome in the trail.
pub(crate) fn letter(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => b'+',
        Outcome::None => b'o',
        Outcome::PermError => b'e',
        Outcome::Neutral => b'?',
        Outcome::SoftFail => b'~',
        Outcome::Fail => b'-',
        Outcome::TempError => b't',
    }
}

/// A stranger's text on one line of visible ASCII: all else is a question mark.
pub(crate) fn visible(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if (b' '..=b'~').contains(&b) { b } else { b'?' }).collect()
}

/// Whether `ip` is one of the addresses of this host, `own`: then there is nothing to check.
pub fn is_loopback(ip: IpAddr, own: &[IpAddr]) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || own.contains(&ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_letters() {
        for (outcome, word, standard, sign) in [
            (Outcome::Pass, "pass", "pass", b'+'),
            (Outcome::None, "none", "none", b'o'),
            (Outcome::PermError, "unknown", "permerror", b'e'),
            (Outcome::Neutral, "neutral", "neutral", b'?'),
            (Outcome::SoftFail, "softfail", "softfail", b'~'),
            (Outcome::Fail, "fail", "fail", b'-'),
            (Outcome::TempError, "error", "temperror", b't'),
        ] {
            assert_eq!((outcome.word(), outcome.standard_word(), letter(outcome)), (word, standard, sign));
        }
    }

    #[test]
    fn strangers_texts_stay_on_their_line() {
        assert_eq!(visible(b"a\r\nb\0\x7f\xc3\xa9 ~"), b"a??b???? ~");
    }

    #[test]
    fn this_host_is_not_checked() {
        let own = ["192.0.2.1".parse().unwrap()];
        for (ip, loopback) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.2", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(is_loopback(ip.parse().unwrap(), &own), loopback, "{ip}");
        }
    }
}
