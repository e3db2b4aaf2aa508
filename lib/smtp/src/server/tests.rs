//! Whole sessions against a scripted client, a clock that does not wait, and a queue in memory.

mod extensions;
mod policy_rows;

use super::*;
use ::policy::recipients::Answer;
use control::Controls;
use proptest::prelude::*;
use queue::Verdict;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What the client does next.
enum Act {
    Send(Vec<u8>),
    Wait(u64),
}

struct Client {
    acts: std::vec::IntoIter<Act>,
    /// Bytes of the present `Send` that were not read yet.
    left: Vec<u8>,
    start: Instant,
    passed: Duration,
}

impl Source for Client {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        let mut limit = limit;
        while self.left.is_empty() {
            match self.acts.next() {
                None => return Ok(0),
                Some(Act::Send(bytes)) => self.left = bytes,
                Some(Act::Wait(seconds)) => {
                    let wait = Duration::from_secs(seconds);
                    if wait >= limit {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.passed += wait;
                    limit -= wait;
                }
            }
        }
        let n = self.left.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.left[..n]);
        self.left.drain(..n);
        Ok(n)
    }

    fn now(&self) -> Instant {
        self.start + self.passed
    }
}

/// Everything written, one item for each write.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Vec<String>>>);

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    body: Vec<u8>,
    sender: Vec<u8>,
    recipients: Vec<u8>,
    scan: bool,
}

/// A host in memory, that answers as it is told to.
#[derive(Clone, Default)]
struct Memory {
    queued: Rc<RefCell<Vec<Message>>>,
    log: Rc<RefCell<Vec<String>>>,
    /// What a child would see now, in order of names.
    exports: Rc<RefCell<std::collections::BTreeMap<String, String>>>,
    /// Everything that was done, in order: pauses, look-ups, checks.
    done: Rc<RefCell<Vec<String>>>,
    /// What was told of mail to come, in order.
    ahead: Rc<RefCell<Vec<&'static str>>>,
    refusal: Option<&'static [u8]>,
    code: Option<u8>,
    closed: bool,
    /// What a client knows after STARTTLS; `None`: there is no TLS.
    tls: Option<Vec<(&'static str, &'static str)>>,
    /// `user password` pairs that are right; `crash` crashes.
    passwords: Vec<&'static str>,
    no_check: Option<NoCheck>,
    unwritable: bool,
    spf: Option<Spf>,
    greylisted: bool,
}

struct Draft {
    to: Memory,
    message: Message,
    failed: bool,
}

impl Host for Memory {
    type Mail = Draft;
    type Check = Conversation;

    fn open(&mut self) -> io::Result<Draft> {
        if self.closed {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let shown = self.exports.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        self.done.borrow_mut().push(format!("open {}", shown.join(",")));
        Ok(Draft { to: self.clone(), message: Message::default(), failed: false })
    }

    fn expect_mail(&mut self) {
        self.ahead.borrow_mut().push("mail");
    }

    fn expect_no_mail(&mut self) {
        self.ahead.borrow_mut().push("none");
    }

    fn export(&mut self, name: &[u8], value: Option<&[u8]>) {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match value {
            Some(value) => self.exports.borrow_mut().insert(text(name), text(value)),
            None => self.exports.borrow_mut().remove(&text(name)),
        };
    }

    fn log(&mut self, event: &[u8]) {
        self.log.borrow_mut().push(String::from_utf8(event.to_vec()).unwrap());
    }

    fn pause(&mut self, time: Duration) {
        self.done.borrow_mut().push(format!("pause {}", time.as_secs()));
    }

    fn start_tls(&mut self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let variables = self.tls.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(variables.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect())
    }

    /// `no.` and `later.` begin names that are not there, or not now.
    fn look_up(&mut self, what: Wanted, domain: &[u8]) -> Found {
        let domain = String::from_utf8_lossy(domain);
        self.done.borrow_mut().push(format!("{what:?} {domain}"));
        match domain.split('.').next() {
            Some("no") => Found::No,
            Some("later") => Found::Temporary,
            _ => Found::Yes,
        }
    }

    fn spf(&mut self, question: &SpfQuestion<'_>) -> Spf {
        let parts = [question.ip, question.helo, question.sender, question.receiver];
        self.done.borrow_mut().push(format!("spf {}", String::from_utf8_lossy(&parts.join(&b' '))));
        self.spf.clone().unwrap_or_else(Spf::unknown)
    }

    fn is_greylisted(&mut self, server: &[u8], envelope: &SpfQuestion<'_>, recipient: &[u8]) -> bool {
        let parts = [server, envelope.sender, recipient, envelope.ip, envelope.host];
        self.done.borrow_mut().push(format!("greylist {}", String::from_utf8_lossy(&parts.join(&b' '))));
        self.greylisted
    }

    fn ask(&mut self, argv: &[Vec<u8>], _address: &[u8]) -> Answer {
        match argv[0].as_slice() {
            b"yes" => Answer::Yes,
            b"no" => Answer::No,
            _ => Answer::Temporary,
        }
    }

    fn start_check(&mut self, _talks: bool) -> Result<Conversation, NoCheck> {
        self.no_check.map_or(Ok(()), Err)?;
        Ok(Conversation { with: self.clone(), said: Vec::new(), scram: None, right: false })
    }

    fn unique(&self) -> Vec<u8> {
        b"17.1000".to_vec()
    }

    fn random(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        bytes.fill(7);
        Ok(())
    }
}

/// A password check that knows the passwords of [`Memory`], and SCRAM.
struct Conversation {
    with: Memory,
    said: Vec<u8>,
    scram: Option<auth::scram::Server>,
    right: bool,
}

impl Check for Conversation {
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.with.unwritable {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.with.done.borrow_mut().push(format!("say {}", bytes.escape_ascii()));
        self.said = bytes.to_vec();
        Ok(())
    }

