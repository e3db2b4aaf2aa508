//! What preprocessing makes of an envelope: the sender and a list of recipients for each channel, in memory as long as
//! they are small and the message may be finished at once, else in the files info, local and remote.

use queue::layout::{Channel, Layout, MessNum};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The longest address that is told to qmail-send (bytes); its limit for a record is twice that.
const TOLD_MAX: usize = 5000;

/// A preprocessed envelope.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Envelope sender.
    pub sender: Vec<u8>,
    /// By channel, in the order of [`Channel::BOTH`]: what its file holds, `T`, address and NUL for each recipient.
    pub lists: [Vec<u8>; 2],
}

impl Envelope {
    /// The memory it takes (bytes).
    pub fn size(&self) -> usize {
        self.sender.len() + self.lists.iter().map(Vec::len).sum::<usize>()
    }

    /// Adds a recipient.
    pub fn add(&mut self, channel: Channel, address: &[u8]) {
        let [local, remote] = &mut self.lists;
        let list = if channel == Channel::Local { local } else { remote };
        list.push(b'T');
        list.extend_from_slice(address);
        list.push(0);
    }

    /// The addresses on one of the lists.
    pub fn addresses(list: &[u8]) -> impl Iterator<Item = &[u8]> {
        list.split(|&b| b == 0).filter_map(|record| record.strip_prefix(b"T"))
    }

    /// Whether qmail-send can be told of it record by record.
    pub fn can_be_told(&self) -> bool {
        let fits = |address: &[u8]| address.len() <= TOLD_MAX;
        fits(&self.sender) && self.lists.iter().all(|l| Envelope::addresses(l).all(fits))
    }

    /// Makes the files of message `n`, unsynced. What fails leaves none of them; the name tells which it was.
    pub fn write(&self, layout: Layout, n: MessNum) -> Result<(), PathBuf> {
        let mut files = Files::new(layout, n);
        let written = files.write_info(&self.sender).and_then(|()| files.append(self)).and_then(|()| files.finish());
        written.inspect_err(|_| {
            // The todo file stays, so these are made anew, whatever is there.
            let _ = remove(layout, n);
        })
    }
}

/// The files of one message while they are written. A list is made when its first recipient comes.
pub struct Files {
    layout: Layout,
    n: MessNum,
    lists: [Option<BufWriter<File>>; 2],
}

impl Files {
    /// For message `n`, of which no such files exist.
    pub fn new(layout: Layout, n: MessNum) -> Files {
        Files { layout, n, lists: [None, None] }
    }

    /// Writes the info file.
    pub fn write_info(&mut self, sender: &[u8]) -> Result<(), PathBuf> {
        let name = self.layout.info(self.n);
        let write = || sys::fs::create_new(&name, 0o600)?.write_all(&[b"F", sender, b"\0"].concat());
        write().map_err(|_| name.clone())
    }

    /// Writes the lists of `envelope` behind what is in the files.
    pub fn append(&mut self, envelope: &Envelope) -> Result<(), PathBuf> {
        for ((channel, list), file) in Channel::BOTH.into_iter().zip(&envelope.lists).zip(&mut self.lists) {
            if list.is_empty() {
                continue;
            }
            let name = self.layout.recipients(self.n, channel);
            let mut write = || -> io::Result<()> {
                let file = match file {
                    Some(file) => file,
                    None => file.insert(BufWriter::with_capacity(4096, sys::fs::create_new(&name, 0o600)?)),
                };
                file.write_all(list)
            };
            write().map_err(|_| name.clone())?;
        }
        Ok(())
    }

    /// Writes what is still in buffers.
    pub fn finish(&mut self) -> Result<(), PathBuf> {
        for (channel, file) in Channel::BOTH.into_iter().zip(&mut self.lists) {
            if let Some(file) = file {
                file.flush().map_err(|_| self.layout.recipients(self.n, channel))?;
            }
        }
        Ok(())
    }

    /// Which channels have recipients, in the order of [`Channel::BOTH`].
    pub fn channels(&self) -> [bool; 2] {
        self.lists.each_ref().map(Option::is_some)
    }
}

/// Removes info, local and remote of message `n`, as far as they exist. What can not be removed is named.
pub fn remove(layout: Layout, n: MessNum) -> Result<(), PathBuf> {
    let names = Channel::BOTH.map(|c| layout.recipients(n, c)).into_iter().chain([layout.info(n)]);
    names.map(|name| remove_file(&name).map_err(|_| name)).fold(Ok(()), Result::and)
}

/// Removes a file; one that does not exist is removed already.
pub fn remove_file(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_the_files_hold() {
        let mut e = Envelope { sender: b"s".to_vec(), ..Envelope::default() };
        e.add(Channel::Local, b"a@b");
        e.add(Channel::Remote, b"");
        e.add(Channel::Local, b"c@d");
        assert_eq!(e.lists, [b"Ta@b\0Tc@d\0".to_vec(), b"T\0".to_vec()]);
        assert_eq!(Envelope::addresses(&e.lists[0]).collect::<Vec<_>>(), [b"a@b", b"c@d"]);
        assert_eq!(Envelope::addresses(&e.lists[1]).collect::<Vec<_>>(), [b""]);
        assert_eq!(e.size(), 13);
        assert!(e.can_be_told());
        e.add(Channel::Remote, &[b'x'; TOLD_MAX + 1]);
        assert!(!e.can_be_told());
    }
}
