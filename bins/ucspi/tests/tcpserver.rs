//! tcpserver as a client and an administrator meet it: real connections over loopback, any free port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};

const TCPSERVER: &str = env!("CARGO_BIN_EXE_tcpserver");
const TCPRULES: &str = env!("CARGO_BIN_EXE_tcprules");

/// A running server; ended with SIGTERM when dropped.
struct Server {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    port: u16,
}

impl Server {
    fn start(options: &[&str], host: &str, program: &[&str]) -> Server {
        let mut command = Command::new(TCPSERVER);
        command.arg("-1").args(options).args([host, "0"]).args(program);
        Server::of(command)
    }

    fn of(mut command: Command) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Some(BufReader::new(child.stderr.take().unwrap()));
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Server { child, log, port: port.trim().parse().expect("tcpserver did not start") }
    }

    fn connect(&self, ip: &str) -> TcpStream {
        TcpStream::connect(SocketAddr::new(ip.parse::<IpAddr>().unwrap(), self.port)).unwrap()
    }

    /// Everything that a connection gives, up to its end.
    fn all(&self, ip: &str) -> String {
        let mut all = String::new();
        self.connect(ip).read_to_string(&mut all).unwrap();
        all
    }

    /// The next lines of the log, numbers of processes and client ports shown as N.
    fn log_lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            let mut line = String::new();
            self.log.as_mut().unwrap().read_line(&mut line).unwrap();
            lines.push(masked(line.trim_end()));
        }
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

/// Replaces the process id (the word after pid, ok, deny, end) and the ports of both ends by N.
fn masked(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if matches!(words.get(1).map(String::as_str), Some("pid" | "ok" | "deny" | "end")) {
        words[2] = "N".to_owned();
    }
    if matches!(words.get(1).map(String::as_str), Some("ok" | "deny")) {
        for word in &mut words[3..] {
            let cut = word.rfind(':').unwrap();
            *word = format!("{}:N", &word[..cut]);
        }
    }
    words.join(" ")
}

const SHOW: &[&str] = &["sh", "-c", "env | grep -E '^(PROTO|TCP)' | grep -v PORT | sort"];

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn rules(dir: &tempfile::TempDir, text: &str) -> String {
    let (cdb, tmp) = (dir.path().join("rules.cdb"), dir.path().join("rules.tmp"));
    let mut tcprules = Command::new(TCPRULES).arg(&cdb).arg(tmp).stdin(Stdio::piped()).spawn().unwrap();
    tcprules.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(tcprules.wait().unwrap().success());
    cdb.into_os_string().into_string().unwrap()
}

#[test]
fn an_ipv6_client_is_told_by_both_sets_of_variables() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["-HRl0"], "::1", SHOW);
    let expected = "PROTO=TCP6\nTCP6LOCALHOST=0\nTCP6LOCALIP=::1\nTCP6REMOTEIP=::1\n\
        TCPLOCALHOST=0\nTCPLOCALIP=::1\nTCPREMOTEIP=::1\n";
    assert_eq!(server.all("::1"), expected);
}

#[test]
fn one_socket_serves_both_families() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["-HRl0"], ":0", SHOW);
    assert_eq!(server.all("127.0.0.1"), "PROTO=TCP\nTCPLOCALHOST=0\nTCPLOCALIP=127.0.0.1\nTCPREMOTEIP=127.0.0.1\n");
    assert!(server.all("::1").starts_with("PROTO=TCP6\n"));
    let server = Server::start(&["-6HRl0"], ":0", SHOW);
    assert!(server.all("127.0.0.1").ends_with("TCPREMOTEIP=::ffff:127.0.0.1\n"));
    let server = Server::start(&["-HRl0"], "::", SHOW);
    assert!(server.all("::1").starts_with("PROTO=TCP6\n"));
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
    let server = Server::start(&["-4HRl0"], ":0", SHOW);
    assert!(server.all("127.0.0.1").starts_with("PROTO=TCP\n"));
}

#[test]
fn variables_of_another_server_do_not_get_through() {
    let mut command = Command::new(TCPSERVER);
    command.args(["-1HRl0", "127.0.0.1", "0"]).args(SHOW);
    for name in ["TCP6REMOTEIP", "TCP6REMOTEHOST", "TCP6REMOTEINFO", "TCP6INTERFACE", "TCPREMOTEINFO"] {
        command.env(name, "forged");
    }
    let server = Server::of(command);
    assert!(!server.all("127.0.0.1").contains("forged"));
}

#[test]
fn the_program_gets_default_signals_by_either_way() {
    for options in ["-HRl0", "-HRl0 -B -"] {
        let options: Vec<&str> = options.split(' ').collect();
        let server = Server::start(&options, "127.0.0.1", &["cat", "/proc/self/status"]);
        let status = server.all("127.0.0.1");
        let mask = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        assert_eq!(mask("SigBlk:"), 0);
        // PIPE, ALRM, TERM, CHLD. Others may be ignored by whoever runs this test.
        assert_eq!(mask("SigIgn:") & (1 << 12 | 1 << 13 | 1 << 14 | 1 << 16), 0);
    }
}

