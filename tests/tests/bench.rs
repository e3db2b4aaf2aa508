//! package/bench, with a few messages or sessions: all workloads go through all systems, and nothing stays behind.
//!
//! Needs root, name spaces, what package/compile collects, and Debian's Postfix (and nginx), installed or to be
//! downloaded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use whole_system::host::{programs_are_collected, skip, sources, step};
use whole_system::{am_root, stand_in, stderr, stdout};

const WORKLOADS: [&str; 8] =
    ["smtp-serial", "smtp-conn", "smtp-many", "smtp-rcpts", "submit-1", "submit-8", "remote-smtp", "fan-out"];

const SESSIONS: [(&str, &[&str]); 6] = [
    ("plain", &["quoll", "postfix"]),
    ("p256-full", &["quoll", "nginx", "postfix"]),
    ("p256-resumed", &["quoll", "nginx", "postfix"]),
    ("rsa-full", &["quoll", "nginx", "postfix"]),
    ("idle-plain", &["quoll"]),
    ("idle-tls", &["quoll", "nginx"]),
];

#[test]
fn the_comparison_with_postfix_works_and_leaves_nothing_behind() {
    let Some(said) = tiny(&[]) else { return };
    let rows = rows(&said);
    for name in WORKLOADS {
        let at = rows.iter().position(|r| r.starts_with(&[name, "quoll"])).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(rows[at + 1].starts_with(&["postfix"]) && rows[at + 2].starts_with(&["ratio"]), "{said}");
        assert!(rows[at..at + 2].iter().flatten().skip(2).all(|w| *w != "-"), "{said}");
    }
}

#[test]
fn the_comparison_of_sessions_works_and_leaves_nothing_behind() {
    let Some(said) = tiny(&["--sessions"]) else { return };
    let rows = rows(&said);
    for (name, systems) in SESSIONS {
        let first = rows.iter().position(|r| r.starts_with(&[name])).unwrap_or_else(|| panic!("{name}: {said}"));
        assert_eq!(rows[first][1], systems[0], "{said}");
        for (n, system) in systems.iter().enumerate().skip(1) {
            assert!(rows[first + 2 * n - 1].starts_with(&[system]), "{name} {system}: {said}");
            assert!(rows[first + 2 * n].starts_with(&["ratio"]), "{name} {system}: {said}");
        }
        // Only what is without TLS has no part that is TLS.
        let last = rows[first].last().unwrap();
        assert_eq!(*last == "-", name.ends_with("plain"), "{said}");
        assert!(rows[first][2..rows[first].len() - 1].iter().all(|w| w.parse::<f64>().is_ok()), "{said}");
    }
}

fn rows(said: &str) -> Vec<Vec<&str>> {
    said.lines().map(|l| l.split_whitespace().collect()).collect()
}

/// What package/bench says with --tiny and these words; `None` if it can not be run here.
fn tiny(words: &[&str]) -> Option<String> {
    if !am_root() {
        skip("package/bench needs root");
        return None;
    }
    if !programs_are_collected() {
        skip("package/compile has collected no programs");
        return None;
    }
    let probe = Command::new("unshare").args(["--mount", "--net", "--pid", "--ipc", "--fork", "true"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        skip("package/bench needs private name spaces");
        return None;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = step(&sources(), &["bench", "--tiny", "--dir", dir.path().to_str().unwrap()]);
    command.args(words);
    command.env("LOAD", stand_in("load")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let done = child.wait_with_output().unwrap();
    let (said, complained) = (stdout(&done), stderr(&done));
    if complained.contains("package can not be downloaded") {
        skip(&format!("not all to be had that it compares with: {complained}"));
        return None;
    }

    assert!(done.status.success(), "{}: {said}{complained}", done.status);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    for line in mounts.lines().filter(|l| l.contains(" cgroup2 ")) {
        let mine = Path::new(line.split(' ').nth(1).unwrap()).join(format!("quoll-bench.{pid}"));
        assert!(!mine.exists(), "{}", mine.display());
    }
    Some(said)
}
