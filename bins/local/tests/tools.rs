//! The small programs for .qmail files through their real interface, where the recorded cases are silent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BOUNCESAYING: &str = env!("CARGO_BIN_EXE_bouncesaying");
const CONDREDIRECT: &str = env!("CARGO_BIN_EXE_condredirect");
const EXCEPT: &str = env!("CARGO_BIN_EXE_except");
const MAILDIR2MBOX: &str = env!("CARGO_BIN_EXE_maildir2mbox");
const MAILDIRWATCH: &str = env!("CARGO_BIN_EXE_maildirwatch");
const PRELINE: &str = env!("CARGO_BIN_EXE_preline");
const QBIFF: &str = env!("CARGO_BIN_EXE_qbiff");
const QMAIL_PW2U: &str = env!("CARGO_BIN_EXE_qmail-pw2u");
const QRECEIPT: &str = env!("CARGO_BIN_EXE_qreceipt");

fn command(program: &str, args: &[&str]) -> Command {
    let mut c = Command::new(program);
    c.args(args).env_clear().env("PATH", "/usr/bin:/bin");
    c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

fn code(out: &Output) -> i32 {
    out.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A home whose qmail-queue keeps what it is given.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("bin")).unwrap();
    script(&home.path().join("bin/qmail-queue"), "#!/bin/sh\ncat >message; cat <&1 >envelope; test -s envelope\n");
    home
}

/// A file to be fd 0.
fn message(dir: &Path, text: &[u8]) -> File {
    let path = dir.join("fd0");
    fs::write(&path, text).unwrap();
    File::open(path).unwrap()
}

#[test]
fn a_script_without_its_first_line_is_run_by_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asks");
    script(&path, "test \"$1\" = yes\n");
    for (word, expected) in [("yes", 100), ("no", 0)] {
        let out = command(EXCEPT, &["asks", word]).env("PATH", dir.path()).output().unwrap();
        assert_eq!((code(&out), text(&out.stderr)), (expected, String::new()), "{word}");
    }
}

#[test]
fn what_may_not_be_executed_counts_as_no() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    for name in [path.to_str().unwrap(), dir.path().to_str().unwrap(), ""] {
        let out = command(BOUNCESAYING, &["No.", name]).output().unwrap();
        assert_eq!((code(&out), text(&out.stderr)), (0, String::new()), "{name}");
    }
}

#[test]
fn a_program_asked_has_the_default_action_for_sigpipe() {
    let ask = "yes | head -n 1 >/dev/null; grep -q '^SigIgn:.*[0-9a-f]0[0-9a-f][0-9a-f][0-9a-f]$' /proc/self/status";
    let out = command(EXCEPT, &["sh", "-c", ask]).output().unwrap();
    assert_eq!(code(&out), 100);
}

#[test]
fn condredirect_sends_all_of_the_message_from_its_beginning() {
    let home = home();
    let body = [b"Subject: redirect\n\n".to_vec(), vec![b'x'; 200_000]].concat();
    let mut c = command(CONDREDIRECT, &["new@b.test", "sh", "-c", "cat >/dev/null"]);
    c.env("QMAILHOME", home.path()).env("SENDER", "s@t.test").env("DTLINE", "Delivered-To: x@y.test\n");
    let out = c.stdin(message(home.path(), &body)).output().unwrap();
    assert_eq!(code(&out), 99);
    assert!(text(&out.stderr).starts_with("condredirect: qp "));
    let queued = fs::read(home.path().join("message")).unwrap();
    assert_eq!(queued, [b"Delivered-To: x@y.test\n".to_vec(), body].concat());
    assert_eq!(fs::read(home.path().join("envelope")).unwrap(), b"Fs@t.test\0Tnew@b.test\0\0");
}

