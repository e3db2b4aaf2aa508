//! Harness shared by the whole-system tests: the programs as they were built, and private homes to run them in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod host;
pub mod load;
pub mod machine;
pub mod names;
pub mod site;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Whom a test run by root has its deliveries made to.
pub const USER: u32 = 54321;

/// Where a program of the workspace was built: by package/compile if package/test runs this (it sets STAGE), else
/// beside this test, as `cargo test --workspace` leaves it.
pub fn program(name: &str) -> PathBuf {
    let profile = profile_dir();
    let beside = if std::env::var_os("STAGE").is_some() { profile.join("../bin") } else { profile };
    let file = beside.join(name);
    assert!(file.exists(), "{} is missing: build the whole workspace", file.display());
    file
}

/// A stand-in of tests/examples.
pub fn stand_in(name: &str) -> PathBuf {
    profile_dir().join("examples").join(name)
}

/// target/PROFILE, two floors above the running test in deps.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_path_buf()
}

/// Whether this test has the rights of root.
pub fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The account that deliveries can be made to.
pub fn user() -> u32 {
    if am_root() { USER } else { fs::metadata("/proc/self").unwrap().uid() }
}

/// A private home with an empty queue.
pub struct Home(tempfile::TempDir);

impl Home {
    /// With these programs in bin.
    pub fn new(programs: &[&str]) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        // A recipient's processes, too, have their way to it.
        fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        for dir in ["bin", "control", "users", "alias"] {
            fs::create_dir(home.path(dir)).unwrap();
        }
        for dir in ["pid", "intd", "todo", "bounce", "lock"] {
            fs::create_dir_all(home.path("queue").join(dir)).unwrap();
        }
        for dir in ["mess", "info", "local", "remote"] {
            (0..conf::SPLIT).for_each(|n| fs::create_dir_all(home.path(&format!("queue/{dir}/{n}"))).unwrap());
        }
        home.put("queue/lock/tcpto", &[0; 1024]);
        home.put("control/me", b"me.test\n");
        programs.iter().for_each(|name| home.install(&program(name), name));
        home
    }

    /// A path below home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file below home.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Makes a copy of `file` a program of this home. Copied by another process: if this one had it open for writing
    /// while another test forks, it could not be executed (text busy).
    pub fn install(&self, file: &Path, name: &str) {
        let to = self.path("bin").join(name);
        assert!(Command::new("cp").arg(file).arg(&to).status().unwrap().success());
        fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program of this home, to be run in it.
    pub fn command(&self, name: &str) -> Command {
        self.through(&[], name)
    }

    /// Likewise, through another program: the first of `words`.
    pub fn through(&self, words: &[&str], name: &str) -> Command {
        let file = self.path("bin").join(name);
        let mut command = match words.split_first() {
            None => Command::new(file),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(file);
                command
            }
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").env("QMAILHOME", self.0.path());
        command
    }

    /// A home directory for the user joe, with this .qmail.
    pub fn mailbox(&self, dotqmail: &str) {
        let (joe, uid) = (self.path("joe"), user());
        fs::create_dir(&joe).unwrap();
        self.put("joe/.qmail", dotqmail.as_bytes());
        for file in [joe.clone(), joe.join(".qmail")] {
            chown(&file, Some(uid), Some(uid)).or_else(|e| if am_root() { Err(e) } else { Ok(()) }).unwrap();
        }
        self.put("users/assign", format!("=joe:joe:{uid}:{uid}:{}:::\n.\n", joe.display()).as_bytes());
        self.install(&program("qmail-newu"), "qmail-newu");
        assert!(self.command("qmail-newu").status().unwrap().success());
    }

    /// The files in a directory of the queue and in its subdirectories.
    pub fn queue_files(&self, dir: &str) -> Vec<PathBuf> {
        files(&self.path("queue").join(dir))
    }
}

/// The files in `dir` and below.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Runs `command` with `input` on its fd 0.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    let mut to = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The program may end before it has read everything.
        let _ = to.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// fd 1 as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// fd 2 as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
