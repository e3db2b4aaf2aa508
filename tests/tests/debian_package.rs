//! package/deb in a clean Debian system: installed over another mail system, it delivers; mail that was queued before
//! an upgrade, a removal and a purge is there afterwards and arrives, once.
//!
//! The system is made by debootstrap from the host's own mirror, kept below the target directory for the next time, and
//! runs in name spaces of its own, so that ports and processes are nobody else's. Needs root, debootstrap and what
//! package/test builds; where one of them is missing the test says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use whole_system::{am_root, files, stderr, stdout};

const NAME: &str = "mx.quoll.test";
/// How long a step may take, and a message.
const STEP_SECS: u32 = 60;
const ARRIVAL: Duration = Duration::from_secs(30);

#[test]
fn the_package_installs_upgrades_goes_and_leaves_mail_and_queue() {
    let Some(mut host) = Host::new() else { return };
    host.packages();
    host.another_mail_system();

    // Another qmail is not overwritten in passing.
    host.run("mkdir -p /var/qmail/bin && echo >/var/qmail/bin/qmail-send");
    host.fail("dpkg -i /tmp/quoll_1.0_*.deb");
    assert_eq!(
        host.run("cat /var/qmail/bin/qmail-send && dpkg-query -W other-mta && rm -r /var/qmail"),
        "\nother-mta\t1\n"
    );

    host.run("apt-get -y install /tmp/quoll_1.0_*.deb");
    host.fail("dpkg-query -W other-mta");
    host.is_installed();
    assert_eq!(host.read("etc/qmail/me"), format!("{NAME}\n"));
    host.run("useradd -m ann && runuser -u ann /var/qmail/bin/maildirmake /home/ann/Maildir");
    host.send("ann", "by sendmail");
    host.arrives("by sendmail");
    let said = host.run(
        "printf '%s\\n' 'HELO x' 'MAIL FROM:<eve@x.test>' 'RCPT TO:<ann@mx.quoll.test>' DATA 'Subject: by SMTP' '' . \
          QUIT | /var/qmail/bin/mconnect 127.0.0.1 || :",
    );
    assert!(said.contains("250 ok 1"), "{said}");
    host.arrives("by SMTP");
    host.send("root", "to root");
    host.wait("mail for root", |host| !files(&host.path("var/qmail/alias/Maildir/new")).is_empty());
    let log = host.read("var/log/mail");
    assert!(log.contains(" qmail-send: ") && log.contains(" end msg ") && log.contains(" qmail-smtpd: "), "{log}");

    // Two messages wait: for a site that does not answer, and since nobody works on the queue.
    host.write("etc/qmail/smtproutes", "later.test:127.0.0.1:2525\n");
    host.send("ann@later.test", "deferred");
    host.wait("a deferral", |host| host.deferrals() == 1);
    host.run("/etc/init.d/qmail-send stop");
    host.send("ann", "stopped");
    host.write("etc/qmail/rcpthosts", "mx.quoll.test\nlater.test\n");
    let settings = host.settings();
    let during = host.upgrade_while_users_send();
    host.is_installed();
    assert_eq!(host.settings(), settings);
    (1..=during).for_each(|n| host.arrives(&format!("during {n}")));
    host.arrives("stopped");
    assert!(host.run("/var/qmail/bin/qmail-qread").contains("remote\tann@later.test"));
    host.answer_for("later.test");
    host.arrives("deferred");

    host.write("etc/qmail/smtproutes", "again.test:127.0.0.1:2525\n");
    let before = host.deferrals();
    host.send("ann@again.test", "kept");
    host.wait("another deferral", |host| host.deferrals() > before);
    let settings = host.settings();
    let mailbox = files(&host.path("home/ann/Maildir"));
    host.run("dpkg -r quoll");
    host.fail("busybox pidof qmail-send tcpserver splogger qmail-lspawn");
    host.fail("ls /usr/sbin/sendmail /usr/bin/mailq /var/qmail/bin");
    assert_eq!((host.settings(), host.queued()), (settings, 1));

    let said = host.run("dpkg -P quoll");
    assert!(said.contains("quoll: left: /var/qmail/queue with 1 messages"), "{said}");
    assert!(said.contains("quoll: left: /var/qmail/control: smtproutes\n"), "{said}");
    assert_eq!((host.settings().len(), host.queued()), (1, 1));
    assert_eq!(files(&host.path("home/ann/Maildir")), mailbox);
    assert!(!files(&host.path("var/qmail/alias/Maildir/new")).is_empty());
    for gone in ["etc/init.d/qmail-send", "var/lib/quoll", "usr/lib/quoll", "var/qmail/users"] {
        assert!(!host.path(gone).exists(), "{gone}");
    }

    host.run("dpkg -i /tmp/quoll_1.1_*.deb");
    host.is_installed();
    host.answer_for("again.test");
    host.arrives("kept");
    host.wait("an empty queue", |host| host.queued() == 0);
}

/// A Debian system in memory, and a shell in it, which is the first process of its name spaces: nothing that is started
/// or written there outlives it.
struct Host {
    root: PathBuf,
    space: Child,
    commands: ChildStdin,
    codes: BufReader<ChildStdout>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its processes go with it. It may be gone already.
        let _ = self.space.kill();
        let _ = self.space.wait();
    }
}

