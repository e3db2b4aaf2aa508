//! POP3 (RFC 1939) as state machines over byte streams, with no idea of who calls it: [`login`] is the authorization
//! state, up to the credentials that somebody else checks; [`session`] is the rest of the conversation, about a
//! [`session::Maildrop`].
//!
//! Answers have qmail's wording. Memory does not grow with lines or messages, only with the number of messages.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod command;
pub mod line;
pub mod login;
pub mod output;
pub mod session;
mod stuffing;

/// The answer that says yes and nothing else.
pub const OK: &[u8] = b"+OK \r\n";
/// The answer to a line that makes no sense, or is too long.
pub const SYNTAX: &[u8] = b"-ERR syntax error\r\n";
