//! The public test suite for RFC 7208, from its own tables. (bins/receive runs it over real packets.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod suite;

use dns::{Answer, Mx};
use spf::{Names, Outcome, Query};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use suite::{Entry, Said, Zone};

/// The suite's tables as a source of names.
struct Table<'a>(&'a Zone);

impl Table<'_> {
    fn answer<T>(&self, name: &[u8], wanted: fn(&Entry) -> bool, pick: fn(Entry) -> Option<T>) -> Answer<T> {
        let mut name = name.to_vec();
        // As many aliases as lib/dns follows.
        for _ in 0..=dns::CNAME_MAX {
            let records = match self.0.ask(&name, wanted) {
                Said::Records(records) => records,
                Said::NoSuchName => return Answer::NoSuchName,
                Said::Nothing => return Answer::Temporary,
            };
            if let Some(Entry::Cname(target)) = records.iter().find(|e| matches!(e, Entry::Cname(_))) {
                name = target.clone();
                continue;
            }
            let list: Vec<T> = records.into_iter().filter_map(pick).collect();
            return if list.is_empty() { Answer::NoRecords } else { Answer::Found(list) };
        }
        Answer::Temporary
    }
}

impl Names for Table<'_> {
    fn txt(&self, name: &[u8]) -> Answer<Vec<u8>> {
        let pick = |e| if let Entry::Txt(strings) = e { Some(strings.concat()) } else { None };
        self.answer(name, |e| matches!(e, Entry::Txt(_)), pick)
    }

    fn a(&self, name: &[u8]) -> Answer<Ipv4Addr> {
        self.answer(name, |e| matches!(e, Entry::A(_)), |e| if let Entry::A(ip) = e { Some(ip) } else { None })
    }

    fn aaaa(&self, name: &[u8]) -> Answer<Ipv6Addr> {
        self.answer(name, |e| matches!(e, Entry::Aaaa(_)), |e| if let Entry::Aaaa(ip) = e { Some(ip) } else { None })
    }

    fn mx(&self, name: &[u8]) -> Answer<Mx> {
        let pick = |e| if let Entry::Mx(preference, name) = e { Some(Mx { preference, name }) } else { None };
        self.answer(name, |e| matches!(e, Entry::Mx(..)), pick)
    }

    fn ptr(&self, address: IpAddr) -> Answer<Vec<u8>> {
        let zone = if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
        let name = [&dns::reversed(address)[..], b".", zone.as_bytes()].concat();
        self.answer(&name, |e| matches!(e, Entry::Ptr(_)), |e| if let Entry::Ptr(name) = e { Some(name) } else { None })
    }
}

#[test]
fn all_203_public_cases() {
    let (mut count, mut wrong) = (0, Vec::new());
    for scenario in suite::scenarios() {
        for case in &scenario.cases {
            let ip = case.host.parse().unwrap();
            let mut query = Query::new(ip, case.helo.as_bytes(), case.mailfrom.as_bytes());
            query.explanation = b"DEFAULT";
            let verdict = spf::check(&Table(&scenario.zone), &query);
            count += 1;
            let word = verdict.outcome.standard_word();
            let explanation = String::from_utf8(verdict.explanation).unwrap();
            let good = case.explanation.as_ref().is_none_or(|e| *e == explanation);
            if !good || !case.results.iter().any(|r| r == word) {
                wrong.push(format!("{} {}: {word} {explanation:?}", scenario.description, case.name));
            }
        }
    }
    assert_eq!((count, wrong), (203, Vec::new()));
}

