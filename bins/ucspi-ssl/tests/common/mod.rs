//! Certificates, a running sslserver, and OpenSSL's client.
// Not every test needs all of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;

pub const SSLSERVER: &str = env!("CARGO_BIN_EXE_sslserver");

/// Where the certificates of all tests of one process are: ca, mx.test, other.test, client (by ca), self (by itself),
/// stranger (by nobody who is known); each as NAME.pem and NAME.key.
pub fn certificates() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        openssl(at, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=Authority -days 9");
        for (name, subject) in [
            ("mx", "/C=DE/O=Quoll/CN=mx.test"),
            ("other", "/CN=other.test"),
            ("client", "/O=Quoll/CN=joe/emailAddress=joe@a.test"),
        ] {
            issue(at, name, subject, &format!("{name}.test"));
        }
        for name in ["self", "stranger"] {
            openssl(at, &format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} -days 9 -addext basicConstraints=CA:FALSE"));
        }
        let both = std::fs::read(at.join("self.pem")).unwrap();
        std::fs::write(at.join("known.pem"), [std::fs::read(at.join("ca.pem")).unwrap(), both].concat()).unwrap();
        dir
    });
    dir.path()
}

/// A certificate by the authority of [`certificates`], or of another directory with one.
pub fn issue(at: &Path, name: &str, subject: &str, host: &str) {
    std::fs::write(at.join("ext"), format!("subjectAltName=DNS:{host}\n")).unwrap();
    openssl(
        at,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj {subject}"
        ),
    );
    openssl(
        at,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile ext -out {name}.pem"
        ),
    );
}

pub fn openssl(at: &Path, arguments: &str) {
    let out = Command::new("openssl").args(arguments.split(' ')).current_dir(at).output().expect("openssl");
    assert!(out.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&out.stderr));
}

pub fn is_root() -> bool {
    sys::process::euid() == sys::process::Uid(0)
}

/// A running server; ended with SIGTERM when dropped.
pub struct Server {
    pub child: Child,
    pub log: BufReader<ChildStderr>,
    pub port: u16,
}

impl Server {
    /// With mx.test's certificate, on any free port.
    pub fn start(options: &[&str], env: &[(&str, &str)], program: &[&str]) -> Server {
        let at = certificates();
        let mut command = Command::new(SSLSERVER);
        command.arg("-1").args(options).args(["127.0.0.1", "0"]).args(program);
        command.env("CERTFILE", at.join("mx.pem")).env("KEYFILE", at.join("mx.key")).envs(env.iter().copied());
        Server::of(command)
    }

    pub fn of(mut command: Command) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Server { child, log, port: port.trim().parse().expect("sslserver did not start") }
    }

    /// OpenSSL's client with these options: what it shows, once the server has closed the connection. It sends `input`.
    pub fn client(&self, options: &str, input: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{}", self.port)]);
        command.args(options.split(' ').filter(|o| !o.is_empty())).current_dir(certificates());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl");
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// The next line of the log that has `text` in it.
    pub fn log_line(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "no more log, and no {text}");
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything up to the end.
pub fn all(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = from.read_to_end(&mut all);
    all
}

/// A file of its own for a test.
pub fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
