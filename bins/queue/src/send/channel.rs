//! One channel: its spawner, the deliveries that run, the jobs they belong to, and the messages that wait.
//!
//! A job is one attempt at one message on this channel: its recipients are read one by one and a delivery is started for
//! each, as long as the spawner takes them. When all are reported and none is left, the channel's file is removed.

use crate::fresh::Fresh;
use crate::log::Log;
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::{SLEEP_SYSFAIL, bounce, mtime};
use queue::envelope::Records;
use queue::layout::{Channel, Layout, MessNum};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use sys::fd::Fd;
use sys::poll::Interest;

/// The longest delivery report; what is longer is cut (bytes). The spawners keep theirs shorter, but are not trusted.
const REPORT_MAX: usize = 10_000;
/// How many bytes of commands may wait for the spawner.
const COMMANDS_MAX: usize = 16_384;
/// Added to a failure report when the message is too old to be tried again.
const TOO_OLD: &[u8] = b"I'm not going to try again; this message has been in the queue too long.\n";

/// See the top of this file.
pub struct Deliveries {
    channel: Channel,
    layout: Layout,
    output: Fd,
    input: Fd,
    alive: bool,
    commands: Vec<u8>,
    report: Vec<u8>,
    /// By delivery number, as the protocol has it.
    running: Vec<Option<Delivery>>,
    used: usize,
    jobs: Vec<Option<Job>>,
    pass: Option<Pass>,
    /// Messages that have no files yet.
    fresh: HashMap<MessNum, Fresh>,
    /// Messages with recipients on this channel, and when they are tried next.
    pub waiting: Schedule,
}

struct Delivery {
    job: usize,
    /// Counts up over both channels, for the log.
    serial: u64,
    /// Where the recipient's letter stands in the channel's file.
    position: u64,
    recipient: Vec<u8>,
}

struct Job {
    n: MessNum,
    /// Deliveries that run, and one while the recipients are being read.
    users: usize,
    /// When to try again if recipients are left.
    retry: u64,
    sender: Vec<u8>,
    /// Recipients that are not done.
    left: usize,
    read_to_end: bool,
    too_old: bool,
    /// The channel's file, open for marks from the first one on.
    marks: Option<File>,
}

impl Job {
    /// Marks the recipient whose letter stands at `position` of the channel's file as done.
    fn mark_done(&mut self, name: &Path, position: u64) -> io::Result<()> {
        let file = match self.marks.take() {
            Some(file) => file,
            None => std::fs::OpenOptions::new().write(true).open(name)?,
        };
        file.write_all_at(b"D", position)?;
        self.marks = Some(file);
        Ok(())
    }
}

/// The recipients being read.
struct Pass {
    job: usize,
    records: Records<Box<dyn BufRead>>,
}

/// What the end of a delivery means for its message.
pub enum Outcome {
    /// The spawner reported on a delivery that does not run.
    NoSuchDelivery,
    /// Others of the same job still run.
    JobGoesOn,
    /// Recipients are left for a later attempt.
    Waits(MessNum),
    /// No recipient of this channel is left.
    ChannelDone(MessNum),
}

/// What one step did.
pub enum Step {
    /// Nothing to do, or no room.
    Nothing,
    /// Something, but no delivery was started.
    Read,
    /// A delivery was started.
    Started,
    /// The last of a job ended here.
    Closed(Outcome),
}

