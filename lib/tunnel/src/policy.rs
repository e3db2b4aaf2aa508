//! control/tlsdestinations: what is demanded of a server (spec/control.md 4.8).

use crate::keys::{suffixes, value_of};

/// How much is demanded, by s/qmail's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// -1: no TLS with this host, whatever it offers.
    Never,
    /// 0: nothing is said, so no STARTTLS; a port that is TLS from the start is.
    Unset,
    /// 1: TLS if it is offered, with anybody.
    Any,
    /// 2: TLS if it is offered, with a certificate.
    Certificate,
    /// 3: TLS or nothing, with anybody.
    MustAny,
    /// 4: TLS or nothing, with a certificate.
    MustCertificate,
    /// 5: likewise, and the certificate names the host, perhaps by a wildcard.
    MustWildcard,
    /// 6: likewise, and the certificate names the host itself.
    MustName,
    /// 7: TLS or nothing, with one certificate, known by its digest.
    MustPin,
}

const LEVELS: [Level; 9] = [
    Level::Never,
    Level::Unset,
    Level::Any,
    Level::Certificate,
    Level::MustAny,
    Level::MustCertificate,
    Level::MustWildcard,
    Level::MustName,
    Level::MustPin,
];

impl Level {
    /// The level of a number from 0 to 7.
    pub fn of_number(number: u8) -> Option<Level> {
        LEVELS.get(usize::from(number) + 1).copied()
    }

    /// Its number; 0 stands for both ends of the list without TLS.
    pub fn number(self) -> u8 {
        LEVELS.iter().position(|&l| l == self).and_then(|at| u8::try_from(at).ok()).unwrap_or(0).saturating_sub(1)
    }

    /// STARTTLS is used where it is offered.
    pub fn wants_tls(self) -> bool {
        self >= Level::Any
    }

    /// Nothing is sent without TLS.
    pub fn is_mandatory(self) -> bool {
        self >= Level::MustAny
    }
}

/// A line of the file makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What is demanded of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How much.
    pub level: Level,
    /// Whom to trust: a file, a directory (it ends in a slash), `+` for the authorities that are compiled in, `=` and
    /// hexadecimal digits for the digest of the one certificate; empty: anybody.
    pub ca: Vec<u8>,
    /// A cipher list in OpenSSL's words; empty: the library's.
    pub ciphers: Vec<u8>,
    /// The most authorities between the certificate and a trusted one.
    pub depth: u32,
    /// The port to use in place of the route's.
    pub port: Option<u16>,
}

/// As in s/qmail: one authority between.
const DEPTH: u32 = 1;

impl Policy {
    /// What holds where nothing is said.
    pub fn of_level(level: Level) -> Policy {
        Policy { level, ca: Vec::new(), ciphers: Vec::new(), depth: DEPTH, port: None }
    }

