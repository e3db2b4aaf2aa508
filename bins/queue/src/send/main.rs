//! qmail-send: delivers what is in the queue.
//!
//! qmail-start becomes this program, as qmails. fd 0: log (write); 1 and 2: to and from qmail-lspawn; 3 and 4: qmail-rspawn;
//! 5 and 6: qmail-clean; 7 and 8: qmail-todo. Touches queue/info, local, remote, bounce (writes), mess and todo (looks),
//! lock/sendmutex; reads control; runs qmail-queue for bounces. Exit codes: 0 after SIGTERM, when the deliveries that run
//! are done, or when a daemon it needs is lost; 111 if it cannot start. SIGALRM: try everything now. SIGHUP: read
//! control/locals and virtualdomains again.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod bounce;
mod channel;
mod cleanup;
mod fresh;
mod links;
mod log;
mod schedule;
mod settings;

use channel::{Deliveries, Outcome};
use cleanup::Cleanup;
use fresh::Fresh;
use links::{Clean, FromTodo, Todo};
use log::Log;
use queue::layout::{Channel, Layout, MessNum};
use queue::told::Envelope;
use schedule::Schedule;
use settings::Settings;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use sys::Exit;
use sys::signal::{SIGALRM, SIGHUP, SIGTERM};

/// What the system refused is tried again after this time (seconds).
const SLEEP_SYSFAIL: u64 = 123;
/// The longest sleep (seconds).
const SLEEP_FOREVER: u64 = 86_400;
/// Added to every sleep that has an end, so that a clock that stands between two seconds makes no busy loop (seconds).
const SLEEP_FUZZ: u64 = 1;
/// Steps of one kind taken before the other kinds get their turn.
const STEPS: usize = 64;
/// The same for steps towards deliveries: as many as a spawner has room for, so that it sees together what can be
/// delivered together.
const DELIVERY_STEPS: usize = 256;

sys::program!(run);

fn run(_: sys::start::Args) -> Exit {
    let mut log = Log::default();
    match start(&mut log) {
        Ok(mut send) => send.serve(log),
        Err(reason) => {
            log.line(&[b"alert: cannot start: ", reason.as_bytes()]);
            log.flush();
            Exit::TEMPORARY
        }
    }
}

fn start(log: &mut Log) -> Result<Send, &'static str> {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    if sys::process::chdir(&home).is_err() {
        return Err("unable to switch to home directory");
    }
    let settings = Settings::read(&home).ok_or("unable to read controls")?;
    let queue_dir = || sys::process::chdir(&queue).and_then(|()| Layout::find());
    let layout = queue_dir().map_err(|_| "unable to switch to queue directory")?;
    sys::signal::ignore(sys::signal::SIGPIPE);
    let caught = [SIGTERM, SIGALRM, SIGHUP].iter().try_for_each(|&s| sys::signal::catch(s));
    caught.map_err(|_| "unable to catch signals")?;
    sys::process::umask(0o077);
    sys::process::no_core_dumps();
    take_mutex()?;
    let local = Deliveries::start(Channel::Local, 1, 2, layout, settings.concurrency_local)?;
    let remote = Deliveries::start(Channel::Remote, 3, 4, layout, settings.concurrency_remote)?;
    let mut send = Send {
        layout,
        settings,
        channels: [local, remote],
        known: HashMap::new(),
        done: Schedule::default(),
        failed: Schedule::default(),
        cleanup: Cleanup::new(sys::time::now()),
        todo: Todo::new(7, 8),
        clean: Clean::new(5, 6),
        leaving: false,
    };
    send.read_queue(log);
    send.todo.command(b"S");
    send.status(log);
    Ok(send)
}

/// Makes sure that this is the only qmail-send of this queue, ours or anybody's, until it exits.
fn take_mutex() -> Result<(), &'static str> {
    let file = std::fs::OpenOptions::new().write(true).open("lock/sendmutex").map_err(|_| "unable to open mutex")?;
    if !sys::fs::lock(&file, false).unwrap_or(false) {
        return Err("qmail-send is already running");
    }
    // The lock lasts as long as the file is open.
    std::mem::forget(file);
    Ok(())
}

