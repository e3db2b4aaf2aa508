//! DANE as two sites see it (RFC 7672): qmail-remote with qmail-tlsc, between a name server and servers of mail on
//! loopback that speak TLS or do not. What must have TLS, with the right certificate, never goes out in the clear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use whole_system::names::{Data, NameServer, Reply, kind};
use whole_system::{Home, program, run, stdout};

/// Certificates that are there already.
fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bins/remote/tests/certificates").join(name)
}

/// One of the certificates in a file, counted from 0: `name/1` is the second.
fn nth(name: &str) -> CertificateDer<'static> {
    let (name, n) = name.split_once('/').unwrap_or((name, "0"));
    let mut all = CertificateDer::pem_file_iter(certificate(&format!("{name}.pem"))).unwrap();
    all.nth(n.parse().unwrap()).unwrap().unwrap()
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let out = run(Command::new("openssl").args(args), input);
    assert!(out.status.success(), "{args:?}: {out:?}");
    out.stdout
}

/// A record that says of a certificate what openssl(1) sees in it.
fn tlsa(usage: u8, selector: u8, matching: u8, name: &str) -> Data {
    let certificate = nth(name).to_vec();
    let selected = match selector {
        0 => certificate,
        _ => {
            let pem = openssl(&["x509", "-inform", "DER", "-noout", "-pubkey"], &certificate);
            SubjectPublicKeyInfoDer::from_pem_slice(&pem).unwrap().to_vec()
        }
    };
    let data = match matching {
        0 => selected,
        1 => openssl(&["dgst", "-sha256", "-binary"], &selected),
        _ => openssl(&["dgst", "-sha512", "-binary"], &selected),
    };
    Data::Tlsa(usage, selector, matching, data)
}

/// A server of mail.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// The files of its chain, the first of which has a key.
    shows: &'static [&'static str],
    /// It offers STARTTLS.
    offers: bool,
    /// Its answer to STARTTLS.
    start: &'static str,
}

impl Kind {
    fn config(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let files = self.shows.iter().map(|name| certificate(&format!("{name}.pem")));
        let chain = files.flat_map(|file| CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap));
        let key = PrivateKeyDer::from_pem_file(certificate(&format!("{}.key", self.shows[0]))).unwrap();
        // The library looks whether the key fits the first one.
        Arc::new(builder.with_single_cert(chain.collect(), key).unwrap())
    }
}

/// What servers heard: the last number of the address, whether it came by TLS, and the command.
type Heard = Arc<Mutex<Vec<(u8, bool, String)>>>;
/// How the handshakes went that were finished.
type Shaken = Arc<Mutex<Vec<HandshakeKind>>>;

/// Serves one connection after the other, until this process ends.
fn serve(listener: TcpListener, last: u8, kind: Kind, heard: Heard, shaken: Shaken) {
    let config = kind.config();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let note = |is_tls, command: &str| heard.lock().unwrap().push((last, is_tls, command.to_string()));
            let offer = if kind.offers { "250-test\r\n250 STARTTLS\r\n" } else { "250 test\r\n" };
            if stream.write_all(b"220 test\r\n").is_err() || !speak(&mut stream, offer, kind.start, |c| note(false, c))
            {
                continue;
            }
            let mut tls: StreamOwned<_, TcpStream> =
                StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            speak(&mut tls, "250 test\r\n", "", |c| note(true, c));
            if !tls.conn.is_handshaking() {
                shaken.lock().unwrap().extend(tls.conn.handshake_kind());
            }
        }
    });
}

/// The dialogue until QUIT or the end; true after STARTTLS.
fn speak<S: Read + Write>(stream: &mut S, hello: &str, start: &str, note: impl Fn(&str)) -> bool {
    let (mut line, mut in_data) = (Vec::new(), false);
    loop {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        line.extend_from_slice(&byte);
        if byte != *b"\n" {
            continue;
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut line)).trim_end().to_string();
        let word = text.split(' ').next().unwrap();
        if !in_data {
            note(&text);
        }
        let reply = match word {
            "." if in_data => "250 accepted\r\n",
            _ if in_data => "",
            "EHLO" => hello,
            "STARTTLS" => start,
            "DATA" => "354 go\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        let starts_tls = word == "STARTTLS" && !in_data && start.starts_with("220");
        in_data = (in_data && word != ".") || word == "DATA";
        if stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_err() || word == "QUIT" {
            return false;
        }
        if starts_tls {
            return true;
        }
    }
}

