//! Block groups of their own for the directories in which the queue's files are made.
//!
//! ext4 makes a file in the block group of its directory. Without a journal it doesn't use an inode again that was freed
//! in the last minutes, and to find another it looks at all of those, one after the other, from the beginning of the
//! group (recently_deleted() in fs/ext4/ialloc.c). Every message is made in pid and its envelope in intd, and both are
//! removed at the end: in one group with each other and with the rest of the host's files, that search is a third of all
//! the processor time of a busy host. With a journal there is no such search, and the directories stay as they are: the
//! nearer they are, the less is written to the journal.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Where files are made for every message.
const BIRTHPLACES: [&str; 2] = ["pid", "intd"];

/// Moves the birthplaces of the queue apart, once, where that is of use. It is for speed only, so failure is ignored: they
/// stay where they are then.
pub fn spread(queue: &Path) {
    if let Ok(dir) = File::open(queue)
        && sys::ext4::has_no_journal(&dir)
    {
        let _ = move_apart(queue, &dir);
    }
}

/// The mark on `queue`, open as `dir`, says also that this was done: copying a queue doesn't copy it, and a copy needs it.
fn move_apart(queue: &Path, dir: &File) -> io::Result<()> {
    if sys::ext4::mark_as_top(dir)? {
        for name in BIRTHPLACES {
            let _ = renew(&queue.join(name));
        }
    }
    Ok(())
}

/// Replaces directory `old` by a new one like it, if it is empty: else the rename fails, and nothing happened. A
/// qmail-queue that runs meanwhile finds either of them by the name.
fn renew(old: &Path) -> io::Result<()> {
    let like = fs::metadata(old)?;
    let new = old.with_extension("new");
    fs::create_dir(&new)?;
    let result = chown(&new, Some(like.uid()), Some(like.gid()))
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(like.mode())))
        .and_then(|()| fs::rename(&new, old));
    if result.is_err() {
        let _ = fs::remove_dir(&new);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birthplaces_are_renewed_once_and_only_when_empty() {
        let queue = std::env::temp_dir().join(format!("groups-{}", std::process::id()));
        for name in BIRTHPLACES {
            fs::create_dir_all(queue.join(name)).unwrap();
            fs::set_permissions(queue.join(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        fs::write(queue.join("intd/7"), "F\0").unwrap();
        let inode = |name: &str| fs::metadata(queue.join(name)).unwrap().ino();
        let before = BIRTHPLACES.map(inode);
        let dir = File::open(&queue).unwrap();
        match move_apart(&queue, &dir) {
            Err(e) => eprintln!("skipped: no such mark here: {e}"),
            Ok(()) => {
                assert_ne!(inode("pid"), before[0]);
                assert_eq!(fs::metadata(queue.join("pid")).unwrap().mode() & 0o7777, 0o700);
                assert_eq!(inode("intd"), before[1]);
                assert_eq!(fs::read(queue.join("intd/7")).unwrap(), b"F\0");
                let after = inode("pid");
                move_apart(&queue, &dir).unwrap();
                assert_eq!(inode("pid"), after);
                assert_eq!(fs::read_dir(&queue).unwrap().count(), 2);
            }
        }
        fs::remove_dir_all(queue).unwrap();
    }
}
