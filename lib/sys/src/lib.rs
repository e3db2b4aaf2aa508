//! The operating system: start-up, descriptors, spawning, ids, locks, fifos, signals, timeouts and syncs.
//!
//! This is the only crate of the house with `unsafe` code; each block holds one call and says why it is right there.
//! It knows nothing about mail.
#![allow(unsafe_code)]

pub mod cage;
pub mod crypt;
pub mod env;
pub mod error;
pub mod exit;
pub mod ext4;
pub mod fd;
pub mod fs;
pub mod memory;
pub mod net;
pub mod opt;
pub mod poll;
pub mod process;
pub mod random;
mod rest;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod start;
pub mod time;
pub mod user;
pub mod watch;

pub use exit::Exit;
