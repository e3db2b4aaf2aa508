//! tcpclient, rblsmtpd and the filters through their real interface; loopback, any free port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

const TCPCLIENT: &str = env!("CARGO_BIN_EXE_tcpclient");
const RBLSMTPD: &str = env!("CARGO_BIN_EXE_rblsmtpd");
const RECORDIO: &str = env!("CARGO_BIN_EXE_recordio");
const FIXCRIO: &str = env!("CARGO_BIN_EXE_fixcrio");
const ARGV0: &str = env!("CARGO_BIN_EXE_argv0");

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that gives up early does not read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_program_gets_the_connection_as_6_and_7() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let script =
        "read a <&6; echo \"$a $TCPREMOTEIP:$TCPREMOTEPORT $TCPLOCALHOST $PROTO ${TCP6INTERFACE-no}\" >&7; exit 9";
    let mut client = Command::new(TCPCLIENT);
    client.args(["-vRHl", "me", "127.0.0.1", &port, "sh", "-c", script]).env("TCP6INTERFACE", "stale");
    let client = client.stderr(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, format!("hello 127.0.0.1:{port} me TCP no\n"));
    let out = client.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(9));
    assert_eq!(text(&out.stderr), format!("tcpclient: connected to 127.0.0.1 port {port}\n"));
}

#[test]
fn no_connection_and_no_program_are_111() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let out = run(Command::new(TCPCLIENT).args(["-RHl0", "127.0.0.1", &port, "/nonexistent/x"]), b"");
    assert_eq!(out.status.code(), Some(111));
    assert_eq!(text(&out.stderr), "tcpclient: fatal: unable to run /nonexistent/x: file does not exist\n");
    drop(listener);
    let out = run(Command::new(TCPCLIENT).args(["-RHl0", "127.0.0.1", &port, "true"]), b"");
    assert_eq!(out.status.code(), Some(111));
    assert_eq!(
        text(&out.stderr),
        format!("tcpclient: unable to connect to 127.0.0.1 port {port}: connection refused\n")
    );
    assert_eq!(run(Command::new(TCPCLIENT).args(["0", "25"]), b"").status.code(), Some(100));
}

#[test]
fn a_refused_client_hears_so_and_pipelined_commands_are_answered() {
    let mut command = Command::new(RBLSMTPD);
    command.args(["false"]).env("RBLSMTPD", "-go\naway").env("TCPREMOTEIP", "192.0.2.1");
    let out = run(&mut command, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nqUIT\r\nNOOP\r\n");
    let ok = "250 rblsmtpd.local\r\n";
    let expected = format!("220 rblsmtpd.local\r\n{ok}{ok}553 go?away\r\n221 rblsmtpd.local\r\n");
    assert_eq!((text(&out.stdout), out.status.code()), (&*expected, Some(0)));
    assert!(text(&out.stderr).starts_with("rblsmtpd: 192.0.2.1 pid "));
    assert!(text(&out.stderr).ends_with(": 553 go?away\n"));
}

#[test]
fn without_time_the_refusal_is_the_greeting() {
    let mut command = Command::new(RBLSMTPD);
    let out = run(command.args(["-t0", "false"]).env("RBLSMTPD", "no"), b"");
    assert_eq!((text(&out.stdout), out.status.code()), ("451 no\r\n", Some(0)));
}

#[test]
fn interrogation_lets_everybody_in_and_hands_the_text_on() {
    let mut command = Command::new(RBLSMTPD);
    let out = run(command.args(["-i", "sh", "-c", "echo $RBLSMTPD"]).env("RBLSMTPD", "-no"), b"");
    assert_eq!((text(&out.stdout), out.status.code()), ("-no\n", Some(0)));
}

#[test]
fn programs_in_between_pass_everything_on_and_end_with_their_program() {
    let mut big = Vec::new();
    (0..200_000u32).for_each(|n| big.extend_from_slice(format!("{n}\n").as_bytes()));
    let out =
        run(Command::new("sh").args(["-c", "\"$0\" cat 2>/dev/null | cat", RECORDIO]).stderr(Stdio::null()), b"x\n");
    assert_eq!(out.stdout, b"x\n");
    for program in [RECORDIO, FIXCRIO] {
        // The file, unlike a pipe that is filled only here, lets the program write while it reads.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("input");
        std::fs::write(&file, &big).unwrap();
        let mut command = Command::new(program);
        command.args(["cat"]).stdin(std::fs::File::open(&file).unwrap()).stderr(Stdio::null());
        let got = command.output().unwrap().stdout;
        let plain: Vec<u8> = got.iter().copied().filter(|&b| b != b'\r').collect();
        assert!(plain == big, "{program}");
    }
    // The client stays, and says nothing: the exit code comes all the same, and no child is left with the pipe.
    let mut child =
        Command::new(RECORDIO).args(["sh", "-c", "exit 3"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().unwrap();
    let _silent = child.stdin.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(log.split_once(' ').unwrap().1, "> [EOF]\n");
}

#[test]
fn a_program_runs_under_the_name_it_is_given() {
    let out = run(Command::new(ARGV0).args(["sh", "-other", "-c", "echo \"$0\"; exit 4", "zero"]), b"");
    assert_eq!((text(&out.stdout), out.status.code()), ("zero\n", Some(4)));
    let out = run(Command::new(ARGV0).args(["cat", "-other", "/nonexistent"]).env("LC_ALL", "C"), b"");
    assert!(text(&out.stderr).starts_with("-other: "), "{}", text(&out.stderr));
    assert_eq!(run(Command::new(ARGV0).arg("sh"), b"").status.code(), Some(100));
    assert_eq!(run(Command::new(ARGV0).args(["/nonexistent/x", "y"]), b"").status.code(), Some(111));
}
