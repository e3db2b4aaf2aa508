//! qmail-tlsc, and qmail-remote through it, with a server on loopback that speaks TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tunnel::{Agreed, Credentials, Failed, Failure, Level, Policy, Record, Request, Tlsa, Way};

const TLSC: &str = env!("CARGO_BIN_EXE_qmail-tlsc");
const REMOTE: &str = env!("CARGO_BIN_EXE_qmail-remote");

/// A file of tests/certificates.
fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

/// What a server is like.
#[derive(Clone)]
struct Kind {
    /// The certificate it shows.
    shows: &'static str,
    tls12: bool,
    /// It demands a certificate of this authority.
    wants: bool,
    /// Its answer to EHLO before TLS and with it.
    hello: [&'static str; 2],
    /// Its answer to STARTTLS; what stands behind `220` is sent as it is.
    start: &'static str,
    /// It answers garbage to the handshake.
    garbage: bool,
}

const OFFER: &str = "250-test\r\n250 STARTTLS\r\n";
const PLAIN: &str = "250 test\r\n";

impl Default for Kind {
    fn default() -> Kind {
        let hello = [OFFER, PLAIN];
        Kind { shows: "server", tls12: false, wants: false, hello, start: "220 go\r\n", garbage: false }
    }
}

impl Kind {
    fn config(&self) -> Arc<ServerConfig> {
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = if self.wants {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(certificate("ca.pem")).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let name = self.shows;
        let chain = CertificateDer::pem_file_iter(certificate(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificate(&format!("{name}.key"))).unwrap();
        Arc::new(builder.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap())
    }
}

/// What a connection was like in the end: the commands with their endings, and how the handshake went.
type Heard = (Vec<String>, Option<HandshakeKind>);

/// Serves so many connections, TLS from the start if `implicit`. Returns the port, and what was heard on each.
fn server(kind: Kind, implicit: bool, connections: usize) -> (u16, JoinHandle<Vec<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = kind.config();
    let heard = std::thread::spawn(move || {
        let one = |_| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            serve(stream, &kind, &config, implicit)
        };
        (0..connections).map(one).collect()
    });
    (port, heard)
}

fn serve(mut stream: TcpStream, kind: &Kind, config: &Arc<ServerConfig>, implicit: bool) -> Heard {
    let mut heard = Vec::new();
    if !implicit {
        stream.write_all(b"220 test\r\n").unwrap();
        if !speak(&mut stream, kind, 0, &mut heard) {
            return (heard, None);
        }
    }
    if kind.garbage {
        let _ = stream.write_all(b"500 what is this?\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
        return (heard, None);
    }
    let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    if implicit {
        let _ = tls.write_all(b"220 test\r\n");
    }
    speak(&mut tls, kind, 1, &mut heard);
    (heard, tls.conn.handshake_kind())
}

/// The dialogue until QUIT or the end; true after STARTTLS.
fn speak<S: Read + Write>(stream: &mut S, kind: &Kind, floor: usize, heard: &mut Vec<String>) -> bool {
    let mut in_data = false;
    let mut line = Vec::new();
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
        let reply = match (in_data, text.split(' ').next().unwrap()) {
            (true, ".") => "250 accepted\r\n",
            (true, _) => "",
            (_, "EHLO") => kind.hello[floor],
            (_, "STARTTLS") => kind.start,
            (_, "DATA") => "354 go\r\n",
            (_, "AUTH") => "334 \r\n",
            (_, "AGpvZQBzZWNyZXQ=") => "235 ok\r\n",
            (_, "QUIT") => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        in_data = text == "DATA" || in_data && text != ".";
        let starts = text == "STARTTLS" && reply.starts_with("220");
        let ends = text == "QUIT";
        heard.push(text);
        if stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_err() || ends {
            return false;
        }
        if starts {
            return true;
        }
    }
}

fn request(port: u16, level: Level, host: &str, ca: &str) -> Request {
    Request {
        host: host.as_bytes().to_vec(),
        server: b"mx.test".to_vec(),
        peer: format!("127.0.0.1:{port}").parse().unwrap(),
        policy: Policy { ca: ca.as_bytes().to_vec(), ..Policy::of_level(level) },
        credentials: Credentials::default(),
        tlsa: Tlsa::default(),
    }
}

fn ca(name: &str) -> String {
    certificate(name).to_str().unwrap().to_string()
}

/// Connects and opens.
fn open(request: &Request, waiting: Option<&Path>) -> Result<(UnixStream, Agreed), Failed> {
    let network = TcpStream::connect(request.peer).unwrap();
    let opened = tunnel::open(&network, request, Way { program: TLSC.as_bytes(), waiting });
    if let Ok((stream, _)) = &opened {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    opened
}

/// Reads the greeting and leaves.
fn greet(stream: UnixStream) {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "220 test\r\n");
    (&stream).write_all(b"QUIT\r\n").unwrap();
    let mut rest = String::new();
    (&stream).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "221 bye\r\n");
}

/// What comes of these demands on a server that shows `shows`.
fn outcome(shows: &'static str, tls12: bool, level: Level, host: &str, ca: &str, depth: u32) -> Option<Failure> {
    let (port, heard) = server(Kind { shows, tls12, ..Kind::default() }, true, 1);
    let mut request = request(port, level, host, ca);
    request.policy.depth = depth;
    let failure = match open(&request, None) {
        Ok((stream, agreed)) => {
            assert_eq!(agreed.protocol, if tls12 { b"TLSv1.2" } else { b"TLSv1.3" });
            assert!(!agreed.resumed && !agreed.cipher.is_empty());
            greet(stream);
            None
        }
        Err(failed) => Some(failed.failure),
    };
    let heard = heard.join().unwrap();
    assert_eq!(heard[0].0.is_empty(), failure.is_some(), "nothing is said before all is checked");
    failure
}

#[test]
fn d4_each_level_demands_its_certificate() {
    use Level::{Any, Certificate, MustAny, MustCertificate, MustName, MustWildcard, Unset};
    let (good, other) = (ca("ca.pem"), ca("other.pem"));
    let (good, other) = (good.as_str(), other.as_str());
    let (untrusted, name) = (Some(Failure::PeerUnverified), Some(Failure::PeerName));
    for (shows, level, host, authority, want) in [
        // Levels that take anybody, and those that do unless an authority is given.
        ("self", Unset, "x.test", "", None),
        ("expired", Any, "x.test", other, None),
        ("self", MustAny, "x.test", other, None),
        ("self", Certificate, "x.test", "", None),
        ("self", Certificate, "x.test", good, untrusted),
        ("server", Certificate, "x.test", good, None),
        ("self", MustCertificate, "x.test", "", None),
        ("server", MustCertificate, "x.test", good, None),
        ("server", MustCertificate, "x.test", other, untrusted),
        ("expired", MustCertificate, "x.test", good, untrusted),
        // Names.
        ("server", MustName, "mx.test", good, None),
        ("server", MustName, "A.test", good, None),
        ("server", MustName, "other.test", good, name),
        ("server", MustName, "x.test", good, name),
        ("server", MustName, "mx.test", other, untrusted),
        ("self", MustName, "mx.test", "", None),
        ("self", MustName, "x.test", "", name),
        ("named", MustName, "mx.test", good, None),
        ("rsa", MustName, "mx.test", good, None),
        ("wild", MustName, "a.wild.test", good, name),
        ("wild", MustWildcard, "a.wild.test", good, None),
        ("wild", MustWildcard, "a.b.wild.test", good, name),
        ("server", MustWildcard, "mx.test", good, None),
        // What is in the file need not be an authority.
        ("self", MustName, "mx.test", "self", None),
    ] {
        let authority = if authority == "self" { ca("self.pem") } else { authority.to_string() };
        assert_eq!(outcome(shows, false, level, host, &authority, 1), want, "{shows} {level:?} {host} {authority}");
    }
}

#[test]
fn authorities_between_count_and_may_be_too_many() {
    let good = ca("ca.pem");
    assert_eq!(outcome("deep", false, Level::MustName, "mx.test", &good, 1), Some(Failure::PeerUnverified));
    assert_eq!(outcome("deep", false, Level::MustName, "mx.test", &good, 2), None);
    assert_eq!(outcome("server", false, Level::MustName, "mx.test", &good, 0), None);
    // A directory is as good as a file; this one holds other things as well.
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(certificate("ca.pem"), dir.path().join("12345678.0")).unwrap();
    std::fs::write(dir.path().join("README"), "no certificate").unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let dir = format!("{}/", dir.path().display());
    assert_eq!(outcome("server", false, Level::MustName, "mx.test", &dir, 1), None);
    // The authorities of the world do not know ours.
    assert_eq!(outcome("server", false, Level::MustName, "mx.test", "+", 1), Some(Failure::PeerUnverified));
}

#[test]
fn the_older_version_demands_the_same() {
    let good = ca("ca.pem");
    assert_eq!(outcome("server", true, Level::MustName, "mx.test", &good, 1), None);
    assert_eq!(outcome("server", true, Level::MustName, "x.test", &good, 1), Some(Failure::PeerName));
    assert_eq!(outcome("self", true, Level::MustCertificate, "x.test", &good, 1), Some(Failure::PeerUnverified));
    assert_eq!(outcome("self", true, Level::Any, "x.test", "", 1), None);
    assert_eq!(outcome("rsa", true, Level::MustName, "mx.test", &good, 1), None);
}

/// The digest of a certificate by openssl(1), as a rule has it; `None` without that program.
fn pin(name: &str, digest: &str) -> Option<String> {
    let file = certificate(&format!("{name}.pem"));
    let args = ["x509", "-noout", "-fingerprint", digest, "-in", file.to_str().unwrap()];
    let Ok(out) = Command::new("openssl").args(args).output() else {
        eprintln!("skipped: openssl is not installed");
        return None;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    Some(format!("={}", text.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase()))
}

#[test]
fn a_pinned_certificate_needs_nobody_to_vouch_for_it() {
    for digest in ["-sha1", "-sha224", "-sha256", "-sha384", "-sha512"] {
        let Some(pin) = pin("expired", digest) else { return };
        for tls12 in [false, true] {
            assert_eq!(outcome("expired", tls12, Level::MustPin, "x.test", &pin, 1), None, "{digest}");
            let want = Some(Failure::Fingerprint);
            assert_eq!(outcome("server", tls12, Level::MustPin, "x.test", &pin, 1), want, "{digest}");
        }
    }
}

#[test]
fn published_records_are_one_more_demand() {
    let whole = |name: &str| CertificateDer::from_pem_file(certificate(&format!("{name}.pem"))).unwrap().to_vec();
    let record = |usage, name: &str| Record { usage, selector: 0, matching: 0, data: whole(name) };
    let (expired, authority) = (vec![record(3, "expired")], vec![record(2, "ca")]);
    let good = ca("ca.pem");
    for (shows, records, level, host, authority, want) in [
        ("expired", &expired, Level::MustAny, "x.test", "", None),
        ("server", &expired, Level::MustAny, "x.test", "", Some(Failure::Tlsa)),
        ("expired", &expired, Level::MustCertificate, "x.test", good.as_str(), Some(Failure::PeerUnverified)),
        // The authority is not in the chain.
        ("server", &authority, Level::MustName, "mx.test", &good, Some(Failure::Tlsa)),
        // Certificates that a rule has pinned are no exception.
        (
            "server",
            &expired,
            Level::MustPin,
            "x.test",
            "=00112233445566778899aabbccddeeff00112233",
            Some(Failure::Tlsa),
        ),
        (
            "expired",
            &expired,
            Level::MustPin,
            "x.test",
            "=00112233445566778899aabbccddeeff00112233",
            Some(Failure::Fingerprint),
        ),
    ] {
        for tls12 in [false, true] {
            let (port, heard) = server(Kind { shows, tls12, ..Kind::default() }, true, 1);
            let tlsa = Tlsa::of(records.clone(), vec![b"mx.test".to_vec()]);
            let request = Request { tlsa, ..request(port, level, host, authority) };
            let failure = match open(&request, None) {
                Ok((stream, _)) => {
                    greet(stream);
                    None
                }
                Err(failed) => Some(failed.failure),
            };
            assert_eq!(failure, want, "{shows} {level:?} {tls12}");
            assert_eq!(heard.join().unwrap()[0].0.is_empty(), want.is_some());
        }
    }
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_ask() {
    let kind = Kind { wants: true, ..Kind::default() };
    for (own, want) in [("client", None), ("", Some(())), ("self", Some(()))] {
        let (port, heard) = server(kind.clone(), true, 1);
        let mut request = request(port, Level::MustCertificate, "x.test", "");
        if !own.is_empty() {
            request.credentials.certificate = ca(&format!("{own}.pem")).into_bytes();
            request.credentials.key = ca(&format!("{own}.key")).into_bytes();
        }
        // In TLS 1.3 a server may refuse when the client thinks that all is done.
        let refused = match open(&request, None) {
            Err(failed) => Some(failed.failure),
            Ok((stream, _)) if want.is_none() => {
                greet(stream);
                None
            }
            Ok((mut stream, _)) => {
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text);
                assert_eq!(text, "");
                Some(Failure::Protocol)
            }
        };
        assert_eq!(refused.is_some(), want.is_some(), "{own}");
        assert_eq!(heard.join().unwrap()[0].0.len(), usize::from(want.is_none()));
    }
    // What does not belong together is found out before the server is spoken to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = request(listener.local_addr().unwrap().port(), Level::Any, "x.test", "");
    request.credentials.certificate = ca("client.pem").into_bytes();
    request.credentials.key = ca("self.key").into_bytes();
    assert_eq!(open(&request, None).unwrap_err().failure, Failure::Mismatch);
}

#[test]
fn d4_garbage_and_silence_end_the_handshake() {
    let (port, heard) = server(Kind { garbage: true, ..Kind::default() }, true, 1);
    assert_eq!(open(&request(port, Level::Any, "x.test", ""), None).unwrap_err().failure, Failure::Protocol);
    heard.join().unwrap();
    // Hangs up without a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
    assert_eq!(open(&request(port, Level::Any, "x.test", ""), None).unwrap_err().failure, Failure::Connection);
    closing.join().unwrap();
}

#[test]
fn d4_records_of_one_byte_are_understood() {
    let (to, heard) = server(Kind::default(), true, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Passes everything on a byte at a time.
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            let mut byte = [0];
            while matches!(from.read(&mut byte), Ok(1)) && to.write_all(&byte).is_ok() {}
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || pass(client2, server2));
        pass(server, client);
    });
    greet(open(&request(port, Level::MustAny, "x.test", ""), None).unwrap().0);
    assert_eq!(heard.join().unwrap()[0].0, ["QUIT"]);
}

/// Waits until `done`.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_session_is_resumed_by_the_next_sender() {
    for tls12 in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let waiting = Some(dir.path());
        let (port, heard) = server(Kind { tls12, ..Kind::default() }, true, 4);
        let good = request(port, Level::MustName, "mx.test", &ca("ca.pem"));
        for resumed in [false, true, true] {
            let (stream, agreed) = open(&good, waiting).unwrap();
            assert_eq!(agreed.resumed, resumed);
            greet(stream);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // Other demands are another matter, even of the same server.
        let other = request(port, Level::MustAny, "mx.test", "");
        let (stream, agreed) = open(&other, waiting).unwrap();
        assert!(!agreed.resumed);
        greet(stream);
        let kinds: Vec<_> = heard.join().unwrap().into_iter().map(|(_, kind)| kind.unwrap()).collect();
        let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed];
        assert_eq!(kinds, [full, resumed, resumed, full]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_broken_place_to_wait_means_a_full_handshake() {
    let (port, heard) = server(Kind::default(), true, 6);
    let request = request(port, Level::MustAny, "x.test", "");
    let full = |waiting: &Path| {
        let (stream, agreed) = open(&request, Some(waiting)).unwrap();
        assert!(!agreed.resumed);
        greet(stream);
    };
    full(Path::new("/nonexistent/dir"));
    full(Path::new("/dev/null"));
    let dir = tempfile::tempdir().unwrap();
    full(dir.path());
    let name = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    // A name that nobody listens at any more is replaced.
    std::fs::remove_file(&name).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&name).unwrap());
    full(dir.path());
    let (stream, agreed) = open(&request, Some(dir.path())).unwrap();
    assert!(agreed.resumed);
    greet(stream);
    // So is something that is no socket.
    std::fs::remove_file(&name).unwrap();
    std::fs::write(&name, "x").unwrap();
    full(dir.path());
    heard.join().unwrap();
}