    /// Looks `host`, which is the relay or else the recipient's domain, up in the lines of the file. `domain` is the
    /// recipient's domain; a rule for another one is passed over.
    pub fn find(lines: &[Vec<u8>], host: &[u8], domain: &[u8]) -> Result<Policy, Malformed> {
        let named = |sign: &'static [u8], level, empty| {
            let keys = suffixes(host).filter(move |s| empty || !s.is_empty());
            keys.map(move |s| ([sign, s].concat(), level))
        };
        let exact = |sign: &[u8], level| std::iter::once(([sign, host].concat(), level));
        let general = [
            (&b"=*"[..], Level::MustName),
            (b"~*", Level::MustWildcard),
            (b"+*", Level::MustCertificate),
            (b"-*", Level::MustAny),
            (b"*", Level::Certificate),
            (b"-", Level::Any),
        ];
        // The order is that of the table in control.md.
        let keys = named(b"!", Level::Never, true)
            .chain(exact(b"%", Level::MustPin))
            .chain(exact(b"=", Level::MustName))
            .chain(named(b"~", Level::MustWildcard, false))
            .chain(named(b"", Level::MustCertificate, false))
            .chain(named(b"-", Level::MustAny, false))
            .chain(general.map(|(key, level)| (key.to_vec(), level)));
        if lines.is_empty() {
            return Ok(Policy::of_level(Level::Unset));
        }
        for (key, level) in keys {
            let Some(value) = value_of(&key, lines) else { continue };
            let (policy, only) = Policy::parse(level, value)?;
            if only.is_none_or(|only| only.eq_ignore_ascii_case(domain)) {
                return Ok(policy);
            }
        }
        Ok(Policy::of_level(Level::Unset))
    }

    /// `[ca][|ciphers[|[depth][;port][|domain]]]`, or `[ca];port`; the domain apart.
    fn parse(level: Level, value: &[u8]) -> Result<(Policy, Option<&[u8]>), Malformed> {
        let mut policy = Policy::of_level(level);
        if level == Level::Never {
            return Ok((policy, None));
        }
        let parts: Vec<&[u8]> = value.splitn(4, |&b| b == b'|').collect();
        let (ca, port) = match parts[..] {
            [only] => cut(only, b';'),
            _ => (parts.first().copied().unwrap_or_default(), None),
        };
        let (depth, late_port) = cut(parts.get(2).copied().unwrap_or_default(), b';');
        policy.ca = trust(level, ca);
        policy.ciphers = parts.get(1).copied().unwrap_or_default().to_vec();
        if !depth.is_empty() {
            policy.depth = number(depth).ok_or(Malformed)?;
        }
        if let Some(port) = port.or(late_port).filter(|p| !p.is_empty()) {
            policy.port = Some(number(port).and_then(|n| u16::try_from(n).ok()).ok_or(Malformed)?);
        }
        if level == Level::MustPin && policy.pin().is_none() {
            return Err(Malformed);
        }
        Ok((policy, parts.get(3).copied().filter(|d| !d.is_empty())))
    }

    /// The digest that the certificate must have, in hexadecimal digits.
    pub fn pin(&self) -> Option<&[u8]> {
        self.ca.strip_prefix(b"=")
    }

    /// Nobody can tell whether it is the right server.
    pub fn is_blind(&self) -> bool {
        self.ca.is_empty()
    }
}

/// Digests may be marked by `=` or `%`, at level 7 by nothing, and have colons between the bytes. From here on they have
/// one form.
fn trust(level: Level, ca: &[u8]) -> Vec<u8> {
    let marked = ca.strip_prefix(b"=").or(ca.strip_prefix(b"%"));
    match marked.or((level == Level::MustPin && !ca.is_empty()).then_some(ca)) {
        Some(digest) => {
            let digits = digest.iter().filter(|&&b| b != b':').map(u8::to_ascii_lowercase);
            std::iter::once(b'=').chain(digits).collect()
        }
        None => ca.to_vec(),
    }
}

