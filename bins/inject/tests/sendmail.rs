//! sendmail through its real interface, where the recorded cases say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;

const SENDMAIL: &str = env!("CARGO_BIN_EXE_sendmail");

#[test]
fn a_private_instance_injects_without_qmail_inject() {
    let home = Home::new();
    let out = run(home.command(SENDMAIL, "sendmail", &["-t", "-i", "-fs@b.test"]), b"To: a\nBcc: b\n\n.\nx\n");
    assert_eq!((code(&out), stderr(&out).as_str()), (0, ""));
    let (message, envelope) = home.queued().unwrap();
    assert_eq!(envelope, b"Fs@b.test\0Ta@me.test\0Tb@me.test\0\0");
    assert!(message.ends_with(b"From: s@b.test\nTo: a@me.test\n\n.\nx\n"));
}

#[test]
fn its_injector_complains_as_qmail_inject() {
    let home = Home::new();
    let out = run(home.command(SENDMAIL, "sendmail", &["-t"]), b"From: (\n\n");
    let text = "qmail-inject: fatal: unable to parse this line:\nFrom: (\n";
    assert_eq!((code(&out), stderr(&out).as_str()), (100, text));
}

#[test]
fn programs_below_home_are_run_and_missing_ones_are_temporary() {
    let home = Home::new();
    for (name, args, text) in [
        ("mailq", &[][..], "sendmail: fatal: unable to run qmail-qread\n"),
        ("sendmail", &["-bp"], "sendmail: fatal: unable to run qmail-qread\n"),
        ("sendmail", &["-bs"], "sendmail: fatal: unable to run qmail-smtpd\n"),
    ] {
        let out = run(home.command(SENDMAIL, name, args), b"");
        assert_eq!((code(&out), stderr(&out).as_str()), (111, text));
    }
    home.script("qmail-qread", "echo queue; exit 3");
    home.script("qmail-smtpd", "echo ${RELAYCLIENT-unset} $TCPREMOTEINFO; cat");
    let out = run(home.command(SENDMAIL, "/usr/bin/mailq", &[]), b"");
    assert_eq!((code(&out), out.stdout.as_slice()), (3, &b"queue\n"[..]));
    let out = run(home.command(SENDMAIL, "sendmail", &["-bs"]), b"QUIT\r\n");
    assert_eq!((code(&out), out.stdout.as_slice()), (0, &b"sendmail-bs\nQUIT\r\n"[..]));
    let mut served = home.command(SENDMAIL, "sendmail", &["-bs"]);
    served.env("PROTO", "TCP");
    assert_eq!(run(served, b"").stdout, b"unset\n");
}

#[test]
fn missing_value_and_missing_home() {
    let home = Home::new();
    let out = run(home.command(SENDMAIL, "sendmail", &["-f"]), b"");
    assert_eq!(code(&out), 100);
    assert!(stderr(&out).starts_with("sendmail: option requires an argument -- f\nsendmail: usage: "));
    let mut command = home.command(SENDMAIL, "sendmail", &[]);
    command.env("QMAILHOME", home.path("none"));
    let out = run(command, b"");
    let text = "sendmail: fatal: unable to switch to qmail home directory\n";
    assert_eq!((code(&out), stderr(&out).as_str()), (111, text));
}

#[test]
fn unreadable_message_is_temporary_and_nothing_is_queued() {
    let home = Home::new();
    let out = run_unreadable(home.command(SENDMAIL, "sendmail", &["a@b.test"]));
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: read error\n"));
    assert!(home.queued().is_none());
}
