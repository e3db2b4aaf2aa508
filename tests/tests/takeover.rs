//! A site that runs another qmail is swapped under the eyes of its users, and given back: package/upgrade and
//! package/install (spec/install.md 8).
//!
//! The first test needs a notqmail: QMAIL_PEER is the path of its home. All are skipped where they cannot be run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use whole_system::host::{
    Host, Seen, assert_same, on_a_host_of_its_own, package, programs_are_collected, skip, sources, step, tree, until,
};
use whole_system::{run, stderr, stdout};

/// Recipient and subject of what arrived, and how often.
type Arrived = BTreeMap<(String, String), usize>;

/// Home, where the host has it.
fn home() -> &'static Path {
    Path::new(conf::HOME)
}

/// Local users that no account database knows: users/assign does.
const USERS: [(&str, u32); 3] = [("ann", 61002), ("joe", 61001), ("list", 61003)];
const GROUP: u32 = 61000;

// ---------------------------------------------------------------- the other side

/// An SMTP server that takes mail for now@ at once and mail for later@ only when it is told to.
struct Sink {
    port: u16,
    open: Arc<AtomicBool>,
    arrived: Arc<Mutex<Arrived>>,
}

impl Sink {
    fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Sink {
            port: listener.local_addr().unwrap().port(),
            open: Arc::new(AtomicBool::new(false)),
            arrived: Arc::default(),
        };
        let (open, arrived) = (sink.open.clone(), sink.arrived.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (open, arrived) = (open.clone(), arrived.clone());
                std::thread::spawn(move || {
                    // A client that goes away is none of this test's business: what it sent counts for nothing.
                    let _ = serve(connection.unwrap(), &open, &arrived);
                });
            }
        });
        sink
    }

    /// Forgets what came, and whether later@ is served.
    fn reset(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.arrived.lock().unwrap().clear();
    }
}

fn serve(stream: TcpStream, open: &AtomicBool, arrived: &Mutex<Arrived>) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let mut recipients = Vec::new();
    to.write_all(b"220 sink.test\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "RCPT" if line.contains("later") && !open.load(Ordering::SeqCst) => b"450 not yet\r\n",
            "RCPT" => {
                recipients.push(line.split(['<', '>']).nth(1).unwrap_or_default().to_string());
                b"250 ok\r\n"
            }
            "DATA" if recipients.is_empty() => b"554 no recipients\r\n",
            "DATA" => {
                to.write_all(b"354 go on\r\n")?;
                let mut subject = String::new();
                loop {
                    let Some(line) = lines.next().transpose()? else { return Ok(()) };
                    if let Some(text) = line.strip_prefix("Subject: ") {
                        subject = text.to_string();
                    }
                    if line == "." {
                        break;
                    }
                }
                for recipient in recipients.drain(..) {
                    *arrived.lock().unwrap().entry((recipient, subject.clone())).or_default() += 1;
                }
                b"250 taken\r\n"
            }
            "QUIT" => {
                to.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        to.write_all(answer)?;
    }
    Ok(())
}

// ---------------------------------------------------------------- the site

/// The site, with its own run scripts under daemontools. Nothing in `service` is written after [`Site::new`].
struct Site<'a> {
    host: &'a Host,
    sink: Sink,
    service: PathBuf,
    svscan: Child,
}