/// What stands before the first `mark`, and what stands behind it.
fn cut(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&b| b == mark) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|l| l.as_bytes().to_vec()).collect()
    }

    fn level(text: &str, host: &str) -> Level {
        Policy::find(&lines(text), host.as_bytes(), b"d.test").unwrap().level
    }

    #[test]
    fn each_key_has_its_level() {
        for (key, host, want) in [
            ("!h.a.test", "h.a.test", Level::Never),
            ("!.a.test", "h.a.test", Level::Never),
            ("!", "h.a.test", Level::Never),
            ("=h.a.test", "h.a.test", Level::MustName),
            ("=H.A.Test", "h.a.test", Level::MustName),
            ("=.a.test", "h.a.test", Level::Unset),
            ("=*", "h.a.test", Level::MustName),
            ("~h.a.test", "h.a.test", Level::MustWildcard),
            ("~.a.test", "h.a.test", Level::MustWildcard),
            ("~*", "h.a.test", Level::MustWildcard),
            ("~", "h.a.test", Level::Unset),
            ("h.a.test", "h.a.test", Level::MustCertificate),
            (".a.test", "h.a.test", Level::MustCertificate),
            (".a.test", "a.test", Level::Unset),
            ("+*", "h.a.test", Level::MustCertificate),
            ("", "h.a.test", Level::Unset),
            ("-h.a.test", "h.a.test", Level::MustAny),
            ("-.a.test", "h.a.test", Level::MustAny),
            ("-*", "h.a.test", Level::MustAny),
            ("*", "h.a.test", Level::Certificate),
            ("-", "h.a.test", Level::Any),
            ("other", "h.a.test", Level::Unset),
        ] {
            assert_eq!(level(&format!("{key}:"), host), want, "{key}");
        }
        assert_eq!(level("%h.a.test:=00", "h.a.test"), Level::MustPin);
        assert_eq!(level("", "h.a.test"), Level::Unset);
    }

    #[test]
    fn the_strictest_key_is_looked_for_first() {
        let all = "-:\n*:\n-*:\n+*:\n~*:\n=*:\n-h:\nh:\n~h:\n=h:\n%h:=00\n!h:\n";
        let mut rules = lines(all);
        let order = [
            Level::Never,
            Level::MustPin,
            Level::MustName,
            Level::MustWildcard,
            Level::MustCertificate,
            Level::MustAny,
            Level::MustName,
            Level::MustWildcard,
            Level::MustCertificate,
            Level::MustAny,
            Level::Certificate,
            Level::Any,
            Level::Unset,
        ];
        for want in order {
            assert_eq!(Policy::find(&rules, b"h", b"").unwrap().level, want);
            rules.pop();
        }
    }

    #[test]
    fn values() {
        let plain = Policy::of_level(Level::MustCertificate);
        let rows: &[(&str, Option<Policy>)] = &[
            ("", Some(plain.clone())),
            ("ssl/ca.pem", Some(Policy { ca: b"ssl/ca.pem".to_vec(), ..plain.clone() })),
            ("/etc/ssl/certs/", Some(Policy { ca: b"/etc/ssl/certs/".to_vec(), ..plain.clone() })),
            (";465", Some(Policy { port: Some(465), ..plain.clone() })),
            ("ca;465", Some(Policy { ca: b"ca".to_vec(), port: Some(465), ..plain.clone() })),
            ("|HIGH:!MD5", Some(Policy { ciphers: b"HIGH:!MD5".to_vec(), ..plain.clone() })),
            ("ca|c|3", Some(Policy { ca: b"ca".to_vec(), ciphers: b"c".to_vec(), depth: 3, ..plain.clone() })),
            ("||3;587", Some(Policy { depth: 3, port: Some(587), ..plain.clone() })),
            ("||;587|d.TEST", Some(Policy { port: Some(587), ..plain.clone() })),
            ("||;587|e.test", None),
            ("|||e.test", None),
            ("=AB:cd", Some(Policy { ca: b"=abcd".to_vec(), ..plain.clone() })),
            ("%ABCD", Some(Policy { ca: b"=abcd".to_vec(), ..plain.clone() })),
        ];
        for (value, want) in rows {
            let got = Policy::find(&lines(&format!("h:{value}")), b"h", b"d.test").unwrap();
            assert_eq!(got, want.clone().unwrap_or(Policy::of_level(Level::Unset)), "{value}");
        }
        for bad in ["h:;x", "h:;65536", "h:||x", "h:||1;-1", "%h:", "%h:;465"] {
            assert_eq!(Policy::find(&lines(bad), b"h", b""), Err(Malformed), "{bad}");
        }
        // A rule for another domain does not hide a general one.
        assert_eq!(Policy::find(&lines("h:|||e.test\n*:"), b"h", b"d.test").unwrap().level, Level::Certificate);
        assert_eq!(Policy::find(&lines("%h:ABCD"), b"h", b"").unwrap().pin(), Some(&b"abcd"[..]));
    }

    #[test]
    fn levels_have_numbers() {
        assert_eq!(Level::of_number(8), None);
        for n in 0..8 {
            assert_eq!(Level::of_number(n).unwrap().number(), n);
        }
        assert!(!Level::Unset.wants_tls() && Level::Any.wants_tls() && !Level::Certificate.is_mandatory());
    }
}
