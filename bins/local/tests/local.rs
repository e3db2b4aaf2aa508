//! qmail-local through its real interface: arguments, fd 0, .qmail files, what lies in the mailboxes afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail-local");
const MESSAGE: &[u8] = b"From: a@b.test\nSubject: hi\n\nline\nFrom here\n";

/// A home directory with a maildir and a message beside it.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new(dotqmail: &str) -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        for sub in ["home", "home/Maildir", "home/Maildir/tmp", "home/Maildir/new", "home/Maildir/cur"] {
            fs::create_dir(home.dir.path().join(sub)).unwrap();
        }
        home.dotqmail("", dotqmail);
        home.message(MESSAGE);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("home").join(name)
    }

    fn dotqmail(&self, ext: &str, lines: &str) {
        fs::write(self.path(&format!(".qmail{ext}")), lines).unwrap();
        fs::set_permissions(self.path(&format!(".qmail{ext}")), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn message(&self, bytes: &[u8]) {
        fs::write(self.dir.path().join("message"), bytes).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(File::open(self.dir.path().join("message")).unwrap());
        command
    }

    /// Runs it for joe@h.test with the sender s@x.test.
    fn run(&self) -> Output {
        self.run_as("", "", "s@x.test")
    }

    fn run_as(&self, dash: &str, ext: &str, sender: &str) -> Output {
        let mut command = self.command(PROGRAM);
        self.arguments(&mut command, dash, ext, sender);
        command.output().unwrap()
    }

    fn arguments(&self, command: &mut Command, dash: &str, ext: &str, sender: &str) {
        command.args(["--", "joe"]).arg(self.path(""));
        command.args([&format!("joe{dash}{ext}"), dash, ext, "h.test", sender, "./Mailbox"]);
    }

    /// Runs it from a shell that has executed `before`.
    fn run_after(&self, before: &str) -> Output {
        let mut command = self.command("/bin/sh");
        command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(PROGRAM);
        self.arguments(&mut command, "", "", "s@x.test");
        command.output().unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn list(&self, name: &str) -> Vec<PathBuf> {
        fs::read_dir(self.path(name)).unwrap().map(|e| e.unwrap().path()).collect()
    }
}

/// Exit code, fd 1 and fd 2.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn failed(output: &Output, code: i32, text: &str) {
    assert_eq!(said(output), (Some(code), String::new(), text.to_string()));
}

fn delivered(output: &Output, did: &str) {
    assert_eq!(said(output), (Some(0), format!("did {did}\n"), String::new()));
}

const MAILDIR_TROUBLE: &str = "Temporary error on maildir delivery. (#4.3.0)\n";
const FRONT: &[u8] = b"Return-Path: <s@x.test>\nDelivered-To: joe@h.test\n";

#[test]
fn several_maildir_lines_make_several_files() {
    let home = Home::new("./Maildir/\n./Maildir/\n./Maildir/\n");
    delivered(&home.run(), "3+0+0");
    let new = home.list("Maildir/new");
    assert_eq!(new.len(), 3);
    for file in new {
        assert_eq!(fs::read(&file).unwrap(), [FRONT, MESSAGE].concat());
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn messages_larger_than_any_buffer_arrive_whole() {
    let home = Home::new("./Maildir/\n./Mailbox\n|cat >copy\n&a@b.test\n");
    let mut message = b"X: y\n\n".to_vec();
    while message.len() < 400_000 {
        message.extend_from_slice(b"some line of text\n");
        // A line to be quoted somewhere across each multiple of 64 KiB.
        if message.len() % 65_536 > 65_500 {
            message.extend_from_slice(b"From the other side\n");
        }
    }
    home.message(&message);
    let queue = home.path("queue");
    fs::write(&queue, format!("#!/bin/sh\ncd {}; cat >queued; cat <&1 >envelope\n", home.path("").display())).unwrap();
    fs::set_permissions(&queue, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = home.command(PROGRAM);
    home.arguments(&mut command, "", "", "s@x.test");
    let (code, out, err) = said(&command.env("QMAILQUEUE", &queue).output().unwrap());
    assert_eq!((code, &err[..]), (Some(0), ""));
    assert!(out.starts_with("did 2+1+1\nqp "), "{out}");
    let new = home.list("Maildir/new");
    assert!(fs::read(&new[0]).unwrap() == [FRONT, &message].concat());
    assert!(home.read("copy") == message);
    assert!(home.read("queued") == [b"Delivered-To: joe@h.test\n", &message[..]].concat());
    assert_eq!(home.read("envelope"), b"Fs@x.test\0Ta@b.test\0\0");
    let mbox = String::from_utf8(home.read("Mailbox")).unwrap();
    let (first, rest) = mbox.split_once('\n').unwrap();
    assert!(first.starts_with("From s@x.test "));
    let expected = [FRONT, &message, b"\n"].concat();
    assert!(rest == String::from_utf8(expected).unwrap().replace("\nFrom ", "\n>From "));
}

#[test]
fn forwarding_uses_the_queue_program_of_its_home() {
    let home = Home::new("&a@b.test\n");
    fs::create_dir(home.dir.path().join("bin")).unwrap();
    let queue = home.dir.path().join("bin/qmail-queue");
    fs::write(&queue, "#!/bin/sh\nexit 31\n").unwrap();
    fs::set_permissions(&queue, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = home.command(PROGRAM);
    home.arguments(&mut command, "", "", "s@x.test");
    let output = command.env("QMAILHOME", home.dir.path()).env_remove("QMAILQUEUE").output().unwrap();
    let text = "Unable to forward message: mail server permanently rejected message (#5.3.0).\n";
    failed(&output, 100, text);
}

#[test]
fn maildir_delivery_syncs_contents_then_name_then_answers() {
    let home = Home::new("./Maildir/\n");
    let trace = home.dir.path().join("trace");
    let mut command = home.command("strace");
    command.args(["-y", "-e", "trace=/write|sync|rename|link|openat"]).arg("-o").arg(&trace).arg(PROGRAM);
    home.arguments(&mut command, "", "", "s@x.test");
    match command.output() {
        Ok(output) if output.status.success() => {}
        other => return println!("skipped: strace does not work here: {other:?}"),
    }
    let trace = fs::read_to_string(trace).unwrap();
    let mut at = 0;
    let steps: [&dyn Fn(&str) -> bool; 5] = [
        &|l| l.starts_with("write(") && l.contains("/Maildir/tmp/"),
        &|l| l.contains("sync(") && l.contains("/Maildir/tmp/") && l.ends_with("= 0"),
        &|l| (l.starts_with("rename") || l.starts_with("link")) && l.contains("/Maildir/new/") && l.ends_with("= 0"),
        &|l| l.contains("fsync(") && l.contains("/Maildir/new>") && l.ends_with("= 0"),
        &|l| l.starts_with("write(1") && l.contains("did 1+0+0"),
    ];
    let lines: Vec<&str> = trace.lines().collect();
    for step in steps {
        let found = lines[at..].iter().position(|l| step(l));
        at += found.unwrap_or_else(|| panic!("not in this order:\n{trace}")) + 1;
    }
}

#[test]
fn a_new_mbox_is_synced_with_its_name() {
    let home = Home::new("./Mailbox\n");
    let trace = home.dir.path().join("trace");
    let mut command = home.command("strace");
    command.args(["-y", "-e", "trace=fsync"]).arg("-o").arg(&trace).arg(PROGRAM);
    home.arguments(&mut command, "", "", "s@x.test");
    match command.output() {
        Ok(output) if output.status.success() => {}
        other => return println!("skipped: strace does not work here: {other:?}"),
    }
    let trace = fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().filter(|l| l.starts_with("fsync")).collect();
    assert_eq!(lines.len(), 2, "{trace}");
    assert!(lines[0].contains("/home/Mailbox>") && lines[1].contains("/home>"), "{trace}");
}

#[test]
fn l4_a_loop_is_found_however_long_the_header_is() {
    let home = Home::new("./Maildir/\n");
    let mut message = b"X: y\n".repeat(30_000);
    message.extend_from_slice(b"Delivered-To: joe@h.test\n\nbody\n");
    home.message(&message);
    failed(&home.run(), 100, "This message is looping: it already has my Delivered-To line. (#5.4.6)\n");
    assert!(home.list("Maildir/new").is_empty());
}

#[test]
fn l5_exit_codes_of_commands() {
    let rows: &[(&str, i32, &str, &str)] = &[
        ("exit 0", 0, "did 1+0+1\n", ""),
        ("exit 99", 0, "did 0+0+1\n", ""),
        ("exit 100", 100, "", ""),
        ("exit 64", 100, "", ""),
        ("exit 70", 100, "", ""),
        ("exit 76", 100, "", ""),
        ("exit 78", 100, "", ""),
        ("exit 112", 100, "", ""),
        ("exit 111", 111, "", ""),
        ("exit 1", 111, "", ""),
        ("exit 101", 111, "", ""),
        ("exit 255", 111, "", ""),
        ("kill -9 $$", 111, "", "Aack, child crashed. (#4.3.0)\n"),
        ("kill -PIPE $$", 111, "", "Aack, child crashed. (#4.3.0)\n"),
    ];
    for &(command, code, out, err) in rows {
        let home = Home::new(&format!("|{command}\n./Maildir/\n"));
        assert_eq!(said(&home.run()), (Some(code), out.to_string(), err.to_string()), "{command}");
        assert_eq!(home.list("Maildir/new").len(), usize::from(command == "exit 0"), "{command}");
    }
}

#[test]
fn l6_a_command_left_behind_does_not_hold_the_delivery_up() {
    let home = Home::new("|cat fifo >/dev/null 2>&1 &\n");
    assert!(Command::new("mkfifo").arg(home.path("fifo")).status().unwrap().success());
    delivered(&home.run(), "0+0+1");
    // It still waits for this:
    File::options().write(true).open(home.path("fifo")).unwrap().write_all(b"x").unwrap();
}

#[test]
fn l7_a_full_disk_leaves_no_trace_of_the_message() {
    let home = Home::new("./Maildir/\n");
    home.message(&b"x\n".repeat(200_000));
    failed(&home.run_after("ulimit -f 100"), 111, MAILDIR_TROUBLE);
    assert!(home.list("Maildir/tmp").is_empty() && home.list("Maildir/new").is_empty());

    home.dotqmail("", "./Mailbox\n");
    fs::write(home.path("Mailbox"), "From a\nb\n\n").unwrap();
    failed(&home.run_after("ulimit -f 100"), 111, "Unable to write ./Mailbox: file too big. (#4.3.0)\n");
    assert_eq!(home.read("Mailbox"), b"From a\nb\n\n");
}

#[test]
fn l7_new_on_another_device_is_temporary() {
    let home = Home::new("./Maildir/\n");
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return println!("skipped: no /dev/shm") };
    if other.path().metadata().unwrap().dev() == home.path("").metadata().unwrap().dev() {
        return println!("skipped: /dev/shm is no other device");
    }
    fs::remove_dir(home.path("Maildir/new")).unwrap();
    symlink(other.path(), home.path("Maildir/new")).unwrap();
    failed(&home.run(), 111, MAILDIR_TROUBLE);
    assert!(home.list("Maildir/tmp").is_empty() && home.list("Maildir/new").is_empty());
}

#[test]
fn l8_targets_that_are_no_files_never_block() {
    let home = Home::new("");
    assert!(Command::new("mkfifo").arg(home.path("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(home.path("socket")).unwrap();
    for name in ["./fifo", "./socket", "/dev/null", "/dev/zero", "./Maildir", "./fifo/", "/dev/null/"] {
        home.dotqmail("", &format!("{name}\n"));
        let (code, out, err) = said(&home.run());
        assert_eq!((code, &out[..]), (Some(111), ""), "{name}: {err}");
    }
    // With somebody reading, nothing is written either.
    let reader = File::options().read(true).write(true).open(home.path("fifo")).unwrap();
    home.dotqmail("", "./fifo\n");
    failed(&home.run(), 111, "Unable to open ./fifo: not a regular file. (#4.2.1)\n");
    drop(reader);
}

#[test]
fn l8_a_locked_mbox_is_waited_for() {
    let home = Home::new("./Mailbox\n");
    let mbox = File::create(home.path("Mailbox")).unwrap();
    mbox.lock().unwrap();
    let mut command = home.command(PROGRAM);
    home.arguments(&mut command, "", "", "s@x.test");
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    // Whether it is waiting already or has not come that far: while the lock is held, it does not end.
    assert!(child.try_wait().unwrap().is_none());
    mbox.unlock().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(home.read("Mailbox").starts_with(b"From s@x.test "));
}

#[test]
fn l3_a_dotqmail_that_is_no_file_is_passed_over() {
    let home = Home::new("");
    assert!(Command::new("mkfifo").arg(home.path(".qmail-a-b")).status().unwrap().success());
    fs::create_dir(home.path(".qmail-a-default")).unwrap();
    home.dotqmail("-default", "|echo \"$DEFAULT\"\n");
    let (code, out, _) = said(&home.run_as("-", "a-b", "s@x.test"));
    assert_eq!((code, &out[..]), (Some(0), "a-b\ndid 0+0+1\n"));
    // Out of the home directory leads no extension.
    fs::write(home.dir.path().join("evil"), "|echo evil\n").unwrap();
    let (_, out, _) = said(&home.run_as("-", "x/../../evil", "s@x.test"));
    assert_eq!(out, "x/../../evil\ndid 0+0+1\n");
}

#[test]
fn l9_hostile_senders_are_only_values() {
    for sender in ["-froot", "a\nb: c@x.test", "\"a b\"@x.test", "$(echo x)`y`@x.test", "() { :;}; echo x"] {
        let home = Home::new("|printf %s \"$SENDER\" >sender; printf %s \"$UFLINE\" >ufline\n./Mailbox\n");
        delivered(&home.run_as("", "", sender), "1+0+1");
        assert_eq!(home.read("sender"), sender.as_bytes());
        let ufline = home.read("ufline");
        assert_eq!(ufline.iter().filter(|&&b| b == b'\n').count(), 1, "{sender:?}");
        assert!(home.read("Mailbox").starts_with(&ufline));
    }
}

#[test]
fn l10_a_command_that_reads_nothing_is_no_error() {
    let home = Home::new("|true\n|head -c 1 >/dev/null\n|cat >all\n");
    let message = b"x".repeat(300_000);
    home.message(&message);
    delivered(&home.run(), "0+0+3");
    assert!(home.read("all") == message);
}

#[test]
fn commands_get_default_signals_and_may_gain_privileges() {
    let status = "grep -E '^(SigIgn|SigBlk|SigCgt|NoNewPrivs)' /proc/self/status";
    // After a delivery that catches signals, and compared with a command that nobody has started specially.
    let home = Home::new(&format!("./Mailbox\n|{status}\n"));
    let plain = Command::new("/bin/sh").args(["-c", status]).output().unwrap();
    let (code, out, err) = said(&home.run());
    assert_eq!((code, err), (Some(0), String::new()));
    assert_eq!(out, String::from_utf8(plain.stdout).unwrap() + "did 1+0+1\n");
}

#[test]
fn an_endless_line_needs_no_more_memory_than_a_short_one() {
    let home = Home::new("./Maildir/\n./Mailbox\n");
    let message = File::create(home.dir.path().join("message")).unwrap();
    message.set_len(48 << 20).unwrap();
    delivered(&home.run_after("ulimit -v 32768"), "2+0+0");
    let size = |path: &Path| path.metadata().unwrap().len();
    assert_eq!(size(&home.list("Maildir/new")[0]), (48 << 20) + FRONT.len() as u64);
    assert!(size(&home.path("Mailbox")) > 48 << 20);
}

#[test]
fn dry_run_reads_no_message() {
    let home = Home::new("# comment\n./Maildir/\n|true\n&a@b.test\n");
    let mut command = Command::new(PROGRAM);
    command.stdin(std::process::Stdio::null()).arg("-n");
    home.arguments(&mut command, "", "", "s@x.test");
    let (code, out, err) = said(&command.output().unwrap());
    assert_eq!((code, err), (Some(0), String::new()));
    assert_eq!(out, "maildir ./Maildir/\nprogram true\nforward a@b.test\ndid 1+1+1\n");
    assert!(home.list("Maildir/new").is_empty());
}

#[test]
fn a_message_that_can_not_be_read_is_temporary() {
    let home = Home::new("./Maildir/\n");
    for (before, text) in [
        ("exec 0<&-", "Unable to rewind message. (#4.3.0)\n"),
        ("exec 0</", "Unable to read message: is a directory. (#4.3.0)\n"),
        ("exec 0>>x", "Unable to read message: file descriptor not open. (#4.3.0)\n"),
    ] {
        let before = format!("cd {}; {before}", home.dir.path().display());
        // An empty file that may only be written has nothing to be read, so give it something.
        fs::write(home.dir.path().join("x"), "x").unwrap();
        failed(&home.run_after(&before), 111, text);
    }
    assert!(home.list("Maildir/new").is_empty() && home.list("Maildir/tmp").is_empty());
}
