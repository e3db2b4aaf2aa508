//! The compilers of lists as the administrator sees them, and the programs that are asked about a recipient.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

const COMPILERS: [(&str, &str, &str); 4] = [
    ("qmail-recipients", env!("CARGO_BIN_EXE_qmail-recipients"), "users/recipients"),
    ("qmail-mfrules", env!("CARGO_BIN_EXE_qmail-mfrules"), "control/mailfromrules"),
    ("qmail-badmimetypes", env!("CARGO_BIN_EXE_qmail-badmimetypes"), "control/badmimetypes"),
    ("qmail-badloadertypes", env!("CARGO_BIN_EXE_qmail-badloadertypes"), "control/badloadertypes"),
];

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("control")).unwrap();
    fs::create_dir(home.path().join("users")).unwrap();
    home
}

fn compile(program: &str, home: &Path) -> Output {
    Command::new(program).env_clear().env("QMAILHOME", home).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// All records, as text.
fn records(home: &Path, list: &str) -> Vec<(String, String)> {
    let cdb = control::cdb::Cdb::open(&home.join(format!("{list}.cdb"))).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    cdb.records().map(|r| r.unwrap()).map(|(key, data)| (text(key), text(data))).collect()
}

#[test]
fn lists_become_the_keys_that_qmail_smtpd_looks_up() {
    let texts = [
        "# mine\nJoe@Host.test \t\n\n joe-@x.test\nlast@a.test",
        "# mine\nJoe&joe@Host.test,@b.test\n10.0.0.1-2&\n\n=.c.test&.c.test",
        "# mine\nTVqQAAMAAAAEAAAA\nTVqQAAMAA\nshort\n\nUEsDBBQAA",
        "# mine\nTVqQAAM\nTVpQA\nTVp\nM8ABC",
    ];
    let expected: [&[(&str, &str)]; 4] = [
        &[(":joe@host.test", ""), (": joe-@x.test", ""), (":last@a.test", "")],
        &[("joe", "+joe@host.test+@b.test"), ("10.0.0.1", ""), ("10.0.0.2", ""), ("=.c.test", "+.c.test")],
        &[("TVqQAAMAA", ""), ("TVqQAAMAA", ""), ("UEsDBBQAA", "")],
        &[("TVqQA", ""), ("TVpQA", ""), ("M8ABC", "")],
    ];
    let home = home();
    for (((name, program, list), text), expected) in COMPILERS.into_iter().zip(texts).zip(expected) {
        fs::write(home.path().join(list), text).unwrap();
        let output = compile(program, home.path());
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{name}");
        let expected: Vec<(String, String)> = expected.iter().map(|(k, d)| (k.to_string(), d.to_string())).collect();
        assert_eq!(records(home.path(), list), expected, "{name}");
        assert!(!home.path().join(format!("{list}.tmp")).exists());
    }
}

#[test]
fn d5_on_any_error_the_old_list_stays() {
    let home = home();
    for (name, program, list) in COMPILERS {
        let cdb = home.path().join(format!("{list}.cdb"));
        fs::write(&cdb, "old").unwrap();
        let output = compile(program, home.path());
        let expected = format!("{name}: fatal: unable to read {list}: file does not exist\n");
        assert_eq!((output.status.code(), stderr(&output)), (Some(111), expected));
        fs::write(home.path().join(list), "# nothing\n").unwrap();
        fs::create_dir(home.path().join(format!("{list}.tmp"))).unwrap();
        let output = compile(program, home.path());
        let expected = format!("{name}: fatal: unable to write to {list}.tmp: is a directory\n");
        assert_eq!((output.status.code(), stderr(&output)), (Some(111), expected));
        assert_eq!(fs::read(&cdb).unwrap(), b"old");
        let output = compile(program, &home.path().join("none"));
        assert!(stderr(&output).starts_with(&format!("{name}: fatal: unable to chdir to /")), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(111));
    }
}

#[test]
fn a_line_that_is_no_rule_is_shown_and_nothing_changes() {
    let home = home();
    let list = home.path().join("control/mailfromrules");
    fs::write(list.with_extension("cdb"), "old").unwrap();
    fs::write(&list, "10.0.0.1&@a.test\n10.0.0.1-x&@\x07a.test\n").unwrap();
    let output = compile(env!("CARGO_BIN_EXE_qmail-mfrules"), home.path());
    let expected = "qmail-mfrules: fatal: unable to parse this line: 10.0.0.1-x&@?a.test\n";
    assert_eq!((output.status.code(), stderr(&output)), (Some(100), expected.to_string()));
    assert_eq!(fs::read(list.with_extension("cdb")).unwrap(), b"old");
}

/// Runs qmail-vmailuser with `input` on fd 3.
fn vmailuser(home: &Path, args: &str, input: &[u8]) -> Option<i32> {
    fs::write(home.join("input"), input).unwrap();
    let script = format!("exec {} {args} 3<{}/input", env!("CARGO_BIN_EXE_qmail-vmailuser"), home.display());
    Command::new("/bin/sh").args(["-c", &script]).env("QMAILHOME", home).status().unwrap().code()
}

#[test]
fn virtual_users_are_directories_of_vmailmgr_or_vpopmail() {
    let home = home();
    fs::write(home.path().join("control/virtualdomains"), "V.test:vu\nnone.test:\nother.test:gone\n").unwrap();
    for dir in ["homes/vu/users/j:d", "homes/vu/users/Big", "homes/vpopmail/domains/vu/p.q"] {
        fs::create_dir_all(home.path().join(dir)).unwrap();
    }
    fs::write(home.path().join("homes/vu/users/file"), "").unwrap();
    let homes = home.path().join("homes").display().to_string();
    for (args, input, code) in [
        (&*homes, "j.d@v.test\0\0\0", 0),
        (&homes, "J.D@V.TEST\0", 0),
        (&homes, "p.q@v.test", 0),
        (&homes, "big@v.test\0", 1),
        (&format!("{homes} -C"), "Big@v.test\0", 0),
        (&homes, "Big@v.test\0", 1),
        (&homes, "file@v.test\0", 1),
        (&homes, "../vu/users/Big@v.test\0", 1),
        (&homes, "..@v.test\0", 1),
        (&homes, "@v.test\0", 1),
        (&homes, "j.d@none.test\0", 1),
        (&homes, "j.d@other.test\0", 1),
        (&homes, "j.d@unknown.test\0", 1),
        (&homes, "j.d", 1),
        (&homes, "", 1),
        (&homes, &format!("{}@v.test\0", "x".repeat(900)), 1),
        (&homes, &format!("{}@v.test\0", "x".repeat(1024)), 2),
        (&format!("{homes}/none"), "j.d@v.test\0", 2),
        (&format!("{homes} -x"), "j.d@v.test\0", 2),
    ] {
        assert_eq!(vmailuser(home.path(), args, input.as_bytes()), Some(code), "{args} {input:?}");
    }
    let closed = format!("exec {} {homes} 3<&-", env!("CARGO_BIN_EXE_qmail-vmailuser"));
    let status = Command::new("/bin/sh").args(["-c", &closed]).env("QMAILHOME", home.path()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    fs::remove_file(home.path().join("control/virtualdomains")).unwrap();
    assert_eq!(vmailuser(home.path(), &homes, b"j.d@v.test"), Some(1));
    fs::create_dir(home.path().join("control/virtualdomains")).unwrap();
    assert_eq!(vmailuser(home.path(), &homes, b"j.d@v.test"), Some(111));
}

/// Runs qmail-postgrey against a server that gives this answer; what the server read, and how the program ended.
fn postgrey(answer: &'static str) -> (String, Output) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut asked = String::new();
        while !asked.ends_with("\n\n") && lines.read_line(&mut asked).unwrap() > 0 {}
        (&stream).write_all(answer.as_bytes()).unwrap();
        asked
    });
    let output = ask_postgrey(&format!("127.0.0.1;{port}"));
    (server.join().unwrap(), output)
}

