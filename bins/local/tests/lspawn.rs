//! qmail-lspawn through its pipes, with scripts in place of qmail-local and qmail-getpw.
//!
//! The tests run as root or as anybody. As root the deliveries are made as `USER`; else in the manner of a private
//! instance. What has to happen first is waited for on fifos, never by the clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whom root's deliveries go to.
const USER: u32 = 54321;
const LSPAWN: &str = env!("CARGO_BIN_EXE_qmail-lspawn");

/// A scratch home. One test at a time has one: a script that is being written while another test forks could not be
/// executed (text busy).
struct Home(PathBuf, #[allow(dead_code)] MutexGuard<'static, ()>);

impl Home {
    /// A home with one message, queue/mess/5/28, and these scripts in bin/.
    fn new(local: &str, getpw: &str) -> Home {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let home = Home(std::env::temp_dir().join(format!("lspawn-{}", std::process::id())), one);
        let _ = fs::remove_dir_all(&home.0);
        for dir in ["bin", "users", "queue/mess/5", "alias"] {
            fs::create_dir_all(home.0.join(dir)).unwrap();
        }
        home.open_to_all(".", 0o777);
        home.write("queue/mess/5/28", "Subject: s\n\nbody\n");
        home.write("users/ids", "user qmailp 54322\ngroup nofiles 54322\n");
        home.script("qmail-local", local);
        home.script("qmail-getpw", getpw);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn open_to_all(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.open_to_all(name, 0o644);
    }

    fn script(&self, name: &str, text: &str) {
        let name = format!("bin/{name}");
        self.write(&name, &format!("#!/bin/sh\n{text}\n"));
        self.open_to_all(&name, 0o755);
    }

    fn fifo(&self, name: &str) -> PathBuf {
        assert!(Command::new("mkfifo").arg("-m666").arg(self.path(name)).status().unwrap().success());
        self.path(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("./Mailbox").env("QMAILHOME", &self.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn start(&self) -> Running {
        Running::of(self.command(LSPAWN.as_ref()))
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
    /// Starts it and reads the limit.
    fn of(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let (orders, mut reports) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut limit = [0];
        reports.read_exact(&mut limit).unwrap();
        assert_eq!(limit, [120]);
        Running { child, orders, reports }
    }

    fn order(&mut self, delnum: u8, recipient: &str) -> &mut Running {
        let order = [&[delnum][..], b"5/28\0sender@x\0", recipient.as_bytes(), b"\0"].concat();
        self.orders.as_mut().unwrap().write_all(&order).unwrap();
        self
    }

    fn report(&mut self) -> (u8, String) {
        let (mut delnum, mut text) = ([0], vec![]);
        self.reports.read_exact(&mut delnum).unwrap();
        let mut byte = [0];
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

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The account that deliveries can be made to.
fn user() -> u32 {
    if am_root() { USER } else { fs::metadata("/proc/self").unwrap().uid() }
}

/// A qmail-getpw that gives every name to `user`.
fn getpw() -> String {
    format!("printf 'u\\0%s\\0%s\\0/\\0-\\0%s\\0' {0} {0} \"$1\"", user())
}

fn release(fifo: &Path) {
    fs::OpenOptions::new().write(true).open(fifo).unwrap();
}

#[test]
fn account_arguments_and_message_reach_qmail_local() {
    let home = Home::new("id -u; id -G; printf '[%s]' \"$@\"; pwd; cat; echo err >&2", &getpw());
    let mut l = home.start();
    let (delnum, text) = l.order(7, "Joe-X@host@Host").report();
    let ids = Command::new("id").arg("-G").output().unwrap().stdout;
    let groups = if am_root() { format!("{USER}\n") } else { String::from_utf8(ids).unwrap() };
    let arguments = "[--][u][/][Joe-X@host][-][Joe-X@host][Host][sender@x][./Mailbox]";
    let pwd = fs::canonicalize(&home.0).unwrap();
    let expected = format!("K{}\n{groups}{arguments}{}\nSubject: s\n\nbody\nerr\n", user(), pwd.display());
    assert_eq!((delnum, text), (7, expected));
    l.end();
}

#[test]
fn orders_beyond_the_limit_or_for_a_running_delivery_are_refused() {
    let home = Home::new("", &getpw());
    let gate = home.fifo("gate");
    home.script("qmail-local", &format!("cat {}; echo done", gate.display()));
    let mut l = home.start();
    assert_eq!(l.order(120, "a@h").report(), (120, "ZInternal error: delnum too big. (#4.3.5)\n".into()));
    assert_eq!(l.order(255, "a@h").report(), (255, "ZInternal error: delnum too big. (#4.3.5)\n".into()));
    l.order(119, "a@h");
    assert_eq!(l.order(119, "b@h").report(), (119, "ZInternal error: delnum in use. (#4.3.5)\n".into()));
    release(&gate);
    assert_eq!(l.report(), (119, "Kdone\n".into()));
    l.order(119, "b@h");
    // The end of orders does not end what is under way.
    l.orders = None;
    release(&gate);
    assert_eq!(l.report(), (119, "Kdone\n".into()));
    l.end();
}

#[test]
fn a_slow_name_service_holds_up_nobody_else() {
    let home = Home::new("echo \"$4\"", "");
    let gate = home.fifo("gate");
    home.script("qmail-getpw", &format!("case $1 in slow) cat {};; esac\n{}", gate.display(), getpw()));
    let mut l = home.start();
    l.order(0, "slow@h");
    for n in 1..20 {
        assert_eq!(l.order(n, "fast@h").report(), (n, "Kfast\n".into()));
    }
    release(&gate);
    assert_eq!(l.report(), (0, "Kslow\n".into()));
    l.end();
}

#[test]
fn l6_a_delivery_ends_with_its_child_whoever_holds_the_pipe() {
    let home = Home::new("", &getpw());
    let gate = home.fifo("gate");
    home.script("qmail-local", &format!("cat {} & echo started; exit 111", gate.display()));
    let mut l = home.start();
    assert_eq!(l.order(1, "a@h").report(), (1, "Zstarted\n".into()));
    release(&gate);
    // One that never stops writing does not keep the delivery from its end either.
    home.script("qmail-local", "yes & exit 100");
    let (delnum, text) = l.order(2, "a@h").report();
    assert_eq!(delnum, 2);
    assert!(text.starts_with("Dy\ny\n") || text == "D", "{text}");
    l.end();
}

#[test]
fn q11_a_report_is_cut_at_its_limit_and_at_a_nul() {
    let home = Home::new("head -c 1000000 /dev/zero | tr '\\0' x; exit 100", &getpw());
    let mut l = home.start();
    let (_, text) = l.order(1, "a@h").report();
    assert_eq!((text.len(), text.ends_with("x\nError report too long, sorry.\n")), (2998, true));
    home.script("qmail-local", "printf 'a\\0Kb'; exit 111");
    assert_eq!(l.order(1, "a@h").report(), (1, "Za".into()));
    l.end();
}

#[test]
fn programs_that_crash_or_are_not_there_have_their_texts() {
    let home = Home::new("kill -9 $$", &getpw());
    let mut l = home.start();
    let text = |l: &mut Running| l.order(1, "a@h").report().1;
    assert_eq!(text(&mut l), "Zqmail-local crashed.\n");
    home.open_to_all("bin/qmail-local", 0o644);
    assert_eq!(text(&mut l), "DUnable to run qmail-local.\n");
    fs::remove_file(home.path("bin/qmail-local")).unwrap();
    assert_eq!(text(&mut l), "DUnable to run qmail-local.\n");
    let rows = [
        ("kill -9 $$", "ZTemporary failure in qmail-lspawn.\n"),
        ("exit 115", "ZNFS failure in qmail-local.\n"),
        ("exit 116", "ZUnable to find alias user!\n"),
        ("exit 118", "ZTemporary failure in qmail-lspawn.\n"),
        // What a dynamic loader says; nothing of this is the mail's fault.
        ("exit 127", "ZUnable to run qmail-getpw.\n"),
        ("", "ZInternal qmail-lspawn bug.\n"),
        ("printf 'u\\0%s\\0%s\\0/\\0\\0\\0' x 5", "ZInternal qmail-lspawn bug.\n"),
        ("printf 'u\\0%s\\0%s\\0/\\0\\0\\0' 4294967295 5", "ZInternal qmail-lspawn bug.\n"),
        ("printf 'u\\0%s\\0%s\\0/\\0' 5 5; yes | head -9999", "ZInternal qmail-lspawn bug.\n"),
    ];
    for (script, expected) in rows {
        home.script("qmail-getpw", script);
        assert_eq!(text(&mut l), expected, "{script}");
    }
    fs::remove_file(home.path("bin/qmail-getpw")).unwrap();
    assert_eq!(text(&mut l), "ZUnable to run qmail-getpw.\n");
    l.end();
}

#[test]
fn l2_nobody_delivers_as_root() {
    let home = Home::new("id -u", "printf 'root\\0%s\\0%s\\0/\\0\\0\\0' 0 0");
    let mut l = home.start();
    assert_eq!(l.order(1, "a@h").report().1, "ZNot allowed to perform deliveries as root.\n");
    home.script("qmail-getpw", "printf 'root\\0%s\\0%s\\0/\\0\\0\\0' 00 5");
    assert_eq!(l.order(1, "a@h").report().1, "ZNot allowed to perform deliveries as root.\n");
    l.end();
}

#[test]
fn a_private_instance_delivers_to_its_user_alone() {
    let home = Home::new("id -u", "printf 'u\\0%s\\0%s\\0/\\0\\0\\0' \"$1\" 5");
    let mut command = home.command(LSPAWN.as_ref());
    if am_root() {
        for name in ["queue/mess", "queue/mess/5/28"] {
            chown(home.path(name), Some(USER), Some(USER)).unwrap();
        }
        // The user may have no way to where the program was built.
        fs::copy(LSPAWN, home.path("bin/qmail-lspawn")).unwrap();
        command = home.command(&home.path("bin/qmail-lspawn"));
        command.uid(USER).gid(USER);
    }
    let mut l = Running::of(command);
    assert_eq!(l.order(1, &format!("{}@h", user())).report().1, format!("K{}\n", user()));
    assert_eq!(l.order(1, "54320@h").report().1, "ZNot allowed to perform deliveries as another user.\n");
    assert_eq!(l.order(1, "0@h").report().1, "ZNot allowed to perform deliveries as root.\n");
    l.end();
}

#[test]
fn a_new_cdb_counts_at_once_and_goes_before_qmail_getpw() {
    let home = Home::new("echo \"$2 $6\"", &getpw());
    let newu = |assign: &str| {
        home.write("users/assign", assign);
        let status = Command::new(env!("CARGO_BIN_EXE_qmail-newu")).env("QMAILHOME", &home.0).status().unwrap();
        assert!(status.success());
    };
    let mut l = home.start();
    let text = |l: &mut Running, recipient: &str| l.order(1, recipient).report().1;
    assert_eq!(text(&mut l, "joe@h"), "Ku joe\n");
    newu(&format!("=joe:simple:{0}:{0}:/:::\n+joe-:wild:{0}:{0}:/:-:pre-:\n.\n", user()));
    assert_eq!(text(&mut l, "Joe@h"), "Ksimple \n");
    assert_eq!(text(&mut l, "JOE-Foo@h"), "Kwild pre-Foo\n");
    assert_eq!(text(&mut l, "mary@h"), "Ku mary\n");
    newu(&format!("+:all:{0}:{0}:/:-::\n.\n", user()));
    assert_eq!(text(&mut l, "joe@h"), "Kall joe\n");
    home.write("users/cdb", "garbage");
    assert_eq!(text(&mut l, "joe@h"), "ZTrouble reading users/cdb in qmail-lspawn.\n");
    l.end();
}

#[test]
fn deliveries_are_finished_although_nobody_reads_the_reports() {
    let home = Home::new("", &getpw());
    let (gate, done) = (home.fifo("gate"), home.fifo("done"));
    home.script("qmail-local", &format!("cat {}; echo x; echo $? >{}", gate.display(), done.display()));
    let mut l = home.start();
    l.order(1, "a@h").order(2, "@h");
    assert_eq!(l.report(), (2, "K".into()));
    drop((l.reports, l.orders));
    release(&gate);
    assert_eq!(fs::read_to_string(done).unwrap(), "0\n");
    assert_eq!(l.child.wait().unwrap().code(), Some(0));
}
