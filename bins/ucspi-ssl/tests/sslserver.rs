//! sslserver as clients, programs and an administrator meet it: real connections over loopback, any free port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::type_complexity)]

mod common;

use common::{Server, all, certificates, file, is_root, issue, openssl};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// A program that shows some of its environment, sorted.
const SHOW: &[&str] = &["sh", "-c", "env | grep -E '^(PROTO|TCP|SSL)' | grep -v -E 'PORT|^SSL_[SU]|CERT' | sort"];

/// Of a client's output, the lines that are of the form NAME=value.
fn variables(shown: &str) -> Vec<&str> {
    let is_variable =
        |l: &&str| l.split('=').next().is_some_and(|n| n.len() > 3 && n == n.to_uppercase() && !n.contains(' '));
    shown.lines().filter(|l| l.contains('=')).filter(is_variable).collect()
}

/// A log line without the numbers that change: process ids and ports.
fn masked(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if let Some(word) = words.get_mut(2).filter(|w| w.bytes().all(|b| b.is_ascii_digit())) {
        *word = "P".to_owned();
    }
    if line.contains(": ssl ") {
        return words.join(" ");
    }
    for word in words.iter_mut().skip(3).take(2) {
        if let Some(cut) = word.trim_end_matches(':').rfind(':') {
            let end = if word.ends_with(':') { ":" } else { "" };
            *word = format!("{}:N{end}", &word[..cut]);
        }
    }
    words.join(" ")
}

#[test]
fn variables_by_options() {
    let ssl = ["SSLLOCALHOST=mx", "SSLLOCALIP=127.0.0.1", "SSLREMOTEIP=127.0.0.1"];
    let tcp = ["TCPLOCALHOST=mx", "TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1"];
    let rows: [(&str, Vec<&str>); 3] = [
        ("-HRlmx", [&["PROTO=SSL"][..], &ssl].concat()),
        ("-EHRlmx", [&["PROTO=SSL"][..], &ssl].concat()),
        ("-eHRlmx", [&["PROTO=TCP"][..], &ssl, &tcp].concat()),
    ];
    for (options, expected) in rows {
        let server = Server::start(&[options], &[("SSL_CLIENT_S_DN", "/CN=forged"), ("TCPREMOTEINFO", "forged")], SHOW);
        assert_eq!(variables(&server.client("-quiet", "")), expected, "{options}");
    }
    let server = Server::start(&["-seHRlmx"], &[], SHOW);
    for (options, protocol, cipher, bits) in [
        ("-quiet -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", 128),
        ("-quiet -tls1_3 -servername mx.test", "TLSv1.3", "TLS_AES_128_GCM_SHA256", 128),
    ] {
        let shown = server.client(options, "");
        let shown = variables(&shown);
        for expected in [
            format!("SSL_PROTOCOL={protocol}"),
            format!("SSL_CIPHER={cipher}"),
            format!("SSL_CIPHER_USEKEYSIZE={bits}"),
            format!("SSL_CIPHER_ALGKEYSIZE={bits}"),
            "SSL_CLIENT_VERIFY=NONE".to_owned(),
            "SSL_VERSION_INTERFACE=quoll/0.1.0".to_owned(),
        ] {
            assert!(shown.contains(&expected.as_str()), "{expected} in {shown:?}");
        }
        assert_eq!(shown.contains(&"SSL_TLS_SNI=mx.test"), protocol == "TLSv1.3");
    }
    let server = Server::start(&["-sHRlmx"], &[], &["sh", "-c", "env"]);
    let shown = server.client("-quiet", "");
    for expected in [
        "SSL_SERVER_S_DN=/C=DE/O=Quoll/CN=mx.test",
        "SSL_SERVER_S_DN_CN=mx.test",
        "SSL_SERVER_I_DN=/CN=Authority",
        "SSL_SERVER_M_VERSION=3",
        "SSL_SERVER_A_KEY=id-ecPublicKey",
        "SSL_SERVER_A_SIG=ecdsa-with-SHA256",
        "SSL_SERVER_CERT=-----BEGIN CERTIFICATE-----",
    ] {
        assert!(shown.lines().any(|l| l == expected), "{expected} in {shown}");
    }
}

