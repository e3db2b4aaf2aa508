//! qmail-remote, qmail-tcpto and qmail-tcpok as their callers see them: in a private home, with a server on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use tempfile::TempDir;

fn home() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("control")).unwrap();
    std::fs::create_dir_all(dir.path().join("queue/lock")).unwrap();
    control(dir.path(), "me", "me.test\n");
    std::fs::write(dir.path().join("queue/lock/tcpto"), [0; 1024]).unwrap();
    dir
}

fn control(home: &Path, name: &str, text: &str) {
    std::fs::write(home.join("control").join(name), text).unwrap();
}

fn program(path: &str, home: &Path) -> Command {
    let mut c = Command::new(path);
    c.env_clear().env("QMAILHOME", home);
    c
}

/// Runs qmail-remote on `message`; the records it reported.
fn remote(home: &Path, args: &[&str], message: Stdio) -> Vec<String> {
    let out = program(env!("CARGO_BIN_EXE_qmail-remote"), home).args(args).stdin(message).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(out.stderr, b"");
    let text = String::from_utf8(out.stdout).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(String::from).collect()
}

fn message(home: &Path, text: &[u8]) -> Stdio {
    let path = home.join("message");
    std::fs::write(&path, text).unwrap();
    File::open(path).unwrap().into()
}

/// Serves one connection: EHLO gets `hello`, recipients with `bad` in them are refused. Returns the port, and what was
/// heard in the end: the commands, and the number of bytes of the body as sent.
fn server(address: &str, hello: &'static str) -> (u16, JoinHandle<(Vec<String>, usize)>) {
    let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let (mut commands, mut size, mut in_data) = (Vec::new(), 0, false);
        stream.write_all(b"220 test\r\n").unwrap();
        let mut line = Vec::new();
        // The client hangs up without reading the answer to QUIT, which may look like a reset.
        while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let reply = if in_data {
                size += line.len();
                in_data = line != b".\r\n";
                if in_data { "" } else { "250 accepted\r\n" }
            } else {
                let command = String::from_utf8_lossy(&line).trim_end().to_string();
                in_data = command == "DATA";
                let reply = match command.split(' ').next().unwrap() {
                    "EHLO" => hello,
                    "RCPT" if command.contains("bad") => "550 no\r\n",
                    "DATA" => "354 go\r\n",
                    _ => "250 ok\r\n",
                };
                commands.push(command);
                reply
            };
            line.clear();
            let _ = stream.write_all(reply.as_bytes());
        }
        (commands, size)
    });
    (port, heard)
}

const PIPELINING: &str = "250-test\r\n250 PIPELINING\r\n";

#[test]
fn a_message_goes_out_over_ipv4_and_ipv6() {
    for (address, route) in [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1];"), ("::1", "::1;")] {
        for hello in ["250 test\r\n", PIPELINING] {
            let home = home();
            let (port, heard) = server(address, hello);
            control(home.path(), "smtproutes", &format!(".test:{route}{port}\n"));
            let args = ["a.test", "s@b.test", "r@a.test", "bad@a.test"];
            let records = remote(home.path(), &args, message(home.path(), b"Subject: x\n\n.\n"));
            let want = [
                "r".to_string(),
                format!("h{address} does not like recipient.\nRemote host said: 550 no\n"),
                format!("K{address} accepted message.\nRemote host said: 250 accepted\n"),
            ];
            assert_eq!(records, want);
            let (commands, size) = heard.join().unwrap();
            let want =
                ["EHLO me.test", "MAIL FROM:<s@b.test>", "RCPT TO:<r@a.test>", "RCPT TO:<bad@a.test>", "DATA", "QUIT"];
            assert_eq!(commands, want);
            assert_eq!(size, b"Subject: x\r\n\r\n..\r\n.\r\n".len());
        }
    }
}

