use super::*;

const OFFER: Offer = Offer { apop: true, cram: true, scram: true, tls: Tls::Off };

/// The answers after the greeting, and the record or another end.
fn play_with(offer: Offer, script: &[u8]) -> (String, String) {
    let mut wire = Vec::new();
    let end = {
        let mut output = Output::new(&mut wire);
        converse(&mut Lines::new(script), &mut output, b"<1.2@h>", offer, true).unwrap()
    };
    let text = String::from_utf8(wire).unwrap();
    let greeting = if offer.apop { "+OK <1.2@h>\r\n" } else { "+OK\r\n" };
    let answers = text.strip_prefix(greeting).unwrap().replace("\r\n", "|");
    let end = match end {
        End::Gone => "gone".to_string(),
        End::StartTls => "stls".to_string(),
        End::WithoutTls => "without".to_string(),
        End::Scram(first) => {
            let parts = [first.user, first.header, first.bare].map(|part| part.escape_ascii().to_string());
            format!("Scram {}", parts.join(" "))
        }
        End::Check(c) => format!("{:?} {}", c.method, c.record(b"<1.2@h>").escape_ascii()),
    };
    (answers, end)
}

fn play(script: &[u8]) -> (String, String) {
    play_with(OFFER, script)
}

#[test]
fn credentials_are_taken_as_they_stand() {
    let rows: &[(&[u8], &str, &str)] = &[
        (b"USER joe\r\nPASS x\r\nSTAT\r\n", "+OK |", r"User joe\x00x\x00<1.2@h>\x00"),
        (b"user  joe smith\npass two words \n", "+OK |", r"User joe smith\x00two words \x00<1.2@h>\x00"),
        (b"USER a\r\nUSER b\r\nPASS \xff\r\n", "+OK |+OK |", r"User b\x00\xff\x00<1.2@h>\x00"),
        (b"USER a\r\nPASS\r\nPASS p\r\n", "+OK |-ERR syntax error|", r"User a\x00p\x00<1.2@h>\x00"),
        (b"APOP joe c4c9\r\n", "", r"Apop joe\x00c4c9\x00<1.2@h>\x00"),
        (b"APOP joe \r\n", "", r"Apop joe\x00\x00<1.2@h>\x00"),
    ];
    for &(script, answers, record) in rows {
        assert_eq!(play(script), (answers.to_string(), record.to_string()), "{}", script.escape_ascii());
    }
}

#[test]
fn m1_nothing_else_is_done_before_login() {
    let long = [b"USER ".as_slice(), &[b'x'; 600], b"\r\nPASS x\r\nQUIT\r\n"].concat();
    let first = "-ERR authorization first|";
    let rows: &[(&[u8], String)] = &[
        (b"STAT\r\nRETR 1\r\nXYZ\r\n\r\n", first.repeat(4)),
        (b"PASS x\r\nUSER\r\nAPOP\r\nAPOP joe\r\n", format!("-ERR USER first|{}", "-ERR syntax error|".repeat(3))),
        (b"USER a\0b\r\nPASS x\r\n", "-ERR syntax error|-ERR USER first|".to_string()),
        (&long, "-ERR syntax error|-ERR USER first|+OK |".to_string()),
        (b"NOOP\r\nQUIT\r\nSTAT\r\n", "+OK |+OK |".to_string()),
        (b"USER a\r\nPASS x", "+OK |".to_string()),
    ];
    for (script, answers) in rows {
        assert_eq!(play(script), (answers.clone(), "gone".to_string()), "{}", script.escape_ascii());
    }
}

