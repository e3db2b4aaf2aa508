//! Cipher lists in the words of OpenSSL, for a library that has nine suites, all good ones.
//!
//! A list is read as OpenSSL reads it: words that add suites, `-` that takes them away, `!` that bans them, `+` that
//! moves them to the end, `A+B` for suites that are both. Words about things this library never has (SSLv2, aNULL, RC4)
//! may only take away, and so change nothing. The suites of TLS 1.3 are always there unless a word names one of them,
//! for in OpenSSL such a list is about TLS 1.2.

use crate::Error;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite as suite};
use rustls::{CipherSuite, SupportedCipherSuite};
use std::sync::Arc;

/// A suite as OpenSSL calls and sorts it.
struct Suite {
    name: &'static [u8],
    standard_name: &'static [u8],
    suite: SupportedCipherSuite,
    tls13: bool,
    /// Bits of the key.
    bits: u16,
    /// The words that choose it.
    words: &'static [&'static [u8]],
}

macro_rules! tls13 {
    ($name:literal, $suite:ident, $bits:literal) => {
        Suite { name: $name, standard_name: $name, suite: suite::$suite, tls13: true, bits: $bits, words: &[] }
    };
}

macro_rules! tls12 {
    ($name:literal, $standard:literal, $suite:ident, $bits:literal, $($word:literal),*) => {
        Suite {
            name: $name,
            standard_name: $standard,
            suite: suite::$suite,
            tls13: false,
            bits: $bits,
            words: &[$($word),*],
        }
    };
}