/// A delivery to d.test: servers at 127.0.0.2 and 127.0.0.3 with one port, names, and controls.
struct Scene {
    home: Home,
    port: u16,
    zone: Arc<Mutex<HashMap<(String, u16), Reply>>>,
    cache: String,
    heard: Heard,
    shaken: Shaken,
}

impl Scene {
    /// Every name is signed: d.test has the exchanger mx.test, which is at 127.0.0.2. Only the controls say which port
    /// is meant, and that TLS is used where it is offered.
    fn new(servers: &[Kind]) -> Scene {
        let listeners = loop {
            let first = TcpListener::bind("127.0.0.2:0").unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = TcpListener::bind(("127.0.0.3", port)) {
                break [first, second];
            }
        };
        let port = listeners[0].local_addr().unwrap().port();
        let (heard, shaken) = (Heard::default(), Shaken::default());
        for ((listener, last), kind) in listeners.into_iter().zip(2..).zip(servers) {
            serve(listener, last, *kind, heard.clone(), shaken.clone());
        }
        let zone = Arc::new(Mutex::new(HashMap::new()));
        let asked = zone.clone();
        let server = NameServer::start(move |name, kind| {
            let key = (String::from_utf8(name.to_vec()).unwrap(), kind);
            asked.lock().unwrap().get(&key).cloned().unwrap_or(Reply::NoSuchName)
        });
        let home = Home::new(&[]);
        for name in ["qmail-remote", "qmail-tlsc"] {
            symlink(program(name), home.path("bin").join(name)).unwrap();
        }
        let scene = Scene { home, port, zone, cache: server.cache(), heard, shaken };
        scene.name("d.test", kind::MX, Reply::Secure(vec![Data::Mx(10, b"mx.test".to_vec())]));
        scene.name("mx.test", kind::A, Reply::Secure(vec![Data::A([127, 0, 0, 2].into())]));
        scene.control("tlsdestinations", "-:;PORT\n");
        scene.control("dnssec-trusted", "1\n");
        scene.home.put("message", b"Subject: x\n\nbody\n");
        scene
    }

    fn name(&self, name: &str, kind: u16, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_string(), kind), reply);
    }

    /// The TLSA records of a host.
    fn tlsa(&self, host: &str, reply: Reply) {
        self.name(&format!("_{}._tcp.{host}", self.port), kind::TLSA, reply);
    }

    fn control(&self, name: &str, text: &str) {
        self.home.put(&format!("control/{name}"), text.replace("PORT", &self.port.to_string()).as_bytes());
    }

    /// Sends a message; what qmail-remote said of it, and how it went.
    fn send(&self, domain: &str) -> (String, Went) {
        self.heard.lock().unwrap().clear();
        let mut command = self.home.command("qmail-remote");
        command.args([domain, "s@b.test", &format!("r@{domain}")]).env("DNSCACHEIP", &self.cache);
        let out = command.stdin(File::open(self.home.path("message")).unwrap()).output().unwrap();
        assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
        let records = stdout(&out);
        let heard = self.heard.lock().unwrap();
        let sent: Vec<&(u8, bool, String)> = heard.iter().filter(|h| h.2.starts_with("MAIL ")).collect();
        let went = match sent[..] {
            [] => Went::Not,
            [(last, true, _)] => Went::ByTls(*last),
            [(last, false, _)] => Went::Clear(*last),
            _ => panic!("{heard:?}"),
        };
        let last = records.strip_suffix('\0').unwrap().rsplit('\0').next().unwrap().to_string();
        match went {
            Went::Not => assert!(last.starts_with('Z'), "{last}"),
            Went::ByTls(n) => {
                assert!(last.starts_with(&format!("K127.0.0.{n} TLS transmitted message accepted.")), "{last}")
            }
            Went::Clear(n) => assert!(last.starts_with(&format!("K127.0.0.{n} accepted message.")), "{last}"),
        }
        (last, went)
    }
}

/// What became of a message: the last number of the server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Not,
    ByTls(u8),
    Clear(u8),
}
use Went::{ByTls, Clear, Not};

/// With and without TLS.
fn both(shows: &'static [&'static str]) -> [Kind; 2] {
    [true, false].map(|offers| Kind { shows, offers, start: "220 go\r\n" })
}

