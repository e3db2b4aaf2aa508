use super::*;
use proptest::prelude::*;

const SERVER_NONCE: &[u8] = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const BARE: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier(password: &[u8]) -> Verifier {
    Verifier::of_password(password, &base64::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), ITERATIONS)
}

/// The exchange of RFC 7677 3. Its client nonce is no Base64 of 18 bytes, so it is put in by hand.
fn client() -> Client {
    let random = base64::decode(b"rOprNGfwEbeRWgbNEkqO").unwrap();
    Client::new(b"user", b"pencil", &random)
}

#[test]
fn client_of_rfc_7677() {
    let mut client = client();
    assert_eq!(client.first(), [b"n,,", BARE].concat());
    assert_eq!(client.answer(SERVER_FIRST).unwrap(), CLIENT_FINAL);
    assert_eq!(client.check(SERVER_FINAL), Ok(()));
}

#[test]
fn server_of_rfc_7677() {
    let server = Server::new(BARE, SERVER_NONCE, verifier(b"pencil")).unwrap();
    assert_eq!(server.first(), SERVER_FIRST);
    assert_eq!(server.finish(CLIENT_FINAL).unwrap(), SERVER_FINAL);
    assert!(same_channel(CLIENT_FINAL, b"n,,") && !same_channel(CLIENT_FINAL, b"y,,"));
}

