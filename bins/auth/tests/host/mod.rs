//! A private home, and programs run in it with their descriptor 3.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const AUTHUSER: &str = env!("CARGO_BIN_EXE_qmail-authuser");

/// A home with qmail-authcrypt in its bin.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        for dir in ["bin", "control", "users", "path"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_qmail-authcrypt"), home.path("bin/qmail-authcrypt")).unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("QMAILHOME", self.0.path());
        command
    }

    /// qmail-authuser's exit code with these arguments and `input` on descriptor 3; 4 is closed.
    pub fn run(&self, variables: &[(&str, &str)], args: &[&str], input: &[u8]) -> Option<i32> {
        let mut command = self.command("sh", &["-c", "exec \"$@\" 3<&0 4>&- </dev/null", "sh", AUTHUSER]);
        command.args(args).envs(variables.iter().copied());
        feed(&mut command, input)
    }
}

/// Runs a command with a pipe that holds `input`; its exit code.
pub fn feed(command: &mut Command, input: &[u8]) -> Option<i32> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait().unwrap().code()
}