/// In the order of preference: what is quick and strong first. A handshake of TLS 1.3 is mostly digests: processors do
/// SHA-256 by themselves, SHA-384 takes four times as long.
static SUITES: [Suite; 9] = [
    tls13!(b"TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256, 128),
    tls13!(b"TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384, 256),
    tls13!(b"TLS_CHACHA20_POLY1305_SHA256", TLS13_CHACHA20_POLY1305_SHA256, 256),
    tls12!(
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        256,
        b"aECDSA",
        b"ECDSA",
        b"AES",
        b"AES256",
        b"AESGCM",
        b"SHA384"
    ),
    tls12!(
        b"ECDHE-RSA-AES256-GCM-SHA384",
        b"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        256,
        b"aRSA",
        b"AES",
        b"AES256",
        b"AESGCM",
        b"SHA384"
    ),
    tls12!(
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        128,
        b"aECDSA",
        b"ECDSA",
        b"AES",
        b"AES128",
        b"AESGCM",
        b"SHA256"
    ),
    tls12!(
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        128,
        b"aRSA",
        b"AES",
        b"AES128",
        b"AESGCM",
        b"SHA256"
    ),
    tls12!(
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        256,
        b"aECDSA",
        b"ECDSA",
        b"CHACHA20",
        b"SHA256"
    ),
    tls12!(
        b"ECDHE-RSA-CHACHA20-POLY1305",
        b"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        256,
        b"aRSA",
        b"CHACHA20",
        b"SHA256"
    ),
];

/// Words that choose all suites of TLS 1.2 that there are.
const EVERYTHING: &[&[u8]] =
    &[b"DEFAULT", b"ALL", b"HIGH", b"ECDHE", b"EECDH", b"kECDHE", b"kEECDH", b"ECDH", b"TLSv1.2", b"FIPS"];

/// Words for what this library never has.
const NOTHING: &[&[u8]] = &[
    b"MEDIUM",
    b"LOW",
    b"EXPORT",
    b"EXP",
    b"EXPORT40",
    b"EXPORT56",
    b"eNULL",
    b"NULL",
    b"aNULL",
    b"COMPLEMENTOFDEFAULT",
    b"COMPLEMENTOFALL",
    b"kRSA",
    b"RSA",
    b"kDHE",
    b"kEDH",
    b"DHE",
    b"EDH",
    b"ADH",
    b"AECDH",
    b"DH",
    b"kDH",
    b"kDHr",
    b"kDHd",
    b"aDH",
    b"kECDH",
    b"kECDHr",
    b"kECDHe",
    b"aECDH",
    b"DSS",
    b"aDSS",
    b"SSLv2",
    b"SSLv3",
    b"TLSv1",
    b"TLSv1.0",
    b"AESCCM",
    b"AESCCM8",
    b"ARIA",
    b"ARIA128",
    b"ARIA256",
    b"ARIAGCM",
    b"CAMELLIA",
    b"CAMELLIA128",
    b"CAMELLIA256",
    b"CBC",
    b"3DES",
    b"DES",
    b"RC4",
    b"RC2",
    b"IDEA",
    b"SEED",
    b"MD5",
    b"SHA",
    b"SHA1",
    b"GOST",
    b"aGOST",
    b"kGOST",
    b"GOST94",
    b"GOST89MAC",
    b"PSK",
    b"kPSK",
    b"kECDHEPSK",
    b"kDHEPSK",
    b"kRSAPSK",
    b"aPSK",
    b"SRP",
    b"kSRP",
    b"aSRP",
    b"KRB5",
];

/// Which suites may be used, best first.
#[derive(Clone, Debug)]
pub struct Ciphers {
    suites: Vec<SupportedCipherSuite>,
    /// Words of the list that were not understood, or name what can not be had; for a warning.
    pub unknown: Vec<Vec<u8>>,
}

impl Default for Ciphers {
    fn default() -> Ciphers {
        Ciphers { suites: SUITES.iter().map(|s| s.suite).collect(), unknown: Vec::new() }
    }
}

impl Ciphers {
    /// Reads an OpenSSL cipher list. A list that has only words nobody knows is taken for the default; one that is
    /// understood and leaves nothing is an error.
    pub fn parse(list: &[u8]) -> Result<Ciphers, Error> {
        let mut chosen: Vec<&'static Suite> = Vec::new();
        let mut banned: Vec<&'static [u8]> = Vec::new();
        let mut unknown = Vec::new();
        let mut understood = false;
        for word in list.split(|b| b": ,;\t".contains(b)).filter(|w| !w.is_empty()) {
            if word.eq_ignore_ascii_case(b"@STRENGTH") {
                chosen.sort_by_key(|s| std::cmp::Reverse(s.bits));
                continue;
            }
            if word.starts_with(b"@") {
                continue;
            }
            let (sign, word) = match word.split_first() {
                Some((sign @ (b'!' | b'-' | b'+'), rest)) => (Some(*sign), rest),
                _ => (None, word),
            };
            let Some(found) = matching(word) else {
                // What is not known can not be there: taking it away is done.
                if sign.is_none() {
                    unknown.push(word.to_vec());
                }
                continue;
            };
            understood = true;
            let is_found = |s: &&'static Suite| found.iter().any(|f| f.name == s.name);
            match sign {
                Some(b'!') => {
                    banned.extend(found.iter().map(|f| f.name));
                    chosen.retain(|s| !is_found(s));
                }
                Some(b'-') => chosen.retain(|s| !is_found(s)),
                Some(_) => {
                    let (moved, mut kept): (Vec<_>, Vec<_>) = chosen.into_iter().partition(is_found);
                    kept.extend(moved);
                    chosen = kept;
                }
                None => {
                    let is_new =
                        |f: &&&'static Suite| !banned.contains(&f.name) && !chosen.iter().any(|s| s.name == f.name);
                    let new: Vec<_> = found.iter().filter(is_new).copied().collect();
                    chosen.extend(new);
                }
            }
        }
        if !understood {
            return Ok(Ciphers { unknown, ..Ciphers::default() });
        }
        if chosen.is_empty() {
            return Err(Error::Ciphers(list.to_vec()));
        }
        if !chosen.iter().any(|s| s.tls13) {
            let modern = SUITES.iter().filter(|s| s.tls13 && !banned.contains(&s.name));
            chosen = modern.chain(chosen).collect();
        }
        Ok(Ciphers { suites: chosen.iter().map(|s| s.suite).collect(), unknown })
    }

    /// The cryptography for configurations: only these suites.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider { cipher_suites: self.suites.clone(), ..ring::default_provider() })
    }
}

/// The suites that a word (without sign) means; `None` if nobody knows it.
fn matching(word: &[u8]) -> Option<Vec<&'static Suite>> {
    if let Some(s) = SUITES.iter().find(|s| s.name == word || s.standard_name == word) {
        return Some(vec![s]);
    }
    let mut found: Vec<&'static Suite> = SUITES.iter().filter(|s| !s.tls13).collect();
    for part in word.split(|&b| b == b'+') {
        if EVERYTHING.contains(&part) {
            continue;
        }
        if !NOTHING.contains(&part) && !SUITES.iter().any(|s| s.words.contains(&part)) {
            return None;
        }
        found.retain(|s| s.words.contains(&part));
    }
    Some(found)
}