#[test]
fn messages_of_rfc_5802_are_read() {
    // The exchange of RFC 5802 5 is SCRAM-SHA-1, of the same form.
    let first = ClientFirst::parse(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").unwrap();
    assert_eq!((first.header, first.user.as_slice()), (&b"n,,"[..], &b"user"[..]));
    assert_eq!(
        (first.bare, first.nonce),
        (&b"n=user,r=fyko+d2lbbFgONRv9qkxdawL"[..], &b"fyko+d2lbbFgONRv9qkxdawL"[..])
    );
}

#[test]
fn a_server_knows_the_wrong_client() {
    let flipped = CLIENT_FINAL.iter().map(|&b| if b == b'd' { b'e' } else { b }).collect::<Vec<_>>();
    let rows: &[(&[u8], Wrong)] = &[
        (&flipped, Wrong::Proof),
        (b"", Wrong::Message),
        (b"c=biws", Wrong::Message),
        (b"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", Wrong::Message),
        (b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", Wrong::Message),
        (b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=", Wrong::Message),
        (b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA", Wrong::Message),
        (&[CLIENT_FINAL, b","].concat(), Wrong::Message),
        (&[b"x", CLIENT_FINAL].concat(), Wrong::Message),
    ];
    let server = Server::new(BARE, SERVER_NONCE, verifier(b"pencil")).unwrap();
    for &(message, expected) in rows {
        assert_eq!(server.finish(message), Err(expected), "{}", message.escape_ascii());
    }
    let other = Server::new(BARE, SERVER_NONCE, verifier(b"pencil2")).unwrap();
    assert_eq!(other.finish(CLIENT_FINAL), Err(Wrong::Proof));
    let nobody = Server::new(BARE, SERVER_NONCE, Verifier::of_nobody(b"key", b"user")).unwrap();
    assert_eq!(nobody.finish(CLIENT_FINAL), Err(Wrong::Proof));
    assert_eq!(Server::new(BARE, b"a,b", verifier(b"x")).err(), Some(Wrong::Message));
    assert_eq!(Server::new(BARE, b"", verifier(b"x")).err(), Some(Wrong::Message));
}

#[test]
fn a_client_knows_the_wrong_server() {
    let with = |first: &str| client().answer(first.as_bytes()).err();
    let ours = "r=rOprNGfwEbeRWgbNEkqO";
    let rows = [
        (format!("{ours},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), Wrong::Message),
        ("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_string(), Wrong::Message),
        (format!("{ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095"), Wrong::Unsupported),
        (format!("{ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000"), Wrong::Unsupported),
        (format!("{ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999"), Wrong::Message),
        (format!("{ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=+4096"), Wrong::Message),
        (format!("{ours}x,s=,i=4096"), Wrong::Message),
        (format!("{ours}x,s=W22Z"), Wrong::Message),
        (format!("m=x,{ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), Wrong::Unsupported),
        (String::new(), Wrong::Message),
    ];
    for (first, expected) in rows {
        assert_eq!(with(&first), Some(expected), "{first}");
    }
    let mut client = client();
    // Before its time.
    assert_eq!(client.check(SERVER_FINAL), Err(Wrong::Proof));
    client.answer(SERVER_FIRST).unwrap();
    let rows: &[(&[u8], Wrong)] = &[
        (b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", Wrong::Message),
        (b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Wrong::Proof),
        (b"v=", Wrong::Proof),
        (b"", Wrong::Message),
        (b"e=invalid-proof", Wrong::Proof),
    ];
    for &(message, expected) in rows {
        assert_eq!(client.check(message), Err(expected), "{}", message.escape_ascii());
    }
}

#[test]
fn first_messages_that_are_none() {
    let rows: &[(&[u8], Wrong)] = &[
        (b"", Wrong::Message),
        (b"n,,", Wrong::Message),
        (b"n,n=user,r=x", Wrong::Message),
        (b"n,,n=user", Wrong::Message),
        (b"n,,n=,r=x", Wrong::Message),
        (b"n,,n=a=2D,r=x", Wrong::Message),
        (b"n,,n=a=2,r=x", Wrong::Message),
        (b"n,,n=user,r=", Wrong::Message),
        (b"n,,n=user,r=a b", Wrong::Message),
        (b"n,,m=x,n=user,r=x", Wrong::Unsupported),
        (b"p=tls-unique,,n=user,r=x", Wrong::Unsupported),
        (b"x,,n=user,r=x", Wrong::Message),
        (b"n,b=c,n=user,r=x", Wrong::Message),
    ];
    for &(message, expected) in rows {
        assert_eq!(ClientFirst::parse(message), Err(expected), "{}", message.escape_ascii());
    }
    let acting = ClientFirst::parse(b"y,a=mary,n=a=2Cb=3Dc,r=x,ext=1").unwrap();
    assert_eq!((acting.header, acting.user.as_slice()), (&b"y,a=mary,"[..], &b"a,b=c"[..]));
}

#[test]
fn verifiers_are_written_and_read() {
    let text = b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert_eq!(verifier(b"pencil").text(), text);
    let read = Verifier::parse(text).unwrap();
    assert!(read.fits(b"pencil") && !read.fits(b"pencil2") && !read.fits(b""));
    let text = String::from_utf8(text.to_vec()).unwrap();
    let bad = [
        text.replace("256$", "512$"),
        text.replace("4096", "0"),
        text.replace("4096", "-1"),
        text.replace("4096", "2000001"),
        text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        text.replace("qY=:", "qY="),
        text.replace("WG5d", ""),
        format!("{text}$"),
        format!("{text}A"),
        String::new(),
    ];
    for text in bad {
        assert!(Verifier::parse(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn a_password_is_prepared() {
    let kept = |password: &str| Verifier::of_password(password.as_bytes(), b"salt", ITERATIONS);
    // Both ways to write a letter, a soft hyphen, another kind of blank.
    for (one, other) in [("j\u{fc}rg", "ju\u{308}rg"), ("ab", "a\u{ad}b"), ("a b", "a\u{a0}b")] {
        assert!(kept(one).text() == kept(other).text() && kept(one).fits(other.as_bytes()));
    }
    // What cannot be prepared stays as it is.
    for odd in [&b"\xffpassword"[..], b"tab\there", "\u{1f600}".as_bytes()] {
        let verifier = Verifier::of_password(odd, b"salt", ITERATIONS);
        assert!(verifier.fits(odd) && !verifier.fits(b"password"));
    }
}

#[test]
fn a_client_prepares_name_and_password() {
    // The name as it is typed and as it is sent, the password as it is typed and as the server has it.
    type Row<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8]);
    let rows: &[Row<'_>] = &[
        (b"user", b"user", b"pencil", b"pencil"),
        ("I\u{ad}X".as_bytes(), b"IX", "pen\u{ad}cil".as_bytes(), b"pencil"),
        ("\u{2168}".as_bytes(), b"IX", "\u{aa}".as_bytes(), b"a"),
        ("ju\u{308}rg".as_bytes(), "j\u{fc}rg".as_bytes(), "ju\u{308}rg".as_bytes(), "j\u{fc}rg".as_bytes()),
        // What SASLprep makes a comma or an equals sign of is escaped like one that was typed.
        ("a\u{ff0c}\u{ff1d}b".as_bytes(), b"a=2C=3Db", "\u{a0}".as_bytes(), b" "),
        // What it has no place for stays as it is.
        (b"\xff", b"\xff", b"\xff", b"\xff"),
        ("\u{627}1".as_bytes(), "\u{627}1".as_bytes(), b"\x07", b"\x07"),
        ("\u{1f600}".as_bytes(), "\u{1f600}".as_bytes(), "\u{1f600}".as_bytes(), "\u{1f600}".as_bytes()),
    ];
    for &(user, sent, password, known) in rows {
        let mut client = Client::new(user, password, b"0123456789abcdefgh");
        let message = client.first();
        assert_eq!(message, [b"n,,n=", sent, b",r=MDEyMzQ1Njc4OWFiY2RlZmdo"].concat(), "{}", user.escape_ascii());
        let first = ClientFirst::parse(&message).unwrap();
        // A server that prepares nothing.
        let salted = salted(known, b"salt", ITERATIONS);
        let (stored, key) = (stored_key(&salted), hmac(&salted, b"Server Key"));
        let verifier = Verifier { iterations: ITERATIONS, salt: b"salt".to_vec(), stored, server: key };
        let server = Server::new(first.bare, b"theirs", verifier).unwrap();
        let last = client.answer(server.first()).unwrap();
        assert_eq!(client.check(&server.finish(&last).unwrap()), Ok(()), "{}", password.escape_ascii());
    }
}

#[test]
fn nobody_has_a_salt_that_stays_the_same() {
    let first = |key: &[u8], user: &[u8]| {
        Server::new(b"n=x,r=c", b"s", Verifier::of_nobody(key, user)).unwrap().first().to_vec()
    };
    assert_eq!(first(b"key", b"joe"), first(b"key", b"joe"));
    assert_ne!(first(b"key", b"joe"), first(b"key", b"mary"));
    assert_ne!(first(b"key", b"joe"), first(b"kez", b"joe"));
    // Of the same form, and for one user the same, as that of a user with a password.
    let known = Verifier::of_password(b"secret", &salt_for(b"key", b"joe"), ITERATIONS);
    assert_eq!(Server::new(b"n=x,r=c", b"s", known).unwrap().first(), first(b"key", b"joe"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn both_halves_understand_each_other(
        user in proptest::collection::vec(1u8..=255, 1..20),
        password in proptest::collection::vec(any::<u8>(), 0..80),
        random in proptest::collection::vec(any::<u8>(), 18),
    ) {
        let mut client = Client::new(&user, &password, &random);
        let message = client.first();
        let sent = prepared_or_as_is(&user);
        prop_assume!(!sent.is_empty());
        let first = ClientFirst::parse(&message).unwrap();
        prop_assert_eq!(&first.user, &*sent);
        let server = Server::new(first.bare, b"theirs", Verifier::of_password(&password, b"salt", ITERATIONS)).unwrap();
        let last = client.answer(server.first()).unwrap();
        prop_assert!(same_channel(&last, first.header));
        prop_assert_eq!(client.check(&server.finish(&last).unwrap()), Ok(()));
    }

    #[test]
    fn any_message_may_come(text in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = ClientFirst::parse(&text);
        let _ = client().answer(&text);
        let _ = Verifier::parse(&text);
        let server = Server::new(BARE, SERVER_NONCE, Verifier::of_nobody(b"k", b"u")).unwrap();
        prop_assert!(server.finish(&text).is_err());
    }
}
