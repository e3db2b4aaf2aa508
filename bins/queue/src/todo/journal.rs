//! The journal: messages that were preprocessed and whose todo file still exists.
//!
//! While the todo file is there, info, local and remote need not be on the disk, nor even exist: after a crash they are
//! made anew. The file goes when qmail-send says that the message is finished, or when the message has waited for a while
//! and its files were written and made durable. Most messages are finished before that, and cost no file and no sync here.

use crate::files;
use queue::layout::{Channel, Layout, MessNum};
use queue::told::Envelope;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a message may stay unfinished before its files are made durable: so long when nothing else gets finished, ...
const PATIENCE: Duration = Duration::from_millis(300);
/// ... which is to say within this time, ...
const QUIET: Duration = Duration::from_millis(100);
/// ... and so long on a busy host: its turn comes, and files for all that wait would only make the queue longer.
const PATIENCE_BUSY: Duration = Duration::from_secs(3);
/// What fails is tried again after this time.
const SLEEP_SYSFAIL: Duration = Duration::from_secs(123);
/// Messages made durable together: more share their syncs, but new mail waits meanwhile.
const BATCH: usize = 64;
/// What the envelopes in memory may take, of one message and of all (bytes).
const ENVELOPE_MAX: usize = 65536;
const ENVELOPES_MAX: usize = 4 << 20;

/// Where a message of the journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its todo file is its only durable envelope.
    Open,
    /// qmail-clean was asked to remove the todo file. `finished`: and then the message.
    Leaving { finished: bool },
    /// qmail-clean could not; it is asked again later.
    Failed { finished: bool },
}

/// When a message is to be made durable.
#[derive(Clone, Copy, Debug)]
struct Due {
    quiet: Instant,
    busy: Instant,
}

impl Due {
    fn at(now: Instant) -> Due {
        Due { quiet: now, busy: now }
    }

    /// The moment it comes, if no message is finished until then.
    fn instant(self, last_finished: Option<Instant>) -> Instant {
        let quiet = last_finished.map_or(self.quiet, |l| self.quiet.max(l + QUIET));
        quiet.min(self.busy)
    }
}

/// A message of the journal.
struct Message {
    state: State,
    /// The envelope, as long as no files were made of it.
    unwritten: Option<Envelope>,
}

/// A request to qmail-clean that was not answered yet.
#[derive(Clone, Copy, Debug)]
enum Request {
    Todo(MessNum),
    Foop(MessNum),
}

/// See the top of this file.
pub struct Journal {
    layout: Layout,
    messages: HashMap<MessNum, Message>,
    /// The memory that unwritten envelopes take (bytes).
    held: usize,
    /// Messages that have got files since qmail-send was told of them.
    written: Vec<MessNum>,
    /// When to look at a message again, in the order of time: quiet or not, and if it is quiet.
    schedule: VecDeque<(Due, MessNum)>,
    /// When a message was finished last.
    last_finished: Option<Instant>,
    /// The same for those that failed.
    retries: VecDeque<(Instant, MessNum)>,
    unanswered: VecDeque<Request>,
    requests: Vec<u8>,
    settling: bool,
}

impl Journal {
    /// An empty journal for the queue in the current directory.
    pub fn new(layout: Layout) -> Journal {
        Journal {
            layout,
            messages: HashMap::new(),
            held: 0,
            written: Vec::new(),
            schedule: VecDeque::new(),
            last_finished: None,
            retries: VecDeque::new(),
            unanswered: VecDeque::new(),
            requests: Vec::new(),
            settling: false,
        }
    }

    /// Whether the todo file of `n` belongs to a message that was preprocessed already.
    pub fn has(&self, n: MessNum) -> bool {
        self.messages.contains_key(&n)
    }

    /// How large an envelope may be to be kept in memory (bytes).
    pub fn room(&self) -> usize {
        ENVELOPE_MAX.min(ENVELOPES_MAX.saturating_sub(self.held))
    }

    /// Message `n` was preprocessed; its envelope, if no files were made of it.
    pub fn add(&mut self, n: MessNum, unwritten: Option<Envelope>, now: Instant) {
        self.held += unwritten.as_ref().map_or(0, Envelope::size);
        self.messages.insert(n, Message { state: State::Open, unwritten });
        self.schedule.push_back((Due { quiet: now + PATIENCE, busy: now + PATIENCE_BUSY }, n));
    }

