//! qmail-popup and qmail-pop3d as their callers see them: arguments, descriptors, files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, FileTimes};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

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
    let place = Place::new(&[("new/1.a", b"one\n")]);
    let args = ["pop.test", "sh", "-c", checker, "sh", POP3D, "Maildir"];
    let output = play(&mut place.command(POPUP, &args), script);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let (greeting, answers) = said.split_once('|').unwrap();
    let timestamp = greeting.strip_prefix("+OK <").unwrap().strip_suffix("@pop.test>").unwrap();
    let (pid, time) = timestamp.split_once('.').unwrap();
    assert!(pid.parse::<u32>().is_ok() && time.parse::<u64>().is_ok(), "{greeting}");
    (answers.replace(timestamp, "T"), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_checker_reads_descriptor_3_and_has_the_connection() {
    let login = b"USER joe\r\nPASS s e\r\n";
    let (answers, log) = popup(r"tr '\0' '|' <&3; echo log >&2", login);
    assert_eq!((answers.as_str(), log.as_str()), ("+OK |joe|s e|<T@pop.test>|", "log\n"));
    let (answers, _) = popup(r"tr '\0' '|' <&3", b"APOP joe 00ff\r\n");
    assert_eq!(answers, "joe|00ff|<T@pop.test>|");
    assert_eq!(popup(r#"cat <&3 >/dev/null; exec "$@""#, login), ("+OK |+OK |".into(), String::new()));
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
        assert_eq!(popup(checker, login).0, expected);
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
