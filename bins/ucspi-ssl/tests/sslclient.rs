//! sslclient and its scripts, against sslserver.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, certificates};
use std::process::{Command, Output};

const SSLCLIENT: &str = env!("CARGO_BIN_EXE_sslclient");

fn client(server: &Server, options: &[&str], program: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(SSLCLIENT);
    command.args(options).args(["--", "localhost", &server.port.to_string()]).args(program);
    let Output { status, stdout, stderr } = command.current_dir(certificates()).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn certificates_of_servers() {
    let server = Server::start(&["-HRl0"], &[], &["echo", "hello"]);
    std::fs::create_dir_all(certificates().join("empty")).unwrap();
    let cat: &[&str] = &["sh", "-c", "cat <&6; exit 5"];
    let rows: &[(&[&str], Option<&str>)] = &[
        (&["-XHRl0"], None),
        (&["-NHRl0", "-a", "ca.pem"], None),
        (&["-HRl0"], Some("unable to TLS connect: invalid peer certificate: ")),
        // It is mx.test's.
        (&["-HRl0", "-a", "ca.pem"], Some("unable to TLS connect: invalid peer certificate: ")),
        (&["-NHRl0", "-a", "self.pem"], Some("unable to TLS connect: invalid peer certificate: ")),
        (&["-NHRl0", "-A", "."], None),
        (&["-NHRl0", "-a", "self.pem", "-A", "."], None),
        (&["-NHRl0", "-A", ".", "-a", "ca.pem"], None),
        (&["-NHRl0", "-a", "self.pem", "-A", "empty"], Some("unable to TLS connect: invalid peer certificate: ")),
        (&["-NHRl0", "-a", "ca.pem", "-A", "missing"], Some("unable to read missing: file does not exist")),
        (&["-XHRl0", "-a", "missing"], None),
        (&["-HRl0", "-a", "missing"], Some("unable to read missing: file does not exist")),
        (&["-XHRl0", "-z", "RC4"], Some("none of these ciphers is available: RC4")),
        (&["-XHRl0", "-c", "ca.key"], Some("no certificate in ca.key")),
        (&["-XHRl0", "-c", "client.pem", "-k", "self.key"], Some("the private key does not belong to the certificate")),
    ];
    for (options, reason) in rows {
        let (code, out, err) = client(&server, options, cat);
        match reason {
            None => assert_eq!((code, out.as_str(), err.as_str()), (Some(5), "hello\n", ""), "{options:?}"),
            Some(reason) => {
                assert!(err.starts_with(&format!("sslclient: fatal: {reason}")), "{options:?}: {err}");
                assert_eq!((code, out.as_str()), (Some(111), ""));
            }
        }
    }
    assert_eq!(client(&server, &["-y"], cat).0, Some(100));
}

#[test]
fn variables_and_half_closed_connections() {
    let known = certificates().join("known.pem");
    let program: &[&str] = &["sh", "-c", "echo $SSL_CLIENT_S_DN_CN; cksum"];
    let server = Server::start(&["-smHRl0"], &[("CCAFILE", known.to_str().unwrap())], program);
    // The server's program sees the end, and answers after it.
    let talk = "env | grep -E '^(PROTO|SSL_(PROTOCOL|SERVER_S_DN_CN|CLIENT_S_DN_CN)|TCPREMOTEIP|SSLREMOTEIP)=' | sort
        head -c 1000000 /dev/zero >&7; exec 7>&-; cat <&6";
    let options = ["-sevNHRl0", "-a", "ca.pem", "-c", "client.pem", "-k", "client.key"];
    let (code, out, err) = client(&server, &options, &["sh", "-c", talk]);
    let expected = "PROTO=TCP\nSSLREMOTEIP=127.0.0.1\nSSL_CLIENT_S_DN_CN=joe\nSSL_PROTOCOL=TLSv1.3\n\
        SSL_SERVER_S_DN_CN=mx.test\nTCPREMOTEIP=127.0.0.1\njoe\n1345294785 1000000\n";
    assert_eq!(out, expected, "{err}");
    let connected = format!("sslclient: connected to 127.0.0.1 port {}\nsslclient: ssl connect\n", server.port);
    assert_eq!((code, err), (Some(0), connected));
}

#[test]
fn scripts() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
    for name in ["sslcat", "sslconnect", "https@"] {
        std::fs::copy(format!("{scripts}/{name}"), dir.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(SSLCLIENT, dir.path().join("sslclient")).unwrap();
    for filter in ["addcr", "delcr"] {
        let script = if filter == "addcr" { "exec sed 's/$/\\r/'" } else { "exec tr -d '\\r'" };
        std::fs::write(dir.path().join(filter), format!("#!/bin/sh\n{script}\n")).unwrap();
        Command::new("chmod").arg("755").arg(dir.path().join(filter)).status().unwrap();
    }
    let server =
        Server::start(&["-HRl0"], &[], &["sh", "-c", "read line; printf 'head: %s\\r\\n\\r\\nbody\\r\\n' \"$line\""]);
    let port = server.port.to_string();
    let run = |name: &str, arguments: &[&str], input: &str| {
        let line = format!("printf '{input}' | \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &line, "sh"]).arg(dir.path().join(name)).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(run("https@", &["localhost", "page", &port, "-X"], ""), "body\n");
    assert_eq!(run("sslconnect", &["localhost", &port, "-X"], "word\\n"), "head: word\n\nbody\n");
    let server = Server::start(&["-HRl0"], &[], &["printf", "says\\r\\n"]);
    assert_eq!(run("sslcat", &["localhost", &server.port.to_string(), "-X"], ""), "says\r\n");
}
