//! The clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 UTC; 0 if the clock stands before it.
pub fn now() -> u64 {
    stamp().0
}

/// Seconds and nanoseconds since 1970 UTC.
pub fn stamp() -> (u64, u32) {
    let t = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (t.as_secs(), t.subsec_nanos())
}

/// A moment in the host's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Year of the Gregorian calendar, with its century.
    pub year: i64,
    /// 0 to 11.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// How far this zone is east of Greenwich (seconds); negative to the west.
    pub east: i64,
}

/// The local time at `seconds` since 1970 UTC, by TZ or /etc/localtime: for the system log and for people who
/// want it in their Date field (predate); mail has UTC.
pub fn local(seconds: u64) -> Local {
    let seconds = libc::time_t::try_from(seconds).unwrap_or(0);
    // SAFETY: all-zero is a valid tm (its zone name may be null).
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both places live through the call; there are no threads that change TZ meanwhile.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    let small = |n: libc::c_int| u8::try_from(n).unwrap_or(0);
    Local {
        year: i64::from(tm.tm_year) + 1900,
        month: small(tm.tm_mon),
        day: small(tm.tm_mday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
        east: tm.tm_gmtoff,
    }
}
