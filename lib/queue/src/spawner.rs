//! The loop that qmail-lspawn and qmail-rspawn share: orders in, deliveries side by side, reports out.
//!
//! The delivery protocol (spec/programs.md 2.2). The first byte out is the most deliveries this spawner runs at a time.
//! Then come orders, `delnum messid NUL sender NUL recipient NUL`, and go reports, `delnum report NUL`, in the order in
//! which the deliveries end. A report begins with K (done), Z (try again) or D (never).
//!
//! Orders that arrive together and have message and sender in common may become one job ([`Deliverer::joins`]): one
//! program then makes several deliveries, each of which still gets its own report.

mod orders;

use orders::{Asked, Orders};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::fd::{Fd, STDIN};
use sys::poll::Interest;
use sys::process::{Ended, Pid};
use sys::signal::{SIGCHLD, SIGPIPE};
use sys::spawn::{NotStarted, Program};

/// The longest message id in an order, counted with its NUL (bytes).
const MESSID_MAX: usize = 100;
/// Orders read at a time (bytes): all that a Linux pipe holds, so that what was written together is seen together.
const ORDERS_BYTES: usize = 65536;
/// How much of a dead child's pipe is still read while others hold it open (bytes): all that a Linux pipe holds.
const PIPE_BYTES: usize = 65536;

/// One delivery, or several of one message and sender that are made together.
#[derive(Debug)]
pub struct Job {
    /// The message, open for reading at its beginning.
    pub message: File,
    /// Envelope sender.
    pub sender: Vec<u8>,
    /// The recipient of the first delivery.
    pub first: Recipient,
    more: Vec<Recipient>,
    messid: Vec<u8>,
}

impl Job {
    /// The recipients of all deliveries, in the order of the reports.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// How many deliveries it makes.
    pub fn size(&self) -> usize {
        1 + self.more.len()
    }
}

/// Orders of one message and sender that may become one job. There is always one.
struct Group {
    messid: Vec<u8>,
    sender: Vec<u8>,
    recipients: Vec<Recipient>,
}

/// Whom a delivery goes to.
#[derive(Debug)]
pub struct Recipient {
    delnum: u8,
    /// Envelope recipient; it has an `@`.
    pub address: Vec<u8>,
    at: usize,
}

impl Recipient {
    /// The address up to its last `@`.
    pub fn local(&self) -> &[u8] {
        self.address.get(..self.at).unwrap_or_default()
    }

    /// The address behind its last `@`.
    pub fn host(&self) -> &[u8] {
        self.address.get(self.at + 1..).unwrap_or_default()
    }
}

/// What a child wrote, up to a limit.
#[derive(Debug)]
pub struct Output {
    kept: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Output {
    fn new(limit: usize) -> Output {
        Output { kept: Vec::new(), limit, cut: false }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.kept.len());
        self.cut |= bytes.len() > room;
        self.kept.extend(bytes.iter().take(room));
    }

    /// What was kept: all of it, unless [`Output::is_cut`].
    pub fn bytes(&self) -> &[u8] {
        &self.kept
    }

    /// Whether the child wrote more than the limit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// What comes next in a job.
pub enum Step<P> {
    /// It is over, and this is the report for each of its deliveries. A report ends at its first NUL, or with the last
    /// byte.
    Report(Vec<u8>),
    /// It is over, with a report for each delivery in turn, or `None` for those that are to be made again, as a job of
    /// their own: at most all but one, so that this comes to an end.
    Reports(Vec<Option<Vec<u8>>>),
    /// A program is to be run. It gets the pipe as descriptor 1, the rest is up to the caller.
    Run {
        /// The program.
        program: Program,
        /// Whether its descriptor 2 goes to the pipe as well.
        errors_too: bool,
        /// What [`Deliverer::ended`] has to know.
        phase: P,
    },
}

impl<P> Step<P> {
    /// A report that is always the same.
    pub fn report(text: &str) -> Step<P> {
        Step::Report(text.as_bytes().to_vec())
    }
}

/// What is special about one spawner: which programs make a delivery, and what their ends mean.
pub trait Deliverer {
    /// Which of the programs of a delivery is running.
    type Phase;
    /// How much of a program's output is kept (bytes).
    const OUTPUT_MAX: usize;