#[test]
fn preline_defers_when_its_program_leaves_a_long_message() {
    let dir = tempfile::tempdir().unwrap();
    for (length, expected) in [(1000, 0), (1_000_000, 111)] {
        let mut c = command(PRELINE, &["true"]);
        c.env("UFLINE", "u\n").env("RPLINE", "r\n").env("DTLINE", "d\n");
        let out = c.stdin(message(dir.path(), &vec![b'x'; length])).output().unwrap();
        assert_eq!(code(&out), expected, "{}", text(&out.stderr));
    }
}

#[test]
fn preline_lets_no_program_take_half_a_message_for_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = command(PRELINE, &["sh", "-c", "read line && cat && echo whole"]);
    c.env("UFLINE", "u\n").env("RPLINE", "r\n").env("DTLINE", "d\n");
    let out = c.stdin(File::open(dir.path()).unwrap()).output().unwrap();
    let said = "preline: fatal: unable to copy input: is a directory\n";
    assert_eq!((code(&out), text(&out.stderr).as_str(), text(&out.stdout).as_str()), (111, said, ""));
}

#[test]
fn rfc3834_receipts_have_the_null_sender_and_bounces_get_none() {
    let home = home();
    let fields = b"Notice-Requested-Upon-Delivery-To: a@b.test\n\nx\n";
    for (sender, sent) in [("", false), ("#@[]", false), ("s@t.test", true)] {
        let mut c = command(QRECEIPT, &["a@b.test"]);
        c.env("QMAILHOME", home.path()).env("SENDER", sender).stdin(message(home.path(), fields));
        let out = c.output().unwrap();
        assert_eq!(code(&out), 0, "{sender}");
        let envelope = fs::read(home.path().join("envelope")).ok();
        assert_eq!(envelope.as_deref(), sent.then_some(&b"F\0Ts@t.test\0\0"[..]), "{sender}");
    }
}

#[test]
fn an_endless_header_gets_no_receipt_and_is_not_deferred() {
    let home = home();
    let mut fields = b"Notice-Requested-Upon-Delivery-To: a@b.test\nX: ".to_vec();
    fields.resize(2 << 20, b'x');
    let mut c = command(QRECEIPT, &["a@b.test"]);
    c.env("QMAILHOME", home.path()).env("SENDER", "s@t.test").stdin(message(home.path(), &fields));
    assert_eq!(code(&c.output().unwrap()), 0);
    assert!(!home.path().join("envelope").exists());
}

#[test]
fn qbiff_never_holds_up_mail() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = command(QBIFF, &[]);
    c.env("USER", "nobody-here").env("SENDER", "s").env("LOCAL", "l").stdin(File::open(dir.path()).unwrap());
    let out = c.output().unwrap();
    assert_eq!((code(&out), text(&out.stderr)), (0, String::new()));
}

/// A maildir with these messages in new, an hour old.
fn maildir(messages: &[&[u8]]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir_all(dir.path().join("Maildir").join(sub)).unwrap();
    }
    for (number, text) in messages.iter().enumerate() {
        let path = dir.path().join(format!("Maildir/new/{number}.x"));
        fs::write(&path, text).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        File::open(path).unwrap().set_modified(then).unwrap();
    }
    dir
}

fn maildir2mbox(dir: &Path) -> Output {
    let mut c = command(MAILDIR2MBOX, &[]);
    c.env("MAILDIR", dir.join("Maildir")).env("MAIL", dir.join("mbox")).env("MAILTMP", dir.join("mbox.tmp"));
    c.output().unwrap()
}

#[test]
fn maildir2mbox_completes_a_last_line() {
    let dir = maildir(&[b"Return-Path: <a@b>\n\nend"]);
    assert_eq!(code(&maildir2mbox(dir.path())), 0);
    let mbox = text(&fs::read(dir.path().join("mbox")).unwrap());
    assert!(mbox.starts_with("From a@b ") && mbox.ends_with("\nReturn-Path: <a@b>\n\nend\n\n"), "{mbox}");
    assert_eq!(fs::read_dir(dir.path().join("Maildir/new")).unwrap().count(), 0);
}

