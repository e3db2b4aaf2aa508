//! A whole site for a test: the staged tree at its home, with its owners and its set-user-ID program, our sendmail
//! where programs look for one, two users, and the queue running; all in name spaces of its own (mount, process,
//! network, host name), so that nothing of this host is changed and nothing is left when the test ends.
//!
//! Needs root, the staged tree (STAGE) and util-linux; a test without them says so and passes.

use crate::{am_root, files, run};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the site is called.
pub const HOST: &str = "here.example";
/// The users; each has a Maildir. root, too, can run commands.
pub const USERS: [(&str, u32); 2] = [("joe", 61001), ("ann", 61002)];
const USERS_GROUP: u32 = 61000;
/// How long a test waits for something that should take a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// What one command may take (timeout(1)).
const COMMAND_SECS: &str = "40";

/// Lays the name spaces out, says so on fd 1, and stays as their process 1 until fd 0 ends; everything else in them
/// ends then. Arguments: an empty directory, the staged home, and home.
const INIT: &str = r#"
set -e
mount -t tmpfs -o mode=755,suid site "$1"
cd "$1"
mkdir run tmp tree sbin var var/cache var/home var/lib var/log var/mail var/sbin var/spool var/tmp
chmod 1777 tmp var/tmp
chgrp mail var/mail && chmod 2775 var/mail
ln -s ../mail var/spool/mail
ln -s /run /run/lock var
cp -a /etc etc
cp -a "$2/bin" "$2/queue" tree
mkdir tree/alias tree/control tree/users
for name in /usr/sbin/*; do ln -s "/var/sbin/${name##*/}" sbin; done
ln -sf "$3/bin/sendmail" "$3/bin/mailq" "$3/bin/newaliases" sbin
mount --bind var /var
mount --bind /usr/sbin /var/sbin
mkdir -p "$3"
for pair in tree:"$3" sbin:/usr/sbin etc:/etc run:/run tmp:/tmp; do
  mount --bind "${pair%%:*}" "${pair#*:}"
done
mount -t proc proc /proc
mount -t sysfs sys /sys
echo 0x49 >/sys/class/net/lo/flags
echo ready
read -r _ || :
"#;

/// Where commands in the site are looked for; the classic place is last, since the hosts of some tests have programs of
/// the same names.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// A running site; it ends with all its processes when dropped.
pub struct Site {
    /// unshare(1), in the name spaces itself; its child is their process 1.
    init: Child,
    /// What was started to go on running.
    services: Vec<Child>,
    /// Where the name spaces' file system was mounted; nothing is in it for this host.
    _dir: tempfile::TempDir,
}

impl Site {
    /// A site whose queue runs, with this default delivery; `None` as for [`Site::prepare`].
    pub fn boot(programs: &[&str], delivery: &str) -> Option<Site> {
        let mut site = Site::prepare(programs)?;
        site.start(delivery);
        Some(site)
    }

