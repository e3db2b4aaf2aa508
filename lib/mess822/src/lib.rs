//! Message and address syntax: dates, quoting, header fields, address lists (RFC 822 as qmail reads it).
//!
//! Pure functions over bytes: no file, no clock, no environment. Only [`header`] reads, from what the caller gives it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod complete;
pub mod date;
pub mod header;
pub mod hfield;
pub mod list;
pub mod quote;
pub mod token;
