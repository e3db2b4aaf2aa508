//! What clients have in common: options, and getting connected.

mod connect;
mod options;

pub use connect::{Reason, begin};
pub use options::{LETTERS, Options, parse_ip};