const SERVER: &[&str] = &["server"];
const NOT_OFFERED: &str = "Z I wasn't able to negotiate a TLS connection with: d.test. (#4.4.1)\n";
const MISMATCH: &str = "Z Received X.509 certificate from: mx.test does not match its TLSA records. (#4.4.1)\n";
const UNVERIFIED: &str = "Z Unable to verify X.509 certificate from: d.test. (#4.4.1)\n";
const WRONG_NAME: &str = "Z Unable to validate X.509 certificate Subject for: d.test. (#4.4.1)\n";
const LOOKUP: &str = "ZTLSA lookup failed temporarily for: mx.test. (#4.4.3)\n";

/// Sends to a server that shows this chain and has these records: without STARTTLS nothing goes out; with it what is
/// wanted happens (`""`: it goes out).
fn with_records(shows: &'static [&'static str], records: Vec<Data>, want: &str) {
    for kind in both(shows) {
        let scene = Scene::new(&[kind]);
        scene.tlsa("mx.test", Reply::Secure(records.clone()));
        let (said, went) = scene.send("d.test");
        match (kind.offers, want) {
            (false, _) => assert_eq!((said.as_str(), went), (NOT_OFFERED, Not), "{records:?}"),
            (true, "") => assert_eq!(went, ByTls(2), "{shows:?} {records:?}: {said}"),
            (true, want) => assert!(said.starts_with(want) && went == Not, "{shows:?} {records:?}: {said}"),
        }
    }
}

#[test]
fn a_server_is_known_by_its_own_certificate_or_key() {
    for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        with_records(SERVER, vec![tlsa(3, selector, matching, "server")], "");
        with_records(SERVER, vec![tlsa(3, selector, matching, "rsa")], MISMATCH);
    }
    // One that fits is enough.
    with_records(SERVER, vec![tlsa(3, 1, 1, "rsa"), tlsa(3, 1, 1, "server"), tlsa(2, 0, 1, "ca")], "");
    // Names and dates, and who vouches for it, do not matter.
    with_records(&["expired"], vec![tlsa(3, 0, 1, "expired")], "");
    with_records(&["wild"], vec![tlsa(3, 1, 1, "wild")], "");
    with_records(&["rsa"], vec![tlsa(3, 1, 2, "rsa")], "");
    // It is about the server's own, not about one that it shows besides.
    with_records(&["server", "ca"], vec![tlsa(3, 0, 1, "ca")], MISMATCH);
}

#[test]
fn of_digests_the_best_that_is_there_counts() {
    with_records(SERVER, vec![tlsa(3, 1, 1, "server"), tlsa(3, 1, 2, "rsa")], MISMATCH);
    with_records(SERVER, vec![tlsa(3, 1, 1, "rsa"), tlsa(3, 1, 2, "server")], "");
    with_records(SERVER, vec![tlsa(3, 0, 1, "server"), tlsa(3, 1, 2, "rsa")], "");
}

#[test]
fn a_server_is_known_by_an_authority_that_it_shows() {
    for (selector, matching) in [(0, 0), (0, 1), (1, 1), (1, 2)] {
        with_records(&["server", "ca"], vec![tlsa(2, selector, matching, "ca")], "");
    }
    // An authority in between will do.
    with_records(&["deep"], vec![tlsa(2, 1, 1, "deep/1")], "");
    with_records(&["deep"], vec![tlsa(2, 0, 2, "deep/2")], "");
    // It must be shown, must have signed, and the certificate must be good at this time.
    with_records(SERVER, vec![tlsa(2, 0, 1, "ca")], MISMATCH);
    with_records(&["server", "ca"], vec![tlsa(2, 0, 1, "other")], MISMATCH);
    with_records(&["self", "ca"], vec![tlsa(2, 0, 1, "ca")], UNVERIFIED);
    with_records(&["expired", "ca"], vec![tlsa(2, 0, 1, "ca")], UNVERIFIED);
    // The server's own certificate is no authority.
    with_records(&["server", "ca"], vec![tlsa(2, 0, 1, "server")], MISMATCH);
    with_records(&["wild", "ca"], vec![tlsa(2, 0, 1, "ca")], WRONG_NAME);
}