/// A table without a file: names and their records.
fn check_with(records: &[(&str, &str)], query: &Query<'_>) -> spf::Verdict {
    struct Texts<'a>(&'a [(&'a str, &'a str)]);
    impl Names for Texts<'_> {
        fn txt(&self, name: &[u8]) -> Answer<Vec<u8>> {
            let found = self.0.iter().filter(|(n, _)| n.as_bytes() == name);
            let list: Vec<Vec<u8>> = found.map(|(_, text)| text.as_bytes().to_vec()).collect();
            if list.is_empty() { Answer::NoSuchName } else { Answer::Found(list) }
        }
        fn a(&self, name: &[u8]) -> Answer<Ipv4Addr> {
            if name == b"slow.test" { Answer::Temporary } else { Answer::NoSuchName }
        }
        fn aaaa(&self, _: &[u8]) -> Answer<Ipv6Addr> {
            Answer::NoRecords
        }
        /// `two` and `three` begin names with so many exchangers.
        fn mx(&self, name: &[u8]) -> Answer<Mx> {
            let count = if name.starts_with(b"two") { 2 } else { 3 * u8::from(name.starts_with(b"three")) };
            let list: Vec<Mx> = (0..count).map(|n| Mx { preference: n.into(), name: vec![b'a' + n] }).collect();
            if list.is_empty() { Answer::NoRecords } else { Answer::Found(list) }
        }
        /// As many names as the last octet says.
        fn ptr(&self, ip: IpAddr) -> Answer<Vec<u8>> {
            let IpAddr::V4(ip) = ip else { return Answer::NoRecords };
            let list: Vec<Vec<u8>> = (1..ip.octets()[3]).map(|n| vec![b'a' + n]).collect();
            if list.is_empty() { Answer::NoRecords } else { Answer::Found(list) }
        }
    }
    spf::check(&Texts(records), query)
}

fn query<'a>(sender: &'a str) -> Query<'a> {
    Query::new("192.0.2.1".parse().unwrap(), b"h.test", sender.as_bytes())
}

#[test]
fn d2_two_records_eleven_lookups_and_three_void_ones_are_permanent_errors() {
    let eleven = format!("v=spf1 {}-all", "include:x.test ".repeat(11));
    for (text, problem, mechanism) in [
        ("v=spf1 include:a.test -all", "too many DNS lookups", "include"),
        (&*eleven, "too many DNS lookups", "include"),
        ("v=spf1 a:a.test mx:b.test exists:c.test -all", "too many void DNS lookups", "exists"),
        ("v=spf1 a:%{l}%{l}%{l}.test moo -all", "unknown mechanism", "moo"),
        ("v=spf1 include:gone.test -all", "domain without SPF record", "include"),
        ("v=spf1 redirect=gone.test", "domain without SPF record", "redirect"),
        ("v=spf1 ip4:1.2.3 -all", "syntax error", "ip4"),
    ] {
        let records = [("a.test", text), ("x.test", "v=spf1 ?all")];
        let verdict = check_with(&records, &query("f@a.test"));
        let (p, m) = (String::from_utf8(verdict.problem).unwrap(), String::from_utf8(verdict.mechanism).unwrap());
        assert_eq!((verdict.outcome, &*p, &*m), (Outcome::PermError, problem, mechanism), "{text}");
    }
    let two = check_with(&[("a.test", "v=spf1 -all"), ("a.test", "v=spf1 +all")], &query("f@a.test"));
    assert_eq!((two.outcome, two.problem), (Outcome::PermError, b"several SPF records".to_vec()));
    // 450 bytes of local part in each macro make a name of at most 253 bytes, or none.
    let long = format!("{}@a.test", "x".repeat(450));
    let grown = check_with(&[("a.test", "v=spf1 exists:%{s}.%{s}.%{s}.test ?all")], &query(&long));
    assert_eq!(grown.outcome, Outcome::Neutral);
}

#[test]
fn d2_void_lookups_are_counted_in_total() {
    let (few, many) = (Outcome::Fail, Outcome::PermError);
    for (ip, text, outcome) in [
        (1, "v=spf1 a:x.test a:y.test -all", few),
        (1, "v=spf1 a:x.test a:y.test exists:z.test -all", many),
        // Each exchanger without an address is one.
        (1, "v=spf1 mx:two.test -all", few),
        (1, "v=spf1 mx:two.test a:x.test -all", many),
        (1, "v=spf1 mx:three.test -all", many),
        // And each name of the client's, but these are looked up once.
        (1, "v=spf1 ptr a:x.test ptr -all", few),
        (3, "v=spf1 ptr ptr -all", few),
        (4, "v=spf1 ptr -all", many),
        (3, "v=spf1 ?exists:%{p}.test -all", many),
        // Those of a domain referred to are the same check's.
        (1, "v=spf1 a:x.test include:inner.test -all", few),
        (1, "v=spf1 a:x.test include:inner.test a:y.test -all", many),
        (1, "v=spf1 a:x.test a:y.test redirect=inner.test", many),
        // What explains a failure can not turn it into another result.
        (1, "v=spf1 a:x.test a:y.test -all exp=gone.test", few),
        (9, "v=spf1 -all exp=%{p}.test", few),
    ] {
        let records = [("a.test", text), ("inner.test", "v=spf1 a:w.test -all")];
        let mut query = query("f@a.test");
        query.ip = Ipv4Addr::new(192, 0, 2, ip).into();
        assert_eq!(check_with(&records, &query).outcome, outcome, "{text}");
    }
}

