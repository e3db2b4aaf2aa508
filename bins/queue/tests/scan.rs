//! QHPSI: the scanner that qmail-queue runs, in a private home, where the caller is the owner of the queue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const ENVELOPE: &[u8] = b"Fann@a.test\0Tjoe@b.test\0\0";

/// An empty queue, and a scanner in bin that notes how it was called and exits with what the message says.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["pid", "intd", "todo", "lock"] {
        fs::create_dir_all(home.path().join("queue").join(dir)).unwrap();
    }
    (0..conf::SPLIT).for_each(|n| fs::create_dir_all(home.path().join(format!("queue/mess/{n}"))).unwrap());
    fs::create_dir_all(home.path().join("bin")).unwrap();
    let script = "#!/bin/sh\necho printed\n{ pwd; echo \"$@\"; } >../called\n\
        code=$(sed -n 's/^Subject: exit //p' \"$1\")\n[ \"$code\" != kill ] || kill -9 $$\nexit \"${code:-0}\"\n";
    let file = home.path().join("bin/scanner");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// Submits a message; the exit code. Checks that it is queued only with code 0, and that nothing else is left.
fn submit(home: &Path, variables: &[(&str, &str)], message: &[u8], envelope: &[u8]) -> i32 {
    let _ = fs::remove_file(home.join("called"));
    let mut input = tempfile::tempfile().unwrap();
    let mut second = tempfile::tempfile().unwrap();
    for (file, bytes) in [(&mut input, message), (&mut second, envelope)] {
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", home.join("bin").display());
    let mut queue = Command::new(env!("CARGO_BIN_EXE_qmail-queue"));
    queue.env_clear().env("QMAILHOME", home).env("PATH", path).envs(variables.iter().copied());
    let code = queue.stdin(input).stdout(second).stderr(Stdio::null()).status().unwrap().code().unwrap();
    let count = |dir: &str| files(&home.join("queue").join(dir));
    let queued = usize::from(code == 0);
    assert_eq!((count("mess"), count("todo"), count("pid")), (queued, queued, 0), "{variables:?}: {code}");
    for dir in ["mess", "intd", "todo"] {
        empty(&home.join("queue").join(dir));
    }
    code
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files(&p) } else { 1 }).sum()
}

fn empty(dir: &Path) {
    for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() { empty(&path) } else { fs::remove_file(path).unwrap() }
    }
}

#[test]
fn the_scanner_decides() {
    let home = home();
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, i32);
    let rows: [Row<'_>; 12] = [
        (&[("QHPSI", "scanner")], "exit 0", 0),
        (&[("QHPSI", "scanner")], "exit 1", 32),
        (&[("QHPSI", "scanner")], "exit 2", 71),
        (&[("QHPSI", "scanner")], "exit 111", 71),
        (&[("QHPSI", "scanner")], "exit kill", 71),
        (&[("QHPSI", "scanner"), ("QHPSIRC", "99x")], "exit 99", 32),
        (&[("QHPSI", "scanner"), ("QHPSIRC", "99")], "exit 1", 71),
        (&[("QHPSI", "scanner"), ("QHPSIRC", "junk")], "exit 1", 32),
        (&[("QHPSI", "no-such-program")], "exit 0", 71),
        (&[("QHPSI", "bin")], "exit 0", 71),
        (&[("QHPSI", "")], "exit 1", 0),
        (&[], "exit 1", 0),
    ];
    for (variables, subject, code) in rows {
        let message = format!("Subject: {subject}\n\nx\n");
        assert_eq!(submit(home.path(), variables, message.as_bytes(), ENVELOPE), code, "{variables:?} {subject}");
        let called = variables.first().is_some_and(|(_, value)| *value == "scanner");
        assert_eq!(home.path().join("called").exists(), called, "{variables:?}");
    }
}

#[test]
fn its_arguments_are_the_file_and_what_is_set() {
    let home = home();
    let queue = fs::canonicalize(home.path().join("queue")).unwrap();
    for (set, more) in [
        (&[][..], ""),
        (&["QHPSIARG1"], " a1"),
        (&["QHPSIARG1", "QHPSIARG2", "QHPSIARG3"], " a1 a2 a3"),
        // The first that is missing ends the list.
        (&["QHPSIARG2", "QHPSIARG3"], ""),
    ] {
        let values: Vec<_> = set.iter().map(|name| (*name, name.replace("QHPSIARG", "a"))).collect();
        let mut variables = vec![("QHPSI", "scanner")];
        variables.extend(values.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(submit(home.path(), &variables, b"Subject: x\n\n", ENVELOPE), 0);
        let called = fs::read_to_string(home.path().join("called")).unwrap();
        let (dir, arguments) = called.trim_end().split_once('\n').unwrap();
        assert_eq!(dir, queue.to_str().unwrap());
        let mut parts = arguments.splitn(2, ' ');
        let file: Vec<_> = parts.next().unwrap().split('/').collect();
        assert!(
            matches!(file[..], ["mess", n, m] if n.parse::<u64>().unwrap() == m.parse::<u64>().unwrap() % conf::SPLIT)
        );
        assert_eq!(parts.next().unwrap_or_default(), more.trim_start());
    }
}

#[test]
fn sizes_and_the_submitters_word_spare_it() {
    let home = home();
    // With the Received field about 170 bytes.
    let message = [b"Subject: exit 1\n\n".as_slice(), &[b'x'; 100]].concat();
    let spared: &[u8] = b"Fann@a.test\0Tjoe@b.test\0Q\0";
    for (least, most, envelope, code) in [
        ("", "", ENVELOPE, 32),
        ("0", "0", ENVELOPE, 32),
        ("100", "1000", ENVELOPE, 32),
        ("1000", "", ENVELOPE, 0),
        ("", "100", ENVELOPE, 0),
        ("", "", spared, 0),
    ] {
        let variables = [("QHPSI", "scanner"), ("QHPSIMINSIZE", least), ("QHPSIMAXSIZE", most)];
        assert_eq!(submit(home.path(), &variables, &message, envelope), code, "{least} {most}");
    }
}

#[test]
fn a_caller_that_ignores_its_children_changes_nothing() {
    let home = home();
    fs::write(home.path().join("in"), "Subject: exit 1\n\n").unwrap();
    fs::write(home.path().join("envelope"), ENVELOPE).unwrap();
    let script = "trap '' CHLD; cd \"$QMAILHOME\"; exec \"$0\" <in 1<envelope";
    let mut sh = Command::new("sh");
    sh.args(["-c", script, env!("CARGO_BIN_EXE_qmail-queue")]);
    let path = format!("{}:/usr/bin:/bin", home.path().join("bin").display());
    let sh = sh.env_clear().env("QMAILHOME", home.path()).env("PATH", path).env("QHPSI", "scanner");
    assert_eq!(sh.status().unwrap().code(), Some(32));
}
