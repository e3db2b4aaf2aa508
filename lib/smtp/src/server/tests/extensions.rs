//! STARTTLS and AUTH: spec/smtp.md 2 and 7, spec/reliability.md S5, S6, S22, S23.

use super::*;
use auth::{base64, digest, scram};

const CERTIFICATE: &[(&str, &str)] = &[
    ("SSL_PROTOCOL", "TLSv1.3"),
    ("SSL_CIPHER", "TLS_X"),
    ("SSL_CIPHER_USEKEYSIZE", "256"),
    ("SSL_CIPHER_ALGKEYSIZE", "256"),
    ("SSL_CLIENT_S_DN", "/CN=node.test"),
    ("SSL_CLIENT_S_DN_CN", "node.test"),
    ("SSL_CLIENT_S_DN_Email", "joe@node.test"),
];

/// A host with TLS, and the client's certificate if `certificate`.
fn with_tls(variables: &[(&str, &str)], certificate: bool) -> Play {
    let mut play = Play::new().with(variables);
    play.queue.tls = Some(CERTIFICATE.iter().take(if certificate { 7 } else { 4 }).copied().collect());
    play
}

fn with_auth(value: &str) -> Play {
    let mut play = Play::new().with(&[("SMTPAUTH", value)]);
    play.settings.checks_passwords = true;
    play.queue.passwords = vec!["joe secret", "joe smith pass word"];
    play
}

fn b64(text: &str) -> String {
    String::from_utf8(base64::encode(text.as_bytes()).to_vec()).unwrap()
}

/// What a client does that waits for each answer: pieces that are sent one after the other.
fn steps(pieces: &[&str]) -> Vec<Act> {
    pieces.iter().map(|piece| Act::Send(piece.as_bytes().to_vec())).collect()
}

const TLS_READY: &str = "220 Ready to start TLS (#5.7.0)";
const WRONG: &str = "535 authentication failed (#5.7.1)";

#[test]
fn starttls_is_offered_by_ucspitls_and_not_inside_tls() {
    let keywords = |play: &Play, first: &str| {
        let p = play.acts(steps(&[first, "EHLO x\r\n"]));
        p.replies()
            .iter()
            .filter(|r| r.starts_with("250-S") || r.contains("AUTH"))
            .cloned()
            .collect::<Vec<_>>()
            .join("|")
    };
    for (value, offered) in [("-", false), ("", true), ("x", true), ("!", true), ("?", true), ("@", true)] {
        let play = with_tls(&[("UCSPITLS", value)], false);
        assert_eq!(keywords(&play, "").contains("STARTTLS"), offered, "{value}");
        assert!(!keywords(&play, "STARTTLS\r\n").contains("STARTTLS"));
    }
    // AUTH is only for those who may use it.
    let auth = |ucspitls: &str, checks_passwords: bool, first: &str| {
        let mut play = with_tls(&[("UCSPITLS", ucspitls), ("SMTPAUTH", "+cram")], true);
        play.settings.checks_passwords = checks_passwords;
        play.queue.passwords = vec!["joe secret"];
        keywords(&play, first).contains("250-AUTH LOGIN PLAIN CRAM-MD5")
    };
    let login = format!("AUTH PLAIN {}\r\n", b64("\0joe\0secret"));
    assert!(auth("", true, ""));
    assert!(!auth("", false, ""));
    assert!(!auth("", true, &login));
    assert!(!auth("!", true, "") && !auth("@", true, ""));
    assert!(auth("!", true, "STARTTLS\r\n"));
    assert!(!auth("@", true, "STARTTLS\r\n"));
}