impl Site<'_> {
    fn new<'a>(host: &'a Host, sink: Sink) -> Site<'a> {
        let at = host.scratch().display().to_string();
        let put = |name: &str, text: &str| fs::write(home().join(name), text).unwrap();
        put("control/me", "me.test\n");
        put("control/locals", "me.test\n");
        put("control/rcpthosts", "me.test\n");
        put("control/smtproutes", &format!(":127.0.0.1:{}\n", sink.port));
        put("control/concurrencylocal", "40\n");
        put("control/concurrencyremote", "40\n");
        let mut assign = String::new();
        for (user, uid) in USERS {
            let dir = format!("{at}/home/{user}");
            assign += &format!("={user}:{user}:{uid}:{GROUP}:{dir}:::\n+{user}-:{user}:{uid}:{GROUP}:{dir}:-::\n");
            maildir(Path::new(&dir), uid);
        }
        put("users/assign", &(assign + ".\n"));
        host.sh(&format!("{}/bin/qmail-newu", conf::HOME));
        fs::write(format!("{at}/home/joe/.qmail-wait"), format!("|test -f {at}/go || exit 111\n./Maildir/\n")).unwrap();
        fs::write(format!("{at}/home/list/.qmail-team"), "&ann@me.test\n&joe-wait@me.test\n&later@far.test\n").unwrap();
        let service = host.scratch().join("service");
        fs::create_dir_all(service.join("qmail-send/log/main")).unwrap();
        let script = |name: &str, text: &str| {
            fs::write(service.join("qmail-send").join(name), text).unwrap();
            fs::set_permissions(service.join("qmail-send").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let path = format!("PATH=\"{}/bin:/usr/local/bin:/usr/bin:/bin\"", conf::HOME);
        script("run", &format!("#!/bin/sh\nexec env - {path} qmail-start ./Maildir/ 2>&1\n"));
        script("log/run", "#!/bin/sh\nexec setuidgid qmaill multilog t s16777215 ./main\n");
        host.sh("chown qmaill $S/service/qmail-send/log/main");
        let svscan = Command::new("svscan").arg(&service).stdin(Stdio::null()).spawn().unwrap();
        let site = Site { host, sink, service, svscan };
        site.wait_for("up");
        site.wait_for_log("status: local ", 1);
        site
    }

    fn svc(&self, option: &str) {
        self.host.sh(&format!("svc {option} $S/service/qmail-send"));
    }

    /// Waits for what svstat says.
    fn wait_for(&self, state: &str) {
        until(&format!("qmail-send {state}"), || {
            let said = run(Command::new("svstat").arg(self.service.join("qmail-send")), b"");
            stdout(&said).contains(&format!(": {state} ")).then_some(())
        });
    }

    fn stop(&self) {
        self.svc("-d");
        self.wait_for("down");
    }

    /// Starts it again, with all that held deliveries back gone, and has everything tried now.
    fn start_and_deliver(&self) {
        fs::write(self.host.scratch().join("go"), "").unwrap();
        self.sink.open.store(true, Ordering::SeqCst);
        let started = self.count("status: local 0/40 remote 0/40");
        self.svc("-u");
        self.wait_for_log("status: local 0/40 remote 0/40", started + 1);
        self.svc("-a");
        until_empty();
        self.stop();
    }

    fn log(&self) -> String {
        String::from_utf8(fs::read(self.service.join("qmail-send/log/main/current")).unwrap_or_default()).unwrap()
    }

    fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    fn wait_for_log(&self, text: &str, times: usize) {
        until(&format!("{times} of {text}"), || (self.count(text) >= times).then_some(()));
    }

    /// Queues one message with whatever qmail-inject the site has now.
    fn inject(&self, subject: &str, to: &[&str]) {
        let mut command = Command::new(home().join("bin/qmail-inject"));
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["-a", "-fsender@me.test"]).args(to);
        let done = run(&mut command, format!("Subject: {subject}\n\nbody\n").as_bytes());
        assert!(done.status.success(), "{subject}: {}", stderr(&done));
    }

    /// Queues 500 messages, most of them while qmail-send runs, and stops it. Returns what is to arrive.
    fn fill(&self, letter: &str) -> Arrived {
        self.sink.reset();
        let _ = fs::remove_file(self.host.scratch().join("go"));
        let mut wanted = Arrived::new();
        let mut n = 0;
        let mut send = |times: usize, to: &[&str], arrives: &[&str]| {
            for _ in 0..times {
                n += 1;
                let subject = format!("{letter}{n:03}");
                self.inject(&subject, to);
                wanted.extend(arrives.iter().map(|r| ((r.to_string(), subject.clone()), 1)));
            }
        };
        let (deferred, done) = (self.count("deferral: "), self.count("success: "));
        // Deferred; half-delivered by a list in a .qmail file, and to the recipients of one envelope.
        send(120, &["joe-wait@me.test"], &["joe-wait@me.test"]);
        send(120, &["later@far.test"], &["later@far.test"]);
        let team = ["ann@me.test", "joe-wait@me.test", "later@far.test"];
        send(30, &["list-team@me.test"], &team);
        let four = ["joe@me.test", "now@far.test", "joe-wait@me.test", "later@far.test"];
        send(30, &four, &four);
        self.wait_for_log("deferral: ", deferred + 120 + 120 + 60 + 60);
        self.wait_for_log("success: ", done + 30 + 30 + 60);
        self.stop();
        // Nobody preprocesses these any more.
        send(100, &["ann@me.test"], &["ann@me.test"]);
        send(100, &["now@far.test"], &["now@far.test"]);
        assert_eq!((queue(&["mess"]).len(), queue(&["info"]).len(), queue(&["todo"]).len()), (500, 300, 200));
        wanted
    }

    /// Queues 150 messages, and kills qmail-send while it is at work on the second third of them. Returns what is to
    /// arrive.
    fn fill_and_kill(&self, letter: &str) -> Arrived {
        self.sink.reset();
        let _ = fs::remove_file(self.host.scratch().join("go"));
        let mut wanted = Arrived::new();
        for n in 0..150 {
            if n == 100 {
                self.svc("-dk");
            }
            let subject = format!("{letter}{n:03}");
            let to = ["ann@me.test", "joe-wait@me.test", "later@far.test", "now@far.test"];
            let to = if n % 3 == 0 { &to[..] } else { &to[n % 4..][..1] };
            self.inject(&subject, to);
            wanted.extend(to.iter().map(|r| ((r.to_string(), subject.clone()), 1)));
        }
        self.wait_for("down");
        wanted
    }

    /// What came since [`Site::fill`], on both sides; the mailboxes are emptied.
    fn arrived(&self) -> Arrived {
        let mut all = self.sink.arrived.lock().unwrap().clone();
        for (user, _) in USERS {
            for file in whole_system::files(&self.host.scratch().join(format!("home/{user}/Maildir/new"))) {
                let text = fs::read_to_string(&file).unwrap();
                let field = |name| text.lines().find_map(|l| l.strip_prefix(name)).unwrap().to_string();
                *all.entry((field("Delivered-To: "), field("Subject: "))).or_default() += 1;
                fs::remove_file(file).unwrap();
            }
        }
        all
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(40);
            log.lines().skip(from).for_each(|l| eprintln!("{l}"));
        }
        let _ = self.svscan.kill();
        let _ = self.svscan.wait();
    }
}

