//! The numeric ids of the mail accounts.

use std::path::Path;

/// Where the installer keeps them, below home. Lines `user NAME NUMBER` and `group NAME NUMBER`.
pub const FILE: &str = "users/ids";

/// The accounts' numbers, read once. An account that does not exist on this host has none.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    users: Vec<(Vec<u8>, u32)>,
    groups: Vec<(Vec<u8>, u32)>,
}

impl Ids {
    /// Reads `users/ids` below `home` if it is there (only root, or the owner of a private instance, can put it there);
    /// else /etc/passwd and /etc/group as plain text. A file that can not be read names no account.
    pub fn load(home: &Path) -> Ids {
        if let Ok(text) = std::fs::read(home.join(FILE)) {
            return Ids::parse(&text);
        }
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        let group = std::fs::read("/etc/group").unwrap_or_default();
        Ids { users: colon_lines(&passwd), groups: colon_lines(&group) }
    }

    fn parse(text: &[u8]) -> Ids {
        let mut ids = Ids::default();
        for line in text.split(|&b| b == b'\n') {
            let mut words = line.split(|&b| b == b' ');
            let (kind, name, id) = (words.next(), words.next(), words.next().and_then(number));
            match (kind, name, id) {
                (Some(b"user"), Some(name), Some(id)) => ids.users.push((name.to_vec(), id)),
                (Some(b"group"), Some(name), Some(id)) => ids.groups.push((name.to_vec(), id)),
                _ => {}
            }
        }
        ids
    }

    /// The user id of an account, by its name in [`crate::names`].
    pub fn user(&self, name: &str) -> Option<u32> {
        find(&self.users, name)
    }

    /// The id of a group, by its name in [`crate::names`].
    pub fn group(&self, name: &str) -> Option<u32> {
        find(&self.groups, name)
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

fn find(list: &[(Vec<u8>, u32)], name: &str) -> Option<u32> {
    list.iter().find(|(n, _)| n == name.as_bytes()).map(|&(_, id)| id)
}

fn colon_lines(text: &[u8]) -> Vec<(Vec<u8>, u32)> {
    let mut list = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        let mut fields = line.split(|&b| b == b':');
        let (name, _, id) = (fields.next(), fields.next(), fields.next().and_then(number));
        if let (Some(name), Some(id)) = (name, id) {
            list.push((name.to_vec(), id));
        }
    }
    list
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_give_the_same_answers() {
        let own = Ids::parse(b"user alias 7790\nuser qmaild 7791\ngroup qmail 7781\nuser bad x\n");
        assert_eq!((own.user("qmaild"), own.group("qmail"), own.user("bad")), (Some(7791), Some(7781), None));
        assert_eq!(colon_lines(b"root:x:0:0:r:/:/bin/sh\nbroken\nqmaild:x:7791:7780::/:\n").len(), 2);
    }
}