#[test]
fn s5_plain_text_behind_starttls_is_thrown_away() {
    let play = with_tls(&[("UCSPITLS", "")], false);
    let p = play.acts(steps(&[
        "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@here.test>\r\nSTARTTLS\r\nRCPT TO:<evil@here.test>\r\nNOOP\r\nDA",
        "DATA\r\nEHLO y\r\nQUIT\r\n",
    ]));
    assert_eq!(p.codes().join(" "), "250 250 250 250 250 250 250 250 220 503 250 250 250 250 250 221");
    // A line that is too long does not go on inside TLS.
    let long = format!("STARTTLS\r\n{}", "x".repeat(20_000));
    let p = play.acts(vec![Act::Send(long.into_bytes()), Act::Send(b"NOOP\r\n".to_vec())]);
    assert_eq!(p.replies()[1], TLS_READY);
    let p = play.send("STARTTLS\r\nSTARTTLS\r\nQUIT\r\n");
    assert_eq!(p.codes(), ["220"]);
    assert!(matches!(p.end, End::Lost));
}

#[test]
fn s6_starttls_forgets_everything() {
    let mut play = with_tls(&[("UCSPITLS", ""), ("SMTPAUTH", "")], false);
    play.settings.checks_passwords = true;
    play.queue.passwords = vec!["joe secret"];
    let login = format!("AUTH PLAIN {}\r\n", b64("\0joe\0secret"));
    let transaction = "MAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\n";
    let before = format!("EHLO x\r\n{login}{transaction}STARTTLS\r\n");
    let p = play.acts(steps(&[&before, "DATA\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@far.test>\r\n"]));
    let replies = p.replies();
    assert_eq!(replies[replies.len() - 4..][..2], [TLS_READY, "503 MAIL first (#5.5.1)"]);
    assert!(replies.last().unwrap().starts_with("553 "), "no right to relay is left");
    assert!(p.log[0].starts_with("Accept::AUTH::plain P:ESMTPA "));
    assert!(
        p.log[1].starts_with("Reject::SNDR::Invalid_Relay P:ESMTPS S:192.0.2.1:client.test H: F:a@b"),
        "{}",
        p.log[1]
    );
    let after = format!("{login}MAIL FROM:<a@b>\r\nRCPT TO:<c@here.test>\r\nDATA\r\n.\r\n");
    let p = play.acts(steps(&[&before, &after]));
    let seen = "open AUTHPROTOCOL=plain,AUTHUSER=joe,MAILFROM=a@b,RCPTTO=c@here.test ,RELAYCLIENT=,SSL_CIPHER=";
    assert!(p.done.last().unwrap().starts_with(seen), "{:?}", p.done);

    let second = play.acts(steps(&["STARTTLS\r\n", "STARTTLS\r\n", "STARTTLS x\r\n"]));
    assert_eq!(second.replies()[2..], ["503 TLS already active (#5.5.1)", "503 TLS already active (#5.5.1)"]);
    let argument = play.send("STARTTLS now\r\nNOOP\r\n");
    assert_eq!(argument.codes(), ["501", "250"]);
}

#[test]
fn starttls_that_fails_ends_the_session() {
    let none = Play::new().with(&[("UCSPITLS", "")]).send("STARTTLS\r\nNOOP\r\n");
    let failed = "454 TLS not available due to temporary reason (#5.7.3)";
    assert_eq!(none.replies()[1..], [TLS_READY, failed]);
    assert!(matches!(none.end, End::NoTls(_)));
    let mut silent = with_tls(&[("UCSPITLS", "")], false);
    silent.queue.tls = Some(vec![]);
    assert_eq!(silent.send("STARTTLS\r\nNOOP\r\n").last(), failed);
}

#[test]
fn variables_from_the_tls_process_are_about_tls_only() {
    let mut play = with_tls(&[("UCSPITLS", "")], false);
    if let Some(tls) = &mut play.queue.tls {
        tls.extend([("QMAILQUEUE", "/tmp/evil"), ("RELAYCLIENT", ""), ("LD_PRELOAD", "x"), ("SSL_SESSION_ID", "7")]);
    }
    let p = play.acts(steps(&["STARTTLS\r\n", "MAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\nDATA\r\n.\r\n"]));
    assert!(p.done[0].contains("SSL_SESSION_ID=7"));
    assert!(!["QMAILQUEUE", "RELAYCLIENT", "LD_PRELOAD"].iter().any(|name| p.done[0].contains(name)));
}

