//! qmail-smtpd with the programs beside it: the process that does TLS, the one that checks passwords, those that ask
//! the DNS, a greylist or a site's own lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A private home with small scripts in place of the programs.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path("control")).unwrap();
        std::fs::create_dir(home.path("bin")).unwrap();
        home.control("me", "mx.test\n");
        home.control("rcpthosts", "here.test\n");
        home.program("qmail-queue", "cat >message; cat <&1 >envelope; env >environment; ls -l /proc/self/fd >fds");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn control(&self, name: &str, text: &str) {
        std::fs::write(self.path("control").join(name), text).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        let (file, text) = (self.path("bin").join(name), self.path("script"));
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&text, PermissionsExt::from_mode(0o755)).unwrap();
        // Copied by another process: a file that this one has open for writing while another test forks is busy.
        assert!(Command::new("cp").arg(&text).arg(&file).status().unwrap().success());
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    fn smtpd(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qmail-smtpd"));
        command.env_clear().env("QMAILHOME", self.0.path()).env("PATH", "/usr/bin:/bin");
        command.env("TCPREMOTEIP", "192.0.2.1").env("TCPREMOTEHOST", "client.test").env("TCPLOCALHOST", "mx.test");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Sends all of `script`; replies, log and exit code.
fn play(command: &mut Command, script: &str) -> (Vec<String>, String, Option<i32>) {
    let mut child = command.spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let replies = text.split_terminator("\r\n").map(str::to_string).collect();
    (replies, String::from_utf8(output.stderr).unwrap(), output.status.code())
}

fn expect(from: &mut impl Read, text: &str) {
    let mut seen = vec![0; text.len()];
    from.read_exact(&mut seen).unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), text);
}

/// A session under a server that does TLS when it is asked to, but leaves the bytes as they are.
struct Fake {
    child: Child,
    control: UnixStream,
    inside: UnixStream,
}

impl Fake {
    fn start(home: &Home, variables: &[(&str, &str)]) -> Fake {
        // While these ends can be inherited no other session may start.
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = ONE.lock();
        let (control, theirs) = UnixStream::pair().unwrap();
        let (inside, data) = UnixStream::pair().unwrap();
        for end in [&theirs, &data] {
            sys::fd::keep_on_exec(end.as_raw_fd()).unwrap();
        }
        let mut command = home.smtpd(variables);
        command.env("SSLCTLFD", theirs.as_raw_fd().to_string());
        command.env("SSLREADFD", data.as_raw_fd().to_string()).env("SSLWRITEFD", data.as_raw_fd().to_string());
        Fake { child: command.spawn().unwrap(), control, inside }
    }

    /// Says something in clear, and waits for the answer.
    fn clear(&mut self, line: &str, answer: &str) {
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        expect(self.child.stdout.as_mut().unwrap(), answer);
    }

    /// Waits to be asked, and gives the variables.
    fn handshake(&mut self, variables: &str) {
        expect(&mut self.control, "Y");
        self.control.write_all(variables.as_bytes()).unwrap();
    }

    fn encrypted(&mut self, line: &str, answer: &str) {
        self.inside.write_all(line.as_bytes()).unwrap();
        expect(&mut self.inside, answer);
    }
}

const VARIABLES: &str = "SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_X\0SSL_CIPHER_USEKEYSIZE=256\0\
    SSL_CIPHER_ALGKEYSIZE=256\0QMAILQUEUE=/bin/false\0\0";

