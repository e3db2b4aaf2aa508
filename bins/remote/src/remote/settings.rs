//! The controls: what is decided before anybody is asked (spec/smtp.md 9.1).
//!
//! control/me, helohost, timeoutconnect, timeoutremote; authsenders (or authsender), qmtproutes, smtproutes; domainips (or
//! outgoingip); tlsdestinations, dnssec-trusted, and if there may be TLS domaincerts and tlsfallback.

use crate::report;
use crate::route::{Protocol, QMTPS, Route, SMTPS, Tables};
use crate::source::Source;
use control::{Controls, Unreadable};
use dns::Trust;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tunnel::{Credentials, Level, Policy, Tlsa};

/// Seconds to wait for a connection, if control/timeoutconnect does not say otherwise.
const TIMEOUT_CONNECT: u64 = 60;
/// Seconds to wait for each answer, if control/timeoutremote does not say otherwise.
const TIMEOUT_REMOTE: u64 = 1200;

/// Everything about a delivery but the message, the envelope and the addresses of the servers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub helohost: Vec<u8>,
    pub connect: Duration,
    pub remote: Duration,
    pub route: Route,
    pub source: Source,
    /// What is demanded of the server's TLS.
    pub policy: Policy,
    /// What the server's domain says about its certificate.
    pub tlsa: Tlsa,
    /// Which name servers are believed to have checked an answer.
    pub trust: Trust,
    /// The certificate we show.
    pub credentials: Credentials,
    /// At a level that does not insist, mail goes out without TLS where TLS fails (control/tlsfallback).
    pub may_fall_back: bool,
    /// The program that speaks TLS.
    pub tlsc: Vec<u8>,
    /// The queue; from home, so that names of sockets are short.
    pub queue: PathBuf,
}

impl Settings {
    /// Reads all controls for mail from `sender` to `host`. An error is the record for the message.
    pub fn read(home: &Path, host: &[u8], sender: &[u8]) -> Result<Settings, Vec<u8>> {
        let unreadable = |_: Option<Unreadable>| report::NO_CONTROLS.to_vec();
        let controls = Controls::of(home);
        let source = Settings::source(&controls, domain(sender)).map_err(unreadable)?;
        let source = source.map_err(|_| report::BAD_SOURCE.to_vec())?;
        Settings::rest(home, &controls, host, sender, source).map_err(unreadable)
    }

    fn source(
        controls: &Controls,
        domain: &[u8],
    ) -> Result<Result<Source, crate::source::Malformed>, Option<Unreadable>> {
        if let Some(lines) = controls.list("domainips")? {
            return Ok(Source::find(&lines, domain));
        }
        // As other collections of patches have it: one address for all.
        Ok(controls.line("outgoingip")?.map_or_else(|| Ok(Source::default()), |line| Source::parse(&line)))
    }

    fn rest(
        home: &Path,
        controls: &Controls,
        host: &[u8],
        sender: &[u8],
        mut source: Source,
    ) -> Result<Settings, Option<Unreadable>> {
        let list = |name| Ok::<_, Unreadable>(controls.list(name)?.unwrap_or_default());
        // A limit of nothing would mean none at all to the system.
        let seconds = |name, default| -> Result<Duration, Unreadable> {
            Ok(Duration::from_secs(controls.number(name)?.unwrap_or(default).max(1)))
        };
        let authsenders = controls.list("authsenders")?;
        let tables = Tables {
            authsenders: authsenders.map_or_else(|| list("authsender"), Ok)?,
            qmtproutes: list("qmtproutes")?,
            smtproutes: list("smtproutes")?,
        };
        let mut route = tables.find(host, sender).ok_or(None)?;
        let policy = Policy::find(&list("tlsdestinations")?, &route.host, host).map_err(|_| None)?;
        route.port = policy.port.unwrap_or(route.port);
        let trust = match controls.number("dnssec-trusted")? {
            None | Some(0) => Trust::Nobody,
            Some(1) => Trust::ThisHost,
            Some(2) => Trust::Everybody,
            Some(_) => return Err(None),
        };
        let own_name = source.helohost.take();
        let mut settings = Settings {
            remote: seconds("timeoutremote", TIMEOUT_REMOTE)?,
            connect: seconds("timeoutconnect", TIMEOUT_CONNECT)?,
            helohost: own_name.map_or_else(|| controls.line_or_me("helohost"), |n| Ok(Some(n)))?.ok_or(None)?,
            route,
            source,
            policy,
            tlsa: Tlsa::default(),
            trust,
            credentials: Credentials::default(),
            may_fall_back: false,
            tlsc: conf::below(home, "bin/qmail-tlsc"),
            queue: PathBuf::from("queue"),
        };
        let may_find_records = trust != Trust::Nobody && settings.policy.level != Level::Never;
        if settings.starts_with_tls() || settings.policy.level.wants_tls() || may_find_records {
            settings.credentials = Credentials::find(&list("domaincerts")?, domain(sender)).unwrap_or_default();
            let is_free = settings.policy.level.wants_tls() && !settings.policy.level.is_mandatory();
            settings.may_fall_back = is_free && !settings.starts_with_tls() && controls.path("tlsfallback").exists();
        }
        Ok(settings)
    }

