//! The services of service-templates, made by package/service, under each supervisor as Debian ships it: mail comes in
//! and is delivered, signals do what qmail-send(8) says, what is killed comes back and loses nothing, and the
//! supervisor's own logger writes the log.
//!
//! Each test has a machine of its own (whole_system::machine), where the templates' ports are free.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use whole_system::machine::{Connection, Machine, netstring, on_its_own, until};
use whole_system::{files, run, stderr, stdout};

/// The supervisor's directory. (conf/svcdir would have to be made at the root of the file system.)
const SCAN: &str = "/etc/service";
/// The servers and their ports.
const SERVERS: [(&str, u16); 5] =
    [("qmail-smtpd", 25), ("qmail-smtpsub", 587), ("qmail-qmtpd", 209), ("qmail-qmqpd", 628), ("qmail-pop3d", 110)];

/// So begin the subjects of messages of which some may arrive twice: qmail promises to deliver at least once.
const UNDER_WAY: &str = "under way";

/// Control files, a password checker, and a delivery that waits until something is written to `gate`.
const SETTINGS: &str = r#"
cd /var/qmail/control
echo '127.:allow,RELAYCLIENT=""' | ../bin/tcprules rules.smtpd.cdb tmp
echo '127.:allow,RELAYCLIENT=""' | ../bin/tcprules rules.qmtpd.cdb tmp
printf '127.:allow\n:deny\n' | ../bin/tcprules rules.qmqpd.cdb tmp
echo second.test >>rcpthosts
echo second.test:127.0.0.1:26 >smtproutes
echo '/var/home/checker with arguments' >checkpassword
cat >/var/home/checker <<'C'
#!/bin/sh
[ "$1 $2" = "with arguments" ] || exit 2
shift 2
[ "$(tr '\0' '\n' <&3 | head -n 2 | tr '\n' ' ')" = "joe secret " ] || exit 1
cd /var/home/joe && exec setpriv --reuid=54321 --regid=54321 --clear-groups "$@"
C
chmod 755 /var/home/checker
cd /var/home/joe
mkfifo gate
printf '|touch started; head -n 1 gate\n./Maildir/\n' >.qmail-slow
chown 54321:54321 gate .qmail-slow
"#;

/// Starts systemd as process 1 of name spaces of its own, with the units of package/service and of Debian's no more
/// than they need. /mnt/inside runs a command there.
const BOOT: &str = r#"
mkdir /mnt/units /mnt/units/sysinit.target.wants /mnt/dev /mnt/cgroup
cd /lib/systemd/system
cp -a basic.target sysinit.target multi-user.target sockets.target network.target shutdown.target umount.target \
  nss-user-lookup.target systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket /mnt/units
ln -s ../systemd-journald.service /mnt/units/sysinit.target.wants
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /mnt/dev
for d in null zero full random urandom tty; do
  : >/mnt/dev/$d
  mount --bind /dev/$d /mnt/dev/$d
done
mkdir /mnt/dev/pts /mnt/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 none /mnt/dev/pts
ln -s pts/ptmx /mnt/dev/ptmx
ln -s /proc/self/fd /mnt/dev/fd
mount --rbind /mnt/dev /dev
mount -t cgroup2 none /mnt/cgroup
mkdir /mnt/cgroup/whole-system
cat >/mnt/inside <<'I'
#!/bin/sh
exec nsenter --target "$(cat /mnt/process)" --mount --pid -- "$@"
I
cat >/mnt/boot <<'B'
#!/bin/sh
echo $$ >/mnt/cgroup/whole-system/cgroup.procs
exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh -c '
  mount -t cgroup2 none /sys/fs/cgroup
  exec env -i container=whole-system SYSTEMD_UNIT_PATH=/etc/systemd/system:/mnt/units PATH="$PATH" \
    /lib/systemd/systemd --system --unit=multi-user.target'
B
chmod 755 /mnt/inside /mnt/boot
"#;

/// Who keeps the services running.
#[derive(Clone, Copy, PartialEq)]
enum Supervisor {
    Daemontools,
    Runit,
    S6,
    Systemd,
}

use Supervisor::{Daemontools, Runit, S6, Systemd};

/// What a supervisor is asked to do with a service: to send it a signal (TERM so that it starts anew),
/// to start it, to stop it.
#[derive(Clone, Copy)]
enum Act {
    Term,
    Hup,
    Alrm,
    Up,
    Down,
}