#[test]
fn a_process_that_hangs_or_lies_is_passed_over() {
    let (port, heard) = server(Kind::default(), true, 2);
    let request = request(port, Level::MustAny, "x.test", "");
    let dir = tempfile::tempdir().unwrap();
    let (stream, _) = open(&request, Some(dir.path())).unwrap();
    let name = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    greet(stream);
    std::fs::remove_file(&name).unwrap();
    // Says that it serves another request.
    let listener = std::os::unix::net::UnixListener::bind(&name).unwrap();
    let liar = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 20]).unwrap();
        stream.write_all(b"O").unwrap();
    });
    let (stream, agreed) = open(&request, Some(dir.path())).unwrap();
    assert!(!agreed.resumed);
    greet(stream);
    liar.join().unwrap();
    heard.join().unwrap();
}

#[test]
fn a_changed_authority_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::copy(certificate("ca.pem"), &file).unwrap();
    let waiting = dir.path().join("waiting");
    std::fs::create_dir(&waiting).unwrap();
    let (port, heard) = server(Kind::default(), true, 3);
    let request = request(port, Level::MustName, "mx.test", file.to_str().unwrap());
    for resumed in [false, true] {
        let (stream, agreed) = open(&request, Some(&waiting)).unwrap();
        assert_eq!(agreed.resumed, resumed);
        greet(stream);
    }
    std::fs::copy(certificate("other.pem"), &file).unwrap();
    assert_eq!(open(&request, Some(&waiting)).unwrap_err().failure, Failure::PeerUnverified);
    heard.join().unwrap();
}