#[test]
fn log_lines() {
    let at = certificates();
    let mut server = Server::start(&["-VHRlmx"], &[], &["sh", "-c", "exit 3"]);
    server.client("-quiet -tls1_3", "");
    let mut lines = Vec::new();
    while lines.last().is_none_or(|l: &String| !l.contains("end ")) {
        lines.push(masked(&server.log_line("")));
    }
    let expected = [
        &format!("sslserver: cert P {}", at.join("mx.pem").display()),
        &format!("sslserver: key P {}", at.join("mx.key").display()),
        "sslserver: status: 0/40",
        "sslserver: status: 1/40",
        "sslserver: pid P from 127.0.0.1",
        "sslserver: ok P mx:127.0.0.1:N :127.0.0.1::N",
        "sslserver: ssl P accept TLSv1.3:TLS_AES_128_GCM_SHA256",
        "sslserver: end P status 768",
    ];
    // The port stands alone in the second address, behind an empty info.
    let seen: Vec<String> =
        lines.iter().map(|l| l.replace(":127.0.0.1:N ", ":127.0.0.1::N ").replace("lmx", "mx")).collect();
    let seen: Vec<String> = seen.iter().map(|l| l.replace("mx:127.0.0.1::N", "mx:127.0.0.1:N")).collect();
    assert_eq!(seen, expected);
    let mut server = Server::start(&["-vHRlmx"], &[], &["true"]);
    server.client("-quiet", "");
    let accepted = masked(&server.log_line("ssl "));
    assert_eq!(accepted, "sslserver: ssl P accept");
    let mut server = Server::start(&["-QHRlmx"], &[], &["/no/such/program"]);
    server.client("-quiet", "");
    let said = server.log_line("");
    assert_eq!(said, "sslserver: warning: dropping connection, unable to run /no/such/program: file does not exist");
}

#[test]
fn sessions_are_resumed_across_processes_but_not_where_certificates_count() {
    let known = certificates().join("known.pem");
    let program: &[&str] = &["sh", "-c", "echo $$ $SSL_SESSION_RESUMED"];
    for (env, resumes) in [(vec![], true), (vec![("CCAFILE", known.to_str().unwrap())], false)] {
        let server = Server::start(&["-sHRl0"], &env, program);
        for version in ["tls1_2", "tls1_3"] {
            let file = format!("session.{version}.{resumes}");
            let first = server.client(&format!("-{version} -sess_out {file}"), "");
            assert!(first.contains(" Initial"), "{first}");
            if !certificates().join(&file).exists() {
                assert!(!resumes);
                continue;
            }
            let again = server.client(&format!("-{version} -sess_in {file}"), "");
            assert_eq!(again.contains("Reused, TLSv1"), resumes, "{again}");
            assert_eq!(again.contains(" Resumed"), resumes, "{again}");
        }
    }
}

#[test]
fn d4_old_protocols_and_ciphers_are_refused() {
    let mut server = Server::start(&["-QHRl0"], &[], &["echo", "hello"]);
    for options in
        ["-tls1_1 -cipher ALL:@SECLEVEL=0", "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", "-tls1_2 -cipher AES128-SHA"]
    {
        let shown = server.client(options, "");
        assert!(shown.contains("alert") && !shown.contains("hello"), "{options}: {shown}");
        assert!(server.log_line("drop").contains(": unable to accept TLS: "));
    }
    assert!(server.client("-tls1_2", "").contains("hello"));
}