#[test]
fn the_log_is_the_same_by_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let no_program = dir.path().join("no-program");
    std::fs::write(&no_program, "x").unwrap();
    let no_program = no_program.to_str().unwrap();
    for banner in ["", "-Bhi"] {
        let options: Vec<&str> = ["-vHRlme", banner].into_iter().filter(|o| !o.is_empty()).collect();
        for (program, warning, status) in [
            ("/bin/true", String::new(), 0),
            (
                no_program,
                format!("tcpserver: warning: dropping connection, unable to run {no_program}: access denied"),
                28416,
            ),
            (
                "/nonexistent",
                "tcpserver: warning: dropping connection, unable to run /nonexistent: file does not exist".to_owned(),
                28416,
            ),
        ] {
            let mut server = Server::start(&options, "127.0.0.1", &[program]);
            let _ = server.all("127.0.0.1");
            let mut expected = vec![
                "tcpserver: status: 0/40".to_owned(),
                "tcpserver: status: 1/40".to_owned(),
                "tcpserver: pid N from 127.0.0.1".to_owned(),
                "tcpserver: ok N me:127.0.0.1:N :127.0.0.1::N".to_owned(),
            ];
            expected.extend(Some(warning).filter(|w| !w.is_empty()));
            expected.push(format!("tcpserver: end N status {status}"));
            expected.push("tcpserver: status: 0/40".to_owned());
            assert_eq!(server.log_lines(expected.len()), expected, "{program} {banner}");
        }
    }
}

#[test]
fn a_rule_bounds_the_connections_of_one_client() {
    let dir = tempfile::tempdir().unwrap();
    let cdb = rules(&dir, "127.0.0.1:allow,MAXCONNIP=\"1\"\n:allow\n");
    for banner in ["", "-Bhi"] {
        let options: Vec<&str> = ["-HRl0", "-x", &cdb, banner].into_iter().filter(|o| !o.is_empty()).collect();
        let server = Server::start(&options, "127.0.0.1", &["cat"]);
        let mut first = server.connect("127.0.0.1");
        first.write_all(b"x").unwrap();
        first.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(server.all("127.0.0.1").trim_start_matches("hi"), "");
        first.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

#[test]
fn networks_of_both_families_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    let cdb = rules(&dir, "127.0.0.0/9:allow,TCPWHO=\"near\"\n::/64:allow,TCPWHO=\"six\"\n:deny\n");
    let server = Server::start(&["-HRl0", "-x", &cdb], "127.0.0.1", SHOW);
    assert!(server.all("127.0.0.1").ends_with("TCPWHO=near\n"));
    if has_ipv6() {
        let server = Server::start(&["-HRl0", "-x", &cdb], "::1", SHOW);
        assert!(server.all("::1").ends_with("TCPWHO=six\n"));
    }
}

#[test]
fn d5_damaged_rules_drop_the_client_and_leave_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let cdb = rules(&dir, ":allow\n");
    let server = Server::start(&["-qHRl0", "-x", &cdb], "127.0.0.1", &["echo", "served"]);
    assert_eq!(server.all("127.0.0.1"), "served\n");
    let whole = std::fs::read(&cdb).unwrap();
    std::fs::write(&cdb, &whole[..100]).unwrap();
    assert_eq!(server.all("127.0.0.1"), "");
    std::fs::write(&cdb, &whole).unwrap();
    assert_eq!(server.all("127.0.0.1"), "served\n");
}

#[test]
fn a_closed_descriptor_at_the_start_does_no_harm() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&-", "sh", TCPSERVER, "-1HRl0", "127.0.0.1", "0", "cat"]);
    let server = Server::of(command);
    for text in ["one\n", "two\n"] {
        let mut stream = server.connect("127.0.0.1");
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
    }
}

#[test]
fn a_logger_that_died_takes_no_client_along() {
    for banner in ["", "-Bhi"] {
        let options: Vec<&str> = ["-vHRl0", banner].into_iter().filter(|o| !o.is_empty()).collect();
        let mut server = Server::start(&options, "127.0.0.1", &["echo", "served"]);
        server.log_lines(1);
        server.log = None;
        assert!(server.all("127.0.0.1").ends_with("served\n"));
        assert!(server.all("127.0.0.1").ends_with("served\n"));
    }
}

#[test]
fn an_identity_or_interface_that_is_not_there_is_fatal() {
    let rows: &[(&[&str], &str)] = &[
        (&["-u", "no-such-user"], "unable to find user no-such-user"),
        (&["-g", "no-such-group"], "unable to find group no-such-group"),
        (&["-u", ""], "unable to find user "),
        (&["-U"], "unable to find user $UID"),
        (&["-I", "no-such-if"], "unable to find interface no-such-if"),
    ];
    for (options, reason) in rows {
        let mut command = Command::new(TCPSERVER);
        command.args(*options).args(["-HRl0", "127.0.0.1", "0", "true"]).env_remove("UID").env_remove("GID");
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(111));
        assert_eq!(String::from_utf8(out.stderr).unwrap(), format!("tcpserver: fatal: {reason}\n"));
    }
}
