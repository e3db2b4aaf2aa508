//! qmail-todo through its pipes: what qmail-send is told, and when there are files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

const SPLIT: u64 = 23;

/// A home with an empty queue, and qmail-todo at work in it; the test plays qmail-send and qmail-clean.
struct Todo {
    home: tempfile::TempDir,
    child: Child,
    commands: ChildStdin,
    records: ChildStdout,
    requests: ChildStderr,
    answers: fs::File,
}

impl Todo {
    fn start() -> Todo {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for dir in ["control", "queue/todo", "queue/intd", "queue/bounce", "queue/lock"] {
            fs::create_dir_all(path(dir)).unwrap();
        }
        for dir in ["mess", "info", "local", "remote"] {
            (0..SPLIT).for_each(|n| fs::create_dir_all(path(&format!("queue/{dir}/{n}"))).unwrap());
        }
        fs::write(path("control/me"), "here.test\n").unwrap();
        for fifo in ["queue/lock/trigger", "answers"] {
            assert!(Command::new("mkfifo").arg(path(fifo)).status().unwrap().success());
        }
        // Opened for both by the shell, so that neither side waits for the other.
        let mut child = Command::new("/bin/sh")
            .args(["-c", r#"exec "$0" 3<>"$1""#, env!("CARGO_BIN_EXE_qmail-todo")])
            .arg(path("answers"))
            .env("QMAILHOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = fs::OpenOptions::new().write(true).open(path("answers")).unwrap();
        let (commands, records) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let requests = child.stderr.take().unwrap();
        Todo { home, child, commands, records, requests, answers }
    }

    /// Puts message `n` into the queue as qmail-queue does.
    fn queue(&self, n: u64, envelope: &[u8]) {
        fs::write(self.file("mess", n), "Subject: x\n\nbody\n").unwrap();
        fs::write(self.path(&format!("queue/todo/{n}")), [b"u0\0p1\0", envelope].concat()).unwrap();
    }

    fn pull_trigger(&self) {
        // Without a reader yet, the look into todo that is coming finds the message anyway.
        let trigger = fs::OpenOptions::new().read(true).write(true).open(self.path("queue/lock/trigger"));
        trigger.unwrap().write_all(b"\0").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn file(&self, dir: &str, n: u64) -> PathBuf {
        self.path(&format!("queue/{dir}/{}/{n}", n % SPLIT))
    }

    fn command(&mut self, text: &str) {
        self.commands.write_all(text.as_bytes()).unwrap();
    }

    fn record(&mut self) -> String {
        until_nul(&mut self.records)
    }

    /// The next request to qmail-clean, carried out and answered.
    fn clean(&mut self) -> String {
        let request = until_nul(&mut self.requests);
        let n = request.split('/').nth(1).unwrap().parse().unwrap();
        if request.starts_with("todo/") {
            fs::remove_file(self.path(&format!("queue/{request}"))).unwrap();
        } else {
            fs::remove_file(self.file("mess", n)).unwrap();
        }
        self.answers.write_all(b"+").unwrap();
        request
    }

    /// Hundredths of a second of processor time so far (proc(5): fields 14 and 15).
    fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Ends it as qmail-send does; what is left in the journal is made durable first.
    fn end(mut self) {
        self.command("X");
        assert_eq!(self.record(), "X");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Todo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until_nul(from: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    loop {
        from.read_exact(&mut byte).unwrap();
        if byte == [0] {
            return String::from_utf8(text).unwrap();
        }
        text.push(byte[0]);
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_message_is_told_and_gets_files_only_if_it_has_to_wait() {
    let mut todo = Todo::start();
    todo.queue(46, b"Fs@x\0Tann@here.test\0Tbob@there.test\0Tcy@here.test\0");
    todo.command("S");
    assert_eq!(todo.record(), "Lnew msg 46\n");
    assert_eq!(todo.record(), "Linfo msg 46: bytes 17 from <s@x> qp 1 uid 0\n");
    for told in ["Fs@x", "lann@here.test", "lcy@here.test", "rbob@there.test", "E46"] {
        assert_eq!(todo.record(), told);
    }
    assert!(["info", "local", "remote"].iter().all(|dir| !todo.file(dir, 46).exists()));
    todo.command("K46\0");
    assert_eq!(todo.record(), "W46");
    assert_eq!(read(&todo.file("info", 46)), "Fs@x\0");
    assert_eq!(read(&todo.file("local", 46)), "Tann@here.test\0Tcy@here.test\0");
    assert_eq!(read(&todo.file("remote", 46)), "Tbob@there.test\0");
    assert_eq!(todo.clean(), "todo/46");

    // Finished before it had files: none are ever made.
    todo.queue(69, b"F\0Tann@here.test\0");
    todo.pull_trigger();
    while todo.record() != "E69" {}
    todo.command("F69\0");
    assert_eq!((todo.clean(), todo.clean()), ("todo/69".into(), "foop/69".into()));
    assert!(!todo.file("info", 69).exists());

    // Finished by a qmail-send that has not heard of the files yet: they go with the message.
    todo.command("F46\0");
    assert_eq!(todo.clean(), "foop/46");
    assert!(["info", "local", "remote"].iter().all(|dir| !todo.file(dir, 46).exists()));
    todo.end();
}

#[test]
fn a_message_that_nobody_finishes_gets_files_by_itself_and_at_the_end() {
    let mut todo = Todo::start();
    todo.queue(46, b"Fs@x\0Tann@here.test\0");
    todo.command("S");
    while todo.record() != "W46" {}
    assert_eq!(read(&todo.file("local", 46)), "Tann@here.test\0");
    assert_eq!(todo.clean(), "todo/46");
    todo.queue(69, b"Fs@x\0Tann@here.test\0");
    todo.pull_trigger();
    while todo.record() != "E69" {}
    todo.command("X");
    assert_eq!(todo.clean(), "todo/69");
    assert_eq!((todo.record(), todo.record()), ("W69".into(), "X".into()));
    assert_eq!(read(&todo.file("info", 69)), "Fs@x\0");
}

/// Whoever pulls the trigger may be stopped before it closes it, also by this process itself on the same processor.
#[test]
fn a_trigger_that_stays_open_does_not_keep_the_processor_busy() {
    let mut todo = Todo::start();
    todo.queue(46, b"Fs@x\0Tann@here.test\0");
    todo.command("S");
    while todo.record() != "W46" {}
    let mut held = fs::OpenOptions::new().read(true).write(true).open(todo.path("queue/lock/trigger")).unwrap();
    held.write_all(b"\0").unwrap();
    let before = todo.processor_ticks();
    std::thread::sleep(std::time::Duration::from_millis(400));
    let used = todo.processor_ticks() - before;
    assert!(used < 10, "{used} of about 40 ticks");
}

#[test]
fn a_large_envelope_is_written_at_once() {
    let mut todo = Todo::start();
    let addresses: String = (0..5000).map(|n| format!("Tuser{n}@here.test\0")).collect();
    let long = format!("T{}@there.test\0", "x".repeat(900));
    todo.queue(46, ["Fs@x\0", &addresses, &long].concat().as_bytes());
    todo.command("S");
    let records: Vec<_> = (0..3).map(|_| todo.record()).collect();
    assert_eq!(records.last().unwrap(), "DB46");
    assert_eq!(read(&todo.file("local", 46)), addresses);
    assert_eq!(read(&todo.file("remote", 46)), long);
    todo.command("K46\0");
    assert_eq!(todo.clean(), "todo/46");
    todo.end();
}
