//! forward through its real interface, where the recorded cases say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;
use std::process::Command;

const FORWARD: &str = env!("CARGO_BIN_EXE_forward");

fn forward(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(FORWARD, "forward", args);
    command.env("NEWSENDER", "s@t.test").env("DTLINE", "Delivered-To: x@y.test\n");
    command
}

#[test]
fn a_private_instance_uses_its_own_queue() {
    let home = Home::new();
    let out = run(forward(&home, &["a@b.test", "c"]), b"x");
    assert_eq!(code(&out), 0);
    assert!(stderr(&out).starts_with("forward: qp "));
    assert_eq!(
        home.queued().unwrap(),
        (b"Delivered-To: x@y.test\nx".to_vec(), b"Fs@t.test\0Ta@b.test\0Tc\0\0".to_vec())
    );
}

#[test]
fn unreadable_message_is_temporary_and_nothing_is_queued() {
    let home = Home::new();
    let out = run_unreadable(forward(&home, &["a@b.test"]));
    let text = "forward: fatal: unable to read message: is a directory\n";
    assert_eq!((code(&out), stderr(&out).as_str()), (111, text));
    assert!(home.queued().is_none());
}

#[test]
fn missing_queue_program_is_temporary() {
    let home = Home::new();
    std::fs::remove_file(home.path("bin/qmail-queue")).unwrap();
    let out = run(forward(&home, &["a@b.test"]), b"x");
    assert_eq!((code(&out), stderr(&out).as_str()), (111, "forward: fatal: unable to exec qq (#4.3.0)\n"));
}
