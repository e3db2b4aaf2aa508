//! qmail-smtpam against servers that say what they are told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

/// A private home.
struct Home(tempfile::TempDir);

impl Home {
    fn new(controls: &[(&str, &str)]) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        for dir in ["bin", "control"] {
            fs::create_dir(home.0.path().join(dir)).unwrap();
        }
        for (name, text) in
            [("me", "me.test\n"), ("timeoutremote", "10\n"), ("timeoutconnect", "5\n")].iter().chain(controls)
        {
            fs::write(home.0.path().join("control").join(name), text).unwrap();
        }
        home
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 </dev/null", "sh", env!("CARGO_BIN_EXE_qmail-smtpam")]).args(args);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("QMAILHOME", self.0.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // The program may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }
}

/// Answers each line by the next of `script`, which begins with the greeting; then hangs up. Returns what it heard.
fn server(script: &[&str]) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script: Vec<String> = script.iter().map(|s| format!("{s}\r\n")).collect();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        let mut lines = BufReader::new(TcpStream::try_clone(&stream).unwrap());
        for answer in &script {
            (&stream).write_all(answer.as_bytes()).unwrap();
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                break;
            }
            heard.push(line.trim_end().to_string());
        }
        heard
    };
    (port, std::thread::spawn(serve))
}

/// Exit code, text, and what the server heard.
fn ask(controls: &[(&str, &str)], recipient: &str, script: &[&str]) -> (i32, String, Vec<String>) {
    let home = Home::new(controls);
    let (port, server) = server(script);
    let output = home.run(&["127.0.0.1", &port.to_string()], format!("{recipient}\0").as_bytes());
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), server.join().unwrap())
}

#[test]
fn the_reply_to_rcpt_decides() {
    let said = "Remote host said: ";
    let rows: &[(&[&str], i32, String)] = &[
        (&["220 x", "250 x", "250 ok", "250 ok"], 0, String::new()),
        (&["220 x", "250 x", "250 ok", "251 will forward"], 0, String::new()),
        (&["220 x", "250 x", "250 ok", "550 no"], 1, String::new()),
        (&["220 x", "250 x", "250 ok", "553 no"], 1, String::new()),
        (
            &["220 x", "250 x", "250 ok", "450 later"],
            111,
            format!("ZConnected to 127.0.0.1 but recipient was not decided on.\n{said}450 later\n\0"),
        ),
        (
            &["220 x", "250 x", "250 ok", "nonsense"],
            111,
            format!("ZConnected to 127.0.0.1 but recipient was not decided on.\n{said}nonsense\n\0"),
        ),
        (
            &["220 x", "250 x", "550 no"],
            111,
            format!("DConnected to 127.0.0.1 but sender was rejected.\n{said}550 no\n\0"),
        ),
        (
            &["220 x", "250 x", "451 no"],
            111,
            format!("ZConnected to 127.0.0.1 but sender was rejected.\n{said}451 no\n\0"),
        ),
        (&["554 no"], 111, format!("DConnected to 127.0.0.1 but sender was rejected.\n{said}554 no\n\0")),
        (&["421 no"], 111, format!("ZConnected to 127.0.0.1 but sender was rejected.\n{said}421 no\n\0")),
        (&["220 x", "502 no", "250 x", "250 ok", "250 ok"], 0, String::new()),
        (
            &["220 x", "502 no", "550 no"],
            111,
            format!("DConnected to 127.0.0.1 but my name was rejected.\n{said}550 no\n\0"),
        ),
        (&["220 x", "250 x", "250 ok"], 111, "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n\0".into()),
    ];
    for (script, code, text) in rows {
        let (got, said, _) = ask(&[], "joe@a.test", script);
        assert_eq!((got, &said), (*code, text), "{script:?}");
    }
}