/// Delivery serial numbers, over both channels.
fn next_serial() -> u64 {
    static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Deliveries {
    /// Reads from the spawner how many deliveries it runs at a time.
    pub fn start(channel: Channel, out: i32, input: i32, layout: Layout, wanted: u64) -> Result<Self, &'static str> {
        const DEAD: &str = "hath the daemon spawn no fire?";
        let mut limit = [0];
        Fd(input).read_exact(&mut limit).map_err(|_| DEAD)?;
        sys::fd::set_nonblocking(out, true).map_err(|_| DEAD)?;
        let limit = usize::from(limit[0]).min(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(Deliveries {
            channel,
            layout,
            output: Fd(out),
            input: Fd(input),
            alive: true,
            commands: Vec::new(),
            report: Vec::new(),
            running: (0..limit).map(|_| None).collect(),
            used: 0,
            jobs: (0..limit).map(|_| None).collect(),
            pass: None,
            fresh: HashMap::new(),
            waiting: Schedule::default(),
        })
    }

    /// Deliveries that run.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The most that may run.
    pub fn limit(&self) -> usize {
        self.running.len()
    }

    /// Nothing runs here that could still be reported.
    pub fn can_exit(&self) -> bool {
        !self.alive || self.used == 0
    }

    /// Wait for room if there are commands to write.
    pub fn output_interest(&self) -> Interest {
        Interest::write(if self.alive && !self.commands.is_empty() { self.output.0 } else { -1 })
    }

    /// Wait for reports.
    pub fn input_interest(&self) -> Interest {
        Interest::read(if self.alive { self.input.0 } else { -1 })
    }

    /// The spawner is gone: nothing can be done about what runs.
    pub fn lost(&mut self) {
        self.alive = false;
    }

    /// Schedules a message that has no files yet.
    pub fn add_fresh(&mut self, n: MessNum, message: Fresh) {
        self.waiting.add(message.birth(), n);
        self.fresh.insert(n, message);
    }

    /// Whether message `n` has recipients on this channel that are not done. `Err`: the file that should tell.
    pub fn has_left(&self, n: MessNum) -> Result<bool, PathBuf> {
        if let Some(message) = self.fresh.get(&n) {
            return Ok(!message.is_done());
        }
        let name = self.layout.recipients(n, self.channel);
        match std::fs::metadata(&name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(_) => Err(name),
        }
    }

    /// Message `n` has files now: what was done meanwhile is marked there.
    pub fn written(&mut self, n: MessNum, log: &mut Log) {
        let Some(message) = self.fresh.remove(&n) else { return };
        let name = self.layout.recipients(n, self.channel);
        if message.is_done() && std::fs::remove_file(&name).is_ok() {
            return;
        }
        if message.mark(&name).is_err() {
            log.about_file("warning: trouble marking ", &name, "; message will be delivered twice!");
        }
        if message.is_done() {
            log.about_file("warning: unable to unlink ", &name, "; will try again later");
            self.waiting.add(sys::time::now() + SLEEP_SYSFAIL, n);
        }
    }

    /// Message `n` is finished.
    pub fn forget(&mut self, n: MessNum) {
        self.fresh.remove(&n);
    }

    fn has_room(&self) -> bool {
        self.alive && self.used < self.limit() && self.commands.len() < COMMANDS_MAX
    }

    /// When [`Deliveries::step`] will have something to do, unless reports make room before.
    pub fn next_event(&self) -> Option<u64> {
        if !self.has_room() {
            return None;
        }
        if self.pass.is_some() {
            return Some(0);
        }
        if self.jobs.iter().any(Option::is_none) { self.waiting.first() } else { None }
    }

    /// Writes what the spawner takes. False: it is gone.
    pub fn write(&mut self) -> bool {
        if !self.alive || self.commands.is_empty() {
            return true;
        }
        match self.output.write(&self.commands) {
            Ok(n) => drop(self.commands.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }

    /// Reads what there is and returns the reports that are complete, each with its delivery number in front. `None`: the
    /// spawner is gone.
    pub fn read(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut buffer = [0; 16384];
        let n = self.input.read(&mut buffer).unwrap_or(0);
        if n == 0 {
            return None;
        }
        let mut reports = Vec::new();
        for &b in buffer.iter().take(n) {
            // The first byte is the delivery number and may be 0.
            if b == 0 && !self.report.is_empty() {
                reports.push(std::mem::take(&mut self.report));
            } else if self.report.len() < REPORT_MAX {
                self.report.push(b);
            }
        }
        Some(reports)
    }

    /// Acts on a report: logs it, marks the recipient done or keeps it, notes a failure for the bounce.
    pub fn take_report(&mut self, report: &[u8], settings: &Settings, log: &mut Log) -> Outcome {
        let (number, text) = report.split_first().map_or((usize::MAX, report), |(&n, t)| (usize::from(n), t));
        let Some(delivery) = self.running.get_mut(number).and_then(Option::take) else {
            log.line(&[b"warning: internal error: delivery report out of range"]);
            return Outcome::NoSuchDelivery;
        };
        self.used -= 1;
        let Some(job) = self.jobs.get_mut(delivery.job).and_then(Option::as_mut) else {
            return Outcome::NoSuchDelivery;
        };
        let n = job.n;
        let (letter, text) = text.split_first().map_or((0, text), |(&l, t)| (l, t));
        let mut text = text.to_vec();
        let letter = if letter == b'Z' && job.too_old {
            text.extend_from_slice(TOO_OLD);
            b'D'
        } else {
            letter
        };
        let head = format!("delivery {}: ", delivery.serial);
        match letter {
            b'K' => log.line_with(format!("{head}success: ").as_bytes(), &text),
            b'Z' => log.line_with(format!("{head}deferral: ").as_bytes(), &text),
            b'D' => log.line_with(format!("{head}failure: ").as_bytes(), &text),
            _ => log.line(&[head.as_bytes(), b"report mangled, will defer"]),
        }
        if letter == b'D' {
            bounce::add(n, self.layout, settings, &delivery.recipient, &text, log);
        }
        if letter == b'K' || letter == b'D' {
            job.left -= 1;
            let removed_next = job.read_to_end && job.users == 1 && job.left == 0;
            if let Some(message) = self.fresh.get_mut(&n) {
                message.mark_done(delivery.position);
            } else if !removed_next {
                // A mark in a file that goes with this very report would be wasted.
                let name = self.layout.recipients(n, self.channel);
                if job.mark_done(&name, delivery.position).is_err() {
                    log.about_file("warning: trouble marking ", &name, "; message will be delivered twice!");
                }
            }
        }
        self.close(delivery.job, log)
    }

    /// One user of a job less. The last one decides what becomes of the message on this channel.
    fn close(&mut self, index: usize, log: &mut Log) -> Outcome {
        let Some(place) = self.jobs.get_mut(index) else { return Outcome::JobGoesOn };
        match place {
            Some(job) if job.users > 1 => {
                job.users -= 1;
                return Outcome::JobGoesOn;
            }
            _ => {}
        }
        let Some(job) = place.take() else { return Outcome::JobGoesOn };
        let mut retry = job.retry;
        if job.read_to_end && job.left == 0 {
            if let Some(message) = self.fresh.get_mut(&job.n) {
                message.finish();
                return Outcome::ChannelDone(job.n);
            }
            let name = self.layout.recipients(job.n, self.channel);
            if std::fs::remove_file(&name).is_ok() {
                return Outcome::ChannelDone(job.n);
            }
            log.about_file("warning: unable to unlink ", &name, "; will try again later");
            retry = sys::time::now() + SLEEP_SYSFAIL;
        }
        self.waiting.add(retry, job.n);
        Outcome::Waits(job.n)
    }

    /// Begins a job, or reads one recipient and starts its delivery.
    pub fn step(&mut self, now: u64, settings: &Settings, log: &mut Log) -> Step {
        if !self.has_room() {
            return Step::Nothing;
        }
        if self.pass.is_none() {
            return self.begin_job(now, settings, log);
        }
        let Some(pass) = &mut self.pass else { return Step::Nothing };
        let index = pass.job;
        let name = |n| self.layout.recipients(n, self.channel);
        let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else { return Step::Nothing };
        let (position, recipient) = match pass.records.read() {
            Ok(Some(r)) if r.letter == b'T' => (r.position, r.value.to_vec()),
            Ok(Some(r)) if r.letter == b'D' => return Step::Read,
            Ok(None) => {
                job.read_to_end = true;
                self.pass = None;
                return Step::Closed(self.close(index, log));
            }
            Ok(Some(_)) => {
                log.about_file("warning: unknown record type in ", &name(job.n), "!");
                self.pass = None;
                return Step::Closed(self.close(index, log));
            }
            Err(_) => {
                log.about_file("warning: trouble reading ", &name(job.n), "; will try again later");
                self.pass = None;
                return Step::Closed(self.close(index, log));
            }
        };
        self.start_delivery(index, position, recipient, log);
        Step::Started
    }

    fn begin_job(&mut self, now: u64, settings: &Settings, log: &mut Log) -> Step {
        let Some(index) = self.jobs.iter().position(Option::is_none) else { return Step::Nothing };
        let Some(n) = self.waiting.take_due(now) else { return Step::Nothing };
        let opened = match self.fresh.get(&n) {
            Some(m) => Some((Box::new(io::Cursor::new(m.list().to_vec())) as Box<dyn BufRead>, m.sender(), m.birth())),
            None => self.open(n),
        };
        let Some((recipients, sender, birth)) = opened else {
            log.about_file(
                "warning: trouble opening ",
                &self.layout.recipients(n, self.channel),
                "; will try again later",
            );
            self.waiting.add(now + SLEEP_SYSFAIL, n);
            return Step::Read;
        };
        let job = Job {
            n,
            users: 1,
            retry: next_retry(birth, now, self.channel),
            sender,
            left: 0,
            read_to_end: false,
            too_old: now > birth.saturating_add(settings.lifetime),
            marks: None,
        };
        if let Some(place) = self.jobs.get_mut(index) {
            *place = Some(job);
        }
        self.pass = Some(Pass { job: index, records: Records::new(recipients) });
        Step::Read
    }

    /// The recipients of message `n` from its file, and sender and birth.
    fn open(&self, n: MessNum) -> Option<(Box<dyn BufRead>, Vec<u8>, u64)> {
        let file = File::open(self.layout.recipients(n, self.channel)).ok()?;
        let (sender, birth) = read_info(self.layout, n)?;
        Some((Box::new(BufReader::with_capacity(1024, file)), sender, birth))
    }

    /// There is room: [`Deliveries::step`] looked.
    fn start_delivery(&mut self, index: usize, position: u64, recipient: Vec<u8>, log: &mut Log) {
        let Some(number) = self.running.iter().position(Option::is_none) else { return };
        let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else { return };
        job.users += 1;
        job.left += 1;
        let serial = next_serial();
        self.commands.push(u8::try_from(number).unwrap_or(u8::MAX));
        self.commands.extend_from_slice(&self.layout.split_name(job.n));
        self.commands.push(0);
        self.commands.extend_from_slice(&queue::route::sender_for(&job.sender, &recipient));
        self.commands.push(0);
        self.commands.extend_from_slice(&recipient);
        self.commands.push(0);
        let head = format!("starting delivery {serial}: msg {} to {} ", job.n, self.channel.name());
        log.line_with(head.as_bytes(), &recipient);
        if let Some(place) = self.running.get_mut(number) {
            *place = Some(Delivery { job: index, serial, position, recipient });
            self.used += 1;
        }
    }

    /// Keeps the times of the next attempts in the times of the channel's files, for the next start.
    pub fn save_schedule(&mut self, log: &mut Log) {
        for (time, n) in self.waiting.drain().filter(|(_, n)| !self.fresh.contains_key(n)) {
            let name = self.layout.recipients(n, self.channel);
            if sys::fs::set_mtime(&name, i64::try_from(time).unwrap_or(i64::MAX)).is_err() {
                log.about_file("warning: unable to utime ", &name, "; message will be retried too soon");
            }
        }
    }
}

/// The envelope sender and the birth (seconds since 1970) of message `n`, from its info file.
pub fn read_info(layout: Layout, n: MessNum) -> Option<(Vec<u8>, u64)> {
    let file = File::open(layout.info(n)).ok()?;
    let birth = mtime(&file.metadata().ok()?);
    let mut records = Records::new(BufReader::with_capacity(1024, file));
    let first = records.read().ok()??;
    (first.letter == b'F').then(|| (first.value.to_vec(), birth))
}

/// When a message born at `birth` and tried at `now` is tried next (seconds since 1970): the gaps grow with the
/// square of the number of attempts; 400 s, 1600 s ... in about a week's life for the remote channel (qmail-send(8)).
fn next_retry(birth: u64, now: u64, channel: Channel) -> u64 {
    let skip = match channel {
        Channel::Local => 10,
        Channel::Remote => 20,
    };
    let n = now.saturating_sub(birth).isqrt() + skip;
    birth.saturating_add(n.saturating_mul(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_follow_the_square_of_the_attempts() {
        for (age, local, remote) in [(0, 100, 400), (1, 121, 441), (100, 400, 900), (400, 900, 1600), (401, 900, 1600)]
        {
            assert_eq!(next_retry(1000, 1000 + age, Channel::Local), 1000 + local);
            assert_eq!(next_retry(1000, 1000 + age, Channel::Remote), 1000 + remote);
        }
        // d8: a birth in the future counts as now, and nothing overflows.
        assert_eq!(next_retry(5000, 1000, Channel::Local), 5100);
        assert_eq!(next_retry(u64::MAX, 0, Channel::Remote), u64::MAX);
        assert!(next_retry(0, u64::MAX, Channel::Remote) > u64::MAX / 2);
    }
}