    /// TLS is spoken from the first byte on. Of such a port nothing else can be had, so that a missing rule does not
    /// matter.
    pub fn starts_with_tls(&self) -> bool {
        let port = match self.route.protocol {
            Protocol::Smtp => SMTPS,
            Protocol::Qmtp => QMTPS,
        };
        self.route.port == port && self.policy.level != Level::Never
    }

    /// The same, for a server that is known to speak TLS, by these records if there are any. What the controls demand
    /// of a certificate is demanded as well.
    pub fn with_tls(&self, tlsa: Tlsa) -> Settings {
        let level = match self.policy.level {
            Level::Never | Level::Unset | Level::Any => Level::MustAny,
            Level::Certificate => Level::MustCertificate,
            mandatory => mandatory,
        };
        let policy = Policy { level, ..self.policy.clone() };
        Settings { policy, tlsa, may_fall_back: false, ..self.clone() }
    }

    /// The same, for another attempt at a server whose TLS is broken.
    pub fn without_tls(&self) -> Settings {
        Settings { policy: Policy::of_level(Level::Never), may_fall_back: false, ..self.clone() }
    }
}

/// What follows the last `@`.
fn domain(address: &[u8]) -> &[u8] {
    address.iter().rposition(|&b| b == b'@').and_then(|at| address.get(at + 1..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads these controls for mail from s@b.test to a.test.
    fn read(files: &[(&str, &str)]) -> Result<Settings, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("control")).unwrap();
        for (name, text) in [("me", "me.test\n")].iter().chain(files) {
            std::fs::write(home.path().join("control").join(name), text).unwrap();
        }
        Settings::read(home.path(), b"a.test", b"s@b.test").map_err(|e| String::from_utf8(e).unwrap())
    }

    #[test]
    fn defaults() {
        let s = read(&[]).unwrap();
        assert_eq!((s.helohost.as_slice(), s.connect.as_secs(), s.remote.as_secs()), (&b"me.test"[..], 60, 1200));
        assert_eq!((s.route.port, s.policy.level), (25, Level::Unset));
        assert!(!s.starts_with_tls() && !s.may_fall_back);
        let s = read(&[("helohost", "h.test\n"), ("timeoutconnect", "0\n"), ("timeoutremote", "9\n")]).unwrap();
        assert_eq!((s.helohost.as_slice(), s.connect.as_secs(), s.remote.as_secs()), (&b"h.test"[..], 1, 9));
    }

    #[test]
    fn a_sending_domain_may_have_an_address_and_a_name() {
        let s = read(&[("domainips", "b.test:192.0.2.1|b.test\n"), ("helohost", "h.test\n")]).unwrap();
        assert_eq!(
            (s.helohost.as_slice(), s.source.address.unwrap().to_string()),
            (&b"b.test"[..], "192.0.2.1:0".into())
        );
        let s = read(&[("outgoingip", "192.0.2.2\n")]).unwrap();
        assert_eq!(s.source.address.unwrap().to_string(), "192.0.2.2:0");
        let s = read(&[("outgoingip", "192.0.2.2\n"), ("domainips", "c.test:192.0.2.1\n")]).unwrap();
        assert_eq!(s.source.address, None);
        assert_eq!(read(&[("domainips", "*:x\n")]).unwrap_err(), "ZInvalid ipaddr in control/domainips (#4.3.0)\n");
    }

    #[test]
    fn the_port_says_whether_tls_comes_first() {
        for (routes, destinations, want) in [
            (":r.test", "", (25, false)),
            (":r.test:465", "", (465, true)),
            (":r.test:465", "!r.test:", (465, false)),
            (":r.test", "=r.test:;465", (465, true)),
            (":r.test:6209", "", (6209, false)),
        ] {
            let s = read(&[("smtproutes", routes), ("tlsdestinations", destinations)]).unwrap();
            assert_eq!((s.route.port, s.starts_with_tls()), want, "{routes} {destinations}");
        }
        for (routes, want) in [(":r.test", (209, false)), (":r.test;6209", (6209, true)), (":r.test;465", (465, false))]
        {
            let s = read(&[("qmtproutes", routes)]).unwrap();
            assert_eq!((s.route.port, s.starts_with_tls()), want, "{routes}");
        }
    }

    #[test]
    fn certificates_and_the_fallback_are_looked_for_only_with_tls() {
        let files = [("domaincerts", "*:cert\n"), ("tlsfallback", "")];
        let s = read(&files).unwrap();
        assert!(s.credentials.certificate.is_empty() && !s.may_fall_back);
        for (rule, may) in [("*:", true), ("-:", true), ("-*:", false), ("a.test:", false), ("*:;465", false)] {
            let s = read(&[&files[..], &[("tlsdestinations", rule)]].concat()).unwrap();
            assert_eq!((s.credentials.certificate.as_slice(), s.may_fall_back), (&b"cert"[..], may), "{rule}");
        }
    }

    #[test]
    fn whom_to_believe_is_a_number() {
        for (text, want) in [("0", Trust::Nobody), ("1\n", Trust::ThisHost), ("2\n", Trust::Everybody)] {
            assert_eq!(read(&[("dnssec-trusted", text)]).unwrap().trust, want, "{text}");
        }
        assert_eq!(read(&[]).unwrap().trust, Trust::Nobody);
        // A certificate may be needed although no rule speaks of TLS.
        let files = [("domaincerts", "*:cert\n"), ("dnssec-trusted", "1\n"), ("tlsfallback", "")];
        let s = read(&files).unwrap();
        assert_eq!((s.credentials.certificate.as_slice(), s.may_fall_back), (&b"cert"[..], false));
        assert!(read(&[&files[..], &[("tlsdestinations", "!:")]].concat()).unwrap().credentials.certificate.is_empty());
    }

    #[test]
    fn a_server_that_speaks_tls_gets_no_mail_without_it() {
        let files = [("tlsfallback", ""), ("dnssec-trusted", "1")];
        for (rule, want) in [
            ("", Level::MustAny),
            ("-:", Level::MustAny),
            ("*:", Level::MustCertificate),
            ("*:ca", Level::MustCertificate),
            ("-*:", Level::MustAny),
            ("a.test:ca", Level::MustCertificate),
            ("=a.test:ca", Level::MustName),
        ] {
            let s = read(&[&files[..], &[("tlsdestinations", rule)]].concat()).unwrap();
            let with = s.with_tls(Tlsa::default());
            assert_eq!((with.policy.level, with.may_fall_back), (want, false), "{rule}");
            assert_eq!((with.policy.ca, with.route), (s.policy.ca, s.route), "{rule}");
        }
    }

    #[test]
    fn what_makes_no_sense_keeps_the_mail() {
        for (name, text) in [
            ("smtproutes", ":r:x"),
            ("qmtproutes", ":r|u|p"),
            ("authsenders", ":r|u"),
            ("authsender", ":r|u"),
            ("tlsdestinations", "*:;x"),
            ("dnssec-trusted", "3"),
        ] {
            assert_eq!(read(&[(name, text)]).unwrap_err(), "ZUnable to read control files. (#4.3.0)\n", "{name}");
        }
    }
}