    /// A site in which no program runs yet; or says on fd 2 why that can not be done: not root, no staged tree, or one
    /// of the `programs` (absolute, or in PATH) is not there.
    pub fn prepare(programs: &[&str]) -> Option<Site> {
        let stage = std::env::var("STAGE").unwrap_or_default();
        let skip = |why: &str| eprintln!("skipped: {why}");
        if !am_root() {
            skip("needs root for name spaces of its own");
            return None;
        }
        if !Path::new(&stage).join("bin/qmail-start").exists() {
            skip("needs the staged tree, named by STAGE");
            return None;
        }
        if let Some(missing) = programs.iter().chain(&["unshare", "nsenter", "setpriv"]).find(|p| !found(p)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let site = Site::lay_out(&stage)?;
        site.own();
        site.settings();
        Some(site)
    }

    /// Starts the queue, and waits until it runs.
    pub fn start(&mut self, delivery: &str) {
        let home = conf::HOME;
        let start = format!("cd {home}; exec env - PATH={home}/bin:/usr/bin:/bin bin/qmail-start '{delivery}'");
        self.serve(&format!("{start} >/var/log/qmail 2>&1"), None);
        self.wait_for_log("status: local 0/");
    }

    /// The name spaces with everything in place, no program started yet.
    fn lay_out(stage: &str) -> Option<Site> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "sh", "-c", INIT, "sh"]);
        command.arg(dir.path()).args([stage, conf::HOME]).env_clear().env("PATH", PATH).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut init = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line == "ready\n" {
            return Some(Site { init, services: vec![], _dir: dir });
        }
        let mut why = String::new();
        init.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        init.wait().unwrap();
        eprintln!("skipped: no name spaces here: {why}");
        None
    }

    /// Accounts, and the owners and modes that package/table gives the tree.
    fn own(&self) {
        use conf::names::{ALIAS, NOFILES, OWNER, QMAIL, QMAILD, QMAILL, QMAILP, QMAILQ, QMAILR, QMAILS};
        let groups = [(QMAIL, 61101), (NOFILES, 61102)];
        let mail = [ALIAS, QMAILD, QMAILL, QMAILP, QMAILQ, QMAILR, QMAILS].into_iter().zip(61201..).collect::<Vec<_>>();
        let group_of = |user| if [QMAILQ, QMAILR, QMAILS].contains(&user) { groups[0].1 } else { groups[1].1 };
        let mut passwd: Vec<_> = mail
            .iter()
            .map(|&(name, uid)| format!("{name}:x:{uid}:{}::{}/alias:/bin/false", group_of(name), conf::HOME))
            .collect();
        passwd
            .extend(USERS.iter().map(|(name, uid)| format!("{name}:x:{uid}:{USERS_GROUP}::/var/home/{name}:/bin/sh")));
        self.accounts("/etc/passwd", &passwd);
        let mut group: Vec<_> = groups.iter().map(|(name, gid)| format!("{name}:x:{gid}:")).collect();
        group.push(format!("people:x:{USERS_GROUP}:"));
        self.accounts("/etc/group", &group);
        let ids: String = mail
            .iter()
            .chain(&[(OWNER, 0)])
            .map(|(name, uid)| format!("user {name} {uid}\n"))
            .chain(groups.iter().map(|(name, gid)| format!("group {name} {gid}\n")))
            .collect();
        self.put(&home("users/ids"), &ids);
        // The roles of the table, in the order of conf/users and conf/groups.
        let roles = ["alias", "daemon", "log", "owner", "passwd", "queue", "remote", "send"];
        let role_names = [ALIAS, QMAILD, QMAILL, OWNER, QMAILP, QMAILQ, QMAILR, QMAILS];
        let uid = |role: &str| {
            let name = role_names[roles.iter().position(|r| *r == role).unwrap()];
            mail.iter().find(|(n, _)| *n == name).map_or(0, |&(_, uid)| uid)
        };
        let gid = |role: &str| if role == "mail" { groups[0].1 } else { groups[1].1 };
        let table = include_str!("../../package/table");
        for line in table.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
            let [kind, path, owner, group, mode, _] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("package/table: {line}");
            };
            let numbered =
                if kind == "split" { (0..conf::SPLIT).map(|n| format!("{path}/{n}")).collect() } else { vec![] };
            for path in [path.to_string()].iter().chain(&numbered) {
                let file = self.path(&home(path));
                // Documents are left out.
                if kind == "link" || !file.exists() {
                    continue;
                }
                lchown(&file, Some(uid(owner)), Some(gid(group))).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
            }
        }
    }

    /// Puts these lines into an account file, in place of those with the same names.
    fn accounts(&self, file: &str, lines: &[String]) {
        let name = |line: &str| line.split(':').next().unwrap().to_string();
        let ours: Vec<_> = lines.iter().map(|line| name(line)).collect();
        let old = fs::read_to_string(self.path(file)).unwrap();
        let others = old.lines().filter(|line| !ours.contains(&name(line))).map(str::to_string);
        let text: String = others.chain(lines.iter().cloned()).map(|line| line + "\n").collect();
        self.put(file, &text);
    }

    /// Host name, control files, homes.
    fn settings(&self) {
        self.put("/etc/hosts", &format!("127.0.0.1 localhost\n127.0.0.1 {HOST}\n"));
        // Nothing answers there, at once.
        self.remove("/etc/resolv.conf");
        self.put("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        self.put("/etc/mailname", &format!("{HOST}\n"));
        self.put(&home("control/me"), &format!("{HOST}\n"));
        for name in ["locals", "rcpthosts"] {
            self.put(&home(&format!("control/{name}")), &format!("{HOST}\nlocalhost\n"));
        }
        for (name, uid) in USERS {
            let dir = format!("/var/home/{name}");
            fs::create_dir(self.path(&dir)).unwrap();
            self.give(&dir, uid);
        }
        self.sh("root", "hostname \"$0\"", &[HOST], b"");
        for (name, _) in USERS {
            self.sh(name, "$0/bin/maildirmake Maildir", &[conf::HOME], b"");
        }
        self.sh(
            "alias",
            "cd $0/alias; $0/bin/maildirmake Maildir; echo ./Maildir/ >.qmail-postmaster",
            &[conf::HOME],
            b"",
        );
        self.rules("smtpd", "127.0.0.1:allow,RELAYCLIENT=\"\"\n:allow\n");
    }

    /// A file of the site, as this process reaches it. Links in it that are absolute lead astray.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{name}", self.init.id()))
    }

    /// Writes a file of root's.
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Copies a directory of this host into the site.
    pub fn bring_in(&self, from: &Path, to: &str) {
        assert!(Command::new("cp").arg("-a").arg(from).arg(self.path(to)).status().unwrap().success());
    }

    /// Writes a file in a user's home.
    pub fn put_for(&self, user: &str, name: &str, text: &str) {
        let file = format!("/var/home/{user}/{name}");
        self.put(&file, text);
        self.give(&file, USERS.iter().find(|(n, _)| *n == user).unwrap().1);
        // fetchmail and others keep away from what others may read.
        fs::set_permissions(self.path(&file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn give(&self, name: &str, uid: u32) {
        chown(self.path(name), Some(uid), Some(USERS_GROUP)).unwrap();
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// What a file in a user's home holds.
    pub fn text(&self, user: &str, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(&format!("/var/home/{user}/{name}"))).unwrap()).into_owned()
    }

    /// Compiles control/rules.NAME.cdb, with our tcprules.
    pub fn rules(&self, name: &str, text: &str) {
        let file = home(&format!("control/rules.{name}"));
        self.sh("root", "$0/bin/tcprules $1.cdb $1.tmp", &[conf::HOME, &file], text.as_bytes());
    }

    /// A command line of sh in the site, as `user`, in the user's home and with nothing but a login's variables;
    /// `words` stand before the shell.
    fn command(&self, user: &str, words: &[&str], script: &str, args: &[&str]) -> Command {
        let pid = self.init.id();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid.to_string(), "-m", "-n", "-u", "-i", &format!("-p/proc/{pid}/ns/pid_for_children")]);
        command.args(["setpriv", &format!("--reuid={user}"), "--init-groups"]);
        let (gid, dir) = match user {
            "root" => ("0".to_string(), "/root".to_string()),
            "alias" => ("61102".to_string(), home("alias")),
            _ => (USERS_GROUP.to_string(), format!("/var/home/{user}")),
        };
        command.arg(format!("--regid={gid}")).args(words).args(["sh", "-c", &format!("cd; {script}")]).args(args);
        command.env_clear().envs([
            ("PATH", PATH),
            ("HOME", &dir),
            ("USER", user),
            ("LOGNAME", user),
            ("SHELL", "/bin/sh"),
        ]);
        command.env("TERM", "vt100");
        command
    }

    /// Runs a command line of sh that may fail; 124 is the exit code of one that takes too long.
    pub fn try_sh(&self, user: &str, script: &str, args: &[&str], input: &[u8]) -> Output {
        run(&mut self.command(user, &["timeout", COMMAND_SECS], script, args), input)
    }

    /// Runs a command line of sh that must not fail; what it wrote to fd 1.
    pub fn sh(&self, user: &str, script: &str, args: &[&str], input: &[u8]) -> String {
        let done = self.try_sh(user, script, args, input);
        assert!(
            done.status.success(),
            "{script}: {:?}\n{}{}\n{}",
            done.status,
            crate::stdout(&done),
            crate::stderr(&done),
            self.log()
        );
        crate::stdout(&done)
    }

    /// Starts a command line of sh as root that goes on running. With `port`: waits until that port is open.
    pub fn serve(&mut self, script: &str, port: Option<u16>) {
        let mut command = self.command("root", &[], script, &[]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.services.push(command.spawn().unwrap());
        if let Some(port) = port {
            self.wait(&format!("port {port}"), || self.is_open(port));
        }
    }

    /// Our SMTP server on port 25, in front of it our tcpserver. All clients but 127.0.0.1 are strangers.
    pub fn serve_smtp(&mut self) {
        let bin = home("bin");
        let options = format!("-vRHl {HOST} -x {} -u qmaild -g nofiles", home("control/rules.smtpd.cdb"));
        let script = format!("exec env - PATH={bin} tcpserver {options} 0 25 qmail-smtpd >>/var/log/smtpd 2>&1");
        self.serve(&script, Some(25));
    }

    /// Whether a process of the site listens on this port.
    fn is_open(&self, port: u16) -> bool {
        let is_it = |line: &str| {
            let mut words = line.split_whitespace();
            // The second is the local address, the fourth the state: 0A is LISTEN.
            words.nth(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && words.nth(1) == Some("0A")
        };
        ["tcp", "tcp6"].iter().any(|kind| {
            let table = fs::read_to_string(format!("/proc/{}/net/{kind}", self.init.id())).unwrap_or_default();
            table.lines().any(is_it)
        })
    }

    /// Waits until `done` is true.
    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "waited in vain for {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log of qmail-send has this text.
    pub fn wait_for_log(&self, text: &str) {
        self.wait(text, || fs::read_to_string(self.path("/var/log/qmail")).unwrap_or_default().contains(text));
    }

    /// Waits until the queue is empty.
    pub fn settle(&self) {
        let queue = self.path(&home("queue"));
        let empty = |dir: &&str| files(&queue.join(dir)).is_empty();
        self.wait("an empty queue", || ["mess", "intd", "todo", "info", "local", "remote", "bounce"].iter().all(empty));
    }

    /// Waits until the queue is empty; then the messages in a maildir of the user, in no order.
    pub fn mail(&self, user: &str, maildir: &str) -> Vec<String> {
        self.settle();
        let dir = self.path(&format!("/var/home/{user}/{maildir}"));
        let mut found = files(&dir.join("new"));
        found.extend(files(&dir.join("cur")));
        found.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
    }

    /// The only message in the user's Maildir; taken out of it.
    pub fn only(&self, user: &str) -> String {
        let mut mail = self.mail(user, "Maildir");
        assert_eq!(mail.len(), 1, "{user} has {mail:#?}\n{}", self.log());
        self.sh(user, "rm Maildir/new/* Maildir/cur/* 2>/dev/null; :", &[], b"");
        mail.remove(0)
    }

    /// The logs of qmail-send and of the servers, ours and others.
    pub fn log(&self) -> String {
        ["qmail", "smtpd", "peer"]
            .iter()
            .map(|n| fs::read_to_string(self.path(&format!("/var/log/{n}"))).unwrap_or_default())
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Process 1 ends, and with it, before it is gone, every other process of the site.
        drop(self.init.stdin.take());
        let _ = self.init.wait();
        for service in &mut self.services {
            let _ = service.wait();
        }
    }
}

/// A path below the site's home.
pub fn home(path: &str) -> String {
    format!("{}/{path}", conf::HOME)
}

/// Whether a program, by its name in PATH or by its file, is there.
fn found(program: &&&str) -> bool {
    program.starts_with('/') && Path::new(program).exists()
        || !program.contains('/') && PATH.split(':').any(|dir| Path::new(dir).join(program).exists())
}

/// The value of a header field of a message; empty if it has none.
pub fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let header = message.split("\n\n").next().unwrap_or_default();
    let line = header.lines().find(|l| l.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)));
    line.and_then(|l| l.get(name.len()..)?.strip_prefix(':')).map_or("", str::trim)
}

/// What follows the header.
pub fn body(message: &str) -> &str {
    message.split_once("\n\n").map_or("", |(_, body)| body)
}