#[test]
fn d4_garbage_instead_of_hello_ends_without_a_word_in_the_clear() {
    let mut server = Server::start(&["-QHRl0"], &[], &["echo", "hello"]);
    let big = vec![0x16u8; 100_000];
    let rows: &[&[u8]] =
        &[b"EHLO x\r\n", b"\x16\x03\x01\xff\xff\x01", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", &big];
    for row in rows {
        let mut stream = server.connect();
        let _ = stream.write_all(row);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let said = all(&mut stream);
        // At most an alert record.
        assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
        let line = server.log_line("drop");
        let line = masked(&line);
        assert!(line.starts_with("sslserver: drop P 0:127.0.0.1:N :127.0.0.1:"), "{line}");
        assert!(line.contains(": unable to accept TLS: "), "{line}");
    }
}

#[test]
fn d4_a_client_that_never_finishes_is_let_go() {
    let mut server = Server::start(&["-QHRl0", "-T1"], &[], &["echo", "hello"]);
    let stream = server.connect();
    assert!(server.log_line("drop").ends_with("unable to accept TLS: timed out"));
    assert_eq!(all(stream), b"");
}

#[test]
fn d4_renegotiation_is_refused() {
    let server = Server::start(&["-QHRl0"], &[], &["sh", "-c", "read line; echo got $line"]);
    let mut client = Command::new("openssl");
    client.args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{}", server.port)]);
    let piped = std::process::Stdio::piped;
    let mut client = client.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    let mut to = client.stdin.take().unwrap();
    // A line of its own: a wish of the user, not data.
    to.write_all(b"R\n").unwrap();
    let (mut said, mut piece) = (String::new(), [0; 4096]);
    let mut from = client.stderr.take().unwrap();
    while !said.contains("no renegotiation") {
        let n = from.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    drop(to);
    client.wait().unwrap();
}

#[test]
fn d4_one_byte_at_a_time_is_understood() {
    let server = Server::start(&["-QHRl0"], &[], &["sh", "-c", "read line; echo got $line"]);
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = slow.local_addr().unwrap().port();
    let there = server.connect();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let mut byte = [0];
        while let Ok(1) = from.read(&mut byte) {
            if to.write_all(&byte).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (here, _) = slow.accept().unwrap();
            here.set_nodelay(true).unwrap();
            there.set_nodelay(true).unwrap();
            let (here2, there2) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            scope.spawn(move || copy(here2, there2));
            copy(there.try_clone().unwrap(), here);
        });
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]);
        client
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        let mut client = client.spawn().unwrap();
        client.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
        assert_eq!(all(client.stdout.take().unwrap()), b"got a line\n");
        client.wait().unwrap();
    });
}

/// A server of STARTTLS that is a shell script; says over TLS what it was told and what it then reads.
const STARTTLS: &[&str] = &[
    "sh",
    "-c",
    r"printf '220 hi\r\n'; read line; printf '250-x\r\n250 STARTTLS\r\n'; read line; printf '220 go\r\n'
      printf $ASK >&$SSLCTLFD; tr '\000' '\n' <&7 >told.$$; exec <&$SSLREADFD >&$SSLWRITEFD
      grep -E '^SSL_(PROTOCOL|CIPHER)=' told.$$; rm told.$$; read line; echo got $line",
];

#[test]
fn starttls_over_ucspi_tls() {
    let dir = tempfile::tempdir().unwrap();
    for ask in ["y", "Y"] {
        let mut command = Command::new(common::SSLSERVER);
        let at = certificates();
        command.args(["-1nQHRl0", "127.0.0.1", "0"]).args(STARTTLS).current_dir(&dir).env("ASK", ask);
        command.env("CERTFILE", at.join("mx.pem")).env("KEYFILE", at.join("mx.key"));
        let server = Server::of(command);
        let shown = server.client("-starttls smtp -quiet -tls1_3", "a line\n");
        assert!(shown.contains("got a line"), "{shown}");
        let told = ["SSL_PROTOCOL=TLSv1.3", "SSL_CIPHER=TLS_AES_128_GCM_SHA256"];
        assert_eq!(told.map(|t| shown.contains(t)), [ask == "Y"; 2], "{shown}");
    }
}