impl Supervisor {
    /// As package/service knows it.
    fn name(self) -> &'static str {
        ["daemontools", "runit", "s6", "systemd"][self as usize]
    }

    /// The command for `act`, up to the name of the service.
    fn command(self, act: Act) -> String {
        let letter = ["t", "h", "a", "u", "d"][act as usize];
        match self {
            Daemontools => format!("svc -{letter} {SCAN}/"),
            S6 => format!("s6-svc -{letter} {SCAN}/"),
            Runit => format!("sv {} {SCAN}/", ["term", "hup", "alarm", "up", "down"][act as usize]),
            Systemd => {
                let words = ["restart --no-block", "reload", "kill --kill-who=main --signal=ALRM", "start", "stop"];
                format!("/mnt/inside systemctl {} ", words[act as usize])
            }
        }
    }

    /// The name of the process that is the parent of each service.
    fn parent(self) -> &'static str {
        ["supervise", "runsv", "s6-supervise", "systemd"][self as usize]
    }
}

#[test]
fn daemontools() {
    on_its_own("daemontools", &[("svscan", "daemontools"), ("multilog", "daemontools")], |m| {
        live(m, Daemontools, &["svscan", SCAN]);
    });
}

#[test]
fn runit() {
    on_its_own("runit", &[("runsvdir", "runit"), ("svlogd", "runit")], |m| live(m, Runit, &["runsvdir", "-P", SCAN]));
}

#[test]
fn s6() {
    on_its_own("s6", &[("s6-svscan", "s6"), ("s6-log", "s6")], |m| live(m, S6, &["s6-svscan", SCAN]));
}

/// The life of a mail system under a supervisor.
fn live(m: &Machine, supervisor: Supervisor, start: &[&str]) {
    let site = Site { m, supervisor };
    site.makes_services_once();
    m.sh(SETTINGS);
    m.start(start);
    site.starts_and_survives();
    site.goes_down();
    site.has_delivered_once();
    site.keeps_logs();
}

struct Site<'a> {
    m: &'a Machine,
    supervisor: Supervisor,
}

