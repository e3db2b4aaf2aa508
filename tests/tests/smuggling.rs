//! R1, S1 and S2 through the whole way: no end of data but CRLF.CRLF, neither from a client nor towards a server. The
//! table has every sequence that hannob/smtpsmug and The-Login/SMTP-Smuggling-Tools try, and some more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use whole_system::{Home, run, stdout};

/// What somebody may take for the end of a message.
struct Sequence {
    /// Its bytes.
    end: &'static str,
    /// What becomes of it when it comes in by SMTP.
    comes_in: ComesIn,
    /// What goes out by SMTP if a stored message has it.
    goes_out: &'static str,
}

enum ComesIn {
    /// The session is ended, and nothing of the message is kept.
    Refused,
    /// It is text of the message: what is stored, and what goes out by SMTP then.
    Text(&'static str, &'static str),
    /// It is the end.
    End,
}

const fn refused(end: &'static str, goes_out: &'static str) -> Sequence {
    Sequence { end, comes_in: ComesIn::Refused, goes_out }
}

const fn text(end: &'static str, stored: &'static str, relayed: &'static str, goes_out: &'static str) -> Sequence {
    Sequence { end, comes_in: ComesIn::Text(stored, relayed), goes_out }
}

const STUFFED: &str = "\r\n..\r\n";

/// A bare LF ends the session; a bare CR and a NUL are text. On the way out each CR, each LF and each CRLF is a CRLF.
const SEQUENCES: &[Sequence] = &[
    refused("\n.\n", STUFFED),
    refused("\n.\r", STUFFED),
    refused("\r.\n", STUFFED),
    refused("\n.\r\n", STUFFED),
    refused("\r\n.\n", STUFFED),
    refused("\n\r\n.\r\n", "\r\n\r\n..\r\n"),
    refused("\r\n\n.\r\n", "\r\n\r\n..\r\n"),
    refused("\r\n.\n\r\n", "\r\n..\r\n\r\n"),
    refused("\r\n.\r\0\n", "\r\n..\r\n\0\r\n"),
    refused("\n", "\r\n"),
    text("\r.\r", "\r.\r", STUFFED, STUFFED),
    text("\r.\r\n", "\r.\n", STUFFED, STUFFED),
    text("\r\n.\r", "\n.\r", STUFFED, STUFFED),
    text("\r\n\r.\r\n", "\n\r.\n", "\r\n\r\n..\r\n", "\r\n\r\n..\r\n"),
    text("\r\n.\r\r\n", "\n.\r\n", STUFFED, "\r\n..\r\n\r\n"),
    text("\r\r\n.\r\r\n", "\r\n.\r\n", STUFFED, "\r\n\r\n..\r\n\r\n"),
    text("\r\n\0.\r\n", "\n\0.\n", "\r\n\0.\r\n", "\r\n\0.\r\n"),
    text("\r\n.\0\r\n", "\n\0\n", "\r\n\0\r\n", "\r\n..\0\r\n"),
    text("\r\n..\r\n", "\n.\n", STUFFED, "\r\n...\r\n"),
    Sequence { end: "\r\n.\r\n", comes_in: ComesIn::End, goes_out: STUFFED },
];

/// What a forger would have taken for commands.
const FORGED: &str = "MAIL FROM:<forged@a.test>\nRCPT TO:<victim@b.test>\nDATA\nforged\n";

/// The only message in the queue of `home`, which is taken out of it.
fn take_only(home: &Home) -> (Vec<u8>, PathBuf) {
    let mess = home.queue_files("mess");
    assert_eq!((mess.len(), home.queue_files("todo").len()), (1, 1));
    let message = fs::read(&mess[0]).unwrap();
    let kept = home.path("kept");
    fs::rename(&mess[0], &kept).unwrap();
    for file in ["intd", "todo"].iter().flat_map(|d| home.queue_files(d)) {
        fs::remove_file(file).unwrap();
    }
    (message, kept)
}

/// A client's session with one message, and a forged one behind the sequence.
fn session(end: &str) -> Vec<u8> {
    let forged = FORGED.replace('\n', "\r\n");
    let envelope = "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\n";
    format!("EHLO x\r\n{envelope}DATA\r\nSubject: s\r\n\r\na{end}{forged}.\r\nQUIT\r\n").into_bytes()
}