#[test]
fn s5_plain_text_behind_starttls_is_never_read_as_protected() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(common::SSLSERVER);
    let at = certificates();
    command.args(["-1nQHRl0", "127.0.0.1", "0"]).args(STARTTLS).current_dir(&dir).env("ASK", "y");
    command.env("CERTFILE", at.join("mx.pem")).env("KEYFILE", at.join("mx.key"));
    let mut server = Server::of(command);
    let mut stream = server.connect();
    stream.write_all(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<>\r\n").unwrap();
    let said = all(stream);
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("220 hi\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n") && !said.contains("got"), "{said}");
    assert!(server.log_line("drop").contains("unable to accept TLS: "));
}

#[test]
fn a_program_that_does_not_ask_has_the_bare_connection_and_status_0() {
    let mut server = Server::start(&["-nvHRl0"], &[], &["sh", "-c", "echo hello; exit 7"]);
    assert_eq!(all(server.connect()), b"hello\n");
    assert_eq!(masked(&server.log_line("end ")), "sslserver: end P status 0");
    // What it asks for is not known.
    let server = Server::start(&["-nvHRl0"], &[], &["sh", "-c", "printf x >&7; cat <&7; echo done"]);
    assert_eq!(all(server.connect()), b"done\n");
    // -B comes in the clear with -n.
    let server = Server::start(&["-nHRl0", "-B", "banner "], &[], &["echo", "hello"]);
    assert_eq!(all(server.connect()), b"banner hello\n");
    let server = Server::start(&["-HRl0", "-B", "banner "], &[], &["echo", "hello"]);
    assert!(server.client("-quiet", "").contains("banner hello\n"));
}

#[test]
fn certificates_of_clients() {
    let at = certificates();
    let (known, ca) = (at.join("known.pem"), at.join("ca.pem"));
    let (known, ca) = (known.to_str().unwrap(), ca.to_str().unwrap());
    let verified = "SSL_CLIENT_VERIFY=SUCCESS";
    let rows: &[(&str, &[(&str, &str)], &str, Option<&str>)] = &[
        // Nobody is asked.
        ("-sHRl0", &[], "client", Some("SSL_CLIENT_VERIFY=NONE")),
        ("-sHRl0", &[("CAFILE", ca)], "client", Some("SSL_CLIENT_VERIFY=NONE")),
        ("-smHRl0", &[("CCAFILE", "-")], "client", Some("SSL_CLIENT_VERIFY=NONE")),
        // Asked: whoever is no good is a stranger, no more.
        ("-sHRl0", &[("CCAFILE", known)], "", Some("SSL_CLIENT_VERIFY=NONE")),
        ("-sHRl0", &[("CCAFILE", known)], "client", Some(verified)),
        ("-sHRl0", &[("CCAFILE", known)], "self", Some(verified)),
        ("-sHRl0", &[("CCAFILE", known)], "stranger", Some("SSL_CLIENT_VERIFY=FAILED:invalid peer certificate: ")),
        ("-sHRl0", &[("CCAFILE", ca)], "self", Some("SSL_CLIENT_VERIFY=FAILED:invalid peer certificate: ")),
        // Demanded.
        ("-smHRl0", &[("CCAFILE", known)], "", None),
        ("-smHRl0", &[("CCAFILE", known)], "client", Some(verified)),
        ("-smHRl0", &[("CCAFILE", known)], "self", Some(verified)),
        ("-smHRl0", &[("CCAFILE", known)], "stranger", None),
        ("-smHRl0", &[("CAFILE", ca)], "client", Some(verified)),
        // In the client's name: it is not known here, so there is nothing to compare.
        ("-szHRl0", &[("CCAFILE", known)], "client", Some(verified)),
    ];
    for (options, env, certificate, expected) in rows {
        let mut server = Server::start(&[options], env, &["env"]);
        let shown_one = format!("-cert {certificate}.pem -key {certificate}.key");
        let options_of_client = if certificate.is_empty() { "" } else { &shown_one };
        for version in ["-tls1_2", "-tls1_3"] {
            let shown = server.client(&format!("-quiet {version} {options_of_client}"), "");
            match expected {
                Some(expected) => {
                    assert!(shown.contains(expected), "{options} {env:?} {certificate}: {shown}");
                    let tells = shown.contains("\nSSL_CLIENT_S_DN=");
                    assert_eq!(tells, *expected == verified, "{options} {certificate}: {shown}");
                    if *certificate == "client" && tells {
                        for line in [
                            "SSL_CLIENT_S_DN=/O=Quoll/CN=joe/emailAddress=joe@a.test",
                            "SSL_CLIENT_S_DN_CN=joe",
                            "SSL_CLIENT_S_DN_Email=joe@a.test",
                            "SSL_CLIENT_I_DN_CN=Authority",
                        ] {
                            assert!(shown.lines().any(|l| l == line), "{line} in {shown}");
                        }
                    }
                }
                None => {
                    assert!(!shown.contains("SSL_PROTOCOL"), "{options} {env:?} {certificate}: {shown}");
                    assert!(server.log_line("drop").contains("unable to accept TLS: "));
                }
            }
        }
    }
    // With -z, and the name looked up: nobody has one for a loopback address but its own.
    let mut server = Server::start(&["-szRl0"], &[("CCAFILE", known)], &["env"]);
    let shown = server.client("-quiet -cert client.pem -key client.key", "");
    assert!(!shown.contains("SSL_PROTOCOL"), "{shown}");
    assert!(server.log_line("drop").contains("client hostname does not match certificate: "));
}

