//! The measuring half of package/bench, which starts it inside the name spaces of the mail system under test.
//!
//!   load wait [ PORT ... ]        until a server greets on port 25, and there is one on each of these ports, too
//!   load log SOURCE FILE          appends to FILE what is logged: to the named pipe SOURCE, in place of a multilog,
//!                                 or to the socket /dev/log, in place of a syslogd
//!   load transfer SYSTEM CGROUP HOME SENDMAIL WORKLOAD WAY CLIENTS MESSAGES EACH RECIPIENTS DOMAIN ROUND
//!                                 sends MESSAGES and prints one line of figures (figures.rs)
//!   load sessions SYSTEM CGROUP WORKLOAD HOW PORT CLIENTS SESSIONS ROUND
//!   load idle SYSTEM WORKLOAD HOW PORT CONNECTIONS ROUND
//!                                 sessions without mail, and silent ones, likewise (sessions.rs); HOW is plain, full or
//!                                 resumed
//!   load table [ sessions | idle ]
//!                                 reads such lines and prints medians and ratios; exit 1 if a figure is void
//!
//! WAY is smtp or command; EACH is how many messages go through one connection. Mail for local.test is looked for in
//! HOME/bNN/Maildir/new; mail for other domains is to come to the sink on port 2525 of this process.

mod arrivals;
mod clients;
mod figures;
mod messages;
mod processor;
mod sessions;
mod sink;
mod talk;

use self::arrivals::Mailboxes;
use self::clients::Way;
use self::figures::Figures;
use self::messages::Plan;
use self::processor::Meter;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// What went wrong, as a line for people.
type Result<T> = std::result::Result<T, String>;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// How long nothing may arrive before the rest is taken for lost.
const SILENCE: Duration = Duration::from_secs(30);
/// Where the servers under test listen.
const SMTP: &str = "127.0.0.1:25";

/// Does what these words say.
pub fn run(args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["wait", ports @ ..] => wait(ports),
        ["log", source, file] => log(source, file),
        ["transfer", rest @ ..] => transfer(rest),
        ["sessions", rest @ ..] => sessions::sessions(rest),
        ["idle", rest @ ..] => sessions::idle(rest),
        ["table"] => figures::table(&figures::MESSAGES),
        ["table", "sessions"] => figures::table(&figures::SESSIONS),
        ["table", "idle"] => figures::table(&figures::IDLE),
        _ => Err("usage: load wait | log | transfer | sessions | idle | table ...".to_string()),
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            eprintln!("load: fatal: {why}");
            ExitCode::from(111)
        }
    }
}

/// Waits for the server's greeting, and for those who listen on the other ports.
fn wait(ports: &[&str]) -> Result<ExitCode> {
    let end = Instant::now() + START;
    for port in ports {
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            if Instant::now() >= end {
                return Err(format!("nobody listens on port {port}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    while Instant::now() < end {
        if let Ok(mut stream) = TcpStream::connect(SMTP) {
            let mut greeting = [0; 3];
            let limit = stream.set_read_timeout(Some(START));
            if limit.is_ok() && stream.read_exact(&mut greeting).is_ok() && greeting == *b"220" {
                // The session is over either way.
                let _ = stream.write_all(b"QUIT\r\n").and_then(|()| stream.read(&mut [0; 512]));
                return Ok(ExitCode::SUCCESS);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("no greeting on {SMTP}"))
}

/// Stands in for the logger of a system, so that each has one.
fn log(source: &str, file: &str) -> Result<ExitCode> {
    let told = |what: &str, e: std::io::Error| format!("unable to {what}: {e}");
    let mut file = OpenOptions::new().create(true).append(true).open(file).map_err(|e| told("open the log", e))?;
    if source != "/dev/log" {
        let mut pipe = std::fs::File::open(source).map_err(|e| told("open the pipe", e))?;
        std::io::copy(&mut pipe, &mut file).map_err(|e| told("write the log", e))?;
        return Ok(ExitCode::SUCCESS);
    }
    let socket = UnixDatagram::bind(source).map_err(|e| told("bind /dev/log", e))?;
    let everybody = PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(source, everybody).map_err(|e| told("open /dev/log to everybody", e))?;
    let mut line = [0; 8192];
    loop {
        let n = socket.recv(&mut line).map_err(|e| told("read /dev/log", e))?;
        let said = line.get(..n).unwrap_or_default().trim_ascii_end();
        file.write_all(&[said, b"\n"].concat()).map_err(|e| told("write the log", e))?;
    }
}

/// One workload through one system, once.
fn transfer(words: &[&str]) -> Result<ExitCode> {
    let &[system, cgroup, home, sendmail, workload, way, clients, messages, each, recipients, domain, round] = words
    else {
        return Err("transfer: 12 words are needed".to_string());
    };
    let number = |word: &str| word.parse::<usize>().map_err(|_| format!("no number: {word}"));
    let way = match way {
        "smtp" => Way::Smtp { each: number(each)?.max(1) },
        "command" => Way::Command { program: sendmail.to_string() },
        _ => return Err(format!("no way of sending: {way}")),
    };
    let plan = Plan {
        name: format!("{workload}.{round}"),
        messages: number(messages)?,
        recipients: number(recipients)?,
        domain: domain.to_string(),
    };
    let sink = sink::start()?;
    let boxes = Mailboxes::below(home);
    boxes.empty()?;
    let meter = Meter::new(cgroup)?;

    let before = meter.read()?;
    let (start, start_by_clock) = (Instant::now(), SystemTime::now());
    let accepted = clients::send(&way, number(clients)?, &plan);
    let arrived_last = || match plan.is_local() {
        true => boxes.last_arrival().and_then(|at| at.duration_since(start_by_clock).ok()),
        false => sink.last_arrival().map(|at| at.duration_since(start)),
    };
    wait_for_arrivals(&plan, || if plan.is_local() { boxes.count() } else { sink.count() });
    let end_to_end = arrived_last();
    meter.wait_until_quiet()?;
    let after = meter.read()?;

    let mut check = plan.check();
    boxes.for_each(|recipient, message| check.arrived(recipient, message))?;
    sink.for_each(|recipient, message| check.arrived(recipient, message));
    let void = [accepted.trouble.clone(), check.verdict()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    boxes.empty()?;

    let all = plan.messages * plan.recipients;
    let per_second = |time: Option<Duration>| time.map_or(f64::NAN, |t| all as f64 / t.as_secs_f64());
    let figures = Figures {
        accepted: per_second(accepted.last.map(|at| at.duration_since(start))),
        delivered: per_second(end_to_end),
        processor: after.saturating_sub(before).as_secs_f64() * 1e3 / all as f64,
        p50: accepted.percentile(50),
        p99: accepted.percentile(99),
    };
    println!("{}", figures.line(workload, system, round, &void));
    Ok(ExitCode::SUCCESS)
}

/// Returns when everything is there, or when nothing has arrived for a long time.
fn wait_for_arrivals(plan: &Plan, count: impl Fn() -> usize) {
    let (mut seen, mut at) = (0, Instant::now());
    while seen < plan.messages * plan.recipients && at.elapsed() < SILENCE {
        std::thread::sleep(Duration::from_millis(10));
        let now = count();
        if now != seen {
            (seen, at) = (now, Instant::now());
        }
    }
}
