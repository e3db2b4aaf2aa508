//! A connection through qmail-tlsc, the process that speaks TLS for the programs that send mail.
//!
//! Those programs hold no TLS themselves: they connect, decide what they demand of the other side (control/tlsdestinations,
//! control/domaincerts), and hand connection and demand to qmail-tlsc(8). What they get is a local stream that carries
//! the plain bytes. A hole in TLS or in the reading of certificates is then one in a process that has no file open and
//! no message, and a delivery without TLS does not pay for it.
//!
//! That process stays for a while after its connection, with the TLS session in its memory, and serves the next one to the
//! same server under the same demands: sessions are resumed, and never leave the process that made them
//! ([`open()`], qmail-tlsc(8)).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod certs;
mod failure;
mod keys;
mod open;
mod policy;
mod request;
mod stream;
mod tlsa;

pub use certs::Credentials;
pub use failure::{Failed, Failure};
pub use keys::{suffixes, value_of};
pub use open::{DIRECTORY, HANDSHAKE_SECS, Way, open};
pub use policy::{Level, Malformed, Policy};
pub use request::{ANSWER_MAX, Agreed, Garbled, OTHER, REQUEST_MAX, Request, TAKEN};
pub use stream::Stream;
pub use tlsa::{Record, Tlsa};
