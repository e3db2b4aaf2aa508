//! What servers have in common: options, the port, the loop, and what a connection is judged by.

mod connection;
mod listen;
mod options;
mod serve;

pub use connection::{Connection, Verdict};
pub use listen::{Identity, failed, listen};
pub use options::{LETTERS, Options};
pub use serve::{Service, catch_signals, release_signals, serve};
