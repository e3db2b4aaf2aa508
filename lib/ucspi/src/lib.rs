//! TCP connections the UCSPI way: how servers and clients get them, what they find out about the two ends, and how
//! they tell it to the program that gets the connection. Knows nothing about mail but its ports.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod client;
pub mod ends;
pub mod ident;
pub mod names;
pub mod server;

pub use ends::Ends;

/// How much is said on fd 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Verbosity {
    /// -q
    Nothing,
    /// -Q
    Errors,
    /// -v
    All,
}

/// A command line that makes no sense. The letter is the option that does not exist, or lacks a good value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse(pub Option<u8>);