#[test]
fn nothing_but_the_question_is_said() {
    let good = ["220 x", "250 x", "250 ok", "250 ok", "221 x"];
    let (_, _, heard) = ask(&[], "a b@a.test", &good);
    assert_eq!(heard, ["EHLO me.test", "MAIL FROM:<>", "RCPT TO:<\"a b\"@a.test>", "QUIT"]);
    let (_, _, heard) =
        ask(&[("helohost", "h.test\n"), ("domainips", "a.test:x\n*:127.0.0.1|own.test\n")], "j@a", &good);
    assert_eq!(heard[0], "EHLO own.test");
    // Another's command can not be put into the address.
    let (code, _, heard) = ask(&[], "a@b>\r\nRSET\r\n<x", &good);
    assert_eq!((code, heard.last().unwrap().as_str()), (1, "QUIT"));
    assert!(!heard.iter().any(|l| l.contains("RSET")));
}

#[test]
fn international_addresses_need_a_server_that_knows_them() {
    let utf8 = ["220 x", "250-x\r\n250 SMTPUTF8", "250 ok", "250 ok", "221 x"];
    let (code, _, heard) = ask(&[], "j\u{f6}rg@a.test", &utf8);
    assert_eq!((code, heard[1].as_str()), (0, "MAIL FROM:<> SMTPUTF8"));
    let (code, _, heard) = ask(&[], "j\u{f6}rg@a.test", &["220 x", "250 x", "221 x"]);
    assert_eq!((code, heard[1].as_str()), (1, "QUIT"));
}

#[test]
fn nothing_is_asked_without_the_tls_that_is_demanded() {
    let plain = ["220 x", "250 x", "250 ok", "250 ok", "221 x"];
    assert_eq!(ask(&[("tlsdestinations", "*:\n")], "joe@a.test", &plain).0, 0);
    let (code, text, heard) = ask(&[("tlsdestinations", "-*:\n")], "joe@a.test", &plain);
    assert_eq!((code, heard.len()), (111, 2), "{text}");
    let offered = ["220 x", "250-x\r\n250 STARTTLS", "454 not now", "221 x"];
    let (code, text, heard) = ask(&[("tlsdestinations", "*:\n")], "joe@a.test", &offered);
    assert_eq!((code, heard[1..].to_vec()), (111, vec!["STARTTLS".to_string(), "QUIT".into()]));
    assert!(text.starts_with("ZConnected to 127.0.0.1 but STARTTLS was rejected.\n"), "{text}");
    // The program that speaks TLS is not there.
    let offered = ["220 x", "250-x\r\n250 STARTTLS", "220 go", "x"];
    let (code, text, _) = ask(&[("tlsdestinations", "*:\n")], "joe@a.test", &offered);
    assert!(code == 111 && text.starts_with('Z') && text.ends_with("\n\0"), "{text}");
}

#[test]
fn misuse_and_what_is_not_there() {
    let home = Home::new(&[]);
    let usage = "Dqmail-smtpam was invoked improperly. (#5.3.5)\n\0";
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let good = b"joe@a.test\0";
    let ours = "DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
                it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n\0";
    let rows: &[(&[&str], &[u8], &str)] = &[
        (&[], good, usage),
        (&["h", "25", "x"], good, usage),
        (&["127.0.0.1", "x"], good, usage),
        (&["127.0.0.1", &gone], b"", usage),
        (&["127.0.0.1", &gone], b"joe", usage),
        (&["127.0.0.1", &gone], good, "ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n\0"),
        (&["127.0.0.1"], good, ours),
        (&["[::1]", "25"], good, ours),
    ];
    for (args, input, text) in rows {
        let output = home.run(args, input);
        assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()), (Some(111), *text));
    }
    for (name, text) in [("domainips", "*:x\n"), ("tlsdestinations", "*:;x\n")] {
        let output = Home::new(&[(name, text)]).run(&["127.0.0.1", &gone], good);
        assert!(output.status.code() == Some(111) && output.stdout.starts_with(b"Z"), "{name}");
    }
}
