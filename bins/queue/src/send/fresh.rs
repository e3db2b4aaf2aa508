//! Messages that were preprocessed a moment ago and have no files yet but mess and todo (qmail-internals(7)). Most are
//! finished before qmail-todo makes files of them.

use queue::envelope::Records;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

/// One such message, as one channel sees it.
#[derive(Debug)]
pub struct Fresh {
    sender: Rc<[u8]>,
    /// Seconds since 1970.
    birth: u64,
    /// What the file of the channel will hold, with `D` for the recipients that are done meanwhile.
    list: Vec<u8>,
    done: bool,
}

impl Fresh {
    /// A message born at `birth` (seconds since 1970); `list` as in local and remote files.
    pub fn new(sender: Rc<[u8]>, birth: u64, list: Vec<u8>) -> Fresh {
        Fresh { sender, birth, list, done: false }
    }

    /// Envelope sender.
    pub fn sender(&self) -> Vec<u8> {
        self.sender.to_vec()
    }

    /// Seconds since 1970.
    pub fn birth(&self) -> u64 {
        self.birth
    }

    /// The recipients, as in local and remote files.
    pub fn list(&self) -> &[u8] {
        &self.list
    }

    /// The recipient whose letter stands at `position` is done.
    pub fn mark_done(&mut self, position: u64) {
        if let Some(letter) = usize::try_from(position).ok().and_then(|p| self.list.get_mut(p)) {
            *letter = b'D';
        }
    }

    /// All recipients are done.
    pub fn finish(&mut self) {
        self.done = true;
    }

    /// Whether all recipients are done.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Brings a file that was made of the list up to date.
    pub fn mark(&self, file: &Path) -> io::Result<()> {
        let mut open = None;
        let mut records = Records::new(self.list.as_slice());
        while let Some(record) = records.read()? {
            if record.letter != b'D' {
                continue;
            }
            let file = match &open {
                Some(file) => file,
                None => open.insert(std::fs::OpenOptions::new().write(true).open(file)?),
            };
            file.write_all_at(b"D", record.position)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_marked_in_the_file_when_there_is_one() {
        let list = b"Ta@b\0Tc@d\0Te@f\0";
        let mut m = Fresh::new(Rc::from(&b"s"[..]), 1, list.to_vec());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("1");
        // Nothing done: the file is not even opened.
        m.mark(&file).unwrap();
        std::fs::write(&file, list).unwrap();
        m.mark_done(5);
        m.mark_done(99);
        assert_eq!(m.list(), b"Ta@b\0Dc@d\0Te@f\0");
        m.mark(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), m.list());
        m.mark_done(0);
        m.mark(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"Da@b\0Dc@d\0Te@f\0");
    }
}