    /// qmail-send has finished `n` and removed what it knew of info, local and remote. What it was not told of in time
    /// goes here, or is named if it can not be removed. The todo file goes before the message, for its number may be
    /// used again as soon as the message is gone.
    pub fn finished(&mut self, n: MessNum, now: Instant) -> Result<(), PathBuf> {
        self.last_finished = Some(now);
        let unwritten = self.messages.get_mut(&n).and_then(|m| m.unwritten.take());
        let removed = match unwritten {
            None => files::remove(self.layout, n),
            Some(envelope) => {
                self.held -= envelope.size();
                Ok(())
            }
        };
        match self.messages.get_mut(&n).map(|m| &mut m.state) {
            None => self.ask(Request::Foop(n)),
            Some(State::Leaving { finished } | State::Failed { finished }) => *finished = true,
            Some(State::Open) => self.leave(n, true),
        }
        removed
    }

    /// Message `n` will not be finished soon.
    pub fn keep(&mut self, n: MessNum) {
        if self.is_open(n) {
            self.schedule.push_front((Due::at(Instant::now()), n));
        }
    }

    fn is_open(&self, n: MessNum) -> bool {
        self.messages.get(&n).is_some_and(|m| m.state == State::Open)
    }

    /// The messages that have got files since the last call.
    pub fn take_written(&mut self) -> Vec<MessNum> {
        std::mem::take(&mut self.written)
    }

    /// From now on everything that is open is to be made durable.
    pub fn settle_all(&mut self) {
        self.settling = true;
        let now = Instant::now();
        self.schedule = self.messages.keys().map(|&n| (Due::at(now), n)).collect();
        self.retries.clear();
    }

    /// Nothing is left to do (after [`Journal::settle_all`]).
    pub fn is_settled(&self) -> bool {
        self.messages.is_empty() && self.unanswered.is_empty()
    }

    /// When [`Journal::commit`] will have something to do.
    pub fn next_due(&self) -> Option<Instant> {
        let first = self.schedule.front().map(|f| f.0.instant(self.last_finished));
        first.into_iter().chain(self.retries.front().map(|f| f.0)).min()
    }

