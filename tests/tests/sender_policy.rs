//! Sender policies as spfquery finds them, from a name server of our own: the public test suite for RFC 7208, and what
//! only packets can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../lib/spf/tests/suite/mod.rs"]
mod suite;

use std::process::Command;
use std::time::{Duration, Instant};
use suite::{Entry, Said, Zone};
use whole_system::names::{Data, NameServer, Reply, kind};
use whole_system::{Home, run, stderr, stdout};

/// A server of the suite's tables. It fails where the suite wants a time-out: to the programs that is the same, but
/// for the time.
fn serve(zone: Zone) -> NameServer {
    NameServer::start(move |name, wanted| {
        let wants: fn(&Entry) -> bool = match wanted {
            kind::A => |e| matches!(e, Entry::A(_)),
            kind::AAAA => |e| matches!(e, Entry::Aaaa(_)),
            kind::MX => |e| matches!(e, Entry::Mx(..)),
            kind::PTR => |e| matches!(e, Entry::Ptr(_)),
            kind::TXT => |e| matches!(e, Entry::Txt(_)),
            _ => |_| false,
        };
        let records = match zone.ask(name, wants) {
            Said::Records(records) => records,
            Said::NoSuchName => return Reply::NoSuchName,
            Said::Nothing => return Reply::Failure,
        };
        let data = records.into_iter().filter_map(|entry| match entry {
            Entry::A(ip) => Some(Data::A(ip)),
            Entry::Aaaa(ip) => Some(Data::Aaaa(ip)),
            Entry::Mx(preference, name) => Some(Data::Mx(preference, name)),
            Entry::Ptr(name) => Some(Data::Ptr(name)),
            Entry::Cname(name) => Some(Data::Cname(name)),
            Entry::Txt(strings) => Some(Data::Txt(strings)),
            Entry::NoTxt | Entry::Spf(_) | Entry::Timeout => None,
        });
        Reply::Records(data.collect())
    })
}

/// Whether this is not the place to run the test `name`: some client of the suite has an address of this machine, and
/// would be told so. Then the test was run once more, without these addresses.
fn ran_elsewhere(name: &str) -> bool {
    const MARK: &str = "TEST_HAS_NO_ADDRESSES";
    if std::env::var_os(MARK).is_some() {
        return false;
    }
    let own = sys::net::local_addresses().unwrap();
    if !suite::scenarios().iter().flat_map(|s| &s.cases).any(|c| own.contains(&c.host.parse().unwrap())) {
        return false;
    }
    let script = "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture";
    let me = std::env::current_exe().unwrap();
    let mut unshare = Command::new("unshare");
    let ended = unshare.args(["-rn", "sh", "-c", script]).arg(me).arg(name).env(MARK, "").status();
    assert!(ended.is_ok_and(|status| status.success()), "without this machine's addresses");
    true
}

/// The word of RFC 7208 for one of spfquery's.
fn standard(word: &str) -> String {
    match word {
        "unknown" => "permerror",
        "error" => "temperror",
        other => other,
    }
    .to_string()
}

/// The result and the explanation for people, and those for programs.
fn both_ways(home: &Home, server: &NameServer, case: &suite::Case) -> [(String, Option<String>); 2] {
    let question = [&case.host, &case.helo, &case.mailfrom];
    let ask = |before: &[&str], after: &[&str]| {
        let mut spfquery = home.command("spfquery");
        stdout(&run(spfquery.args(before).args(question).args(after).env("DNSCACHEIP", server.cache()), b""))
    };
    let said = ask(&[], &[]);
    let result = said.lines().next().and_then(|line| line.strip_prefix("result=")).unwrap_or("nothing");
    let explanation = said.lines().find_map(|line| line.strip_prefix("SPF results returned: "));
    let told = ask(&["-0"], &["r.test", "", "DEFAULT"]);
    let fields: Vec<&str> = told.split('\0').collect();
    let fifth = fields.get(4).map(|text| text.to_string());
    [(standard(result), explanation.map(str::to_string)), (standard(fields[0]), fifth)]
}

