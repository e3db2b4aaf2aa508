//! The files that are made of a preprocessed envelope: info, local and remote.

use queue::layout::{Channel, Layout, MessNum};
use queue::told::Envelope;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Makes the files of message `n`, unsynced. What fails leaves none of them; the name tells which it was.
pub fn write(envelope: &Envelope, layout: Layout, n: MessNum) -> Result<(), PathBuf> {
    let mut files = Files::new(layout, n);
    let written =
        files.write_info(&envelope.sender).and_then(|()| files.append(envelope)).and_then(|()| files.finish());
    written.inspect_err(|_| {
        // The todo file stays, so these are made anew, whatever is there.
        let _ = remove(layout, n);
    })
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