fn ask_postgrey(server: &str) -> Output {
    let args = [server, "f@a.test", "t@b.test", "192.0.2.1", "h.test"];
    Command::new(env!("CARGO_BIN_EXE_qmail-postgrey")).args(args).output().unwrap()
}

#[test]
fn postgrey_defers_and_nothing_else_does() {
    for (answer, code, complains) in [
        ("action=DEFER_IF_PERMIT Greylisted, see http://postgrey.test/\n\n", 10, false),
        ("action=DUNNO\n\n", 0, false),
        ("action=PREPEND X-Greylist: delayed 300 seconds\n\n", 0, false),
        ("action=DEFER", 0, true),
        ("", 0, true),
    ] {
        let (asked, output) = postgrey(answer);
        let expected = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nclient_name=h.test\n\
                        sender=f@a.test\nrecipient=t@b.test\n\n";
        assert_eq!(asked, expected);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{answer:?}");
        assert_eq!(!output.stderr.is_empty(), complains, "{answer:?} {}", stderr(&output));
    }
}

#[test]
fn without_postgrey_mail_goes_on() {
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let output = ask_postgrey(&format!("127.0.0.1;{port}"));
    let expected = "qmail-postgrey: warning: no answer from postgrey, recipient taken: connection refused\n";
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), expected.to_string()));
    assert_eq!(ask_postgrey("localhost").status.code(), Some(100));
    assert_eq!(Command::new(env!("CARGO_BIN_EXE_qmail-postgrey")).output().unwrap().status.code(), Some(100));
}