#[test]
fn with_an_authority_the_name_is_the_exchangers_or_the_domains() {
    for (domain, host, want) in
        [("d.test", "mx.test", ByTls(2)), ("a.test", "mail.test", ByTls(2)), ("d.test", "mail.test", Not)]
    {
        let scene = Scene::new(&[both(&["server", "ca"])[0]]);
        scene.name(domain, kind::MX, Reply::Secure(vec![Data::Mx(10, host.into())]));
        scene.name(host, kind::A, Reply::Secure(vec![Data::A([127, 0, 0, 2].into())]));
        scene.tlsa(host, Reply::Secure(vec![tlsa(2, 0, 1, "ca")]));
        let (said, went) = scene.send(domain);
        assert_eq!(went, want, "{domain} {host}: {said}");
        assert!(want != Not || said.starts_with(WRONG_NAME), "{said}");
    }
    // A label may be any.
    let scene = Scene::new(&[both(&["wild", "ca"])[0]]);
    scene.name("d.test", kind::MX, Reply::Secure(vec![Data::Mx(10, b"mx.wild.test".to_vec())]));
    scene.name("mx.wild.test", kind::A, Reply::Secure(vec![Data::A([127, 0, 0, 2].into())]));
    scene.tlsa("mx.wild.test", Reply::Secure(vec![tlsa(2, 1, 1, "ca")]));
    assert_eq!(scene.send("d.test").1, ByTls(2));
}

#[test]
fn records_that_are_of_no_use_still_promise_tls() {
    with_records(SERVER, vec![tlsa(1, 1, 1, "rsa"), tlsa(0, 0, 1, "other")], "");
    with_records(&["expired"], vec![Data::Tlsa(3, 1, 1, vec![1; 20]), Data::Tlsa(3, 9, 9, vec![1; 32])], "");
    // Others make no difference to one that is of use.
    with_records(SERVER, vec![tlsa(1, 1, 1, "server"), tlsa(3, 1, 1, "rsa")], MISMATCH);
}

/// Sends with and without STARTTLS offered, and says how it went; nothing should stand in the way.
fn goes(prepare: impl Fn(&Scene)) {
    for kind in both(SERVER) {
        let scene = Scene::new(&[kind]);
        prepare(&scene);
        let (said, went) = scene.send("d.test");
        assert_eq!(went, if kind.offers { ByTls(2) } else { Clear(2) }, "{said}");
    }
}

fn wrong() -> Vec<Data> {
    vec![tlsa(3, 1, 1, "rsa")]
}

#[test]
fn what_may_be_forged_changes_nothing() {
    // No records.
    goes(|_| {});
    goes(|scene| scene.tlsa("mx.test", Reply::Secure(vec![])));
    goes(|scene| scene.tlsa("mx.test", Reply::Records(wrong())));
    goes(|scene| {
        scene.tlsa("mx.test", Reply::Secure(wrong()));
        scene.name("d.test", kind::MX, Reply::Records(vec![Data::Mx(10, b"mx.test".to_vec())]));
    });
    goes(|scene| {
        // Nor is it asked for: such servers may fail.
        scene.tlsa("mx.test", Reply::Failure);
        scene.name("mx.test", kind::A, Reply::Records(vec![Data::A([127, 0, 0, 2].into())]));
    });
}

#[test]
fn a_name_server_is_believed_as_the_control_file_says() {
    for trust in ["0\n", ""] {
        goes(|scene| {
            scene.tlsa("mx.test", Reply::Secure(wrong()));
            scene.control("dnssec-trusted", trust);
        });
    }
    for (trust, believed) in [("1\n", false), ("2\n", true)] {
        let mut scene = Scene::new(&[both(SERVER)[1]]);
        scene.tlsa("mx.test", Reply::Secure(wrong()));
        scene.control("dnssec-trusted", trust);
        // The other one is never asked, but it might be.
        scene.cache.push_str(" 192.0.2.1");
        assert_eq!(scene.send("d.test").1, if believed { Not } else { Clear(2) }, "{trust}");
    }
}

