//! .qmail files: which one serves an address, what its lines say, and under which sender it forwards (dot-qmail(5)).
//!
//! Everything here is a pure function over bytes: no file, no environment.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod line;
pub mod name;
pub mod part;
pub mod sender;

pub use line::{Instruction, instructions};
pub use name::{Candidate, candidates};
pub use sender::Owner;