#[test]
fn several_senders_at_a_time_share_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let kind = Kind::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = kind.config();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (kind, config) = (kind.clone(), config.clone());
            std::thread::spawn(move || serve(stream, &kind, &config, true));
        }
    });
    let request = request(port, Level::MustAny, "x.test", "");
    let first = open(&request, Some(dir.path())).unwrap().0;
    let more: Vec<UnixStream> = (0..20).map(|_| open(&request, Some(dir.path())).unwrap().0).collect();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    more.into_iter().for_each(greet);
    greet(first);
}

#[test]
fn the_process_that_speaks_with_a_stranger_is_in_a_cage() {
    let (port, heard) = server(Kind::default(), true, 1);
    let (stream, _) = open(&request(port, Level::MustAny, "x.test", ""), None).unwrap();
    let own = format!("\nPPid:\t{}\n", std::process::id());
    let status = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
    let mut all = std::fs::read_dir("/proc").unwrap().map(|e| status(e.unwrap()));
    let caged = |s: &String| s.contains("\nNoNewPrivs:\t1\n") && s.contains("\nSeccomp:\t2\n");
    assert!(all.any(|s| s.starts_with("Name:\tqmail-tlsc\n") && s.contains(&own) && caged(&s)));
    greet(stream);
    heard.join().unwrap();
}