/// Queues a message in `home` by this program.
fn queue(home: &Home, by: &str, message: &[u8]) {
    let done = if by == "qmail-queue" {
        let envelope = home.path("envelope");
        fs::write(&envelope, b"Fs@a.test\0Tr@b.test\0\0").unwrap();
        let script = format!("exec \"$0\" 1<{}", envelope.display());
        run(&mut home.through(&["/bin/sh", "-c", &script], by), message)
    } else {
        run(home.command(by).args(["-fs@a.test", "r@b.test"]), message)
    };
    assert!(done.status.success(), "{by}");
}

/// Has qmail-remote send the file; all that it said to the server.
fn send(home: &Home, file: &Path) -> Vec<u8> {
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

/// The file goes out as one message, in which `wire` stands where the sequence was.
fn goes_out_as_one(out: &Home, into: &Home, file: &Path, wire: &str, what: &str) {
    let said = send(out, file);
    let text = String::from_utf8(said.clone()).unwrap();
    // To whom CR or LF alone is a line end, it is the same text.
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{what}: {text:?}");
    let (_, data) = text.split_once("\r\nDATA\r\n").unwrap();
    let (body, rest) = data.split_once("\r\n.\r\n").unwrap();
    assert_eq!(rest, "QUIT\r\n", "{what}");
    let forged = FORGED.replace('\n', "\r\n");
    assert!(body.ends_with(&format!("\r\n\r\na{wire}{}", forged.trim_end())), "{what}: {body:?}");
    // Played to our own server it is one message, to the one recipient.
    let replies = stdout(&run(&mut into.command("qmail-smtpd"), &said));
    assert_eq!(replies.matches("\r\n250 ok ").count(), 1, "{what}: {replies}");
    let (message, _) = take_only(into);
    let stored = wire.replace("\r\n.", "\r\n").replace("\r\n", "\n");
    let message = String::from_utf8(message).unwrap();
    assert!(message.ends_with(&format!("\n\na{stored}{FORGED}")), "{what}: {message:?}");
}

#[test]
fn r1_no_sequence_ends_a_message_on_the_way_out() {
    let out = Home::new(&["qmail-queue", "qmail-remote", "qmail-inject", "qmail-smtpd"]);
    let into = Home::new(&["qmail-queue", "qmail-smtpd"]);
    for home in [&out, &into] {
        home.put("control/rcpthosts", b"b.test\n");
    }
    for Sequence { end, comes_in, goes_out } in SEQUENCES {
        for by in ["qmail-queue", "qmail-inject"] {
            queue(&out, by, format!("Subject: s\n\na{end}{FORGED}").as_bytes());
            goes_out_as_one(&out, &into, &take_only(&out).1, goes_out, &format!("{by} {end:?}"));
        }
        if let ComesIn::Text(_, relayed) = comes_in {
            run(&mut out.command("qmail-smtpd"), &session(end));
            goes_out_as_one(&out, &into, &take_only(&out).1, relayed, &format!("relayed {end:?}"));
        }
    }
}

#[test]
fn s1_s2_no_sequence_makes_a_second_message_on_the_way_in() {
    let home = Home::new(&["qmail-queue", "qmail-smtpd"]);
    home.put("control/rcpthosts", b"b.test\n");
    for Sequence { end, comes_in, .. } in SEQUENCES {
        let done = run(&mut home.command("qmail-smtpd"), &session(end));
        let replies = stdout(&done);
        let accepted = replies.matches("\r\n250 ok ").count();
        match comes_in {
            ComesIn::Refused => {
                assert_eq!((done.status.code(), accepted), (Some(1), 0), "{end:?}: {replies}");
                let last = "\r\n451 Bare Line Feeds (LF) are not accepted in SMTP; CRLF is required according to RFC 2822.\r\n";
                assert!(replies.ends_with(last), "{end:?}: {replies}");
                for dir in ["mess", "intd", "todo", "pid"] {
                    assert!(home.queue_files(dir).is_empty(), "{end:?}: {dir}");
                }
            }
            ComesIn::Text(stored, _) => {
                assert_eq!((done.status.code(), accepted), (Some(0), 1), "{end:?}: {replies}");
                let message = String::from_utf8(take_only(&home).0).unwrap();
                assert!(message.ends_with(&format!("\n\na{stored}{FORGED}")), "{end:?}: {message:?}");
            }
            // The control: a client that is honest about its two messages.
            ComesIn::End => {
                assert_eq!((done.status.code(), accepted), (Some(0), 2), "{end:?}: {replies}");
                assert_eq!(home.queue_files("mess").len(), 2);
            }
        }
    }
}
