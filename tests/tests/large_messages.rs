//! A message of 100 MB goes through the programs that touch messages, each under a limit of 32 MB of address space, and
//! none of them needs memory in proportion to it (reliability.md 7).
//!
//! Needs the staged tree (STAGE names its home, as package/test sets it); without it the test says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LIMIT_KB: u64 = 32 * 1024;
const GROWTH_MAX_KB: u64 = 1024;
const SMALL: usize = 1_000;
const LARGE: usize = 100_000_000;

/// A private home with the staged programs, not set-uid, and an empty queue.
struct Home(tempfile::TempDir);

impl Home {
    fn new(stage: &str) -> Home {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        fs::create_dir(home.join("bin")).unwrap();
        for p in ["qmail-smtpd", "qmail-queue", "qmail-local", "qmail-remote"] {
            fs::copy(Path::new(stage).join("bin").join(p), home.join("bin").join(p)).unwrap();
            fs::set_permissions(home.join("bin").join(p), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        for d in ["control", "user/Maildir/tmp", "user/Maildir/new", "user/Maildir/cur"] {
            fs::create_dir_all(home.join(d)).unwrap();
        }
        for d in ["pid", "intd", "todo", "lock", "bounce"] {
            fs::create_dir_all(home.join("queue").join(d)).unwrap();
        }
        for d in ["mess", "info", "local", "remote"] {
            (0..23).for_each(|s| fs::create_dir_all(home.join(format!("queue/{d}/{s}"))).unwrap());
        }
        fs::write(home.join("control/me"), "here.test\n").unwrap();
        fs::write(home.join("control/rcpthosts"), "here.test\n").unwrap();
        Home(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program of this home under the address-space limit.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut c = Command::new("sh");
        c.arg("-c").arg(format!("ulimit -v {LIMIT_KB} && exec \"$@\"")).arg("sh");
        c.arg(self.path().join("bin").join(program)).args(args).env_clear().env("QMAILHOME", self.path());
        c
    }

    /// The only message in the queue.
    fn mess(&self) -> PathBuf {
        let mut found = Vec::new();
        for s in 0..23 {
            found.extend(fs::read_dir(self.path().join(format!("queue/mess/{s}"))).unwrap());
        }
        assert_eq!(found.len(), 1);
        found.remove(0).unwrap().path()
    }
}

/// The most memory a running process ever had (kB).
fn peak_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `size` bytes of lines, some of which begin with dots.
fn body(size: usize) -> impl Iterator<Item = &'static [u8]> {
    const LINES: &[u8] =
        b"a line of text that is neither short nor very long, sixty or so\n.dotted\n..\n\n0123456789\n";
    let line = move |i: usize| LINES.get(..LINES.len().min(size - i * LINES.len())).unwrap();
    (0..size.div_ceil(LINES.len())).map(line)
}

fn expect(input: &mut impl BufRead, code: &str) {
    let mut line = String::new();
    loop {
        line.clear();
        input.read_line(&mut line).unwrap();
        assert!(line.starts_with(code), "wanted {code}, got {line:?}");
        if line.as_bytes().get(3) != Some(&b'-') {
            return;
        }
    }
}

/// qmail-smtpd takes a message and queues it; its peak.
fn smtpd(home: &Home, size: usize) -> u64 {
    let mut c = home.command("qmail-smtpd", &[]);
    let mut child = c.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = std::io::BufWriter::new(child.stdin.take().unwrap());
    let mut from = BufReader::new(child.stdout.take().unwrap());
    expect(&mut from, "220");
    for (command, code) in
        [("HELO x", "250"), ("MAIL FROM:<a@b.test>", "250"), ("RCPT TO:<joe@here.test>", "250"), ("DATA", "354")]
    {
        write!(to, "{command}\r\n").unwrap();
        to.flush().unwrap();
        expect(&mut from, code);
    }
    to.write_all(b"Subject: large\r\n\r\n").unwrap();
    for part in body(size) {
        for line in part.split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                to.write_all(b".").unwrap();
            }
            to.write_all(line.strip_suffix(b"\n").unwrap_or(line)).unwrap();
            to.write_all(b"\r\n").unwrap();
        }
    }
    to.write_all(b".\r\n").unwrap();
    to.flush().unwrap();
    expect(&mut from, "250");
    let peak = peak_kb(child.id());
    to.write_all(b"QUIT\r\n").unwrap();
    to.flush().unwrap();
    expect(&mut from, "221");
    drop(to);
    assert!(child.wait().unwrap().success());
    peak
}