    /// Whether the delivery to `next` can be made together with those to `group`, of the same message and sender.
    fn joins(&self, group: &[Recipient], next: &Recipient) -> bool;
    /// Whether as many deliveries as can be made together are worth it. Else each becomes a job of its own.
    fn is_worth_it(&self, deliveries: usize) -> bool;
    /// The first step of a job.
    fn begin(&mut self, job: &Job) -> Step<Self::Phase>;
    /// The step after the end of a program.
    fn ended(&mut self, job: &Job, phase: Self::Phase, how: Ended, output: &Output) -> Step<Self::Phase>;
    /// The report when a program could not be started.
    fn not_started(&mut self, phase: &Self::Phase, why: NotStarted) -> &'static str;
}

/// Serves orders from descriptor 0 until its end, and the deliveries then running to theirs. Reports go to descriptor
/// 1; if nobody reads them any more the deliveries are finished all the same.
///
/// `messages` is the directory of the messages. Only regular files of its own owner are delivered, the user qmailq, or
/// in a private instance the one user. An error means that the loop could not begin or go on.
pub fn serve(deliverer: &mut impl Deliverer, messages: &Path, limit: u8) -> io::Result<()> {
    sys::signal::unblock_all();
    sys::signal::ignore(SIGPIPE);
    sys::signal::catch(SIGCHLD)?;
    let owner = std::fs::metadata(messages)?.uid();
    let mut spawner = Spawner {
        deliverer,
        messages: messages.to_path_buf(),
        owner,
        busy: vec![false; usize::from(limit)],
        slots: (0..limit).map(|_| None).collect(),
        out: vec![limit],
        writing: true,
    };
    let (mut stdin, mut orders, mut reading) = (STDIN, Orders::default(), true);
    let mut buf = vec![0; ORDERS_BYTES];
    loop {
        spawner.flush();
        if !reading && spawner.slots.iter().all(Option::is_none) {
            return Ok(());
        }
        let ready = spawner.wait(reading)?;
        if ready {
            let n = stdin.read(&mut buf).unwrap_or(0);
            reading = n > 0;
            let mut input = buf.get(..n).unwrap_or_default();
            let mut groups = Vec::new();
            while let Some(asked) = orders.next(&mut input) {
                spawner.accept(asked, &mut groups);
            }
            groups.into_iter().for_each(|group| spawner.begin_group(group));
        }
        spawner.reap();
    }
}

/// One job under way.
struct Slot<P> {
    job: Job,
    phase: P,
    pid: Pid,
    output: Output,
    /// `None` from its end on.
    pipe: Option<OwnedFd>,
    ended: Option<Ended>,
    /// Bytes read since the child was seen to have ended.
    late: usize,
}

struct Spawner<'d, D: Deliverer> {
    deliverer: &'d mut D,
    messages: PathBuf,
    owner: u32,
    /// By delivery number: whether that delivery is being made.
    busy: Vec<bool>,
    /// The jobs, each under the number of its first delivery. Boxed, as most numbers are free most of the time.
    slots: Vec<Option<Box<Slot<D::Phase>>>>,
    out: Vec<u8>,
    writing: bool,
}