impl Host {
    /// `None`, with the reason on fd 2, where it can not be made.
    fn new() -> Option<Host> {
        let skip = |why: &str| {
            eprintln!("skipped: {why}");
            None
        };
        if std::env::var_os("STAGE").is_none() {
            return skip("debian_package: package/test runs this");
        }
        if !am_root() {
            return skip("debian_package: needs root");
        }
        for program in ["debootstrap", "dpkg-deb", "apt-get", "unshare", "tar"] {
            if !Command::new("which").arg(program).output().unwrap().status.success() {
                return skip(&format!("debian_package: needs {program}"));
            }
        }
        let spaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--fork"];
        if !Command::new("unshare").args(spaces).arg("true").status().unwrap().success() {
            return skip("debian_package: needs name spaces of its own");
        }
        let system = match clean_system() {
            Ok(system) => system,
            Err(why) => return skip(&format!("debian_package: {why}")),
        };
        let mut space = Command::new("unshare")
            .args(spaces)
            .args(["--kill-child", "/bin/sh", "-c"])
            .arg(format!(
                "mount -t tmpfs -o mode=755 none /mnt && tar -xpf \"$0\" -C /mnt && mount -t proc none /mnt/proc &&
                hostname {NAME} && exec chroot /mnt /bin/sh -c 'busybox ip link set lo up && exec /bin/sh'"
            ))
            .arg(system)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut commands = space.stdin.take().unwrap();
        let mut codes = BufReader::new(space.stdout.take().unwrap());
        // It answers when it is in its root, which is seen from here through its process.
        commands.write_all(b"echo here\n").unwrap();
        let mut answer = String::new();
        codes.read_line(&mut answer).unwrap();
        assert_eq!(answer, "here\n");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", space.id())).unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", children.trim()));
        let mut host = Host { root, space, commands, codes };
        host.write("etc/mailname", &format!("{NAME}\n"));
        host.write("etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {NAME} mx\n"));
        host.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
        // There is no init to ask whether services may be started.
        host.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n");
        host.run("chmod 755 /usr/sbin/policy-rc.d");
        host.run("busybox syslogd -O /var/log/mail");
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Exit code and output of a command in the system.
    fn step(&mut self, command: &str) -> (i32, String) {
        self.write("tmp/step", command);
        let line = format!("timeout {STEP_SECS} sh /tmp/step </dev/null >/tmp/said 2>&1; echo $?\n");
        self.commands.write_all(line.as_bytes()).unwrap();
        let mut code = String::new();
        self.codes.read_line(&mut code).unwrap();
        (code.trim().parse().unwrap_or(-1), self.read("tmp/said"))
    }

    fn run(&mut self, command: &str) -> String {
        let (code, said) = self.step(command);
        assert_eq!(code, 0, "{command}: {said}");
        said
    }

    fn fail(&mut self, command: &str) {
        let (code, said) = self.step(command);
        assert_ne!(code, 0, "{command}: {said}");
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Host) -> bool) {
        let end = Instant::now() + ARRIVAL;
        while !is_so(self) {
            assert!(Instant::now() < end, "{what} is missing; log:\n{}", self.read("var/log/mail"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Builds the package, to be found in /tmp, and a second version with the same contents.
    fn packages(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../package/deb");
        let mut command = Command::new(script);
        command.args(["--version", "1.0", "--to"]).arg(self.path("tmp")).env("CARGO_TARGET_DIR", target());
        command.env("TMPDIR", self.path("tmp")).env("DPKG_DEB_COMPRESSOR_TYPE", "none");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}{}", stdout(&done), stderr(&done));
        self.run(
            "cd /tmp && dpkg-deb -R quoll_1.0_*.deb next && sed -i 's/^Version: .*/Version: 1.1/' next/DEBIAN/control &&
            dpkg-deb --root-owner-group -Znone -b next . && rm -r next",
        );
    }

    /// Installs a package that is a mail transport agent as well.
    fn another_mail_system(&mut self) {
        self.run(
            "mkdir -p /tmp/other/DEBIAN /tmp/other/usr/sbin && echo >/tmp/other/usr/sbin/sendmail
            mta=mail-transport-agent
            printf '%s\\n' 'Package: other-mta' 'Version: 1' 'Architecture: all' 'Maintainer: a <a@a.test>' \
              \"Provides: $mta\" \"Conflicts: $mta\" \"Replaces: $mta\" 'Description: mail' >/tmp/other/DEBIAN/control
            dpkg-deb -b /tmp/other /tmp/other.deb && dpkg -i /tmp/other.deb",
        );
    }

    /// Asserts that everything is as package/table says, belongs to the package, and runs.
    fn is_installed(&mut self) {
        let said = self.run("/usr/lib/quoll/package/setup --check");
        assert!(said.contains(" 0 differ"), "{said}");
        assert_eq!(self.run("stat -c '%a %U:%G' /var/qmail/bin/qmail-queue"), "4711 qmailq:qmail\n");
        assert_eq!(self.run("dpkg --verify quoll"), "");
        for service in ["qmail-send", "qmail-smtpd"] {
            assert_eq!(self.run(&format!("/etc/init.d/{service} status")), format!("{service} is running\n"));
            self.run(&format!("test -L /etc/systemd/system/multi-user.target.wants/{service}.service"));
        }
        self.run("test -e /usr/share/man/man8/qmail-send.8.gz -a -x /usr/sbin/sendmail -a -x /usr/lib/sendmail");
    }

    /// As the user ann, who has no rights.
    fn send(&mut self, to: &str, subject: &str) {
        let text = format!("To: {to}\\nSubject: {subject}\\n\\nText.\\n");
        self.run(&format!("printf '{text}' | runuser -u ann -- sendmail -t"));
    }

    /// Installs the second version, while ann goes on sending messages to herself: how many. Each was accepted.
    fn upgrade_while_users_send(&mut self) -> usize {
        let said = self.run(
            "while [ ! -e /tmp/enough ]; do
              n=$((n + 1))
              printf 'To: ann\\nSubject: during %s\\n\\nText.\\n' $n | runuser -u ann -- sendmail -t || echo refused $n
              echo $n >/tmp/sent
            done &
            dpkg -i /tmp/quoll_1.1_*.deb
            touch /tmp/enough
            wait",
        );
        assert!(!said.contains("refused"), "{said}");
        self.read("tmp/sent").trim().parse().unwrap()
    }

    /// Waits for the message and asserts that it came just once.
    fn arrives(&self, subject: &str) {
        let subject = format!("Subject: {subject}\n");
        let count = |host: &Host| {
            let mail = files(&host.path("home/ann/Maildir/new"));
            mail.iter().filter(|file| fs::read_to_string(file).unwrap().contains(&subject)).count()
        };
        self.wait(&subject, |host| count(host) > 0);
        assert_eq!(count(self), 1, "{subject}");
    }

    /// From now on this system's own SMTP server takes the mail for the domain, and ann gets it.
    fn answer_for(&mut self, domain: &str) {
        self.write("etc/qmail/locals", &format!("{NAME}\n{domain}\n"));
        self.write("etc/qmail/smtproutes", &format!("{domain}:127.0.0.1\n"));
        self.run("/etc/init.d/qmail-send reload && kill -ALRM $(cat /run/qmail-send.pid)");
    }

    /// Names and contents of the control files, without compiled ones.
    fn settings(&self) -> Vec<(PathBuf, String)> {
        let mut found = files(&self.path("etc/qmail"));
        found.sort();
        found
            .into_iter()
            .map(|file| (file.clone(), String::from_utf8_lossy(&fs::read(&file).unwrap()).into()))
            .collect()
    }

    /// How often the log says that a delivery failed for now.
    fn deferrals(&self) -> usize {
        self.read("var/log/mail").matches(": deferral: ").count()
    }

    /// How many messages are in the queue.
    fn queued(&self) -> usize {
        files(&self.path("var/qmail/queue/mess")).len()
    }
}

/// The target directory, three floors above the running test in PROFILE/deps.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf()
}

/// An archive of a minimal Debian system of this host's release. An error says why there is none.
fn clean_system() -> Result<PathBuf, String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).ok_or("not a Debian system")?;
    let archive = target().join(format!("debian-{suite}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let new = archive.with_extension("new");
    let script = "
        mount -t tmpfs -o mode=755 none /mnt
        debootstrap --variant=minbase --include=busybox \"$0\" /mnt/system \"$1\" || exit 2
        find /mnt/system/var/cache/apt /mnt/system/var/lib/apt/lists -type f -delete
        tar -cpf \"$2\" -C /mnt/system .";
    let mut command = Command::new("unshare");
    command.args(["--mount", "/bin/sh", "-c", script, suite]).arg(mirror(suite)?).arg(&new);
    let proxy = Command::new("apt-config").args(["dump", "--format=%v%n", "Acquire::http::Proxy"]).output().unwrap();
    let proxy = stdout(&proxy);
    if !proxy.trim().is_empty() {
        command.env("http_proxy", proxy.trim());
    }
    let done = command.output().unwrap();
    if !done.status.success() {
        let said = stdout(&done) + &stderr(&done);
        let last = said.lines().last().unwrap_or_default();
        let unreachable = ["Failed getting release file", "Couldn't download", "Couldn't retrieve"];
        assert!(unreachable.iter().any(|text| said.contains(text)), "{said}");
        return Err(format!("the mirror in the configuration of apt does not answer: {last}"));
    }
    fs::rename(new, &archive).unwrap();
    Ok(archive)
}

/// Where apt takes the packages of this release from.
fn mirror(suite: &str) -> Result<String, String> {
    let format = "$(SITE) $(RELEASE) $(COMPONENT)";
    let done =
        Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output().unwrap();
    let wanted = format!(" {suite} main");
    let list = stdout(&done);
    let site = list.lines().find_map(|line| line.strip_suffix(&wanted));
    site.map(str::to_string).ok_or_else(|| format!("apt has no source for {suite}"))
}
