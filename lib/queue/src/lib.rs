//! The queue: its layout on disk, the envelope, the client side of qmail-queue, the trigger, and the delivery protocol
//! between qmail-send and the spawners.
//!
//! Formats: qmail-internals(7), envelopes(5), spec/programs.md 1 and 2, spec/architecture.md 3.
#![forbid(unsafe_code)]

pub mod client;
pub mod envelope;
pub mod layout;
pub mod log;
pub mod route;
pub mod spawner;
pub mod tcpto;
pub mod told;
pub mod trigger;

pub use client::{Submission, Verdict};
pub use layout::{Channel, Layout, MessNum};

/// The longest address that qmail-queue takes, counted with its closing NUL (bytes).
pub const ADDRESS_MAX: usize = 1003;
