//! Users send mail: swaks and Python's smtplib log in at qmail-smtpd under sslserver, with qmail-authuser as the
//! checking program, by STARTTLS and with TLS from the start, by each method that they know, and with a certificate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use whole_system::{Home, stderr, stdout};

/// sslserver with qmail-smtpd behind it, on a port of its own.
struct Server {
    child: Child,
    port: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home with users, certificates for server and client, and a queue program that keeps the last message; `None` if a
/// program is missing.
fn home() -> Option<Home> {
    for (name, version) in [("swaks", "--version"), ("openssl", "version"), ("python3", "--version")] {
        if Command::new(name).arg(version).output().is_err() {
            eprintln!("skipped: {name} is not installed");
            return None;
        }
    }
    let home = Home::new(&["sslserver", "qmail-smtpd", "qmail-authuser"]);
    home.put("control/rcpthosts", b"here.example\n");
    home.put("users/authuser", b"joe@here.example:secret\n");
    home.put("queue.sh", b"#!/bin/sh\ncat >message; cat <&1 >envelope\n");
    home.install(&home.path("queue.sh"), "qmail-queue");
    home.put("ext", b"basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,DNS:node.example\n");
    let script = "set -e; k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $k -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
        for n in server node; do
            openssl req $k -subj /CN=$n.example -keyout $n.key -out $n.csr
            openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $n.pem
        done";
    let made = Command::new("sh").args(["-c", script]).current_dir(home.path(".")).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    Some(home)
}

fn serve(home: &Home, options: &[&str], variables: &[(&str, &str)]) -> Server {
    let mut command = home.command("sslserver");
    let path = |name: &str| home.path(name).into_os_string();
    command.env("CERTFILE", path("server.pem")).env("KEYFILE", path("server.key")).env("CAFILE", path("ca.pem"));
    command.env("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display())).envs(variables.iter().copied());
    command.args(["-1", "-e", "-s", "-H", "-R", "-l", "here.example"]).args(options).args(["127.0.0.1", "0"]);
    command.args(["qmail-smtpd", "qmail-authuser", "true"]);
    let log = std::fs::File::options().append(true).create(true).open(home.path("log")).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    Server { child, port: port.trim().to_string() }
}

fn swaks(server: &Server, options: &[&str]) -> Output {
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &server.port, "--helo", "desk.example", "--timeout", "20"]);
    command.args(["--from", "joe@here.example", "--to", "ann@far.example"]).args(options).output().unwrap()
}

fn read(home: &Home, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(home.path(name)).unwrap_or_default()).into_owned()
}

const LOGIN: [&str; 4] = ["--auth-user", "joe@here.example", "--auth-password", "secret"];

#[test]
fn swaks_logs_in_each_way() {
    let Some(home) = home() else { return };
    let starttls = serve(&home, &["-n"], &[("UCSPITLS", "!"), ("SMTPAUTH", "!+cram+scram")]);
    let at_once = serve(&home, &[], &[("SMTPAUTH", "!+cram+scram")]);
    for (server, tls) in [(&starttls, "--tls"), (&at_once, "--tlsc")] {
        for method in ["PLAIN", "LOGIN", "CRAM-MD5"] {
            let said = swaks(server, &[&[tls, "--auth", method], &LOGIN[..]].concat());
            assert!(said.status.success(), "{tls} {method}: {}", stdout(&said));
            assert!(stdout(&said).contains("AUTH LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256"));
            assert_eq!(read(&home, "envelope"), "Fjoe@here.example\0Tann@far.example\0\0");
            let message = read(&home, "message");
            assert!(message.starts_with("Received: from unknown (HELO desk.example) (joe@here.example@127.0.0.1)\n"));
            assert!(message.contains("\n  de/crypted with TLSv1.") && message.contains(" with ESMTPSA; "), "{message}");
            let accepted = format!(" Accept::AUTH::{} P:ESMTPSA ", method.to_ascii_lowercase());
            assert!(read(&home, "log").contains(&accepted));
        }
    }
    let wrong = swaks(&starttls, &["--tls", "--auth", "PLAIN", LOGIN[0], LOGIN[1], LOGIN[2], "guess"]);
    assert!(stdout(&wrong).contains("535 authentication failed (#5.7.1)"));
    // In clear there is neither AUTH nor MAIL.
    let clear = swaks(&starttls, &[]);
    assert!(stdout(&clear).contains("535 STARTTLS required (#5.7.1)") && !stdout(&clear).contains("250-AUTH"));
    let log = read(&home, "log");
    assert!(log.contains(" Reject::AUTH::plain P:ESMTPS ") && log.contains(" Reject::TLS::missing P:ESMTP "), "{log}");
    assert!(!log.contains("secret") && !log.contains("guess"));
}

#[test]
fn pythons_smtplib_logs_in_and_shows_a_certificate() {
    let Some(home) = home() else { return };
    let starttls = serve(&home, &["-n"], &[("UCSPITLS", ""), ("SMTPAUTH", "+cram")]);
    let at_once = serve(&home, &[], &[("SMTPAUTH", "+cram")]);
    let ca = home.path("ca.pem").into_os_string().into_string().unwrap();
    let certificates = serve(&home, &["-n"], &[("UCSPITLS", "@"), ("CCAFILE", &ca)]);
    let script = "
import smtplib, ssl, sys
one, two, three = (int(p) for p in sys.argv[1:])
tls = ssl.create_default_context(cafile='ca.pem')
text = 'Subject: x\\r\\n\\r\\n.\\r\\n..dots\\r\\n'
for name in 'plain', 'login', 'cram-md5':
    s = smtplib.SMTP('localhost', one, timeout=20)
    s.starttls(context=tls); s.ehlo()
    assert 'starttls' not in s.esmtp_features, s.esmtp_features
    s.user, s.password = 'joe@here.example', 'secret'
    assert s.auth(name.upper(), getattr(s, 'auth_' + name.replace('-', '_')))[0] == 235
    assert s.sendmail('joe@here.example', ['a@far.example', 'b@far.example'], text) == {}
    s.quit()
s = smtplib.SMTP_SSL('localhost', two, timeout=20, context=tls)
s.login('joe@here.example', 'secret')
assert s.sendmail('joe@here.example', ['a@far.example'], text) == {}
s.quit()
try:
    s = smtplib.SMTP('localhost', three, timeout=20)
    s.starttls(context=tls); s.sendmail('a@node.example', ['x@far.example'], text)
    raise SystemExit('relaying without a certificate')
except smtplib.SMTPRecipientsRefused as e:
    assert e.recipients['x@far.example'][0] == 553, e.recipients
tls.load_cert_chain('node.pem', 'node.key')
s = smtplib.SMTP('localhost', three, timeout=20)
s.starttls(context=tls)
assert s.sendmail('a@node.example', ['x@far.example'], text) == {}
s.quit()
";
    let ports = [&starttls.port, &at_once.port, &certificates.port];
    let done = Command::new("python3").args(["-c", script]).args(ports).current_dir(home.path(".")).output().unwrap();
    assert!(done.status.success(), "{} {}", stderr(&done), read(&home, "log"));
    let message = read(&home, "message");
    assert!(message.contains(" (node.example@127.0.0.1)\n") && message.contains(" DN="), "{message}");
    assert!(message.ends_with("\n.\n..dots\n"), "{message}");
    assert!(read(&home, "log").contains(" Accept::AUTH::cert P:ESMTPSA "));
}