#[test]
fn certificates_are_chosen_by_name() {
    let at = certificates();
    let dir = tempfile::tempdir().unwrap();
    let joined = dir.path().join("joined.pem");
    let both = ["client.pem", "client.key"].map(|f| std::fs::read(at.join(f)).unwrap()).concat();
    std::fs::write(&joined, both).unwrap();
    let (pem, key) = (at.join("other.pem"), at.join("other.key"));
    let list = format!("# names\nother.test:{}|{}\n\n.b.test: {}\n", pem.display(), key.display(), joined.display());
    let list = file(&dir, "names", &list);
    let server = Server::start(&["-sHRl0"], &[("SNIFILE", list.to_str().unwrap())], &["env"]);
    for (name, subject) in [
        ("-noservername", "mx.test"),
        ("-servername mx.test", "mx.test"),
        ("-servername OTHER.test", "other.test"),
        ("-servername x.other.test", "mx.test"),
        ("-servername a.b.test", "joe"),
        ("-servername x.a.b.test", "joe"),
        ("-servername b.test", "mx.test"),
    ] {
        let shown = server.client(&format!("-quiet {name}"), "");
        assert!(shown.contains(&format!("\nSSL_SERVER_S_DN_CN={subject}\n")), "{name}: {shown}");
    }
}

