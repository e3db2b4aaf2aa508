//! The programs that look at the queue, run on queues of every shape. What they print is in the golden cases; here is
//! what those leave out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A home with an empty queue of `split` subdirectories.
fn home(split: u64) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["mess", "info", "local", "remote"] {
        for part in 0..split {
            fs::create_dir_all(home.path().join(format!("queue/{dir}/{part}"))).unwrap();
        }
    }
    for dir in ["queue/todo", "queue/intd", "queue/bounce", "control"] {
        fs::create_dir_all(home.path().join(dir)).unwrap();
    }
    home
}

fn put(home: &Path, file: &str, text: &[u8]) {
    let path = home.join("queue").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run(program: &str, home: &Path) -> Output {
    Command::new(program).env_clear().env("QMAILHOME", home).output().unwrap()
}

fn qstat(home: &Path) -> String {
    let done = run(env!("CARGO_BIN_EXE_qmail-qstat"), home);
    assert_eq!((done.status.code(), &done.stderr[..]), (Some(0), &b""[..]));
    String::from_utf8(done.stdout).unwrap()
}

fn counts(messages: u64, waiting: u64) -> String {
    format!("messages in queue: {messages}\nmessages in queue but not yet preprocessed: {waiting}\n")
}

#[test]
fn qstat_counts_a_flat_and_a_split_todo_alike() {
    let home = home(3);
    for file in ["mess/0/3", "mess/1/4", "mess/2/5", "info/0/3", "todo/4"] {
        put(home.path(), file, b"");
    }
    assert_eq!(qstat(home.path()), counts(3, 1));
    put(home.path(), "todo/0/6", b"");
    put(home.path(), "mess/0/6", b"");
    assert_eq!(qstat(home.path()), counts(4, 2));
}

#[test]
fn qstat_does_not_count_a_todo_file_kept_as_journal() {
    let home = home(3);
    for file in ["mess/1/4", "info/1/4", "todo/4"] {
        put(home.path(), file, b"");
    }
    assert_eq!(qstat(home.path()), counts(1, 0));
}

#[test]
fn qstat_says_no_number_when_it_cannot_count() {
    let home = home(3);
    fs::remove_dir(home.path().join("queue/todo")).unwrap();
    let done = run(env!("CARGO_BIN_EXE_qmail-qstat"), home.path());
    assert_eq!((done.status.code(), &done.stdout[..]), (Some(111), &b""[..]));
    assert_eq!(done.stderr, b"qmail-qstat: fatal: unable to read queue/todo: file does not exist\n");
}

#[test]
fn qread_finds_messages_by_the_split_on_disk() {
    for split in [1, 2, 23, 199] {
        let home = home(split);
        let part = 1000 % split;
        put(home.path(), &format!("mess/{part}/1000"), b"0123456789");
        put(home.path(), &format!("info/{part}/1000"), b"Fjoe@a.test\0");
        put(home.path(), &format!("remote/{part}/1000"), b"Dx@b.test\0Ty@b.test\0Tcut@b.te");
        put(home.path(), "todo/1000", b"u1\0p2\0Fjoe@a.test\0Ty@b.test\0");
        let done = run(env!("CARGO_BIN_EXE_qmail-qread"), home.path());
        let text = String::from_utf8(done.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(" GMT  #1000  10  <joe@a.test> "), "{split}: {text}");
        assert_eq!(lines[1..], ["  done\tremote\tx@b.test", "\tremote\ty@b.test"]);
        assert_eq!(done.status.code(), Some(0));
    }
}

#[test]
fn qread_lists_many_messages_with_few_descriptors() {
    let home = home(1);
    for n in 1000..1300 {
        put(home.path(), &format!("mess/0/{n}"), b"x");
        put(home.path(), &format!("info/0/{n}"), format!("Fs{n}\0").as_bytes());
        put(home.path(), &format!("local/0/{n}"), format!("Tl{n}\0").as_bytes());
    }
    put(home.path(), "remote/0/1100", b"Tr1100\0");
    put(home.path(), "bounce/1200", b"");
    // The list has the order of the directory.
    let names = fs::read_dir(home.path().join("queue/info/0")).unwrap();
    let mut expected = Vec::new();
    for n in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        expected.push(format!("#{n}  1  <s{n}> {}", if n == "1200" { " bouncing" } else { "" }));
        expected.push(format!("\tlocal\tl{n}"));
        expected.extend((n == "1100").then(|| "\tremote\tr1100".to_string()));
    }
    for limit in [12, 40, 1024] {
        let script = format!("ulimit -n {limit}; exec {}", env!("CARGO_BIN_EXE_qmail-qread"));
        let done = Command::new("sh").args(["-c", &script]).env("QMAILHOME", home.path()).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let lines: Vec<&str> =
            text.lines().map(|line| line.split_once(" GMT  ").map_or(line, |(_, rest)| rest)).collect();
        assert_eq!(lines, expected, "{limit}");
        assert_eq!(done.status.code(), Some(0));
    }
}

#[test]
fn qread_shows_what_is_left_when_a_directory_is_missing() {
    let home = home(3);
    put(home.path(), "mess/1/4", b"x");
    put(home.path(), "info/1/4", b"Fa\0");
    put(home.path(), "remote/1/4", b"Tb\0");
    for dir in ["local/1", "bounce"] {
        fs::remove_dir(home.path().join("queue").join(dir)).unwrap();
    }
    let done = run(env!("CARGO_BIN_EXE_qmail-qread"), home.path());
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(" GMT  #4  1  <a> "), "{text}");
    assert_eq!(lines[1..], ["\tremote\tb"]);
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn q6_qread_passes_over_foreign_names_and_reports_garbage_by_number() {
    let home = home(23);
    put(home.path(), "info/3/README", b"Fa\0");
    put(home.path(), "mess/3/26", b"x");
    put(home.path(), "info/3/26", &vec![b'F'; 100_000]);
    put(home.path(), "mess/4/27", b"x");
    put(home.path(), "info/4/27", b"Fa\0");
    put(home.path(), "local/4/27", &[b"?junk\0Tb\0", &vec![b'T'; 100_000][..]].concat());
    let done = run(env!("CARGO_BIN_EXE_qmail-qread"), home.path());
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "warning: trouble with #26: format error");
    assert!(lines[1].ends_with("#27  1  <a> "));
    assert_eq!(lines[2..], ["\tlocal\tb", "warning: trouble with #27: format error"]);
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn showctl_tells_the_split_on_disk() {
    let home = home(7);
    let done = run(env!("CARGO_BIN_EXE_qmail-showctl"), home.path());
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("\nsubdirectory split: 7.\n"), "{text}");
    assert!(text.starts_with(&format!("qmail home directory: {}.\n", home.path().display())));
}

#[test]
fn views_end_with_111_when_nobody_can_read_their_output() {
    let home = home(3);
    for program in [env!("CARGO_BIN_EXE_qmail-qstat"), env!("CARGO_BIN_EXE_qmail-showctl")] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(program);
        command.env("QMAILHOME", home.path()).stdout(full).stderr(std::process::Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(111), "{program}");
    }
}
