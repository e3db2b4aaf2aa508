//! Message and address syntax: dates, quoting, header fields, address lists (RFC 822 as qmail reads it).
//!
//! Everything here is a pure function over bytes: no file, no clock, no environment.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod date;
pub mod quote;