// ---------------------------------------------------------------- qmail-smtpam

#[test]
fn a_recipient_is_asked_about_under_tls() {
    let good = ["EHLO me.test", "STARTTLS", "EHLO me.test", "MAIL FROM:<>", "RCPT TO:<r@a.test>", "QUIT"];
    for (rule, code) in [("*:", 0), ("-*:", 0), ("127.0.0.1:CA", 0), ("=127.0.0.1:CA", 111)] {
        let home = home();
        let (port, heard) = server(Kind::default(), false, 1);
        control(home.path(), "tlsdestinations", &rule.replace("CA", &ca("ca.pem")));
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'r@a.test\\0' | \"$0\" 127.0.0.1 $1 3<&0", env!("CARGO_BIN_EXE_qmail-smtpam")]);
        let out = command.arg(port.to_string()).env("QMAILHOME", home.path()).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!((out.status.code(), text.starts_with("Z ")), (Some(code), code == 111), "{rule} {text}");
        let said = heard.join().unwrap().remove(0).0;
        assert_eq!(said, if code == 0 { &good[..] } else { &good[..2] }, "{rule}");
    }
}

// ---------------------------------------------------------------- qmail-remote

fn home() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["control", "queue/lock", "queue/tls", "bin"] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(TLSC, dir.path().join("bin/qmail-tlsc")).unwrap();
    std::fs::write(dir.path().join("message"), "Subject: x\n\n.\n").unwrap();
    control(dir.path(), "me", "me.test\n");
    dir
}

