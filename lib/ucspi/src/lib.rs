//! TCP connections the UCSPI way: what tcpserver and tcpclient find out about the two ends, and how they tell it to
//! the program that gets the connection. Knows nothing about mail but its ports.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ends;
pub mod ident;
pub mod names;

pub use ends::Ends;