#[test]
fn a_long_message_from_a_pipe_needs_little_memory() {
    const LINES: usize = 800_000;
    let home = home();
    let (port, heard) = server("127.0.0.1", PIPELINING);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    let mut child = program("/bin/sh", home.path())
        .args([
            "-c",
            r#"ulimit -v 32768; exec "$0" "$@""#,
            env!("CARGO_BIN_EXE_qmail-remote"),
            "a.test",
            "s@b",
            "r@a.test",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let lines = b"a line of a message that is rather long\n".repeat(LINES / 100);
    for _ in 0..100 {
        to.write_all(&lines).unwrap();
    }
    drop(to);
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(out.stdout).unwrap(),
        "r\0K127.0.0.1 accepted message.\nRemote host said: 250 accepted\n\0"
    );
    assert_eq!(heard.join().unwrap().1, LINES * 41 + 3);
}

#[test]
fn r2_a_partial_line_is_refused_and_never_completed() {
    let home = home();
    let (port, heard) = server("127.0.0.1", PIPELINING);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    let records = remote(home.path(), &["a.test", "s@b", "r@a.test"], message(home.path(), b"x\ny"));
    assert_eq!(records, ["r", "DSMTP cannot transfer messages with partial final lines. (#5.6.2)\n"]);
    assert_eq!(heard.join().unwrap().0.last().unwrap(), "DATA");
}

#[test]
fn s19_line_breaks_in_addresses_do_not_reach_the_server() {
    let home = home();
    let (port, heard) = server("127.0.0.1", PIPELINING);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    let records = remote(home.path(), &["a.test", "s@b", "x\r\nRSET@a.test", "r@a.test"], message(home.path(), b"x\n"));
    assert_eq!(records[0], "hSorry, SMTP cannot carry a recipient address with a line break. (#5.1.3)\n");
    assert_eq!(records[1..], ["r", "K127.0.0.1 accepted message.\nRemote host said: 250 accepted\n"]);
    assert!(!heard.join().unwrap().0.concat().contains("RSET"));
}

#[test]
fn what_can_not_be_sent_is_told() {
    let partly = "hSorry, that server takes no international recipient address. (#5.6.7)\n";
    let rows: [(&str, &[&str], &[&str]); 3] = [
        ("s\n@b", &["r@a.test"], &["DSorry, SMTP cannot carry a sender address with a line break. (#5.1.7)\n"]),
        ("s\u{e9}@b", &["r@a.test"], &["DSorry, that server takes no international sender address. (#5.6.7)\n"]),
        ("s@b", &["r\u{e9}@a.test", "r@a.test"], &[partly, "r", "ZUnable to read message. (#4.3.0)\n"]),
    ];
    for (sender, recipients, want) in rows {
        let home = home();
        let (port, heard) = server("127.0.0.1", "250 test\r\n");
        control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
        let args = [&["a.test", sender], recipients].concat();
        // A directory can be opened, but not read.
        assert_eq!(remote(home.path(), &args, File::open(home.path()).unwrap().into()), want);
        heard.join().unwrap();
    }
}

#[test]
fn trouble_before_any_connection() {
    let home = home();
    let one = |args: &[&str]| remote(home.path(), args, Stdio::null());
    assert_eq!(one(&["a.test", "s@b"]), ["DI (qmail-remote) was invoked improperly. (#5.3.5)\n"]);
    control(home.path(), "smtproutes", ":127.0.0.1:99999\n");
    assert_eq!(one(&["a.test", "s@b", "r@c"]), ["ZUnable to read control files. (#4.3.0)\n"]);
    control(home.path(), "smtproutes", "");
    let own = "DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
        it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n";
    assert_eq!(one(&["[127.0.0.1]", "s@b", "r@c"]), [own]);
    std::fs::remove_file(home.path().join("control/me")).unwrap();
    assert_eq!(one(&["a.test", "s@b", "r@c"]), ["ZUnable to read control files. (#4.3.0)\n"]);
    let none = remote(&home.path().join("none"), &["a.test", "s@b", "r@c"], Stdio::null());
    assert_eq!(none, ["ZUnable to switch to home directory. (#4.3.0)\n"]);
}

/// A record of the table of time-outs: 127.0.0.1, `count` times, the last time just now.
fn record(count: u8) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let [a, b, c, d, ..] = now.to_le_bytes();
    [&[127, 0, 0, 1, count, 0, 0, 0, a, b, c, d, 0, 0, 0, 0][..], &[0; 1008]].concat()
}

