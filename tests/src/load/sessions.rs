//! Sessions without mail: what a connection costs by itself, and what one costs that is there and silent.

use crate::load::Result;
use crate::load::clients::Accepted;
use crate::load::processor::Meter;
use crate::load::talk::Server;
use std::fs;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tls::client::{Client, Demands};

/// How connections are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Without TLS.
    Plain,
    /// TLS, and nothing known from before.
    Full,
    /// TLS with a session of before.
    Resumed,
}

impl Way {
    fn of(word: &str) -> Result<Way> {
        match word {
            "plain" => Ok(Way::Plain),
            "full" => Ok(Way::Full),
            "resumed" => Ok(Way::Resumed),
            _ => Err(format!("no way of connecting: {word}")),
        }
    }
}

/// Who opens connections.
struct Caller {
    way: Way,
    address: String,
    /// One for all, or for resumed sessions one for each: not every server gives a new ticket for a used one.
    tls: Vec<Client>,
}

impl Caller {
    /// For the sessions up to this number.
    fn new(way: Way, port: &str, sessions: usize) -> Result<Caller> {
        let clients = if way == Way::Resumed { sessions + 1 } else { 1 };
        let client = |_| Client::new(&Demands::default()).map_err(|e| told(&e));
        let tls = (0..clients).map(client).collect::<Result<_>>()?;
        Ok(Caller { way, address: format!("127.0.0.1:{port}"), tls })
    }

    /// A session up to the answer to EHLO. Also tells whether it is one of before.
    fn open(&self, session: usize) -> Result<(Server, bool)> {
        let (mut server, resumed) = match self.way {
            Way::Plain => (Server::plain(&self.address)?, false),
            Way::Full | Way::Resumed => {
                let client = self.tls.get(session % self.tls.len()).ok_or("no client")?;
                // What is known of one name is not used for another.
                let name = format!("n{session}.bench.test");
                let connection = client.connect(name.as_bytes(), Ipv4Addr::LOCALHOST.into()).map_err(|e| told(&e))?;
                Server::secure(&self.address, connection)?
            }
        };
        server.hear(b'2')?;
        server.ask(b"EHLO client.test\r\n", b'2')?;
        Ok((server, resumed))
    }

    /// What comes before the sessions that are counted: one that wakes everybody up, or all that are to be resumed.
    fn prepare(&self) -> Result<()> {
        (0..self.tls.len()).try_for_each(|session| close(self.open(session)?.0))
    }

    fn call(&self, session: usize, done: &mut Accepted) -> Result<()> {
        let since = Instant::now();
        let (server, resumed) = self.open(session)?;
        if resumed != (self.way == Way::Resumed) {
            return Err(format!("the handshake was {}", if resumed { "a short one" } else { "a full one" }));
        }
        close(server)?;
        done.add(since);
        Ok(())
    }
}

fn close(mut server: Server) -> Result<()> {
    server.ask(b"QUIT\r\n", b'2')?;
    server.finish()
}

fn told(e: &tls::Error) -> String {
    String::from_utf8_lossy(&e.text()).into_owned()
}

/// So many sessions, and prints one line of figures: workload, system, round, sessions/s, processor ms, p50 ms, p99 ms,
/// and what makes it void, or `-`.
pub fn sessions(words: &[&str]) -> Result<ExitCode> {
    let &[system, cgroup, workload, way, port, clients, count, round] = words else {
        return Err("sessions: 8 words are needed".to_string());
    };
    let (clients, count) = (number(clients)?, number(count)?);
    let caller = Caller::new(Way::of(way)?, port, count)?;
    caller.prepare()?;
    let meter = Meter::new(cgroup)?;
    meter.wait_until_quiet()?;

    let before = meter.read()?;
    let start = Instant::now();
    let done = all(&caller, clients, count);
    meter.wait_until_quiet()?;
    let spent = meter.read()?.saturating_sub(before);

    let per_second = done.last.map_or(f64::NAN, |last| count as f64 / (last - start).as_secs_f64());
    let processor = spent.as_secs_f64() * 1e3 / count as f64;
    let void = done.trouble.as_deref().unwrap_or("-");
    println!(
        "{workload}\t{system}\t{round}\t{per_second:.3}\t{processor:.5}\t{:.4}\t{:.4}\t{void}",
        done.percentile(50),
        done.percentile(99)
    );
    Ok(ExitCode::SUCCESS)
}

/// So many clients share the sessions among them.
fn all(caller: &Caller, clients: usize, count: usize) -> Accepted {
    let next = AtomicUsize::new(1);
    let work = || {
        let mut done = Accepted::default();
        loop {
            let session = next.fetch_add(1, Ordering::SeqCst);
            if session > count || done.trouble.is_some() {
                return done;
            }
            done.trouble = caller.call(session, &mut done).err();
        }
    };
    let mut all = Accepted::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        for client in running {
            all.merge(client.join().unwrap_or_default());
        }
    });
    all
}

/// So many connections that are there and silent: prints workload, system, round, kB of memory for each, and `-`.
pub fn idle(words: &[&str]) -> Result<ExitCode> {
    let &[system, workload, way, port, count, round] = words else {
        return Err("idle: 6 words are needed".to_string());
    };
    let count = number(count)?;
    let caller = Caller::new(Way::of(way)?, port, count)?;
    // What is set up with the first connections belongs to none of them.
    caller.prepare()?;
    std::thread::sleep(REST);
    let before = memory()?;
    let open: Vec<_> = (1..=count).map(|n| caller.open(n)).collect::<Result<_>>()?;
    std::thread::sleep(REST);
    let kilobytes = memory()? - before;
    open.into_iter().try_for_each(|(server, _)| close(server))?;
    println!("{workload}\t{system}\t{round}\t{:.3}\t-", kilobytes / count as f64);
    Ok(ExitCode::SUCCESS)
}

/// Until everybody has done what was to be done.
const REST: Duration = Duration::from_millis(500);

/// Proportional set sizes of all processes that /proc shows but for this program's, in kB.
fn memory() -> Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc").map_err(|e| format!("unable to read /proc: {e}"))?.flatten() {
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        // A process may be gone, or have no memory any more.
        let Ok(text) = fs::read_to_string(entry.path().join("smaps_rollup")) else { continue };
        if name.trim_end() != "load" {
            sum += proportional(&text).unwrap_or(0.0);
        }
    }
    Ok(sum)
}

fn proportional(rollup: &str) -> Option<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|_| format!("no number: {word}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_read_from_one_line() {
        let text = "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss:   1240 kB\nPss:    161 kB\nPss_Anon:  88 kB\n";
        assert_eq!(super::proportional(text), Some(161.0));
        assert_eq!(super::proportional("Rss: 1 kB\n"), None);
        assert!(super::memory().unwrap() > 0.0);
    }
}
