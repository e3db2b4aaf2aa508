//! TAI64N labels and log lines. Filled by the programs that need it.
#![forbid(unsafe_code)]