/// The state of the queue as qmail-send sees it. `known` holds every message from the moment it is preprocessed (or
/// found at the start) until it is finished; with its sender as long as there are no files of it.
struct Send {
    layout: Layout,
    settings: Settings,
    channels: [Deliveries; 2],
    known: HashMap<MessNum, Option<Rc<[u8]>>>,
    /// Messages without recipients left: to be bounced and removed.
    done: Schedule,
    /// Messages that could not be looked at.
    failed: Schedule,
    cleanup: Cleanup,
    todo: Todo,
    clean: Clean,
    /// No new deliveries are started.
    leaving: bool,
}

impl Send {
    fn serve(&mut self, mut log: Log) -> Exit {
        while !self.may_exit() {
            self.take_signals();
            log.flush();
            if let Err(e) = self.wait(&mut log) {
                log.line(&[b"warning: trouble in select: ", sys::error::text(&e).as_bytes()]);
            }
        }
        self.channels.iter_mut().for_each(|c| c.save_schedule(&mut log));
        log.line(&[b"status: exiting"]);
        log.flush();
        Exit::OK
    }

    /// Told to leave, and no delivery runs, no message is left to be finished, and qmail-todo has made all durable.
    fn may_exit(&self) -> bool {
        let finished = self.done.first().is_none_or(|time| time > sys::time::now());
        self.leaving && self.todo.is_over() && finished && self.channels.iter().all(Deliveries::can_exit)
    }

    fn take_signals(&mut self) {
        if sys::signal::take(SIGALRM) {
            let now = sys::time::now();
            self.channels.iter_mut().for_each(|c| c.waiting.all_at(now));
        }
        if sys::signal::take(SIGHUP) {
            self.todo.command(b"H");
            self.settings.read_routes_again();
        }
        if sys::signal::take(SIGTERM) {
            self.leave();
        }
    }

