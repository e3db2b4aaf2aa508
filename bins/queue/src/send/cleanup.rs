//! Looking through mess for what dead qmail-queues left there.

use crate::links::Clean;
use crate::log::Log;
use crate::{STEPS, mtime};
use queue::layout::{Layout, MessNum};
use std::io;
use std::path::Path;

/// Time from one look to the next (seconds).
const SLEEP_CLEANUP: u64 = 76_431;
/// A message that is not in todo and was not read for 36 hours belongs to no qmail-queue that lives (seconds).
const OSSIFIED: u64 = 129_600;

/// Where the look stands.
pub struct Cleanup {
    next: u64,
    split: u64,
    open: Option<Box<dyn Iterator<Item = io::Result<MessNum>>>>,
    running: bool,
}

impl Cleanup {
    /// The first look is at `time`.
    pub fn new(time: u64) -> Cleanup {
        Cleanup { next: time, split: 0, open: None, running: false }
    }

    /// When there is something to do.
    pub fn next_event(&self) -> u64 {
        if self.running { 0 } else { self.next }
    }

    /// Looks at some files, if it is time. `Err`: qmail-clean is gone.
    pub fn step(&mut self, layout: Layout, clean: &mut Clean, log: &mut Log) -> Result<(), ()> {
        let now = sys::time::now();
        if !self.running {
            if now < self.next {
                return Ok(());
            }
            (self.running, self.split, self.open) = (true, 0, None);
        }
        for _ in 0..STEPS {
            match self.next_number(layout) {
                Some(n) if is_left_over(layout, n, now) => clean.remove(n, false, log)?,
                Some(_) => {}
                None => {
                    self.running = false;
                    self.next = now + SLEEP_CLEANUP;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn next_number(&mut self, layout: Layout) -> Option<MessNum> {
        loop {
            if let Some(n) = self.open.as_mut().and_then(|numbers| numbers.find_map(Result::ok)) {
                return Some(n);
            }
            self.open = None;
            if self.split >= layout.split() {
                return None;
            }
            let dir = format!("mess/{}", self.split);
            self.split += 1;
            // A directory that can not be read now is looked at next time.
            if let Ok(numbers) = queue::layout::numbers_in(Path::new(&dir)) {
                self.open = Some(Box::new(numbers));
            }
        }
    }
}

/// Old, and neither in info nor in todo. In doubt it is not.
fn is_left_over(layout: Layout, n: MessNum, now: u64) -> bool {
    let Ok(mess) = std::fs::metadata(layout.mess(n)) else { return false };
    let read = u64::try_from(std::os::unix::fs::MetadataExt::atime(&mess)).unwrap_or(0).max(mtime(&mess));
    let absent = |name: &Path| matches!(std::fs::metadata(name), Err(e) if e.kind() == io::ErrorKind::NotFound);
    now > read.saturating_add(OSSIFIED) && absent(&layout.info(n)) && layout.todo_places(n).all(|t| absent(&t))
}
