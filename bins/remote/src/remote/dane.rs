//! What a server's domain says about its TLS, in TLSA records that nobody can have forged (RFC 7672; spec/smtp.md 9.6).

use crate::hosts::Exchanger;
use crate::report;
use crate::route::Protocol;
use crate::settings::Settings;
use dns::{Answer, Checked, Resolver, Trust};
use std::borrow::Cow;
use std::rc::Rc;
use tunnel::{Level, Record, Tlsa};

/// The look-ups that are needed.
pub trait Records {
    /// The TLSA records of a name.
    fn tlsa(&self, name: &[u8]) -> Checked<dns::Tlsa>;
    /// What a name is an alias of.
    fn cname(&self, name: &[u8]) -> Checked<Vec<u8>>;
}

impl Records for Resolver {
    fn tlsa(&self, name: &[u8]) -> Checked<dns::Tlsa> {
        self.checked_tlsa(name)
    }
    fn cname(&self, name: &[u8]) -> Checked<Vec<u8>> {
        self.checked_cname(name)
    }
}

/// The settings of a delivery with each server's records.
pub struct Dane<'s, R> {
    settings: &'s Settings,
    records: &'s R,
    /// What was found out last: an exchanger may have several addresses.
    last: Option<(Rc<Exchanger>, Result<Word, Unknown>)>,
}

/// What the records of an exchanger say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// There are none that count: the controls alone say what to do.
    Nothing,
    /// It speaks TLS, but no record says by what to know it.
    Tls,
    /// It speaks TLS, and this is by what to know it.
    KnownBy(Tlsa),
}

/// It can not be found out now whether there are records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unknown;

impl<'s, R: Records> Dane<'s, R> {
    /// For servers that these settings lead to.
    pub fn new(settings: &'s Settings, records: &'s R) -> Dane<'s, R> {
        Dane { settings, records, last: None }
    }

    /// The settings for an exchanger. An error is the record for the message: this one is to be passed over, since mail
    /// might go out in the clear only because somebody keeps an answer back (RFC 7672 2.1.2).
    pub fn settings_for(&mut self, exchanger: &Rc<Exchanger>) -> Result<Cow<'s, Settings>, Vec<u8>> {
        let known = self.last.take().filter(|(last, _)| Rc::ptr_eq(last, exchanger)).map(|(_, word)| word);
        let word = known.unwrap_or_else(|| self.ask(exchanger));
        self.last = Some((exchanger.clone(), word.clone()));
        match word {
            Ok(Word::Nothing) => Ok(Cow::Borrowed(self.settings)),
            Ok(Word::Tls) => Ok(Cow::Owned(self.settings.with_tls(Tlsa::default()))),
            Ok(Word::KnownBy(tlsa)) => Ok(Cow::Owned(self.settings.with_tls(tlsa))),
            Err(Unknown) => Err(report::no_tlsa(&exchanger.name)),
        }
    }

    fn ask(&self, exchanger: &Exchanger) -> Result<Word, Unknown> {
        let Settings { route, policy, .. } = self.settings;
        let has_no_tls = route.protocol == Protocol::Qmtp && !self.settings.starts_with_tls();
        if exchanger.name.is_empty() || policy.level == Level::Never || has_no_tls {
            return Ok(Word::Nothing);
        }
        let bases = self.secure_bases(exchanger)?;
        let mut doubtful = None;
        for base in &bases {
            let found = self.records.tlsa(&owner(route.port, base));
            match found.answer {
                Answer::Found(list) if found.is_secure => {
                    let tlsa = self.tlsa(list, base, exchanger);
                    return Ok(if tlsa.is_empty() { Word::Tls } else { Word::KnownBy(tlsa) });
                }
                Answer::Found(list) => doubtful = doubtful.or(Some((list, *base))),
                Answer::Temporary => return Err(Unknown),
                Answer::NoRecords | Answer::NoSuchName => {}
            }
        }
        // What may be forged is no reason to rely on TLS. But where the controls insist on a certificate anyway it can
        // do no harm but to hold mail back: it serves as a pin (spec/smtp.md 9.6).
        if policy.level < Level::MustCertificate {
            return Ok(Word::Nothing);
        }
        if bases.is_empty() {
            let list = self.records.tlsa(&owner(route.port, &exchanger.name)).answer.records();
            doubtful = list.map(|list| (list, exchanger.name.as_slice()));
        }
        let pins = doubtful.map(|(list, base)| self.tlsa(list, base, exchanger));
        Ok(pins.filter(|pins| !pins.is_empty()).map_or(Word::Nothing, Word::KnownBy))
    }

    /// The names under which records are to be looked for, in order; none if nothing there could be relied on. Others
    /// are not asked for: there are name servers that fail at questions for types that they do not know (RFC 7672 2.2.2).
    fn secure_bases<'e>(&self, exchanger: &'e Exchanger) -> Result<Vec<&'e [u8]>, Unknown> {
        let Exchanger { name, end, is_sure, is_secure } = exchanger;
        let is_alias = !name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(end);
        match (*is_sure, *is_secure) {
            (true, true) if is_alias => Ok(vec![end, name]),
            (true, true) => Ok(vec![name]),
            (true, false) if is_alias && self.settings.trust != Trust::Nobody => {
                // The alias may be in a signed zone, and the name that it stands for in another one.
                let alias = self.records.cname(name);
                match alias.answer {
                    Answer::Temporary => Err(Unknown),
                    _ if alias.is_secure => Ok(vec![name]),
                    _ => Ok(Vec::new()),
                }
            }
            _ => Ok(Vec::new()),
        }
    }

    fn tlsa(&self, list: Vec<dns::Tlsa>, base: &[u8], exchanger: &Exchanger) -> Tlsa {
        // The name of the records first, which the server is told.
        let domain = dns::to_ascii(&self.settings.route.host).unwrap_or_default();
        let mut names = vec![base.to_vec(), exchanger.name.clone(), domain];
        names.dedup();
        let records = list.into_iter().map(|r| Record {
            usage: r.usage,
            selector: r.selector,
            matching: r.matching,
            data: r.data,
        });
        Tlsa::of(records.collect(), names)
    }
}