#[test]
fn what_is_required_is_required_before_mail() {
    let tls = "535 STARTTLS required (#5.7.1)";
    let auth = "535 authentication required (#5.7.1)";
    let missing = |what: &str| format!("Reject::{what}::missing P:SMTP S:192.0.2.1:client.test H:");
    for (variables, reply, event) in [
        (&[("UCSPITLS", "!")][..], tls, missing("TLS")),
        (&[("UCSPITLS", "@")], tls, missing("TLS")),
        (&[("SMTPAUTH", "!")], auth, missing("AUTH")),
        (&[("SMTPAUTH", "!+cram")], auth, missing("AUTH")),
        (&[("UCSPITLS", "!"), ("SMTPAUTH", "!")], tls, missing("TLS")),
        (&[("UCSPITLS", "?")], "250 ok", String::new()),
        (&[("SMTPAUTH", "+cram")], "250 ok", String::new()),
    ] {
        let p = Play::new().with(variables).send("MAIL FROM:<a@b>\r\n");
        assert_eq!((p.last().as_str(), p.log.concat()), (reply, event), "{variables:?}");
    }
    let mut play = with_tls(&[("UCSPITLS", "!"), ("SMTPAUTH", "!")], false);
    play.settings.checks_passwords = true;
    play.queue.passwords = vec!["joe secret"];
    let login = format!("AUTH PLAIN {}\r\n", b64("\0joe\0secret"));
    let p = play.acts(steps(&[&login, "STARTTLS\r\n", "MAIL FROM:<a@b>\r\n", &login, "MAIL FROM:<a@b>\r\n"]));
    assert_eq!(p.replies()[1..], [tls, TLS_READY, auth, "235 ok, go ahead (#2.0.0)", "250 ok"]);
}

#[test]
fn certificates_give_rights_where_ucspitls_says_so() {
    let far = "MAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\n";
    // value, before TLS or instead of it: reply to RCPT, event
    let rows = [
        ("", true, "553", "Reject::SNDR::Invalid_Relay P:ESMTPS "),
        ("!", true, "553", "Reject::SNDR::Invalid_Relay P:ESMTPS "),
        ("?", true, "250", "Accept::SNDR::Relay_Client P:ESMTPS "),
        ("@", true, "250", "Accept::AUTH::cert P:ESMTPSA "),
        ("?", false, "553", "Reject::SNDR::Invalid_Relay P:ESMTPS "),
        ("@", false, "553", "Reject::SNDR::Invalid_Relay P:ESMTPS "),
    ];
    for (value, certificate, code, event) in rows {
        let p = with_tls(&[("UCSPITLS", value)], certificate).acts(steps(&["STARTTLS\r\n", far]));
        assert_eq!(p.codes()[2], code, "{value} {certificate}");
        assert!(p.log[0].starts_with(event), "{value} {certificate} {}", p.log[0]);
    }
    let implicit = |value: &str, variables: &[(&str, &str)]| {
        let mut play = Play::new().with(&[("UCSPITLS", value)]);
        play.settings.tls = Tls::read(|name| variables.iter().find(|v| v.0.as_bytes() == name).map(|v| v.1.into()));
        play.send(format!("EHLO x\r\nSTARTTLS\r\n{far}"))
    };
    for (value, event) in [("-", "Accept::SNDR::Relay_Client P:ESMTPS "), ("@", "Accept::AUTH::cert P:ESMTPSA ")] {
        let p = implicit(value, CERTIFICATE);
        assert!(p.log[0].starts_with(event), "{}", p.log[0]);
        assert_eq!(p.replies()[6], "503 TLS already active (#5.5.1)");
    }
    assert!(implicit("@", CERTIFICATE).log[0].ends_with(" ?~ 'node.test'"));
    let p = implicit("@", &CERTIFICATE[..4]);
    assert!(p.log[0].starts_with("Reject::SNDR::Invalid_Relay P:ESMTPS "));
    let unverified = [CERTIFICATE, &[("SSL_CLIENT_VERIFY", "FAILED:self signed")]].concat();
    assert!(implicit("@", &unverified).log[0].starts_with("Reject::SNDR::Invalid_Relay P:ESMTPS "));
    assert!(implicit("@", &[CERTIFICATE, &[("SSL_CLIENT_VERIFY", "SUCCESS")]].concat()).log[0].contains("::cert "));

    let p = implicit("@", CERTIFICATE);
    let body = String::from_utf8(p.queued[0].body.clone()).unwrap();
    let expected = "Received: from client.test (HELO x) (node.test@192.0.2.1)\n  de/crypted with TLSv1.3: TLS_X \
        [256/256] \
        DN=/CN=node.test\n  by mx.test with ESMTPSA; ";
    assert!(body.starts_with(expected), "{body}");
    let seen = "open AUTHPROTOCOL=cert,AUTHUSER=node.test,HELOHOST=x,MAILFROM=a@b,RCPTTO=c@far.test ,RELAYCLIENT=,\
        TCP6REMOTEINFO=node.test,TCPREMOTEINFO=node.test";
    assert_eq!(p.done, [seen]);
    let p = implicit("-", &CERTIFICATE[..1]);
    assert!(p.log[0].contains(" P:ESMTPS "));
}