#[test]
fn maildir2mbox_changes_nothing_when_a_message_can_not_be_read() {
    let dir = maildir(&[b"first\n"]);
    fs::write(dir.path().join("mbox"), "From old\n\n").unwrap();
    let unreadable = dir.path().join("Maildir/new/dir");
    fs::create_dir(&unreadable).unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    File::open(&unreadable).unwrap().set_modified(then).unwrap();
    let out = maildir2mbox(dir.path());
    let said = "maildir2mbox: fatal: unable to read $MAILDIR/new/dir: is a directory\n";
    assert_eq!((code(&out), text(&out.stderr).as_str()), (111, said));
    assert_eq!(fs::read(dir.path().join("mbox")).unwrap(), b"From old\n\n");
    assert!(!dir.path().join("mbox.tmp").exists());
    assert!(dir.path().join("Maildir/new/0.x").exists());
}

#[test]
fn two_of_maildir2mbox_lose_nothing() {
    let dir = maildir(&[b"one\n"]);
    let mbox = dir.path().join("mbox");
    // Holds the lock of a file that is replaced meanwhile, as another maildir2mbox does.
    let old = File::create(&mbox).unwrap();
    old.lock().unwrap();
    let mut c = command(MAILDIR2MBOX, &[]);
    c.env("MAILDIR", dir.path().join("Maildir")).env("MAIL", &mbox).env("MAILTMP", dir.path().join("mbox.tmp"));
    let child = c.spawn().unwrap();
    fs::write(dir.path().join("other"), "From other\n\n").unwrap();
    fs::rename(dir.path().join("other"), &mbox).unwrap();
    drop(old);
    let out = child.wait_with_output().unwrap();
    assert_eq!((code(&out), text(&out.stderr)), (0, String::new()));
    let all = text(&fs::read(&mbox).unwrap());
    assert!(all.starts_with("From other\n\nFrom XXX ") && all.ends_with("one\n\n"), "{all}");
}

#[test]
fn maildirwatch_shows_new_mail_and_ends_with_its_reader() {
    let dir = maildir(&[b"Return-Path: <j@r>\nDelivered-To: g@h\nSubject: s\n\nbody\n"]);
    let mut child = command(MAILDIRWATCH, &[]).env("MAILDIR", dir.path().join("Maildir")).spawn().unwrap();
    let expected = b"\x1b[;H\x1b[;JFROM <j@r> TO <g@h>\ns//body/\n\n";
    let mut shown = vec![0; expected.len()];
    child.stdout.take().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(text(&shown), text(expected));
    child.kill().unwrap();
    child.wait().unwrap();
    let out = command(MAILDIRWATCH, &[]).output().unwrap();
    assert_eq!((code(&out), text(&out.stderr).as_str()), (111, "maildirwatch: fatal: MAILDIR not set\n"));
}

#[test]
fn qmail_pw2u_serves_a_private_home() {
    let home = home();
    fs::create_dir(home.path().join("users")).unwrap();
    fs::write(home.path().join("users/append"), "+x:y:1:1:/h:::\n").unwrap();
    let mut c = command(QMAIL_PW2U, &["-H"]);
    let mut child = c.env("QMAILHOME", home.path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"alias:x:9:8::/a:/bin/false").unwrap();
    let out = child.wait_with_output().unwrap();
    let lines = "+:alias:9:8:/a:-::\n=alias:alias:9:8:/a:::\n+alias-:alias:9:8:/a:-::\n+x:y:1:1:/h:::\n.\n";
    assert_eq!((code(&out), text(&out.stdout).as_str()), (0, lines));
    let out = command(QMAIL_PW2U, &["-c"]).output().unwrap();
    assert_eq!((code(&out), text(&out.stderr).as_str()), (100, "qmail-pw2u: option requires an argument -- c\n"));
}