fn maildir(dir: &Path, uid: u32) {
    for sub in ["", "Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
        chown(dir.join(sub), Some(uid), Some(GROUP)).unwrap();
    }
}

/// The files of these parts of the queue, by part and number, wherever they are in it.
fn queue(parts: &[&str]) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    for part in parts {
        for (path, seen) in tree(&home().join("queue").join(part)) {
            if let Some(name) = path.file_name().filter(|_| seen.mode & 0o170_000 == 0o100_000) {
                found.insert(Path::new(part).join(name), seen);
            }
        }
    }
    found
}

/// Waits until every message has left the queue.
fn until_empty() {
    let files = |dir| whole_system::files(&home().join("queue").join(dir)).len();
    until("an empty queue", || ["mess", "info", "todo"].iter().all(|d| files(d) == 0).then_some(()));
}

const PARTS: [&str; 7] = ["mess", "todo", "intd", "info", "local", "remote", "bounce"];

/// The times that say when a message was born and when it is to be tried again.
fn times() -> BTreeMap<PathBuf, i64> {
    let dirs = ["info", "local", "remote"].map(|d| home().join("queue").join(d));
    let files = dirs.iter().flat_map(|d| whole_system::files(d));
    files.map(|f| (f.clone(), fs::metadata(&f).unwrap().mtime())).collect()
}

/// Home without its queue, and without what a takeover only adds.
fn without_queue() -> BTreeMap<PathBuf, Seen> {
    let mut all = tree(home());
    all.retain(|path, _| !path.starts_with("queue"));
    all
}

/// A line of the classic log, behind the time stamp (qmail-log(5)).
fn is_classic(line: &str) -> bool {
    let number = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit());
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["new" | "end", "msg", n] => number(n),
        ["bounce", "msg", n, "qp", qp] => number(n) && number(qp),
        ["info", "msg", n, "bytes", b, "from", from, "qp", qp, "uid", uid] => {
            let from = from.starts_with('<') && from.ends_with('>');
            n.strip_suffix(':').is_some_and(number) && number(b) && from && number(qp) && number(uid)
        }
        ["starting", "delivery", d, "msg", n, "to", "local" | "remote", address] => {
            d.strip_suffix(':').is_some_and(number) && number(n) && address.contains('@')
        }
        ["delivery", d, "success:" | "failure:" | "deferral:", report] => {
            d.strip_suffix(':').is_some_and(number) && report.bytes().all(|b| b.is_ascii_graphic())
        }
        ["status:", "exiting"] => true,
        ["status:", "local", l, "remote", r, rest @ ..] => {
            let pair = |w: &str| w.split_once('/').is_some_and(|(a, b)| number(a) && number(b));
            pair(l) && pair(r) && (rest.is_empty() || rest == ["exitasap"])
        }
        _ => false,
    }
}

