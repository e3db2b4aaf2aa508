//! The server's side of SMTP: one session with one client over a pair of byte streams.
//!
//! [`Session`] speaks the protocol; [`Rules`] knows who may send to whom, [`Switches`] what else a site wants; a [`Host`]
//! takes the messages, the log, and whatever needs another program. The parts below are pure functions and machines over
//! bytes: a command line, an address, the message after DATA, the trace fields. Nothing here knows a descriptor, the
//! environment or an exit code.

pub mod address;
pub mod command;
mod connection;
pub mod data;
mod envelope;
pub mod host;
mod input;
mod log;
mod login;
mod message;
pub mod received;
mod replies;
mod rules;
mod session;
pub mod switches;
#[cfg(test)]
mod tests;
mod tls;

pub use connection::Connection;
pub use host::{Check, Checked, Found, Host, Mail, NoCheck, Spf, SpfQuestion, SpfResult, Wanted};
pub use input::{LINE_MAX, Source};
pub use rules::{RcptHosts, Rules, Trouble};
pub use session::{End, Session, Settings, TIMEOUT_MAX};
pub use switches::Switches;
pub use tls::Tls;
