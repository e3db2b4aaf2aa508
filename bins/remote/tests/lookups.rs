//! The DNS tools where no name server is needed. What they print of answers: the recorded cases, and tests of lib/dns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn without_an_argument_there_is_only_an_exit_code() {
    for program in [
        env!("CARGO_BIN_EXE_dnsip"),
        env!("CARGO_BIN_EXE_dnsptr"),
        env!("CARGO_BIN_EXE_dnsfq"),
        env!("CARGO_BIN_EXE_dnsmxip"),
        env!("CARGO_BIN_EXE_dnstxt"),
        env!("CARGO_BIN_EXE_dnscname"),
        env!("CARGO_BIN_EXE_dnstlsa"),
    ] {
        let out = run(program, &[]);
        assert_eq!((out.status.code(), out.stdout.len(), out.stderr.len()), (Some(100), 0, 0), "{program}");
    }
}

#[test]
fn what_can_be_no_name_is_a_hard_error() {
    for (program, argument) in [
        (env!("CARGO_BIN_EXE_dnsip"), "a..b"),
        (env!("CARGO_BIN_EXE_dnsptr"), "not an address"),
        (env!("CARGO_BIN_EXE_dnsmxip"), "a..b"),
        (env!("CARGO_BIN_EXE_dnstxt"), ".a"),
        (env!("CARGO_BIN_EXE_dnscname"), "a..b"),
        (env!("CARGO_BIN_EXE_dnstlsa"), "a..b"),
    ] {
        let out = run(program, &[argument]);
        assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(100), &b"hard error\n"[..]), "{program}");
    }
}

#[test]
fn addresses_are_their_own() {
    assert_eq!(run(env!("CARGO_BIN_EXE_dnsip"), &["[2001:db8::1]"]).stdout, b"2001:db8::1\n");
    assert_eq!(run(env!("CARGO_BIN_EXE_dnsmxip"), &["192.0.2.1"]).stdout, b"192.0.2.1 0\n");
}

#[test]
fn this_host_has_a_name_and_addresses() {
    assert!(run(env!("CARGO_BIN_EXE_hostname"), &[]).stdout.ends_with(b"\n"));
    let out = String::from_utf8(run(env!("CARGO_BIN_EXE_ipmeprint"), &[]).stdout).unwrap();
    assert!(out.lines().any(|line| line == "0.0.0.0"), "{out}");
}