/// qmail-queue takes the same message directly; its peak when it has read it and waits for the envelope.
fn queue(home: &Home, size: usize) -> u64 {
    let (envelope_read, mut envelope) = std::io::pipe().unwrap();
    let mut child = home.command("qmail-queue", &[]).stdin(Stdio::piped()).stdout(envelope_read).spawn().unwrap();
    let mut message = std::io::BufWriter::new(child.stdin.take().unwrap());
    body(size).for_each(|part| message.write_all(part).unwrap());
    message.flush().unwrap();
    drop(message);
    envelope.write_all(b"Fa@b.test\0Tjoe@here.test\0").unwrap();
    // intd is made once the whole message was read.
    while fs::read_dir(home.path().join("queue/intd")).unwrap().next().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "qmail-queue has ended");
        std::thread::yield_now();
    }
    let peak = peak_kb(child.id());
    envelope.write_all(b"\0").unwrap();
    drop(envelope);
    assert!(child.wait().unwrap().success());
    peak
}

/// qmail-local delivers the queued message to a Maildir; its peak, as a program that it starts afterwards sees it.
fn local(home: &Home) -> u64 {
    let user = home.path().join("user");
    fs::write(user.join(".qmail"), "./Maildir/\n|grep VmHWM /proc/$PPID/status >peak\n").unwrap();
    let dir = user.to_str().unwrap();
    let args = ["--", "user", dir, "joe", "", "", "here.test", "a@b.test", "./Maildir/"];
    let mut c = home.command("qmail-local", &args);
    c.env("PATH", "/usr/bin:/bin").stdin(File::open(home.mess()).unwrap());
    assert!(c.status().unwrap().success());
    let delivered = fs::read_dir(user.join("Maildir/new")).unwrap().next().unwrap().unwrap();
    let added = delivered.metadata().unwrap().size() - fs::metadata(home.mess()).unwrap().size();
    assert!(added < 200, "the delivered message is {added} bytes longer than the queued one");
    let line = fs::read_to_string(user.join("peak")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// qmail-remote sends the queued message; its peak when the other side has read the final dot.
fn remote(home: &Home) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let route = format!(":127.0.0.1:{}\n", listener.local_addr().unwrap().port());
    fs::write(home.path().join("control/smtproutes"), route).unwrap();
    let mut c = home.command("qmail-remote", &["far.test", "a@b.test", "x@far.test"]);
    let mut child = c.stdin(File::open(home.mess()).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let (connection, _) = listener.accept().unwrap();
    let (peak, received) = sink(connection, &child);
    let mut report = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut report).unwrap();
    assert!(report.starts_with(b"r\0K"), "{}", report.escape_ascii());
    assert!(child.wait().unwrap().success());
    assert!(received >= fs::metadata(home.mess()).unwrap().size());
    peak
}

/// Plays a server for one message; the client's peak, and the bytes of the message as they came over the wire.
fn sink(connection: TcpStream, client: &Child) -> (u64, u64) {
    let mut to = connection.try_clone().unwrap();
    let mut from = BufReader::with_capacity(65536, connection);
    let mut say = |text: &str| to.write_all(text.as_bytes()).unwrap();
    say("220 sink\r\n");
    let mut line = Vec::new();
    loop {
        line.clear();
        assert!(from.read_until(b'\n', &mut line).unwrap() > 0, "the client has gone");
        match line.get(..4).unwrap() {
            b"DATA" => break,
            b"EHLO" => say("502 no\r\n"),
            _ => say("250 ok\r\n"),
        }
    }
    say("354 go\r\n");
    let mut received = 0;
    loop {
        line.clear();
        received += from.read_until(b'\n', &mut line).unwrap() as u64;
        if line == b".\r\n" {
            break;
        }
    }
    let peak = peak_kb(client.id());
    say("250 taken\r\n");
    (peak, received)
}

#[test]
fn p9_a_100_mb_message_needs_no_more_memory_than_a_small_one() {
    let Ok(stage) = std::env::var("STAGE") else {
        eprintln!("skipped: no staged tree (STAGE is not set)");
        return;
    };
    let run = |size| {
        let (one, two) = (Home::new(&stage), Home::new(&stage));
        [
            ("qmail-smtpd", smtpd(&one, size)),
            ("qmail-queue", queue(&two, size)),
            ("qmail-local", local(&one)),
            ("qmail-remote", remote(&one)),
        ]
    };
    for ((program, small), (_, large)) in run(SMALL).into_iter().zip(run(LARGE)) {
        eprintln!("{program}: {small} kB at its peak for 1 kB, {large} kB for 100 MB");
        assert!(large < small + GROWTH_MAX_KB, "{program}: {small} kB, then {large} kB");
    }
}