#[test]
fn s5_s6_starttls_by_ucspi_tls() {
    let home = Home::new();
    let mut session = Fake::start(&home, &[("UCSPITLS", "")]);
    session.clear("", "220 mx.test ESMTP\r\n");
    // Commands in the same packet behind STARTTLS, inside a transaction.
    let ehlo = "250-mx.test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 SIZE 0\r\n";
    session.clear("EHLO x\r\n", ehlo);
    session.clear("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
    session.clear("STARTTLS\r\nRCPT TO:<evil@here.test>\r\nDATA\r\n", "220 Ready to start TLS (#5.7.0)\r\n");
    // In pieces, as a long list comes.
    let (first, second) = VARIABLES.split_at(30);
    session.handshake(first);
    session.control.write_all(second.as_bytes()).unwrap();
    session.encrypted("RCPT TO:<b@here.test>\r\n", "503 MAIL first (#5.5.1)\r\n");
    let ehlo = "250-mx.test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 SIZE 0\r\n";
    session.encrypted("EHLO y\r\n", ehlo);
    session.encrypted("STARTTLS\r\n", "503 TLS already active (#5.5.1)\r\n");
    session.encrypted("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
    session.encrypted("RCPT TO:<c@here.test>\r\n", "250 ok\r\n");
    session.encrypted("DATA\r\n", "354 go ahead\r\n");
    session.encrypted("x\r\n.\r\n", "250 ok ");
    drop(session.inside);
    let output = session.child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "nothing more in clear");
    let message = home.read("message");
    let expected = "Received: from client.test (HELO y) (192.0.2.1)\n  de/crypted with TLSv1.3: TLS_X [256/256] \
        DN=none\n  \
        by mx.test with ESMTPS; ";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(home.read("envelope"), "Fa@b\0Tc@here.test\0\0");
    let environment = home.read("environment");
    assert!(environment.contains("SSL_CIPHER=TLS_X\n") && !environment.contains("QMAILQUEUE"));
    let sockets = home.read("fds").matches("socket:").count();
    assert_eq!(sockets, 0, "the queue program has no hold of the connection: {}", home.read("fds"));
}

#[test]
fn starttls_without_a_process_for_it() {
    let home = Home::new();
    let (replies, log, exit) = play(&mut home.smtpd(&[("UCSPITLS", "")]), "STARTTLS\r\nNOOP\r\n");
    let failed = "454 TLS not available due to temporary reason (#5.7.3)";
    assert_eq!(replies[1..], ["220 Ready to start TLS (#5.7.0)", failed]);
    assert!(log.starts_with("qmail-smtpd: unable to start TLS: "));
    assert_eq!(exit, Some(1));
    // The process goes away in the middle: nothing is said in clear.
    let mut session = Fake::start(&home, &[("UCSPITLS", "")]);
    session.clear("", "220 mx.test ESMTP\r\n");
    session.clear("STARTTLS\r\n", "220 Ready to start TLS (#5.7.0)\r\n");
    session.handshake("SSL_PROTOCOL=TLS");
    session.control.shutdown(std::net::Shutdown::Both).unwrap();
    let output = session.child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn on_port_465_tls_comes_first() {
    let home = Home::new();
    let failed = "454 TLS not available due to temporary reason (#5.7.3)";
    let (replies, _, exit) = play(&mut home.smtpd(&[("TCPLOCALPORT", "465")]), "QUIT\r\n");
    assert_eq!((replies.join("|").as_str(), exit), (failed, Some(1)));
    let tls = [("TCPLOCALPORT", "465"), ("SSL_PROTOCOL", "TLSv1.3"), ("SSL_CLIENT_S_DN", "/CN=x")];
    let script = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\nQUIT\r\n";
    let (replies, log, exit) = play(&mut home.smtpd(&tls), script);
    assert_eq!((replies.last().unwrap().as_str(), exit), ("221 mx.test", Some(0)));
    assert!(log.contains(" Accept::SNDR::Relay_Client P:ESMTPS "));
    let expected = "(/CN=x@192.0.2.1)\n  de/crypted with TLSv1.3: unknown [unknown/unknown] DN=/CN=x\n";
    assert!(home.read("message").contains(expected), "{}", home.read("message"));
}

/// `\0joe\0secret`
const JOE: &str = "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n";

#[test]
fn a_checkpassword_program_gets_its_words_on_descriptor_3() {
    let home = Home::new();
    let check = "cat <&3 >said; ls -l /proc/self/fd >checkfds; env >checkenv; echo to the log; \
        test \"$(tr '\\0' ' ' <said)\" = 'joe secret ' && exec \"$@\"; exit 1";
    home.program("check", check);
    let check = home.path("bin/check");
    let mut smtpd = home.smtpd(&[("SMTPAUTH", "")]);
    let script = format!("EHLO x\r\n{JOE}MAIL FROM:<a@b>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\nQUIT\r\n");
    let (replies, log, exit) = play(smtpd.arg(&check).arg("true"), &script);
    assert!(replies.contains(&"250-AUTH LOGIN PLAIN".into()), "{replies:?}");
    assert!(replies.contains(&"235 ok, go ahead (#2.0.0)".into()), "{replies:?}");
    assert_eq!((exit, home.read("said").as_str()), (Some(0), "joe\0secret\0"));
    assert!(log.starts_with("to the log\n"));
    assert!(log.ends_with(" Accept::AUTH::plain P:ESMTPA S:192.0.2.1:client.test H:x F:a@b T:c@far.test ?~ 'joe'\n"));
    assert!(home.read("checkenv").contains("AUTHUSER=joe\n"));
    assert!(!home.read("checkenv").contains("secret") && !home.read("environment").contains("secret"));
    assert!(!home.read("message").contains("secret") && !log.contains("secret"));
    let queue = home.read("environment");
    for line in ["AUTHUSER=joe", "AUTHPROTOCOL=plain", "TCPREMOTEINFO=joe", "RELAYCLIENT=", "HELOHOST=x"] {
        assert!(queue.lines().any(|l| l == line), "{line} in {queue}");
    }
    assert!(home.read("message").starts_with("Received: from client.test (HELO x) (joe@192.0.2.1)\n"));
    // Its input is nothing, and the connection is not its own: 0 is /dev/null, 1 and 2 are the log.
    let fds = home.read("checkfds");
    assert!(fds.lines().any(|l| l.contains(" 0 -> /dev/null")), "{fds}");

    let missing = play(home.smtpd(&[("SMTPAUTH", "")]).arg("/nonexistent"), &format!("{JOE}QUIT\r\n"));
    assert_eq!(missing.0[1], "454 child won't start and I can't auth (#4.3.0)");
    home.program("check", "kill -9 $$");
    let crashed = play(home.smtpd(&[("SMTPAUTH", "")]).arg(&check), &format!("{JOE}QUIT\r\n"));
    assert_eq!(crashed.0[1], "454 problem with child and I can't auth (#4.3.0)");
}

#[test]
fn s23_a_wrong_password_takes_five_seconds() {
    let home = Home::new();
    home.program("check", "exit 1");
    let mut smtpd = home.smtpd(&[("SMTPAUTH", "")]);
    let start = std::time::Instant::now();
    let (replies, log, _) = play(smtpd.arg(home.path("bin/check")), &format!("{JOE}QUIT\r\n"));
    assert!(start.elapsed().as_secs() >= 5, "{replies:?}");
    assert_eq!(replies[1..], ["535 authentication failed (#5.7.1)", "221 mx.test"]);
    assert!(log.ends_with(" Reject::AUTH::plain P:SMTP S:192.0.2.1:client.test H: ?~ 'joe'\n"));
}

/// Whether it closed descriptor 3 before or after the server wrote to it.
#[test]
fn a_checker_that_does_not_listen_is_judged_by_its_end() {
    let home = Home::new();
    home.program("check", "exec 3<&-; sleep 0.2; exit 0");
    for _ in 0..3 {
        let mut smtpd = home.smtpd(&[("SMTPAUTH", "")]);
        let (replies, _, _) = play(smtpd.arg(home.path("bin/check")).arg("true"), &format!("{JOE}QUIT\r\n"));
        assert_eq!(replies[1..], ["235 ok, go ahead (#2.0.0)", "221 mx.test"]);
    }
}

#[test]
fn a_scram_conversation_runs_over_descriptors_3_and_4() {
    let home = Home::new();
    // Knows the user, not the method: only what is said, and when, counts here.
    let check = "dd bs=4096 count=1 <&3 >first 2>/dev/null; echo r=abc,s=AAAA,i=4096 >&4; \
        dd bs=4096 count=1 <&3 >last 2>/dev/null; echo v=proof >&4; exec \"$@\"";
    home.program("check", check);
    let mut child = home.smtpd(&[("SMTPAUTH", "scram")]).arg(home.path("bin/check")).arg("true").spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut say = |line: &str, answer: &str| {
        to.write_all(line.as_bytes()).unwrap();
        expect(&mut from, answer);
    };
    say("", "220 mx.test ESMTP\r\n");
    say("AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmM=\r\n", "334 cj1hYmMscz1BQUFBLGk9NDA5Ng==\r\n");
    say("Yz1iaXdzLHI9YWJjLHA9eA==\r\n", "334 dj1wcm9vZg==\r\n");
    say("\r\n", "235 ok, go ahead (#2.0.0)\r\n");
    say("QUIT\r\n", "221 mx.test\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let first = home.read("first");
    let nonce =
        first.strip_prefix("joe\0\0SCRAM-SHA-256 n=joe,r=abc ").and_then(|rest| rest.strip_suffix('\0')).unwrap();
    assert_eq!(nonce.len(), 24);
    assert_eq!(home.read("last"), "c=biws,r=abc,p=x\0");
}

#[test]
fn programs_beside_the_server_ask_the_network() {
    let home = Home::new();
    let note = |name: &str, end: &str| format!("for a; do printf '[%s]' \"$a\"; done >>{name}; {end}");
    home.program("dnsip", &note("asked", "case $1 in no*) exit 100;; later*) exit 111;; esac; exit 0"));
    home.program("dnsmxip", &note("asked", "case $1 in no*) exit 100;; later*) exit 111;; esac; exit 0"));
    home.program("qmail-postgrey", &note("grey", "test $3 = new@here.test && exit 10; exit 0"));
    let spf = "printf 'fail\\0there.test\\0\\0\\0go away\\0trail\\0\\0'";
    home.program("spfquery", &note("spf", spf));
    let rcpt = |variables: &[(&str, &str)], helo: &str, sender: &str, recipient: &str| {
        let script = format!("HELO {helo}\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nQUIT\r\n");
        let replies = play(&mut home.smtpd(variables), &script).0;
        replies[replies.len() - 2].clone()
    };
    let helo = [("HELOCHECK", "A")];
    assert_eq!(rcpt(&helo, "yes.test", "", "a@here.test"), "250 ok");
    assert_eq!(rcpt(&helo, "no.test", "", "a@here.test"), "550 sorry, invalid HELO/EHLO greeting  (#5.7.1)");
    assert_eq!(rcpt(&helo, "later.test", "", "a@here.test"), "451 DNS temporary failure (#4.3.0)");
    let mail = [("MFDNSCHECK", "")];
    assert_eq!(rcpt(&mail, "x", "a@yes.test", "a@here.test"), "250 ok");
    assert_eq!(rcpt(&mail, "x", "a@no.test", "a@here.test"), "553 sorry, your envelope sender must exist  (#5.7.1)");
    assert_eq!(home.read("asked"), "[yes.test][no.test][later.test][yes.test][no.test]");
    let grey = [("POSTGREY", "127.0.0.1;1")];
    assert_eq!(rcpt(&grey, "x", "s@t", "new@here.test"), "450 greylisted, try again later (#4.3.0)");
    assert_eq!(rcpt(&grey, "x", "s@t", "old@here.test"), "250 ok");
    let asked = "[127.0.0.1;1][s@t][new@here.test][192.0.2.1][client.test]";
    assert!(home.read("grey").starts_with(asked), "{}", home.read("grey"));
    home.control("spflocalrules", "a mx\n");
    assert_eq!(rcpt(&[("SPF", "3")], "h", "-v@there.test", "a@here.test"), "550 go away (#5.7.1)");
    let asked = "[-0][192.0.2.1][h][-v@there.test][mx.test][a mx][SPF check failed for %{s} from %{i}]";
    assert_eq!(home.read("spf"), asked);
    // This host may send for everybody; without the program nobody knows.
    assert_eq!(rcpt(&[("SPF", "3"), ("TCPREMOTEIP", "127.0.0.1")], "h", "a@b", "a@here.test"), "250 ok");
    std::fs::remove_file(home.path("bin/spfquery")).unwrap();
    assert_eq!(rcpt(&[("SPF", "2")], "h", "a@b", "a@here.test"), "451 SPF lookup failure (#4.3.0)");
    assert_eq!(rcpt(&[("SPF", "1")], "h", "a@b", "a@here.test"), "250 ok");
    home.control("spfbehavior", "2\n");
    assert_eq!(rcpt(&[], "h", "a@b", "a@here.test"), "451 SPF lookup failure (#4.3.0)");
    assert_eq!(rcpt(&[("SPF", "0")], "h", "a@b", "a@here.test"), "250 ok");
    let (replies, log, exit) = play(&mut home.smtpd(&[("SPF", "7")]), "QUIT\r\n");
    assert_eq!((replies.concat().as_str(), exit), ("421 unable to read controls (#4.3.0)", Some(1)));
    assert_eq!(log, "qmail-smtpd: fatal: SPF is not a number from 0 to 6\n");
}

#[test]
fn a_program_in_recipients_gets_the_address_on_descriptor_3() {
    let home = Home::new();
    home.program(
        "knows",
        "cat <&3 >asked; echo \"$@\" >with; case $(tr '\\0' ' ' <asked) in \
        'joe@here.test   ') exit 0;; 'later@here.test   ') exit 111;; esac; exit 1",
    );
    home.control("recipients", "here.test|bin/knows one two\n");
    let rcpt = |recipient: &str| {
        let script = format!("MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nQUIT\r\n");
        let (replies, log, exit) = play(&mut home.smtpd(&[]), &script);
        (replies[2].clone(), log, exit)
    };
    let (reply, log, _) = rcpt("joe@here.test");
    assert_eq!((reply.as_str(), home.read("asked").as_str()), ("250 ok", "joe@here.test\0\0\0"));
    assert!(log.contains(" Accept::RCPT::Recipients_Pam "));
    assert_eq!(home.read("with"), "one two\n");
    assert_eq!(rcpt("bill@here.test").0, "550 sorry, no mailbox by that name  (#5.7.1)");
    let (reply, log, exit) = rcpt("later@here.test");
    assert_eq!((reply.as_str(), exit), ("421 unable to check recipients (#4.3.0)", Some(1)));
    assert!(log.contains("fatal: a program in control/recipients is unable to answer"));
    std::fs::remove_file(home.path("bin/knows")).unwrap();
    assert_eq!(rcpt("joe@here.test").0, "421 unable to check recipients (#4.3.0)");
}

#[test]
fn codes_of_the_queue_program_have_replies_of_their_own() {
    let home = Home::new();
    for (code, event) in [(32, "Virus_Infected"), (33, "Spam_Message"), (34, "MIME_Attach")] {
        home.program("qmail-queue", &format!("cat >/dev/null; exit {code}"));
        let script = "MAIL FROM:<>\r\nRCPT TO:<a@here.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
        let (replies, log, _) = play(&mut home.smtpd(&[]), script);
        assert_eq!(replies[4], "554 sorry, invalid message content  (#5.3.2)");
        assert!(log.contains(&format!(" Reject::DATA::{event} P:SMTP ")), "{log}");
    }
}

#[test]
fn controls_are_read_only_where_their_switch_is_set() {
    let rows = [
        ("badhelo", ("HELOCHECK", "")),
        ("mailfromrules.cdb", ("LOCALMFCHECK", "!")),
        ("badmimetypes.cdb", ("BADMIMETYPE", "")),
        ("badloadertypes.cdb", ("BADLOADERTYPE", "M")),
        ("spfexplain", ("SPF", "1")),
        ("spflocalrules", ("SPF", "1")),
    ];
    for (name, switch) in rows {
        let home = Home::new();
        // A line file that is a directory can not be read, nor can a database that is a dangling loop of links.
        let file = home.path("control").join(name);
        if name.ends_with(".cdb") {
            std::os::unix::fs::symlink(name, &file).unwrap();
        } else {
            std::fs::create_dir(&file).unwrap();
        }
        assert_eq!(play(&mut home.smtpd(&[]), "QUIT\r\n").2, Some(0), "{name}");
        let (replies, _, exit) = play(&mut home.smtpd(&[switch]), "QUIT\r\n");
        assert_eq!((replies.concat().as_str(), exit), ("421 unable to read controls (#4.3.0)", Some(1)), "{name}");
    }
}