#[test]
fn renewed_certificates_are_used_and_nobody_is_cut_off() {
    let at = certificates();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["ca.pem", "ca.key"] {
        std::fs::copy(at.join(name), path(name)).unwrap();
    }
    let renew = |subject: &str| {
        issue(dir.path(), "new", subject, "mx.test");
        for end in ["key", "pem"] {
            std::fs::rename(path(&format!("new.{end}")), path(&format!("cert.{end}"))).unwrap();
        }
    };
    renew("/CN=first");
    let mut command = Command::new(common::SSLSERVER);
    command.args(["-1svHRl0", "127.0.0.1", "0", "sh", "-c", "echo ${SSL_SERVER_S_DN_CN}; read line; echo $line"]);
    command.env("CERTFILE", path("cert.pem")).env("KEYFILE", path("cert.key"));
    let mut server = Server::of(command);
    server.log_line("key ");
    let mut old = Command::new("openssl");
    old.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)]);
    old.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut old = old.spawn().unwrap();
    let mut said = [0; 6];
    old.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"first\n");
    renew("/CN=second");
    server.signal("HUP");
    server.log_line("key ");
    assert!(server.client("-quiet", "x\n").contains("second\nx\n"));
    // A file that is no good does no harm.
    std::fs::write(path("cert.pem"), "rubbish").unwrap();
    server.signal("HUP");
    let warning = server.log_line("warning");
    assert!(warning.contains("going on with the old certificates: no certificate in "), "{warning}");
    assert!(server.client("-quiet", "x\n").contains("second\nx\n"));
    // Without a signal, too: looked at once a second, when somebody comes.
    renew("/CN=third");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !server.client("-quiet", "x\n").contains("third\nx\n") {
        assert!(std::time::Instant::now() < end, "the new certificate is not used");
    }
    old.stdin.as_mut().unwrap().write_all(b"still here\n").unwrap();
    assert_eq!(all(old.stdout.take().unwrap()), b"still here\n");
    old.wait().unwrap();
}

#[test]
fn bulk_in_both_directions() {
    let server = Server::start(
        &["-HRl0"],
        &[],
        &["sh", "-c", "head -c 3000000 | cksum; head -c 3000000 /dev/zero | tr '\\0' x"],
    );
    let input = "0123456789abcdefghijklmnopqrst".repeat(100_000);
    let shown = server.client("-quiet", &input);
    let (first, rest) = shown.split_once('\n').map(|_| shown.split_at(shown.find("xxxx").unwrap())).unwrap();
    let sum = Command::new("sh")
        .args(["-c", "yes 0123456789abcdefghijklmnopqrst | tr -d '\\n' | head -c 3000000 | cksum"])
        .output()
        .unwrap();
    assert!(first.contains(String::from_utf8(sum.stdout).unwrap().trim()), "{first}");
    assert!(rest.starts_with(&"x".repeat(3_000_000)));
}

#[test]
fn nothing_that_moves_ends_after_the_limit() {
    let mut server = Server::start(&["-vHRl0", "-w1"], &[], &["sh", "-c", "cat; echo end of input; exec sleep 100"]);
    let shown = server.client("-quiet", "x\n");
    assert!(shown.contains("x\nend of input\n"), "{shown}");
    assert!(server.log_line("drop").ends_with("unable to speak TLS: timed out"));
    assert_eq!(masked(&server.log_line("end ")), "sslserver: end P status 28416");
}

#[test]
fn an_encrypted_key_is_opened_with_the_password_on_descriptor_3() {
    let at = certificates();
    openssl(at, "pkcs8 -topk8 -in mx.key -out locked.key -passout pass:secret");
    let start = |password: &str| {
        let script = format!("printf '{password}' >password; exec 3<password; exec \"$@\"");
        let mut command = Command::new("sh");
        let dir = tempfile::tempdir().unwrap();
        command.args(["-c", &script, "sh", common::SSLSERVER, "-13HRl0", "127.0.0.1", "0", "sh", "-c"]);
        command.arg("echo hello; { true <&3; } 2>/dev/null && echo descriptor 3").current_dir(dir.path());
        command.env("CERTFILE", at.join("mx.pem")).env("KEYFILE", at.join("locked.key"));
        (command, dir)
    };
    let (command, _dir) = start("secret\\0junk");
    let server = Server::of(command);
    let shown = server.client("-quiet", "");
    assert!(shown.contains("hello") && !shown.contains("descriptor 3"), "{shown}");
    let (mut command, _dir) = start("wrong");
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.starts_with("sslserver: fatal: unable to decrypt the private key in "), "{said}");
}