impl Site<'_> {
    /// The second time package/service changes nothing.
    fn makes_services_once(&self) {
        let make = format!("package/service --supervisor {}", self.supervisor.name());
        let state = "find /var/qmail/svc /var/log /etc/service /etc/systemd | sort | xargs stat -c '%N %A %U %G %Y'";
        assert!(!self.m.sh(&make).ends_with(" 0 new\n"));
        let before = self.m.sh(state);
        assert!(self.m.sh(&make).ends_with(" 0 new\n"));
        assert_eq!(self.m.sh(state), before);
        if self.supervisor == Systemd {
            return;
        }
        for service in SERVERS.map(|(name, _)| name).iter().chain(&["qmail-send"]) {
            let link = fs::read_link(Path::new(SCAN).join(service)).unwrap();
            assert_eq!(link, self.m.path("svc").join(service));
            assert_eq!(link.join("down").exists(), *service != "qmail-send", "{service}");
            assert_eq!(fs::read_link(link.join("log/main")).unwrap(), Path::new("/var/log").join(service));
        }
    }

    fn control(&self, act: Act, service: &str) {
        self.m.sh(&format!("{}{service}", self.supervisor.command(act)));
    }

    fn log(&self, service: &str) -> String {
        if self.supervisor == Systemd {
            return self.m.sh(&format!("/mnt/inside journalctl --quiet --no-pager --unit={service} || :"));
        }
        fs::read_to_string(format!("/var/log/{service}/current")).unwrap_or_default()
    }

    /// The log from `start` on, once it has `text` there.
    fn log_has(&self, start: usize, text: &str) -> String {
        until(&format!("{text} in the log"), || {
            let log = self.log("qmail-send");
            log.get(start..).filter(|l| l.contains(text)).map(str::to_string)
        })
    }

    /// Waits until no delivery runs.
    fn is_idle(&self) {
        until("the end of all deliveries", || {
            let log = self.log("qmail-send");
            log.lines().rev().find(|l| l.contains(" status: "))?.ends_with("local 0/10 remote 0/20").then_some(())
        });
    }

    /// Waits until so many deliveries to second.test have been started.
    fn are_started(&self, count: usize) {
        until("a delivery to another host", || {
            (self.log("qmail-send").matches(" joe@second.test\n").count() >= count).then_some(())
        });
    }

    fn qmail_send(&self) -> Option<u32> {
        self.m.processes("qmail-send").first().copied()
    }

    /// From the start to the last daemon killed.
    fn starts_and_survives(&self) {
        self.log_has(0, " status: local 0/10 remote 0/20\n");
        self.opens_no_port_before_it_may();
        self.takes_mail_by_every_way("");
        self.shows_mail_by_pop3(5);
        assert_eq!(self.may_relay(), "250");
        self.hup_and_alrm();
        self.term();
        self.survives_kills();
    }

    /// A server starts when the administrator enables it.
    fn opens_no_port_before_it_may(&self) {
        let open = |port| TcpStream::connect(("127.0.0.1", port)).ok();
        for (server, port) in SERVERS {
            assert!(open(port).is_none(), "{server} was not enabled");
            let down = self.m.path("svc").join(server).join("down");
            if down.exists() {
                fs::remove_file(down).unwrap();
            }
            until(&format!("{server} on port {port}"), || {
                // Its supervisor may not be there yet.
                self.m.sh(&format!("{}{server} || :", self.supervisor.command(Act::Up)));
                open(port)
            });
        }
    }

    /// Mail to a local user; `how` ends the subjects.
    fn takes_mail_by_every_way(&self, how: &str) {
        let subjects = ["sendmail", "SMTP", "SMTP for users", "QMTP", "QMQP"].map(|way| format!("by {way}{how}"));
        let [by_sendmail, by_smtp, by_smtpsub, by_qmtp, by_qmqp] = &subjects;
        self.m.sendmail("joe@mail.test", by_sendmail);
        for (port, subject) in [(25, by_smtp), (587, by_smtpsub)] {
            let mut smtp = Connection::to(port);
            smtp.hear("220 mail.test");
            smtp.mail("joe@mail.test", subject);
        }
        let recipient = netstring(b"joe@mail.test");
        let mut qmtp = Connection::to(209);
        qmtp.say(&netstring(format!("\nSubject: {by_qmtp}\n\nText.\n").as_bytes()));
        qmtp.say(&[netstring(b"eve@there.test"), netstring(&recipient)].concat());
        assert_eq!(qmtp.verdict(), b'K');
        let mut qmqp = Connection::to(628);
        let message = netstring(format!("Subject: {by_qmqp}\n\nText.\n").as_bytes());
        qmqp.say(&netstring(&[message, netstring(b"eve@there.test"), recipient].concat()));
        assert_eq!(qmqp.verdict(), b'K');
        self.m.arrives(&subjects.each_ref().map(String::as_str));
    }

    fn shows_mail_by_pop3(&self, count: usize) {
        let login = |password: &str, answer: &str| {
            let mut pop3 = Connection::to(110);
            pop3.hear("+OK");
            pop3.ask("USER joe", "+OK");
            pop3.ask(&format!("PASS {password}"), answer);
            pop3
        };
        login("wrong", "-ERR authorization failed");
        // What has come in this second is not shown yet.
        until("all messages by POP3", || {
            let mut pop3 = login("secret", "+OK");
            pop3.say(b"STAT\r\n");
            // Without QUIT nothing is moved from new to cur.
            pop3.line().starts_with(&format!("+OK {count} ")).then_some(())
        });
    }

    /// The code of the answer to a recipient elsewhere.
    fn may_relay(&self) -> String {
        let mut smtp = Connection::to(25);
        smtp.hear("220");
        smtp.ask("MAIL FROM:<eve@there.test>", "250");
        smtp.say(b"RCPT TO:<joe@elsewhere.test>\r\n");
        smtp.line().chars().take(3).collect()
    }

    /// HUP: qmail-send reads locals again. ALRM: it tries everything now.
    fn hup_and_alrm(&self) {
        let mut sent = 1;
        self.m.sendmail("joe@second.test", "to another host 1");
        self.log_has(0, " to remote joe@second.test\n");
        self.m.sh("echo second.test >>/var/qmail/control/locals");
        self.control(Act::Hup, "qmail-send");
        // The signal and a message may overtake each other.
        until("a message that is local now", || {
            sent += 1;
            self.m.sendmail("joe@second.test", &format!("to another host {sent}"));
            self.are_started(sent);
            self.log("qmail-send").contains(" to local joe@second.test\n").then_some(())
        });
        self.log_has(0, " deferral: ");
        self.is_idle();
        assert!(!self.m.mail().contains_key("to another host 1"));
        // The other host is this one now, and nobody waits 400 seconds for the next try.
        self.m.sh("echo second.test:127.0.0.1 >/var/qmail/control/smtproutes");
        self.control(Act::Alrm, "qmail-send");
        for n in 1..=sent {
            self.m.arrives(&[&format!("to another host {n}")]);
        }
        self.is_idle();
    }

    /// TERM: no delivery is started any more, the running ones end, qmail-send exits; the supervisor starts it again.
    fn term(&self) {
        self.m.sendmail("joe-slow@mail.test", "a slow delivery");
        until("a delivery that runs", || Path::new("/var/home/joe/started").exists().then_some(()));
        let (old, start) = (self.qmail_send(), self.log("qmail-send").len());
        self.control(Act::Term, "qmail-send");
        // The log has nothing to say about this yet.
        until("the end of qmail-todo", || self.m.processes("qmail-todo").is_empty().then_some(()));
        self.m.sendmail("joe@mail.test", "meanwhile");
        assert_eq!((self.qmail_send(), self.m.mail().contains_key("a slow delivery")), (old, false));
        self.m.sh("echo go >/var/home/joe/gate");
        let log = self.log_has(start, " status: exiting\n");
        self.m.arrives(&["a slow delivery", "meanwhile"]);
        assert_ne!(self.qmail_send(), old);
        let exiting = log.find(" status: exiting\n").unwrap();
        assert!(!log.get(..exiting).unwrap().contains(" starting delivery "), "{log}");
    }

    fn survives_kills(&self) {
        for daemon in ["qmail-send", "qmail-lspawn", "qmail-rspawn", "qmail-todo", "qmail-clean"] {
            self.kill(daemon);
        }
        self.kill_tcpservers();
    }

    /// A daemon of the queue is killed at work, a message is sent at once; all daemons come back, and all mail arrives,
    /// the latter once.
    fn kill(&self, daemon: &str) {
        self.is_idle();
        let (old, victims) = (self.qmail_send(), self.m.processes(daemon));
        let under_way: Vec<String> = (1..=5).map(|n| format!("{UNDER_WAY} when {daemon} is killed, {n}")).collect();
        under_way.iter().for_each(|subject| self.m.sendmail("joe@mail.test", subject));
        self.m.sh(&format!("kill -KILL {}", victims.first().unwrap()));
        let subject = format!("while {daemon} was away");
        self.m.sendmail("joe@mail.test", &subject);
        until(&format!("a new qmail-send after the death of {daemon}"), || {
            self.qmail_send().filter(|new| Some(*new) != old)
        });
        self.m.arrives(&[&subject]);
        self.m.arrives(&under_way.iter().map(String::as_str).collect::<Vec<_>>());
        let all = [("qmail-lspawn", 1), ("qmail-rspawn", 1), ("qmail-todo", 1), ("qmail-clean", 2), ("qmail-send", 1)];
        for (name, count) in all {
            until(&format!("{count} of {name}"), || (self.m.processes(name).len() == count).then_some(()));
        }
    }

    /// A session goes on when its tcpserver is killed, and the port is open again soon.
    fn kill_tcpservers(&self) {
        let mut smtp = Connection::to(25);
        smtp.hear("220");
        let old = self.servers();
        assert_eq!(old.len(), SERVERS.len());
        for pid in &old {
            self.m.sh(&format!("kill -KILL {pid}"));
        }
        smtp.mail("joe@mail.test", "while tcpserver was away");
        until("new servers", || {
            let new = self.servers();
            (new.len() == old.len() && new.iter().all(|pid| !old.contains(pid))).then_some(())
        });
        let mut smtp = Connection::to(25);
        smtp.hear("220");
        smtp.mail("joe@mail.test", "after tcpserver came back");
        if TcpListener::bind("[::1]:0").is_ok() {
            Connection::from(TcpStream::connect("[::1]:25").unwrap()).hear("220");
        }
        self.m.arrives(&["while tcpserver was away", "after tcpserver came back"]);
    }

    /// The tcpservers that the supervisor started; for a moment their sessions have this name, too.
    fn servers(&self) -> Vec<u32> {
        let parent = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.split_whitespace().nth(3).unwrap_or("0").to_string();
            fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default()
        };
        let all = self.m.processes("tcpserver").into_iter();
        all.filter(|pid| parent(pid).trim_end() == self.supervisor.parent()).collect()
    }

    fn goes_down(&self) {
        self.is_idle();
        for service in SERVERS.map(|(name, _)| name).iter().chain(&["qmail-send"]) {
            self.control(Act::Down, service);
        }
        let gone = |&name: &&str| self.m.processes(name).is_empty();
        until("the end of all services", || ["qmail-send", "qmail-todo", "tcpserver"].iter().all(gone).then_some(()));
        // A mess file may be left that qmail-clean did not live to remove: it stands for no message, and goes in time.
        let left = self.m.sh("cd /var/qmail/queue; find todo info local remote bounce -type f");
        assert_eq!(left, "", "{}", self.log("qmail-send"));
    }

    /// No message has come twice, but for those that were under way when a daemon died.
    fn has_delivered_once(&self) {
        for (subject, count) in self.m.mail() {
            assert!(count == 1 || subject.starts_with(UNDER_WAY), "{subject}: {count} times");
        }
    }

    /// Every line has its time in TAI64N, as log tools want it, and the files belong to qmaill.
    fn keeps_logs(&self) {
        let owner = self.m.sh("id -u qmaill").trim().parse::<u32>().unwrap();
        let rows =
            [("qmail-send", " end msg "), ("qmail-smtpd", " tcpserver: ok "), ("qmail-pop3d", " tcpserver: end ")];
        for (service, text) in rows {
            let log = self.log(service);
            assert!(log.contains(text), "{service}: {log}");
            for line in log.lines() {
                let time = line.get(..26).unwrap_or_default();
                assert!(time.starts_with("@40000000") && time.ends_with(' '), "{line}");
            }
            assert_eq!(fs::metadata(format!("/var/log/{service}/current")).unwrap().uid(), owner);
        }
    }
}

