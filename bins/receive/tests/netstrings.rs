//! qmail-qmtpd and qmail-qmqpd as their callers see them: descriptors, environment, queue program, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const QMTPD: &str = env!("CARGO_BIN_EXE_qmail-qmtpd");
const QMQPD: &str = env!("CARGO_BIN_EXE_qmail-qmqpd");

/// A private home whose queue program keeps the last complete message and envelope.
fn home(script: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["control", "bin"] {
        std::fs::create_dir(home.path().join(dir)).unwrap();
    }
    std::fs::write(home.path().join("control/rcpthosts"), "here.test\n").unwrap();
    let file = home.path().join("bin/qmail-queue");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    home
}

/// Only an envelope with an empty field at its end is complete.
const KEEP: &str = "cat >m.$$; cat <&1 >e.$$
test \"$(tail -c2 e.$$ | od -An -tx1)\" = ' 00 00' || exit 54
mv m.$$ message; mv e.$$ envelope";

fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("QMAILHOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends all of `wire`, then the end of input: the answers and the exit code.
fn play(command: &mut Command, wire: &[u8]) -> (String, Option<i32>) {
    let mut child = command.spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(wire);
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn queued(home: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    let read = |name: &str| std::fs::read(home.join(name)).ok();
    Some((read("message")?, read("envelope")?))
}

fn netstring(text: &[u8]) -> Vec<u8> {
    [text.len().to_string().as_bytes(), b":", text, b","].concat()
}

/// A message by QMTP.
fn qmtp(text: &[u8], sender: &[u8], recipients: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = recipients.iter().flat_map(|r| netstring(r)).collect();
    [netstring(text), netstring(sender), netstring(&list)].concat()
}

/// A message by QMQP.
fn qmqp(text: &[u8], sender: &[u8], recipients: &[&[u8]]) -> Vec<u8> {
    let addresses = recipients.iter().flat_map(|r| netstring(r));
    netstring(&[netstring(text), netstring(sender), addresses.collect()].concat())
}

#[test]
fn a_message_is_answered_before_the_next_one_is_sent() {
    let home = home(KEEP);
    let mut child = command(QMTPD, home.path()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for (text, want) in [(&b"\nfirst\n"[..], &b"\nfirst\n"[..]), (b"\rsecond\r\n\r", b"\nsecond\n\r")] {
        to.write_all(&qmtp(text, b"a@b", &[b"joe@HERE.test"])).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b",") {
            let mut byte = [0];
            from.read_exact(&mut byte).unwrap();
            answer.extend_from_slice(&byte);
        }
        assert!(answer.windows(5).any(|w| w == b":Kok "));
        let (message, envelope) = queued(home.path()).unwrap();
        assert!(message.starts_with(b"Received: from unknown (unknown)\n  by unknown with QMTP; "));
        assert!(message.ends_with(want));
        assert_eq!(envelope, b"Fa@b\0Tjoe@HERE.test\0\0");
    }
    drop(to);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn n1_a_message_cut_off_anywhere_is_not_queued() {
    // The queue program holds the log open: when the output is complete, it has ended too.
    let home = home(KEEP);
    for (program, wire) in
        [(QMTPD, qmtp(b"\rx\r\n", b"a@b", &[b"c@here.test"])), (QMQPD, qmqp(b"x\n", b"a@b", &[b"c@here.test"]))]
    {
        for cut in 0..wire.len() {
            let (said, code) = play(&mut command(program, home.path()), &wire[..cut]);
            assert_eq!((said.as_str(), code), ("", Some(0)), "{cut}");
        }
        assert_eq!(queued(home.path()), None);
    }
}

#[test]
fn n1_to_n3_what_makes_no_sense_ends_the_session() {
    let home = home(KEEP);
    let rows: &[(&str, &[u8], i32)] = &[
        (QMTPD, b"200000001:", 111),
        (QMTPD, b"99999999999999999999999999:", 111),
        (QMTPD, b"0:,", 100),
        (QMTPD, b"x", 100),
        (QMTPD, b"1:x", 100),
        (QMTPD, b"2:\nx;", 100),
        (QMTPD, b"2:\nx,3:a@b;", 100),
        (QMTPD, b"2:\nx,3:a@b,5:9:abc,,", 100),
        (QMTPD, b"2:\nx,3:a@b,5:2:abc,,", 100),
        (QMTPD, b"2:\nx,3:a@b,5:1;abc,,", 100),
        (QMTPD, b"2:\nx,3:a@b,5:99999", 100),
        (QMTPD, b"2:\nx,3:a@b,4:1:a,;", 100),
        (QMTPD, b"2:\nx,3:a@b,999999999999:", 111),
        (QMQPD, b"200000001:", 111),
        (QMQPD, b"9:9:", 100),
        (QMQPD, b"20:1:x,99:", 100),
        (QMQPD, b"20:1:x;", 100),
        (QMQPD, b"8:1:x,1:a,;", 100),
        (QMQPD, b"4:1:x,1:a,", 100),
    ];
    for (program, wire, want) in rows {
        let (said, code) = play(&mut command(program, home.path()), wire);
        assert_eq!((said.as_str(), code), ("", Some(*want)), "{}", wire.escape_ascii());
    }
    assert_eq!(queued(home.path()), None);
}

#[test]
fn n1_leading_zeros_are_a_number() {
    let home = home(KEEP);
    let (said, code) = play(&mut command(QMTPD, home.path()), b"0000000000002:\nx,03:a@b,0016:0013:c@here.test,,");
    // 0013 is one too many for the address, and one byte more than the list has.
    assert_eq!((said.as_str(), code), ("", Some(100)));
    let (said, code) = play(&mut command(QMTPD, home.path()), b"0000000000002:\nx,03:a@b,0017:0011:c@here.test,,");
    assert!(said.contains(":Kok ") && code == Some(0), "{said}");
}

#[test]
fn n3_each_recipient_has_its_own_answer() {
    let home = home(KEEP);
    let long = [b'x'; 1000];
    let recipients: [&[u8]; 5] = [b"a\0b@here.test", b"c@there.test", &long, b"d@here.test", b"local"];
    let (said, code) = play(&mut command(QMTPD, home.path()), &qmtp(b"\nx", b"", &recipients));
    let letters: Vec<&str> = said.split_inclusive("),").collect();
    assert_eq!(code, Some(0));
    assert_eq!(letters[0], "46:Dsorry, I can't handle that recipient (#5.1.3),");
    assert_eq!(letters[1], "66:Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1),");
    assert_eq!(letters[2], letters[0]);
    assert_eq!(letters[3].matches(":Kok ").count(), 2);
    assert_eq!(queued(home.path()).unwrap().1, b"F\0Td@here.test\0Tlocal\0\0");
    // With RELAYCLIENT the suffix counts.
    let (most, over) = ([b'y'; 997], [b'z'; 998]);
    let mut relay = command(QMTPD, home.path());
    let (said, _) = play(relay.env("RELAYCLIENT", "@r"), &qmtp(b"\nx", b"", &[&over, &most]));
    assert!(said.starts_with("46:D") && said.contains(":Kok "), "{said}");
    assert_eq!(queued(home.path()).unwrap().1, [b"F\0T", &most[..], b"@r\0\0"].concat());
}

#[test]
fn n3_a_message_that_is_not_taken_is_refused_for_each_recipient() {
    let long = [b's'; 1000];
    let bad_sender = "29:Dunacceptable sender (#5.1.7),";
    let rows: [(&[u8], &[u8], &str); 4] = [
        (b"\nx", b"a\0b", bad_sender),
        (b"\nx", &long, bad_sender),
        (b"\n12345", b"a@b", "61:Dsorry, that message size exceeds my databytes limit (#5.3.4),"),
        (b"\n12345", b"a\0b", "61:Dsorry, that message size exceeds my databytes limit (#5.3.4),"),
    ];
    for (text, sender, answer) in rows {
        let home = home(KEEP);
        let mut qmtpd = command(QMTPD, home.path());
        let wire = qmtp(text, sender, &[b"a@here.test", b"b@here.test"]);
        assert_eq!(play(qmtpd.env("DATABYTES", "4"), &wire), (answer.repeat(2), Some(0)));
        assert_eq!(queued(home.path()), None);
    }
}

#[test]
fn n3_one_bad_address_refuses_a_request() {
    let home = home(KEEP);
    let long = [b'x'; 1000];
    for (sender, recipient) in [(&b"a\0b"[..], &b"c"[..]), (b"a", b"c\0d"), (&long, b"c"), (b"a", &long)] {
        let (said, code) = play(&mut command(QMQPD, home.path()), &qmqp(b"x", sender, &[b"good", recipient]));
        assert_eq!((said.as_str(), code), ("51:Dsorry, I can't accept addresses like that (#5.1.3),", Some(0)));
        assert_eq!(queued(home.path()), None);
    }
    let (said, code) = play(&mut command(QMQPD, home.path()), &qmqp(b"x", &long[1..], &[b"c", &long[1..]]));
    assert!(said.contains(":Kok ") && code == Some(0), "{said}");
}

#[test]
fn a_queue_program_can_not_acknowledge_by_its_own_text() {
    let home = home("cat >/dev/null; cat <&1 >/dev/null; printf 'Kok 1 qp 2' >&6; exit 82");
    for (program, wire) in [(QMTPD, qmtp(b"\nx", b"", &[b"a"])), (QMQPD, qmqp(b"x", b"", &[b"a"]))] {
        let (said, code) = play(&mut command(program, home.path()), &wire);
        assert_eq!((said.as_str(), code), ("11:ZKok 1 qp 2,", Some(0)));
    }
}

#[test]
fn trouble_on_this_host_is_temporary() {
    let home = home(KEEP);
    let list = home.path().join("control/rcpthosts");
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir(&list).unwrap();
    let output = command(QMTPD, home.path()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(111), vec![]));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.starts_with("qmail-qmtpd: fatal: unable to read ") && log.ends_with(": is a directory\n"), "{log}");
    let output = command(QMQPD, &home.path().join("none")).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(111), vec![]));
}