    /// What is to be written to qmail-clean.
    pub fn take_requests(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.requests)
    }

    fn ask(&mut self, request: Request) {
        let text = match request {
            Request::Todo(n) => format!("todo/{n}\0"),
            Request::Foop(n) => format!("foop/{n}\0"),
        };
        self.requests.extend_from_slice(text.as_bytes());
        self.unanswered.push_back(request);
    }

    fn leave(&mut self, n: MessNum, finished: bool) {
        if let Some(message) = self.messages.get_mut(&n) {
            message.state = State::Leaving { finished };
            self.ask(Request::Todo(n));
        }
    }

    fn is_finished(&self, n: MessNum) -> bool {
        self.messages.get(&n).is_some_and(|m| m.state == State::Leaving { finished: true })
    }

    fn forget(&mut self, n: MessNum) {
        let message = self.messages.remove(&n);
        self.held -= message.and_then(|m| m.unwritten).as_ref().map_or(0, Envelope::size);
    }

    /// Takes qmail-clean's answer to the oldest request; returns the file it could not remove.
    pub fn answer(&mut self, answer: u8) -> Option<String> {
        let request = self.unanswered.pop_front()?;
        match (request, answer) {
            (Request::Todo(n), b'+') => {
                if self.is_finished(n) {
                    self.ask(Request::Foop(n));
                }
                self.forget(n);
                None
            }
            (Request::Foop(_), b'+') => None,
            (Request::Foop(n), _) => Some(format!("foop/{n}")),
            (Request::Todo(n), _) => {
                self.put_off(n, State::Failed { finished: self.is_finished(n) });
                Some(format!("todo/{n}"))
            }
        }
    }

    /// Comes back to `n` later; not at all if everything is being settled: its todo file then stays for the next start.
    fn put_off(&mut self, n: MessNum, state: State) {
        if self.settling {
            self.forget(n);
        } else if let Some(message) = self.messages.get_mut(&n) {
            message.state = state;
            self.retries.push_back((Instant::now() + SLEEP_SYSFAIL, n));
        }
    }

    /// Makes those messages durable that are open and due, as one batch: all contents, then all names; and asks
    /// qmail-clean to remove their todo files. Returns the files that could not be synced.
    pub fn commit(&mut self, now: Instant) -> Vec<PathBuf> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(n) = self.next(now) else { break };
            match self.messages.get(&n).map(|m| m.state) {
                // A message may be scheduled twice: by its age, and because it has to wait.
                Some(State::Open) if !batch.contains(&n) => batch.push(n),
                Some(State::Failed { finished }) => self.leave(n, finished),
                _ => {}
            }
        }
        if batch.is_empty() { Vec::new() } else { self.make_durable(&batch) }
    }

    /// Takes the next message that is due from the schedule or the retries.
    fn next(&mut self, now: Instant) -> Option<MessNum> {
        let last_finished = self.last_finished;
        let due = self.schedule.pop_front_if(|f| f.0.instant(last_finished) <= now).map(|f| f.1);
        due.or_else(|| self.retries.pop_front_if(|f| f.0 <= now).map(|f| f.1))
    }

    fn make_durable(&mut self, batch: &[MessNum]) -> Vec<PathBuf> {
        let mut troubles = Vec::new();
        let mut open: Vec<(MessNum, Vec<(PathBuf, File)>)> = Vec::new();
        for &n in batch {
            match self.write_files(n).and_then(|()| self.open_files(n)) {
                Ok(files) => open.push((n, files)),
                Err(name) => self.trouble(&mut troubles, n, name),
            }
        }
        open.iter().flat_map(|(_, files)| files).for_each(|(_, f)| sys::fs::start_writeback(f));
        let mut dirs = BTreeSet::from([PathBuf::from("bounce")]);
        let mut synced = Vec::new();
        for (n, files) in open {
            match files.iter().find(|(_, f)| f.sync_all().is_err()) {
                Some((name, _)) => self.trouble(&mut troubles, n, name.clone()),
                None => {
                    // A channel without recipients counts too: an older message of this number may have had some.
                    let names =
                        [self.layout.info(n)].into_iter().chain(Channel::BOTH.map(|c| self.layout.recipients(n, c)));
                    dirs.extend(names.filter_map(|name| name.parent().map(Path::to_path_buf)));
                    synced.push(n);
                }
            }
        }
        let bad = dirs.into_iter().find(|dir| sys::fs::sync_dir(dir).is_err());
        for n in synced {
            match &bad {
                None => self.leave(n, false),
                Some(dir) => self.trouble(&mut troubles, n, dir.clone()),
            }
        }
        troubles
    }

    /// Makes the files of an envelope that is only in memory.
    fn write_files(&mut self, n: MessNum) -> Result<(), PathBuf> {
        let Some(message) = self.messages.get_mut(&n) else { return Ok(()) };
        let Some(envelope) = &message.unwritten else { return Ok(()) };
        files::write(envelope, self.layout, n)?;
        self.held -= envelope.size();
        message.unwritten = None;
        self.written.push(n);
        Ok(())
    }

    /// Opens what there is of info, local, remote and bounce. A message without info is just being finished.
    fn open_files(&self, n: MessNum) -> Result<Vec<(PathBuf, File)>, PathBuf> {
        let mut names = vec![self.layout.info(n)];
        names.extend(Channel::BOTH.map(|c| self.layout.recipients(n, c)));
        names.push(self.layout.bounce(n));
        let mut files = Vec::new();
        for name in names {
            match File::open(&name) {
                Ok(f) => files.push((name, f)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return Err(name),
            }
        }
        Ok(files)
    }

    fn trouble(&mut self, troubles: &mut Vec<PathBuf>, n: MessNum, name: PathBuf) {
        self.put_off(n, State::Open);
        troubles.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: MessNum = MessNum(46);

    /// A journal in an empty queue of its own. The process's directory is changed, so one test does it all.
    #[test]
    fn todo_goes_first_and_only_when_finished_or_durable() {
        let dir = tempfile::tempdir().unwrap();
        std::env::set_current_dir(dir.path()).unwrap();
        for d in ["mess", "info", "local", "remote"] {
            (0..conf::SPLIT).for_each(|s| std::fs::create_dir_all(format!("{d}/{s}")).unwrap());
        }
        std::fs::create_dir_all("bounce").unwrap();
        let layout = Layout::find().unwrap();
        let mut j = Journal::new(layout);
        let now = Instant::now();

        // Finished before its time: todo, then, once that is gone, the message.
        j.add(N, None, now);
        assert!(j.commit(now).is_empty() && j.take_requests().is_empty());
        j.finished(N, now).unwrap();
        assert!(j.has(N));
        assert_eq!(j.take_requests(), b"todo/46\0");
        assert_eq!(j.answer(b'+'), None);
        assert!(!j.has(N));
        assert_eq!(j.take_requests(), b"foop/46\0");
        assert_eq!(j.answer(b'+'), None);

        // Not finished: made durable, todo goes, the message stays; finished later.
        std::fs::write(layout.info(N), "Fa\0").unwrap();
        j.add(N, None, now);
        assert!(j.commit(now + PATIENCE).is_empty());
        assert_eq!(j.take_requests(), b"todo/46\0");
        j.finished(N, now).unwrap();
        assert!(j.take_requests().is_empty());
        j.answer(b'+');
        assert_eq!(j.take_requests(), b"foop/46\0");
        j.answer(b'+');
        assert!(j.is_settled());

        // In memory: finished before its time it never has files, else it gets them and qmail-send is told.
        let envelope = || Some(Envelope { sender: b"s".to_vec(), lists: [b"Ta@b\0".to_vec(), Vec::new()] });
        j.add(N, envelope(), now);
        j.commit(now);
        j.finished(N, now).unwrap();
        assert_eq!((j.take_written(), j.held), (vec![], 0));
        j.answer(b'+');
        j.answer(b'+');
        assert_eq!(j.take_requests(), b"todo/46\0foop/46\0");
        j.add(N, envelope(), now);
        assert_eq!(j.held, 6);
        j.keep(N);
        assert!(j.commit(Instant::now()).is_empty());
        assert_eq!((j.take_written(), j.held), (vec![N], 0));
        let list = layout.recipients(N, Channel::Local);
        assert_eq!(std::fs::read(&list).unwrap(), b"Ta@b\0");
        assert_eq!(std::fs::read(layout.info(N)).unwrap(), b"Fs\0");
        // qmail-send finished it before it heard of the files.
        j.finished(N, now).unwrap();
        assert!(!list.exists() && !layout.info(N).exists());
        j.answer(b'+');
        j.answer(b'+');
        assert_eq!(j.take_requests(), b"todo/46\0foop/46\0");
        assert!(j.is_settled());

        // On a busy host it waits longer, but not for ever.
        j.add(N, None, now);
        let soon = now + PATIENCE;
        j.finished(MessNum(1), soon).unwrap();
        assert_eq!(j.next_due(), Some(soon + QUIET));
        j.commit(soon);
        assert_eq!(j.take_requests(), b"foop/1\0");
        j.finished(MessNum(2), now + PATIENCE_BUSY).unwrap();
        assert_eq!(j.next_due(), Some(now + PATIENCE_BUSY));
        j.commit(now + PATIENCE_BUSY);
        assert_eq!(j.take_requests(), b"foop/2\0todo/46\0");
        (0..3).for_each(|_| assert_eq!(j.answer(b'+'), None));
        assert!(j.is_settled());
        let now = Instant::now() + PATIENCE_BUSY;

        // A write that fails is tried again later, and the todo file stays.
        std::fs::write(&list, "in the way").unwrap();
        j.add(N, envelope(), now);
        assert_eq!(j.commit(now + PATIENCE), std::slice::from_ref(&list));
        assert!(j.take_requests().is_empty() && !layout.info(N).exists());
        j.commit(Instant::now() + SLEEP_SYSFAIL);
        assert_eq!(j.take_written(), [N]);
        assert_eq!(j.take_requests(), b"todo/46\0");
        j.answer(b'+');
        files::remove(layout, N).unwrap();

        // qmail-clean has trouble: it is asked again, and the message is not removed before todo is.
        j.add(N, None, now);
        j.finished(N, now).unwrap();
        j.take_requests();
        assert_eq!(j.answer(b'!').as_deref(), Some("todo/46"));
        assert!(j.has(N) && j.take_requests().is_empty());
        j.commit(Instant::now() + SLEEP_SYSFAIL);
        assert_eq!(j.take_requests(), b"todo/46\0");
        j.answer(b'+');
        assert_eq!(j.take_requests(), b"foop/46\0");

        // Leaving: everything is made durable at once; what fails stays in todo.
        j.answer(b'+');
        j.add(N, None, now);
        j.settle_all();
        j.commit(Instant::now());
        assert_eq!(j.take_requests(), b"todo/46\0");
        j.answer(b'!');
        assert!(j.is_settled());
    }
}