    fn hear(&mut self) -> io::Result<Vec<u8>> {
        if let Some(server) = &self.scram {
            let message = self.said.strip_suffix(b"\0").unwrap();
            let last = server.finish(message).map_err(|_| io::ErrorKind::PermissionDenied)?;
            self.right = true;
            return Ok(last);
        }
        let fields: Vec<_> = self.said.split(|&b| b == 0).collect();
        let request = fields[2].strip_prefix(b"SCRAM-SHA-256 ").ok_or(io::ErrorKind::InvalidData)?;
        let at = request.iter().rposition(|&b| b == b' ').unwrap();
        let user = String::from_utf8(fields[0].to_vec()).unwrap();
        let known = self.with.passwords.iter().find_map(|p| p.strip_prefix(&format!("{user} ")));
        let password = known.ok_or(io::ErrorKind::PermissionDenied)?;
        let verifier = auth::scram::Verifier::of_password(password.as_bytes(), b"salt", auth::scram::ITERATIONS);
        let server = auth::scram::Server::new(&request[..at], &request[at + 1..], verifier).unwrap();
        let first = server.first().to_vec();
        self.scram = Some(server);
        Ok(first)
    }

    fn finish(self) -> Checked {
        let fields: Vec<_> = self.said.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
        let [user, password, ..] = fields.as_slice() else { return Checked::Wrong };
        let known = self.with.passwords.iter().any(|p| *p == format!("{user} {password}"));
        match user.as_ref() {
            "crash" => Checked::Crashed,
            _ if self.right || known => Checked::Right,
            _ => Checked::Wrong,
        }
    }
}

impl Mail for Draft {
    fn qp(&self) -> i32 {
        7
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.message.body.extend_from_slice(bytes);
        }
    }

    fn fail(&mut self) {
        self.failed = true;
    }

    fn close(mut self, sender: &[u8], recipients: &[u8], scan: bool) -> (Verdict, Option<u8>) {
        if let Some(text) = self.to.refusal {
            return (Verdict::Refused(text.to_vec()), self.to.code);
        }
        if self.failed {
            return (Verdict::Refused(b"Zqq read error (#4.3.0)".to_vec()), Some(54));
        }
        self.message.sender = sender.to_vec();
        self.message.recipients = recipients.to_vec();
        self.message.scan = scan;
        self.to.queued.borrow_mut().push(self.message);
        (Verdict::Queued, Some(0))
    }
}

/// A session to be played.
struct Play {
    settings: Settings,
    queue: Memory,
    /// Files in control besides rcpthosts, which has `here.test`.
    files: Vec<(&'static str, &'static str)>,
    /// Databases in control.
    cdbs: Vec<(&'static str, Vec<(&'static str, &'static str)>)>,
}

/// What came of it.
struct Played {
    writes: Vec<String>,
    queued: Vec<Message>,
    log: Vec<String>,
    done: Vec<String>,
    end: End,
}

impl Played {
    /// The first three letters of each reply line, without those of the greeting.
    fn codes(&self) -> Vec<String> {
        self.replies().iter().skip(1).map(|r| r[..3].to_string()).collect()
    }

