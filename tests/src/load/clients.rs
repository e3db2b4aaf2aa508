//! Those who send: SMTP clients that wait for each answer, or the system's sendmail command.

use crate::load::messages::{Plan, SENDER};
use crate::load::talk::Server;
use crate::load::{Result, SMTP};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sys::process::{Gid, Uid};
use sys::spawn::Program;

/// Who calls the command: the first local user.
const CALLER: (Uid, Gid) = (Uid(54000), Gid(54000));

/// How messages get in.
pub enum Way {
    /// So many through each connection.
    Smtp { each: usize },
    /// Each by a call of this program.
    Command { program: String },
}

/// When messages were accepted.
#[derive(Default)]
pub struct Accepted {
    /// How long each took: from the start of the command; from the connection, or for its later messages from MAIL, to
    /// the answer.
    times: Vec<Duration>,
    /// The last answer.
    pub last: Option<Instant>,
    /// The first thing that went wrong.
    pub trouble: Option<String>,
}

impl Accepted {
    /// Milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
    }

    /// One more, begun then and done now.
    pub fn add(&mut self, since: Instant) {
        let now = Instant::now();
        self.times.push(now - since);
        self.last = self.last.max(Some(now));
    }

    /// What another client has done.
    pub fn merge(&mut self, other: Accepted) {
        self.times.extend(other.times);
        self.last = self.last.max(other.last);
        self.trouble = self.trouble.take().or(other.trouble);
    }
}

/// Sends all messages with so many clients at a time.
pub fn send(way: &Way, clients: usize, plan: &Plan) -> Accepted {
    let next = AtomicUsize::new(0);
    let mut all = Accepted::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut accepted = Accepted::default();
                    accepted.trouble = client(way, plan, &next, &mut accepted).err();
                    accepted
                })
            })
            .collect();
        for client in running {
            all.merge(client.join().unwrap_or_default());
        }
    });
    all
}

/// One client: takes messages until none is left.
fn client(way: &Way, plan: &Plan, next: &AtomicUsize, accepted: &mut Accepted) -> Result<()> {
    loop {
        match way {
            Way::Smtp { each } => {
                let first = next.fetch_add(*each, Ordering::SeqCst);
                if first >= plan.messages {
                    return Ok(());
                }
                let last = plan.messages.min(first + each);
                session(plan, first..last, accepted).map_err(|why| format!("not accepted: {why}"))?;
            }
            Way::Command { program } => {
                let message = next.fetch_add(1, Ordering::SeqCst);
                if message >= plan.messages {
                    return Ok(());
                }
                command(program, plan, message, accepted).map_err(|why| format!("not accepted: {why}"))?;
            }
        }
    }
}

/// One connection. Nothing is pipelined.
fn session(plan: &Plan, messages: std::ops::Range<usize>, accepted: &mut Accepted) -> Result<()> {
    let wires: Vec<Vec<u8>> = messages.clone().map(|m| plan.wire(m)).collect();
    let mut since = Instant::now();
    let mut server = Server::plain(SMTP)?;
    server.hear(b'2')?;
    server.ask(b"EHLO client.test\r\n", b'2')?;
    for (message, wire) in messages.zip(wires) {
        server.ask(format!("MAIL FROM:<{SENDER}>\r\n").as_bytes(), b'2')?;
        for address in plan.addresses(message) {
            server.ask(format!("RCPT TO:<{address}>\r\n").as_bytes(), b'2')?;
        }
        server.ask(b"DATA\r\n", b'3')?;
        server.ask(&wire, b'2')?;
        accepted.add(since);
        since = Instant::now();
    }
    server.ask(b"QUIT\r\n", b'2')
}

/// One call of the sendmail command, at vfork's price so that the system's own cost is what is seen.
fn command(program: &str, plan: &Plan, message: usize, accepted: &mut Accepted) -> Result<()> {
    let text = plan.message(message);
    let addresses = plan.addresses(message);
    let mut argv = vec![program.as_bytes(), b"-i", b"-f", SENDER.as_bytes(), b"--"];
    argv.extend(addresses.iter().map(String::as_bytes));
    let told = |e: std::io::Error| e.to_string();
    let (reader, mut writer) = std::io::pipe().map_err(told)?;
    // It fits into the pipe.
    writer.write_all(&text).map_err(told)?;
    drop(writer);
    let program = Program::new(program.as_bytes(), &argv).and_then(|p| p.dir(b"/")).map_err(told)?;
    let program = program.fd(0, reader.as_raw_fd()).ids(CALLER.0, CALLER.1);
    let since = Instant::now();
    let pid = program.start().map_err(told)?;
    let ended = sys::process::wait(pid).map_err(told)?;
    accepted.add(since);
    if ended.code() == Some(0) { Ok(()) } else { Err(format!("the command ended: {ended:?}")) }
}