fn check_log(log: &str) {
    for line in log.lines() {
        let (stamp, rest) = line.split_once(' ').unwrap();
        let proper = stamp.strip_prefix('@').is_some_and(|s| s.len() == 24 && s.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(proper && is_classic(rest), "no line of the classic log: {line}");
    }
}

fn refused(words: &[&str], why: &str) {
    let done = package(&sources(), words);
    assert_eq!(done.status.code(), Some(111), "{words:?}: {}", stdout(&done));
    assert!(stderr(&done).contains(why), "{}", stderr(&done));
}

// ---------------------------------------------------------------- notqmail

#[test]
fn a_notqmail_site_with_500_messages_is_taken_over_and_given_back() {
    if std::env::var_os("QMAIL_PEER").is_none() {
        return skip("QMAIL_PEER is not the home of a notqmail");
    }
    let test = "a_notqmail_site_with_500_messages_is_taken_over_and_given_back";
    on_a_host_of_its_own(test, &DAEMONTOOLS, |host| {
        install_peer(host);
        let site = Site::new(host, Sink::start());
        let before = without_queue();
        let scripts = tree(&site.service.join("qmail-send"));
        let scripts = |name: &str| scripts[Path::new(name)].clone();

        refused(&["upgrade"], "qmail-send is running");
        refused(&["install"], "qmail-send is running");
        let wanted = site.fill("a");
        assert_same("a refusal changed something", &before, &without_queue(), false);

        fs::write(home().join("queue/pid/1.2.3"), "half a mess").unwrap();
        refused(&["upgrade"], "a qmail-queue is at work");
        fs::remove_file(home().join("queue/pid/1.2.3")).unwrap();
        let mut injector = Command::new(home().join("bin/qmail-queue"));
        let mut injector = injector.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        until("a message that is begun", || (queue(&["mess"]).len() == 501).then_some(()));
        refused(&["upgrade"], "is at work in");
        drop(injector.stdin.take());
        assert!(!injector.wait().unwrap().success());
        let (files, when) = (queue(&PARTS), times());
        host.must(&["upgrade"]);
        host.must(&["install"]);
        assert_same("the queue changed", &files, &queue(&PARTS), true);
        assert_eq!(when, times());
        assert_same("bin.old is not bin", &below(&before, "bin"), &tree(&home().join("bin.old")), false);
        host.must(&["install", "--check"]);
        for dir in ["control", "alias", "users"] {
            let mut now = tree(&home().join(dir));
            now.remove(Path::new("ids"));
            assert_same(dir, &below(&before, dir), &now, false);
        }

        site.start_and_deliver();
        assert_eq!(site.arrived(), wanted);

        // And back: on the way home with a todo that was split.
        host.must(&["upgrade", "-s"]);
        site.svc("-u");
        site.wait_for("up");
        // Ours is brought up to date while it runs.
        host.must(&["install"]);
        let wanted = site.fill("b");
        site.svc("-u");
        site.wait_for("up");
        refused(&["upgrade", "-r"], "qmail-send is running");
        site.stop();
        for n in 0..50 {
            // Some of the former were preprocessed meanwhile; these stay in todo.
            site.inject(&format!("c{n:03}"), &["ann@me.test"]);
        }
        let files = queue(&PARTS);
        assert!(files.keys().filter(|p| p.starts_with("todo")).count() >= 50 && home().join("queue/todo/22").exists());
        host.must(&["upgrade", "-r"]);
        assert_same("the queue changed", &files, &queue(&PARTS), true);
        assert!(!home().join("queue/todo/0").exists() && !home().join("queue/intd/22").exists());
        assert_same("not what it was", &before, &without_queue(), false);
        host.must(&["upgrade", "-s"]);
        host.must(&["upgrade", "-r"]);
        assert_same("the queue changed", &files, &queue(&PARTS), true);

        site.start_and_deliver();
        let mut wanted = wanted;
        wanted.extend((0..50).map(|n| (("ann@me.test".to_string(), format!("c{n:03}")), 1)));
        assert_eq!(site.arrived(), wanted);
        check_log(&site.log());
        for name in ["run", "log/run"] {
            let now = &tree(&site.service.join("qmail-send"))[Path::new(name)];
            assert!(*now == scripts(name), "{name} changed");
        }
    });
}

#[test]
fn a_site_that_was_killed_is_taken_over_and_given_back_without_loss() {
    if std::env::var_os("QMAIL_PEER").is_none() {
        return skip("QMAIL_PEER is not the home of a notqmail");
    }
    let test = "a_site_that_was_killed_is_taken_over_and_given_back_without_loss";
    on_a_host_of_its_own(test, &DAEMONTOOLS, |host| {
        install_peer(host);
        let site = Site::new(host, Sink::start());
        for (letter, change) in [("a", &["install"][..]), ("b", &["upgrade", "-r"])] {
            let wanted = site.fill_and_kill(letter);
            host.must(change);
            site.start_and_deliver();
            let arrived = site.arrived();
            // What was under way may come twice, nothing may be missing.
            assert_eq!(arrived.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{change:?}");
            site.svc("-u");
            site.wait_for("up");
        }
    });
}

/// A part of a tree, as if it were one.
fn below(tree: &BTreeMap<PathBuf, Seen>, dir: &str) -> BTreeMap<PathBuf, Seen> {
    let inside =
        tree.iter().filter_map(|(path, seen)| Some((path.strip_prefix(dir).ok()?.to_path_buf(), seen.clone())));
    inside.collect()
}

/// What a test with a site of the peer's runs.
const DAEMONTOOLS: [&str; 7] = ["svscan", "svstat", "svc", "setuidgid", "multilog", "useradd", "groupadd"];

/// Lays out the peer as its own installer does, with an empty queue.
fn install_peer(host: &Host) {
    host.forget_accounts();
    host.must(&["ids"]);
    host.sh(&format!(
        "cp -a \"$QMAIL_PEER\"/. {home}
        cd {home}
        find queue -type f ! -path 'queue/lock/*' -exec rm {{}} +
        rm -f control/* users/* alias/.qmail*
        chown -R root:qmail .
        chown alias alias
        chown -R qmailq queue bin/qmail-queue
        chown -R qmails queue/bounce queue/info queue/local queue/remote queue/lock/sendmutex queue/lock/trigger
        chown qmailr queue/lock/tcpto
        chmod 4711 bin/qmail-queue",
        home = conf::HOME
    ));
}

// ---------------------------------------------------------------- s/qmail

/// Accounts and a home as s/qmail has them: another group, todo and intd split, tcpto in its own records; programs that
/// do nothing.
fn lay_out_sqmail(host: &Host) {
    host.forget_accounts();
    host.sh(&format!(
        "printf 'sqmail:x:61101:\\nnofiles:x:61102:\\n' >>/etc/group
        n=61200
        accounts='alias:61102 qmaild:61102 qmaill:61102 qmailp:61102 qmailq:61101 qmailr:61101 qmails:61101'
        for u in $accounts sqmtls:61102; do
          n=$((n + 1))
          echo \"${{u%:*}}:x:$n:${{u#*:}}::{home}:/bin/false\" >>/etc/passwd
        done
        umask 022
        cd {home}
        mkdir -p alias bin boot control doc man/man8 users queue/pid queue/bounce queue/lock
        for d in mess todo intd info local remote; do
          for n in $(seq 0 22); do mkdir -p queue/$d/$n; done
        done
        for p in qmail-send qmail-queue qmail-todo qmail-authuser site-own; do echo 'exit 111' >bin/$p; done
        echo old >man/man8/qmail-send.8
        echo me.test >control/me
        echo '*:' >control/tlsdestinations
        head -c 1024 /dev/urandom >queue/lock/tcpto
        : >queue/lock/sendmutex
        mkfifo queue/lock/trigger
        chown -R root:sqmail .
        chown -R qmailq queue
        chown -R qmails queue/bounce queue/info queue/local queue/remote queue/lock/sendmutex queue/lock/trigger
        chown qmailr queue/lock/tcpto
        chmod 0750 queue queue/mess queue/mess/* queue/todo queue/todo/* queue/lock
        chmod 0700 queue/pid queue/bounce queue/intd queue/intd/* queue/info queue/info/* queue/local queue/local/*
        chmod 0700 queue/remote queue/remote/*
        chmod 0622 queue/lock/trigger
        chmod 0600 queue/lock/sendmutex
        chmod 0755 bin/*
        chown qmailq bin/qmail-queue
        chmod 4711 bin/qmail-queue
        chown alias alias
        chmod 2755 alias",
        home = conf::HOME
    ));
    for (user, uid) in USERS {
        maildir(&host.scratch().join("home").join(user), uid);
    }
}

/// A queue file as s/qmail's programs make it; the number of a new message.
fn mess(text: &str) -> u64 {
    let new = home().join("queue/pid/new");
    fs::write(&new, text).unwrap();
    let n = fs::metadata(&new).unwrap().ino();
    fs::rename(new, home().join(format!("queue/mess/{}/{n}", n % 23))).unwrap();
    n
}
fn put(host: &Host, name: &str, owner: &str, bytes: &str) {
    fs::write(home().join("queue").join(name), bytes).unwrap();
    host.sh(&format!("chown {owner}:sqmail {}/queue/{name}", conf::HOME));
}

#[test]
fn an_sqmail_site_keeps_its_group_and_its_split_todo() {
    on_a_host_of_its_own("an_sqmail_site_keeps_its_group_and_its_split_todo", &[], |host| {
        lay_out_sqmail(host);
        let at = host.scratch().display();
        let (envelope, joe) = ("u1\0p1\0Fs@me.test\0Tjoe@me.test\0", 61001);
        fs::write(home().join("users/assign"), format!("=joe:joe:{joe}:{GROUP}:{at}/home/joe:::\n.\n")).unwrap();
        // Queued; preprocessed and deferred; queued, and left flat by whatever split this queue.
        let (a, b, c) = (mess("Subject: a\n\nx\n"), mess("Subject: b\n\nx\n"), mess("Subject: c\n\nx\n"));
        put(host, &format!("intd/{}/{a}", a % 23), "qmailq", envelope);
        host.sh(&format!("ln {0}/queue/intd/{1}/{a} {0}/queue/todo/{1}/{a}", conf::HOME, a % 23));
        put(host, &format!("info/{}/{b}", b % 23), "qmails", "Fs@me.test\0");
        put(host, &format!("local/{}/{b}", b % 23), "qmails", "Dann@me.test\0Tjoe@me.test\0");
        put(host, &format!("todo/{c}"), "qmailq", envelope);
        host.sh(&format!(
            "chown -R qmailq {}/queue/mess; chmod 600 {0}/queue/info/*/* {0}/queue/local/*/*",
            conf::HOME
        ));
        let (before, files) = (without_queue(), queue(&PARTS));

        host.must(&["install"]);
        host.must(&["install", "--check"]);
        assert_same("the queue changed", &files, &queue(&PARTS), true);
        assert!(home().join(format!("queue/todo/{}/{c}", c % 23)).exists());
        assert_eq!(fs::read(home().join("queue/lock/tcpto")).unwrap(), [0; 1024]);
        assert!(!fs::read_to_string("/etc/group").unwrap().lines().any(|l| l.starts_with("qmail:")));
        let ids = fs::read_to_string(home().join("users/ids")).unwrap();
        assert!(ids.contains("\ngroup qmail 61101\ngroup nofiles 61102\n"), "{ids}");
        assert_eq!(fs::metadata(home().join("bin/qmail-send")).unwrap().gid(), 61101);
        assert_eq!(fs::read(home().join("bin/site-own")).unwrap(), b"exit 111\n");
        let once = tree(home());
        host.must(&["install"]);
        assert_same("the second run changed something", &once, &tree(home()), true);

        host.sh(&format!("{}/bin/qmail-newu", conf::HOME));
        deliver_all(host);
        let subjects = |letters: &str| {
            let mut found: Vec<String> = whole_system::files(&host.scratch().join("home/joe/Maildir/new"))
                .iter()
                .map(|f| {
                    fs::read_to_string(f).unwrap().lines().find(|l| l.starts_with("Subject: ")).unwrap()[9..].into()
                })
                .collect();
            found.sort();
            assert_eq!(found.concat(), letters);
        };
        subjects("abc");

        // New mail is split as well; -r leaves it so, and brings home what is flat.
        let mut inject = Command::new(home().join("bin/qmail-inject"));
        inject.env_clear().args(["-a", "-fs@me.test", "joe@me.test"]).uid(joe).gid(GROUP);
        for subject in ["d", "e"] {
            let done = run(&mut inject, format!("Subject: {subject}\n\nx\n").as_bytes());
            assert!(done.status.success(), "{}", stderr(&done));
        }
        let f = mess("Subject: f\n\nx\n");
        put(host, &format!("todo/{f}"), "qmailq", envelope);
        assert_eq!(fs::read_dir(home().join("queue/todo")).unwrap().count(), 24);
        let files = queue(&["mess", "todo"]);
        host.must(&["upgrade", "-r"]);
        assert_same("the queue changed", &files, &queue(&["mess", "todo"]), true);
        assert_eq!(fs::read_dir(home().join("queue/todo")).unwrap().count(), 23);
        let mut now = without_queue();
        now.remove(Path::new("users/cdb"));
        assert_same("not what it was", &before, &now, false);

        host.must(&["install"]);
        host.sh(&format!("chown -R qmailq {}/queue/mess", conf::HOME));
        deliver_all(host);
        subjects("abcdef");
    });
}

/// Runs the system until its queue is empty.
fn deliver_all(host: &Host) {
    let log = fs::File::create(host.scratch().join("log")).unwrap();
    let mut start = Command::new(home().join("bin/qmail-start"));
    start.arg("./Maildir/").env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(log);
    let mut send = start.spawn().unwrap();
    until_empty();
    host.sh(&format!("kill {}", send.id()));
    assert!(send.wait().unwrap().success());
}

// ---------------------------------------------------------------- interruptions

/// Commands of the scripts that change something, in whose place a killer is put.
const CHANGING: [&str; 9] = ["mv", "cp", "rm", "mkdir", "rmdir", "chmod", "chown", "sync", "head"];

/// A small s/qmail or qmail below a directory, and what is interrupted there.
struct Interrupted {
    dir: tempfile::TempDir,
}

impl Interrupted {
    fn new(split: bool) -> Interrupted {
        let it = Interrupted { dir: light_directory() };
        for dir in ["bin", "man/man8", "doc", "control", "users", "alias", "queue/pid", "queue/bounce", "queue/lock"] {
            fs::create_dir_all(it.home().join(dir)).unwrap();
        }
        for dir in ["mess", "info", "local", "remote", "todo", "intd"] {
            for n in 0..3 {
                let flat = !split && ["todo", "intd"].contains(&dir);
                let dir = if flat { format!("queue/{dir}") } else { format!("queue/{dir}/{n}") };
                fs::create_dir_all(it.home().join(dir)).unwrap();
            }
        }
        let files = ["bin/qmail-send", "bin/qmail-queue", "bin/own", "man/man8/qmail-send.8", "doc/FAQ", "control/me"];
        files.iter().for_each(|f| fs::write(it.home().join(f), format!("old {f}")).unwrap());
        fs::write(it.home().join("queue/lock/sendmutex"), "").unwrap();
        fs::write(it.home().join("queue/lock/tcpto"), [7; 1024]).unwrap();
        for n in 100..106 {
            fs::write(it.home().join(format!("queue/mess/{}/{n}", n % 3)), format!("mess {n}")).unwrap();
            // In a split queue every second one is flat all the same.
            let name = if split && n % 2 == 0 { format!("{}/{n}", n % 3) } else { n.to_string() };
            fs::write(it.home().join(format!("queue/intd/{name}")), format!("envelope {n}")).unwrap();
            fs::hard_link(it.home().join(format!("queue/intd/{name}")), it.home().join(format!("queue/todo/{name}")))
                .unwrap();
        }
        it
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join(format!("root{}", conf::HOME))
    }

    /// Runs package/upgrade; with `kill_at`, until it calls its `kill_at`th command that changes something. Whether it
    /// was killed.
    fn upgrade(&self, options: &[&str], kill_at: Option<usize>) -> bool {
        run_with_killers(self.dir.path(), &[&["upgrade"], options].concat(), kill_at)
    }

    /// All there is, but for the inodes' numbers.
    fn state(&self) -> BTreeMap<PathBuf, Seen> {
        tree(&self.home())
    }
}

/// Runs a step with `dir`/root as its root; with `kill_at`, until it calls its `kill_at`th command that changes
/// something. Whether it was killed.
fn run_with_killers(dir: &Path, words: &[&str], kill_at: Option<usize>) -> bool {
    let killers = dir.join("killers");
    if !killers.exists() {
        fs::create_dir(&killers).unwrap();
        for name in CHANGING {
            let script = format!(
                "#!/bin/sh\nread -r n <\"$COUNT\"\necho $((n + 1)) >\"$COUNT\"\n\
                [ \"$n\" != \"$KILL_AT\" ] || kill -9 0\nPATH=/usr/bin:/bin\nexec {name} \"$@\"\n"
            );
            fs::write(killers.join(name), script).unwrap();
            fs::set_permissions(killers.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let count = dir.join("count");
    fs::write(&count, "1\n").unwrap();
    let mut command = step(&sources(), words);
    command.arg("--root").arg(dir.join("root")).process_group(0);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", killers.display()));
    command.env("COUNT", count).env("KILL_AT", kill_at.map_or("never".to_string(), |n| n.to_string()));
    let done = run(&mut command, b"");
    assert!(done.status.success() || kill_at.is_some(), "{}", stderr(&done));
    !done.status.success()
}

/// A directory that costs no disk.
fn light_directory() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(base).unwrap()
}

/// Interrupts `way` at one call after the other, has it run again, and compares the outcome with that of a run that
/// nobody interrupted. `first` is what was done before.
fn interrupt(split: bool, first: &[&[&str]], way: &[&str]) {
    let whole = Interrupted::new(split);
    let prepared = |it: &Interrupted| first.iter().for_each(|w| assert!(!it.upgrade(w, None)));
    prepared(&whole);
    assert!(!whole.upgrade(way, None));
    let mut at = 1;
    loop {
        let it = Interrupted::new(split);
        prepared(&it);
        let messages = numbers(&it);
        let killed = it.upgrade(way, Some(at));
        assert_eq!(numbers(&it), messages, "{way:?} killed at call {at}");
        if !killed {
            break;
        }
        assert!(!it.upgrade(way, None));
        assert_same(&format!("{way:?} killed at call {at}"), &whole.state(), &it.state(), false);
        assert_eq!(numbers(&it), messages, "{way:?} killed at call {at}");
        // Each of the first calls, then some of the others: they repeat themselves for each directory and file.
        at += if at < 12 { 1 } else { 5 };
    }
    assert!(at > 12, "nothing was interrupted");
}

/// Number and inode of each file of mess, and of each in todo, flat or split.
fn numbers(it: &Interrupted) -> BTreeMap<(String, PathBuf), u64> {
    let mut found = BTreeMap::new();
    for part in ["mess", "todo"] {
        for file in whole_system::files(&it.home().join("queue").join(part)) {
            let name = PathBuf::from(file.file_name().unwrap());
            found.insert((part.to_string(), name), fs::metadata(file).unwrap().ino());
        }
    }
    found
}

#[test]
fn an_interrupted_takeover_is_completed_by_the_next_run() {
    interrupt(false, &[], &[]);
}

#[test]
fn an_interrupted_takeover_of_a_split_queue_is_completed_by_the_next_run() {
    interrupt(true, &[], &[]);
}

#[test]
fn an_interrupted_split_is_completed_by_the_next_run() {
    interrupt(false, &[&[]], &["-s"]);
}

#[test]
fn an_interrupted_return_to_a_flat_todo_is_completed_by_the_next_run() {
    interrupt(false, &[&["-s"]], &["-r"]);
}

#[test]
fn an_interrupted_return_to_a_split_todo_is_completed_by_the_next_run() {
    interrupt(true, &[&[]], &["-r"]);
}

#[test]
fn an_interrupted_installation_is_completed_by_the_next_run() {
    if !programs_are_collected() {
        return skip("package/compile has collected no programs");
    }
    let install = |dir: &Path, kill_at| run_with_killers(dir, &["install", "--me", "me.test"], kill_at);
    let whole = light_directory();
    assert!(!install(whole.path(), None));
    let whole = tree(&whole.path().join("root"));
    for at in [1, 100, 300, 500, 700] {
        let dir = light_directory();
        assert!(install(dir.path(), Some(at)));
        assert!(!install(dir.path(), None));
        assert_same(&format!("killed at call {at}"), &whole, &tree(&dir.path().join("root")), false);
    }
}

#[test]
fn a_takeover_can_be_called_off() {
    for at in 1..8 {
        let it = Interrupted::new(true);
        let before = it.state();
        assert!(it.upgrade(&[], Some(at)));
        if it.home().join("site.old").exists() {
            assert!(!it.upgrade(&["-r"], None));
        }
        let mut after = it.state();
        after.remove(Path::new("site.old.new"));
        assert_same(&format!("called off at call {at}"), &before, &after, false);
    }
}

#[test]
fn what_was_taken_over_by_nobody_is_not_given_back() {
    let it = Interrupted::new(false);
    let root = it.dir.path().join("root");
    refused(&["upgrade", "--root", root.to_str().unwrap(), "-r"], "nothing was taken over");
    it.upgrade(&[], None);
    let state = it.state();
    it.upgrade(&[], None);
    assert_same("the second run changed something", &state, &it.state(), false);
    fs::rename(it.home().join("bin.old"), it.home().join("elsewhere")).unwrap();
    refused(&["upgrade", "--root", root.to_str().unwrap(), "-r"], "bin.old is missing");
    fs::rename(it.home().join("elsewhere"), it.home().join("bin.old")).unwrap();
    fs::create_dir(it.home().join("queue/todo/0")).unwrap();
    fs::write(it.home().join("queue/todo/0/100"), "another").unwrap();
    refused(&["upgrade", "--root", root.to_str().unwrap(), "-r"], "two files of one number");
}

#[test]
fn a_stranger_s_bin_old_is_not_overwritten() {
    let it = Interrupted::new(false);
    fs::create_dir(it.home().join("bin.old")).unwrap();
    let state = it.state();
    refused(&["upgrade", "--root", it.dir.path().join("root").to_str().unwrap()], "bin.old is in the way");
    assert_same("a refusal changed something", &state, &it.state(), true);
}
