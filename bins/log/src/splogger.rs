//! splogger [TAG [FACILITY]]: makes entries in the system log from the lines on fd 0.
//!
//! Started by qmail-start or a run script as qmaill. TAG (default `splogger`) is the name in front of the entries,
//! FACILITY their numeric facility (default 2, mail). Each line becomes an entry with a numeric time stamp; its level
//! is alert or warning if it begins so, else info. Entries go as datagrams to /dev/log; what the log does not take is
//! lost.
//!
//! Exit code: 0 after the end of input.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use sys::Exit;

/// The longest piece of a line in one entry (bytes): some system logs cut or crash beyond about 1000.
const PIECE_MAX: usize = 799;
/// What syslog(3) uses when it is not told better: user.
const FACILITY_DEFAULT: u64 = 1;
const FACILITY_MAIL: u64 = 2;
/// Facilities are 7 bits.
const FACILITY_MAX: u64 = 127;
const ALERT: u64 = 1;
const WARNING: u64 = 4;
const INFO: u64 = 6;
const SOCKET: &str = "/dev/log";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let tag = args.first().copied().unwrap_or(b"splogger");
    let mut log = Log { tag, facility: facility(args.get(1).copied()), socket: None };
    let (mut stdin, mut lines, mut buf) = (sys::fd::STDIN, Lines::default(), [0; 4096]);
    loop {
        match stdin.read(&mut buf) {
            Ok(n) if n > 0 => {
                let input = buf.get(..n).unwrap_or_default();
                input.iter().for_each(|&b| lines.take(b, sys::time::stamp, |level, text| log.send(level, text)));
            }
            _ => return Exit::OK,
        }
    }
}

/// The number that `arg` begins with, as far as it is a facility.
fn facility(arg: Option<&[u8]>) -> u64 {
    let Some(arg) = arg else { return FACILITY_MAIL };
    let digits = arg.iter().take_while(|b| b.is_ascii_digit());
    let n = digits.fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    if (1..=FACILITY_MAX).contains(&n) { n } else { FACILITY_DEFAULT }
}

/// Cuts the input into entries.
#[derive(Default)]
struct Lines {
    piece: Vec<u8>,
    /// Of a line whose first piece is out: its level and stamp.
    continued: Option<(u64, Vec<u8>)>,
}

impl Lines {
    fn take(&mut self, byte: u8, now: impl FnOnce() -> (u64, u32), send: impl FnMut(u64, &[u8])) {
        if byte == b'\n' {
            self.flush(now, send);
            self.continued = None;
            return;
        }
        if self.piece.len() == PIECE_MAX {
            self.flush(now, send);
        }
        self.piece.push(if (b' '..=b'~').contains(&byte) { byte } else { b'?' });
    }

    fn flush(&mut self, now: impl FnOnce() -> (u64, u32), mut send: impl FnMut(u64, &[u8])) {
        if self.piece.is_empty() {
            return;
        }
        let first = self.continued.is_none();
        let (level, stamp) = self.continued.get_or_insert_with(|| {
            let (seconds, nanoseconds) = now();
            (level(&self.piece), format!("{seconds}.{:06}", nanoseconds / 1000).into_bytes())
        });
        let between: &[u8] = if first { b" " } else { b"+" };
        send(*level, &[stamp, between, &self.piece].concat());
        self.piece.clear();
    }
}

fn level(line: &[u8]) -> u64 {
    if line.starts_with(b"alert:") {
        ALERT
    } else if line.starts_with(b"warning:") {
        WARNING
    } else {
        INFO
    }
}

/// The system log.
struct Log<'a> {
    tag: &'a [u8],
    facility: u64,
    socket: Option<UnixDatagram>,
}

impl Log<'_> {
    fn send(&mut self, level: u64, text: &[u8]) {
        let mut entry = format!("<{}>{} ", self.facility << 3 | level, date(sys::time::now())).into_bytes();
        entry.extend_from_slice(self.tag);
        entry.extend_from_slice(b": ");
        entry.extend_from_slice(text);
        if self.socket.as_ref().is_some_and(|s| s.send(&entry).is_ok()) {
            return;
        }
        // The log was not there yet, or it was restarted. Once more, then the entry is lost.
        self.socket = connect();
        if let Some(socket) = &self.socket {
            let _ = socket.send(&entry);
        }
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}

/// `Mmm dd hh:mm:ss` in the host's time zone, as syslog(3) has it.
fn date(seconds: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let t = sys::time::local(seconds);
    let month = MONTHS.get(usize::from(t.month)).unwrap_or(&"Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", t.day, t.hour, t.minute, t.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(input: &[u8]) -> Vec<(u64, String)> {
        let (mut lines, mut out, mut ticks) = (Lines::default(), vec![], 0);
        for &b in input {
            let now = || {
                ticks += 1;
                (1_000_000_000 + ticks, 5_000)
            };
            lines.take(b, now, |level, text| out.push((level, String::from_utf8(text.to_vec()).unwrap())));
        }
        out
    }

    #[test]
    fn lines_become_entries_with_level_and_stamp() {
        assert_eq!(
            entries(b"alert: a\nwarning: b\n\nalert b\nunfinished"),
            [
                (ALERT, "1000000001.000005 alert: a".into()),
                (WARNING, "1000000002.000005 warning: b".into()),
                (INFO, "1000000003.000005 alert b".into()),
            ]
        );
        assert_eq!(entries(b"a\tb\x01\xe4\x7f\0\n"), [(INFO, "1000000001.000005 a?b????".into())]);
    }

    #[test]
    fn a_long_line_goes_on_under_its_first_stamp_and_level() {
        for (length, pieces) in [(PIECE_MAX - 7, 1), (PIECE_MAX - 6, 1), (PIECE_MAX - 5, 2), (2 * PIECE_MAX - 5, 3)] {
            let line = format!("alert:{}\nnext\n", "x".repeat(length));
            let got = entries(line.as_bytes());
            assert_eq!(got.len(), pieces + 1, "{length}");
            assert!(got.iter().take(pieces).all(|(l, t)| *l == ALERT && t.starts_with("1000000001.000005")));
            assert!(got.iter().take(pieces).skip(1).all(|(_, t)| t.starts_with("1000000001.000005+x")));
            assert_eq!(got.last().unwrap(), &(INFO, "1000000002.000005 next".into()));
        }
    }

    #[test]
    fn facilities_that_are_none_become_user() {
        let rows: &[(Option<&[u8]>, u64)] = &[
            (None, 2),
            (Some(b"3"), 3),
            (Some(b"16x"), 16),
            (Some(b"127"), 127),
            (Some(b"128"), 1),
            (Some(b"0"), 1),
            (Some(b"mail"), 1),
            (Some(b"99999999999999999999999"), 1),
        ];
        for (arg, n) in rows {
            assert_eq!(facility(*arg), *n);
        }
    }
}