#[test]
fn s22_sasl_exchanges_of_rfc_5034() {
    let malformed = "-ERR malformed auth input|";
    let long = [b"AUTH PLAIN\r\n".as_slice(), &[b'A'; 600], b"\r\n"].concat();
    let rows: &[(&[u8], &str, &str)] = &[
        // dGVzdAB0ZXN0AHRlc3Q= is test NUL test NUL test.
        (b"AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=\r\n", "", r"Plain test\x00test\x00<1.2@h>\x00"),
        (b"auth plain\r\ndGVzdAB0ZXN0AHRlc3Q=\r\n", "+ |", r"Plain test\x00test\x00<1.2@h>\x00"),
        (b"AUTH PLAIN\r\n*\r\nNOOP\r\n", "+ |-ERR auth exchange canceled|+OK |", "gone"),
        (b"AUTH PLAIN dGVzd\r\n", malformed, "gone"),
        (b"AUTH PLAIN\r\ndGVzd\r\n", &format!("+ |{malformed}"), "gone"),
        (b"AUTH PLAIN =\r\n", malformed, "gone"),
        // Two parts, no user, no password, a NUL too many.
        (b"AUTH PLAIN dGVzdAB0ZXN0\r\n", malformed, "gone"),
        (b"AUTH PLAIN AAB0ZXN0\r\n", malformed, "gone"),
        (b"AUTH PLAIN AHRlc3QA\r\n", malformed, "gone"),
        (b"AUTH PLAIN dGVzdAB0ZXN0AHRlc3QA\r\n", malformed, "gone"),
        (&long, "+ |-ERR syntax error|", "gone"),
        (b"AUTH LOGIN\r\nam9l\r\neCB5\r\n", "+ VXNlcm5hbWU6|+ UGFzc3dvcmQ6|", r"Login joe\x00x y\x00<1.2@h>\x00"),
        (b"AUTH LOGIN am9l\r\neCB5\r\n", "+ UGFzc3dvcmQ6|", r"Login joe\x00x y\x00<1.2@h>\x00"),
        (b"AUTH LOGIN am9l\r\n\r\n", &format!("+ UGFzc3dvcmQ6|{malformed}"), "gone"),
        (b"AUTH LOGIN\r\n*\r\n", "+ VXNlcm5hbWU6|-ERR auth exchange canceled|", "gone"),
        (b"AUTH LOGIN am9lAA==\r\neCB5\r\n", &format!("+ UGFzc3dvcmQ6|{malformed}"), "gone"),
        (b"AUTH CRAM-MD5\r\nam9lIDAwZmY=\r\n", "+ PDEuMkBoPg==|", r"Cram joe\x0000ff\x00<1.2@h>\x00"),
        (b"AUTH CRAM-MD5 am9lIDAwZmY=\r\n", "-ERR syntax error|", "gone"),
        (b"AUTH CRAM-MD5\r\nam9l\r\n", &format!("+ PDEuMkBoPg==|{malformed}"), "gone"),
        (
            b"AUTH\r\nAUTH XYZ\r\nAUTH SCRAM-SHA-1 eA==\r\n",
            "-ERR syntax error|-ERR auth type unimplemented|-ERR auth type unimplemented|",
            "gone",
        ),
        // biwsbj1qb2Uscj1hYmM= is n,,n=joe,r=abc.
        (b"AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmM=\r\n", "", "Scram joe n,, n=joe,r=abc"),
        (b"AUTH scram-sha-256\r\nbiwsbj1qb2Uscj1hYmM=\r\n", "+ |", "Scram joe n,, n=joe,r=abc"),
        (b"AUTH SCRAM-SHA-256 eA==\r\nNOOP\r\n", &format!("{malformed}+OK |"), "gone"),
        (b"AUTH SCRAM-SHA-256\r\n*\r\n", "+ |-ERR auth exchange canceled|", "gone"),
        // n,,n=joe,r=abc with a NUL behind; p=tls-unique,,n=joe,r=abc.
        (b"AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmMA\r\n", malformed, "gone"),
        (b"AUTH SCRAM-SHA-256 cD10bHMtdW5pcXVlLCxuPWpvZSxyPWFiYw==\r\n", malformed, "gone"),
        (b"AUTH PLAIN\r\n", "+ |", "gone"),
    ];
    for &(script, answers, end) in rows {
        assert_eq!(play(script), (answers.to_string(), end.to_string()), "{}", script.escape_ascii());
    }
}

