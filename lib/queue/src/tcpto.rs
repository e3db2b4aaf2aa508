//! queue/lock/tcpto: which hosts timed out lately, so that deliveries do not wait for them again and again.
//!
//! The file is a cache of 64 records of 16 bytes: 0 to 3 an IPv4 address, 4 the number of recent time-outs, 8 to 11
//! the time of the last one (little-endian). An IPv6 address takes two neighbours, at an even place: the first holds
//! bytes 0 to 3 of it, count and time as above, a 6 at 5, and bytes 4 to 7 at 12; the second has count 0 (so that
//! programs that know IPv4 only pass over it), a 7 at 5, and the other half of the address at 0 and 12. Anything may
//! stand in the file, and no failure to use it is an error of the delivery.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Length of the file, in bytes.
pub const SIZE: usize = 1024;
/// Length of a record, in bytes.
const RECORD: usize = 16;
/// A host with this many recent time-outs is left alone for a while.
const TOO_MANY: u8 = 2;
/// The count goes no higher.
const COUNT_MAX: u8 = 10;
/// Time-outs closer together than this count once: parallel deliveries see the same trouble (seconds).
const APART_SECS: u64 = 120;
/// Byte 5 of the two records of an IPv6 address.
const V6_HEAD: u8 = 6;
const V6_TAIL: u8 = 7;

/// A host in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its address.
    pub address: IpAddr,
    /// How often it timed out lately.
    pub count: u8,
    /// When it did last, in seconds since 1970.
    pub when: u64,
}

/// What the table says about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It is to be left alone for now.
    pub skip: bool,
    /// It is in the table, so a success is worth writing down.
    pub known: bool,
}

/// The time-out table of a queue.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
}

impl Table {
    /// The table of the queue in this directory.
    pub fn of(queue: &Path) -> Table {
        Table { path: queue.join("lock/tcpto") }
    }

    /// Looks a host up. `spread` (a process id) varies the waiting time of 64 to 97 minutes, so that not all
    /// deliveries come back at once.
    pub fn look(&self, address: IpAddr, now: u64, spread: u32) -> Seen {
        // Reading needs no lock: a record is written with one call, and a wrong answer costs one delivery attempt.
        let Ok(records) = File::open(&self.path).and_then(|mut f| Records::read(&mut f)) else {
            return Seen { skip: false, known: false };
        };
        let Some(entry) = records.find(address).and_then(|at| records.entry(at)) else {
            return Seen { skip: false, known: false };
        };
        let wait = (60 + u64::from(spread % 32)) * 64;
        // A time in the future is garbage, or the clock has been set back.
        let recent = now.checked_sub(entry.when).is_some_and(|age| age < wait);
        Seen { skip: entry.count >= TOO_MANY && recent, known: true }
    }

    /// Notes a time-out of a host.
    pub fn timed_out(&self, address: IpAddr, now: u64) -> io::Result<()> {
        let (file, mut records) = self.locked()?;
        if records.is_empty() {
            return Ok(());
        }
        let (at, count) = match records.find(address) {
            Some(at) => {
                let old = records.entry(at).map_or((0, 0), |e| (e.count, e.when));
                if old.0 > 0 && now < old.1.saturating_add(APART_SECS) && now >= old.1 {
                    return Ok(());
                }
                (at, old.0.saturating_add(1).min(COUNT_MAX))
            }
            None => (records.place_for(address), 1),
        };
        let changed = records.put(at, Entry { address, count, when: now });
        file.write_all_at(changed, (at * RECORD) as u64)
    }

    /// Notes that a host could be reached.
    pub fn reached(&self, address: IpAddr) -> io::Result<()> {
        let (file, records) = self.locked()?;
        match records.find(address) {
            Some(at) => file.write_all_at(&[0], (at * RECORD + 4) as u64),
            None => Ok(()),
        }
    }

    fn locked(&self) -> io::Result<(File, Records)> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        sys::fs::lock(&file, true)?;
        let records = Records::read(&mut file)?;
        Ok((file, records))
    }
}

/// The hosts with recent time-outs, from the bytes of the file.
pub fn entries(bytes: &[u8]) -> Vec<Entry> {
    let records = Records(bytes.chunks_exact(RECORD).flatten().copied().take(SIZE).collect());
    let all = (0..records.len()).filter_map(|at| records.entry(at));
    all.filter(|e| e.count > 0).collect()
}

/// As many whole records as the file has.
struct Records(Vec<u8>);

