//! qmail-smtpd as its callers see it: descriptors, environment, control files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A private home, with a queue program that keeps what it gets and what it sees.
struct Home(tempfile::TempDir);

/// What a session came to.
struct Session {
    replies: Vec<String>,
    log: String,
    exit: Option<i32>,
}

impl Session {
    fn last(&self) -> &str {
        self.replies.last().unwrap()
    }
}

const ENVELOPE: &str = "MAIL FROM:<a@there.test>\r\nRCPT TO:<b@here.test>\r\n";

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path("control")).unwrap();
        std::fs::create_dir(home.path("bin")).unwrap();
        home.control("me", "mx.test\n");
        home.control("rcpthosts", "here.test\n");
        // Takes the whole message and only then the envelope; without an end of the envelope nothing is queued.
        home.queue_program(
            "cat >message; cat <&1 >envelope; env >environment; tail -c1 envelope | grep -qz . && exit 54",
        );
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn control(&self, name: &str, text: &str) {
        std::fs::write(self.path("control").join(name), text).unwrap();
    }

    fn queue_program(&self, script: &str) {
        let file = self.path("bin/qmail-queue");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\nexit 0\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn smtpd(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qmail-smtpd"));
        command.env_clear().env("QMAILHOME", self.0.path()).env("PATH", "/usr/bin:/bin");
        command.env("TCPREMOTEIP", "192.0.2.1").env("TCPREMOTEHOST", "client.test").env("TCPLOCALHOST", "mx.test");
        command
    }

    fn play(&self, script: &str) -> Session {
        play(&mut self.smtpd(), script)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Sends all of `script`, then the end of input.
fn play(command: &mut Command, script: &str) -> Session {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    Session { replies: text.split_terminator("\r\n").map(str::to_string).collect(), log, exit: output.status.code() }
}

#[test]
fn a_message_is_handed_to_bin_qmail_queue_below_home() {
    let home = Home::new();
    let s = home.play(&format!("EHLO x.test\r\n{ENVELOPE}DATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n"));
    assert_eq!(s.exit, Some(0));
    assert_eq!(s.replies[0], "220 mx.test ESMTP");
    assert_eq!(s.last(), "221 mx.test");
    assert!(s.replies[s.replies.len() - 2].starts_with("250 ok "));
    assert_eq!(home.read("envelope"), "Fa@there.test\0Tb@here.test\0\0");
    let message = home.read("message");
    assert!(message.starts_with("Received: from client.test (HELO x.test) (192.0.2.1)\n  by mx.test with ESMTP; "));
    assert!(message.ends_with("\nSubject: x\n\n.\n"));
    let (start, event) = s.log.split_once(" Accept::").unwrap();
    assert!(start.strip_prefix("qmail-smtpd: pid ").unwrap().parse::<u32>().is_ok());
    assert_eq!(event, "RCPT::Rcpthosts_Rcptto P:ESMTP S:192.0.2.1:client.test H:x.test F:a@there.test T:b@here.test\n");
}

#[test]
fn a_dialogue_is_answered_step_by_step() {
    let home = Home::new();
    let mut child = home.smtpd().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut expect = |text: &str| {
        let mut seen = vec![0; text.len()];
        from.read_exact(&mut seen).unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), text);
    };
    expect("220 mx.test ESMTP\r\n");
    for (line, answer) in [
        ("HELO x\r\n", "250 mx.test\r\n"),
        ("MAIL FROM:<>\r\n", "250 ok\r\n"),
        ("RCPT TO:<a@here.test>\r\n", "250 ok\r\n"),
        ("DATA\r\n", "354 go ahead\r\n"),
        ("x\r\n.\r\n", "250 ok "),
    ] {
        to.write_all(line.as_bytes()).unwrap();
        expect(answer);
    }
    drop(to);
    assert_eq!(child.wait().unwrap().code(), Some(1), "input ended without QUIT");
}

#[test]
fn s9_a_line_of_64_mib_passes_through_32_mib_of_address_space() {
    let home = Home::new();
    home.queue_program("wc -c >count; cat <&1 >envelope");
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -v 32768; exec \"$0\"", env!("CARGO_BIN_EXE_qmail-smtpd")]);
    limited.env_clear().env("QMAILHOME", home.0.path()).env("PATH", "/usr/bin:/bin");
    let line = "x".repeat(64 << 20);
    let s = play(&mut limited, &format!("{ENVELOPE}DATA\r\n{line}\r\n.\r\nQUIT\r\n"));
    assert_eq!(s.last(), "221 mx.test");
    assert!(home.read("count").trim().parse::<usize>().unwrap() > 64 << 20);
}

