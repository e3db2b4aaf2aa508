//! A machine of its own for a test of an installed system: the staged tree at its real place, with its real owners,
//! ports of its own, a user, and nothing of it left when the test is over.
//!
//! The test runs itself again in private name spaces (mounts, processes, network, IPC). Needs root and the staged tree
//! (STAGE names its home, as package/test sets it); without them the test says so and passes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that the test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(20);
/// Set where the test runs the second time.
const INSIDE: &str = "WHOLE_SYSTEM_INSIDE";
/// Where programs are found there.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lays the machine out: $1 is the staged home, $2 the sources, $3 home. Nothing here is seen from outside.
const LAY_OUT: &str = r#"
set -eu
stage=$1 sources=$2 home=$3
mount -t tmpfs -o mode=755 none /mnt
cp -a "$stage" /mnt/tree
mkdir /mnt/sources
cp -a "$sources/package" "$sources/conf" "$sources/service-templates" /mnt/sources
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
mount -t tmpfs -o mode=755 none "${home%/*}"
mkdir -p "$home" /var/log /var/tmp /var/home/joe
mount --bind /mnt/tree "$home"
mount -t sysfs none /sys
echo 0x49 >/sys/class/net/lo/flags
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >/etc/resolv.conf
echo 'joe:x:54321:54321::/var/home/joe:/bin/sh' >>/etc/passwd
echo 'joe:x:54321:' >>/etc/group
cd /mnt/sources
package/ids
. package/names
while read -r kind where owner group mode rest; do
  case $kind in dir | split | data | fifo | file) ;; *) continue ;; esac
  [ -e "$home/$where" ] || continue
  more=; [ "$kind" != split ] || more=-R
  chown $more "$(user "$owner"):$(group "$group")" "$home/$where"
  chmod $more "$mode" "$home/$where"