fn control(home: &Path, name: &str, text: &str) {
    std::fs::write(home.join("control").join(name), text).unwrap();
}

/// Sends the message; the records.
fn remote(home: &Path) -> Vec<String> {
    let message: Stdio = File::open(home.join("message")).unwrap().into();
    let mut command = Command::new(REMOTE);
    command.env_clear().env("QMAILHOME", home).args(["a.test", "s@b.test", "r@a.test"]);
    let out = command.stdin(message).output().unwrap();
    assert_eq!((out.status.code(), out.stderr), (Some(0), vec![]));
    let text = String::from_utf8(out.stdout).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(String::from).collect()
}

const ENVELOPE: [&str; 3] = ["MAIL FROM:<s@b.test>", "RCPT TO:<r@a.test>", "DATA"];
const BODY: [&str; 4] = ["Subject: x", "", "..", "."];

fn accepted(how: &str) -> [String; 2] {
    ["r".into(), format!("K127.0.0.1 {how}.\nRemote host said: 250 accepted\n")]
}

/// Delivers under a rule; the records and what the server heard.
fn deliver(kind: Kind, files: &[(&str, &str)], connections: usize) -> (Vec<String>, Vec<Heard>) {
    let home = home();
    let (port, heard) = server(kind, false, connections);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    for (name, text) in files {
        control(home.path(), name, &text.replace("PORT", &port.to_string()));
    }
    (remote(home.path()), heard.join().unwrap())
}