#[test]
fn what_can_not_work_is_said_at_the_start() {
    let at = certificates();
    let dir = tempfile::tempdir().unwrap();
    let empty = file(&dir, "empty", "");
    let bad = file(&dir, "names", "no colon\n");
    let path = |name: &str| at.join(name).into_os_string().into_string().unwrap();
    let (empty, bad) = (empty.to_str().unwrap(), bad.to_str().unwrap());
    let (mx, other, missing) = (path("mx.pem"), path("other.key"), path("missing"));
    let rows: &[(&str, &[(&str, &str)], String)] = &[
        ("-1", &[("CERTFILE", "")], "CERTFILE is not set".to_owned()),
        ("-1", &[("CERTFILE", &missing)], format!("unable to read {missing}: file does not exist")),
        ("-1", &[("CERTCHAINFILE", empty)], format!("no certificate in {empty}")),
        ("-1", &[("KEYFILE", &mx)], format!("no private key in {mx}")),
        ("-1", &[("KEYFILE", &other)], "the private key does not belong to the certificate".to_owned()),
        ("-1", &[("CIPHERS", "RC4:3DES")], "none of these ciphers is available: RC4:3DES".to_owned()),
        ("-1", &[("SNIFILE", bad)], format!("unable to understand a line of {bad}: no colon")),
        ("-1m", &[], "CCAFILE is not set: no client certificate could be good".to_owned()),
        ("-1", &[("SSL_USER", "no-such-user")], "unable to find user no-such-user".to_owned()),
    ];
    for (option, env, reason) in rows {
        let mut command = Command::new(common::SSLSERVER);
        command.args([option, "127.0.0.1", "0", "true"]).env("CERTFILE", &mx).env("KEYFILE", path("mx.key"));
        let out = command.envs(env.iter().copied()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stderr), format!("sslserver: fatal: {reason}\n"));
        assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(111), &b""[..]));
    }
    let mut command = Command::new(common::SSLSERVER);
    command.args(["-y", "127.0.0.1", "0", "true"]);
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(100));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.starts_with("sslserver: illegal option -- y\nsslserver: usage: sslserver [ -1346UXp"), "{said}");
}

#[test]
fn ciphers_can_be_chosen_and_what_can_not_be_had_is_told() {
    let list = "ECDHE-ECDSA-CHACHA20-POLY1305:DHE-RSA-AES128-SHA";
    let mut server = Server::start(&["-QHRl0"], &[("CIPHERS", list)], &["echo", "hello"]);
    assert_eq!(server.log_line("CIPHERS"), "sslserver: warning: CIPHERS: not available: DHE-RSA-AES128-SHA");
    assert!(server.client("-tls1_2", "").contains("Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"));
    assert!(server.client("-tls1_2 -cipher AESGCM", "").contains("alert handshake failure"));
}