done <package/table
rm -rf "$home/users/ids" "$home/svc"/*
cd "$home/control"
for f in me locals rcpthosts defaultdomain plusdomain; do echo mail.test >$f; done
chown 54321:54321 /var/home/joe
setpriv --reuid=54321 --regid=54321 --clear-groups "$home/bin/maildirmake" /var/home/joe/Maildir
rm -rf /etc/service
mkdir /etc/service
echo /etc/service >/mnt/sources/conf/svcdir
"#;

/// Runs `scenario` on a machine of its own, if `programs` (each with its Debian package) are there. `test` is the name
/// of the calling test.
pub fn on_its_own(test: &str, programs: &[(&str, &str)], scenario: impl FnOnce(&Machine)) {
    if env::var_os(INSIDE).is_some() {
        return scenario(&Machine::lay_out());
    }
    if let Some(why) = cannot(programs) {
        eprintln!("skipped: {test}: {why}");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let status = command.env(INSIDE, "yes").stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{test}, in name spaces of its own: {status}");
}

/// Why the scenario can not be run here.
fn cannot(programs: &[(&str, &str)]) -> Option<String> {
    let found = |name: &str| PATH.split(':').any(|dir| Path::new(dir).join(name).exists());
    if !super::am_root() {
        return Some("needs root".to_string());
    }
    if env::var_os("STAGE").is_none() {
        return Some("needs the staged tree (STAGE)".to_string());
    }
    if let Some((name, package)) = programs.iter().find(|(name, _)| !found(name)) {
        return Some(format!("{name} is missing (Debian package {package})"));
    }
    let unshare = Command::new("unshare").args(["--mount", "--net", "--pid", "--fork", "true"]).output();
    (!unshare.is_ok_and(|o| o.status.success())).then(|| "needs private name spaces".to_string())
}

/// The machine that the calling process runs on, and what was started on it.
pub struct Machine(RefCell<Vec<Child>>);

impl Machine {
    fn lay_out() -> Machine {
        let machine = Machine(RefCell::default());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let stage = env::var_os("STAGE").unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LAY_OUT, "sh"]).arg(stage).arg(sources).arg(conf::HOME);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}{}", super::stdout(&done), super::stderr(&done));
        machine
    }

    /// A path below home.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(conf::HOME).join(name)
    }

    /// Runs a shell script in a copy of the sources; what it says on descriptors 1 and 2.
    pub fn sh(&self, script: &str) -> String {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec 2>&1\n{script}")]).current_dir("/mnt/sources");
        let done = command.env_clear().env("PATH", PATH).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{script}: {}: {}", done.status, super::stdout(&done));
        super::stdout(&done)
    }

    /// Starts a program that goes on running; what it says is in /mnt/said. It ends with the machine.
    pub fn start(&self, words: &[&str]) {
        let (first, rest) = words.split_first().unwrap();
        let said = || fs::OpenOptions::new().create(true).append(true).open("/mnt/said").unwrap();
        let mut command = Command::new(first);
        command.args(rest).env_clear().env("PATH", PATH).stdin(Stdio::null()).stdout(said()).stderr(said());
        command.current_dir("/");
        self.0.borrow_mut().push(command.spawn().unwrap());
    }

    /// The running processes of this name, but for those that are dead already.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let is = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(&format!(" ({name}) ")) && !stat.contains(&format!(" ({name}) Z "))
        };
        let names = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name());
        let mut found: Vec<u32> = names.filter_map(|n| n.to_str()?.parse().ok()).filter(is).collect();
        found.sort_unstable();
        found
    }

    /// Sends a message by the sendmail command.
    pub fn sendmail(&self, recipient: &str, subject: &str) {
        let script = format!(
            "printf 'Subject: {subject}\\n\\nText.\\n' | {}/bin/sendmail -f ann@mail.test {recipient}",
            conf::HOME
        );
        self.sh(&script);
    }

    /// How often each subject is among joe's new mail.
    pub fn mail(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for file in super::files(Path::new("/var/home/joe/Maildir/new")) {
            let text = fs::read_to_string(file).unwrap();
            let subject = text.lines().find_map(|l| l.strip_prefix("Subject: ")).unwrap_or("none");
            *counts.entry(subject.to_string()).or_default() += 1;
        }
        counts
    }

    /// Waits for these subjects to be among joe's new mail.
    pub fn arrives(&self, subjects: &[&str]) {
        until(&format!("mail: {subjects:?}"), || subjects.iter().all(|s| self.mail().contains_key(*s)).then_some(()));
    }
}

/// Waits for something to be there; fails after some time, with its name.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A connection to one of the machine's servers.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Waits until the port is open.
    pub fn to(port: u16) -> Connection {
        Connection::from(until(&format!("port {port}"), || TcpStream::connect(("127.0.0.1", port)).ok()))
    }

    /// A connection that was made already.
    pub fn from(stream: TcpStream) -> Connection {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        Connection(BufReader::new(stream))
    }

    /// Says something as it is.
    pub fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Hears a line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    /// Hears an answer that begins so; of one of many lines of SMTP all.
    pub fn hear(&mut self, start: &str) {
        loop {
            let line = self.line();
            assert!(line.starts_with(start), "wanted {start}, got {line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
    }

    /// A command and its answer.
    pub fn ask(&mut self, command: &str, answer: &str) {
        self.say(format!("{command}\r\n").as_bytes());
        self.hear(answer);
    }

    /// The verdict in a netstring: its first byte.
    pub fn verdict(&mut self) -> u8 {
        let (mut length, mut verdict) = (Vec::new(), [0]);
        self.0.read_until(b':', &mut length).unwrap();
        self.0.read_exact(&mut verdict).unwrap();
        verdict[0]
    }

    /// A message by SMTP, after the greeting and to the end of the session.
    pub fn mail(&mut self, recipient: &str, subject: &str) {
        self.ask("HELO there.test", "250");
        self.ask("MAIL FROM:<eve@there.test>", "250");
        self.ask(&format!("RCPT TO:<{recipient}>"), "250");
        self.ask("DATA", "354");
        self.ask(&format!("Subject: {subject}\r\n\r\nText.\r\n."), "250");
        self.ask("QUIT", "221");
    }
}

/// A netstring.
pub fn netstring(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes, b","].concat()
}
