//! predate, datemail and mailsubj through their real interface, where the recorded cases say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::*;

const PREDATE: &str = env!("CARGO_BIN_EXE_predate");
const DATEMAIL: &str = env!("CARGO_BIN_EXE_datemail");
const MAILSUBJ: &str = env!("CARGO_BIN_EXE_mailsubj");

#[test]
fn a_message_that_can_not_be_read_is_not_sent_in_part() {
    let home = Home::new();
    home.script("qmail-inject", "read line && cat && echo sent >envelope");
    for mut command in [home.command(PREDATE, "predate", &["sh", "-c", "read line && cat && echo sent"]), {
        home.command(MAILSUBJ, "mailsubj", &["s", "a@b.test"])
    }] {
        command.current_dir(home.path(""));
        let out = run_unreadable(command);
        assert_eq!(code(&out), 111);
        assert!(stderr(&out).ends_with(": fatal: unable to read message: is a directory\n"), "{}", stderr(&out));
        assert!(out.stdout.is_empty());
    }
    assert!(home.queued().is_none());
}

#[test]
fn a_child_that_reads_nothing_decides_by_its_exit_code() {
    let home = Home::new();
    let message = vec![b'x'; 1 << 20];
    for (child, expected) in [("true", 0), ("false", 1)] {
        let out = run(home.command(PREDATE, "predate", &[child]), &message);
        assert_eq!((code(&out), stderr(&out)), (expected, String::new()));
    }
}

#[test]
fn datemail_runs_its_own_home_s_programs() {
    let home = Home::new();
    home.script("predate", "echo \"$@\"");
    let out = run(home.command(DATEMAIL, "datemail", &["-t", "a b"]), b"");
    assert_eq!(code(&out), 0);
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{} -t a b\n", home.path("bin/sendmail").display()));
    std::fs::remove_file(home.path("bin/predate")).unwrap();
    let out = run(home.command(DATEMAIL, "datemail", &[]), b"");
    assert_eq!(code(&out), 111);
    assert!(stderr(&out).starts_with("datemail: fatal: unable to run "));
}

#[test]
fn mailsubj_feeds_its_own_home_s_injector() {
    let home = Home::new();
    home.script("qmail-inject", "cat; exit 7");
    let out = run(home.command(MAILSUBJ, "mailsubj", &["Hello  there", "a@b.test", "c"]), b"body\n");
    assert_eq!(code(&out), 7);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "Subject: Hello  there\nTo: a@b.test c\n\nbody\n");
    let out = run(home.command(MAILSUBJ, "mailsubj", &[]), b"");
    assert_eq!((code(&out), stderr(&out).as_str()), (100, "mailsubj: usage: mailsubj subject [ recipient ... ]\n"));
}
