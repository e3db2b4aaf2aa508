//! tcp-env where it has nothing to look up: its other side needs a DNS server, and is in the recorded cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

fn tcp_env(args: &[&str], stdin: Stdio, proto: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcp-env"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("TCPREMOTEINFO", "old").stdin(stdin);
    if let Some(proto) = proto {
        command.env("PROTO", proto);
    }
    command.output().unwrap()
}

fn variable(output: &Output, name: &str) -> Option<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).map(str::to_string)
}

#[test]
fn what_was_told_already_is_left_alone() {
    for proto in ["TCP", "TCP6"] {
        let output = tcp_env(&["env"], Stdio::null(), Some(proto));
        assert_eq!(variable(&output, "TCPREMOTEINFO").as_deref(), Some("old"));
        assert_eq!(variable(&output, "TCPREMOTEIP"), None);
    }
}

#[test]
fn without_a_connection_or_a_program_it_is_111_and_silent() {
    let unix = std::os::unix::net::UnixStream::pair().unwrap().0;
    for (args, stdin, proto) in [
        (&["true"][..], Stdio::null(), None),
        (&["true"], OwnedFd::from(unix).into(), None),
        (&["true"], Stdio::null(), Some("UDP")),
        (&["-t5"], Stdio::null(), Some("TCP")),
        (&["no-such-program"], Stdio::null(), Some("TCP")),
        (&["/"], Stdio::null(), Some("TCP")),
    ] {
        let output = tcp_env(args, stdin, proto);
        assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(111), vec![], vec![]), "{args:?}");
    }
    // An unknown letter is passed over.
    assert_eq!(tcp_env(&["-xR", "true"], Stdio::null(), Some("TCP")).status.code(), Some(0));
}
