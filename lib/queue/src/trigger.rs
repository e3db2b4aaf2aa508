//! The trigger: a fifo that qmail-queue pulls and the preprocessor waits on (qmail-internals(7)).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

const FIFO: &str = "lock/trigger";

/// Says that there is something new in todo. Nobody listening, or a full fifo, is no failure: the mail is found by the
/// next scan. Never blocks, whatever stands in the fifo's place.
pub fn pull() {
    use std::os::unix::fs::FileTypeExt;
    let Ok(mut f) = sys::fs::open_write_nonblocking(Path::new(FIFO)) else { return };
    if f.metadata().is_ok_and(|m| m.file_type().is_fifo()) {
        // See above.
        let _ = f.write(&[0]);
    }
}

/// The listening side.
#[derive(Default)]
pub struct Trigger(Option<File>);

impl Trigger {
    /// Opens the fifo afresh: what was pulled before is forgotten, so call this before looking into todo.
    pub fn set(&mut self) {
        // The fifo keeps what was written as long as the one who pulled has it open. Not read, it would wake this process
        // again and again, and on the same processor the other might not get to closing it for milliseconds.
        if let Some(mut old) = self.0.take() {
            let _ = old.read(&mut [0; 1024]);
        }
        // The old end is closed first, so that its end of file is forgotten too. Without a fifo the regular scan must do.
        self.0 = sys::fs::open_fifo_reader(Path::new(FIFO)).ok().map(File::from);
    }

    /// The descriptor to wait on: readable once the trigger was pulled; -1 if there is no fifo.
    pub fn fd(&self) -> RawFd {
        self.0.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}