    fn replies(&self) -> Vec<String> {
        let all = self.writes.concat();
        assert!(all.is_empty() || all.ends_with("\r\n"));
        all.split_terminator("\r\n").map(str::to_string).collect()
    }

    fn last(&self) -> String {
        self.replies().pop().unwrap()
    }
}

impl Play {
    fn new() -> Play {
        let settings = Settings {
            greeting: b"mx.test".to_vec(),
            timeout: Duration::from_secs(1200),
            databytes: 0,
            relayclient: None,
            connection: Connection {
                remote_ip: b"192.0.2.1".to_vec(),
                remote_host: b"client.test".to_vec(),
                remote_info: None,
                local: b"mx.test".to_vec(),
                local_port: b"25".to_vec(),
            },
            tls: None,
            checks_passwords: false,
            switches: Switches::default(),
        };
        Play { settings, queue: Memory::default(), files: Vec::new(), cdbs: Vec::new() }
    }

    fn acts(&self, acts: Vec<Act>) -> Played {
        let home = tempfile::tempdir().unwrap();
        let controls = Controls::of(home.path());
        std::fs::create_dir(home.path().join("control")).unwrap();
        for (name, text) in [("rcpthosts", "here.test\n"), ("me", "mx.test\n")].iter().chain(&self.files) {
            std::fs::write(controls.path(name), text).unwrap();
        }
        for (name, keys) in &self.cdbs {
            let file = std::fs::File::create(controls.path(name)).unwrap();
            let mut writer = control::cdb::Writer::new(file).unwrap();
            keys.iter().for_each(|(key, data)| writer.add(key.as_bytes(), data.as_bytes()).unwrap());
            writer.finish().unwrap();
        }
        let relay = self.settings.relayclient.is_some();
        let rules = Rules::read(home.path(), relay, &self.settings.switches).unwrap();
        let client =
            Client { acts: acts.into_iter(), left: Vec::new(), start: Instant::now(), passed: Duration::default() };
        let (wire, queue) = (Wire::default(), self.queue.clone());
        let end = Session::new(self.settings.clone(), rules, queue.clone(), client, wire.clone()).run();
        Played {
            writes: wire.0.take(),
            queued: queue.queued.take(),
            log: queue.log.take(),
            done: queue.done.take(),
            end,
        }
    }

    /// The same with variables in the environment.
    fn with(mut self, variables: &[(&str, &str)]) -> Play {
        let get = |name: &[u8]| variables.iter().find(|v| v.0.as_bytes() == name).map(|v| v.1.into());
        self.settings.switches = Switches::read(get).unwrap();
        self
    }

