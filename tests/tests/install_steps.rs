//! The steps of package/install (spec/install.md 1): each does its part alone, all of them together make the tree that
//! package/table describes, what a site has is kept, and a second run changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use whole_system::host::{
    Host, assert_same, on_a_host_of_its_own, package, programs_are_collected, skip, sources, tree,
};
use whole_system::{run, stderr, stdout};

/// Home, where the host has it.
fn home() -> &'static Path {
    Path::new(conf::HOME)
}

fn text(name: &str) -> String {
    fs::read_to_string(home().join(name)).unwrap()
}

/// Owner, group and mode of something below home, as `stat` names them.
fn rights(host: &Host, name: &str) -> String {
    host.sh(&format!("stat -c '%U:%G %a' {}/{name}", conf::HOME)).trim().to_string()
}

const ACCOUNTS: [&str; 2] = ["useradd", "groupadd"];

#[test]
fn a_host_without_qmail_gets_all_by_steps_and_nothing_more_at_once() {
    let test = "a_host_without_qmail_gets_all_by_steps_and_nothing_more_at_once";
    on_a_host_of_its_own(test, &ACCOUNTS, |host| {
        host.forget_accounts();
        let me = "mail.site.example";
        for step in ["ids", "dir", "ucspissl", "upgrade", "legacy", "scripts", "man"] {
            host.must(&[step]);
            let once = tree(home());
            host.must(&[step]);
            assert_same(step, &once, &tree(home()), true);
        }
        host.must(&["control", conf::HOME, me]);
        host.must(&["sslenv"]);
        host.must(&["run"]);
        let (once, etc) = (tree(home()), tree(Path::new("/etc")));
        let said = host.must(&["install"]);
        assert!(said.lines().filter(|l| l.contains("entries")).all(|l| l.contains(", 0 changed, ")), "{said}");
        assert_same("package/install changed something", &once, &tree(home()), true);
        assert_same("package/install changed the host", &etc, &tree(Path::new("/etc")), true);
        assert!(host.must(&["install", "--check"]).contains(" 0 differ\n"));

        for (name, want) in [
            (".", "root:qmail 755"),
            ("alias", "alias:qmail 2755"),
            ("alias/Maildir/new", "alias:qmail 700"),
            ("bin/qmail-queue", "qmailq:qmail 4711"),
            ("bin/qmail-vmailuser", "root:qmail 6711"),
            ("bin/qmail-lspawn", "root:qmail 700"),
            ("queue", "qmailq:qmail 750"),
            ("queue/mess/22", "qmailq:qmail 750"),
            ("queue/info/0", "qmails:qmail 700"),
            ("queue/lock/tcpto", "qmailr:qmail 644"),
            ("queue/lock/trigger", "qmails:qmail 622"),
            ("users/ids", "root:root 644"),
        ] {
            let got = rights(host, name);
            // 2755 is inherited by what is made below alias.
            assert_eq!(got.replace(" 2700", " 700"), want, "{name}");
        }
        assert_eq!((text("control/me"), text("control/plusdomain")), (format!("{me}\n"), "site.example\n".to_string()));
        assert!(home().join("control/rules.smtpd.cdb").exists() && home().join("control/rules.qmtpd.cdb").exists());
        assert_eq!(text("alias/.qmail-postmaster"), "./Maildir/\n");
        for command in ["sendmail", "mailq", "newaliases"] {
            let link = fs::read_link(Path::new("/usr/sbin").join(command)).unwrap();
            assert_eq!(link, home().join("bin").join(command));
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        assert!(passwd.lines().any(|l| l.starts_with("alias:") && l.contains(&format!(":{}/alias:", conf::HOME))));

        // What differs is named, and what is damaged is mended.
        fs::write(home().join("bin/qmail-smtpd"), "damaged").unwrap();
        fs::set_permissions(home().join("queue/pid"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(home().join("man/man8/qmail-send.8")).unwrap();
        let done = host.step(&["install", "--check"]);
        assert_eq!(done.status.code(), Some(1));
        let said = stdout(&done);
        for line in
            ["bin/qmail-smtpd: differs", "queue/pid: mode and owner are 755 ", "man/man8/qmail-send.8: is missing"]
        {
            assert!(said.contains(line), "{said}");
        }
        host.must(&["install"]);
        assert_same("not mended", &once, &tree(home()), false);
    });
}

#[test]
fn what_a_site_has_is_kept() {
    on_a_host_of_its_own("what_a_site_has_is_kept", &ACCOUNTS, |host| {
        host.forget_accounts();
        // A qmail whose administrator has other numbers, another split, and ideas of his own.
        host.sh(&format!(
            "groupadd -g 7001 qmail; groupadd -g 7002 nofiles
            n=7010
            for u in alias qmaild qmaill qmailp qmailq qmailr qmails; do
              n=$((n + 1))
              useradd -M -N -u $n -g nofiles -d {home} $u
            done
            umask 022
            cd {home}
            mkdir -p alias/Maildir/new bin control users queue/pid queue/intd queue/todo queue/bounce queue/lock
            for d in mess info local remote; do
              for n in $(seq 0 10); do mkdir -p queue/$d/$n; done
            done
            : >queue/lock/sendmutex
            echo 'echo theirs' >bin/qmail-send
            ln -s qmail-qmqpc bin/qmail-queue
            echo site >bin/site-own
            echo '&ann@elsewhere.example' >alias/.qmail-default
            echo 'old.example' >control/me
            echo 'fast.example' >control/mydomain
            echo '=joe:joe:1000:1000:/home/joe:::' >users/assign
            printf '#!/bin/sh\\nexec env - PATH=x \\\\\\nqmail-start ./Mailbox splogger qmail\\n' >rc
            chown -R qmailq:qmail queue
            echo 'a message' >queue/mess/3/14
            ln -s /usr/lib/other/sendmail /usr/sbin/sendmail",
            home = conf::HOME
        ));
        let before = tree(home());
        host.must(&["install"]);
        let after = tree(home());
        for (path, seen) in &before {
            let mut now = after[path].clone();
            // Owners and modes in the queue and of the directories are put in order.
            now.ids = seen.ids;
            now.mode = seen.mode;
            let ours = path == Path::new("bin/qmail-send");
            assert!((now == *seen) != ours, "{}", path.display());
        }
        assert_eq!(fs::read_to_string(home().join("bin.old/qmail-send")).unwrap(), "echo theirs\n");
        let control: Vec<PathBuf> = after.keys().filter(|p| p.starts_with("control")).cloned().collect();
        let want = ["control", "control/defaultdelivery", "control/me", "control/mydomain"];
        assert_eq!(control, want.map(PathBuf::from));
        assert_eq!(text("control/defaultdelivery"), "./Mailbox\n");
        assert!(!home().join("alias/.qmail-root").exists() && !home().join("queue/mess/11").exists());
        assert_eq!(fs::read_link("/usr/sbin/sendmail").unwrap(), Path::new("/usr/lib/other/sendmail"));
        assert!(text("users/ids").contains("user qmailq 7015\n"));
        assert_eq!(rights(host, "queue/mess/3/14"), "qmailq:qmail 644");
        assert!(host.must(&["install", "--check"]).contains(" 0 differ\n"));
        host.must(&["install"]);
        assert_same("the second run changed something", &after, &tree(home()), true);
    });
}

/// A copy of what the steps read, with other settings, so that those of the repository stay.
fn with_settings(settings: &[(&str, &str)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let files = ["conf", "package", "man", "service-templates", "INSTALL", "README", "CHANGES", "LICENSE"];
    let mut cp = Command::new("cp");
    cp.arg("-a").args(files.map(|f| sources().join(f))).arg(copy.path());
    assert!(cp.status().unwrap().success());
    for stage in ["bins/ucspi", "bins/ucspi-ssl"] {
        fs::create_dir_all(copy.path().join(stage)).unwrap();
        let scripts = sources().join(stage).join("scripts");
        let copied = Command::new("cp").arg("-a").arg(scripts).arg(copy.path().join(stage)).status();
        assert!(copied.unwrap().success());
    }
    for (name, value) in settings {
        fs::write(copy.path().join("conf").join(name), value).unwrap();
    }
    copy
}

#[test]
fn numbers_and_the_place_of_the_manual_are_settings() {
    on_a_host_of_its_own("numbers_and_the_place_of_the_manual_are_settings", &ACCOUNTS, |host| {
        host.forget_accounts();
        let manual = host.scratch().join("manual");
        fs::create_dir(&manual).unwrap();
        fs::set_permissions(&manual, fs::Permissions::from_mode(0o700)).unwrap();
        let numbers = "7301\n7302\n7303\n-\n7305\n7306\n-\n7308\n7401\n7402\n";
        let copy = with_settings(&[("ids", numbers), ("man", &format!("{}\n", manual.display()))]);
        let done = package(copy.path(), &["install"]);
        assert!(done.status.success(), "{}", stderr(&done));
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        assert!(passwd.contains("\nqmailq:x:7306:7401:") && passwd.contains("\nqmails:x:7308:7401:"), "{passwd}");
        assert!(fs::read_to_string("/etc/group").unwrap().contains("\nnofiles:x:7402:"));
        assert!(manual.join("man8/qmail-send.8").exists() && !home().join("man/man8/qmail-send.8").exists());
        assert_eq!(fs::metadata(&manual).unwrap().mode() & 0o7777, 0o700);
        let done = package(copy.path(), &["install", "--check"]);
        assert!(done.status.success(), "{}", stdout(&done));
    });
}

#[test]
fn a_staged_tree_is_made_once() {
    if !programs_are_collected() {
        return skip("package/compile has collected no programs");
    }
    let stage = tempfile::tempdir().unwrap();
    let root = stage.path().to_str().unwrap();
    let install = |more: &[&str]| {
        let done = package(&sources(), &[&["install", "--root", root][..], more].concat());
        assert!(done.status.success(), "{}{}", stdout(&done), stderr(&done));
        stdout(&done)
    };
    install(&["--me", "me.test"]);
    let once = tree(stage.path());
    assert!(!once.keys().any(|p| p.ends_with("users/ids")));
    install(&["--me", "other.test"]);
    assert_same("the second run changed something", &once, &tree(stage.path()), true);
    assert!(install(&["--check"]).contains(" 0 differ\n"));
    // Nothing but home is made below it.
    let top = fs::read_dir(stage.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(top, [home().iter().nth(1).unwrap()]);
}

#[test]
fn ssl_env_is_written_when_there_is_a_certificate() {
    let there = tempfile::tempdir().unwrap();
    let (cert, key) = (there.path().join("c.pem"), there.path().join("k.pem"));
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    fs::write(&cert, pem("CERTIFICATE")).unwrap();
    fs::write(&key, pem("PRIVATE KEY")).unwrap();
    let stage = tempfile::tempdir().unwrap();
    let home = stage.path().join(&conf::HOME[1..]);
    fs::create_dir_all(&home).unwrap();
    let words = ["sslenv", "--root", stage.path().to_str().unwrap()];
    assert!(package(&sources(), &words).status.success() && !home.join("ssl").exists());

    let copy = with_settings(&[("ssl", &format!("{}\n{}\n", cert.display(), key.display()))]);
    let mut once = None;
    for _ in 0..2 {
        let done = package(copy.path(), &words);
        assert!(done.status.success(), "{}", stderr(&done));
        let all = tree(&home);
        assert_same("the second run changed something", once.get_or_insert(all.clone()), &all, true);
    }
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("ssl"), mode("ssl/cert.pem"), mode("ssl/key.pem")), (0o755, 0o644, 0o600));
    let read = format!("id() {{ echo 1; }}; . {}/ssl/ssl.env; echo $CERTFILE $KEYFILE $SSL_CHROOT", home.display());
    let done = run(Command::new("sh").args(["-euc", &read]), b"");
    let at = format!("{}/ssl", conf::HOME);
    assert_eq!(stdout(&done), format!("{at}/cert.pem {at}/key.pem {at}\n"), "{}", stderr(&done));

    // A renewed certificate is taken, and what is none is not.
    fs::write(&cert, pem("CERTIFICATE") + "renewed\n").unwrap();
    assert!(package(copy.path(), &words).status.success());
    assert!(fs::read_to_string(home.join("ssl/cert.pem")).unwrap().ends_with("renewed\n"));
    fs::write(&cert, "none").unwrap();
    let done = package(copy.path(), &words);
    assert_eq!(done.status.code(), Some(111));
    assert!(stderr(&done).contains("is no certificate in PEM"), "{}", stderr(&done));
}

#[test]
fn a_step_called_wrongly_says_how_it_is_called() {
    for step in ["dir", "legacy", "scripts", "man", "run", "sslenv", "upgrade", "install"] {
        let done = package(&sources(), &[step, "--nonsense"]);
        assert_eq!(done.status.code(), Some(100), "{step}");
        assert!(
            stderr(&done).starts_with(&format!("package/{step}: usage: package/{step} [ --root DIR")),
            "{}",
            stderr(&done)
        );
    }
}
