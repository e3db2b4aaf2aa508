//! Every row of spec/smtp.md 3 to 6 about envelopes and messages: what calls for it, the reply, the line in the log.

use super::*;

/// Names and values, or files and contents.
type Pairs = &'static [(&'static str, &'static str)];

/// One row.
struct Row {
    variables: Pairs,
    files: Pairs,
    relay: bool,
    script: &'static str,
    /// The last replies, joined with `|`.
    replies: &'static str,
    /// The last lines of the log, joined with `|`; what stands between event and the end of the line may be left out.
    log: &'static str,
}

const ROW: Row = Row { variables: &[], files: &[], relay: false, script: "", replies: "", log: "" };
const MAIL: &str = "HELO client.test\r\nMAIL FROM:<a@there.test>\r\nRCPT TO:<b@here.test>\r\n";

impl Row {
    fn play(&self) -> Played {
        let mut play = Play::new().with(self.variables);
        play.files = self.files.to_vec();
        play.settings.relayclient = self.relay.then(Vec::new);
        play.send(self.script)
    }

    fn check(&self) -> Played {
        let p = self.play();
        let count = self.replies.split('|').count();
        let replies = p.replies();
        let about = format!("{:?} {:?} {:?}", self.variables, self.files, self.script);
        assert_eq!(replies[replies.len() - count..].join("|"), self.replies, "{about}");
        let wanted: Vec<&str> = self.log.split('|').filter(|line| !line.is_empty()).collect();
        assert_eq!(p.log.len(), wanted.len(), "{about} {:?}", p.log);
        for (line, wanted) in p.log.iter().zip(wanted) {
            let (event, end) = wanted.split_once(" .. ").unwrap_or((wanted, ""));
            assert!(line.starts_with(event) && line.ends_with(end), "{about}: {line} is not {wanted}");
        }
        p
    }
}

const NOT_ALLOWED: &str = "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)";

#[test]
fn the_order_of_commands() {
    let rows = [
        Row { script: "RCPT TO:<b@here.test>\r\n", replies: "503 MAIL first (#5.5.1)", ..ROW },
        Row { script: "DATA\r\n", replies: "503 MAIL first (#5.5.1)", ..ROW },
        Row { script: "MAIL FROM:<a@b>\r\nDATA\r\n", replies: "503 RCPT first (#5.5.1)", ..ROW },
        Row { script: "MAIL FROM:<a@b>\r\nHELO x\r\nDATA\r\n", replies: "503 MAIL first (#5.5.1)", ..ROW },
        Row { script: "MAIL FROM:<a@b>\r\nRSET\r\nDATA\r\n", replies: "250 flushed|503 MAIL first (#5.5.1)", ..ROW },
        Row { script: "EXPN x\r\n", replies: "500 unimplemented (#5.5.1)", ..ROW },
        Row { script: "STARTTLS\r\n", replies: "500 unimplemented (#5.5.1)", ..ROW },
        Row { script: "AUTH PLAIN AGEAYg==\r\n", replies: "503 auth not available (#5.3.3)", ..ROW },
        Row { script: "MAIL FROM:<a@b> SIZE=x\r\n", replies: "501 malformed SIZE parameter (#5.5.4)", ..ROW },
        Row { script: "MAIL FROM:<a@b> BODY=8BITMIME X=y RET=HDRS\r\n", replies: "250 ok", ..ROW },
        Row { script: "MAIL FROM:<a\0@b>\r\n", replies: "555 syntax error (#5.5.4)", ..ROW },
        Row { script: "NOOP\0\r\n", replies: "500 syntax error (#5.5.2)", ..ROW },
        Row {
            variables: &[("UCSPITLS", "")],
            script: "STARTTLS x\r\n",
            replies: "501 STARTTLS has no parameters (#5.5.4)",
            ..ROW
        },
        Row { script: "VRFY x\r\n", replies: "252 send some mail, i'll try my best", ..ROW },
        Row { script: "HELP\r\n", replies: "214 see the manual page qmail-smtpd(8) of Quoll", ..ROW },
        Row { script: "NOOP\r\nQUIT\r\n", replies: "250 ok|221 mx.test", ..ROW },
        Row { script: "HELO x\r\n", replies: "220 mx.test ESMTP|250 mx.test", ..ROW },
        Row { script: "EHLO x\r\n", replies: "250-mx.test|250-PIPELINING|250-SMTPUTF8|250-8BITMIME|250 SIZE 0", ..ROW },
    ];
    rows.iter().for_each(|row| {
        row.check();
    });
}