/// The name at which the records of a server are (RFC 6698 3).
fn owner(port: u16, base: &[u8]) -> Vec<u8> {
    [format!("_{port}._tcp.").as_bytes(), base].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A record of three numbers and 32 bytes.
    type Numbers = (u8, u8, u8);

    /// Names with their records; `_25._tcp.` is left out. What is not listed does not exist.
    #[derive(Default)]
    struct Fake {
        records: Vec<(&'static str, Vec<Numbers>)>,
        secure: Vec<&'static str>,
        broken: Vec<&'static str>,
        asked: RefCell<Vec<String>>,
    }

    impl Fake {
        fn checked<T>(&self, name: &str, list: Vec<T>) -> Checked<T> {
            let answer = match list {
                _ if self.broken.contains(&name) => Answer::Temporary,
                list if list.is_empty() => Answer::NoSuchName,
                list => Answer::Found(list),
            };
            let is_secure = matches!(answer, Answer::Found(_)) && self.secure.contains(&name);
            Checked { answer, is_secure, name: name.into() }
        }
    }

    impl Records for Fake {
        fn tlsa(&self, name: &[u8]) -> Checked<dns::Tlsa> {
            let name = std::str::from_utf8(name).unwrap().strip_prefix("_25._tcp.").unwrap();
            self.asked.borrow_mut().push(name.to_string());
            let here = self.records.iter().filter(|r| r.0 == name).flat_map(|r| &r.1);
            let data = vec![7; 32];
            let record = |n: &Numbers| dns::Tlsa { usage: n.0, selector: n.1, matching: n.2, data: data.clone() };
            self.checked(name, here.map(record).collect())
        }
        fn cname(&self, name: &[u8]) -> Checked<Vec<u8>> {
            let name = std::str::from_utf8(name).unwrap();
            self.asked.borrow_mut().push(format!("{name} (alias)"));
            self.checked(name, vec![b"end.test".to_vec()])
        }
    }

    /// Settings for mail to d.test.
    fn settings(rule: &str, trust: &str) -> Settings {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("control")).unwrap();
        for (name, text) in [("me", "me.test"), ("tlsdestinations", rule), ("dnssec-trusted", trust)] {
            std::fs::write(home.path().join("control").join(name), text).unwrap();
        }
        Settings::read(home.path(), b"d.test", b"s@b.test").unwrap()
    }

    fn exchanger(end: &str, is_sure: bool, is_secure: bool) -> Exchanger {
        Exchanger { name: b"mx.test".to_vec(), end: end.into(), is_sure, is_secure }
    }

    const EE: Numbers = (3, 1, 1);
    const PKIX: Numbers = (1, 1, 1);

    /// A word in short: the names that go with a demand.
    fn short(word: Result<Word, Unknown>) -> String {
        match word {
            Ok(Word::Nothing) => "nothing".into(),
            Ok(Word::Tls) => "tls".into(),
            Ok(Word::KnownBy(tlsa)) => {
                tlsa.names.iter().map(|n| String::from_utf8_lossy(n)).collect::<Vec<_>>().join(" ")
            }
            Err(Unknown) => "unknown".into(),
        }
    }

    #[test]
    fn records_count_if_all_that_leads_to_them_is_secure() {
        let fake = |list: &[Numbers], secure: &[&'static str], broken: &[&'static str]| Fake {
            records: vec![("mx.test", list.to_vec())],
            secure: secure.to_vec(),
            broken: broken.to_vec(),
            ..Fake::default()
        };
        let (known, mx, none) = ("mx.test d.test", &["mx.test"][..], &[][..]);
        let (good, no_mx, no_address) = ((true, true), (false, true), (true, false));
        // The last column: how much a rule makes of records that are not secure.
        for (list, secure, broken, way, want, strict) in [
            (&[EE][..], mx, none, good, known, known),
            (&[EE, PKIX], mx, none, good, known, known),
            (&[PKIX], mx, none, good, "tls", "tls"),
            (&[], none, none, good, "nothing", "nothing"),
            (&[EE], none, none, good, "nothing", known),
            (&[PKIX], none, none, good, "nothing", "nothing"),
            (&[EE], none, mx, good, "unknown", "unknown"),
            (&[EE], mx, none, no_mx, "nothing", known),
            (&[EE], mx, none, no_address, "nothing", known),
            (&[PKIX], mx, none, no_mx, "nothing", "nothing"),
            // Nothing is to be learned from those that are not secure: then a failure does not matter.
            (&[EE], mx, mx, no_mx, "nothing", "nothing"),
        ] {
            let exchanger = exchanger("mx.test", way.0, way.1);
            for (rule, want) in [("", want), ("*:", want), ("-*:", want), ("+*:", strict), ("=d.test:", strict)] {
                let (settings, fake) = (settings(rule, "1"), fake(list, secure, broken));
                let word = Dane::new(&settings, &fake).ask(&exchanger);
                assert_eq!(short(word), want, "{list:?} {secure:?} {broken:?} {way:?} {rule}");
            }
        }
    }

    #[test]
    fn names_are_not_asked_about_for_nothing() {
        for (rule, exchanger, asked) in [
            ("", exchanger("mx.test", true, true), &["mx.test"][..]),
            ("", exchanger("MX.test", true, true), &["mx.test"]),
            ("", Exchanger { name: b"mx.test.".to_vec(), ..exchanger("mx.test", true, true) }, &["mx.test."]),
            ("", exchanger("mx.test", false, true), &[]),
            ("", exchanger("mx.test", true, false), &[]),
            ("+*:", exchanger("mx.test", false, false), &["mx.test"]),
            ("!:", exchanger("mx.test", true, true), &[]),
            ("+*:", Exchanger::default(), &[]),
            ("", exchanger("end.test", true, true), &["end.test", "mx.test"]),
            ("", exchanger("end.test", true, false), &["mx.test (alias)"]),
            ("", exchanger("end.test", false, false), &[]),
        ] {
            let (settings, fake) = (settings(rule, "1"), Fake::default());
            assert_eq!(Dane::new(&settings, &fake).ask(&exchanger), Ok(Word::Nothing));
            assert_eq!(*fake.asked.borrow(), asked, "{rule} {exchanger:?}");
        }
        let (settings, fake) = (settings("", "0"), Fake::default());
        assert_eq!(Dane::new(&settings, &fake).ask(&exchanger("end.test", true, false)), Ok(Word::Nothing));
        assert!(fake.asked.borrow().is_empty());
    }

    #[test]
    fn an_alias_has_records_at_either_end() {
        let fake = |names: &[&'static str], secure: &[&'static str]| Fake {
            records: names.iter().map(|n| (*n, vec![EE])).collect(),
            secure: secure.to_vec(),
            ..Fake::default()
        };
        let both = ["mx.test", "end.test"];
        for (names, secure, is_secure, want) in [
            (&both[..], &both[..], true, "end.test mx.test d.test"),
            (&both[..1], &both, true, "mx.test d.test"),
            (&both[1..], &both, true, "end.test mx.test d.test"),
            // The alias is secure, what it leads to is not.
            (&both, &both[..1], false, "mx.test d.test"),
            (&both, &both[1..], false, "nothing"),
        ] {
            let (settings, fake) = (settings("", "1"), fake(names, secure));
            let word = Dane::new(&settings, &fake).ask(&exchanger("end.test", true, is_secure));
            assert_eq!(short(word), want, "{names:?} {secure:?} {is_secure}");
        }
        let (settings, fake) = (settings("", "1"), Fake { broken: vec!["mx.test"], ..Fake::default() });
        assert_eq!(short(Dane::new(&settings, &fake).ask(&exchanger("end.test", true, false))), "unknown");
    }

    #[test]
    fn an_exchanger_is_asked_about_once() {
        let fake = Fake { broken: vec!["mx.test"], ..Fake::default() };
        let settings = settings("", "1");
        let mut dane = Dane::new(&settings, &fake);
        let [one, other] = [(); 2].map(|()| Rc::new(exchanger("mx.test", true, true)));
        for (exchanger, times) in [(&one, 1), (&one, 1), (&other, 2), (&one, 3)] {
            let record = dane.settings_for(exchanger).unwrap_err();
            assert_eq!(record, b"ZTLSA lookup failed temporarily for: mx.test. (#4.4.3)\n");
            assert_eq!(fake.asked.borrow().len(), times);
        }
    }
}
