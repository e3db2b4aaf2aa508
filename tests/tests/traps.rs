//! What Rust does other than C, and mail could be lost by (spec/reliability.md 4.3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use whole_system::{Home, am_root, program, run, stand_in, stderr, stdout};

const ENVELOPE: &[u8] = b"Fs@a.test\0Tr@b.test\0\0";

// ---------------------------------------------------------------- panics

/// `[section]` -> key -> value of a manifest, as far as strings, numbers and truth values go.
fn manifest(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_string();
        } else if let Some((key, value)) = line.split_once('=') {
            let entry = (key.trim().to_string(), value.trim().trim_matches('"').to_string());
            sections.entry(section.clone()).or_default().extend([entry]);
        }
    }
    sections
}

#[test]
fn what_ships_aborts_at_a_panic_and_checks_overflows() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let sections = manifest(&fs::read_to_string(file).unwrap());
    let release = &sections["profile.release"];
    assert_eq!((release["panic"].as_str(), release["overflow-checks"].as_str()), ("abort", "true"));
    for (name, section) in sections.iter().filter(|(name, _)| name.starts_with("profile.")) {
        assert!(section.get("overflow-checks").is_none_or(|v| v == "true"), "{name}");
        // A profile of its own could be installed as well.
        let usual = ["profile.dev", "profile.release"].iter().any(|p| name.strip_prefix(p).is_some());
        assert!(usual || section.get("panic").is_some_and(|v| v == "abort"), "{name}");
    }
    let compile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../package/compile")).unwrap();
    assert!(compile.contains("cargo build --release"));
    assert!(!compile.contains("panic=unwind") && !compile.contains("overflow-checks="));
}

/// Signal and fd 2 of the stand-in with the bug.
fn panic_with(trace: &str) -> (Option<i32>, String) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c 0; exec \"$0\""]).arg(stand_in("bug"));
    let done = run(command.env("RUST_BACKTRACE", trace).env("RUST_LIB_BACKTRACE", trace), b"");
    (done.status.signal(), stderr(&done))
}

#[test]
fn a_panic_is_sigabrt_and_never_a_backtrace() {
    let (signal, said) = panic_with("0");
    assert_eq!(signal, Some(6));
    // In a build that can unwind more lines follow, which say that main cannot be unwound.
    assert!(said.starts_with("bug: fatal: internal bug at tests/examples/bug.rs:"), "{said}");
    assert!(said.lines().count() <= 3, "{said}");
    for trace in ["1", "full"] {
        assert_eq!(panic_with(trace), (signal, said.clone()));
    }
}

#[test]
fn a_bug_in_qmail_remote_is_temporary() {
    let home = Home::new(&["qmail-rspawn"]);
    home.install(&stand_in("bug"), "qmail-remote");
    home.put("queue/mess/5/28", b"Subject: s\n\nbody\n");
    let done = run(&mut home.command("qmail-rspawn"), b"\x035/28\0s@a.test\0r@b.test\0");
    assert_eq!(done.stdout, [&[conf::SPAWN, 3][..], b"Zqmail-remote crashed.\n\0"].concat());
}

#[test]
fn a_bug_in_qmail_local_is_temporary() {
    let home = Home::new(&["qmail-lspawn"]);
    home.install(&stand_in("bug"), "qmail-local");
    home.mailbox("");
    home.put("queue/mess/5/28", b"Subject: s\n\nbody\n");
    let done = run(home.command("qmail-lspawn").arg("./Mailbox"), b"\x035/28\0s@a.test\0joe@b.test\0");
    assert_eq!(done.stdout, [&[conf::SPAWN, 3][..], b"Zqmail-local crashed.\n\0"].concat());
}

#[test]
fn a_bug_in_qmail_queue_is_temporary_and_keeps_the_message() {
    let home = Home::new(&["qmail-inject", "qmail-smtpd"]);
    home.install(&stand_in("bug"), "qmail-queue");
    home.put("control/rcpthosts", b"b.test\n");
    let done = run(home.command("qmail-inject").arg("r@b.test"), b"\nbody\n");
    assert_eq!(done.status.code(), Some(111));
    assert!(stderr(&done).ends_with("qmail-inject: fatal: qq crashed (#4.3.0)\n"), "{}", stderr(&done));
    let session = b"HELO x\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n.\r\nQUIT\r\n";
    let done = run(&mut home.command("qmail-smtpd"), session);
    assert!(stdout(&done).contains("\r\n451 qq crashed (#4.3.0)\r\n221 "), "{}", stdout(&done));
}

