//! qmail-authpass as people use it, and whether qmail-authuser takes what it makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;

use host::Home;
use std::io::Write;
use std::process::{Command, Stdio};

/// Exit code and output.
fn make(args: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qmail-authpass"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_is_made_is_taken() {
    let home = Home::new();
    for (args, start) in [(&[][..], "$argon2id$v=19$"), (&["-s"], "SCRAM-SHA-256$4096:")] {
        let (code, value) = make(args, b"a secret \nmore\n");
        assert_eq!(code, Some(0));
        assert!(value.starts_with(start) && value.ends_with('\n') && value.lines().count() == 1, "{value}");
        assert_ne!(make(args, b"a secret \n").1, value);
        home.put("users/authuser", &format!("joe:{value}"));
        assert_eq!(home.run(&[], &["true"], b"joe\0a secret \0\0"), Some(0));
        assert_eq!(home.run(&[], &["true"], b"joe\0a secret\0\0"), Some(1));
    }
}

#[test]
fn exit_codes() {
    let rows: &[(&[&str], &[u8], i32)] = &[
        (&[], b"", 100),
        (&[], b"\nsecret\n", 100),
        (&[], b"x\n", 100),
        (&["-x"], b"secret\n", 100),
        (&["secret"], b"secret\n", 100),
        (&["-s"], &[b'x'; 500], 0),
        (&["-s"], &[b'x'; 501], 100),
        (&["-s"], &[b'x'; 100_000], 100),
    ];
    for (args, input, expected) in rows {
        assert_eq!(make(args, input).0, Some(*expected), "{args:?} {}", input.len());
    }
}