#[test]
fn an_exchanger_without_an_answer_or_with_a_wrong_certificate_is_passed_over() {
    let second = |scene: &Scene| {
        let list = vec![Data::Mx(10, b"mx.test".to_vec()), Data::Mx(20, b"mx2.test".to_vec())];
        scene.name("d.test", kind::MX, Reply::Secure(list));
        scene.name("mx2.test", kind::A, Reply::Secure(vec![Data::A([127, 0, 0, 3].into())]));
    };
    for kind in both(SERVER) {
        let scene = Scene::new(&[kind, kind]);
        scene.tlsa("mx.test", Reply::Failure);
        let (said, went) = scene.send("d.test");
        assert_eq!((said.as_str(), went), (LOOKUP, Not));
        assert!(scene.heard.lock().unwrap().is_empty(), "nothing is said to such a server");
        second(&scene);
        assert_eq!(scene.send("d.test").1, if kind.offers { ByTls(3) } else { Clear(3) });
        scene.tlsa("mx.test", Reply::Secure(wrong()));
        assert_eq!(scene.send("d.test").1, if kind.offers { ByTls(3) } else { Clear(3) });
        // Each has its own records.
        scene.tlsa("mx2.test", Reply::Secure(vec![tlsa(3, 1, 1, "server")]));
        assert_eq!(scene.send("d.test").1, if kind.offers { ByTls(3) } else { Not });
        scene.tlsa("mx2.test", Reply::Secure(wrong()));
        assert_eq!(scene.send("d.test").1, Not);
        scene.tlsa("mx2.test", Reply::Failure);
        assert_eq!(scene.send("d.test").0, LOOKUP.replace("mx.", "mx2."));
    }
}

#[test]
fn rules_that_demand_more_still_do() {
    let rule = |shows: &'static [&'static str], rule: &str, records: Reply, want: &str| {
        for kind in both(shows) {
            let scene = Scene::new(&[kind]);
            scene.control("tlsdestinations", &rule.replace("CA", certificate("ca.pem").to_str().unwrap()));
            scene.control("tlsfallback", "");
            scene.tlsa("mx.test", records.clone());
            let (said, went) = scene.send("d.test");
            match (kind.offers, want) {
                (false, _) => assert_eq!((said.as_str(), went), (NOT_OFFERED, Not), "{rule}"),
                (true, "") => assert_eq!(went, ByTls(2), "{rule}: {said}"),
                (true, want) => assert!(said.starts_with(want) && went == Not, "{rule}: {said}"),
            }
        }
    };
    let good = || vec![tlsa(3, 1, 1, "server")];
    let of_self = || vec![tlsa(3, 1, 1, "self")];
    for level in ["-:;PORT", "*:;PORT", "-*:;PORT", "+*:;PORT", "+*:CA;PORT", "*:CA;PORT"] {
        rule(SERVER, level, Reply::Secure(good()), "");
        // In spite of control/tlsfallback.
        rule(SERVER, level, Reply::Secure(wrong()), MISMATCH);
    }
    // The record fits, but the rule wants more.
    rule(&["self"], "+*:CA;PORT", Reply::Secure(of_self()), UNVERIFIED);
    rule(&["self"], "*:CA;PORT", Reply::Secure(of_self()), UNVERIFIED);
    rule(SERVER, "=*:CA;PORT", Reply::Secure(good()), WRONG_NAME);
    // From level 4 on records that are not secure are pins.
    for level in ["+*:;PORT", "+*:CA;PORT", "d.test:;PORT"] {
        rule(SERVER, level, Reply::Records(good()), "");
        rule(SERVER, level, Reply::Records(wrong()), MISMATCH);
        rule(SERVER, level, Reply::Records(vec![tlsa(1, 1, 1, "rsa")]), "");
        rule(SERVER, level, Reply::NoSuchName, "");
    }
    rule(SERVER, "-*:;PORT", Reply::Records(wrong()), "");
}

#[test]
fn a_server_that_takes_its_offer_back_gets_nothing() {
    let kind = Kind { start: "454 not now\r\n", ..both(SERVER)[0] };
    for (records, want) in
        [(vec![tlsa(3, 1, 1, "server")], Not), (vec![tlsa(1, 1, 1, "server")], Not), (vec![], Clear(2))]
    {
        let scene = Scene::new(&[kind]);
        scene.control("tlsfallback", "");
        scene.tlsa("mx.test", Reply::Secure(records.clone()));
        let (said, went) = scene.send("d.test");
        assert_eq!(went, want, "{records:?}");
        assert!(want != Not || said.starts_with("ZConnected to 127.0.0.2 but STARTTLS was rejected.\n"), "{said}");
    }
}