fn output(path: &str, home: &Path) -> (String, Option<i32>) {
    let out = program(path, home).output().unwrap();
    (String::from_utf8([out.stdout, out.stderr].concat()).unwrap(), out.status.code())
}

#[test]
fn the_table_of_time_outs_is_obeyed_kept_shown_and_cleared() {
    const NO_CONNECTION: [&str; 1] = ["ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n"];
    let home = home();
    let table = home.path().join("queue/lock/tcpto");
    // Listens, but must not be contacted.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    std::fs::write(&table, record(2)).unwrap();
    assert_eq!(remote(home.path(), &["a.test", "s@b", "r@c"], Stdio::null()), NO_CONNECTION);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "skipped");
    let (text, code) = output(env!("CARGO_BIN_EXE_qmail-tcpto"), home.path());
    assert!(
        text.starts_with("127.0.0.1 timed out ") && text.ends_with(" seconds ago; # recent timeouts: 2\n"),
        "{text}"
    );
    assert_eq!(code, Some(0));

    // A refusal is no time-out: the host is there.
    drop(listener);
    std::fs::write(&table, record(1)).unwrap();
    assert_eq!(remote(home.path(), &["a.test", "s@b", "r@c"], Stdio::null()), NO_CONNECTION);
    assert_eq!(std::fs::read(&table).unwrap()[..5], [127, 0, 0, 1, 0]);

    std::fs::write(&table, record(3)).unwrap();
    assert_eq!(output(env!("CARGO_BIN_EXE_qmail-tcpok"), home.path()), (String::new(), Some(0)));
    assert_eq!(std::fs::read(&table).unwrap(), [0; 1024]);
    assert_eq!(output(env!("CARGO_BIN_EXE_qmail-tcpto"), home.path()), (String::new(), Some(0)));
}

#[test]
fn a_message_can_be_delivered_without_a_table() {
    let home = home();
    std::fs::remove_file(home.path().join("queue/lock/tcpto")).unwrap();
    let (port, heard) = server("127.0.0.1", "250 test\r\n");
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    let records = remote(home.path(), &["a.test", "", "r@a.test"], message(home.path(), b""));
    assert_eq!(records.len(), 2);
    assert_eq!(heard.join().unwrap().0[1], "MAIL FROM:<>");
    let (text, code) = output(env!("CARGO_BIN_EXE_qmail-tcpto"), home.path());
    assert_eq!((text.as_str(), code), ("fatal: unable to open tcpto: file does not exist\n", Some(111)));
    let (text, code) = output(env!("CARGO_BIN_EXE_qmail-tcpok"), home.path());
    let path = home.path().join("queue/lock/tcpto");
    assert_eq!(text, format!("qmail-tcpok: fatal: unable to write {}: file does not exist\n", path.display()));
    assert_eq!(code, Some(111));
}

#[test]
fn r6_a_server_that_hangs_up_is_reported() {
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 x\r\n").unwrap();
        let mut some = [0; 4];
        stream.read_exact(&mut some).unwrap();
    });
    let records = remote(home.path(), &["a.test", "s@b", "r@c"], Stdio::null());
    assert_eq!(records, ["ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n"]);
    server.join().unwrap();
}

