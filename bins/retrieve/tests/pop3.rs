//! qmail-popup and qmail-pop3d as their callers see them: arguments, descriptors, files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, FileTimes};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use sys::spawn::Program;

const POP3D: &str = env!("CARGO_BIN_EXE_qmail-pop3d");
const POPUP: &str = env!("CARGO_BIN_EXE_qmail-popup");
/// A user for tests that run as root: qmail-pop3d refuses to be root.
const USER: u32 = 61234;

/// A directory with a maildir, both of the user that qmail-pop3d will run as.
struct Place(tempfile::TempDir);

impl Place {
    fn new(messages: &[(&str, &[u8])]) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for dir in ["", "Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"] {
            let path = place.0.path().join(dir);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            place.give(&path);
        }
        for (n, (name, text)) in messages.iter().enumerate() {
            place.add(name, text, 1000 + n as u64);
        }
        place
    }

    /// Adds a file last touched so many seconds after 1970.
    fn add(&self, name: &str, text: &[u8], time: u64) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.give(&path);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        let times = FileTimes::new().set_accessed(time).set_modified(time);
        fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("Maildir").join(name)
    }

    fn give(&self, path: &std::path::Path) {
        if is_root() {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    fn names(&self, part: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(part)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.0.path()).env_clear().env("PATH", "/usr/bin:/bin");
        if is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    fn pop3d(&self, script: &[u8]) -> String {
        let output = play(&mut self.command(POP3D, &["Maildir"]), script);
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        text(&output)
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Sends all of `script`, then the end of input.
fn play(command: &mut Command, script: &[u8]) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(script);
    child.wait_with_output().unwrap()
}

/// What was said, with | for CR LF.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "|")
}

#[test]
fn a_session_reads_removes_and_moves() {
    let place = Place::new(&[("new/1.a", b"one\n"), ("cur/2.b:2,RS", b"s: x\n\n.two"), ("new/3.c", b"three\n")]);
    let said = place.pop3d(b"STAT\r\nLIST\r\nUIDL 2\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n");
    assert_eq!(said, "+OK |+OK 3 20|+OK |1 4|2 10|3 6|.|+OK 2 2.b|+OK |s: x||..two||.|+OK |+OK |");
    assert_eq!(place.names("new"), [""; 0]);
    assert_eq!(place.names("cur"), ["2.b:2,RS", "3.c:2,"]);
}

#[test]
fn m1_what_is_no_message_is_not_opened() {
    let place = Place::new(&[("new/1.a", b"one\n")]);
    let fifo = place.path("cur/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::create_dir(place.path("cur/dir")).unwrap();
    for name in ["cur/fifo", "cur/dir"] {
        let old = Command::new("touch").args(["-d", "@2000"]).arg(place.path(name)).status();
        assert!(old.unwrap().success());
        place.give(&place.path(name));
    }
    let said = place.pop3d(b"RETR 2\r\nRETR 3\r\nRETR 1\r\n");
    let refused = "-ERR unable to open that message|";
    assert_eq!(said, format!("+OK |{refused}{refused}+OK |one||.|"));
}

#[test]
fn m1_no_line_and_no_number_ends_a_session() {
    let place = Place::new(&[("new/1", b"one\n"), ("new/2", b"two\n")]);
    let mut script =
        b"RETR 0\r\nDELE -1\r\nLIST 18446744073709551616\r\nTOP 1000000000 1\r\nDELE 1\r\nDELE 1\r\n".to_vec();
    // 512 bytes are the most, and 20 MB more than there is memory for.
    for length in [512, 513, 20 << 20] {
        script.extend_from_slice(&[b"NOOP ", vec![b'x'; length - 5].as_slice(), b"\r\n"].concat());
    }
    script.extend_from_slice(b"UIDL\r\nRSET\r\nQUIT\r\n");
    let limited = format!("ulimit -v 2000000; ulimit -d 1500; exec {POP3D} Maildir");
    let output = play(&mut place.command("/bin/sh", &["-c", &limited]), &script);
    let expected = "+OK |-ERR messages are counted from 1|-ERR syntax error|-ERR not that many messages|\
        -ERR not that many messages|+OK |-ERR already deleted|+OK |-ERR syntax error|-ERR syntax error|\
        +OK |2 2|.|+OK |+OK |";
    assert_eq!((text(&output).as_str(), output.status.code()), (expected, Some(0)));
    // Before login it is the same.
    let (answers, _) = popup("exit 9", &script[..script.len() - 18]);
    let first = "-ERR authorization first|".repeat(6);
    assert_eq!(answers, format!("{first}+OK |-ERR syntax error|-ERR syntax error|"));
}

#[test]
fn m3_root_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new(&[]);
    let output = play(place.command(POP3D, &["Maildir"]).uid(0), b"QUIT\r\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((output.stdout, output.stderr), (vec![], b"qmail-pop3d invoked as uid 0, terminating\n".to_vec()));
}

#[test]
fn m4_a_lost_connection_changes_nothing() {
    let place = Place::new(&[("new/1.a", b"one\n"), ("new/2.b", b"two\n")]);
    place.pop3d(b"DELE 1\r\nRETR 2\r\nQUIT");
    assert_eq!(place.names("new"), ["1.a", "2.b"]);
    assert_eq!(place.names("cur"), [""; 0]);
}

#[test]
fn m5_any_file_name_will_do() {
    let place = Place::new(&[("new/a b", b"1\n"), ("cur/c\n:2,:x", b"2\n"), ("new/d:2,S", b"3\n")]);
    let said = place.pop3d(b"UIDL\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n");
    assert_eq!(said, "+OK |+OK |1 a?b|2 c?|3 d|.|+OK |2||.|+OK |+OK |");
    assert_eq!(place.names("cur"), ["a b:2,", "d:2,S:2,"]);
}

#[test]
fn m6_a_long_line_is_streamed() {
    let line = vec![b'.'; 3_000_000];
    let place = Place::new(&[("new/1", &line)]);
    // So little memory that the line could not be held.
    let script = format!("ulimit -v 2000000; ulimit -d 1500; exec {POP3D} Maildir");
    let output = play(&mut place.command("/bin/sh", &["-c", &script]), b"RETR 1\r\nQUIT\r\n");
    let expected = [b"+OK \r\n+OK \r\n.", line.as_slice(), b"\r\n\r\n.\r\n+OK \r\n"].concat();
    assert!(output.stdout == expected, "{:?}", output.stderr);
}

#[test]
fn leftovers_in_tmp_are_removed() {
    let place = Place::new(&[]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    place.add("tmp/old", b"", now - 130_000);
    place.add("tmp/young", b"", now - 129_000);
    assert_eq!(place.pop3d(b"QUIT\r\n"), "+OK |+OK |");
    assert_eq!(place.names("tmp"), ["young"]);
}

#[test]
fn without_a_maildir_the_reason_is_told() {
    let place = Place::new(&[]);
    fs::remove_dir(place.path("cur")).unwrap();
    let none = "-ERR this user has no $HOME/Maildir|";
    let rows: &[(&[&str], &str)] =
        &[(&[], none), (&[""], none), (&["Nowhere"], none), (&["Maildir"], "-ERR unable to scan $HOME/Maildir|")];
    for (args, expected) in rows {
        let output = play(&mut place.command(POP3D, args), b"QUIT\r\n");
        assert_eq!((text(&output).as_str(), output.status.code()), (*expected, Some(0)));
    }
}

/// The answers after the greeting of a session in which this shell script checks the password, and the log.
fn popup(checker: &str, script: &[u8]) -> (String, String) {
    popup_with(&[], checker, script)
}

fn popup_with(variables: &[(&str, &str)], checker: &str, script: &[u8]) -> (String, String) {
    let place = Place::new(&[("new/1.a", b"one\n")]);
    let args = ["pop.test", "sh", "-c", checker, "sh", POP3D, "Maildir"];
    let output = play(place.command(POPUP, &args).envs(variables.iter().copied()), script);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let (greeting, answers) = said.split_once('|').unwrap();
    let log = without_pid(&String::from_utf8(output.stderr).unwrap());
    if greeting == "+OK" {
        return (answers.to_string(), log);
    }
    let timestamp = greeting.strip_prefix("+OK <").unwrap().strip_suffix("@pop.test>").unwrap();
    let (pid, time) = timestamp.split_once('.').unwrap();
    assert!(pid.parse::<u32>().is_ok() && time.parse::<u64>().is_ok(), "{greeting}");
    (answers.replace(timestamp, "T"), log)
}

/// Log lines with N for the process id.
fn without_pid(log: &str) -> String {
    let lines = log.lines().map(|line| match line.strip_prefix("qmail-popup: pid ").and_then(|l| l.split_once(' ')) {
        Some((pid, rest)) if pid.parse::<u32>().is_ok() => format!("N {rest}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn the_checker_reads_descriptor_3_and_has_the_connection() {
    let login = b"USER joe\r\nPASS s e\r\n";
    let accepted = |method: &str| format!("N Accept::AUTH::{method} P:POP3 S:unknown:unknown ?~ 'joe'\n");
    // Descriptor 2 is the connection, and 5 is not there.
    let (answers, log) = popup(r"tr '\0' '|' <&3; echo said >&2; if (: >&5) 2>/dev/null; then echo five; fi", login);
    assert_eq!((answers.as_str(), log), ("+OK |joe|s e|<T@pop.test>|said\n", accepted("User")));
    let (answers, _) = popup(r"tr '\0' '|' <&3", b"APOP joe 00ff\r\n");
    assert_eq!(answers, "joe|00ff|<T@pop.test>|");
    assert_eq!(popup(r#"cat <&3 >/dev/null; exec "$@""#, login), ("+OK |+OK |".into(), accepted("User")));
}

#[test]
fn m2_one_try_for_a_connection() {
    let login = b"USER joe\r\nPASS wrong\r\nUSER joe\r\nPASS right\r\n";
    for (checker, expected) in [
        ("exit 1", "+OK |-ERR authorization failed|"),
        ("exit 111", "+OK |-ERR authorization failed|"),
        ("kill -9 $$", "+OK |-ERR aack, child crashed|"),
        ("exit 0", "+OK |"),
    ] {
        let (answers, log) = popup(checker, login);
        assert_eq!(answers, expected);
        let verdict = if checker == "exit 0" { "Accept" } else { "Reject" };
        assert_eq!(log, format!("N {verdict}::AUTH::User P:POP3 S:unknown:unknown ?~ 'joe'\n"));
    }
}

/// A program that knows SCRAM, in a way: it says its two messages, and then what it was told if it was not called off.
const SCRAM: &str =
    r#"printf 'one\nv=two\n' >&4; said=$(tr '\0' '|' <&3); case $said in *-) exit 1;; esac; echo "$said""#;

#[test]
fn scram_is_a_conversation_of_client_and_program() {
    // c=biws,r=x,p=y and c=eSws,r=x,p=y: the header that was sent, and another one.
    let (good, other) = ("Yz1iaXdzLHI9eCxwPXk=", "Yz1lU3dzLHI9eCxwPXk=");
    let refused = "-ERR authorization failed";
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: &[Row<'_>] = &[
        (SCRAM, &[(good, "+ dj10d28="), ("", "joe||SCRAM-SHA-256 n=joe,r=abc N|c=biws,r=x,p=y|")], "", "Accept"),
        (SCRAM, &[(other, refused)], "", "Reject"),
        (SCRAM, &[(good, "+ dj10d28="), ("eA==", refused)], "", "Reject"),
        (SCRAM, &[(good, "+ dj10d28="), ("*", "-ERR auth exchange canceled")], "", "Reject"),
        (SCRAM, &[("?", "-ERR malformed auth input")], "", "Reject"),
        ("printf 'one\n' >&4; exit 1", &[(good, refused)], "", "Reject"),
        ("printf 'one\n' >&4; kill -9 $$", &[(good, "-ERR aack, child crashed")], "", "Reject"),
        ("exit 1", &[], refused, "Reject"),
    ];
    for (checker, steps, instead, verdict) in rows {
        let place = Place::new(&[]);
        let mut command = place.command(POPUP, &["pop.test", "sh", "-c", checker]);
        command.env("POP3AUTH", "+scram").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut hear = || {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            line.trim_end().to_string()
        };
        assert!(hear().starts_with("+OK <"));
        let first = ("AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmM=", if steps.is_empty() { *instead } else { "+ b25l" });
        for (say, answer) in [first].iter().chain(*steps) {
            to.write_all(format!("{say}\r\n").as_bytes()).unwrap();
            let heard = hear();
            // The nonce is another one each time.
            let nonce = heard.split_once("abc ").and_then(|(_, rest)| rest.split_once('|')).map_or("N", |(n, _)| n);
            assert!(nonce == "N" || nonce.len() == 24, "{heard}");
            assert_eq!(&heard.replace(nonce, "N"), answer, "{checker} {say}");
        }
        drop(to);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = without_pid(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(log, format!("N {verdict}::AUTH::Scram-SHA-256 P:POP3 S:unknown:unknown ?~ 'joe'\n"), "{checker}");
    }
}

#[test]
fn each_way_to_log_in_and_its_log_line() {
    let checker = r"tr '\0' '|' <&3";
    let connection = [("TCPREMOTEIP", "192.0.2.1"), ("TCPREMOTEHOST", "client.test"), ("TCPLOCALPORT", "110")];
    let plain = b"AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=\r\n";
    let six = [("TCP6REMOTEIP", "::ffff:192.0.2.9"), ("TCP6REMOTEHOST", "six.test"), ("TCP6LOCALPORT", "995")];
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [u8], &'a str, &'a str);
    let rows: &[Row<'_>] = &[
        (&[], b"USER joe\r\nPASS s\r\n", "+OK |joe|s|<T@pop.test>|", "Accept::AUTH::User P:POP3 X ?~ 'joe'"),
        (&[], b"APOP joe 00ff\r\n", "joe|00ff|<T@pop.test>|", "Accept::AUTH::Apop P:POP3 X ?~ 'joe'"),
        (&[], plain, "test|test|<T@pop.test>|", "Accept::AUTH::Plain P:POP3 X ?~ 'test'"),
        (
            &[],
            b"AUTH LOGIN am9l\r\neCB5\r\n",
            "+ UGFzc3dvcmQ6|joe|x y|<T@pop.test>|",
            "Accept::AUTH::Login P:POP3 X ?~ 'joe'",
        ),
        (&[("SSL_PROTOCOL", "TLSv1.3")], plain, "test|test|<T@pop.test>|", "Accept::AUTH::Plain P:POP3S X ?~ 'test'"),
        (&[("TCPLOCALPORT", "995")], plain, "test|test|<T@pop.test>|", "Accept::AUTH::Plain P:POP3S X ?~ 'test'"),
        (&six, plain, "test|test|<T@pop.test>|", "Accept::AUTH::Plain P:POP3S S:192.0.2.9:six.test ?~ 'test'"),
        (
            &[],
            b"USER a\tb\xff'\r\nPASS s\r\n",
            "+OK |a\tb\u{fffd}'|s|<T@pop.test>|",
            "Accept::AUTH::User P:POP3 X ?~ 'a?b?''",
        ),
        (
            &[("UCSPITLS", "!")],
            b"NOOP\r\nUSER joe\r\nPASS s\r\n",
            "+OK |-ERR TLS required but not negotiated|",
            "Reject::STLS::Any P:POP3 X ?~ 'unknown'",
        ),
        (
            &[("UCSPITLS", "!"), ("SSL_PROTOCOL", "TLSv1.3")],
            b"USER joe\r\nPASS s\r\n",
            "+OK |joe|s|<T@pop.test>|",
            "Accept::AUTH::User P:POP3S X ?~ 'joe'",
        ),
    ];
    for (variables, script, answers, log) in rows {
        let variables = [&connection[..], variables].concat();
        let log = format!("N {}\n", log.replace('X', "S:192.0.2.1:client.test"));
        let expected = (answers.to_string(), log);
        assert_eq!(popup_with(&variables, checker, script), expected, "{variables:?} {}", script.escape_ascii());
    }
    // The challenge is the timestamp of the greeting.
    let (answers, log) = popup_with(&[("POP3AUTH", "+cram")], checker, b"AUTH CRAM-MD5\r\nam9lIDAwZmY=\r\n");
    assert!(answers.starts_with("+ PD") && answers.ends_with("joe|00ff|<T@pop.test>|"), "{answers}");
    assert!(log.starts_with("N Accept::AUTH::Cram-MD5 "), "{log}");
}

#[test]
fn pop3auth_and_ucspitls_say_what_is_offered() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
        (&[("POP3AUTH", "apop")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
        (&[("POP3AUTH", "+APOP")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
        (&[("POP3AUTH", "-apop")], "TOP|USER|UIDL|SASL PLAIN LOGIN|.|"),
        (&[("POP3AUTH", "+apop+cram")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN CRAM-MD5|.|"),
        (&[("POP3AUTH", "-apop+cram")], "TOP|USER|UIDL|SASL PLAIN LOGIN CRAM-MD5|.|"),
        (&[("POP3AUTH", "+cram+scram")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256|.|"),
        (&[("UCSPITLS", "-")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
        // There is no TLS to be had in these sessions.
        (&[("UCSPITLS", "")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
        (&[("UCSPITLS", "!")], "TOP|USER|UIDL|APOP|STLS|.|"),
        (&[("UCSPITLS", "!"), ("SSL_PROTOCOL", "TLSv1.2")], "TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|.|"),
    ];
    for (variables, expected) in rows {
        let (answers, log) = popup_with(variables, "exit 9", b"CAPA\r\nQUIT\r\n");
        assert_eq!(answers, format!("+OK capability list follows|{expected}+OK |"), "{variables:?}");
        assert_eq!(log, "");
    }
}

/// A process that has TLS to give, with all descriptors that it and qmail-popup share.
struct Front {
    pid: sys::process::Pid,
    plain: UnixStream,
    control: UnixStream,
    secured: UnixStream,
    log: PathBuf,
    _place: Place,
}

impl Front {
    fn new(ucspitls: &[u8], checker: &[u8]) -> Front {
        let place = Place::new(&[]);
        let log = place.0.path().join("log");
        let (plain, plain_end) = UnixStream::pair().unwrap();
        let (control, control_end) = UnixStream::pair().unwrap();
        let (secured, secured_end) = UnixStream::pair().unwrap();
        for stream in [&plain, &control, &secured] {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        let mut variables = sys::env::Env::default();
        for (name, value) in [
            (&b"PATH"[..], &b"/usr/bin:/bin"[..]),
            (b"UCSPITLS", ucspitls),
            (b"SSLCTLFD", b"6"),
            (b"SSLREADFD", b"7"),
            (b"SSLWRITEFD", b"7"),
        ] {
            variables.set(name, value);
        }
        let argv = [POPUP.as_bytes(), b"pop.test", b"sh", b"-c", checker];
        let (file, null) = (fs::File::create(&log).unwrap(), fs::File::create("/dev/null").unwrap());
        let program = Program::new(POPUP.as_bytes(), &argv).unwrap().env(variables);
        let program = program.fd(0, plain_end.as_raw_fd()).fd(1, plain_end.as_raw_fd()).fd(2, null.as_raw_fd());
        let program = program.fd(5, file.as_raw_fd()).fd(6, control_end.as_raw_fd()).fd(7, secured_end.as_raw_fd());
        let pid = program.start().unwrap();
        Front { pid, plain, control, secured, log, _place: place }
    }

    /// All that still comes in clear, what comes under TLS, and the log.
    fn end(self) -> (String, String, String) {
        // A process waited for has closed everything.
        assert_eq!(sys::process::wait(self.pid).unwrap(), sys::process::Ended::Exit(1));
        let all = |mut stream: UnixStream| {
            let mut bytes = Vec::new();
            // A peer that left with our bytes unread resets the stream; what it has said before is read all the same.
            let _ = stream.read_to_end(&mut bytes);
            String::from_utf8(bytes).unwrap().replace("\r\n", "|")
        };
        let log = without_pid(&fs::read_to_string(&self.log).unwrap());
        (all(self.plain), all(self.secured), log)
    }
}

/// Reads so many lines.
fn lines(stream: &mut UnixStream, count: usize) -> String {
    let mut said = Vec::new();
    let mut byte = [0];
    while said.iter().filter(|&&b| b == b'\n').count() < count {
        stream.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    String::from_utf8(said).unwrap().replace("\r\n", "|")
}

#[test]
fn d4_stls_starts_afresh_and_forgets_what_came_before() {
    let checker = br#"tr '\0' '|' <&3; echo "$SSL_PROTOCOL/$SSL_CIPHER/$SSLCTLFD"; for n in 5 6 7; do
        if (: <&$n) 2>/dev/null; then echo open $n; fi; done"#;
    for required in ["", "!"] {
        let mut front = Front::new(required.as_bytes(), checker);
        assert!(lines(&mut front.plain, 1).starts_with("+OK <"));
        // Injected in front of the handshake: a name, and a whole login.
        let before: &[u8] = if required.is_empty() { b"USER evil\r\n" } else { b"NOOP\r\n" };
        front.plain.write_all(&[before, b"CAPA\r\nSTLS\r\nPASS x\r\nUSER y\r\nPASS z\r\n"].concat()).unwrap();
        let said = lines(&mut front.plain, if required.is_empty() { 10 } else { 9 });
        assert!(said.ends_with("STLS|.|+OK starting TLS negotiation|"), "{said}");
        let mut asked = [0];
        front.control.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"Y");
        // In pieces, as a socket may give it.
        for piece in [&b"SSL_PROTOCOL=TLSv1.3\0SSL_CI"[..], b"PHER=x\0", b"EMPTY=\0\0"] {
            front.control.write_all(piece).unwrap();
        }
        front.secured.write_all(b"PASS x\r\nCAPA\r\nSTLS\r\nUSER joe\r\nPASS s\r\n").unwrap();
        let (clear, secured, log) = front.end();
        assert_eq!(clear, "");
        let (start, end) = secured.split_once(".|").unwrap();
        assert_eq!(start, "-ERR USER first|+OK capability list follows|TOP|USER|UIDL|APOP|SASL PLAIN LOGIN|");
        let (answers, record) = end.split_once("joe|").unwrap();
        assert_eq!(answers, "-ERR STLS not available|+OK |");
        assert!(record.starts_with("s|<") && record.ends_with("|TLSv1.3/x/\n"), "{record}");
        assert_eq!(log, "N Accept::AUTH::User P:POP3S S:unknown:unknown ?~ 'joe'\n");
    }
}

#[test]
fn d4_nothing_is_said_in_clear_when_tls_fails() {
    for cut in [&b""[..], b"SSL_PROTOCOL=x\0"] {
        let mut front = Front::new(b"", b"exit 0");
        front.plain.write_all(b"STLS\r\n").unwrap();
        lines(&mut front.plain, 2);
        let mut asked = [0];
        front.control.read_exact(&mut asked).unwrap();
        front.control.write_all(cut).unwrap();
        front.control.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(front.end(), (String::new(), String::new(), String::new()));
    }
}

#[test]
fn a_checker_that_is_not_there_is_logged() {
    let place = Place::new(&[]);
    for (name, reason) in [("/none/checker", "file does not exist"), ("no-such-checker", "file does not exist")] {
        let output = play(&mut place.command(POPUP, &["pop.test", name]), b"APOP a b\r\n");
        assert!(text(&output).ends_with(">|-ERR authorization failed|"));
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log, format!("qmail-popup: fatal: unable to run {name}: {reason}\n"));
    }
    for args in [&[][..], &["pop.test"]] {
        let output = play(&mut place.command(POPUP, args), b"");
        assert_eq!(text(&output), "-ERR usage: popup hostname subprogram|");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn what_the_system_does_not_give_is_told() {
    let scram: &[u8] = b"AUTH SCRAM-SHA-256 biwsbj1qb2Uscj1hYmM=\r\n";
    let login: &[u8] = b"USER joe\r\nPASS s\r\n";
    let started = "qmail-popup: fatal: unable to run true: temporary failure\n";
    // 0 to 2 are open. The checker's pipe takes two descriptors, SCRAM has two of them.
    let rows: [(&str, &[u8], &str, &str); 5] = [
        ("--nofile=4", login, "-ERR unable to open pipe", ""),
        ("--nofile=4", scram, "-ERR unable to open pipe", ""),
        ("--nofile=6", scram, "-ERR unable to open pipe", ""),
        ("--nproc=1", login, "-ERR unable to fork", started),
        ("--nproc=1", scram, "-ERR unable to fork", started),
    ];
    for (limit, script, answer, log) in rows {
        let place = Place::new(&[]);
        let mut command = place.command("prlimit", &[limit, POPUP, "pop.test", "true"]);
        let output = play(command.env("POP3AUTH", "+scram"), script);
        assert!(text(&output).ends_with(&format!("|{answer}|")), "{limit}: {}", text(&output));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), log, "{limit}");
        assert_eq!(output.status.code(), Some(1));
    }
}