#[test]
fn what_is_not_offered_is_not_taken() {
    let bare = Offer { apop: false, cram: false, scram: false, tls: Tls::Off };
    let rows: &[(&[u8], &str)] = &[
        (b"APOP joe c4c9\r\n", "-ERR authorization first|"),
        (b"AUTH CRAM-MD5\r\n", "-ERR auth type unimplemented|"),
        (b"AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmM=\r\n", "-ERR auth type unimplemented|"),
        (b"STLS\r\n", "-ERR STLS not available|"),
    ];
    for &(script, answers) in rows {
        assert_eq!(play_with(bare, script), (answers.to_string(), "gone".to_string()));
    }
}

#[test]
fn capabilities_are_what_is_offered() {
    let rows = [
        (true, true, false, Tls::Off, "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN CRAM-MD5|.|"),
        (false, false, false, Tls::Off, "TOP|USER|UIDL|SASL PLAIN LOGIN|.|"),
        (false, false, true, Tls::Off, "TOP|USER|UIDL|SASL PLAIN LOGIN SCRAM-SHA-256|.|"),
        (true, false, false, Tls::Offered, "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|STLS|.|"),
        (true, true, true, Tls::Required, "TOP|USER|UIDL|APOP|STLS|.|"),
        (false, true, true, Tls::Active, "TOP|USER|UIDL|SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256|.|"),
    ];
    for (apop, cram, scram, tls, expected) in rows {
        let (answers, end) = play_with(Offer { apop, cram, scram, tls }, b"CAPA\r\n");
        assert_eq!((answers, end.as_str()), (format!("+OK capability list follows|{expected}"), "gone"));
    }
}

#[test]
fn tls_is_started_and_may_be_required() {
    let offer = |tls| Offer { tls, ..OFFER };
    let starts = "+OK starting TLS negotiation|";
    let rows: &[(Tls, &[u8], &str, &str)] = &[
        (Tls::Offered, b"STLS\r\nUSER joe\r\nPASS x\r\n", starts, "stls"),
        (Tls::Required, b"USER\r\n", "", "without"),
        (Tls::Required, b"USER joe\r\nPASS x\r\n", "", "without"),
        (Tls::Required, b"APOP joe c4c9\r\n", "", "without"),
        (Tls::Required, b"AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=\r\n", "", "without"),
        (Tls::Required, b"PASS x\r\nNOOP\r\nSTLS\r\n", &format!("-ERR USER first|+OK |{starts}"), "stls"),
        (Tls::Active, b"STLS\r\nAPOP joe c\r\n", "-ERR STLS not available|", r"Apop joe\x00c\x00<1.2@h>\x00"),
    ];
    for &(tls, script, answers, end) in rows {
        let expected = (answers.to_string(), end.to_string());
        assert_eq!(play_with(offer(tls), script), expected, "{tls:?} {}", script.escape_ascii());
    }
}

#[test]
fn d4_what_was_sent_before_tls_is_forgotten() {
    let mut lines = Lines::new(&b"USER evil\r\nSTLS\r\nPASS x\r\nQUIT\r\n"[..]);
    let mut wire = Vec::new();
    let offer = Offer { tls: Tls::Offered, ..OFFER };
    let end = converse(&mut lines, &mut Output::new(&mut wire), b"<1.2@h>", offer, true).unwrap();
    assert!(matches!(end, End::StartTls) && !lines.is_ready());
    // Neither the line nor the user name is left.
    let offer = Offer { tls: Tls::Active, ..OFFER };
    let mut lines = Lines::new(&b"PASS x\r\n"[..]);
    wire.clear();
    let end = converse(&mut lines, &mut Output::new(&mut wire), b"<1.2@h>", offer, false).unwrap();
    assert!(matches!(end, End::Gone));
    assert_eq!(wire, b"-ERR USER first\r\n");
}
