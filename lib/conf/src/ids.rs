//! The numeric ids of the mail accounts.

use std::cell::OnceCell;
use std::path::Path;

/// Where the installer keeps them, below home. Lines `user NAME NUMBER` and `group NAME NUMBER`.
pub const FILE: &str = "users/ids";

/// The accounts' numbers. An account that does not exist on this host has none.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// The text of `users/ids`, if there is one.
    own: Option<Vec<u8>>,
    /// Else those of /etc/passwd and /etc/group, each read when it is asked for the first time.
    passwd: OnceCell<Vec<u8>>,
    group: OnceCell<Vec<u8>>,
}

impl Ids {
    /// Takes `users/ids` below `home` if it is there (only root, or the owner of a private instance, can put it there);
    /// else /etc/passwd and /etc/group as plain text. A file that can not be read names no account.
    pub fn load(home: &Path) -> Ids {
        Ids { own: std::fs::read(home.join(FILE)).ok(), ..Ids::default() }
    }

    /// The user id of an account, by its name in [`crate::names`].
    pub fn user(&self, name: &str) -> Option<u32> {
        let passwd = || self.passwd.get_or_init(|| std::fs::read("/etc/passwd").unwrap_or_default());
        self.own.as_ref().map_or_else(|| in_colons(passwd(), name), |own| in_words(own, "user", name))
    }

    /// The id of a group, by its name in [`crate::names`].
    pub fn group(&self, name: &str) -> Option<u32> {
        let group = || self.group.get_or_init(|| std::fs::read("/etc/group").unwrap_or_default());
        self.own.as_ref().map_or_else(|| in_colons(group(), name), |own| in_words(own, "group", name))
    }

    /// The group of the queue: the one that owns home/queue, whatever its name (qmail's and s/qmail's differ).
    pub fn queue_group(&self, home: &Path) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(home.join("queue")) {
            Ok(m) => Some(m.gid()),
            Err(_) => self.group(crate::names::QMAIL),
        }
    }
}

/// The number in the line `KIND NAME NUMBER`.
fn in_words(text: &[u8], kind: &str, name: &str) -> Option<u32> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let mut words = line.split(|&b| b == b' ');
        let is_it = words.next() == Some(kind.as_bytes()) && words.next() == Some(name.as_bytes());
        if is_it { words.next().and_then(number) } else { None }
    })
}

/// The number in the line `NAME:PASSWORD:NUMBER...`.
fn in_colons(text: &[u8], name: &str) -> Option<u32> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        rest.split(|&b| b == b':').nth(1).and_then(number)
    })
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_give_the_same_answers() {
        let own = b"user alias 7790\nuser qmaild 7791\ngroup qmail 7781\nuser bad x\n".to_vec();
        let own = Ids { own: Some(own), ..Ids::default() };
        assert_eq!((own.user("qmaild"), own.group("qmail"), own.user("bad")), (Some(7791), Some(7781), None));
        let passwd = OnceCell::from(b"root:x:0:0:r:/:/bin/sh\nbroken\nqmaild:x:7791:7780::/:\n".to_vec());
        let host = Ids { passwd, group: OnceCell::from(b"qmail:x:7781:\n".to_vec()), ..Ids::default() };
        assert_eq!((host.user("qmaild"), host.group("qmail"), host.user("broken")), (Some(7791), Some(7781), None));
        assert_eq!((host.user("root"), host.user("roo"), host.group("qmaild")), (Some(0), None, None));
    }
}
