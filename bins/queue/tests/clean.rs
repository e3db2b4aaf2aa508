//! qmail-clean through its pipes, where requests come only now and then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What may be in memory of the code of a program that rests, here one that is not optimized (KiB): two of the kernel's
/// neighbourhoods of 64 and a few pages. Awake it has more than 200.
const CODE_MAX: u64 = 150;

/// Waits until the program has given back its code, but for what the wait itself needs.
fn wait_until_rested(child: &Child) {
    let end = Instant::now() + Duration::from_secs(60);
    while mapped_code(child) > CODE_MAX {
        assert!(Instant::now() < end, "{} KiB of code are mapped still", mapped_code(child));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How much of the program's own code is in memory (KiB).
fn mapped_code(child: &Child) -> u64 {
    let all = fs::read_to_string(format!("/proc/{}/smaps", child.id())).unwrap();
    let (mut own, mut sum) = (false, 0);
    for line in all.lines() {
        if line.contains(" r-xp ") || line.contains(" rw-p ") || line.contains(" r--p ") {
            own = line.contains(" r-xp ") && line.ends_with("/qmail-clean");
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| own) {
            sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn requests_are_answered_after_a_rest() {
    let home = tempfile::tempdir().unwrap();
    let queue = home.path().join("queue");
    for dir in ["pid", "intd", "todo"] {
        fs::create_dir_all(queue.join(dir)).unwrap();
    }
    (0..conf::SPLIT).for_each(|n| fs::create_dir_all(queue.join(format!("mess/{n}"))).unwrap());
    let mut clean = Command::new(env!("CARGO_BIN_EXE_qmail-clean"));
    clean.env_clear().env("QMAILHOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = clean.spawn().unwrap();
    let (mut requests, mut answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for n in [1, 2, 3] {
        wait_until_rested(&child);
        for file in [queue.join(format!("intd/{n}")), queue.join(format!("mess/{n}/{n}"))] {
            fs::write(file, "x").unwrap();
        }
        // A request that comes in two parts, and one that waits behind it.
        for part in [&b"fo"[..], format!("op/{n}\0none\0").as_bytes()] {
            requests.write_all(part).unwrap();
        }
        let mut answer = [0; 2];
        answers.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+x");
        assert!(!queue.join(format!("intd/{n}")).exists() && !queue.join(format!("mess/{n}/{n}")).exists());
    }
    drop(requests);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