/// Serves one connection from a list: the greeting, then one answer for each line; with the last one said it hangs up,
/// or if it `stalls` waits until the client is gone. Answers to DATA begin with 3, and a body is one line.
fn scripted(answers: Vec<Vec<u8>>, stalls: bool) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        for (n, answer) in answers.iter().enumerate() {
            if n > 0 {
                line.clear();
                let in_data = answers[n - 1].starts_with(b"3");
                while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && in_data && !line.ends_with(b"\n.\r\n")
                {
                }
            }
            // The client may have seen enough.
            if stream.write_all(answer).is_err() {
                return;
            }
        }
        if stalls {
            let _ = input.read_to_end(&mut line);
        }
    };
    (port, std::thread::spawn(serve))
}

/// What qmail-remote, in little memory, reports of such a server.
fn told(answers: &[&[u8]], stalls: bool) -> Vec<String> {
    let home = home();
    let (port, server) = scripted(answers.iter().map(|a| a.to_vec()).collect(), stalls);
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    control(home.path(), "timeoutremote", if stalls { "1\n" } else { "6\n" });
    let mut limited = program("/bin/sh", home.path());
    let script = r#"ulimit -v 32768; exec "$0" "$@""#;
    limited.args(["-c", script, env!("CARGO_BIN_EXE_qmail-remote"), "a.test", "s@b", "r@a.test"]);
    let out = limited.stdin(message(home.path(), b"x\n")).output().unwrap();
    assert_eq!((out.status.code(), out.stderr), (Some(0), vec![]));
    server.join().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(String::from).collect()
}