#[test]
fn s14_end_of_input_in_data_leaves_the_envelope_open() {
    let home = Home::new();
    // Says what it saw on a pipe that the test reads: the program does not wait for it.
    home.queue_program("cat >message; wc -c <&1 >&2");
    let s = home.play(&format!("{ENVELOPE}DATA\r\nx\r\n"));
    assert_eq!((s.exit, s.last()), (Some(1), "354 go ahead"));
    assert_eq!(s.log.lines().last().map(str::trim), Some("0"));
}

#[test]
fn s24_what_a_client_says_is_only_ever_the_value_of_a_documented_variable() {
    let home = Home::new();
    let odd = "() { :;}; echo hacked";
    home.play(&format!("HELO {odd}\r\nMAIL FROM:<{odd}>\r\nRCPT TO:<{odd}>\r\nDATA\r\n.\r\nQUIT\r\n"));
    assert_eq!(home.read("envelope"), format!("F{odd}\0T{odd}\0\0"));
    let environment = home.read("environment");
    let names: Vec<_> = environment.lines().map(|l| l.split('=').next().unwrap()).collect();
    for name in names {
        // The shell of the script sets the last four.
        let known =
            ["QMAILHOME", "PATH", "TCPREMOTEIP", "TCPREMOTEHOST", "TCPLOCALHOST", "PWD", "OLDPWD", "SHLVL", "_"];
        let said = ["HELOHOST", "MAILFROM", "RCPTTO"];
        assert!(known.contains(&name) || said.contains(&name), "{name}");
    }
    for line in [format!("HELOHOST={odd}"), format!("MAILFROM={odd}"), format!("RCPTTO={odd} ")] {
        assert!(environment.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn s25_controls_that_cannot_be_read_get_421_and_exit_1() {
    for name in ["me", "smtpgreeting", "timeoutsmtpd", "databytes", "badmailfrom", "rcpthosts"] {
        let home = Home::new();
        let file = home.path("control").join(name);
        let _ = std::fs::remove_file(&file);
        std::fs::create_dir(&file).unwrap();
        let s = home.play("QUIT\r\n");
        assert_eq!((s.exit, s.last()), (Some(1), "421 unable to read controls (#4.3.0)"), "{name}");
        assert!(s.log.starts_with("qmail-smtpd: fatal: unable to read "), "{}", s.log);
        assert!(s.log.ends_with(&format!("/control/{name}: is a directory\n")), "{}", s.log);
    }
    // What is read when the first recipient comes.
    for (name, recipient) in
        [("morercpthosts.cdb", "a@more.test"), ("badrcptto", "a@here.test"), ("badmailto", "a@here.test")]
    {
        let home = Home::new();
        if name.ends_with(".cdb") {
            home.control(name, "cut");
        } else {
            std::fs::create_dir(home.path("control").join(name)).unwrap();
        }
        let s = home.play(&format!("MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nQUIT\r\n"));
        assert_eq!((s.exit, s.last()), (Some(1), "421 unable to read controls (#4.3.0)"), "{name}");
    }
}

#[test]
fn s8_a_command_of_64_mib_is_skipped_within_32_mib_of_address_space() {
    let home = Home::new();
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -v 32768; exec \"$0\"", env!("CARGO_BIN_EXE_qmail-smtpd")]);
    limited.env_clear().env("QMAILHOME", home.0.path()).env("PATH", "/usr/bin:/bin");
    let s = play(&mut limited, &format!("NOOP {}\r\nNOOP\r\nQUIT\r\n", "x".repeat(64 << 20)));
    assert_eq!(s.replies[1..], ["500 line too long (#5.5.2)", "250 ok", "221 mx.test"]);
    assert_eq!(s.exit, Some(0));
}

#[test]
fn without_a_name_there_is_no_service() {
    let home = Home::new();
    std::fs::remove_file(home.path("control/me")).unwrap();
    let s = home.play("QUIT\r\n");
    assert_eq!((s.exit, s.last()), (Some(1), "421 unable to read controls (#4.3.0)"));
    home.control("smtpgreeting", "hello there\n");
    assert_eq!(home.play("QUIT\r\n").replies, ["220 hello there ESMTP", "221 hello there"]);
}

#[test]
fn s26_a_queue_program_that_fails_is_reported_and_the_session_goes_on() {
    let rows = [
        ("exit 31", "554 mail server permanently rejected message (#5.3.0)"),
        ("exit 62", "451 qq trouble creating files in queue (#4.3.0)"),
        ("kill -9 $$", "451 qq crashed (#4.3.0)"),
        ("echo Dno >&6; cat >/dev/null; exit 82", "554 no?"),
    ];
    let home = Home::new();
    let script = format!("{ENVELOPE}DATA\r\n{}.\r\nQUIT\r\n", "x\r\n".repeat(100_000));
    for (program, reply) in rows {
        home.queue_program(program);
        let s = home.play(&script);
        assert_eq!((s.exit, s.replies[s.replies.len() - 2].as_str(), s.last()), (Some(0), reply, "221 mx.test"));
    }
    std::fs::remove_file(home.path("bin/qmail-queue")).unwrap();
    let s = home.play(&script);
    assert_eq!(s.replies[s.replies.len() - 2], "451 unable to exec qq (#4.3.0)");
}

#[test]
fn environment_variables_give_rights_and_limits() {
    let home = Home::new();
    home.control("databytes", "2\n");
    // A time limit beyond all time is as good as none.
    home.control("timeoutsmtpd", "99999999999999999999\n");
    let script = "MAIL FROM:<>\r\nRCPT TO:<a@far.test>\r\nDATA\r\n12345\r\n.\r\nQUIT\r\n";
    assert_eq!(home.play(script).replies[2], RELAYING_DENIED);
    let relay = |databytes: Option<&str>| {
        let mut smtpd = home.smtpd();
        smtpd.env("RELAYCLIENT", ".x");
        if let Some(n) = databytes {
            smtpd.env("DATABYTES", n);
        }
        play(&mut smtpd, script).replies[4][..3].to_string()
    };
    assert_eq!(relay(None), "552");
    assert_eq!(relay(Some("6")), "250");
    assert_eq!(home.read("envelope"), "F\0Ta@far.test.x\0\0");
    assert_eq!(relay(Some("0")), "250");
    let other = home.path("other");
    std::fs::copy(home.path("bin/qmail-queue"), &other).unwrap();
    std::fs::write(home.path("bin/qmail-queue"), "").unwrap();
    let mut smtpd = home.smtpd();
    smtpd.env("QMAILQUEUE", Path::new(&other)).env("RELAYCLIENT", "").env("DATABYTES", "0");
    assert_eq!(&play(&mut smtpd, script).replies[4][..3], "250");
}

const RELAYING_DENIED: &str = "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)";

#[test]
fn a_client_that_has_gone_is_exit_1() {
    let home = Home::new();
    let mut smtpd = home.smtpd();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = smtpd.stdin(Stdio::null()).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

/// Sends a line and returns the reply, which has one line.
fn say(to: &mut impl Write, from: &mut impl std::io::BufRead, line: &str) -> String {
    to.write_all(line.as_bytes()).unwrap();
    let mut reply = String::new();
    from.read_line(&mut reply).unwrap();
    reply.truncate(3);
    reply
}

#[test]
fn the_queue_program_of_a_message_that_never_comes_is_ended() {
    let home = Home::new();
    home.queue_program(
        "echo >>started; exec 3<&1 >/dev/null; cat >message; cat <&3 >envelope; test -s envelope || exit 54",
    );
    for (variable, early) in [("X", true), ("QHPSI", false)] {
        let pipes = &mut home.smtpd();
        let pipes = pipes.env(variable, "scanner").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = pipes.spawn().unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut ask = |line: &str| say(&mut to, &mut from, line);
        assert_eq!(ask(""), "220");
        let envelope = ["MAIL FROM:<a@there.test>\r\n", "RCPT TO:<b@here.test>\r\n"];
        let begun: Vec<_> = envelope.iter().map(|line| ask(line)).collect();
        assert_eq!((begun, ask("RSET\r\n")), (vec!["250".to_string(), "250".to_string()], "250".to_string()));
        // The reply to RSET waits for it.
        assert_eq!(home.path("started").exists(), early);
        let replies: Vec<_> = [envelope[0], envelope[1], "DATA\r\n", "Subject: x\r\n.\r\n"].map(ask).into();
        assert_eq!(replies, ["250", "250", "354", "250"]);
        assert_eq!(home.read("started").len(), if early { 2 } else { 1 });
        assert!(home.read("message").ends_with("Subject: x\n"));
        assert_eq!(home.read("envelope"), "Fa@there.test\0Tb@here.test\0\0");
        drop(to);
        child.wait().unwrap();
        std::fs::remove_file(home.path("started")).unwrap();
    }
}