/// The name OpenSSL gives a suite, and the bits of its key.
pub fn openssl_name(suite: CipherSuite) -> Option<(&'static [u8], u16)> {
    SUITES.iter().find(|s| s.suite.suite() == suite).map(|s| (s.name, s.bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[u8]) -> String {
        match Ciphers::parse(list) {
            Ok(ciphers) => {
                let name =
                    |s: &SupportedCipherSuite| String::from_utf8_lossy(openssl_name(s.suite()).unwrap().0).into();
                ciphers
                    .suites
                    .iter()
                    .map(name)
                    .filter(|n: &String| !n.starts_with("TLS_"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Err(e) => e.to_string(),
        }
    }

    const ALL: &str = "ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES128-GCM-SHA256 \
        ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305";

    #[test]
    fn lists_are_read_as_openssl_reads_them() {
        let rows: &[(&[u8], &str)] = &[
            (b"", ALL),
            (b"DEFAULT", ALL),
            (b"HIGH:!aNULL:!MD5:!RC4:!SSLv2:@SECLEVEL=1", ALL),
            (b"no-such-cipher", ALL),
            (b"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            (b"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            (
                b"CHACHA20:ECDHE+aRSA+AES256",
                "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-RSA-AES256-GCM-SHA384",
            ),
            (b"HIGH:!AES128:!ECDSA:+AES256", "ECDHE-RSA-CHACHA20-POLY1305 ECDHE-RSA-AES256-GCM-SHA384"),
            (b"!CHACHA20:AES128 ALL:-aECDSA", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384"),
            (b"AES128:AES256:!aECDSA:@STRENGTH", "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-RSA-AES128-GCM-SHA256"),
            (b"RC4:3DES", "none of these ciphers is available: RC4:3DES"),
            (b"HIGH:!ECDHE", "none of these ciphers is available: HIGH:!ECDHE"),
        ];
        for (list, expected) in rows {
            assert_eq!(names(list), *expected, "{}", list.escape_ascii());
        }
    }

    #[test]
    fn what_can_not_be_had_is_told() {
        let rows: &[(&[u8], &[&[u8]])] = &[
            (b"HIGH:!aNULL:!NONSENSE", &[]),
            (b"ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256", &[b"DHE-RSA-AES128-GCM-SHA256"]),
            (b"AES128-SHA,foo", &[b"AES128-SHA", b"foo"]),
        ];
        for (list, unknown) in rows {
            assert_eq!(Ciphers::parse(list).unwrap().unknown, *unknown);
        }
    }

    #[test]
    fn tls13_stays_unless_it_is_named() {
        let count = |list: &[u8]| Ciphers::parse(list).unwrap().suites.iter().filter(|s| s.tls13().is_some()).count();
        assert_eq!(count(b"AES128"), 3);
        assert_eq!(count(b"AES128:!TLS_AES_128_GCM_SHA256"), 2);
        assert_eq!(count(b"AES128:TLS_AES_128_GCM_SHA256"), 1);
        assert_eq!(Ciphers::parse(b"TLS_AES_256_GCM_SHA384").unwrap().suites.len(), 1);
    }
}