impl<D: Deliverer> Spawner<'_, D> {
    /// Waits until something happens and reads what the children wrote; says whether there are orders to be read.
    ///
    /// A delivery ends with its child, not with the last process that holds the pipe: a dead child's pipe is emptied,
    /// which a look without waiting tells, and that is it.
    fn wait(&mut self, reading: bool) -> io::Result<bool> {
        let mut list = vec![Interest::read(if reading { STDIN.as_raw_fd() } else { -1 })];
        let mut emptying = Vec::new();
        for (delnum, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            if slot.ended.is_some() {
                emptying.push(delnum);
            }
            if let Some(pipe) = &slot.pipe {
                list.push(Interest::read(pipe.as_raw_fd()));
            }
        }
        sys::poll::wait(&mut list, (!emptying.is_empty()).then_some(Duration::ZERO))?;
        let mut polled = list.iter();
        let ready = polled.next().is_some_and(|i| i.readable);
        for slot in self.slots.iter_mut().flatten().filter(|s| s.pipe.is_some()) {
            if polled.next().is_some_and(|i| i.readable) {
                slot.read();
            } else if slot.ended.is_some() {
                slot.pipe = None;
            }
        }
        for delnum in emptying {
            self.end_if_over(delnum);
        }
        Ok(ready)
    }

    /// Takes note of the children that have ended.
    fn reap(&mut self) {
        // A pipe at its end tells as much as the signal does, and mostly a moment earlier.
        let at_end = self.slots.iter().flatten().any(|s| s.pipe.is_none());
        if !sys::signal::take(SIGCHLD) && !at_end {
            return;
        }
        while let Some((pid, how)) = sys::process::reap() {
            let whose = self.slots.iter_mut().position(|s| s.as_ref().is_some_and(|s| s.pid == pid));
            let Some(delnum) = whose else { continue };
            if let Some(Some(slot)) = self.slots.get_mut(delnum) {
                slot.ended = Some(how);
            }
            self.end_if_over(delnum);
        }
    }

    fn end_if_over(&mut self, delnum: usize) {
        let Some(place) = self.slots.get_mut(delnum) else { return };
        let Some(slot) = place.take_if(|s| s.pipe.is_none()) else { return };
        let Some(how) = slot.ended else {
            *place = Some(slot);
            return;
        };
        let Slot { job, phase, output, .. } = *slot;
        let step = self.deliverer.ended(&job, phase, how, &output);
        self.take(job, step);
    }

    /// Checks an order and puts it into one of `groups`.
    fn accept(&mut self, asked: Asked, groups: &mut Vec<Group>) {
        let delnum = asked.delnum;
        match self.check(asked, groups) {
            Ok(()) => {
                if let Some(busy) = self.busy.get_mut(usize::from(delnum)) {
                    *busy = true;
                }
            }
            // The number may be that of a delivery under way: it stays busy.
            Err(refusal) => self.say(delnum, refusal.as_bytes()),
        }
    }

    fn check(&self, asked: Asked, groups: &mut Vec<Group>) -> Result<(), &'static str> {
        if asked.too_long {
            return Err("Zqmail-spawn out of memory. (#4.3.0)\n");
        }
        match self.busy.get(usize::from(asked.delnum)) {
            None => return Err("ZInternal error: delnum too big. (#4.3.5)\n"),
            Some(true) => return Err("ZInternal error: delnum in use. (#4.3.5)\n"),
            Some(false) => {}
        }
        let Asked { delnum, messid, sender, recipient, .. } = asked;
        // Nothing but digits and inner slashes: no path out of the messages' directory can be made of them.
        if messid.iter().enumerate().any(|(i, b)| !b.is_ascii_digit() && (i == 0 || *b != b'/')) {
            return Err("DInternal error: messid has nonnumerics. (#5.3.5)\n");
        }
        if messid.len() >= MESSID_MAX {
            return Err("DInternal error: messid too long. (#5.3.5)\n");
        }
        if messid.is_empty() {
            return Err("DInternal error: messid too short. (#5.3.5)\n");
        }
        let at = recipient.iter().rposition(|&b| b == b'@');
        let at = at.ok_or("DSorry, address must include host name. (#5.1.3)\n")?;
        let recipient = Recipient { delnum, address: recipient, at };
        let fits = |group: &&mut Group| {
            group.messid == messid && group.sender == sender && self.deliverer.joins(&group.recipients, &recipient)
        };
        match groups.iter_mut().rev().find(fits) {
            Some(group) => group.recipients.push(recipient),
            None => groups.push(Group { messid, sender, recipients: vec![recipient] }),
        }
        Ok(())
    }

    fn begin_group(&mut self, group: Group) {
        let Group { messid, sender, recipients } = group;
        if self.deliverer.is_worth_it(recipients.len()) {
            return self.open_and_begin(messid, sender, recipients);
        }
        for recipient in recipients {
            self.open_and_begin(messid.clone(), sender.clone(), vec![recipient]);
        }
    }

    fn open_and_begin(&mut self, messid: Vec<u8>, sender: Vec<u8>, recipients: Vec<Recipient>) {
        let message = match self.open(&messid) {
            Ok(message) => message,
            Err(why) => return recipients.iter().for_each(|r| self.end(r.delnum, why.as_bytes())),
        };
        let mut recipients = recipients.into_iter();
        let Some(first) = recipients.next() else { return };
        let job = Job { message, sender, first, more: recipients.collect(), messid };
        let step = self.deliverer.begin(&job);
        self.take(job, step);
    }

    fn open(&self, messid: &[u8]) -> Result<File, &'static str> {
        let file = self.messages.join(std::ffi::OsStr::from_bytes(messid));
        let message = sys::fs::open_read(&file).map_err(|_| "Zqmail-spawn unable to open message. (#4.3.0)\n")?;
        let meta = message.metadata().map_err(|_| "Zqmail-spawn unable to fstat message. (#4.3.0)\n")?;
        self.check_file(&meta)?;
        Ok(message)
    }

    fn check_file(&self, meta: &Metadata) -> Result<(), &'static str> {
        if !meta.is_file() {
            return Err("ZSorry, message has wrong type. (#4.3.5)\n");
        }
        if meta.uid() != self.owner {
            return Err("ZSorry, message has wrong owner. (#4.3.5)\n");
        }
        Ok(())
    }

    fn take(&mut self, job: Job, step: Step<D::Phase>) {
        let (program, errors_too, phase) = match step {
            Step::Report(text) => return self.report(&job, &text),
            Step::Reports(texts) => return self.report_each(job, texts),
            Step::Run { program, errors_too, phase } => (program, errors_too, phase),
        };
        let Ok((pipe, writing)) = sys::fd::pipe() else {
            return self.report(&job, b"Zqmail-spawn unable to create pipe. (#4.3.0)\n");
        };
        let mut program = program.fd(1, writing.as_raw_fd());
        if errors_too {
            program = program.fd(2, writing.as_raw_fd());
        }
        match program.try_start() {
            Ok(pid) => {
                let (pipe, output) = (Some(pipe), Output::new(D::OUTPUT_MAX));
                if let Some(place) = self.slots.get_mut(usize::from(job.first.delnum)) {
                    *place = Some(Box::new(Slot { job, phase, pid, output, pipe, ended: None, late: 0 }));
                }
            }
            Err(why) => {
                let text = self.deliverer.not_started(&phase, why);
                self.report(&job, text.as_bytes());
            }
        }
    }

    /// Reports the same on all deliveries of a job.
    fn report(&mut self, job: &Job, text: &[u8]) {
        job.recipients().for_each(|r| self.end(r.delnum, text));
    }

    /// Reports on each delivery of a job, and makes those again that have no report.
    fn report_each(&mut self, job: Job, texts: Vec<Option<Vec<u8>>>) {
        let Job { messid, sender, first, more, .. } = job;
        let mut again = Vec::new();
        let texts = texts.into_iter().chain(std::iter::repeat(None));
        for (recipient, text) in std::iter::once(first).chain(more).zip(texts) {
            match text {
                Some(text) => self.end(recipient.delnum, &text),
                None => again.push(recipient),
            }
        }
        if !again.is_empty() {
            self.open_and_begin(messid, sender, again);
        }
    }

    /// The report on a delivery that is over; its number is free again.
    fn end(&mut self, delnum: u8, text: &[u8]) {
        if let Some(busy) = self.busy.get_mut(usize::from(delnum)) {
            *busy = false;
        }
        self.say(delnum, text);
    }

    fn say(&mut self, delnum: u8, text: &[u8]) {
        // A NUL would end the report and make the rest of it the next one.
        let text = text.split(|&b| b == 0).next().unwrap_or_default();
        self.out.push(delnum);
        self.out.extend_from_slice(text);
        self.out.push(0);
    }

    fn flush(&mut self) {
        if self.writing && !self.out.is_empty() {
            self.writing = Fd(1).write_all(&self.out).is_ok();
        }
        self.out.clear();
    }
}

