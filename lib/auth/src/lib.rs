//! How one side proves to the other who it is: the exchanges of SASL and APOP, both halves, and the forms in which
//! passwords are kept.
//!
//! Nothing here reads or writes anything: challenges, nonces and salts come from the caller, who has them from the
//! system's random source. Secrets are overwritten when they are dropped, and compared in a time that does not depend
//! on where they differ.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod base64;
pub mod digest;
mod hex;
pub mod plain;
pub mod saslprep;
pub mod scram;
pub mod secret;
pub mod stored;

pub use secret::{Secret, same};
