//! A private home with a stand-in for qmail-queue, and a way to run the programs of this package in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home whose qmail-queue keeps what it is given in `message` and `envelope`, and exits with what `exit` says.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        for dir in ["bin", "control"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        fs::write(home.path("control/me"), "me.test\n").unwrap();
        home.script(
            "qmail-queue",
            "cat >message; cat <&1 >envelope; test -s envelope || exit 54; exit `cat exit 2>/dev/null || echo 0`",
        );
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a shell script into bin/.
    pub fn script(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub fn command(&self, program: &str, name: &str, args: &[&str]) -> Command {
        let mut c = Command::new(program);
        c.arg0(name).args(args).env_clear().env("PATH", "/usr/bin:/bin").env("USER", "u");
        c.env("QMAILHOME", self.0.path()).current_dir("/");
        c
    }

    /// What was queued: message, envelope.
    pub fn queued(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let envelope = fs::read(self.path("envelope")).ok().filter(|e| !e.is_empty())?;
        Some((fs::read(self.path("message")).unwrap(), envelope))
    }
}

/// Runs a program with this as its fd 0.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that has seen enough may end early.
        let _ = to.write_all(&input);
    });
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

/// Runs a program with a directory as its fd 0: every read fails.
pub fn run_unreadable(mut command: Command) -> Output {
    command.stdin(File::open(Path::new("/")).unwrap()).output().unwrap()
}

pub fn code(out: &Output) -> i32 {
    out.status.code().unwrap()
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}