/// One whole session.
const SESSION: [&[u8]; 7] =
    [b"220 hi\r\n", b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n", b"221 bye\r\n"];

#[test]
fn r3_whatever_is_no_reply_defers_the_message() {
    let many = [b"250-x\r\n".repeat(400_000), b"250 x\r\n".to_vec()].concat();
    let long = [b"250 ".to_vec(), vec![b'x'; 8 << 20], b"\r\n".to_vec()].concat();
    let rows: [&[u8]; 10] = [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"220x hi\r\n",
        b"000 x\r\n",
        b"600 x\r\n",
        b"\x00220 x\r\n",
        b"220-a\r\n554 b\r\n",
        &many,
        &long,
    ];
    for at in [0, 1, 2, 4, 5] {
        for row in rows {
            let mut answers = SESSION.to_vec();
            answers[at] = row;
            if at == 1 {
                // HELO gets the same as EHLO.
                answers.insert(1, row);
            }
            let records = told(&answers, false);
            let last = records.last().unwrap();
            let about = format!("{at} {}: {:.200}", row[..row.len().min(30)].escape_ascii(), records.join("|"));
            assert!(last.starts_with('Z') && last.len() < 5200, "{about}");
            assert_eq!(records.len(), if at < 4 { 1 } else { 2 }, "{about}");
        }
    }
    // Bare line feeds and NULs in the text do no harm, and text of any length is cut.
    let cut = [b"250 ".to_vec(), vec![b'x'; 500_000], b"\r\n".to_vec()].concat();
    let mut answers = SESSION;
    (answers[0], answers[1], answers[5]) = (b"220 \x00\n", b"250-a\n250 b\n", &cut);
    let records = told(&answers, false);
    assert!(records[1].starts_with("K127.0.0.1 accepted message.\nRemote host said: 250 xxx"));
    assert!(records[1].len() < 5200);
}

#[test]
fn r4_what_a_server_says_stays_within_its_record() {
    let mut answers = SESSION;
    answers[3] = b"550-no\r\n550-starting delivery 1: msg 2 to remote x@y\r\n550-\x1b[2J\x07\r\n550 \x00Kok\x00\r\n";
    let records = told(&answers, false);
    let said = "550-no\n550-starting delivery 1: msg 2 to remote x@y\n550-?[2J?\n550 ?Kok?\n";
    let refused = format!("h127.0.0.1 does not like recipient.\nRemote host said: {said}");
    assert_eq!(records, [refused.as_str(), "DGiving up on 127.0.0.1.\n"]);
}

#[test]
fn r5_a_last_line_without_text_ends_a_reply() {
    let mut answers = SESSION;
    (answers[0], answers[1], answers[2], answers[5]) = (b"220\r\n", b"250-x\r\n250\r\n", b"250-\r\n250\n", b"250\r\n");
    assert_eq!(told(&answers, false), ["r", "K127.0.0.1 accepted message.\nRemote host said: 250\n"]);
}

#[test]
fn r6_a_server_that_stalls_or_leaves_is_tried_again() {
    let died = "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n";
    let doubtful = "ZConnected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n";
    for stalls in [false, true] {
        // So many answers, then none: at the greeting, at EHLO, and so on.
        for n in 0..=5 {
            let records = told(if n == 0 { &[b""] } else { &SESSION[..n] }, stalls);
            assert_eq!(records.last().unwrap(), if n == 5 { doubtful } else { died }, "{n} {stalls}");
            assert_eq!(records.len(), if n < 4 { 1 } else { 2 }, "{n} {stalls}");
        }
    }
}

#[test]
fn r7_refusals_at_each_step() {
    let rows: [(usize, &[u8], &[&str]); 10] = [
        (0, b"554 no\r\n", &["ZConnected to 127.0.0.1 but greeting failed.\nRemote host said: 554 no\n"]),
        (0, b"454 no\r\n", &["ZConnected to 127.0.0.1 but greeting failed.\nRemote host said: 454 no\n"]),
        (2, b"550 no\r\n", &["DConnected to 127.0.0.1 but sender was rejected.\nRemote host said: 550 no\n"]),
        (2, b"450 no\r\n", &["ZConnected to 127.0.0.1 but sender was rejected.\nRemote host said: 450 no\n"]),
        (
            3,
            b"550 no\r\n",
            &["h127.0.0.1 does not like recipient.\nRemote host said: 550 no\n", "DGiving up on 127.0.0.1.\n"],
        ),
        (
            3,
            b"450 no\r\n",
            &["s127.0.0.1 does not like recipient.\nRemote host said: 450 no\n", "DGiving up on 127.0.0.1.\n"],
        ),
        (4, b"554 no\r\n", &["r", "D127.0.0.1 failed on DATA command.\nRemote host said: 554 no\n"]),
        (4, b"450 no\r\n", &["r", "Z127.0.0.1 failed on DATA command.\nRemote host said: 450 no\n"]),
        (5, b"554 no\r\n", &["r", "D127.0.0.1 failed after I sent the message.\nRemote host said: 554 no\n"]),
        (5, b"450 no\r\n", &["r", "Z127.0.0.1 failed after I sent the message.\nRemote host said: 450 no\n"]),
    ];
    for (at, answer, want) in rows {
        let mut answers = SESSION;
        answers[at] = answer;
        assert_eq!(told(&answers, false), want, "{at}");
    }
    // HELO gets the same as EHLO.
    let rejected = "ZConnected to 127.0.0.1 but my name was rejected.\nRemote host said: 550 no\n";
    assert_eq!(told(&[SESSION[0], b"500 what?\r\n", b"550 no\r\n"], false), [rejected]);
    // Whatever is good is as good as 250.
    let mut answers = SESSION;
    (answers[2], answers[3]) = (b"299 ok\r\n", b"200 ok\r\n");
    assert_eq!(told(&answers, false)[0], "r");
    // Where commands were sent ahead only 354 is an invitation to send the message.
    let ahead: [&[u8]; 3] = [SESSION[0], b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"];
    let records = told(&ahead, false);
    assert!(records.last().unwrap().starts_with('Z'), "{records:?}");
}

#[test]
fn r8_keywords_without_number_or_meaning_do_no_harm() {
    let many = [b"250-X\r\n".repeat(100_000), b"250 SIZE x AUTH\r\n".to_vec()].concat();
    let odd =
        b"250-x\r\n250-SIZE 99999999999999999999999\r\n250-AUTH\r\n250-AUTH XYZ \xff\r\n250-SIZE -1\r\n250 SIZE\r\n";
    for hello in [&many[..], odd] {
        let mut answers = SESSION;
        answers[1] = hello;
        let want = ["r", "K127.0.0.1 accepted message.\nRemote host said: 250 ok\n"];
        assert_eq!(told(&answers, false), want);
    }
}

/// Serves QMTP once: reads the whole message, `wire`, and answers. Returns the port.
fn qmtp_server(wire: &'static [u8], answers: &'static [u8]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; wire.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(wire));
        stream.write_all(answers).unwrap();
    });
    (port, serving)
}