// ---------------------------------------------------------------- descriptors

#[test]
fn q2_qmail_queue_with_a_closed_descriptor_is_54() {
    let home = Home::new(&["qmail-queue"]);
    home.put("message", b"Subject: s\n\nbody\n");
    home.put("envelope", ENVELOPE);
    let base = home.path("").display().to_string();
    for (message, envelope, want) in [
        ("<message", "1<envelope", 0),
        ("<&-", "1<envelope", 54),
        ("<message", "1>&-", 54),
        ("<&-", "1>&-", 54),
        ("<.", "1<envelope", 54),
        ("<message", "1<.", 54),
        ("<message", "1>/dev/null", 54),
        ("<&-", "1<envelope 2>&-", 54),
    ] {
        let script = format!("cd {base}; exec \"$0\" {message} {envelope}");
        let done = run(&mut home.through(&["/bin/sh", "-c", &script], "qmail-queue"), b"");
        assert_eq!((done.status.code(), stderr(&done).as_str()), (Some(want), ""), "{message} {envelope}");
    }
    // What the first made, and nothing else.
    let count = |dir| home.queue_files(dir).len();
    assert_eq!((count("mess"), count("todo"), count("intd"), count("pid")), (1, 1, 1, 0));
}

/// A script that makes the compiled-in home in a private name space, with set-user-ID programs in it, and runs
/// `commands` as a stranger there. `None`: it cannot be done here.
fn as_stranger_of_set_id(commands: &str) -> Option<String> {
    if !am_root() {
        return None;
    }
    let above = Path::new(conf::HOME).parent()?;
    let script = format!(
        "set -e
        mount -t tmpfs -o suid none {above}
        mkdir -p {home}/bin {home}/control {home}/queue
        cd {home}/queue
        mkdir pid intd todo lock mess evil
        for n in $(seq 0 {last}); do mkdir mess/$n; done
        cp \"$0\" \"$1\" ../bin
        chown -R 54322 ../bin .
        chmod 4711 ../bin/*
        umask 022
        printf 'Subject: s\\n\\nbody\\n' >../message
        printf 'Fs@a.test\\0Tr@b.test\\0\\0' >../envelope
        mkdir ../locked ../evil
        chmod 000 ../locked
        cd ../locked
        ulimit -c 0
        set +e
        q={home}/bin/qmail-queue b={home}/bin/bug h={home}
        export q b h
        exec setpriv --reuid={user} --regid={user} --clear-groups --inh-caps=-all /bin/sh -c '{commands}'",
        above = above.display(),
        home = conf::HOME,
        last = conf::SPLIT - 1,
        user = whole_system::USER,
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "/bin/sh", "-c", &script]).arg(program("qmail-queue")).arg(stand_in("bug"));
    let done = run(command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), b"");
    let said = stderr(&done);
    if said.contains("unshare") || said.contains("mount") {
        eprintln!("left out: {said}");
        return None;
    }
    Some(stdout(&done) + &said)
}

#[test]
fn q2_a_set_id_qmail_queue_with_a_closed_descriptor_is_54() {
    let commands = "
        $q <$h/message 1<$h/envelope; echo $? >&2
        $q <&- 1<$h/envelope; echo $? >&2
        $q <$h/message 1>&-; echo $? >&2
        $q <&- 1>&-; echo $? >&2
        $q <&- 1<$h/envelope 2>&-; echo $? >&2
        $q </dev/null 1<$h/envelope; echo $? >&2";
    if let Some(said) = as_stranger_of_set_id(commands) {
        assert_eq!(said, "0\n54\n54\n54\n54\n0\n");
    }
}

#[test]
fn q7_a_set_id_program_ignores_what_a_stranger_sets() {
    // The stranger's QMAILHOME is not in control/instances; libraries, time zone and traces are none of its business.
    let commands = "
        umask 777
        set -- RUST_BACKTRACE=full RUST_LIB_BACKTRACE=full QMAILHOME=$h/evil QMAILQUEUE=/bin/false PATH= \
          TZ=:/etc/shadow LD_PRELOAD=/evil.so LD_LIBRARY_PATH=$h/evil LD_DEBUG=all MALLOC_TRACE=/evil
        /usr/bin/env \"$@\" $q <$h/message 1<$h/envelope; echo $? >&2
        /usr/bin/env --block-signal --ignore-signal=PIPE --ignore-signal=ALRM \"$@\" $q <$h/message 1<$h/envelope
        echo $? >&2
        $b >/dev/null 2>/dev/null; echo $? >&2
        /usr/bin/env \"$@\" $b >/dev/null";
    let Some(said) = as_stranger_of_set_id(commands) else { return };
    let bug = said.strip_prefix("0\n0\n134\n").unwrap_or_else(|| panic!("{said}"));
    assert!(bug.starts_with("bug: fatal: internal bug at tests/examples/bug.rs:"), "{said}");
    assert!(bug.lines().count() <= 4, "{said}");
}

#[test]
fn q7_qmail_queue_starts_from_nothing_its_caller_left() {
    let home = Home::new(&["qmail-queue"]);
    home.put("message", b"Subject: s\n\nbody\n");
    home.put("envelope", ENVELOPE);
    let base = home.path("").display().to_string();
    // A working directory that is gone, a mask that forbids everything, all signals blocked, many ignored.
    let script = format!(
        "mkdir {base}/gone; cd {base}/gone; rmdir {base}/gone; umask 777; trap '' ALRM PIPE TERM XFSZ; \
         exec env --block-signal \"$0\" <{base}/message 1<{base}/envelope"
    );
    let mut command = home.through(&["/bin/sh", "-c", &script], "qmail-queue");
    command.env("RUST_BACKTRACE", "full").env("TZ", ":/etc/shadow").env("QMAILQUEUE", "/bin/false");
    let done = run(&mut command, b"");
    assert_eq!((done.status.code(), stderr(&done).as_str()), (Some(0), ""));
    let done = run(home.command("qmail-queue").arg0("").stdin(Stdio::null()), b"");
    // No envelope on fd 1, which is a pipe to write on.
    assert_eq!(done.status.code(), Some(54));
    let messages = home.queue_files("mess");
    assert_eq!(messages.len(), 1);
    let text = fs::read_to_string(&messages[0]).unwrap();
    assert!(text.starts_with("Received: (qmail ") && text.ends_with("\nSubject: s\n\nbody\n"), "{text}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&messages[0]).unwrap());
    assert_eq!(mode & 0o7777, 0o644);
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&messages[0]).unwrap());
    assert_eq!(messages[0].file_name().unwrap().to_str().unwrap(), inode.to_string());
}

// ---------------------------------------------------------------- signals

#[test]
fn a_command_in_dotqmail_has_default_signals_whatever_the_spawner_had() {
    let home = Home::new(&["qmail-lspawn", "qmail-local"]);
    home.mailbox("|grep -E ^Sig[BI] /proc/self/status\n");
    home.put("queue/mess/5/28", b"Subject: s\n\nbody\n");
    let words = ["env", "--ignore-signal=PIPE", "--ignore-signal=ALRM", "--ignore-signal=CHLD", "--block-signal"];
    for words in [&[][..], &words[..]] {
        let mut command = home.through(words, "qmail-lspawn");
        let done = run(command.arg("./Mailbox"), b"\x035/28\0s@a.test\0joe@b.test\0");
        let said = stdout(&done);
        let mask = |name: &str| {
            let line = said.lines().find_map(|l| l.split_once(name)).unwrap_or_else(|| panic!("{said}")).1;
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        assert_eq!(mask("SigBlk:"), 0, "{said}");
        // PIPE, ALRM, CHLD. Others may be ignored by whoever runs this test.
        assert_eq!(mask("SigIgn:") & (1 << 12 | 1 << 13 | 1 << 16), 0, "{said}");
    }
}

// ---------------------------------------------------------------- output

/// A program that prints, its arguments and its input.
type Talker = (&'static str, Vec<String>, Vec<u8>);

/// A home in which all of them have something to say.
fn talkers() -> (Home, Vec<Talker>) {
    let names = ["qmail-qread", "qmail-qstat", "qmail-showctl", "qmail-tcpto", "qmail-inject", "qmail-getpw"];
    let more = ["cdbmake", "cdbdump", "cdbget", "tcprules", "tcprulescheck", "qmail-smtpd", "qmail-clean"];
    let home = Home::new(&[&names[..], &more[..]].concat());
    home.put("queue/mess/5/28", b"x\n");
    home.put("queue/info/5/28", b"Fs@a.test\0");
    home.put("queue/local/5/28", b"Tr@b.test\0");
    let mut record = [0; 1024];
    record[..12].copy_from_slice(&[127, 0, 0, 1, 9, 0, 0, 0, 0xff, 0xff, 0xff, 0x60]);
    home.put("queue/lock/tcpto", &record);
    let file = |name: &str| home.path(name).display().to_string();
    let (cdb, rules) = (file("cdb"), file("rules"));
    let long = format!("+1,5000:a->{}\n\n", "x".repeat(5000));
    for (maker, target, input) in [("cdbmake", &cdb, long.as_str()), ("tcprules", &rules, "127.:allow\n")] {
        let done = run(home.command(maker).args([target, &format!("{target}.tmp")]), input.as_bytes());
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let bytes = fs::read(&cdb).unwrap();
    let rows = vec![
        ("qmail-qread", vec![], vec![]),
        ("qmail-qstat", vec![], vec![]),
        ("qmail-showctl", vec![], vec![]),
        ("qmail-tcpto", vec![], vec![]),
        ("qmail-inject", vec!["-n".into()], [b"\n".as_slice(), &[b'x'; 5000], b"\n"].concat()),
        ("qmail-getpw", vec!["root".into()], vec![]),
        ("cdbdump", vec![], bytes),
        ("tcprulescheck", vec![rules], vec![]),
        ("qmail-smtpd", vec![], b"QUIT\r\n".to_vec()),
        ("qmail-clean", vec![], b"foop/1\0".to_vec()),
    ];
    (home, rows)
}

#[test]
fn output_that_cannot_be_written_is_the_programs_error() {
    let (home, rows) = talkers();
    for (name, args, input) in &rows {
        let done = run(home.command(name).args(args), input);
        // Otherwise the next would prove nothing.
        assert!(done.status.success() && !done.stdout.is_empty(), "{name}: {done:?}");
        let script = ["/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"];
        let done = run(home.through(&script, name).args(args), input);
        assert!(done.status.code().is_some_and(|code| code > 0), "{name}: {done:?}");
        let script = ["/bin/sh", "-c", "exec \"$0\" \"$@\" >&-"];
        let done = run(home.through(&script, name).args(args), input);
        assert!(done.status.code().is_some_and(|code| code > 0), "{name}: {done:?}");
    }
    // It reads a file, no pipe.
    let script = format!("exec \"$0\" a <{} >/dev/full", home.path("cdb").display());
    assert_eq!(run(&mut home.through(&["/bin/sh", "-c", &script], "cdbget"), b"").status.code(), Some(111));
}

#[test]
fn output_that_is_written_in_part_is_the_programs_error() {
    let (home, rows) = talkers();
    // One block (512 or 1024 bytes), then no more: the first write is short, the next fails.
    let script = format!("trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\" >{}", home.path("out").display());
    for (name, args, input) in rows.iter().filter(|r| ["qmail-showctl", "qmail-inject", "cdbdump"].contains(&r.0)) {
        let done = run(home.through(&["/bin/sh", "-c", &script], name).args(args), input);
        assert_eq!(done.status.code(), Some(111), "{name}: {done:?}");
        assert!(matches!(fs::metadata(home.path("out")).unwrap().len(), 512 | 1024), "{name}");
    }
}