#[test]
fn all_203_public_cases_of_rfc_7208() {
    if ran_elsewhere("all_203_public_cases_of_rfc_7208") {
        return;
    }
    let home = Home::new(&["spfquery"]);
    home.put("control/spfexplain", b"DEFAULT\n");
    let (mut count, mut wrong) = (0, Vec::new());
    for scenario in suite::scenarios() {
        let server = serve(scenario.zone);
        for case in &scenario.cases {
            count += 1;
            for (result, explanation) in both_ways(&home, &server, case) {
                let explained = case.explanation.is_none() || case.explanation == explanation;
                if !explained || !case.results.contains(&result) {
                    wrong.push(format!("{} {}: {result} {explanation:?}", scenario.description, case.name));
                }
            }
        }
    }
    assert_eq!((count, wrong), (203, Vec::new()));
}

/// A server with a few policies.
fn small() -> NameServer {
    NameServer::start(|name, wanted| match (name, wanted) {
        (b"a.test", kind::TXT) => {
            Reply::Records(vec![Data::Txt(vec![b"v=spf1 ip4:198.51.100.1 ".into(), b"-all".into()])])
        }
        // Too long for a UDP answer.
        (b"long.test", kind::TXT) => {
            let text = format!("v=spf1 {}ip4:198.51.100.1 -all", "ip4:203.0.113.1 ".repeat(60));
            Reply::Records(vec![Data::Txt(vec![text.into_bytes()])])
        }
        (b"bad.test", kind::TXT) => Reply::Records(vec![Data::Txt(vec![b"v=spf1 moo -all".into()])]),
        (b"slow.test", kind::TXT) => Reply::Records(vec![Data::Txt(vec![b"v=spf1 a:silent.test -all".into()])]),
        (b"silent.test", _) => Reply::Silence,
        _ => Reply::NoSuchName,
    })
}

#[test]
fn spfquery_says_result_steps_and_policies() {
    let (home, server) = (Home::new(&["spfquery"]), small());
    for (args, code, expected) in [
        (
            &["198.51.100.1", "h.test", "f@a.test", "-v"][..],
            0,
            "result=pass\nSPF records read: \n(a.test) => v=spf1 ip4:198.51.100.1 -all\n\
             SPF information evaluated:  S=198.51.100.1 O=f@a.test C=a.test H=h.test MIPv4=198.51.100.1/32 R:+ \n",
        ),
        (
            &["198.51.100.2", "h.test", "f@a.test"],
            0,
            "result=fail\nSPF information evaluated:  S=198.51.100.2 O=f@a.test C=a.test H=h.test MIPv4=198.51.100.1/32 R:- \n\
             SPF results returned: SPF check failed for f@a.test from 198.51.100.2\n",
        ),
        (
            &["198.51.100.2", "h.test", "f@a.test", "ip4:198.51.100.2"],
            0,
            "result=pass\nSPF information evaluated:  S=198.51.100.2 O=f@a.test C=a.test H=h.test MIPv4=198.51.100.1/32 \
             MIPv4=198.51.100.2/32 R:+ \n",
        ),
        (
            &["198.51.100.1", "h.test", "f@none.test"],
            0,
            "result=none\nSPF information evaluated:  S=198.51.100.1 O=f@none.test C=none.test H=h.test R:o \n",
        ),
        (
            &["127.0.0.1", "h.test", "f@a.test"],
            0,
            "result=loopback\nSPF information evaluated:  MLocal=127.0.0.1 R:+ \n",
        ),
        (&["198.51.100", "h.test", "f@a.test"], 1, "result=IP address syntax error\n"),
        (&["198.51.100.1", "h.test"], 100, ""),
    ] {
        let output = run(home.command("spfquery").args(args).env("DNSCACHEIP", server.cache()), b"");
        assert_eq!((output.status.code(), &*stdout(&output)), (Some(code), expected), "{args:?} {}", stderr(&output));
    }
}

#[test]
fn a_long_policy_comes_over_tcp() {
    let (home, server) = (Home::new(&["spfquery"]), small());
    for (ip, result) in [("198.51.100.1", "result=pass\n"), ("198.51.100.2", "result=fail\n")] {
        let mut spfquery = home.command("spfquery");
        let output = run(spfquery.args([ip, "h.test", "f@long.test"]).env("DNSCACHEIP", server.cache()), b"");
        assert!(stdout(&output).starts_with(result), "{}", stdout(&output));
    }
}

#[test]
fn d2_a_silent_name_server_is_a_temporary_error_within_the_time_limit() {
    let (home, server) = (Home::new(&["spfquery"]), small());
    let start = Instant::now();
    let mut spfquery = home.command("spfquery");
    let output = run(spfquery.args(["198.51.100.1", "h.test", "f@slow.test"]).env("DNSCACHEIP", server.cache()), b"");
    assert!(stdout(&output).starts_with("result=error\n"), "{}", stdout(&output));
    assert!(stdout(&output).contains(" P=DNS lookup failed R:t "), "{}", stdout(&output));
    assert!(start.elapsed() < Duration::from_secs(22), "{:?}", start.elapsed());
}