    fn send(&self, bytes: impl Into<Vec<u8>>) -> Played {
        self.acts(vec![Act::Send(bytes.into())])
    }
}

const ENVELOPE: &str = "MAIL FROM:<a@there.test>\r\nRCPT TO:<b@here.test>\r\n";

fn message(data: &str) -> String {
    format!("{ENVELOPE}DATA\r\n{data}.\r\nQUIT\r\n")
}

#[test]
fn a_message_goes_into_the_queue() {
    let p = Play::new().send(message("Subject: x\r\n\r\n..y\r\n"));
    assert_eq!(p.codes(), ["250", "250", "354", "250", "221"]);
    assert!(p.replies()[4].starts_with("250 ok ") && p.replies()[4].ends_with(" qp 7"));
    assert!(matches!(p.end, End::Quit));
    assert_eq!((&*p.queued[0].sender, &*p.queued[0].recipients), (&b"a@there.test"[..], &b"b@here.test\0"[..]));
    assert!(p.queued[0].body.starts_with(b"Received: from client.test (192.0.2.1)\n  by mx.test with SMTP; "));
    assert!(p.queued[0].body.ends_with(b" -0000\nSubject: x\n\n.y\n"));
}

#[test]
fn s1_bare_lf_in_data_gets_451_and_ends_the_session() {
    for data in ["a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\n.\r", "\n", "a\nb\r\n"] {
        let p = Play::new().send(format!("{ENVELOPE}DATA\r\n{data}\r\n.\r\nMAIL FROM:<x@y>\r\nQUIT\r\n"));
        assert_eq!(p.codes(), ["250", "250", "354", "451"], "{data:?}");
        let text = "451 Bare Line Feeds (LF) are not accepted in SMTP; CRLF is required according to RFC 2822.";
        assert_eq!(p.last(), text);
        assert!(matches!(p.end, End::BareLineFeed) && p.queued.is_empty());
    }
}

#[test]
fn s2_s3_cr_and_nul_in_data_are_kept() {
    let p = Play::new().send(message("a\r.\rb\0\r\n\r\r\n"));
    assert!(p.queued[0].body.ends_with(b"\na\r.\rb\0\n\r\n"));
}

#[test]
fn s4_a_whole_session_in_one_write_is_answered_in_order_and_in_one_write() {
    let script = format!("EHLO x\r\nNOOP\r\nRSET\r\n{ENVELOPE}RSET\r\n{ENVELOPE}DATA\r\nx\r\n.\r\nHELO y\r\nQUIT\r\n");
    let p = Play::new().send(script);
    // Five for EHLO, then the rest.
    let expected = "250 250 250 250 250 250 250 250 250 250 250 250 354 250 250 221";
    assert_eq!(p.codes().join(" "), expected);
    assert_eq!(p.writes.len(), 2, "greeting and all the rest");
    assert_eq!(p.queued.len(), 1);
}

#[test]
fn mail_is_expected_of_a_client_that_waits_after_its_recipients() {
    let ahead = |lines: &[&str]| {
        let play = Play::new();
        let memory = play.queue.clone();
        play.acts(lines.iter().map(|line| Act::Send(line.as_bytes().to_vec())).collect());
        memory.ahead.take()
    };
    let (mail, rcpt, bad) = ("MAIL FROM:<a@there.test>\r\n", "RCPT TO:<b@here.test>\r\n", "RCPT TO:<b@there.test>\r\n");
    assert_eq!(ahead(&[mail, rcpt, rcpt, "RSET\r\n"]), ["mail", "mail", "none"]);
    assert_eq!(ahead(&[mail, rcpt, "DATA\r\n", "x\r\n.\r\n"]), ["mail", "none"]);
    assert!(ahead(&[mail, bad, "QUIT\r\n"]).is_empty());
    assert!(ahead(&[mail, &format!("{rcpt}NOOP\r\n")]).is_empty());
}

#[test]
fn replies_are_not_hoarded() {
    let p = Play::new().send("NOOP\r\n".repeat(10_000));
    assert_eq!(p.replies().len(), 10_001);
    assert!(p.writes.iter().all(|w| w.len() < 9000));
}

#[test]
fn s7_nul_in_a_command_is_an_error_not_an_end() {
    let p =
        Play::new().send("NOOP\0x\r\nNO\0OP\r\nMAIL FROM:<a@b\0>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@here.test\0.x>\r\n");
    assert_eq!(p.codes(), ["500", "500", "555", "250", "555"]);
}

#[test]
fn s8_a_long_line_is_skipped_and_the_session_goes_on() {
    let long = "x".repeat(1 << 20);
    let p = Play::new().send(format!("NOOP {long}\r\nNOOP\r\nNOOP {}\r\n", "x".repeat(12000)));
    assert_eq!(p.replies()[1..], ["500 line too long (#5.5.2)", "250 ok", "250 ok"]);
    // With verb and line end: the first is the longest that is taken.
    for (length, reply) in [(512, "250 ok"), (12_288, "250 ok"), (12_289, "500 line too long (#5.5.2)")] {
        let p = Play::new().send(format!("NOOP {}\r\nQUIT\r\n", "x".repeat(length - "NOOP \r\n".len())));
        assert_eq!(p.replies()[1..], [reply, "221 mx.test"], "{length}");
    }
    // Even a long tail of one that would have been a command by itself.
    let p = Play::new().send(format!("{}QUIT\r\nNOOP\r\n", "x".repeat(12_288)));
    assert_eq!(p.replies()[1..], ["500 line too long (#5.5.2)", "250 ok"]);
}

#[test]
fn s10_addresses_over_900_bytes_are_a_syntax_error() {
    for (length, code) in [(899, "250"), (900, "555"), (5000, "555")] {
        let address = "a".repeat(length);
        assert_eq!(Play::new().send(format!("MAIL FROM:<{address}>\r\n")).codes(), [code], "{length}");
        let rcpt = format!("MAIL FROM:<>\r\nRCPT TO:<{address}>\r\n");
        assert_eq!(Play::new().send(rcpt).codes(), ["250", code], "{length}");
    }
    let mut relay = Play::new();
    relay.settings.relayclient = Some("x".repeat(500).into_bytes());
    relay.queue.refusal = Some(b"Denvelope address too long for qq (#5.1.3)");
    let p = relay.send(format!("MAIL FROM:<>\r\nRCPT TO:<{}>\r\nDATA\r\n.\r\n", "a".repeat(800)));
    assert_eq!(p.last(), "554 envelope address too long for qq (#5.1.3)");
}

#[test]
fn s11_recipients_beyond_a_mebibyte_of_envelope_get_452() {
    let rcpt = format!("RCPT TO:<{}@here.test>\r\n", "a".repeat(800));
    let script = format!("MAIL FROM:<a@b>\r\n{}DATA\r\nx\r\n.\r\n", rcpt.repeat(2000));
    let p = Play::new().send(script);
    let taken = p.codes().iter().skip(1).take_while(|c| *c == "250").count();
    assert_eq!(taken, ((1 << 20) - 3) / 811);
    assert_eq!(p.codes().iter().filter(|c| *c == "452").count(), 2000 - taken);
    assert_eq!(p.queued[0].recipients.len(), taken * 811);
    let p = Play::new().send(format!("MAIL FROM:<a@b>\r\n{}", "RCPT TO:<b@here.test>\r\n".repeat(10_000)));
    assert!(p.codes().iter().all(|c| c == "250"));
}

#[test]
fn s12_the_hundred_and_first_error_ends_the_session() {
    let p = Play::new().send("what\r\n".repeat(1000));
    assert_eq!(p.codes().len(), 101);
    assert!(p.codes().iter().take(100).all(|c| c == "500"));
    assert_eq!(p.last(), "421 too many errors (#4.7.0)");
    assert!(matches!(p.end, End::TooManyErrors));
    // What the rules refuse is no such error.
    let refused = format!("MAIL FROM:<a@b>\r\n{}", "RCPT TO:<a@there.test>\r\n".repeat(500));
    assert!(matches!(Play::new().send(refused).end, End::Lost));
}

#[test]
fn s13_a_command_line_must_be_complete_in_time() {
    let drip = |seconds: u64| {
        let line = "NOOP\r\nNOOP\r\n".bytes();
        line.flat_map(|b| [Act::Wait(seconds), Act::Send(vec![b])]).collect::<Vec<_>>()
    };
    let p = Play::new().acts(drip(190));
    assert_eq!(p.codes(), ["250", "250"], "6 bytes of a line in 1140 seconds");
    let p = Play::new().acts(drip(201));
    assert_eq!(p.replies()[1..], ["451 timeout (#4.4.2)"]);
    assert!(matches!(p.end, End::Timeout));
    let p =
        Play::new().acts(vec![Act::Send(vec![b'x'; 100_000]), Act::Wait(1199), Act::Send(b"x".into()), Act::Wait(9)]);
    assert_eq!(p.replies()[1..], ["451 timeout (#4.4.2)"]);
}

#[test]
fn a_client_that_stalls_in_a_message_is_told_so() {
    let stall = |seconds| {
        let start = format!("{ENVELOPE}DATA\r\nx");
        let acts = vec![Act::Send(start.into_bytes()), Act::Wait(seconds), Act::Send(b"\r\n.\r\n".to_vec())];
        Play::new().acts(acts)
    };
    assert_eq!(stall(1199).codes(), ["250", "250", "354", "250"]);
    let p = stall(1200);
    assert_eq!(p.codes(), ["250", "250", "354", "451"]);
    assert!(p.queued.is_empty());
}

#[test]
fn s14_end_of_input_before_the_dot_queues_nothing() {
    for cut in ["", "x", "x\r\n", "x\r\n.", "x\r\n.\r"] {
        let p = Play::new().send(format!("{ENVELOPE}DATA\r\n{cut}"));
        assert_eq!(p.codes(), ["250", "250", "354"]);
        assert!(matches!(p.end, End::Lost) && p.queued.is_empty(), "{cut:?}");
    }
}

#[test]
fn s15_size_parameters() {
    let mut limited = Play::new();
    limited.settings.databytes = 1000;
    let try_size = |play: &Play, size: &str| {
        play.send(format!("MAIL FROM:<a@b> SIZE={size}\r\nRCPT TO:<c@here.test>\r\n")).codes().join(" ")
    };
    for (size, codes) in [
        ("1000", "250 250"),
        ("1001", "250 552"),
        ("18446744073709551616", "250 552"),
        ("-1", "501 503"),
        ("", "501 503"),
    ] {
        assert_eq!(try_size(&limited, size), codes, "{size}");
    }
    assert_eq!(try_size(&Play::new(), "1001"), "250 250");
    assert_eq!(try_size(&Play::new(), "18446744073709551616"), "250 552");
}

#[test]
fn s16_a_body_over_databytes_is_read_to_its_end_and_refused() {
    let mut limited = Play::new();
    limited.settings.databytes = 5;
    for (data, code, count) in [("abcd\r\n", "250", 1), ("abcde\r\n", "552", 0), ("a\r\n\r\n\r\n\r\n\r\n", "552", 0)] {
        let p = limited.send(message(data));
        assert_eq!(p.codes(), ["250", "250", "354", code, "221"], "{data:?}");
        assert_eq!(p.queued.len(), count);
    }
}

#[test]
fn s17_a_hundred_hops_are_a_loop() {
    for (hops, code) in [(99, "250"), (100, "554")] {
        let p = Play::new().send(message(&format!("{}\r\nReceived: x\r\n", "Delivered-To: x\r\n".repeat(hops))));
        assert_eq!(p.codes()[3], code);
        assert_eq!(p.queued.is_empty(), code == "554");
    }
}

#[test]
fn s18_nobody_relays() {
    let rows = [
        ("x@here.test", "250"),
        ("x@there.test", "553"),
        ("x%there.test@here.test", "250"),
        ("@here.test:x@there.test", "553"),
        ("@there.test:x@here.test", "250"),
        ("\"x@there.test\"@here.test", "250"),
        ("\"x@here.test\"@there.test", "553"),
        ("x@here.test@there.test", "553"),
        ("x@[192.0.2.99]", "553"),
        ("there.test!x", "250"),
        ("x", "250"),
        ("x@", "553"),
        ("x@here.test.", "553"),
        ("x@.here.test", "553"),
    ];
    for (address, code) in rows {
        let p = Play::new().send(format!("MAIL FROM:<a@b>\r\nRCPT TO:<{address}>\r\n"));
        assert_eq!(p.codes(), ["250", code], "{address}");
    }
}

#[test]
fn s19_shell_text_is_just_an_address() {
    for odd in [";cmd;", "`id`", "|prog", "/etc/passwd", "../x", "-froot", "${HOME}", "() { :;}; id", "a\rb"] {
        let p = Play::new().send(format!("MAIL FROM:<{odd}>\r\nRCPT TO:<{odd}>\r\nDATA\r\n.\r\n"));
        assert_eq!(p.queued[0].sender, odd.as_bytes(), "{odd:?}");
        assert_eq!(p.queued[0].recipients, [odd.as_bytes(), b"\0"].concat());
    }
}

#[test]
fn s20_a_helo_name_cannot_forge_a_header_line() {
    let p = Play::new().send(format!("HELO a\rX-Evil: 1 ()\u{e9}\r\n{}", message("x\r\n")));
    let body = String::from_utf8(p.queued[0].body.clone()).unwrap();
    assert!(body.starts_with("Received: from client.test (HELO a?X-Evil:?1?????) (192.0.2.1)\n"), "{body}");
}

#[test]
fn s26_a_queue_that_fails_is_a_temporary_error_and_the_session_goes_on() {
    let mut play = Play::new();
    play.queue.refusal = Some(b"Zunable to exec qq (#4.3.0)");
    let p = play.send(message("x\r\n"));
    assert_eq!(p.replies()[4..], ["451 unable to exec qq (#4.3.0)", "221 mx.test"]);
    play.queue.refusal = Some(b"Dno\r\nthanks (#5.7.1)");
    assert_eq!(play.send(message("x\r\n")).replies()[4], "554 no??thanks (#5.7.1)");
    play.queue.closed = true;
    let p = play.send(message("x\r\n"));
    assert_eq!(p.replies()[3..], ["354 go ahead", "451 qqt failure (#4.3.0)", "221 mx.test"]);
}

#[test]
fn a_listed_sender_is_refused_at_rcpt() {
    let mut play = Play::new();
    play.files = vec![("badmailfrom", "Bad@there.test\n@evil.test\n")];
    for (sender, code) in [("bad@THERE.test", "553"), ("x@evil.test", "553"), ("x@there.test", "250"), ("", "250")] {
        let p = play.send(format!("MAIL FROM:<{sender}>\r\nRCPT TO:<c@here.test>\r\n"));
        assert_eq!(p.codes(), ["250", code], "{sender}");
    }
}

#[test]
fn a_relay_client_may_send_anywhere_and_gets_its_suffix() {
    let mut play = Play::new();
    play.settings.relayclient = Some(b"@gate.test".to_vec());
    let p = play.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\n");
    assert_eq!(p.queued[0].recipients, b"c@far.test@gate.test\0");
}

#[test]
fn s25_trouble_in_the_middle_of_a_session_gets_421() {
    let mut play = Play::new();
    play.files = vec![("morercpthosts.cdb", "cut")];
    let p = play.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@here.test>\r\nRCPT TO:<c@more.test>\r\nQUIT\r\n");
    assert_eq!(p.codes(), ["250", "250", "421"]);
    assert_eq!(p.last(), "421 unable to read controls (#4.3.0)");
    assert!(matches!(p.end, End::Trouble(Trouble::Controls(_))));
}

#[test]
fn what_a_client_is_told_at_the_end() {
    let trouble = || io::Error::from(io::ErrorKind::OutOfMemory);
    let unreadable = control::Unreadable { file: "me".into(), error: trouble() };
    let rows = [
        (End::Quit, ""),
        (End::Lost, ""),
        (End::Guessing, ""),
        (End::Timeout, "451 timeout (#4.4.2)"),
        (End::TooManyErrors, "421 too many errors (#4.7.0)"),
        (End::Notorious, "503 DATA command not accepted at this time (#5.5.1)"),
        (End::NoTls(trouble()), "454 TLS not available due to temporary reason (#5.7.3)"),
        (End::Trouble(Trouble::Memory), "421 out of memory (#4.3.0)"),
        (End::Trouble(Trouble::Controls(unreadable)), "421 unable to read controls (#4.3.0)"),
        (End::Trouble(Trouble::Content(trouble())), "421 unable to read controls (#4.3.0)"),
        (End::Trouble(Trouble::Switches), "421 unable to read controls (#4.3.0)"),
        (End::Trouble(Trouble::Addresses(trouble())), "421 unable to figure out my IP addresses (#4.3.0)"),
    ];
    for (end, words) in rows {
        let line = if words.is_empty() { String::new() } else { format!("{words}\r\n") };
        assert_eq!(end.last_words(), line.as_bytes(), "{end:?}");
    }
}

/// Bytes that come close to a session.
fn near_smtp() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"MAIL FROM:<".to_vec()),
        Just(b"RCPT TO:<".to_vec()),
        Just(b"a@here.test>\r\n".to_vec()),
        Just(b"a@[127.0.0.1]>\r\n".to_vec()),
        Just(b"> SIZE=".to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"\r\n.\r\n".to_vec()),
        Just(b"RSET\r\nEHLO x\r\n".to_vec()),
        Just(vec![b'x'; 13_000]),
        proptest::collection::vec(any::<u8>(), 0..4),
        proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'"'), Just(b'\\')], 0..4),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_get_well_formed_replies_however_they_are_cut(
        script in near_smtp(),
        cut in 0usize..400,
    ) {
        let play = Play::new();
        let whole = play.send(script.clone());
        prop_assert!(whole.replies().iter().all(|r| r.len() > 4 && r.as_bytes()[..3].iter().all(u8::is_ascii_digit)));
        let (first, second) = script.split_at(cut.min(script.len()));
        let halves = play.acts(vec![Act::Send(first.to_vec()), Act::Send(second.to_vec())]);
        prop_assert_eq!(whole.codes(), halves.codes());
        let envelopes = |p: &Played| -> Vec<_> {
            p.queued.iter().map(|m| (m.sender.clone(), m.recipients.clone(), m.body.len())).collect()
        };
        prop_assert_eq!(envelopes(&whole), envelopes(&halves));
    }
}
