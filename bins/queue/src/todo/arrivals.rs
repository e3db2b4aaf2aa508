//! How new messages are found: a look through todo at the start, and names that appear there from then on.
//!
//! The kernel tells the names (inotify); where it does not, the trigger makes for a look through all of todo, as in qmail,
//! which takes the longer the more messages todo holds or ever held. The trigger is listened to in any case, for those
//! who pull it by hand, but then such looks are rare: qmail-queue pulls it for each message.

use queue::layout::{Layout, MessNum};
use queue::trigger::Trigger;
use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use sys::poll::Interest;
use sys::watch::Watch;

/// todo is looked through at least this often, whatever is heard: 25 minutes.
const SLEEP_TODO: Duration = Duration::from_secs(1500);
/// A todo directory that can not be read is tried again after this time.
const SLEEP_TROUBLE: Duration = Duration::from_secs(10);
/// With the names from the kernel a pull of the trigger has nothing to say, except from hand: so often is enough.
const SLEEP_PULLED: Duration = Duration::from_secs(1);

/// See the top of this file.
pub struct Arrivals {
    layout: Layout,
    trigger: Trigger,
    watch: Option<Watch>,
    /// Names that were told.
    told: VecDeque<MessNum>,
    /// What is left of the present look.
    scan: Option<Scan>,
    last_scan: Instant,
    next_scan: Instant,
    /// The trigger was pulled, and what that means is in `next_scan`.
    pulled: bool,
}

impl Arrivals {
    /// For the queue in the current directory. Nothing is found before [`Arrivals::begin`].
    pub fn new(layout: Layout) -> Arrivals {
        let now = Instant::now();
        let (trigger, told) = (Trigger::default(), VecDeque::new());
        Arrivals { layout, trigger, watch: None, told, scan: None, last_scan: now, next_scan: now, pulled: false }
    }

    /// Begins to listen, then to look: what comes in between is found twice, not missed.
    pub fn begin(&mut self, now: Instant) {
        self.watch = Watch::on(&self.layout.todo_dirs()).ok();
        self.begin_scan(now);
    }

    /// Nothing is found from now on.
    pub fn end(&mut self) {
        *self = Arrivals::new(self.layout);
    }

    /// What to wait for: the trigger, unless a look is planned for it, and the names; neither if there is enough to do.
    pub fn interests(&self) -> [Interest; 2] {
        let trigger = if self.pulled { -1 } else { self.trigger.fd() };
        let names = self.watch.as_ref().map_or(-1, Watch::fd);
        [trigger, names].map(|fd| Interest::read(if self.is_busy() { -1 } else { fd }))
    }

    /// Whether there may be more to find at once.
    pub fn is_busy(&self) -> bool {
        self.scan.is_some() || !self.told.is_empty()
    }

    /// When todo is looked through next.
    pub fn next_scan(&self) -> Instant {
        self.next_scan
    }

    /// The trigger was pulled, or there are names, or it is time.
    pub fn listen(&mut self, pulled: bool, names: bool, now: Instant) {
        if names {
            self.read_names(now);
        }
        if pulled {
            self.pulled = true;
            let soon = if self.watch.is_some() { self.last_scan + SLEEP_PULLED } else { now };
            self.next_scan = self.next_scan.min(soon);
        }
        if self.next_scan <= now && !self.is_busy() {
            self.begin_scan(now);
        }
    }

    fn read_names(&mut self, now: Instant) {
        match self.watch.as_ref().map(Watch::names) {
            Some(Ok(Some(names))) => self.told.extend(names.iter().filter_map(|n| MessNum::parse(n.as_bytes()))),
            Some(Ok(None)) => self.next_scan = now,
            Some(Err(_)) => {
                self.watch = None;
                self.next_scan = now;
            }
            None => {}
        }
    }

    fn begin_scan(&mut self, now: Instant) {
        // First the trigger, then the look: what comes in between is found by this look or the next.
        self.trigger.set();
        self.pulled = false;
        (self.last_scan, self.next_scan) = (now, now + SLEEP_TODO);
        self.scan = Some(Scan { dirs: self.layout.todo_dirs(), open: None });
    }

    /// The next message, found again or new; `None`: no more for now; the directory that can not be read.
    pub fn next(&mut self, now: Instant) -> Result<Option<MessNum>, PathBuf> {
        if let Some(n) = self.told.pop_front() {
            return Ok(Some(n));
        }
        let Some(scan) = &mut self.scan else { return Ok(None) };
        let found = scan.next();
        if !matches!(found, Ok(Some(_))) {
            self.scan = None;
        }
        found.inspect_err(|_| self.next_scan = now + SLEEP_TROUBLE)
    }
}

/// A look through the directories where todo files may be.
struct Scan {
    dirs: Vec<PathBuf>,
    open: Option<Box<dyn Iterator<Item = io::Result<MessNum>>>>,
}

impl Scan {
    fn next(&mut self) -> Result<Option<MessNum>, PathBuf> {
        loop {
            if let Some(numbers) = &mut self.open {
                match numbers.next() {
                    Some(Ok(n)) => return Ok(Some(n)),
                    Some(Err(_)) | None => self.open = None,
                }
            }
            let Some(dir) = self.dirs.pop() else { return Ok(None) };
            match queue::layout::numbers_in(&dir) {
                Ok(numbers) => self.open = Some(Box::new(numbers)),
                Err(_) => return Err(dir),
            }
        }
    }
}