/// The program of a connection, and the process that handles TLS for it.
fn processes(server: &Server) -> (u32, u32) {
    let child_of = |pid: u32| {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        list.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let tls = child_of(server.child.id());
    (child_of(tls), tls)
}

fn memory_holds(pid: u32, secret: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().any(|line| {
        let (first, last) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [first, last] = [first, last].map(|n| u64::from_str_radix(n, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(last - first).unwrap()];
        let read = memory.read_at(&mut bytes, first).unwrap_or(0);
        bytes[..read].windows(secret.len()).any(|w| w == secret)
    })
}

#[test]
fn no_path_descriptor_or_memory_leads_a_program_to_the_key() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "req -x509 -newkey rsa:2048 -nodes -keyout key -out cert.pem -subj /CN=mx.test -days 9");
    let key = dir.path().join("key");
    let out = Command::new("openssl").args(["rsa", "-noout", "-text", "-in"]).arg(&key).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let prime = text.split("prime1:").nth(1).unwrap().split("prime2:").next().unwrap();
    let digits: String = prime.chars().filter(char::is_ascii_hexdigit).collect();
    let digits = digits.trim_start_matches("00");
    let byte = |i: usize| u8::from_str_radix(&digits[i..i + 2], 16).unwrap();
    // As the file has it, and as a signer has it: the lowest byte first.
    let in_file: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let in_use: Vec<u8> = in_file.iter().rev().copied().collect();
    let cert = dir.path().join("cert.pem");
    Command::new("chmod").arg("600").arg(&key).status().unwrap();
    Command::new("chmod").arg("755").arg(dir.path()).status().unwrap();
    let files = [("KEYFILE", key.to_str().unwrap()), ("CERTFILE", cert.to_str().unwrap())];
    let env = [files[0], files[1], ("SSL_UID", "7301"), ("SSL_GID", "7301"), ("SSL_CHROOT", "/")];
    for (mode, same) in [("-HRl0", false), ("-nHRl0", false), ("-HRl0", true)] {
        let mut env = env.to_vec();
        if same {
            env.extend([("SSL_UID", "7302"), ("SSL_GID", "7302")]);
        }
        let program: &[&str] =
            &["sh", "-c", "echo ready; [ -z \"$SSLCTLFD\" ] || { printf y >&7; exec <&8 >&9; echo ready; }; read line"];
        let server = Server::start(&[mode, "-u7302", "-g7302"], &env, program);
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)]);
        client
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        let mut plain = None;
        let mut stopped = None;
        if mode.contains('n') {
            let mut stream = server.connect();
            stream.read_exact(&mut [0; 6]).unwrap();
            plain = Some(stream);
        } else {
            let mut client = client.spawn().unwrap();
            client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
            stopped = Some(client);
        }
        let (program, tls) = processes(&server);
        let about = |pid: u32, what: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().find(|l| l.starts_with(what)).unwrap().to_owned()
        };
        assert_eq!(about(program, "Uid:"), "Uid:\t7302\t7302\t7302\t7302");
        assert_eq!(about(program, "Groups:").trim_end(), "Groups:\t7302");
        let handler = if same { 7302 } else { 7301 };
        assert_eq!(about(tls, "Uid:"), format!("Uid:\t{handler}\t{handler}\t{handler}\t{handler}"));
        assert_eq!(about(tls, "NoNewPrivs:"), "NoNewPrivs:\t1");
        // The filter is there for it, and not for the program.
        assert_eq!([program, tls].map(|pid| about(pid, "Seccomp:")), ["Seccomp:\t0", "Seccomp:\t2"]);
        // The search finds it where it must be, and nowhere else.
        assert!(memory_holds(tls, &in_use) && memory_holds(server.child.id(), &in_use));
        assert!(!memory_holds(program, &in_use) && !memory_holds(program, &in_file));
        for fd in std::fs::read_dir(format!("/proc/{program}/fd")).unwrap() {
            let target = std::fs::read_link(fd.unwrap().path()).unwrap().to_string_lossy().into_owned();
            let good = ["pipe:", "socket:", "/dev/null", "/dev/pts"].iter().any(|k| target.starts_with(k));
            assert!(good && target != key.to_string_lossy(), "{target}");
        }
        // And as the program's user nothing can be had from the others.
        let parent = server.child.id();
        for what in [
            format!("cat {}", key.display()),
            format!("cat /proc/{tls}/maps"),
            format!("head -c 1 /proc/{tls}/mem"),
            format!("ls -l /proc/{tls}/fd/"),
            format!("ls /proc/{tls}/root/"),
            format!("cat /proc/{tls}/environ"),
            format!("cat /proc/{parent}/maps"),
            format!("head -c 1 /proc/{parent}/mem"),
            format!("ls -l /proc/{parent}/fd/"),
        ] {
            let mut as_user = Command::new("setpriv");
            as_user.args(["--reuid", "7302", "--regid", "7302", "--clear-groups", "sh", "-c", &what]);
            let out = as_user.output().unwrap();
            assert!(!out.status.success() && out.stdout.is_empty(), "{what}: {out:?}");
        }
        drop(plain);
        if let Some(mut client) = stopped {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}
