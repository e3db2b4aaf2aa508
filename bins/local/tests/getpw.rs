//! qmail-getpw as qmail-lspawn runs it, in the manner of a private instance: as root's tests run, as `USER`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

const USER: u32 = 54321;

/// Runs `program` for `local` in a home whose alias directory belongs to the running user.
fn ask(program: &str, local: &[&str]) -> (u32, String, Output) {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for dir in ["alias", "bin"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    let bin = |name: &str| home.path().join("bin").join(name);
    fs::copy(env!("CARGO_BIN_EXE_qmail-getpw"), bin("qmail-getpw")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_qmail-getnss"), bin("qmail-getnss")).unwrap();
    let mut command = Command::new(bin(program));
    command.args(local).env("QMAILHOME", home.path());
    let mut uid = fs::metadata("/proc/self").unwrap().uid();
    if uid == 0 {
        uid = USER;
        chown(home.path().join("alias"), Some(USER), Some(USER)).unwrap();
        command.uid(USER).gid(USER);
    }
    let output = loop {
        match command.output() {
            // Another test was just forking while the copy was being written.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            output => break output.unwrap(),
        }
    };
    (uid, home.path().join("alias").to_str().unwrap().into(), output)
}

#[test]
fn names_that_are_no_accounts_belong_to_the_user_of_a_private_instance() {
    for program in ["qmail-getpw", "qmail-getnss"] {
        for local in ["no.such.account", "No.Such-Account", "root", "", "-", "x:y", "\u{e4}", &"n".repeat(900)] {
            let (uid, alias, output) = ask(program, &[local]);
            assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]), "{program} {local}");
            let fields: Vec<&[u8]> = output.stdout.split(|&b| b == 0).collect();
            let expected = ["alias", &uid.to_string(), fields_gid(&fields), &alias, "-", local, ""];
            assert_eq!(fields, expected.map(str::as_bytes), "{program} {local}");
        }
    }
}

/// The group is the running one, which does not matter here.
fn fields_gid<'a>(fields: &[&'a [u8]]) -> &'a str {
    let gid = std::str::from_utf8(fields.get(2).unwrap()).unwrap();
    gid.parse::<u32>().unwrap();
    gid
}

#[test]
fn without_an_argument_it_exits_100() {
    for program in ["qmail-getpw", "qmail-getnss"] {
        let (_, _, output) = ask(program, &[]);
        assert_eq!((output.status.code(), output.stdout), (Some(100), vec![]));
    }
}
