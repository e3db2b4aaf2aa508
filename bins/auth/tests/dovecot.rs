//! A Dovecot of its own, which qmail-authuser asks, and which asks qmail-authuser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;

use host::Home;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Dovecot in a pid name space: killing its first process ends all of them.
struct Dovecot(Child);

impl Dovecot {
    /// Runs in `home`/dovecot; `None` if this host cannot.
    fn start(home: &Home, passdb: &str) -> Option<Dovecot> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 || fs::metadata("/usr/sbin/dovecot").is_err() {
            eprintln!("skipped: needs root and the Debian package dovecot-core");
            return None;
        }
        let dir = home.path("dovecot").display().to_string();
        fs::create_dir(&dir).unwrap();
        let conf = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/log\nprotocols =\nssl = no\n\
             auth_mechanisms = plain\nauth_failure_delay = 0\n\
             passdb {{\n{passdb}\n}}\nuserdb {{\n driver = prefetch\n}}\n\
             service auth {{\n user = root\n unix_listener auth-client {{\n mode = 0666\n }}\n}}\n"
        );
        home.put("dovecot/conf", &conf);
        let mut command = Command::new("unshare");
        command.args(["-m", "--pid", "--fork", "--kill-child", "dovecot", "-F", "-c", &format!("{dir}/conf")]);
        let dovecot = Dovecot(command.stdin(Stdio::null()).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(30);
        while fs::metadata(format!("{dir}/run/auth-client")).is_err() {
            assert!(Instant::now() < end, "{}", fs::read_to_string(format!("{dir}/log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(dovecot)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// qmail-authuser's exit code for a password that Dovecot decides on.
fn ask(home: &Home, service: &[&str], user: &str, password: &str) -> Option<i32> {
    let socket = home.path("dovecot/run/auth-client").display().to_string();
    let args = [&["-s", &socket], service, &["true"]].concat();
    // Dovecot answers a host that has failed later and later, so each user has one of its own.
    let address = format!("192.0.2.{}", user.len() * 16 + password.len());
    home.run(&[("TCPREMOTEIP", &address)], &args, format!("{user}\0{password}\0\0").as_bytes())
}

#[test]
fn dovecot_decides_for_authuser() {
    let home = Home::new();
    home.put("users/authuser", "@d.test:=\n*:=\njim:own\n");
    home.put(
        "passwd",
        "joe:{PLAIN}secret::::::\nann@d.test:{PLAIN}two words::::::allow_nets=192.0.2.0/24\n\
                        far:{PLAIN}x::::::allow_nets=198.51.100.0/24\n",
    );
    let passdb = format!("driver = passwd-file\nargs = {}", home.path("passwd").display());
    let Some(_dovecot) = Dovecot::start(&home, &passdb) else { return };
    let rows = [
        ("joe", "secret", 0),
        ("joe", "wrong", 1),
        ("joe", "", 1),
        ("nobody", "secret", 1),
        ("ann@D.test", "two words", 0),
        // Dovecot learns where the client is.
        ("far", "x", 1),
        ("jim", "own", 0),
        ("jim", "secret", 1),
    ];
    for (user, password, expected) in rows {
        assert_eq!(ask(&home, &[], user, password), Some(expected), "{user} {password}");
    }
    assert_eq!(ask(&home, &["-x", "service=pop3"], "joe", "secret"), Some(0));
}

#[test]
fn authuser_decides_for_dovecot() {
    let home = Home::new();
    home.put("users/authuser", "joe:secret\nann:%5ebe2294ecd0e0f08eab7690d2a6ee69\n!off\n*:other\n");
    let script = format!(
        "#!/bin/sh\nQMAILHOME={}\nexport QMAILHOME\nexec {} \"$@\"\n",
        home.path(".").display(),
        host::AUTHUSER
    );
    home.put("check", &script);
    fs::set_permissions(home.path("check"), fs::Permissions::from_mode(0o755)).unwrap();
    let passdb = format!("driver = checkpassword\nargs = {}", home.path("check").display());
    let Some(_dovecot) = Dovecot::start(&home, &passdb) else { return };
    let conf = home.path("dovecot/conf").display().to_string();
    // doveadm's own codes: 0, and 77 (EX_NOPERM).
    for (user, password, expected) in [
        ("joe", "secret", 0),
        ("joe", "wrong", 77),
        ("ann", "secret", 0),
        ("off", "other", 77),
        ("x@y.test", "other", 0),
    ] {
        let mut command = Command::new("doveadm");
        command.args(["-c", &conf, "auth", "test", "-x", "service=imap", user, password]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{user} {password}: {said}");
        assert!(!said.contains("temp_fail"), "{said}");
    }
    // When there is no answer, Dovecot has none, and tells so whoever asks it: our own program, as it happens.
    fs::remove_file(home.path("users/authuser")).unwrap();
    fs::create_dir(home.path("users/authuser")).unwrap();
    let other = Home::new();
    other.put("users/authuser", "*:=\n");
    let socket = home.path("dovecot/run/auth-client").display().to_string();
    assert_eq!(other.run(&[], &["-s", &socket, "true"], b"joe\0secret\0\0"), Some(111));
}
