//! qmail-newmrh as the administrator sees it, and that qmail-smtpd finds what it wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn newmrh(home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qmail-newmrh")).env_clear().env("QMAILHOME", home).output().unwrap()
}

/// The reply to RCPT for `address`.
fn rcpt(home: &Path, address: &str) -> String {
    let mut smtpd = Command::new(env!("CARGO_BIN_EXE_qmail-smtpd"));
    let pipes = smtpd.env_clear().env("QMAILHOME", home).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let script = format!("MAIL FROM:<>\r\nRCPT TO:<{address}>\r\nQUIT\r\n");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(2).unwrap()[..3].to_string()
}

#[test]
fn domains_of_the_second_list_are_taken_after_compiling() {
    let home = tempfile::tempdir().unwrap();
    let control = home.path().join("control");
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("me"), "mx.test\n").unwrap();
    std::fs::write(control.join("rcpthosts"), "first.test\n").unwrap();
    std::fs::write(control.join("morercpthosts"), "# more\nMore.Test \t\n\n.sub.test").unwrap();
    assert_eq!(rcpt(home.path(), "a@more.test"), "553");
    let output = newmrh(home.path());
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
    for (address, code) in [
        ("a@first.test", "250"),
        ("a@more.test", "250"),
        ("a@MORE.test", "250"),
        ("a@x.sub.test", "250"),
        ("a@sub.test", "553"),
        ("a@x.more.test", "553"),
        ("a@# more", "553"),
    ] {
        assert_eq!(rcpt(home.path(), address), code, "{address}");
    }
    assert!(!control.join("morercpthosts.tmp").exists());
}

#[test]
fn on_any_error_the_old_list_stays() {
    let home = tempfile::tempdir().unwrap();
    let control = home.path().join("control");
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("morercpthosts.cdb"), "old").unwrap();
    let output = newmrh(home.path());
    assert_eq!(output.status.code(), Some(111));
    let expected = "qmail-newmrh: fatal: unable to read control/morercpthosts: file does not exist\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    std::fs::write(control.join("morercpthosts"), "a.test\n").unwrap();
    std::fs::create_dir(control.join("morercpthosts.tmp")).unwrap();
    let output = newmrh(home.path());
    assert_eq!(output.status.code(), Some(111));
    let expected = "qmail-newmrh: fatal: unable to write to control/morercpthosts.tmp: is a directory\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(std::fs::read(control.join("morercpthosts.cdb")).unwrap(), b"old");
    let output = newmrh(&home.path().join("none"));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("qmail-newmrh: fatal: unable to chdir to /"));
}
