//! Names that appear in directories (inotify(7)).

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

/// Tells of the files that are created in some directories or moved there, by this host.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Begins to watch. An error where the system has no inotify, or none left for this user.
    pub fn on(dirs: &[PathBuf]) -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        dirs.iter().try_for_each(|dir| inotify.add_watch(dir, flags).map(drop))?;
        Ok(Watch(inotify))
    }

    /// The descriptor to wait on: readable when there are names.
    pub fn fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }

    /// Some of the new names, in the order in which they came; empty when there are none left. `None`: there were too
    /// many, and some are lost.
    pub fn names(&self) -> io::Result<Option<Vec<OsString>>> {
        let events = match self.0.read_events() {
            Err(nix::errno::Errno::EAGAIN) => return Ok(Some(Vec::new())),
            events => events?,
        };
        if events.iter().any(|e| e.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) {
            return Ok(None);
        }
        let files = events.into_iter().filter(|e| !e.mask.contains(AddWatchFlags::IN_ISDIR));
        Ok(Some(files.filter_map(|e| e.name).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_files_and_moves_are_seen_but_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for d in ["a", "b", "c"] {
            fs::create_dir(path(d)).unwrap();
        }
        fs::write(path("c/1"), "").unwrap();
        let watch = Watch::on(&[path("a"), path("b")]).unwrap();
        assert_eq!(watch.names().unwrap(), Some(vec![]));
        fs::hard_link(path("c/1"), path("a/2")).unwrap();
        fs::write(path("b/3"), "").unwrap();
        fs::create_dir(path("b/4")).unwrap();
        fs::rename(path("c/1"), path("a/5")).unwrap();
        fs::remove_file(path("a/2")).unwrap();
        fs::write(path("c/6"), "").unwrap();
        assert_eq!(watch.names().unwrap(), Some(["2", "3", "5"].map(OsString::from).to_vec()));
        assert_eq!(watch.names().unwrap(), Some(vec![]));
        assert!(Watch::on(&[path("none")]).is_err());
    }
}
