//! Debian's postgrey, asked by qmail-postgrey.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use whole_system::{Home, run, stderr};

const POSTGREY: &str = "/usr/sbin/postgrey";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A postgrey that runs until it is dropped.
struct Postgrey {
    child: Child,
    port: u16,
}

impl Drop for Postgrey {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one with its files in `home`, which wants senders to come again after a second.
fn start(home: &Home) -> Postgrey {
    let name = |what: &str| {
        let output = Command::new("id").arg(what).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    // Bound and closed again: free, unless somebody is quick.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(POSTGREY);
    command.arg(format!("--inet=127.0.0.1:{port}")).args(["--delay=1", "--auto-whitelist-clients=0"]);
    command.arg(format!("--dbdir={}", home.path("users").display()));
    command.arg(format!("--pidfile={}", home.path("pid").display()));
    command.arg(format!("--user={}", name("-un"))).arg(format!("--group={}", name("-gn")));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut postgrey = Postgrey { child, port };
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < end && postgrey.child.try_wait().unwrap().is_none(), "postgrey does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    postgrey
}

#[test]
fn postgrey_puts_a_new_sender_off_until_it_comes_again() {
    if !std::path::Path::new(POSTGREY).exists() {
        eprintln!("skipped: {POSTGREY} is not installed");
        return;
    }
    let home = Home::new(&["qmail-postgrey"]);
    let postgrey = start(&home);
    let ask = |recipient: &str| {
        let mut command = home.command("qmail-postgrey");
        command.arg(format!("127.0.0.1;{}", postgrey.port));
        command.args(["sender@a.test", recipient, "192.0.2.77", "unknown"]);
        let output = run(&mut command, b"");
        assert_eq!(stderr(&output), "");
        output.status.code().unwrap()
    };
    assert_eq!(ask("joe@b.test"), 10);
    let end = Instant::now() + PATIENCE;
    loop {
        let code = ask("joe@b.test");
        if code == 0 {
            break;
        }
        assert_eq!(code, 10);
        assert!(Instant::now() < end, "never let in");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask("ann@b.test"), 10);
    // Known to postgrey's own list of recipients that take everything.
    assert_eq!(ask("postmaster@b.test"), 0);
}