#[test]
fn starttls_is_used_where_the_rules_say_so() {
    let with =
        [vec!["EHLO me.test", "STARTTLS", "EHLO me.test"], ENVELOPE.to_vec(), BODY.to_vec(), vec!["QUIT"]].concat();
    let without = [vec!["EHLO me.test"], ENVELOPE.to_vec(), BODY.to_vec(), vec!["QUIT"]].concat();
    for (rule, hello, is_tls) in [
        ("", OFFER, false),
        ("*:", OFFER, true),
        ("-:", OFFER, true),
        ("*:\n!127.0.0.1:", OFFER, false),
        ("*:|||other.test", OFFER, false),
        ("*:|||a.test", OFFER, true),
        ("*:", PLAIN, false),
        ("-127.0.0.1:", OFFER, true),
        ("127.0.0.1:CA", OFFER, true),
    ] {
        let rule = rule.replace("CA", &ca("ca.pem"));
        let kind = Kind { hello: [hello, PLAIN], ..Kind::default() };
        let (records, heard) = deliver(kind, &[("tlsdestinations", &rule)], 1);
        let how = if is_tls { "TLS transmitted message accepted" } else { "accepted message" };
        assert_eq!(records, accepted(how), "{rule}");
        assert_eq!(heard[0].0, if is_tls { &with } else { &without }[..], "{rule}");
    }
}

#[test]
fn r8_d4_mail_that_must_have_tls_waits_for_it() {
    let not = |what: &str| format!("Z {what} (#4.4.1)\n");
    let not_offered = not("I wasn't able to negotiate a TLS connection with: 127.0.0.1.");
    // R8: it was offered yesterday.
    for rule in ["-127.0.0.1:", "127.0.0.1:", "=127.0.0.1:", "~127.0.0.1:", "%127.0.0.1:=00", "+*:"] {
        let kind = Kind { hello: [PLAIN, PLAIN], ..Kind::default() };
        let (records, heard) = deliver(kind, &[("tlsdestinations", rule)], 1);
        assert_eq!(records, [not_offered.as_str()], "{rule}");
        assert_eq!(heard[0].0, ["EHLO me.test", "QUIT"]);
    }
    let kind = Kind { start: "454 not now\r\n", ..Kind::default() };
    for rule in ["*:", "-127.0.0.1:"] {
        let (records, heard) = deliver(kind.clone(), &[("tlsdestinations", rule)], 1);
        assert_eq!(records, ["ZConnected to 127.0.0.1 but STARTTLS was rejected.\nRemote host said: 454 not now\n"]);
        assert_eq!(heard[0].0, ["EHLO me.test", "STARTTLS", "QUIT"]);
    }
    let (records, _) = deliver(Kind::default(), &[("tlsdestinations", "=127.0.0.1:")], 1);
    assert_eq!(records, [not("Unable to validate X.509 certificate Subject for: 127.0.0.1.")]);
    let kind = Kind { garbage: true, ..Kind::default() };
    let (records, heard) = deliver(kind, &[("tlsdestinations", "*:")], 1);
    assert!(records[0].starts_with(&not("TLS connection/protocol error for host: 127.0.0.1.")), "{records:?}");
    // D4: no reply in clear after the failure.
    assert_eq!(heard[0].0, ["EHLO me.test", "STARTTLS"]);
}