#[test]
fn d2_a_name_server_that_does_not_answer_is_a_temporary_error() {
    let verdict = check_with(&[("a.test", "v=spf1 a:slow.test -all")], &query("f@a.test"));
    assert_eq!((verdict.outcome, verdict.problem), (Outcome::TempError, b"DNS lookup failed".to_vec()));
}

#[test]
fn local_rules_go_before_the_final_all_and_stand_in_for_a_missing_record() {
    let own = "v=spf1 ip4:192.0.2.9 -all exp=why.test";
    for (text, rules, outcome, explanation) in [
        (own, "", Outcome::Fail, "domain says"),
        (own, "ip4:192.0.2.1", Outcome::Pass, ""),
        (own, "ip4:192.0.2.2", Outcome::Fail, "domain says"),
        (own, "-ip4:192.0.2.1", Outcome::Fail, "site says 192.0.2.1"),
        ("v=spf1 ~ip4:192.0.2.1 -all", "ip4:192.0.2.1", Outcome::SoftFail, ""),
        ("v=spf1 ip4:192.0.2.9", "ip4:192.0.2.1", Outcome::Pass, ""),
        ("other", "ip4:192.0.2.1", Outcome::Pass, ""),
        ("other", "ip4:192.0.2.2", Outcome::None, ""),
        ("v=spf1 include:b.test -all", "ip4:192.0.2.1", Outcome::Pass, ""),
        // The site's look-ups are not charged to the domain.
        ("v=spf1 a:x.test a:y.test -all", "a:z.test a:w.test ip4:192.0.2.1", Outcome::Pass, ""),
        (own, "moo", Outcome::PermError, ""),
    ] {
        let mut query = query("f@a.test");
        (query.local_rules, query.explanation) = (rules.as_bytes(), b"site says %{c}");
        let records = [("a.test", text), ("b.test", "v=spf1 -all"), ("why.test", "domain says")];
        let verdict = check_with(&records, &query);
        let said = String::from_utf8(verdict.explanation).unwrap();
        assert_eq!((verdict.outcome, &*said), (outcome, explanation), "{text} with {rules}");
    }
}

#[test]
fn the_null_sender_is_checked_by_helo() {
    let records = [("h.test", "v=spf1 -all exp=e.test"), ("e.test", "%{s} %{o} %{l} %{h} %{r} %{t} %{v}")];
    for sender in ["", "postmaster", "postmaster@"] {
        let verdict = check_with(&records, &query(sender));
        assert_eq!((verdict.outcome, &*verdict.domain), (Outcome::Fail, &b"h.test"[..]));
        let said = String::from_utf8(verdict.explanation).unwrap();
        assert_eq!(said, "postmaster@h.test h.test postmaster h.test unknown 0 in-addr");
    }
}

#[test]
fn the_trail_tells_the_steps() {
    let records = [("a.test", "v=spf1 mx include:b.test ?all"), ("b.test", "v=spf1 ip4:192.0.2.0/24 -all")];
    let verdict = check_with(&records, &query("f@a.test"));
    let trail = " S=192.0.2.1 O=f@a.test C=a.test H=h.test MMX=a.test I=b.test MIPv4=192.0.2.0/24 R:+ ";
    assert_eq!(String::from_utf8(verdict.trail).unwrap(), trail);
    let read = "(a.test) => v=spf1 mx include:b.test ?all\n(b.test) => v=spf1 ip4:192.0.2.0/24 -all\n";
    assert_eq!(String::from_utf8(verdict.records).unwrap(), read);
}