#[test]
fn a_certificate_is_a_login() {
    let mut play = with_tls(&[("UCSPITLS", "@"), ("SMTPAUTH", "!")], true);
    play.settings.checks_passwords = true;
    let p = play.acts(steps(&["STARTTLS\r\n", "AUTH LOGIN\r\n", "MAIL FROM:<a@b>\r\n"]));
    assert_eq!(p.replies()[2..], ["503 you're already authenticated (#5.5.0)", "250 ok"]);
    let mut play = with_tls(&[("UCSPITLS", "@"), ("LOCALMFCHECK", "?")], true);
    play.settings.checks_passwords = true;
    let rcpt = |sender: &str| {
        let mail = format!("MAIL FROM:<{sender}>\r\nRCPT TO:<b@far.test>\r\n");
        play.acts(steps(&["STARTTLS\r\n", &mail])).codes().pop().unwrap()
    };
    assert_eq!((rcpt("joe@node.test").as_str(), rcpt("x@node.test").as_str()), ("250", "553"));
}

/// A whole exchange: the answers, the log, what the program was told.
fn login(play: &Play, lines: &[&str]) -> (String, String, String) {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let p = play.acts(steps(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
    (p.replies()[1..].join("|"), p.log.join("|"), p.done.join("|"))
}

#[test]
fn login_plain_and_cram_md5() {
    const OK: &str = "235 ok, go ahead (#2.0.0)";
    let play = with_auth("+cram");
    let (user, pass, plain) = (b64("joe"), b64("secret"), b64("\0joe\0secret"));
    let told = "say joe\\x00secret\\x00\\x00";
    let ask = "334 VXNlcm5hbWU6|334 UGFzc3dvcmQ6|";
    let rows: [(&[&str], String, &str); 6] = [
        (&["AUTH LOGIN", &user, &pass], format!("{ask}{OK}"), told),
        (&[&format!("auth login {user}"), &pass], format!("334 UGFzc3dvcmQ6|{OK}"), told),
        (&["AUTH PLAIN", &plain], format!("334 |{OK}"), told),
        (&[&format!("AUTH PLAIN {plain}")], OK.to_string(), told),
        (&[&format!("AUTH  plain   {plain}")], OK.to_string(), told),
        (&[&format!("AUTH PLAIN {}", b64("other\0joe\0secret"))], OK.to_string(), told),
    ];
    for (lines, replies, said) in rows {
        assert_eq!(login(&play, lines), (replies, String::new(), said.to_string()), "{lines:?}");
    }
    // Without CRAM among the methods there is no third field.
    let (_, _, said) = login(&with_auth(""), &[&format!("AUTH PLAIN {plain}")]);
    assert_eq!(said, "say joe\\x00secret\\x00");

    let challenge = "<17.1000@mx.test>";
    let response = digest::cram_response(b"joe smith", b"pass word", challenge.as_bytes());
    let digest = String::from_utf8(response[10..].to_vec()).unwrap();
    let mut play = with_auth("cram");
    play.queue.passwords = vec![Box::leak(format!("joe smith {digest}").into_boxed_str())];
    let answer = b64(std::str::from_utf8(&response).unwrap());
    let (replies, _, said) = login(&play, &["AUTH CRAM-MD5", &answer]);
    assert_eq!(replies, format!("334 {}|{OK}", b64(challenge)));
    assert_eq!(said, format!("say joe smith\\x00{digest}\\x00{challenge}\\x00"));
}

#[test]
fn a_login_gives_the_right_to_relay_and_is_known_to_programs() {
    let play = with_auth("!");
    let auth = format!("AUTH PLAIN {}\r\n", b64("\0joe\0secret"));
    let p =
        play.send(format!("EHLO x\r\n{auth}MAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\nRSET\r\nNOOP\r\n"));
    assert_eq!(p.codes()[6..], ["235", "250", "250", "354", "250", "250", "250"].map(String::from)[..]);
    assert_eq!(p.log, ["Accept::AUTH::plain P:ESMTPA S:192.0.2.1:client.test H:x F:a@b T:c@far.test ?~ 'joe'"]);
    assert_eq!(
        p.done[1],
        "open AUTHPROTOCOL=plain,AUTHUSER=joe,HELOHOST=x,MAILFROM=a@b,RCPTTO=c@far.test ,RELAYCLIENT=,\
            TCP6REMOTEINFO=joe,TCPREMOTEINFO=joe"
    );
    assert!(p.queued[0].body.starts_with(b"Received: from client.test (HELO x) (joe@192.0.2.1)\n"));
    assert!(p.queued[0].body.windows(13).any(|w| w == b" with ESMTPA;"));
}

#[test]
fn s22_input_that_makes_no_sense() {
    const MALFORMED: &str = "501 malformed auth input (#5.5.4)";
    let play = with_auth("+cram+scram");
    let long = "x".repeat(1 << 20);
    let long_user = b64(&format!("\0joe\0{}", "x".repeat(600)));
    let rows: [(&[&str], &str); 24] = [
        (&["AUTH PLAIN !!!"], MALFORMED),
        (&["AUTH PLAIN", "Zg"], MALFORMED),
        (&["AUTH LOGIN !"], MALFORMED),
        (&["AUTH LOGIN", "Zg==", "?"], MALFORMED),
        (&["AUTH CRAM-MD5 Zg=="], MALFORMED),
        (&["AUTH CRAM-MD5", "Zg=="], MALFORMED),
        (&["AUTH SCRAM-SHA-256 Zg=="], MALFORMED),
        (&["AUTH PLAIN", &long], "500 line too long (#5.5.2)"),
        (&[&format!("AUTH PLAIN {long}")], "500 line too long (#5.5.2)"),
        (&["AUTH PLAIN Zg==\0"], "500 syntax error (#5.5.2)"),
        (&["AUTH PLAIN", "Zg\0="], MALFORMED),
        (&[&format!("AUTH PLAIN {}", b64("joe"))], MALFORMED),
        (&[&format!("AUTH PLAIN {}", b64("\0joe"))], MALFORMED),
        (&[&format!("AUTH PLAIN {}", b64("\0joe\0secret\0"))], MALFORMED),
        (&[&format!("AUTH PLAIN {}", b64("\0\0secret"))], MALFORMED),
        (&[&format!("AUTH PLAIN {}", b64("\0joe\0"))], MALFORMED),
        (&[&format!("AUTH PLAIN {long_user}")], MALFORMED),
        (&["AUTH PLAIN ="], MALFORMED),
        (&["AUTH PLAIN", ""], MALFORMED),
        (&["AUTH LOGIN", &b64("j\0e"), &b64("x")], MALFORMED),
        (&["AUTH LOGIN", "", "Zg=="], MALFORMED),
        (&["AUTH PLAIN", "*"], "501 auth exchange canceled (#5.0.0)"),
        (&["AUTH LOGIN", "Zg==", "*"], "501 auth exchange canceled (#5.0.0)"),
        (&["AUTH CRAM-MD5", "*"], "501 auth exchange canceled (#5.0.0)"),
    ];
    for (lines, reply) in rows {
        let (replies, _, said) = login(&play, lines);
        assert_eq!(replies.rsplit('|').next(), Some(reply), "{:.40}", lines.join("|"));
        assert!(!said.contains("say"));
    }
    let plain = format!("AUTH PLAIN {}", b64("\0joe\0secret"));
    let twice = login(&play, &[&plain, &plain]).0;
    assert!(twice.ends_with("|503 you're already authenticated (#5.5.0)"));
    let inside = login(&play, &["MAIL FROM:<a@b>", &plain]).0;
    assert!(inside.ends_with("|503 no auth during mail transaction (#5.5.0)"));
    let unknown = "504 auth type unimplemented (#5.5.1)";
    assert_eq!(login(&play, &["AUTH GSSAPI"]).0, unknown);
    assert_eq!(login(&play, &["AUTH"]).0, unknown);
    let mut no_program = with_auth("");
    no_program.settings.checks_passwords = false;
    assert_eq!(login(&no_program, &[&plain]).0, "503 auth not available (#5.3.3)");
    let early = Play::new().with(&[("UCSPITLS", "!"), ("SMTPAUTH", "")]);
    let mut early = Play { settings: early.settings, ..early };
    early.settings.checks_passwords = true;
    assert_eq!(login(&early, &[&plain]).0, "535 STARTTLS required (#5.7.1)");
}

#[test]
fn a_method_that_is_not_offered_is_no_guess() {
    let plain = format!("AUTH PLAIN {}", b64("\0joe\0secret"));
    let not_offered = |value: &str, line: &str| {
        let (replies, log, done) = login(&with_auth(value), &[line]);
        assert_eq!(replies, WRONG, "{value} {line}");
        assert_eq!(log, "Reject::AUTH::Auth_Meth P:SMTP S:192.0.2.1:client.test H: ?~ 'none'");
        assert_eq!(done, "");
    };
    not_offered("cram", &plain);
    not_offered("scram", &plain);
    not_offered("cram", "AUTH LOGIN");
    not_offered("", "AUTH CRAM-MD5");
    not_offered("+cram", "AUTH SCRAM-SHA-256");
    not_offered("+scram", "AUTH CRAM-MD5");
}

#[test]
fn s23_guessing_is_slow_and_ends_after_three_failures() {
    let plain = |user: &str| format!("AUTH PLAIN {}", b64(&format!("\0{user}\0guess")));
    let play = with_auth("");
    let (replies, log, done) = login(&play, &[&plain("joe"), &plain("nobody"), "NOOP", &plain("joe"), "NOOP"]);
    assert_eq!(replies, [WRONG, WRONG, "250 ok", WRONG].join("|"));
    let event = |user: &str| format!("Reject::AUTH::plain P:SMTP S:192.0.2.1:client.test H: ?~ '{user}'");
    assert_eq!(log, [event("joe"), event("nobody"), event("joe")].join("|"));
    let said = |user: &str| format!("say {user}\\x00guess\\x00|pause 5");
    assert_eq!(done, [said("joe"), said("nobody"), said("joe")].join("|"));
    let acts = steps(&["AUTH PLAIN\r\n", "AGEAYg==\r\n", "AUTH PLAIN AGEAYg==\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n"]);
    assert!(matches!(play.acts(acts).end, End::Guessing));
    // A name that failed is nobody's name.
    let p = play.send(format!("{}\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.test>\r\nDATA\r\n.\r\n", plain("joe")));
    assert!(!p.done.last().unwrap().contains("AUTH"));
}

#[test]
fn each_method_has_its_lines_in_the_log() {
    let (user, pass, plain) = (b64("joe"), b64("secret"), format!("AUTH PLAIN {}", b64("\0joe\0secret")));
    let response = String::from_utf8(digest::cram_response(b"joe", b"secret", b"<17.1000@mx.test>").to_vec()).unwrap();
    let cram = b64(&response);
    let rows: [(&str, &[&str], &'static str); 3] = [
        ("plain", &[&plain], "joe secret"),
        ("login", &["AUTH LOGIN", &user, &pass], "joe secret"),
        // What the program is told is the digest.
        ("cram-md5", &["AUTH CRAM-MD5", &cram], Box::leak(response.into_boxed_str())),
    ];
    let client = "P:ESMTPA S:192.0.2.1:client.test H:x F:a@b T:c@far.test ?~ 'joe'";
    for (method, lines, password) in rows {
        let mut play = with_auth("+cram");
        play.queue.passwords = vec![password];
        let whole = [&["EHLO x"], lines, &["MAIL FROM:<a@b>", "RCPT TO:<c@far.test>"]].concat();
        assert_eq!(login(&play, &whole).1, format!("Accept::AUTH::{method} {client}"));
        play.queue.passwords = vec![];
        let event = format!("Reject::AUTH::{method} P:SMTP S:192.0.2.1:client.test H: ?~ 'joe'");
        assert_eq!(login(&play, lines).1, event);
    }
}

#[test]
fn trouble_with_the_program_is_no_wrong_password() {
    let plain = format!("AUTH PLAIN {}", b64("\0joe\0secret"));
    let mut play = with_auth("");
    let mut reply = |no_check, unwritable, line: &str| {
        play.queue.no_check = no_check;
        play.queue.unwritable = unwritable;
        let (replies, log, done) = login(&play, &[line]);
        assert!(log.is_empty() && !done.contains("pause"));
        replies
    };
    let pipe = "454 unable to open pipe and I can't auth (#4.3.0)";
    assert_eq!(reply(Some(NoCheck::Pipe), false, &plain), pipe);
    assert_eq!(reply(Some(NoCheck::Start), false, &plain), "454 child won't start and I can't auth (#4.3.0)");
    assert_eq!(reply(None, true, &plain), "454 unable to write pipe and I can't auth (#4.3.0)");
    let crash = format!("AUTH PLAIN {}", b64("\0crash\0secret"));
    assert_eq!(reply(None, false, &crash), "454 problem with child and I can't auth (#4.3.0)");
}

/// A client with SCRAM: what it answers to each line of the server, up to `until` answers.
fn scram(play: &Play, password: &str, spoil: impl Fn(usize, String) -> String) -> Played {
    let mut client = scram::Client::new(b"joe", password.as_bytes(), b"client nonce");
    let first = spoil(0, String::from_utf8(client.first().to_vec()).unwrap());
    // The server's nonce is the same in each run, so its first message can be known beforehand.
    let probe = play.acts(steps(&[&format!("AUTH SCRAM-SHA-256 {}\r\n", b64(&first)), "*\r\n"]));
    let server_first = probe.replies()[1].strip_prefix("334 ").and_then(|t| base64::decode(t.as_bytes()));
    let last = server_first.and_then(|message| client.answer(&message).ok().map(|m| m.to_vec()));
    let last = spoil(1, String::from_utf8(last.unwrap_or_default()).unwrap());
    let lines =
        [format!("AUTH SCRAM-SHA-256 {}\r\n", b64(&first)), format!("{}\r\n", b64(&last)), spoil(2, "\r\n".into())];
    let p = play.acts(steps(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
    if let Some(proof) = p.replies().get(2).and_then(|r| r.strip_prefix("334 ")) {
        let proof = base64::decode(proof.as_bytes()).unwrap();
        assert!(client.check(&proof).is_ok(), "the server has the password too");
    }
    p
}

#[test]
fn scram_sha_256_is_a_conversation_of_client_and_program() {
    let play = with_auth("scram");
    let same = |_: usize, text: String| text;
    let p = scram(&play, "secret", same);
    assert_eq!(p.codes(), ["334", "334", "235"]);
    let nonce = String::from_utf8(base64::encode(&[7; 18]).to_vec()).unwrap();
    assert!(p.done[0].starts_with("say joe\\x00\\x00SCRAM-SHA-256 n=joe,r="));
    assert!(p.done[0].ends_with(&format!(" {nonce}\\x00")));
    assert!(p.done[1].starts_with("say c=biws,r=") && p.done[1].ends_with("\\x00"));

    let wrong = scram(&play, "guess", same);
    assert_eq!(wrong.replies()[2], WRONG);
    assert_eq!(wrong.log, ["Reject::AUTH::scram-sha-256 P:SMTP S:192.0.2.1:client.test H: ?~ 'joe'"]);
    assert_eq!(wrong.done.last().unwrap(), "pause 5");
    // Another header than the one that was sent: somebody stands between.
    let spoilt = scram(&play, "secret", |step, text| if step == 1 { text.replace("c=biws", "c=eSws") } else { text });
    assert_eq!(spoilt.replies()[2], WRONG);
    let bound =
        scram(&play, "secret", |step, text| if step == 0 { text.replace("n,,", "p=tls-unique,,") } else { text });
    assert_eq!(bound.replies()[1], "501 malformed auth input (#5.5.4)");
    let cancelled = scram(&play, "secret", |step, text| if step == 2 { "*\r\n".into() } else { text });
    assert_eq!(cancelled.last(), "501 auth exchange canceled (#5.0.0)");
    let talking = scram(&play, "secret", |step, text| if step == 2 { "Zg==\r\n".into() } else { text });
    assert_eq!(talking.last(), "501 malformed auth input (#5.5.4)");

    // An ordinary program knows no such password as the empty one.
    let mut ordinary = with_auth("scram");
    ordinary.queue.passwords.clear();
    let p = ordinary.send(format!("AUTH SCRAM-SHA-256 {}\r\nNOOP\r\n", b64("n,,n=joe,r=abc")));
    assert_eq!(p.replies()[1..], [WRONG, "250 ok"]);
}

#[test]
fn each_protocol_has_its_word() {
    let login = format!("AUTH PLAIN {}\r\n", b64("\0joe\0secret"));
    // TLS, login, EHLO instead of HELO, SMTPUTF8, LOCALMFCHECK
    let rows = [
        (false, false, false, false, false, "SMTP"),
        (false, false, true, false, false, "ESMTP"),
        (false, false, true, true, false, "UTF8ESMTP"),
        (true, false, false, false, false, "ESMTPS"),
        (true, false, true, true, false, "UTF8ESMTPS"),
        (false, true, true, false, false, "ESMTPA"),
        (false, true, true, false, true, "ESMTPAM"),
        (true, true, true, false, false, "ESMTPSA"),
        (true, true, true, false, true, "ESMTPSAM"),
        (true, true, true, true, false, "UTF8ESMTPSA"),
        (true, true, true, true, true, "UTF8ESMTPSAM"),
    ];
    for (tls, auth, extended, utf8, local, word) in rows {
        let variables = [("SMTPAUTH", ""), ("UCSPITLS", ""), ("LOCALMFCHECK", "")];
        let mut play = with_tls(&variables[..if local { 3 } else { 2 }], false);
        play.settings.checks_passwords = true;
        play.queue.passwords = vec!["joe secret"];
        let hello = if extended { "EHLO x\r\n" } else { "HELO x\r\n" };
        let parameter = if utf8 { " SMTPUTF8" } else { "" };
        // Twice: nothing is left of the first transaction.
        let message = format!("MAIL FROM:<a@here.test>{parameter}\r\nRCPT TO:<b@here.test>\r\nDATA\r\n.\r\n");
        let (first, login) = (if tls { "STARTTLS\r\n" } else { "" }, if auth { login.as_str() } else { "" });
        let p = play.acts(steps(&[first, &format!("{hello}{login}{message}{message}")]));
        assert_eq!((p.queued.len(), p.log.len()), (2, 2), "{word} {:?}", p.replies());
        for (message, line) in p.queued.iter().zip(&p.log) {
            assert!(
                String::from_utf8_lossy(&message.body).contains(&format!("\n  by mx.test with {word}; ")),
                "{word}"
            );
            assert!(line.contains(&format!(" P:{word} S:")), "{word}: {line}");
        }
    }
}
