//! A host of a test's own: /etc, /usr/sbin and home are private copies, so that what a step of the installation does
//! to a host can be seen and nothing of this one changes.

use crate::{am_root, run, stderr, stdout};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Set in the process that runs inside, to the scratch directory.
const INSIDE: &str = "TEST_HOST_SCRATCH";
/// The longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(40);

/// Says why a test does nothing.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// A command that is in PATH.
pub fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(command).exists())
}

/// The repository.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The target directory with what package/compile collected, or why there is none.
fn target() -> Option<PathBuf> {
    let target = crate::profile_dir().parent().unwrap().to_path_buf();
    target.join("bin/.link").exists().then_some(target)
}

/// Whether package/compile has been run, so that package/install needs not.
pub fn programs_are_collected() -> bool {
    target().is_some()
}

/// Runs `body` as the first process of a host of its own; `test` is the name of the calling test, which is run again
/// there. Skips the test if that can not be done here, or if one of the commands it needs is missing.
pub fn on_a_host_of_its_own(test: &str, needed: &[&str], body: fn(&Host)) {
    if let Some(scratch) = std::env::var_os(INSIDE) {
        let host = Host { scratch: PathBuf::from(scratch) };
        host.furnish();
        body(&host);
        return;
    }
    if !am_root() {
        return skip("needs root, for name spaces of its own");
    }
    if !programs_are_collected() {
        return skip("package/compile has collected no programs");
    }
    if let Some(command) = needed.iter().chain(&["unshare", "flock"]).find(|c| !has(c)) {
        return skip(&format!("{command} is missing"));
    }
    let probe = Command::new("unshare").args(["-m", "-p", "-f", "--mount-proc", "true"]).output().unwrap();
    if !probe.status.success() {
        return skip(&format!("no name spaces here: {}", stderr(&probe)));
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut again = Command::new("unshare");
    again.args(["-m", "-p", "-f", "--kill-child", "--mount-proc", "--propagation", "private"]);
    again.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let done = run(again.env(INSIDE, scratch.path()), b"");
    eprintln!("{}{}", stdout(&done), stderr(&done));
    assert!(done.status.success(), "{test} failed on the host of its own");
    assert!(stdout(&done).contains("1 passed"), "{test} is not a test of this file");
}

/// What the test finds inside.
pub struct Host {
    scratch: PathBuf,
}

impl Host {
    fn furnish(&self) {
        let script = "
            mount -t tmpfs -o suid,mode=755 none $S
            mkdir $S/etc $S/sbin $S/sbin.real
            cp -a /etc/. $S/etc
            mount --bind /usr/sbin $S/sbin.real
            ln -s $S/sbin.real/* $S/sbin
            rm -f $S/sbin/sendmail $S/sbin/mailq $S/sbin/newaliases
            [ -d \"$H\" ] || mount -t tmpfs -o mode=755 none \"${H%/*}\"
            mkdir -p \"$H\"
            mount -t tmpfs -o suid,mode=755 none \"$H\"
            mount --bind $S/etc /etc
            mount --bind $S/sbin /usr/sbin";
        let mut sh = Command::new("sh");
        sh.args(["-euc", script]).env("S", &self.scratch).env("H", conf::HOME);
        let done = run(&mut sh, b"");
        assert!(done.status.success(), "{}", stderr(&done));
    }

    /// A place for the test's own files, which everybody can read.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Removes the mail accounts.
    pub fn forget_accounts(&self) {
        let names = "alias|qmail.|sqmtls|qmail|sqmail|nofiles";
        for file in ["passwd", "group", "shadow", "gshadow"] {
            self.sh(&format!("[ ! -e /etc/{file} ] || sed -i -E '/^({names}):/d' /etc/{file}"));
        }
    }

    /// Runs a line of sh that must succeed.
    pub fn sh(&self, line: &str) -> String {
        let done = run(Command::new("sh").args(["-euc", line]).env("S", &self.scratch).current_dir("/"), b"");
        assert!(done.status.success(), "{line}: {}{}", stdout(&done), stderr(&done));
        stdout(&done)
    }

    /// Runs a step of the installation.
    pub fn step(&self, words: &[&str]) -> Output {
        package(&sources(), words)
    }

    /// Runs a step that must succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let done = self.step(words);
        assert!(done.status.success(), "package/{}: {}{}", words.join(" "), stdout(&done), stderr(&done));
        stdout(&done)
    }
}

/// `package/WORDS` of the repository in `sources`, with the programs that package/compile has collected.
pub fn step(sources: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(sources.join("package").join(words[0]));
    command.args(&words[1..]).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs(target().map(|t| ("CARGO_TARGET_DIR", t)));
    command
}

/// Runs such a step.
pub fn package(sources: &Path, words: &[&str]) -> Output {
    run(&mut step(sources, words), b"")
}

/// Waits until `there` answers; `what` is for the message if it never does.
pub fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What can be seen of one file: kind, mode, owner, group, and contents (or where a link points).
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// Kind and mode, as stat has them.
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
    /// Inode.
    pub ino: u64,
    /// The bytes of a file, or of a link.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mode, ids) = (self.mode, self.ids);
        write!(f, "{mode:o} {}:{} {} bytes", ids.0, ids.1, self.bytes.len())
    }
}

/// All that is below `dir`, by path.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    look(dir, dir, &mut found);
    found
}

fn look(top: &Path, path: &Path, found: &mut BTreeMap<PathBuf, Seen>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let bytes = if kind.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else if kind.is_file() {
        fs::read(path).unwrap()
    } else {
        assert!(kind.is_dir() || kind.is_fifo(), "{}", path.display());
        Vec::new()
    };
    let seen = Seen { mode: meta.mode(), ids: (meta.uid(), meta.gid()), ino: meta.ino(), bytes };
    found.insert(path.strip_prefix(top).unwrap().to_path_buf(), seen);
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            look(top, &entry.unwrap().path(), found);
        }
    }
}

/// Compares two trees, the inodes left aside unless `inodes`; names each difference.
pub fn assert_same(what: &str, before: &BTreeMap<PathBuf, Seen>, after: &BTreeMap<PathBuf, Seen>, inodes: bool) {
    let mut differ = Vec::new();
    for path in before.keys().chain(after.keys().filter(|p| !before.contains_key(*p))) {
        let same = match (before.get(path), after.get(path)) {
            (Some(a), Some(b)) => (a.mode, a.ids, &a.bytes) == (b.mode, b.ids, &b.bytes) && (!inodes || a.ino == b.ino),
            _ => false,
        };
        if !same {
            differ.push(format!("{}: {:?} -> {:?}", path.display(), before.get(path), after.get(path)));
        }
    }
    assert!(differ.is_empty(), "{what}:\n{}", differ.join("\n"));
}