// ---------------------------------------------------------------- systemd

/// How far a service of this name exposes the rest of the system, by systemd's own measure: from 0 to 100.
const EXPOSURE_MAX: [(&str, u32); 3] = [("qmail-send", 40), ("qmail-pop3", 35), ("qmail-", 30)];

#[test]
fn systemd_units() {
    on_its_own("systemd_units", &[("systemd-analyze", "systemd")], |m| {
        m.sh("rm -rf /etc/systemd/system");
        Site { m, supervisor: Systemd }.makes_services_once();
        assert_eq!(m.sh("ls /etc/systemd/system/*.wants"), "qmail-send.service\n");
        assert_eq!(m.sh("systemd-analyze verify --man=no /etc/systemd/system/qmail-*"), "");
        // As a package installs them, with the run files below home.
        assert_eq!(m.sh("systemd-analyze verify --man=no service-templates/systemd/*"), "");
        for unit in m.sh("cd /etc/systemd/system; ls *.service").lines() {
            let most = EXPOSURE_MAX.iter().find(|(name, _)| unit.starts_with(name)).unwrap().1;
            // Fails above the threshold.
            m.sh(&format!("systemd-analyze security --offline=yes --threshold={most} /etc/systemd/system/{unit}"));
        }
    });
}

/// systemd does not outlive the test, and leaves no control group behind.
struct Booted<'a>(&'a Machine);