#[test]
fn a_program_gets_the_verdict_in_fields() {
    let (home, server) = (Home::new(&["spfquery"]), small());
    // It needs nothing of home.
    std::fs::remove_dir_all(home.path("control")).unwrap();
    let ask = |ip: &str, sender: &str| {
        let mut spfquery = home.command("spfquery");
        spfquery.args(["-0", ip, "h.test", sender, "r.test", "ip4:198.51.100.7", "no, %{r} says"]);
        let output = run(spfquery.env("DNSCACHEIP", server.cache()), b"");
        let fields: Vec<String> = stdout(&output).split('\0').map(str::to_string).collect();
        (output.status.code(), fields.len(), fields.into_iter().take(5).collect::<Vec<_>>().join("|"))
    };
    for (ip, sender, expected) in [
        ("198.51.100.1", "f@a.test", "pass|a.test|||"),
        ("198.51.100.7", "f@a.test", "pass|a.test|||"),
        ("198.51.100.7", "f@none.test", "pass|none.test|||"),
        ("::ffff:198.51.100.2", "f@a.test", "fail|a.test|||no, r.test says"),
        ("198.51.100.2", "", "none|h.test|||"),
        ("198.51.100.2", "f@bad.test", "unknown|bad.test|unknown mechanism|moo|"),
        // Who is this host is the caller's question.
        ("127.0.0.1", "f@a.test", "fail|a.test|||no, r.test says"),
    ] {
        assert_eq!(ask(ip, sender), (Some(0), 6, expected.to_string()), "{ip} {sender}");
    }
    assert_eq!(ask("unknown", "f@a.test"), (Some(1), 1, String::new()));
}

/// What qmail-smtpd says to a client at `ip`, and the message that a stand-in for qmail-queue gets.
fn deliver(level: &str, ip: &str, sender: &str) -> (String, String) {
    let (home, server) = (Home::new(&["qmail-smtpd", "spfquery"]), small());
    home.put("control/rcpthosts", b"b.test\n");
    home.put("queue.sh", format!("#!/bin/sh\ncat >{}\n", home.path("message").display()).as_bytes());
    home.install(&home.path("queue.sh"), "queue");
    let script = format!(
        "EHLO h.test\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<joe@b.test>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\nQUIT\r\n"
    );
    let mut smtpd = home.command("qmail-smtpd");
    smtpd.env("SPF", level).env("TCPREMOTEIP", ip).env("TCPLOCALHOST", "b.test").env("DNSCACHEIP", server.cache());
    let output = run(smtpd.env("QMAILQUEUE", home.path("bin/queue")), script.as_bytes());
    // After the last line of the answer to EHLO: MAIL, then RCPT.
    let said = stdout(&output);
    let reply = said.lines().skip_while(|line| !line.starts_with("250 ")).nth(2).unwrap_or_default().to_string();
    (reply, std::fs::read_to_string(home.path("message")).unwrap_or_default())
}

#[test]
fn qmail_smtpd_obeys_the_policy() {
    for (level, ip, sender, reply, field) in [
        (
            "3",
            "198.51.100.1",
            "f@a.test",
            "250 ok",
            "Received-SPF: pass (h.test: domain of a.test\n  designates 198.51.100.1 as permitted sender)\n  \
             receiver=b.test; client-ip=198.51.100.1\n  envelope-from=<f@a.test>\n",
        ),
        ("3", "198.51.100.2", "f@a.test", "550 SPF check failed for f@a.test from 198.51.100.2 (#5.7.1)", ""),
        (
            "2",
            "198.51.100.2",
            "f@a.test",
            "250 ok",
            "Received-SPF: fail (h.test: domain of a.test\n  does not designate 198.51.100.2 as permitted sender)\n",
        ),
        ("2", "198.51.100.2", "f@bad.test", "451 SPF lookup failure (#4.3.0)", ""),
        ("5", "198.51.100.2", "f@none.test", "250 ok", "Received: "),
    ] {
        let (said, message) = deliver(level, ip, sender);
        assert_eq!(said, reply, "{level} {ip} {sender}");
        assert!(message.starts_with(field), "{message}");
    }
}