#[test]
fn rows_1_to_3_the_helo_name() {
    const BAD: &str = "550 sorry, invalid HELO/EHLO greeting  (#5.7.1)";
    const LISTS: &[(&str, &str)] = &[("badhelo", "bad.test\n*.dyn.test\n!good.dyn.test\nno.exempt.test!\n")];
    const DNS: &str = "Reject::SNDR::DNS_Helo P:SMTP S:192.0.2.1:client.test .. ";
    let helo = |value: &'static str, name: &'static str| {
        let mut play = Play::new().with(&[("HELOCHECK", value)]);
        play.files = LISTS.to_vec();
        let p = play.send(format!("HELO {name}\r\nMAIL FROM:<a@there.test>\r\nRCPT TO:<b@here.test>\r\n"));
        (p.last(), p.log.last().cloned().unwrap_or_default(), p.done.join(","))
    };
    let rows = [
        ("", "bad.test", BAD, "Bad_Helo", "'.'", ""),
        ("", "BAD.test", BAD, "Bad_Helo", "'.'", ""),
        ("", "a.dyn.test", BAD, "Bad_Helo", "'*'", ""),
        ("", "good.dyn.test", "250 ok", "", "", ""),
        ("", "", "250 ok", "", "", ""),
        ("long", "bad.test", BAD, "Bad_Helo", "'.'", ""),
        ("!", "", BAD, "Bad_Helo", "'!'", ""),
        ("!", "bad.test", "250 ok", "", "", ""),
        (".", "", BAD, "Bad_Helo", "'!'", ""),
        (".", "bad.test", BAD, "Bad_Helo", "'.'", ""),
        (".", "ok.test", "250 ok", "", "", ""),
        ("=", "client.test", "250 ok", "", "", ""),
        ("=", "CLIENT.test", "250 ok", "", "", ""),
        ("=", "other.test", BAD, "DNS_Helo", "'='", ""),
        ("=", "bad.test", BAD, "Bad_Helo", "'.'", ""),
        ("=", "no.exempt.test", "250 ok", "", "", ""),
        ("A", "yes.test", "250 ok", "", "", "Address yes.test"),
        ("A", "no.test", BAD, "DNS_Helo", "'A'", "Address no.test"),
        ("A", "", BAD, "DNS_Helo", "'A'", ""),
        ("A", "bad.test", BAD, "Bad_Helo", "'.'", ""),
        ("A", "no.exempt.test", "250 ok", "", "", ""),
        ("M", "no.test", BAD, "DNS_Helo", "'M'", "Exchanger no.test"),
        ("M", "yes.test", "250 ok", "", "", "Exchanger yes.test"),
        ("M", "later.test", "451 DNS temporary failure (#4.3.0)", "", "", "Exchanger later.test"),
        ("x", "bad.test", BAD, "Bad_Helo", "'.'", ""),
    ];
    for (value, name, reply, event, info, done) in rows {
        let (last, log, asked) = helo(value, name);
        assert_eq!((last.as_str(), asked.as_str()), (reply, done), "HELOCHECK={value} HELO {name}");
        let envelope = " F:a@there.test T:b@here.test ";
        if !event.is_empty() {
            let start = format!("Reject::SNDR::{event} P:SMTP S:192.0.2.1:client.test H:{name}{envelope}{info}");
            assert_eq!(log, start, "HELOCHECK={value} HELO {name}");
        }
    }
    // Without HELO; with a right to relay; reported at each RCPT, looked up once.
    let envelope = "MAIL FROM:<a@there.test>\r\nRCPT TO:<b@here.test>\r\nRCPT TO:<c@here.test>\r\n";
    let none = |value: &str| Play::new().with(&[("HELOCHECK", value)]).send(envelope);
    assert_eq!(none("!").last(), BAD);
    assert!(none("=").log[1].ends_with(" H: F:a@there.test T:c@here.test '0'"));
    assert_eq!(none("").last(), "250 ok");
    let mut relay = Play::new().with(&[("HELOCHECK", "A")]);
    relay.settings.relayclient = Some(Vec::new());
    assert_eq!(relay.send(format!("HELO no.test\r\n{envelope}")).codes(), ["250", "250", "250", "250"]);
    let twice = Play::new().with(&[("HELOCHECK", "A")]).send(format!("HELO no.test\r\n{envelope}"));
    assert_eq!((twice.done.len(), twice.log.len()), (1, 2));
    assert!(twice.log[0].starts_with(DNS.split(" .. ").next().unwrap()));
}

#[test]
fn row_4_the_senders_domain_must_exist() {
    let rows = [
        ("a@yes.test", "250 ok|250 ok", "Accept::RCPT::Rcpthosts_Rcptto", "Exchanger yes.test"),
        (
            "a@no.test",
            "250 ok|553 sorry, your envelope sender must exist  (#5.7.1)",
            "Reject::ORIG::DNS_MF",
            "Exchanger no.test",
        ),
        ("a@later.test", "451 DNS temporary failure (#4.3.0)|503 MAIL first (#5.5.1)", "", "Exchanger later.test"),
        ("", "250 ok|250 ok", "Accept::RCPT::Rcpthosts_Rcptto", ""),
        ("good@no.test", "250 ok|250 ok", "Accept::RCPT::Rcpthosts_Rcptto", ""),
        (
            "no.test",
            "250 ok|553 sorry, your envelope sender must exist  (#5.7.1)",
            "Reject::ORIG::DNS_MF",
            "Exchanger no.test",
        ),
    ];
    let mut play = Play::new().with(&[("MFDNSCHECK", "")]);
    play.files = vec![("badmailfrom", "?good@no.test\n")];
    for (sender, replies, event, done) in rows {
        let p = play.send(format!("MAIL FROM:<{sender}>\r\nRCPT TO:<b@here.test>\r\n"));
        assert_eq!(p.replies()[1..].join("|"), replies, "{sender}");
        assert!(p.log.concat().starts_with(event));
        assert_eq!(p.done.concat(), done);
    }
    play.settings.relayclient = Some(Vec::new());
    let p = play.send("MAIL FROM:<a@no.test>\r\nRCPT TO:<b@far.test>\r\n");
    assert_eq!((p.last().as_str(), p.done.len()), ("250 ok", 0));
}

