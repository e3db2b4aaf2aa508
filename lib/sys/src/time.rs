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