impl<P> Slot<P> {
    fn read(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut buf = [0; 4096];
        match Fd(pipe.as_raw_fd()).read(&mut buf) {
            Ok(n) if n > 0 => {
                self.output.add(buf.get(..n).unwrap_or_default());
                if self.ended.is_some() {
                    self.late += n;
                    if self.late >= PIPE_BYTES {
                        self.pipe = None;
                    }
                }
            }
            // The end, or a pipe that cannot be read: the child's exit code has to tell.
            _ => self.pipe = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_up_to_its_limit() {
        let mut o = Output::new(5);
        o.add(b"abc");
        o.add(b"de");
        assert_eq!((o.bytes(), o.is_cut()), (&b"abcde"[..], false));
        o.add(b"f");
        assert_eq!((o.bytes(), o.is_cut()), (&b"abcde"[..], true));
        let mut o = Output::new(5);
        o.add(b"abcdefg");
        o.add(b"");
        assert_eq!((o.bytes(), o.is_cut()), (&b"abcde"[..], true));
    }

    #[test]
    fn the_recipient_is_divided_at_its_last_at() {
        let recipient = b"\"a@b\"@host".to_vec();
        let at = recipient.iter().rposition(|&b| b == b'@').unwrap();
        let to = Recipient { delnum: 0, address: recipient, at };
        assert_eq!((to.local(), to.host()), (&b"\"a@b\""[..], &b"host"[..]));
    }
}