#[test]
fn r9_replies_in_front_of_the_handshake_are_not_believed() {
    let kind = Kind { start: "220 go\r\n250-x\r\n250 PIPELINING\r\n", ..Kind::default() };
    let (records, heard) = deliver(kind, &[("tlsdestinations", "*:")], 1);
    let want = "ZConnected to 127.0.0.1 but its answers do not fit to what it was asked. (#4.5.0)\n";
    assert_eq!(records, [want]);
    assert_eq!(heard[0].0, ["EHLO me.test", "STARTTLS"]);
}

#[test]
fn without_tls_after_all_only_if_the_site_wants_it_so() {
    let broken = Kind { garbage: true, ..Kind::default() };
    let files = [("tlsdestinations", "*:"), ("tlsfallback", "")];
    let (records, heard) = deliver(broken.clone(), &files, 2);
    assert_eq!(records, accepted("accepted message"));
    assert_eq!(heard[1].0, [vec!["EHLO me.test"], ENVELOPE.to_vec(), BODY.to_vec(), vec!["QUIT"]].concat());
    // A server that just says no needs no other connection.
    let refusing = Kind { start: "454 no\r\n", ..Kind::default() };
    assert_eq!(deliver(refusing, &files, 1).0, accepted("accepted message"));
    let files = [("tlsdestinations", "-127.0.0.1:"), ("tlsfallback", "")];
    assert!(deliver(broken, &files, 1).0[0].starts_with("Z TLS connection/protocol error"));
}

#[test]
fn credentials_are_shown_inside_of_tls() {
    let kind = Kind { hello: [OFFER, "250-test\r\n250 AUTH PLAIN\r\n"], ..Kind::default() };
    let files = [("tlsdestinations", "-127.0.0.1:"), ("authsenders", "@b.test:127.0.0.1;PORT|joe|secret")];
    let (records, heard) = deliver(kind.clone(), &files, 1);
    assert_eq!(records, accepted("TLS transmitted message accepted"));
    let want =
        ["EHLO me.test", "STARTTLS", "EHLO me.test", "AUTH PLAIN", "AGpvZQBzZWNyZXQ=", "MAIL FROM:<s@b.test> AUTH=joe"];
    assert_eq!(heard[0].0[..6], want);
    // Without the offer nothing is sent.
    let kind = Kind { hello: [OFFER, PLAIN], ..kind };
    let (records, heard) = deliver(kind, &files, 1);
    assert_eq!(records, ["ZConnected to 127.0.0.1 but no authentication was offered that is known. (#4.7.0)\n"]);
    assert_eq!(heard[0].0.last().unwrap(), "QUIT");
}

#[test]
fn deliveries_one_after_the_other_resume_their_session() {
    let home = home();
    let (port, heard) = server(Kind::default(), false, 3);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    control(home.path(), "tlsdestinations", "*:\n");
    for _ in 0..3 {
        assert_eq!(remote(home.path()), accepted("TLS transmitted message accepted"));
    }
    let kinds: Vec<_> = heard.join().unwrap().into_iter().map(|(_, kind)| kind.unwrap()).collect();
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
}

#[test]
fn without_the_program_mail_waits() {
    let home = home();
    std::fs::remove_file(home.path().join("bin/qmail-tlsc")).unwrap();
    let (port, _heard) = server(Kind::default(), false, 1);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    control(home.path(), "tlsdestinations", "*:\n");
    let want = "Z I wasn't able to create TLS context for: 127.0.0.1. (#4.4.1)\nTLS: file does not exist\n";
    assert_eq!(remote(home.path()), [want]);
}

#[test]
fn a_large_message_goes_through() {
    let home = home();
    std::fs::write(home.path().join("message"), "a line of a message that is rather long\n".repeat(100_000)).unwrap();
    let (port, heard) = server(Kind::default(), false, 1);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    control(home.path(), "tlsdestinations", "*:\n");
    assert_eq!(remote(home.path()), accepted("TLS transmitted message accepted"));
    assert_eq!(heard.join().unwrap()[0].0.len(), 100_000 + 8);
}

#[test]
fn qmail_tlsc_wants_a_request() {
    for (args, code) in [(&["x"][..], 100), (&["-l", "x"], 100), (&[], 111)] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut child =
            Command::new(TLSC).args(args).stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).spawn().unwrap();
        // With wrong arguments it is gone before it reads.
        let _ = (&ours).write_all(b"9:nonsense,,");
        drop(ours);
        let mut status = None;
        until("the end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(code), "{args:?}");
    }
}