#[test]
fn mail_goes_by_qmtp_where_qmtproutes_says_so() {
    const WIRE: &[u8] = b"4:\nx\ry,3:s@b,15:3:r@a,3:u@a,0:,,";
    let giving_up = "DGiving up on 127.0.0.1\n";
    let rows: &[(&[u8], &[&str])] = &[
        (
            b"3:Kok,6:K ok 2,6:Kok it,",
            &["rqmtp: ok\n", "rqmtp: ok 2\n", "rqmtp: ok it\n", "KAll received okay by 127.0.0.1\n"],
        ),
        (b"3:Kok,3:Dno,6:Zlater,", &["rqmtp: ok\n", "hqmtp: no\n", "sqmtp: later\n", "KReceived okay by 127.0.0.1\n"]),
        (b"3:Dno,3:Dno,2:Zx,", &["hqmtp: no\n", "hqmtp: no\n", "sqmtp: x\n", giving_up]),
        (b"what?", &["ZRecipient did not talk proper QMTP (#4.3.0)\n"]),
        (b"", &["ZConnected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n"]),
        (
            b"3:Kok,",
            &[
                "rqmtp: ok\n",
                "sConnected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n",
                "sConnected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n",
                "KReceived okay by 127.0.0.1\n",
            ],
        ),
    ];
    for (answers, want) in rows {
        let home = home();
        let (port, serving) = qmtp_server(WIRE, answers);
        control(home.path(), "qmtproutes", &format!("a.test:127.0.0.1;{port}\n"));
        let args = ["a.test", "s@b", "r@a", "u@a", ""];
        // A last line without its end is no trouble here, nor is a CR.
        let records = remote(home.path(), &args, message(home.path(), b"x\ry"));
        assert_eq!(records, *want, "{}", answers.escape_ascii());
        serving.join().unwrap();
    }
    // TLS that must be can not be had on this port.
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    control(home.path(), "qmtproutes", &format!("a.test:127.0.0.1;{port}\n"));
    control(home.path(), "tlsdestinations", "-*:\n");
    let records = remote(home.path(), &["a.test", "s@b", "r@a"], message(home.path(), b"x\n"));
    assert_eq!(records, ["Z I wasn't able to negotiate a TLS connection with: 127.0.0.1. (#4.4.1)\n"]);
}

#[test]
fn a_sending_domain_comes_from_its_own_address_by_its_own_name() {
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    control(home.path(), "smtproutes", &format!(":127.0.0.1:{port}\n"));
    control(home.path(), "domainips", "b.test:127.0.0.9|name.test\nc.test:192.0.2.1\nd.test:nowhere\n");
    let server = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(b"220 x\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        (from.ip().to_string(), line)
    });
    let send = |sender: &str| remote(home.path(), &["a.test", sender, "r@a.test"], Stdio::null());
    send("s@b.test");
    assert_eq!(server.join().unwrap(), ("127.0.0.9".to_string(), "EHLO name.test\r\n".to_string()));
    assert_eq!(send("s@c.test"), ["ZCan't bind to local ip address: 192.0.2.1. (#4.3.0)\n"]);
    assert_eq!(send("s@d.test"), ["ZInvalid ipaddr in control/domainips (#4.3.0)\n"]);
}
