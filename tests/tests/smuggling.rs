//! R1 and S1 through the whole way: no end of data but CRLF.CRLF, neither towards a server nor from a client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use whole_system::{Home, run, stdout};

/// What a forger would have taken for commands.
const FORGED: &str = "MAIL FROM:<forged@a.test>\nRCPT TO:<victim@b.test>\nDATA\nforged\n";

/// Queues a message in `home`; the stored message.
fn queue(home: &Home, message: &[u8]) -> std::path::PathBuf {
    let envelope = home.path("envelope");
    fs::write(&envelope, b"Fs@a.test\0Tr@b.test\0\0").unwrap();
    let script = format!("exec \"$0\" 1<{}", envelope.display());
    assert!(run(&mut home.through(&["/bin/sh", "-c", &script], "qmail-queue"), message).status.success());
    home.queue_files("mess").pop().unwrap()
}

/// Has qmail-remote send the file; all that it said to the server.
fn send(home: &Home, file: &std::path::Path) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let (mut heard, mut in_data) = (Vec::new(), false);
        stream.write_all(b"220 test\r\n").unwrap();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {}
            if line.is_empty() {
                return heard;
            }
            heard.extend_from_slice(&line);
            let reply: &[u8] = match (in_data, line.as_slice()) {
                (true, b".\r\n") => b"250 accepted\r\n",
                (true, _) => continue,
                (false, b"DATA\r\n") => b"354 go\r\n",
                (false, _) => b"250 ok\r\n",
            };
            in_data = reply.starts_with(b"354");
            // The client hangs up without reading the answer to QUIT.
            let _ = stream.write_all(reply);
        }
    });
    home.put("control/smtproutes", format!(":127.0.0.1:{port}\n").as_bytes());
    let mut command = home.command("qmail-remote");
    command.args(["b.test", "s@a.test", "r@b.test"]).stdin(Stdio::from(fs::File::open(file).unwrap()));
    let done = command.output().unwrap();
    assert!(stdout(&done).contains("K127.0.0.1 accepted message."), "{}", stdout(&done));
    server.join().unwrap()
}

#[test]
fn r1_a_stored_cr_dot_lf_ends_no_message_on_the_way_out() {
    let out = Home::new(&["qmail-queue", "qmail-remote"]);
    let into = Home::new(&["qmail-queue", "qmail-smtpd"]);
    into.put("control/rcpthosts", b"b.test\n");
    for end in ["\r.\n", "\r.\r\n", "\n.\r\n", "\n.\r", "\r\n.\r\n", "\r.\r"] {
        let stored = queue(&out, format!("Subject: s\n\na{end}{FORGED}").as_bytes());
        let said = send(&out, &stored);
        let text = String::from_utf8(said.clone()).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{end:?}: {text:?}");
        let (_, data) = text.split_once("\r\nDATA\r\n").unwrap();
        let (body, rest) = data.split_once("\r\n.\r\n").unwrap();
        assert_eq!(rest, "QUIT\r\n", "{end:?}");
        assert!(body.ends_with("\r\n..\r\nMAIL FROM:<forged@a.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nforged"));

        // Played to our own server it is one message, to the one recipient.
        let replies = stdout(&run(&mut into.command("qmail-smtpd"), &said));
        assert_eq!(replies.matches("\r\n250 ok ").count(), 1, "{replies}");
        let received = into.queue_files("mess").pop().unwrap();
        let message = fs::read_to_string(&received).unwrap();
        assert!(message.ends_with(&format!("\na\n.\n{FORGED}")), "{end:?}: {message:?}");
        assert_eq!(into.queue_files("todo").len(), 1);
        for file in ["mess", "intd", "todo"].iter().flat_map(|d| [into.queue_files(d), out.queue_files(d)]).flatten() {
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn s1_a_bare_lf_leaves_nothing_in_the_queue() {
    let home = Home::new(&["qmail-queue", "qmail-smtpd"]);
    home.put("control/rcpthosts", b"b.test\n");
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\n\r\n.\r\n", "\n"] {
        let forged = FORGED.replace('\n', "\r\n");
        let envelope = "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\n";
        let session = format!("EHLO x\r\n{envelope}DATA\r\nSubject: s\r\n\r\na{end}{forged}.\r\nQUIT\r\n");
        let done = run(&mut home.command("qmail-smtpd"), session.as_bytes());
        let replies = stdout(&done);
        assert_eq!(done.status.code(), Some(1), "{end:?}");
        assert!(replies.lines().last().is_some_and(|l| l.starts_with("451 ")), "{end:?}: {replies}");
        for dir in ["mess", "intd", "todo", "pid"] {
            assert!(home.queue_files(dir).is_empty(), "{end:?}: {dir}");
        }
    }
}

#[test]
fn s2_a_bare_cr_around_a_dot_is_text() {
    let home = Home::new(&["qmail-queue", "qmail-smtpd"]);
    home.put("control/rcpthosts", b"b.test\n");
    let session = "EHLO x\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n\r\na\r.\rMAIL FROM:<x@a.test>\r\n\
                   \r.\r\n.\r\r\n.\r\nQUIT\r\n";
    let replies = stdout(&run(&mut home.command("qmail-smtpd"), session.as_bytes()));
    assert_eq!(replies.matches("\r\n250 ok ").count(), 1, "{replies}");
    let message = fs::read_to_string(home.queue_files("mess").pop().unwrap()).unwrap();
    assert!(message.ends_with("\n\na\r.\rMAIL FROM:<x@a.test>\n\r.\n.\r\n"), "{message:?}");
}
