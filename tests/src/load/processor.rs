//! Processor time of the system under test: all of its processes, dead or alive, and the commands that this process
//! called. Not this process itself.

use crate::load::Result;
use std::fs;
use std::time::{Duration, Instant};

/// The system is quiet when it needs less than this share of a processor ...
const QUIET: f64 = 0.05;
/// ... for this long.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(15);
/// What /proc/PID/stat counts in, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Where the figures come from.
pub enum Meter {
    /// This file of a cgroup that holds all processes of the system.
    Cgroup(String),
    /// /proc shows no processes but those of the system and its logger.
    Proc,
}

impl Meter {
    /// `cgroup` is a directory, or `-` if none can be had.
    pub fn new(cgroup: &str) -> Result<Meter> {
        Ok(if cgroup == "-" { Meter::Proc } else { Meter::Cgroup(format!("{cgroup}/cpu.stat")) })
    }

    /// User and system time so far.
    pub fn read(&self) -> Result<Duration> {
        let servers = match self {
            Meter::Cgroup(file) => {
                let text = fs::read_to_string(file).map_err(|e| format!("unable to read {file}: {e}"))?;
                let microseconds = text.lines().find_map(|l| l.strip_prefix("usage_usec ")?.parse().ok());
                Duration::from_micros(microseconds.ok_or_else(|| format!("{file} tells no usage_usec"))?)
            }
            Meter::Proc => {
                let entries = fs::read_dir("/proc").map_err(|e| format!("unable to read /proc: {e}"))?;
                let stats = entries.flatten().filter_map(|e| fs::read_to_string(e.path().join("stat")).ok());
                TICK * stats.filter_map(|s| ticks(&s)).sum()
            }
        };
        Ok(servers + sys::process::children_time())
    }

    /// Waits for the work that a system does when all is delivered.
    pub fn wait_until_quiet(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut before = self.read()?;
        while Instant::now() < end {
            std::thread::sleep(INTERVAL);
            let now = self.read()?;
            if now.saturating_sub(before) <= INTERVAL.mul_f64(QUIET) {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

/// What a process and those whom it has waited for have used (proc(5): fields 14 to 17), but for the logger, which is
/// this program.
fn ticks(stat: &str) -> Option<u32> {
    let (name, rest) = stat.rsplit_once(") ")?;
    if name.ends_with("(load") {
        return None;
    }
    rest.split(' ').skip(11).take(4).map(|field| field.parse::<u32>().ok()).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read_after_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0";
        assert_eq!(super::ticks(stat), Some(4330));
        assert_eq!(super::ticks(&stat.replace("a ) b", "load")), None);
    }
}