impl<'a> Booted<'a> {
    fn start(m: &'a Machine) -> Booted<'a> {
        m.sh(BOOT);
        m.start(&["/mnt/boot"]);
        let systemd = until("systemd", || m.processes("systemd").first().copied());
        fs::write("/mnt/process", systemd.to_string()).unwrap();
        Booted(m)
    }
}

impl Drop for Booted<'_> {
    fn drop(&mut self) {
        self.0.sh("kill -KILL $(cat /mnt/process)
            for n in $(seq 100); do
              ! find /mnt/cgroup/whole-system -depth -type d -exec rmdir {} + 2>/dev/null || break
              sleep 0.1
            done");
    }
}

#[test]
fn systemd() {
    let programs = [("systemctl", "systemd"), ("nsenter", "util-linux"), ("setpriv", "util-linux")];
    on_its_own("systemd", &programs, |m| {
        let site = Site { m, supervisor: Systemd };
        m.sh("rm -rf /etc/systemd/system");
        site.makes_services_once();
        m.sh(SETTINGS);
        let _booted = Booted::start(m);
        site.starts_and_survives();
        let before: usize = m.mail().values().sum();
        // The same without tcpserver. Starting a socket stops the service on its port, but no session.
        let mut session = Connection::to(25);
        session.hear("220");
        m.sh("/mnt/inside systemctl start qmail-smtpd.socket qmail-qmtpd.socket qmail-qmqpd.socket qmail-pop3d.socket");
        assert_eq!(site.servers().len(), 1);
        session.mail("joe@mail.test", "after tcpserver was stopped");
        site.takes_mail_by_every_way(", without tcpserver");
        assert_eq!(site.may_relay(), "553");
        site.shows_mail_by_pop3(before + 6);
        assert!(m.sh("grep -h ^Received: /var/home/joe/Maildir/new/*").matches("(127.0.0.1)").count() > 4);
        site.goes_down();
        site.has_delivered_once();
    });
}

// ---------------------------------------------------------------- package/service

/// The scripts, and a root directory to run them for; without any rights.
struct Root {
    dir: tempfile::TempDir,
    sources: PathBuf,
}

impl Root {
    fn new() -> Root {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Root { dir: tempfile::tempdir().unwrap(), sources }
    }

