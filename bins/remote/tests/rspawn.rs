//! qmail-rspawn through its pipes, with scripts in place of qmail-remote. What has to happen first is waited for on
//! fifos, never by the clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A scratch home. One test at a time has one: a script that is being written while another test forks could not be
/// executed (text busy).
struct Home(PathBuf, #[allow(dead_code)] MutexGuard<'static, ()>);

impl Home {
    /// A home with one message, queue/mess/5/28, and this script as qmail-remote.
    fn new(remote: &str) -> Home {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let home = Home(std::env::temp_dir().join(format!("rspawn-{}", std::process::id())), one);
        let _ = fs::remove_dir_all(&home.0);
        for dir in ["bin", "elsewhere", "queue/mess/5", "queue/lock"] {
            fs::create_dir_all(home.path(dir)).unwrap();
        }
        fs::write(home.path("queue/mess/5/28"), "Subject: s\n\nbody\n").unwrap();
        home.script("bin/qmail-remote", remote);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn start(&self, remote: Option<&str>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qmail-rspawn"));
        command.env("QMAILHOME", &self.0).env_remove("QMAILREMOTE").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("elsewhere").display()));
        if let Some(remote) = remote {
            command.env("QMAILREMOTE", remote);
        }
        let mut child = command.spawn().unwrap();
        let (orders, mut reports) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut limit = [0];
        reports.read_exact(&mut limit).unwrap();
        assert_eq!(limit, [120]);
        Running { child, orders, reports }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    child: Child,
    orders: Option<ChildStdin>,
    reports: ChildStdout,
}

impl Running {
    fn order(&mut self, delnum: u8) -> &mut Running {
        let order = [&[delnum][..], b"5/28\0sender@x\0rcpt@host.test\0"].concat();
        self.orders.as_mut().unwrap().write_all(&order).unwrap();
        self
    }

    fn report(&mut self) -> (u8, String) {
        let (mut delnum, mut text, mut byte) = ([0], vec![], [0]);
        self.reports.read_exact(&mut delnum).unwrap();
        loop {
            self.reports.read_exact(&mut byte).unwrap();
            if byte == [0] {
                return (delnum[0], String::from_utf8(text).unwrap());
            }
            text.push(byte[0]);
        }
    }

    /// Ends the orders and expects no more reports and exit code 0.
    fn end(mut self) {
        self.orders = None;
        let mut rest = vec![];
        self.reports.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn arguments_and_message_reach_qmail_remote() {
    let home = Home::new("printf 'r\\0K%s %s %s\\n' \"$@\"; cat; printf '\\0'");
    let mut r = home.start(None);
    assert_eq!(r.order(3).report(), (3, "Khost.test sender@x rcpt@host.test\nSubject: s\n\nbody\n".into()));
    r.end();
}

#[test]
fn qmailremote_is_run_instead() {
    let home = Home::new("exit 1");
    home.script("elsewhere/mine", "printf 'r\\0Kmine\\0'");
    for name in ["mine", home.path("elsewhere/mine").to_str().unwrap()] {
        let mut r = home.start(Some(name));
        assert_eq!(r.order(1).report().1, "Kmine");
        r.end();
    }
    let mut r = home.start(Some("no-such-program"));
    assert_eq!(r.order(1).report().1, "DUnable to run qmail-remote.\n");
    r.end();
}

#[test]
fn a_qmail_remote_that_fails_or_is_not_there_has_its_texts() {
    let home = Home::new("");
    let mut r = home.start(None);
    let rows = [
        ("kill -9 $$", "Zqmail-remote crashed.\n"),
        ("printf 'r\\0Kdone\\0'; kill -9 $$", "Zqmail-remote crashed.\n"),
        ("exit 111", "ZUnable to run qmail-remote.\n"),
        ("exit 100", "DUnable to run qmail-remote.\n"),
        ("exit 0", "Zqmail-remote produced no output.\n"),
        ("printf 'r\\0'; head -c 300000 /dev/zero; printf 'Kdone\\0'", "Zqmail-remote produced too much output.\n"),
        ("printf 'r\\0'; echo Kerrors count too >&2; printf '\\0'", "Kerrors count too\n"),
    ];
    for (script, expected) in rows {
        home.script("bin/qmail-remote", script);
        assert_eq!(r.order(1).report().1, expected, "{script}");
    }
    fs::set_permissions(home.path("bin/qmail-remote"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(r.order(1).report().1, "DUnable to run qmail-remote.\n");
    fs::remove_file(home.path("bin/qmail-remote")).unwrap();
    assert_eq!(r.order(1).report().1, "DUnable to run qmail-remote.\n");
    r.end();
}

/// Orders that arrive in one piece: `count` recipients u0, u1 ... at host.test, with delivery numbers from 0 on.
fn list(count: u8) -> Vec<u8> {
    (0..count).flat_map(|n| [&[n][..], format!("5/28\0sender@x\0u{n}@host.test\0").as_bytes()].concat()).collect()
}

/// Runs `script` for `list(count)`: the reports by delivery number, and how many recipients each run had.
fn deliver_list(count: u8, remote: Option<&str>, script: &str) -> (Vec<String>, Vec<usize>) {
    let home = Home::new("");
    let runs = home.path("runs");
    let script = format!("cat >/dev/null; echo $(($# - 2)) >>{}; shift 2; {script}", runs.display());
    home.script("bin/qmail-remote", &script);
    let mut r = home.start(remote.map(|_| home.path("bin/qmail-remote").display().to_string()).as_deref());
    r.orders.as_mut().unwrap().write_all(&list(count)).unwrap();
    let mut reports = vec![String::new(); usize::from(count)];
    for _ in 0..count {
        let (delnum, text) = r.report();
        assert!(reports[usize::from(delnum)].is_empty() && !text.is_empty());
        reports[usize::from(delnum)] = text;
    }
    r.end();
    let runs = fs::read_to_string(runs).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    (reports, runs)
}

#[test]
fn a_list_at_one_host_is_handed_over_together_and_reported_one_by_one() {
    let script = "for r; do case $r in u7@*) printf 'hno\\n\\0';; *) printf 'r\\0';; esac; done; printf 'Kok\\n\\0'";
    let (reports, mut runs) = deliver_list(120, None, script);
    for (n, text) in reports.iter().enumerate() {
        assert_eq!(text, if n == 7 { "Dno\n" } else { "Kok\n" }, "{n}");
    }
    runs.sort_unstable();
    assert_eq!(runs, [20, 50, 50]);
    // A few go out by themselves, and so does everything with a program that is not ours.
    assert_eq!(deliver_list(15, None, script).1, [1; 15]);
    assert_eq!(deliver_list(20, Some(""), script).1, [1; 20]);
}

#[test]
fn who_has_no_report_is_tried_again() {
    // A qmail-remote that knows one recipient only.
    let (reports, runs) = deliver_list(16, None, "printf 'r\\0Kto %s\\n\\0' $1");
    for (n, text) in reports.iter().enumerate() {
        assert_eq!(*text, format!("Kto u{n}@host.test\n"));
    }
    assert_eq!(runs, (1..=16).rev().collect::<Vec<_>>());
    // A server that takes ten at a time.
    let script = "n=0; for r; do n=$((n + 1)); if test $n -gt 10; then \
        printf 'sX does not like recipient.\\nRemote host said: 452 too many\\n\\0'; else printf 'r\\0'; fi; done; printf 'Kok\\n\\0'";
    let (reports, runs) = deliver_list(25, None, script);
    assert!(reports.iter().all(|text| text == "Kok\n"));
    assert_eq!(runs, [25, 15, 5]);
}

#[test]
fn all_deliveries_of_the_limit_run_at_once_and_outlive_the_orders() {
    let home = Home::new("");
    let gate = home.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    home.script("bin/qmail-remote", &format!("cat {}; printf 'r\\0Kdone\\0'", gate.display()));
    let mut r = home.start(None);
    for delnum in 0..120 {
        r.order(delnum);
    }
    assert_eq!(r.order(120).report(), (120, "ZInternal error: delnum too big. (#4.3.5)\n".into()));
    r.orders = None;
    // Each reader of the fifo has to be let go; those that come late find it open again.
    let (go, stop) = std::sync::mpsc::channel::<()>();
    let opener = std::thread::spawn(move || {
        while stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            drop(fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap());
            std::thread::yield_now();
        }
    });
    let mut seen: Vec<u8> = (0..120)
        .map(|_| {
            let (delnum, text) = r.report();
            assert_eq!(text, "Kdone");
            delnum
        })
        .collect();
    drop(go);
    opener.join().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..120).collect::<Vec<u8>>());
    r.end();
}

#[test]
fn only_a_replacement_of_qmail_remote_may_gain_privileges() {
    let script = "printf 'r\\0K%s\\0' \"$(sed -n 's/NoNewPrivs:.//p' /proc/self/status)\"";
    let home = Home::new(script);
    home.script("elsewhere/mine", script);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|l| l.strip_prefix("NoNewPrivs:\t")).unwrap();
    for (remote, flag) in [(None, "1"), (Some("mine"), own)] {
        let mut r = home.start(remote);
        assert_eq!(r.order(1).report().1, format!("K{flag}"));
        r.end();
    }
}

#[test]
fn a_restart_forgets_the_hosts_that_timed_out() {
    let home = Home::new("");
    fs::write(home.path("queue/lock/tcpto"), [7; 1024]).unwrap();
    home.start(None).end();
    assert_eq!(fs::read(home.path("queue/lock/tcpto")).unwrap(), [0; 1024]);
}
