//! qmail-inject through its real interface, where the recorded cases say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;
use std::process::Command;

const INJECT: &str = env!("CARGO_BIN_EXE_qmail-inject");

fn inject(home: &Home, args: &[&str]) -> Command {
    home.command(INJECT, "qmail-inject", args)
}

#[test]
fn a_private_instance_uses_its_own_controls_and_queue() {
    let home = Home::new();
    let out = run(inject(&home, &["-fs", "a@b.test"]), b"To: x\n\nbody");
    assert_eq!((code(&out), stderr(&out).as_str()), (0, ""));
    let (message, envelope) = home.queued().unwrap();
    assert_eq!(envelope, b"Fs@me.test\0Ta@b.test\0\0");
    assert!(message.ends_with(b"From: u@me.test\nTo: x@me.test\n\nbody\n"));
}

#[test]
fn body_of_any_size_needs_no_memory() {
    let home = Home::new();
    home.script("qmail-queue", "cat >message; cat <&1 >envelope");
    let script = format!("ulimit -v 24000; exec {INJECT} a@b.test");
    let line = [b'x'; 4096];
    let mut body = b"Subject: big\n\n".to_vec();
    while body.len() < 48 << 20 {
        body.extend_from_slice(&line);
    }
    let out = run(home.command("/bin/sh", "sh", &["-c", &script]), &body);
    assert_eq!((code(&out), stderr(&out).as_str()), (0, ""));
    let (message, _) = home.queued().unwrap();
    assert!(message.len() > body.len());
    assert!(message.ends_with(b"x\n"));
}

#[test]
fn a_header_of_half_a_million_addresses_needs_a_few_times_its_size() {
    let home = Home::new();
    home.script("qmail-queue", "cat >message; cat <&1 >envelope");
    let count = 500_000;
    // As addresses, as words without commas, and as one address, which is taken apart all at once.
    for (item, named, kilobytes) in [("a,", count + 1, 40_000), ("a ", count + 1, 40_000), ("a.", 1, 70_000)] {
        let script = format!("ulimit -v {kilobytes}; exec {INJECT}");
        let header = format!("To: {}a@b.test\n\nbody\n", item.repeat(count));
        let out = run(home.command("/bin/sh", "sh", &["-c", &script]), header.as_bytes());
        assert_eq!((code(&out), stderr(&out).as_str()), (0, ""), "{item}");
        let (_, envelope) = home.queued().unwrap();
        let recipients = envelope.split(|&b| b == 0).filter(|r| r.starts_with(b"T")).count();
        assert_eq!(recipients, named, "{item}");
    }
}

#[test]
fn header_over_1_mib_is_refused_and_nothing_is_queued() {
    let home = Home::new();
    let mut message = b"To: a@b.test\n".to_vec();
    while message.len() <= 1 << 20 {
        message
            .extend_from_slice(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n");
    }
    let out = run(inject(&home, &[]), &[&message[..], b"\nbody\n"].concat());
    assert_eq!((code(&out), stderr(&out).as_str()), (100, "qmail-inject: fatal: header too long\n"));
    assert!(home.queued().is_none());
    message.truncate((1 << 20) - 1);
    message.push(b'\n');
    let out = run(inject(&home, &[]), &[&message[..], b"no field\nbody\n"].concat());
    assert_eq!(code(&out), 0);
    assert!(home.queued().unwrap().0.ends_with(b"y\n\nno field\nbody\n"));
}

#[test]
fn a_long_list_of_recipients_is_not_cut() {
    let home = Home::new();
    let list: Vec<String> = (0..20_000).map(|n| format!("user{n}@list.test")).collect();
    let out = run(inject(&home, &[]), format!("Bcc: {}\n\nx\n", list.join(", ")).as_bytes());
    assert_eq!(code(&out), 0);
    let (message, envelope) = home.queued().unwrap();
    assert_eq!(envelope.iter().filter(|&&b| b == b'T').count(), 20_000);
    assert!(!message.windows(5).any(|w| w == b"user1"));
}

#[test]
fn unreadable_message_is_temporary_and_nothing_is_queued() {
    let home = Home::new();
    let out = run_unreadable(inject(&home, &["a@b.test"]));
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: read error\n"));
    assert!(home.queued().is_none());
    let closed = format!("exec {INJECT} a@b.test <&-");
    assert_eq!(code(&run(home.command("/bin/sh", "sh", &["-c", &closed]), b"")), 111);
}

#[test]
fn missing_home_and_full_output_are_temporary() {
    let home = Home::new();
    let mut command = inject(&home, &[]);
    command.env("QMAILHOME", home.path("none"));
    let out = run(command, b"\n");
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: internal bug\n"));
    let full = format!("exec {INJECT} -n >/dev/full");
    let out = run(home.command("/bin/sh", "sh", &["-c", &full]), b"\n");
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: write error\n"));
}

#[test]
fn list_file_is_found_from_the_callers_directory() {
    let home = Home::new();
    std::fs::write(home.path("control/lists"), "#no\nL@list.test \n").unwrap();
    let mut command = inject(&home, &[]);
    command.current_dir(home.path("control")).env("QMAILMFTFILE", "lists");
    assert_eq!(code(&run(command, b"To: l@list.test, a\n\n")), 0);
    let (message, _) = home.queued().unwrap();
    assert!(message.windows(50).any(|w| w == b"\nMail-Followup-To: l@list.test,\n  a@me.test\nTo: l@"), "{message:?}");
    let mut command = inject(&home, &[]);
    command.env("QMAILMFTFILE", home.path("control"));
    let out = run(command, b"To: l@list.test\n\n");
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: read error\n"));
}

#[test]
fn queue_that_stops_reading_decides_the_outcome() {
    let home = Home::new();
    home.script("qmail-queue", "exit 31");
    let body = vec![b'x'; 1 << 20];
    let out = run(inject(&home, &["a@b.test"]), &[b"\n", &body[..]].concat());
    let text = "qmail-inject: fatal: mail server permanently rejected message (#5.3.0)\n";
    assert_eq!((code(&out), stderr(&out).as_str()), (100, text));
    home.script("qmail-queue", "exit 0");
    let out = run(inject(&home, &["a@b.test"]), &[b"\n", &body[..]].concat());
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "qmail-inject: fatal: qq read error (#4.3.0)\n"));
}