#[test]
fn a_client_that_takes_no_answer_is_no_error() {
    let home = home(KEEP);
    for (program, wire) in [(QMTPD, qmtp(b"\nx", b"", &[b"a"])), (QMQPD, qmqp(b"x", b"", &[b"a"]))] {
        let mut child = command(program, home.path()).spawn().unwrap();
        drop(child.stdout.take());
        let mut to = child.stdin.take().unwrap();
        to.write_all(&wire).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn qmtps_has_a_line_about_tls_and_a_certificate_relays() {
    let wire = qmtp(b"\nx\n", b"a@b", &[b"c@far.test"]);
    let tls =
        [("SSL_PROTOCOL", "TLSv1.3"), ("SSL_CIPHER", "TLS_X"), ("TCPREMOTEIP", "192.0.2.1"), ("TCPLOCALIP", "::1")];
    let certificate = [("SSL_CLIENT_S_DN", "/CN=node"), ("SSL_CLIENT_S_DN_CN", "node")];
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 4] = [
        (&[], "D", ""),
        (
            &certificate,
            "K",
            "(node@192.0.2.1)\n  de/crypted with TLSv1.3: TLS_X [unknown/unknown] DN=/CN=node\n  by ::1 with QMTPSA; ",
        ),
        (&[certificate[0], ("SSL_CLIENT_VERIFY", "FAILED:x")], "D", ""),
        (
            &[("RELAYCLIENT", "")],
            "K",
            "(192.0.2.1)\n  de/crypted with TLSv1.3: TLS_X [unknown/unknown] DN=none\n  by ::1 with QMTPS; ",
        ),
    ];
    for (variables, letter, trace) in rows {
        let home = home(KEEP);
        let mut qmtpd = command(QMTPD, home.path());
        let (answers, exit) = play(qmtpd.envs(tls).envs(variables.iter().copied()), &wire);
        assert_eq!((answers.split(':').nth(1).unwrap().get(..1), exit), (Some(letter), Some(0)), "{variables:?}");
        let message = queued(home.path()).map(|m| String::from_utf8(m.0).unwrap()).unwrap_or_default();
        assert!(message.contains(trace), "{message}");
    }
    // A certificate without TLS is no certificate, and port 6209 is for TLS only.
    let home = home(KEEP);
    let (answers, _) = play(command(QMTPD, home.path()).envs(certificate), &wire);
    assert!(answers.contains(":D"));
    let (answers, exit) = play(command(QMTPD, home.path()).env("TCPLOCALPORT", "6209"), &wire);
    assert_eq!((answers.as_str(), exit), ("", Some(111)));
    let relay = [("TCPLOCALPORT", "6209"), ("RELAYCLIENT", "")];
    let (answers, exit) = play(command(QMTPD, home.path()).envs(tls).envs(relay), &wire);
    assert_eq!((answers.contains(":K"), exit), (true, Some(0)));
}

#[test]
fn qmqp_under_tls_says_so() {
    let home = home(KEEP);
    let request = netstring(&[netstring(b"x\n"), netstring(b"a@b"), netstring(b"c@far.test")].concat());
    let mut qmqpd = command(QMQPD, home.path());
    qmqpd.env("SSL_PROTOCOL", "TLSv1.3").env("SSL_CLIENT_S_DN", "/CN=node").env("TCPREMOTEIP", "192.0.2.1");
    assert!(play(&mut qmqpd, &request).0.contains(":Kok "));
    let message = String::from_utf8(queued(home.path()).unwrap().0).unwrap();
    let trace = "(/CN=node@192.0.2.1)\n  de/crypted with TLSv1.3: unknown [unknown/unknown] DN=/CN=node\n  \
        by unknown with QMQP; ";
    assert!(message.contains(trace), "{message}");
}