#[test]
fn rows_5_to_8_recipients() {
    const HERE: &[(&str, &str)] = &[("recipients", "@here.test|no\n@yes.test|yes\n!wild.test\n!*\n")];
    const ALL: &[(&str, &str)] = &[("recipients", "@here.test|no\n@yes.test|yes\n!wild.test\n!*\n"), ("rcpthosts", "")];
    const NO: &str = "550 sorry, no mailbox by that name  (#5.7.1)";
    const TOO_MANY: &str = "452 sorry, too many recipients (#4.5.3)";
    let rows = [
        Row {
            script: "MAIL FROM:<>\r\nRCPT TO:<b@far.test>\r\n",
            replies: NOT_ALLOWED,
            log: "Reject::SNDR::Invalid_Relay P:SMTP S:192.0.2.1:client.test H: F: T:b@far.test",
            ..ROW
        },
        Row {
            files: HERE,
            script: MAIL,
            replies: NO,
            log: "Reject::RCPT::Failed_Rcptto P:SMTP .. T:b@here.test",
            ..ROW
        },
        Row {
            files: HERE,
            variables: &[("RECIPIENTS450", "")],
            script: MAIL,
            replies: "450 sorry, mailbox currently unavailable (#4.2.1)",
            log: "Reject::RCPT::Failed_Rcptto",
            ..ROW
        },
        Row { files: HERE, relay: true, script: MAIL, replies: "250 ok", log: "Accept::SNDR::Relay_Client", ..ROW },
        Row {
            files: &[("recipients", "*|later\n")],
            script: MAIL,
            replies: "421 unable to check recipients (#4.3.0)",
            ..ROW
        },
        Row {
            files: &[("recipients", "none.cdb\n")],
            script: MAIL,
            replies: "421 unable to check recipients (#4.3.0)",
            ..ROW
        },
        // The first is refused, and from then on all.
        Row {
            files: HERE,
            variables: &[("TARPITCOUNT", "1")],
            script: "MAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\nRCPT TO:<c@here.test>\r\n",
            replies: "550 sorry, no mailbox by that name  (#5.7.1)|452 sorry, too many recipients (#4.5.3)",
            log: "Reject::RCPT::Failed_Rcptto|Reject::RCPT::Toomany_Rcptto .. T:c@here.test",
            ..ROW
        },
        Row {
            files: &[("recipients", "!here.test\n@there.test|no\n"), ("rcpthosts", "here.test\nthere.test\n")],
            variables: &[("TARPITCOUNT", "1"), ("TARPITDELAY", "999")],
            script: "MAIL FROM:<>\r\nRCPT TO:<a@here.test>\r\nRCPT TO:<b@there.test>\r\n\
                RCPT TO:<c@here.test>\r\nDATA\r\n",
            replies: "503 DATA command not accepted at this time (#5.5.1)",
            log: "Accept::RCPT::Recipients_Wild|Reject::RCPT::Failed_Rcptto|Reject::RCPT::Toomany_Rcptto",
            ..ROW
        },
        Row {
            variables: &[("MAXRECIPIENTS", "1")],
            script: "MAIL FROM:<>\r\nRCPT TO:<a@here.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: "250 ok|452 sorry, too many recipients (#4.5.3)",
            log: "Accept::RCPT::Rcpthosts_Rcptto|Reject::RCPT::Toomany_Rcptto",
            ..ROW
        },
        // Refused recipients count.
        Row {
            variables: &[("MAXRECIPIENTS", "1")],
            relay: false,
            script: "MAIL FROM:<>\r\nRCPT TO:<a@far.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: TOO_MANY,
            log: "Reject::SNDR::Invalid_Relay|Reject::RCPT::Toomany_Rcptto",
            ..ROW
        },
    ];
    for row in rows {
        row.check();
    }
    let known = |address: &str, spf_passes: bool| {
        let mut play = Play::new().with(if spf_passes { &[("SPF", "1")] } else { &[] });
        let [domain, none] = [b"b".to_vec(), vec![]];
        let result = SpfResult::Pass;
        play.queue.spf =
            Some(Spf { result, domain, explanation: none.clone(), problem: none.clone(), mechanism: none });
        play.files = ALL.to_vec();
        play.files[1] = ("rcpthosts", "here.test\nyes.test\nwild.test\nother.test\ncdb.test\n");
        play.cdbs = vec![("r.cdb", vec![(":b@cdb.test", "")])];
        play.files[0] = ("recipients", "@yes.test|yes\n!wild.test\n@cdb.test:control/r.cdb\n!*\n");
        play.send(format!("MAIL FROM:<>\r\nRCPT TO:<{address}>\r\n")).log.concat()
    };
    for (address, event) in [
        ("b@cdb.test", "Accept::RCPT::Recipients_Cdb "),
        ("b@yes.test", "Accept::RCPT::Recipients_Pam "),
        ("b@wild.test", "Accept::RCPT::Recipients_Wild "),
        ("b@other.test", "Accept::RCPT::Rcpthosts_Rcptto "),
        ("c@cdb.test", "Reject::RCPT::Failed_Rcptto "),
    ] {
        assert!(known(address, false).starts_with(event), "{address} {}", known(address, false));
        let passed = known(address, true);
        assert!(passed.starts_with(&event.replace("Accept::RCPT", "Accept::SPF")), "{address} {passed}");
    }
}

#[test]
fn row_7_the_tarpit_waits_from_its_count_on() {
    let rcpts = "RCPT TO:<b@here.test>\r\n".repeat(4);
    let pauses = |delay: &str, relay: bool| {
        let mut play = Play::new().with(&[("TARPITCOUNT", "3"), ("TARPITDELAY", delay)]);
        play.settings.relayclient = relay.then(Vec::new);
        let p = play.send(format!("MAIL FROM:<>\r\n{rcpts}"));
        assert!(p.codes().iter().all(|code| code == "250"));
        (p.done.join(","), p.writes.len())
    };
    // What was answered before a wait is sent before it: the greeting, then two.
    assert_eq!(pauses("7", false), ("pause 7,pause 7".into(), 4));
    for (delay, relay) in [("7", true), ("0", false), ("999", false), ("", false)] {
        assert_eq!(pauses(delay, relay).0, "", "{delay}");
    }
}

#[test]
fn row_9_spf() {
    const LEVELS: [&str; 7] = ["0", "1", "2", "3", "4", "5", "6"];
    let try_all = |result: SpfResult, explanation: &str| {
        let text = |t: &str| t.as_bytes().to_vec();
        let spf = Spf {
            result,
            domain: text("there.test"),
            explanation: text(explanation),
            problem: text("p"),
            mechanism: text("m"),
        };
        LEVELS.map(|level| {
            let mut play = Play::new().with(&[("SPF", level)]);
            play.queue.spf = Some(spf.clone());
            play.send(MAIL)
        })
    };
    let passed = |played: &[Played; 7]| played.iter().map(|p| u8::from(p.last() == "250 ok")).collect::<Vec<_>>();
    let rows = [
        (SpfResult::Pass, vec![1, 1, 1, 1, 1, 1, 1], "", "pass"),
        (SpfResult::Fail, vec![1, 1, 1, 0, 0, 0, 0], "550 go away (#5.7.1)", "fail"),
        (SpfResult::SoftFail, vec![1, 1, 1, 1, 0, 0, 0], "550 SPF softfail for a@there.test (#5.7.1)", "softfail"),
        (SpfResult::Neutral, vec![1, 1, 1, 1, 1, 0, 0], "550 SPF neutral for a@there.test (#5.7.1)", "neutral"),
        (SpfResult::None, vec![1, 1, 1, 1, 1, 1, 0], "550 SPF none for a@there.test (#5.7.1)", "none"),
        (SpfResult::TempError, vec![1, 1, 0, 0, 0, 0, 0], "451 SPF lookup failure (#4.3.0)", "error"),
        (SpfResult::PermError, vec![1, 1, 0, 0, 0, 0, 0], "550 SPF unknown for a@there.test (#5.7.1)", "unknown"),
    ];
    for (result, expected, reply, _) in &rows {
        let played = try_all(*result, "go away");
        assert_eq!(passed(&played), *expected, "{result:?}");
        if !reply.is_empty() {
            assert_eq!(played[6].last(), *reply);
            let rejected = played[6].log.concat().starts_with("Reject::SPF::Fail P:SMTP ");
            assert_eq!(rejected, reply.starts_with('5'));
        }
        let unclear = matches!(result, SpfResult::TempError | SpfResult::PermError);
        let deferred = played[5].last() == "451 SPF lookup failure (#4.3.0)";
        assert_eq!(deferred, unclear);
        assert_eq!(played[0].done.concat(), "");
        assert_eq!(played[1].done.concat(), "spf 192.0.2.1 client.test a@there.test mx.test");
    }
    let lines = try_all(SpfResult::Fail, "one\ntwo");
    assert_eq!(lines[3].replies()[3..], ["550-one", "550 two (#5.7.1)"]);
    assert_eq!(try_all(SpfResult::Fail, "")[3].last(), "550 SPF fail for a@there.test (#5.7.1)");
    assert!(try_all(SpfResult::Pass, "")[1].log.concat().starts_with("Accept::SPF::Rcpthosts_Rcptto P:SMTP "));

    // The field on top, the variable for the queue program, one evaluation a transaction, none for relays.
    for (result, _, _, word) in rows {
        let mut play = Play::new().with(&[("SPF", "1")]);
        let [domain, explanation, problem, mechanism] = ["d", "", "p", "m"].map(|t| t.as_bytes().to_vec());
        play.queue.spf = Some(Spf { result, domain, explanation, problem, mechanism });
        let script = format!("{MAIL}RCPT TO:<c@here.test>\r\nDATA\r\n.\r\n");
        let p = play.send(script.clone());
        let body = String::from_utf8(p.queued[0].body.clone()).unwrap();
        assert_eq!(body.starts_with("Received-SPF: "), result != SpfResult::None);
        assert!(body.contains("Received: from client.test (192.0.2.1)\n"));
        assert_eq!(p.done.len(), 2);
        assert!(p.done[1].contains(&format!("SPFRESULT={word}")), "{}", p.done[1]);
        play.settings.relayclient = Some(Vec::new());
        let p = play.send(script);
        assert!(p.queued[0].body.starts_with(b"Received: "));
    }
}

#[test]
fn row_9a_the_greylist() {
    let mut play = Play::new().with(&[("POSTGREY", "127.0.0.1;60000")]);
    assert_eq!(play.send(MAIL).last(), "250 ok");
    play.queue.greylisted = true;
    let p = play.send(MAIL);
    assert_eq!(p.done, ["greylist 127.0.0.1;60000 a@there.test b@here.test 192.0.2.1 client.test"]);
    assert_eq!(p.last(), "450 greylisted, try again later (#4.3.0)");
    assert!(p.log[0].starts_with("Reject::SNDR::Greylist P:SMTP "));
    play = play.with(&[("POSTGREY", "127.0.0.1;60000"), ("REPLY_GREYLISTED", "not yet")]);
    assert_eq!(play.send(MAIL).last(), "450 not yet (#4.3.0)");
    play.settings.relayclient = Some(Vec::new());
    assert_eq!(play.send(MAIL).last(), "250 ok");
}

#[test]
fn rows_10_and_11_senders_of_relay_clients() {
    const INVALID: &str = "553 sorry, invalid sender address specified  (#5.7.1)";
    let rules = vec![("192.0.2.", "+@rule.test"), ("joe", "+joe@user.test")];
    let try_one = |value: &str, sender: &str, with_rules: bool| {
        let mut play = Play::new().with(&[("LOCALMFCHECK", value)]);
        play.settings.relayclient = Some(Vec::new());
        play.settings.connection.remote_info = Some(b"joe".to_vec());
        let client = Some(b"joe".to_vec());
        play.settings.tls = Some(Tls { info: b"x".to_vec(), client, email: Some(b"joe@cert.test".to_vec()) });
        play.settings.connection.remote_info = Some(b"joe".to_vec());
        play.cdbs = if with_rules { vec![("mailfromrules.cdb", rules.clone())] } else { vec![] };
        let p = play.send(format!("HELO x\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<b@far.test>\r\n"));
        (p.last(), p.log.concat())
    };
    let rows = [
        ("", "a@here.test", true, true),
        ("", "a@HERE.test", true, true),
        ("", "a@far.test", true, false),
        ("own.test", "a@Own.test", true, true),
        ("own.test", "a@here.test", true, true),
        ("own.test", "a@own.test.x", true, false),
        ("own.test", "a@n.test", true, false),
        ("!", "a@rule.test", true, true),
        ("!", "joe@user.test", true, true),
        ("!", "a@here.test", true, false),
        ("!", "a@here.test", false, true),
        ("!", "a@rule.test", false, false),
        ("=", "JOE", true, true),
        ("=", "joe@here.test", true, false),
        ("?", "Joe@cert.test", true, true),
        ("?", "joe", true, false),
    ];
    for (value, sender, with_rules, allowed) in rows {
        let (last, log) = try_one(value, sender, with_rules);
        let (reply, event) = if allowed {
            ("250 ok", "Accept::ORIG::Local_Sender P:ESMTPSM ")
        } else {
            (INVALID, "Reject::ORIG::Invalid_Mailfrom P:ESMTPS ")
        };
        assert_eq!(last, reply, "LOCALMFCHECK={value} {sender}");
        assert!(log.starts_with(event), "LOCALMFCHECK={value} {sender}: {log}");
    }
    for value in ["", "!", "=", "?", "own.test"] {
        let (last, log) = try_one(value, "", true);
        assert_eq!((last.as_str(), log.starts_with("Accept::SNDR::Relay_Client P:ESMTPS ")), ("250 ok", true));
    }
    // What a client claims by AUTH= is no name that counts.
    let mut play = Play::new().with(&[("LOCALMFCHECK", "=")]);
    play.settings.relayclient = Some(Vec::new());
    assert_eq!(play.send("MAIL FROM:<a@b> AUTH=a@b\r\nRCPT TO:<b@far.test>\r\n").last(), INVALID);
}

#[test]
fn rows_12_to_15_for_all_clients() {
    const LISTS: &[(&str, &str)] =
        &[("badmailfrom", "@evil.test\n@own.test+\n*%*\n"), ("badrcptto", "bad@here.test\n*trap*\n")];
    const BAD_SENDER: &str = "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)";
    const BAD_RECIPIENT: &str = "553 sorry, your envelope recipient is in my badrcptto list  (#5.7.1)";
    let rows = [
        Row {
            files: LISTS,
            script: "MAIL FROM:<a@evil.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: BAD_SENDER,
            log: "Reject::ORIG::Bad_Mailfrom P:SMTP S:192.0.2.1:client.test H: F:a@evil.test T:b@here.test '@'",
            ..ROW
        },
        Row {
            files: LISTS,
            relay: true,
            script: "MAIL FROM:<a%b@c.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: BAD_SENDER,
            log: "Reject::ORIG::Bad_Mailfrom .. '*'",
            ..ROW
        },
        Row {
            files: LISTS,
            script: "MAIL FROM:<a@own.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: BAD_SENDER,
            log: "Reject::ORIG::Bad_Mailfrom .. '+'",
            ..ROW
        },
        Row {
            files: LISTS,
            relay: true,
            script: "MAIL FROM:<a@own.test>\r\nRCPT TO:<b@here.test>\r\n",
            replies: "250 ok",
            log: "Accept::SNDR::Relay_Client",
            ..ROW
        },
        Row {
            files: LISTS,
            script: "MAIL FROM:<>\r\nRCPT TO:<Bad@here.test>\r\n",
            replies: BAD_RECIPIENT,
            log: "Reject::RCPT::Bad_Rcptto",
            ..ROW
        },
        Row {
            files: LISTS,
            relay: true,
            script: "MAIL FROM:<>\r\nRCPT TO:<a@trap.test>\r\n",
            replies: BAD_RECIPIENT,
            log: "Reject::RCPT::Bad_Rcptto",
            ..ROW
        },
        Row {
            files: &[("badmailto", "bad@here.test\n")],
            script: "MAIL FROM:<>\r\nRCPT TO:<bad@here.test>\r\n",
            replies: BAD_RECIPIENT,
            log: "Reject::RCPT::Bad_Rcptto",
            ..ROW
        },
        Row {
            script: "MAIL FROM:<> SIZE=18446744073709551616\r\nRCPT TO:<b@here.test>\r\n",
            replies: "552 sorry, that message size exceeds my databytes limit (#5.3.4)",
            log: "Reject::DATA::Invalid_Size",
            ..ROW
        },
        // The order: rcpthosts before badmailfrom, that before badrcptto, that before the size.
        Row {
            files: LISTS,
            script: "MAIL FROM:<a@evil.test> SIZE=99999999999999999999\r\nRCPT TO:<bad@far.test>\r\n\
                RCPT TO:<bad@here.test>\r\n",
            replies: "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)|553 sorry, your envelope \
                sender is in my badmailfrom list (#5.7.1)",
            log: "Reject::SNDR::Invalid_Relay|Reject::ORIG::Bad_Mailfrom",
            ..ROW
        },
        Row {
            files: LISTS,
            script: "MAIL FROM:<> SIZE=99999999999999999999\r\nRCPT TO:<bad@here.test>\r\n",
            replies: BAD_RECIPIENT,
            log: "Reject::RCPT::Bad_Rcptto",
            ..ROW
        },
    ];
    for row in rows {
        row.check();
    }
}

#[test]
fn row_12_each_kind_of_entry_has_its_sign() {
    // The entry, the client's name, the sign in the log.
    let rows = [
        ("a@bank.test", "client.test", "'@'"),
        ("@bank.test", "client.test", "'@'"),
        ("@bank.test-", "unknown", "'-'"),
        ("@bank.test=", "client.test", "'='"),
        ("@bank.test+", "mx.bank.test", "'+'"),
        ("~client.test", "client.test", "'~'"),
        ("a@*.test", "client.test", "'*'"),
        ("@bank.test-", "client.test", ""),
        ("@bank.test=", "mx.bank.test", ""),
        ("@bank.test=", "unknown", ""),
        ("~client.test", "mx.bank.test", ""),
        ("?a@bank.test\n@bank.test", "client.test", ""),
    ];
    for (entry, host, sign) in rows {
        let mut play = Play::new();
        play.files = vec![("badmailfrom", Box::leak(format!("{entry}\n").into_boxed_str()))];
        play.settings.connection.remote_host = host.as_bytes().to_vec();
        let log = play.send("MAIL FROM:<a@bank.test>\r\nRCPT TO:<b@here.test>\r\n").log.concat();
        let event = if sign.is_empty() { "Accept::RCPT::Rcpthosts_Rcptto" } else { "Reject::ORIG::Bad_Mailfrom" };
        assert!(log.starts_with(&format!("{event} P:SMTP S:192.0.2.1:")) && log.ends_with(sign), "{entry}: {log}");
    }
}

#[test]
fn a_sites_own_words() {
    const OWN: &[(&str, &str)] = &[
        ("REPLY_HELO", "X1"),
        ("REPLY_SENDEREXIST", "X2"),
        ("REPLY_NOGATEWAY", "X3"),
        ("REPLY_MAILBOX", "X4"),
        ("REPLY_SENDERINVALID", "X5"),
        ("REPLY_BADMAILFROM", "X6"),
        ("REPLY_BADRCPTTO", "X7"),
        ("REPLY_MAXSIZE", "X8"),
        ("REPLY_CONTENT", "X9"),
    ];
    let rows: [(Pairs, Pairs, bool, &str, &str); 9] = [
        (&[("HELOCHECK", "!")], &[], false, "MAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\n", "greeting X1 (#5.7.1)"),
        (
            &[("MFDNSCHECK", "")],
            &[],
            false,
            "MAIL FROM:<a@no.t>\r\nRCPT TO:<b@here.test>\r\n",
            "must exist X2 (#5.7.1)",
        ),
        (&[], &[], false, "MAIL FROM:<>\r\nRCPT TO:<b@far.test>\r\n", "allowed rcpthosts X3 (#5.7.1)"),
        (&[], &[("recipients", "*|no")], false, "MAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\n", "that name X4 (#5.7.1)"),
        (&[("LOCALMFCHECK", "")], &[], true, "MAIL FROM:<a@b>\r\nRCPT TO:<b@here.test>\r\n", "specified X5 (#5.7.1)"),
        (&[], &[("badmailfrom", "a@b")], false, "MAIL FROM:<a@b>\r\nRCPT TO:<b@here.test>\r\n", "list X6 (#5.7.1)"),
        (
            &[],
            &[("badrcptto", "*")],
            false,
            "MAIL FROM:<a@b>\r\nRCPT TO:<b@here.test>\r\n",
            "badrcptto list X7 (#5.7.1)",
        ),
        (
            &[],
            &[],
            false,
            "MAIL FROM:<> SIZE=99999999999999999999\r\nRCPT TO:<b@here.test>\r\n",
            "databytes limit X8 (#5.3.4)",
        ),
        (
            &[("BADMIMETYPE", "!")],
            &[],
            false,
            "MAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\nDATA\r\n\
                Content-Transfer-Encoding: base64\r\n\r\nAAAA BBBBCCC\r\n.\r\n",
            "message content X9 (#5.3.2)",
        ),
    ];
    for (variables, files, relay, script, end) in rows {
        let mut play = Play::new().with(&[OWN, variables].concat());
        play.files = files.to_vec();
        play.settings.relayclient = relay.then(Vec::new);
        let last = play.send(script).last();
        assert!(last.ends_with(end), "{last}");
    }
}

#[test]
fn contents_that_are_refused() {
    const BASE64: &str = "Content-Transfer-Encoding: base64\r\n\r\n";
    const INVALID: &str = "554 sorry, invalid message content  (#5.3.2)";
    let program = format!("{BASE64}TVqQAAMAAxxx\r\n");
    let loader = format!("{BASE64}AAAABBBBCC\r\nxxMi5kbxx\r\n");
    let blanks = format!("{BASE64}AAAABBBBCC\r\nAAAA BBBB\r\n");
    let try_one = |variables: &[(&str, &str)], relay: bool, data: &str| {
        let mut play = Play::new().with(variables);
        play.settings.relayclient = relay.then(Vec::new);
        play.cdbs = vec![("badmimetypes.cdb", vec![("TVqQAAMAA", "")]), ("badloadertypes.cdb", vec![("Mi5kb", "")])];
        let p = play.send(format!("{MAIL}RCPT TO:<c@here.test>\r\nDATA\r\n{data}.\r\n"));
        (p.last()[..6].to_string(), p.log.last().cloned().unwrap_or_default(), p.queued.len())
    };
    let rows: [(Pairs, bool, &str, &str); 18] = [
        (&[], false, &program, ""),
        (&[("BADMIMETYPE", "-")], false, &program, ""),
        (&[("BADMIMETYPE", "")], false, &program, "Bad_MIME .. 'TVqQAAMAA'"),
        (&[("BADMIMETYPE", "x")], false, &program, "Bad_MIME .. 'TVqQAAMAA'"),
        (&[("BADMIMETYPE", "x")], true, &program, "Bad_MIME .. 'TVqQAAMAA'"),
        (&[("BADMIMETYPE", "x")], false, &blanks, ""),
        (&[("BADMIMETYPE", "!")], false, &program, "Bad_MIME .. 'TVqQAAMAA'"),
        (&[("BADMIMETYPE", "!")], false, &blanks, "Bad_MIME .. 'AA BBBB'"),
        (&[("BADMIMETYPE", "!")], true, &blanks, "Bad_MIME .. 'AA BBBB'"),
        (&[("BADMIMETYPE", "+")], false, &blanks, "Bad_MIME .. 'AA BBBB'"),
        (&[("BADMIMETYPE", "+")], true, &blanks, ""),
        (&[("BADMIMETYPE", "+")], true, &program, ""),
        (&[("BADLOADERTYPE", "M")], false, &loader, "Bad_Loader .. 'Mi5kb'"),
        (&[("BADLOADERTYPE", "M")], true, &loader, "Bad_Loader .. 'Mi5kb'"),
        (&[("BADLOADERTYPE", "-")], false, &loader, ""),
        (&[("BADLOADERTYPE", "N")], false, &loader, ""),
        (&[("BADLOADERTYPE", "+M")], false, &loader, "Bad_Loader .. 'Mi5kb'"),
        (&[("BADLOADERTYPE", "+M")], true, &loader, ""),
    ];
    for (variables, relay, data, event) in rows {
        let (start, log, queued) = try_one(variables, relay, data);
        let about = format!("{variables:?} {relay} {data}");
        assert_eq!(queued, usize::from(event.is_empty()), "{about}");
        match event.split_once(" .. ") {
            None => assert_eq!(start, "250 ok", "{about}"),
            Some((kind, info)) => {
                assert_eq!(start, INVALID[..6], "{about}");
                let begin = format!("Reject::DATA::{kind} P:SMTP S:192.0.2.1:client.test H:client.test ");
                assert!(log.starts_with(&begin) && log.ends_with(&format!(" T:b@here.test {info}")), "{log}");
            }
        }
    }
}

#[test]
fn what_the_queue_program_refuses() {
    type Row = (&'static [u8], Option<u8>, Pairs, &'static str, &'static str);
    let rows: [Row; 9] = [
        (b"Dx", Some(33), &[], "554 sorry, invalid message content  (#5.3.2)", "Reject::DATA::Spam_Message .. 'spam'"),
        (b"Dx", Some(34), &[], "554 sorry, invalid message content  (#5.3.2)", "Reject::DATA::MIME_Attach .. 'MIME'"),
        (
            b"Dx",
            Some(32),
            &[],
            "554 sorry, invalid message content  (#5.3.2)",
            "Reject::DATA::Virus_Infected .. 'AV scanner'",
        ),
        (
            b"Dx",
            Some(32),
            &[("QHPSI", "clamdscan")],
            "554 sorry, invalid message content  (#5.3.2)",
            "Reject::DATA::Virus_Infected .. 'clamdscan'",
        ),
        (b"Dno (#5.3.0)", Some(35), &[], "554 no (#5.3.0)", "Reject::DKIM::Signature"),
        (b"Dno (#5.3.0)", Some(31), &[], "554 no (#5.3.0)", ""),
        (b"Zlater (#4.3.0)", Some(71), &[], "451 later (#4.3.0)", ""),
        (b"Zqq crashed (#4.3.0)", None, &[], "451 qq crashed (#4.3.0)", ""),
        (b"", None, &[], "451 ", ""),
    ];
    for (text, code, variables, reply, event) in rows {
        let mut play = Play::new().with(variables);
        play.queue.refusal = Some(text);
        play.queue.code = code;
        let p = play.send(format!("{MAIL}DATA\r\nx\r\n.\r\n"));
        assert_eq!(p.last(), reply);
        let log = p.log.get(1).cloned().unwrap_or_default();
        let (start, end) = event.split_once(" .. ").unwrap_or((event, ""));
        assert!(log.starts_with(start) && log.ends_with(end), "{log}");
    }
    // Hops and size come before whatever the program says.
    let mut play = Play::new();
    play.queue.refusal = Some(b"Dx");
    play.queue.code = Some(32);
    let p = play.send(message(&"Received: x\r\n".repeat(100)));
    assert_eq!(p.replies()[4], "554 too many hops, this message is looping (#5.4.6)");
    play.settings.databytes = 3;
    let p = play.send(format!("{MAIL}DATA\r\n12345\r\n.\r\n"));
    assert_eq!(p.last(), "552 sorry, that message size exceeds my databytes limit (#5.3.4)");
    assert!(p.log[1].starts_with("Reject::DATA::Invalid_Size P:SMTP "));
}

#[test]
fn base64_spares_the_scanner_what_has_none() {
    let scan = |variables: &[(&str, &str)], data: &str| {
        let p = Play::new().with(variables).send(message(data));
        p.queued[0].scan
    };
    let plain = "Subject: x\r\n\r\nplain\r\n";
    let base64 = "Content-Transfer-Encoding: base64\r\n\r\nAAAABBBBCCCC\r\n";
    assert!(scan(&[], plain) && scan(&[], base64));
    let both = [("BASE64", ""), ("QHPSI", "scanner")];
    assert!(!scan(&both, plain) && scan(&both, base64));
    // Without a scanner there is nothing to say about it.
    assert!(scan(&both[..1], plain) && scan(&both[1..], plain));
}

#[test]
fn programs_see_the_transaction_and_not_the_one_before() {
    let play = Play::new().with(&[("DELIVERTO", "box")]);
    let script = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@here.test>\r\nRCPT TO:<c@here.test>\r\nDATA\r\n.\r\n\
        MAIL FROM:<c@d> AUTH=<>\r\nRCPT TO:<d@here.test>\r\nDATA\r\n.\r\n\
        MAIL FROM:<e@f>\r\nRCPT TO:<e@here.test>\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<f@here.test>\r\nDATA\r\n.\r\n";
    let expected = [
        "open HELOHOST=x,MAILFROM=a@b,RCPTTO=box b@here.test c@here.test ",
        "open HELOHOST=x,MAILFROM=c@d,RCPTTO=box d@here.test ,TCP6REMOTEINFO=unknown,TCPREMOTEINFO=unknown",
        "open HELOHOST=x,MAILFROM=,RCPTTO=box f@here.test ",
    ];
    assert_eq!(play.send(script).done, expected);
    // A list that no variable can hold is not there at all.
    let many = "RCPT TO:<a-long-name-for-a-recipient@here.test>\r\n".repeat(4000);
    let p = Play::new().send(format!("MAIL FROM:<a@b>\r\n{many}DATA\r\n.\r\n"));
    assert_eq!(p.done, ["open MAILFROM=a@b"]);
}

#[test]
fn the_protocol_in_the_trace_field() {
    let field = |script: &str| {
        let p = Play::new().send(format!("{script}RCPT TO:<b@here.test>\r\nDATA\r\n.\r\n"));
        let body = String::from_utf8(p.queued[0].body.clone()).unwrap();
        let (start, end) = body.split_once(" with ").unwrap();
        (start.to_string(), end.split_once(';').unwrap().0.to_string())
    };
    assert_eq!(field("MAIL FROM:<>\r\n").1, "SMTP");
    assert_eq!(field("HELO x\r\nMAIL FROM:<>\r\n").1, "SMTP");
    assert_eq!(field("EHLO x\r\nMAIL FROM:<>\r\n").1, "ESMTP");
    assert_eq!(field("EHLO x\r\nMAIL FROM:<> SMTPUTF8\r\n").1, "UTF8ESMTP");
    // It does not grow from one transaction to the next.
    let twice = "EHLO x\r\nMAIL FROM:<> SMTPUTF8\r\nRSET\r\nMAIL FROM:<> SMTPUTF8\r\n";
    assert_eq!(field(twice).1, "UTF8ESMTP");
    assert_eq!(field("HELO CLIENT.test\r\nMAIL FROM:<>\r\n").0, "Received: from client.test (192.0.2.1)\n  by mx.test");
    let other = "Received: from client.test (HELO x) (192.0.2.1)\n  by mx.test";
    assert_eq!(field("HELO x\r\nMAIL FROM:<>\r\n").0, other);
    let info = "Received: from client.test (joe=x@192.0.2.1)\n  by mx.test";
    assert_eq!(field("MAIL FROM:<> AUTH=joe+3Dx\r\n").0, info);
    let p = Play::new().with(&[("RBLSMTPD", "[192.0.2.1] listed")]).send(message(""));
    assert!(String::from_utf8_lossy(&p.queued[0].body).ends_with(" -0000\nX-RBL-Info: listed\n"));
}

#[test]
fn s20_whatever_a_client_calls_itself_an_event_is_one_line() {
    let p = Play::new().send(
        "HELO a\x01b\rqmail-smtpd: pid 1 Accept\r\nMAIL FROM:<x\ty@b>\r\nRCPT TO:<c\x1b[2J@here.test>\r\nDATA\r\n.\r\n",
    );
    let expected = "Accept::RCPT::Rcpthosts_Rcptto P:SMTP S:192.0.2.1:client.test H:a?b?qmail-smtpd:?pid?1?Accept \
        F:x?y@b T:c?[2J@here.test";
    assert_eq!(p.log, [expected]);
    let body = String::from_utf8(p.queued[0].body.clone()).unwrap();
    assert!(body.starts_with("Received: from client.test (HELO a?b?qmail-smtpd:?pid?1?Accept) (192.0.2.1)\n"));
    assert_eq!(p.queued[0].sender, b"x\ty@b");
}

#[test]
fn s21_8_bit_addresses_are_bytes_and_utf8_only_where_it_is_declared() {
    let rows: [(&[u8], &[u8], &str); 7] = [
        (b"MAIL FROM:<j\xf6rg@b>\r\n", b"RCPT TO:<b@here.test>\r\n", "250 250"),
        (b"MAIL FROM:<j\xc3\xb6rg@b>\r\n", b"RCPT TO:<\xff@here.test>\r\n", "250 250"),
        (b"MAIL FROM:<j\xc3\xb6rg@b> SMTPUTF8\r\n", b"RCPT TO:<\xc3\xbc@here.test>\r\n", "250 250"),
        (b"MAIL FROM:<j\xf6rg@b> SMTPUTF8\r\n", b"RCPT TO:<b@here.test>\r\n", "555 503"),
        (b"MAIL FROM:<j@b> SMTPUTF8\r\n", b"RCPT TO:<\xfc@here.test>\r\n", "250 555"),
        (b"MAIL FROM:<\xed\xa0\x80@b> SMTPUTF8\r\n", b"NOOP\r\n", "555 250"),
        (b"MAIL FROM:<\xc0\xaf@b> smtputf8\r\n", b"NOOP\r\n", "555 250"),
    ];
    for (mail, rcpt, codes) in rows {
        let p = Play::new().send([mail, rcpt].concat());
        assert_eq!(p.codes().join(" "), codes, "{}", mail.escape_ascii());
    }
    let p = Play::new()
        .send([b"MAIL FROM:<j\xf6rg@b>\r\n".as_slice(), b"RCPT TO:<\xff@here.test>\r\nDATA\r\n.\r\n"].concat());
    assert_eq!((&*p.queued[0].sender, &*p.queued[0].recipients), (&b"j\xf6rg@b"[..], &b"\xff@here.test\0"[..]));
}