    /// Lets the scripts have a conf/ of their own.
    fn copy_sources(&mut self) {
        let copy = self.path("sources");
        fs::create_dir(&copy).unwrap();
        for part in ["package", "conf", "service-templates"] {
            assert!(Command::new("cp").arg("-a").arg(self.sources.join(part)).arg(&copy).status().unwrap().success());
        }
        self.sources = copy;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs package/service; its exit code, and what it says.
    fn make(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(self.sources.join("package/service"));
        let done = run(command.arg("--root").arg(self.dir.path()).args(args), b"");
        (done.status.code(), stdout(&done) + &stderr(&done))
    }

    /// The same where nothing may go wrong.
    fn makes(&self, args: &[&str]) -> String {
        let (code, said) = self.make(args);
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

#[test]
fn what_a_site_has_stays() {
    let root = Root::new();
    root.put("service/qmail-smtpd/run", "the site's\n");
    root.put("var/qmail/svc/qmail-qmtpd/run", "changed\n");
    root.put("var/log/qmail-pop3d/current", "old\n");
    let said = root.makes(&["--supervisor", "daemontools"]);
    assert!(said.contains("qmail-qmtpd is not linked in /service\n"), "{said}");
    assert!(said.contains("/service/qmail-smtpd is not ours and stays\n"), "{said}");
    assert!(said.ends_with(" 7 new\n"), "{said}");
    assert_eq!(root.read("service/qmail-smtpd/run"), "the site's\n");
    assert_eq!(root.read("var/qmail/svc/qmail-qmtpd/run"), "changed\n");
    assert_eq!(root.read("var/log/qmail-pop3d/current"), "old\n");
    assert!(!root.path("var/qmail/svc/qmail-smtpd").exists() && !root.path("var/qmail/svc/qmail-qmtpd/down").exists());
    // The administrator lets a server start, and takes another one away.
    fs::remove_file(root.path("var/qmail/svc/qmail-pop3d/down")).unwrap();
    fs::remove_file(root.path("service/qmail-qmqpd")).unwrap();
    assert!(root.makes(&["--supervisor", "daemontools"]).ends_with(" 0 new\n"));
    assert!(!root.path("var/qmail/svc/qmail-pop3d/down").exists());
    assert!(fs::symlink_metadata(root.path("service/qmail-qmqpd")).is_err());
}

#[test]
fn the_queue_waits_where_something_else_starts_one() {
    for (file, text) in [("service/mail/run", "exec qmail-start ./Mailbox\n"), ("var/qmail/rc", "qmail-start\n")] {
        for supervisor in ["s6", "systemd"] {
            let root = Root::new();
            root.put(file, text);
            let said = root.makes(&["--supervisor", supervisor]);
            let wants = root.path("etc/systemd/system/multi-user.target.wants/qmail-send.service");
            assert!(fs::symlink_metadata(wants).is_err(), "{said}");
            assert_eq!(root.path("var/qmail/svc/qmail-send/down").exists(), supervisor == "s6", "{said}");
        }
    }
}

#[test]
fn the_supervisor_that_is_installed_is_taken() {
    for (program, supervisor, logger) in
        [("svscan", "daemontools", "multilog"), ("runsvdir", "runit", "svlogd"), ("s6-svscan", "s6", "s6-log")]
    {
        let root = Root::new();
        root.put(&format!("usr/bin/{program}"), "");
        fs::set_permissions(root.path("usr/bin").join(program), Permissions::from_mode(0o755)).unwrap();
        // Debian has this in place of conf/svcdir.
        fs::create_dir_all(root.path("etc/service")).unwrap();
        assert!(root.makes(&[]).ends_with(&format!(": 9 services for {supervisor}, 9 new\n")));
        assert!(root.read("var/qmail/svc/qmail-send/log/run").contains(logger));
        assert!(fs::symlink_metadata(root.path("etc/service/qmail-send")).is_ok() && !root.path("service").exists());
    }
}

#[test]
fn a_unit_that_a_package_brought_is_not_made_again() {
    let root = Root::new();
    root.put("usr/lib/systemd/system/qmail-smtpd.service", "a package's\n");
    root.makes(&["--supervisor", "systemd"]);
    let made = |unit: &str| root.path("etc/systemd/system").join(unit).exists();
    assert!(made("qmail-send.service") && made("qmail-smtpd@.service") && !made("qmail-smtpd.service"));
    assert!(root.read("etc/systemd/system/qmail-send.service").contains("=/var/qmail/svc/qmail-send/run\n"));
    assert!(root.makes(&["--supervisor", "systemd"]).ends_with(" 0 new\n"));
}

#[test]
fn home_and_accounts_are_those_of_conf() {
    let mut root = Root::new();
    root.copy_sources();
    root.put("sources/conf/home", "/srv/mail\n");
    root.put("sources/conf/users", "_alias\n_daemon\n_log\nroot\n_passwd\n_queue\n_remote\n_send\n");
    root.put("sources/conf/groups", "_mail\n_nothing\n");
    for supervisor in ["daemontools", "runit", "s6", "systemd"] {
        for old in ["srv", "service"].map(|dir| root.path(dir)) {
            fs::remove_dir_all(old).unwrap_or_default();
        }
        root.makes(&["--supervisor", supervisor]);
        let dirs = ["srv", "etc"].map(|dir| root.path(dir)).into_iter().filter(|dir| dir.exists());
        let made: Vec<PathBuf> = dirs.flat_map(|dir| files(&dir)).filter(|file| !file.is_symlink()).collect();
        assert!(made.len() >= 6);
        for file in made {
            let text = fs::read_to_string(&file).unwrap();
            for usual in ["/var/qmail", "qmaild", "qmaill", "nofiles"] {
                assert!(!text.contains(usual), "{}: {usual}", file.display());
            }
        }
    }
    assert!(root.read("srv/mail/svc/qmail-smtpd/run").contains("\nhome=/srv/mail\nuser=_daemon\n"));
    let unit = root.read("etc/systemd/system/qmail-smtpd@.service");
    assert!(unit.contains("--reuid=_daemon --regid=_nothing ") && unit.contains("ReadWritePaths=/srv/mail/queue\n"));
}

#[test]
fn without_a_default_delivery_no_mail_is_thrown_away() {
    let mut root = Root::new();
    root.copy_sources();
    root.put("sources/conf/home", &format!("{}\n", root.path("home").display()));
    root.put("home/bin/qmail-start", "#!/bin/sh\necho started with \"$@\"\n");
    fs::set_permissions(root.path("home/bin/qmail-start"), Permissions::from_mode(0o755)).unwrap();
    root.makes(&["--supervisor", "daemontools"]);
    let file = files(root.dir.path()).into_iter().find(|f| f.ends_with("svc/qmail-send/run")).unwrap();
    for (delivery, code, says) in
        [(None, 111, "missing"), (Some(""), 111, "missing"), (Some("|a\n|b\n"), 0, "|a\n|b\n")]
    {
        if let Some(delivery) = delivery {
            root.put("home/control/defaultdelivery", delivery);
        }
        let done = run(&mut Command::new(&file), b"");
        assert_eq!(done.status.code(), Some(code));
        assert!(stdout(&done).contains(says), "{}", stdout(&done));
    }
}

#[test]
fn wrong_usage_is_100() {
    let root = Root::new();
    for args in [&["--supervisor", "upstart"][..], &["--supervisor"], &["--home", "/x"], &["x"]] {
        let (code, said) = root.make(args);
        assert_eq!(code, Some(100), "{said}");
        assert!(said.starts_with("package/service: usage: "), "{said}");
    }
    assert_eq!(fs::read_dir(root.dir.path()).unwrap().count(), 0);
}
