//! package/bench, with a few messages: all workloads go through both systems, and nothing stays behind.
//!
//! Needs root, name spaces, what package/compile collects, and Debian's Postfix, installed or to be downloaded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use whole_system::host::{programs_are_collected, skip, sources, step};
use whole_system::{am_root, stand_in, stderr, stdout};

const WORKLOADS: [&str; 8] =
    ["smtp-serial", "smtp-conn", "smtp-many", "smtp-rcpts", "submit-1", "submit-8", "remote-smtp", "fan-out"];

#[test]
fn the_comparison_with_postfix_works_and_leaves_nothing_behind() {
    if !am_root() {
        return skip("package/bench needs root");
    }
    if !programs_are_collected() {
        return skip("package/compile has collected no programs");
    }
    let probe = Command::new("unshare").args(["--mount", "--net", "--pid", "--ipc", "--fork", "true"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        return skip("package/bench needs private name spaces");
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = step(&sources(), &["bench", "--tiny", "--dir", dir.path().to_str().unwrap()]);
    command.env("LOAD", stand_in("load")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let done = child.wait_with_output().unwrap();
    let (said, complained) = (stdout(&done), stderr(&done));
    if complained.contains("Postfix is not installed") {
        return skip(&format!("no Postfix to be had: {complained}"));
    }

    assert!(done.status.success(), "{}: {said}{complained}", done.status);
    let rows: Vec<Vec<&str>> = said.lines().map(|l| l.split_whitespace().collect()).collect();
    for name in WORKLOADS {
        let at = rows.iter().position(|r| r.starts_with(&[name, "quoll"])).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(rows[at + 1].starts_with(&["postfix"]) && rows[at + 2].starts_with(&["ratio"]), "{said}");
        assert!(rows[at..at + 2].iter().flatten().skip(2).all(|w| *w != "NaN"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    for line in mounts.lines().filter(|l| l.contains(" cgroup2 ")) {
        let mine = Path::new(line.split(' ').nth(1).unwrap()).join(format!("quoll-bench.{pid}"));
        assert!(!mine.exists(), "{}", mine.display());
    }
}