    /// Starts nothing new from now on.
    fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.todo.leave();
        }
    }

    /// Sleeps until there is something to do, and does it.
    fn wait(&mut self, log: &mut Log) -> io::Result<()> {
        let [local, remote] = &self.channels;
        let mut fds = [
            local.output_interest(),
            local.input_interest(),
            remote.output_interest(),
            remote.input_interest(),
            self.todo.output_interest(),
            self.todo.input_interest(),
            self.clean.interest(),
        ];
        sys::poll::wait(&mut fds, Some(self.time_to_sleep()))?;
        let [local_out, local_in, remote_out, remote_in, todo_out, todo_in, clean] = fds;
        if clean.readable && self.clean.is_hung_up() {
            self.clean_died(log);
        }
        for (c, input, output) in [(0, local_in, local_out), (1, remote_in, remote_out)] {
            self.serve_channel(c, input.readable, output.writable, log);
        }
        if todo_out.writable {
            self.todo.write();
        }
        if todo_in.readable {
            self.read_todo(log);
        }
        self.start_deliveries(log);
        self.look_again(log);
        self.finish_messages(log);
        if !self.leaving && self.cleanup.step(self.layout, &mut self.clean, log).is_err() {
            self.clean_died(log);
        }
        Ok(())
    }

    fn time_to_sleep(&self) -> Duration {
        let now = sys::time::now();
        let mut until = now + SLEEP_FOREVER;
        if !self.leaving {
            for c in &self.channels {
                until = until.min(c.next_event().unwrap_or(until));
            }
            until = until.min(self.failed.first().unwrap_or(until)).min(self.cleanup.next_event());
        }
        until = until.min(self.done.first().unwrap_or(until));
        if until <= now { Duration::ZERO } else { Duration::from_secs(until - now + SLEEP_FUZZ) }
    }

    fn clean_died(&mut self, log: &mut Log) {
        log.line(&[b"alert: oh no! lost qmail-clean connection! dying..."]);
        self.clean.lost();
        self.leave();
    }

    /// One `status:` line.
    fn status(&self, log: &mut Log) {
        let [l, r] = &self.channels;
        let text = format!("status: local {}/{} remote {}/{}", l.used(), l.limit(), r.used(), r.limit());
        log.line(&[text.as_bytes(), if self.leaving { b" exitasap" } else { b"" }]);
    }

    /// Moves bytes to and from one spawner and acts on the reports that are complete.
    fn serve_channel(&mut self, c: usize, readable: bool, writable: bool, log: &mut Log) {
        let Some(channel) = self.channels.get_mut(c) else { return };
        let mut alive = !writable || channel.write();
        let reports = if readable { channel.read() } else { Some(Vec::new()) };
        alive &= reports.is_some();
        for report in reports.unwrap_or_default() {
            self.take_report(c, &report, log);
        }
        if !alive {
            log.line(&[b"alert: oh no! lost spawn connection! dying..."]);
            if let Some(channel) = self.channels.get_mut(c) {
                channel.lost();
            }
            self.leave();
        }
    }

    fn take_report(&mut self, c: usize, report: &[u8], log: &mut Log) {
        let Some(channel) = self.channels.get_mut(c) else { return };
        let outcome = channel.take_report(report, &self.settings, log);
        match outcome {
            Outcome::NoSuchDelivery => return,
            Outcome::JobGoesOn => {}
            Outcome::Waits(n) => self.todo.keep(n),
            Outcome::ChannelDone(n) => self.channel_done(c, n, log),
        }
        self.status(log);
    }

    /// All recipients of `n` on channel `c` are done. If the other channel has none either, the message is.
    fn channel_done(&mut self, c: usize, n: MessNum, log: &mut Log) {
        let other = self.channels.get(1 - c.min(1));
        match other.map_or(Ok(false), |other| other.has_left(n)) {
            Ok(true) => return,
            Ok(false) => {}
            Err(name) => log.about_file("warning: unable to stat ", &name, ""),
        }
        self.done.add(sys::time::now(), n);
    }

    fn start_deliveries(&mut self, log: &mut Log) {
        if self.leaving {
            return;
        }
        let now = sys::time::now();
        for c in 0..self.channels.len() {
            for _ in 0..DELIVERY_STEPS {
                let Some(channel) = self.channels.get_mut(c) else { break };
                match channel.step(now, &self.settings, log) {
                    channel::Step::Nothing => break,
                    channel::Step::Read => {}
                    channel::Step::Started => self.status(log),
                    channel::Step::Closed(Outcome::ChannelDone(n)) => self.channel_done(c, n, log),
                    channel::Step::Closed(Outcome::Waits(n)) => self.todo.keep(n),
                    channel::Step::Closed(_) => {}
                }
            }
            if let Some(channel) = self.channels.get_mut(c)
                && !channel.write()
            {
                self.serve_channel(c, true, true, log);
            }
        }
    }

    /// Looks at the messages again that could not be looked at.
    fn look_again(&mut self, log: &mut Log) {
        for _ in 0..STEPS {
            let Some(n) = self.failed.take_due(sys::time::now()) else { return };
            self.add(n, log);
        }
    }

    fn finish_messages(&mut self, log: &mut Log) {
        for _ in 0..STEPS {
            // While qmail-todo makes the rest durable it takes no more commands.
            if self.todo.is_leaving() {
                return;
            }
            let Some(n) = self.done.take_due(sys::time::now()) else { return };
            if self.finish(n, log).is_err() {
                self.done.add(sys::time::now() + SLEEP_SYSFAIL, n);
            }
        }
    }

    /// Message `n` has no recipients left: bounces what failed, and removes it.
    fn finish(&mut self, n: MessNum, log: &mut Log) -> Result<(), ()> {
        for channel in &self.channels {
            match channel.has_left(n) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(name) => {
                    log.about_file("warning: unable to stat ", &name, "; will try again later");
                    return Err(());
                }
            }
        }
        let sender = self.known.get(&n).cloned().flatten();
        let is_fresh = sender.is_some();
        let info = self.layout.info(n);
        if !is_fresh && !self.exists(&info, log)? {
            self.known.remove(&n);
            return Ok(());
        }
        bounce::inject(n, sender.as_deref(), self.layout, &self.settings, log)?;
        log.line(&[format!("end msg {n}").as_bytes()]);
        if !is_fresh && std::fs::remove_file(&info).is_err() {
            log.about_file("warning: unable to unlink ", &info, "; will try again later");
            return Err(());
        }
        self.known.remove(&n);
        self.channels.iter_mut().for_each(|c| c.forget(n));
        if self.todo.takes_commands() {
            self.todo.finished(n);
        } else if self.clean.remove(n, is_fresh || self.todo.was_lost(), log).is_err() {
            self.clean_died(log);
        }
        Ok(())
    }

    fn exists(&self, name: &Path, log: &mut Log) -> Result<bool, ()> {
        match std::fs::metadata(name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(_) => {
                log.about_file("warning: unable to stat ", name, "; will try again later");
                Err(())
            }
        }
    }

    fn read_todo(&mut self, log: &mut Log) {
        for record in self.todo.read() {
            match record {
                FromTodo::Line(line) => log.verbatim(&line),
                FromTodo::Fresh(n, envelope) => self.add_fresh(n, envelope),
                FromTodo::Written(n) => self.written(n, log),
                FromTodo::Message { n, local, remote } => {
                    let now = sys::time::now();
                    self.known.insert(n, None);
                    let [l, r] = &mut self.channels;
                    if local {
                        l.waiting.add(now, n);
                    }
                    if remote {
                        r.waiting.add(now, n);
                    }
                    if !local && !remote {
                        self.done.add(now, n);
                    }
                }
                FromTodo::Lost => {
                    log.line(&[b"alert: oh no! lost qmail-todo connection! dying..."]);
                    self.leave();
                }
            }
        }
    }

    /// Schedules a message that has no files yet.
    fn add_fresh(&mut self, n: MessNum, envelope: Envelope) {
        let now = sys::time::now();
        let sender: Rc<[u8]> = envelope.sender.into();
        if envelope.lists.iter().all(Vec::is_empty) {
            self.done.add(now, n);
        }
        for (channel, list) in self.channels.iter_mut().zip(envelope.lists) {
            if !list.is_empty() {
                channel.add_fresh(n, Fresh::new(sender.clone(), now, list));
            }
        }
        self.known.insert(n, Some(sender));
    }

    /// There are files now of a message that had none. If it is finished already, qmail-todo removes them.
    fn written(&mut self, n: MessNum, log: &mut Log) {
        if let Some(sender) = self.known.get_mut(&n) {
            *sender = None;
            self.channels.iter_mut().for_each(|c| c.written(n, log));
        }
    }

    /// Finds the messages that are preprocessed already.
    fn read_queue(&mut self, log: &mut Log) {
        for split in 0..self.layout.split() {
            let dir = format!("info/{split}");
            let numbers = loop {
                match queue::layout::numbers_in(Path::new(&dir)) {
                    Ok(numbers) => break numbers,
                    Err(_) => {
                        log.line(&[b"alert: unable to opendir ", dir.as_bytes(), b", sleeping..."]);
                        log.pause();
                    }
                }
            };
            for n in numbers.flatten() {
                self.add(n, log);
            }
        }
    }

    /// Schedules a message that has an info file, by the times of its local and remote files.
    fn add(&mut self, n: MessNum, log: &mut Log) {
        if self.known.contains_key(&n) {
            return;
        }
        match self.times(n) {
            Ok(None) => {}
            Ok(Some(Found::StillInTodo)) => self.failed.add(sys::time::now() + SLEEP_SYSFAIL, n),
            Ok(Some(Found::Preprocessed { local, remote })) => {
                self.known.insert(n, None);
                let [l, r] = &mut self.channels;
                local.into_iter().for_each(|t| l.waiting.add(t, n));
                remote.into_iter().for_each(|t| r.waiting.add(t, n));
                if local.is_none() && remote.is_none() {
                    self.done.add(sys::time::now(), n);
                }
            }
            Err(name) => {
                log.about_file("warning: unable to stat ", &name, "; will try again later");
                self.failed.add(sys::time::now() + SLEEP_SYSFAIL, n);
            }
        }
    }

    fn times(&self, n: MessNum) -> Result<Option<Found>, std::path::PathBuf> {
        let time = |name: std::path::PathBuf| match std::fs::metadata(&name) {
            Ok(m) => Ok(Some(mtime(&m))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(name),
        };
        if time(self.layout.info(n))?.is_none() {
            return Ok(None);
        }
        for todo in self.layout.todo_places(n) {
            if time(todo)?.is_some() {
                return Ok(Some(Found::StillInTodo));
            }
        }
        let local = time(self.layout.recipients(n, Channel::Local))?;
        let remote = time(self.layout.recipients(n, Channel::Remote))?;
        Ok(Some(Found::Preprocessed { local, remote }))
    }
}

/// What [`Send::times`] found of a message with an info file.
enum Found {
    /// qmail-todo will make the other files anew and tell of it. If instead an older qmail-clean just removes the todo
    /// file, looking again later finds the message.
    StillInTodo,
    /// When to try each channel; `None`: it has no recipients there.
    Preprocessed { local: Option<u64>, remote: Option<u64> },
}

/// The modification time (seconds since 1970; 0 if it is before that).
fn mtime(m: &std::fs::Metadata) -> u64 {
    u64::try_from(std::os::unix::fs::MetadataExt::mtime(m)).unwrap_or(0)
}