#[test]
fn a_relay_that_was_named_by_hand_has_records_too() {
    // Without a rule there would be no STARTTLS.
    for (records, offers, want) in [
        (vec![tlsa(3, 1, 1, "server")], true, ByTls(2)),
        (vec![tlsa(3, 1, 1, "server")], false, Not),
        (wrong(), true, Not),
        (vec![], true, Clear(2)),
    ] {
        let scene = Scene::new(&[Kind { offers, ..both(SERVER)[0] }]);
        scene.control("tlsdestinations", "");
        scene.control("smtproutes", "d.test:mx.test;PORT\n");
        scene.tlsa("mx.test", Reply::Secure(records.clone()));
        assert_eq!(scene.send("d.test").1, want, "{records:?}");
    }
    // Where the rule says never, it is never.
    let scene = Scene::new(&[both(SERVER)[0]]);
    scene.control("tlsdestinations", "!mx.test:\n");
    scene.control("smtproutes", "d.test:mx.test;PORT\n");
    scene.tlsa("mx.test", Reply::Secure(wrong()));
    assert_eq!(scene.send("d.test").1, Clear(2));
}

#[test]
fn a_domain_without_exchangers_and_an_alias_have_records_too() {
    for (records, want) in [(vec![tlsa(3, 1, 1, "server")], ByTls(2)), (wrong(), Not)] {
        let scene = Scene::new(&[both(SERVER)[0]]);
        scene.tlsa("mx.test", Reply::Secure(records.clone()));
        assert_eq!(scene.send("mx.test").1, want);
        // The exchanger is an alias: the records of the name behind it come first.
        scene.name("d.test", kind::MX, Reply::Secure(vec![Data::Mx(10, b"alias.test".to_vec())]));
        scene.name("alias.test", kind::A, Reply::Secure(vec![Data::Cname(b"mx.test".to_vec())]));
        assert_eq!(scene.send("d.test").1, want);
        scene.tlsa("alias.test", Reply::Secure(vec![tlsa(3, 1, 1, "other")]));
        assert_eq!(scene.send("d.test").1, want);
        scene.tlsa("mx.test", Reply::NoSuchName);
        assert_eq!(scene.send("d.test").1, Not);
        // Only the alias is signed, not what it leads to.
        scene.tlsa("alias.test", Reply::Secure(records));
        scene.name("mx.test", kind::A, Reply::Records(vec![Data::A([127, 0, 0, 2].into())]));
        assert_eq!(scene.send("d.test").1, ByTls(2), "nothing is known of the alias");
        scene.name("alias.test", kind::CNAME, Reply::Failure);
        assert_eq!(scene.send("d.test").0, LOOKUP.replace("mx.", "alias."));
        scene.name("alias.test", kind::CNAME, Reply::Secure(vec![Data::Cname(b"mx.test".to_vec())]));
        assert_eq!(scene.send("d.test").1, want);
    }
}

#[test]
fn a_session_is_resumed_only_under_the_same_records() {
    let scene = Scene::new(&[both(SERVER)[0]]);
    std::fs::create_dir(scene.home.path("queue/tls")).unwrap();
    let good = tlsa(3, 1, 1, "server");
    scene.tlsa("mx.test", Reply::Secure(vec![good.clone()]));
    assert_eq!([(); 2].map(|()| scene.send("d.test").1), [ByTls(2); 2]);
    scene.tlsa("mx.test", Reply::Secure(wrong()));
    let (said, went) = scene.send("d.test");
    assert_eq!((said.as_str(), went), (MISMATCH, Not));
    // Nor does a session that was begun without records help one with.
    scene.tlsa("mx.test", Reply::NoSuchName);
    assert_eq!(scene.send("d.test").1, ByTls(2));
    scene.tlsa("mx.test", Reply::Secure(wrong()));
    assert_eq!(scene.send("d.test").1, Not);
    // In whatever order a name server lists them.
    let other = tlsa(2, 0, 1, "ca");
    for list in [vec![good.clone(), other.clone()], vec![other, good]] {
        scene.tlsa("mx.test", Reply::Secure(list));
        assert_eq!(scene.send("d.test").1, ByTls(2));
    }
    let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed];
    assert_eq!(shaken(&scene, 5), [full, resumed, full, full, resumed]);
}

/// The kinds of the handshakes that were finished, when there are so many: a server notes one when its client has gone.
fn shaken(scene: &Scene, count: usize) -> Vec<HandshakeKind> {
    for _ in 0..2000 {
        let list = scene.shaken.lock().unwrap();
        if list.len() >= count {
            return list.clone();
        }
        drop(list);
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain");
}
