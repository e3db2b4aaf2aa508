//! The server's side of SMTP: one session with one client over a pair of byte streams.
//!
//! [`Session`] speaks the protocol; [`Rules`] knows who may send to whom; a [`Queue`] takes the messages. The parts
//! below are pure functions and machines over bytes: a command line, an address, the message after DATA, the trace
//! field. Nothing here knows a descriptor, the environment or an exit code.

pub mod address;
pub mod command;
pub mod data;
mod input;
pub mod received;
mod rules;
mod session;
#[cfg(test)]
mod tests;

pub use input::{LINE_MAX, Source};
pub use rules::{RcptHosts, Rules, Trouble};
pub use session::{End, Mail, Queue, Session, Settings, TIMEOUT_MAX};