impl Records {
    fn read(file: &mut File) -> io::Result<Records> {
        let mut bytes = vec![0; SIZE];
        let n = loop {
            match file.read(&mut bytes) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                r => break r?,
            }
        };
        bytes.truncate(n - n % RECORD);
        Ok(Records(bytes))
    }

    fn len(&self) -> usize {
        self.0.len() / RECORD
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn record(&self, at: usize) -> Option<&[u8; RECORD]> {
        self.0.get(at * RECORD..)?.first_chunk()
    }

    /// The host whose entry begins at record `at`; none at the second half of an IPv6 entry.
    fn entry(&self, at: usize) -> Option<Entry> {
        let r = self.record(at)?;
        let address = if self.is_v6(at) {
            let t = self.record(at + 1)?;
            let half = |r: &[u8; RECORD]| [r[0], r[1], r[2], r[3], r[12], r[13], r[14], r[15]];
            let mut octets = [0; 16];
            for (to, from) in octets.iter_mut().zip(half(r).into_iter().chain(half(t))) {
                *to = from;
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        } else if at > 0 && self.is_v6(at - 1) {
            return None;
        } else {
            IpAddr::V4(Ipv4Addr::new(r[0], r[1], r[2], r[3]))
        };
        Some(Entry { address, count: r[4], when: u64::from(u32::from_le_bytes([r[8], r[9], r[10], r[11]])) })
    }

    /// Whether an IPv6 entry begins here. A program that knows IPv4 only may have taken one half: then it is none.
    fn is_v6(&self, at: usize) -> bool {
        let marked = |at, mark| self.record(at).is_some_and(|r| r[5] == mark);
        let tail_is_free = self.record(at + 1).is_some_and(|r| r[4] == 0);
        at.is_multiple_of(2) && marked(at, V6_HEAD) && marked(at + 1, V6_TAIL) && tail_is_free
    }

    fn find(&self, address: IpAddr) -> Option<usize> {
        (0..self.len()).find(|&at| self.entry(at).is_some_and(|e| e.address == address))
    }

    /// Where a new entry goes: a free place, else that of the entry which is oldest, a time-out weighing 1024 s.
    fn place_for(&self, address: IpAddr) -> usize {
        let weight = |at: usize| {
            let at = if at > 0 && self.is_v6(at - 1) { at - 1 } else { at };
            self.entry(at).map_or(0, |e| if e.count == 0 { 0 } else { e.when + 1 + (u64::from(e.count) << 10) })
        };
        let pairs = |at: usize| weight(at).max(weight(at + 1));
        match address {
            IpAddr::V4(_) => (0..self.len()).min_by_key(|&at| weight(at)),
            IpAddr::V6(_) => (0..self.len().saturating_sub(1)).step_by(2).min_by_key(|&at| pairs(at)),
        }
        .unwrap_or(0)
    }

    /// Puts `entry` at record `at`; returns the changed bytes. Half of an IPv6 entry that this leaves over is no entry
    /// any more, since the other half does not fit to it.
    fn put(&mut self, at: usize, entry: Entry) -> &[u8] {
        // The field has 32 bits; the comparison of times goes wrong in 2106, for one waiting time.
        let when = (entry.when as u32).to_le_bytes();
        let record = |address: [u8; 4], count, mark, more: [u8; 4]| {
            let [a, b, c, d] = address;
            let [w, x, y, z] = when;
            let [i, j, k, l] = more;
            [a, b, c, d, count, mark, 0, 0, w, x, y, z, i, j, k, l]
        };
        let new = match entry.address {
            IpAddr::V4(a) => record(a.octets(), entry.count, 0, [0; 4]).to_vec(),
            IpAddr::V6(a) => {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = a.octets();
                let head = record([a, b, c, d], entry.count, V6_HEAD, [e, f, g, h]);
                [head, record([i, j, k, l], 0, V6_TAIL, [m, n, o, p])].concat()
            }
        };
        let (from, to) = (at * RECORD, (at * RECORD + new.len()).min(self.0.len()));
        for (old, new) in self.0.iter_mut().skip(from).zip(new) {
            *old = new;
        }
        self.0.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    struct Home(PathBuf);

    impl Home {
        fn new(content: &[u8]) -> (Home, Table) {
            static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
            let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("tcpto-{}-{n}", std::process::id()));
            std::fs::create_dir_all(dir.join("lock")).unwrap();
            std::fs::write(dir.join("lock/tcpto"), content).unwrap();
            let table = Table::of(&dir);
            (Home(dir), table)
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn list(table: &Table) -> Vec<Entry> {
        entries(&std::fs::read(&table.path).unwrap())
    }

    #[test]
    fn two_time_outs_apart_make_a_host_be_skipped_for_about_an_hour() {
        for host in ["192.0.2.1", "2001:db8::1"] {
            let host = ip(host);
            let (_home, t) = Home::new(&[0; SIZE]);
            assert_eq!(t.look(host, NOW, 0), Seen { skip: false, known: false });
            t.timed_out(host, NOW).unwrap();
            assert_eq!(t.look(host, NOW, 0), Seen { skip: false, known: true });
            t.timed_out(host, NOW + 119).unwrap();
            assert_eq!(list(&t), [Entry { address: host, count: 1, when: NOW }]);
            t.timed_out(host, NOW + 120).unwrap();
            assert_eq!(list(&t), [Entry { address: host, count: 2, when: NOW + 120 }]);
            assert!(t.look(host, NOW + 120 + 3839, 0).skip);
            assert!(!t.look(host, NOW + 120 + 3840, 0).skip);
            assert!(t.look(host, NOW + 120 + 3840, 33).skip);
            t.reached(host).unwrap();
            assert_eq!(list(&t), []);
            assert!(!t.look(host, NOW + 120, 0).skip);
        }
    }

    #[test]
    fn the_record_is_the_classic_one() {
        let (_home, t) = Home::new(&[0; SIZE]);
        t.timed_out(ip("192.0.2.1"), 0x0102_0304).unwrap();
        let file = std::fs::read(&t.path).unwrap();
        assert_eq!(file[..16], [192, 0, 2, 1, 1, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(file.len(), SIZE);
    }

    #[test]
    fn the_count_stops_at_ten_and_a_full_table_gives_up_the_oldest() {
        let (_home, t) = Home::new(&[0; SIZE]);
        for i in 0..20 {
            t.timed_out(ip("192.0.2.1"), NOW + i * 200).unwrap();
        }
        assert_eq!(list(&t)[0].count, 10);
        for i in 0..63 {
            t.timed_out(ip(&format!("198.51.100.{i}")), NOW + i).unwrap();
        }
        t.timed_out(ip("203.0.113.1"), NOW).unwrap();
        let all = list(&t);
        assert_eq!(all.len(), 64);
        assert_eq!(all[1].address, ip("203.0.113.1"), "198.51.100.0 was the oldest");
        t.timed_out(ip("2001:db8::1"), NOW + 9).unwrap();
        let all = list(&t);
        assert_eq!(all.len(), 63);
        assert!(all.iter().any(|e| e.address == ip("2001:db8::1")));
    }

    #[test]
    fn both_kinds_of_addresses_share_the_table() {
        let (_home, t) = Home::new(&[0; SIZE]);
        t.timed_out(ip("192.0.2.1"), NOW).unwrap();
        t.timed_out(ip("2001:db8::1"), NOW).unwrap();
        t.timed_out(ip("192.0.2.2"), NOW).unwrap();
        t.timed_out(ip("192.0.2.3"), NOW).unwrap();
        let found: Vec<IpAddr> = list(&t).iter().map(|e| e.address).collect();
        assert_eq!(found, [ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"), ip("192.0.2.3")]);
        // A program that knows IPv4 only takes the second half for a free place.
        let mut file = std::fs::read(&t.path).unwrap();
        file[48..64].copy_from_slice(&[10, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        std::fs::write(&t.path, &file).unwrap();
        assert!(!t.look(ip("2001:db8::1"), NOW, 0).known);
        assert!(t.look(ip("10.0.0.1"), NOW, 0).known);
    }

    #[test]
    fn garbage_short_files_and_no_file_are_no_trouble() {
        for content in [&b""[..], b"short", &[0xff; 17], &[0xff; SIZE], &[6; SIZE], &[7; 5000]] {
            let (_home, t) = Home::new(content);
            for host in ["255.255.255.255", "192.0.2.1", "2001:db8::1"] {
                assert!(!t.look(ip(host), NOW, 1).skip, "a time in the future is garbage");
                let _ = t.timed_out(ip(host), NOW);
                let _ = t.reached(ip(host));
            }
            assert!(std::fs::read(&t.path).unwrap().len() <= content.len(), "the file does not grow");
            entries(content);
        }
        let none = Table::of(Path::new("/nowhere"));
        assert!(!none.look(ip("192.0.2.1"), NOW, 1).known);
        assert!(none.timed_out(ip("192.0.2.1"), NOW).is_err());
    }
}
