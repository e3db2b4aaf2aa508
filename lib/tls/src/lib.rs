//! TLS 1.2 and 1.3 for servers and clients: the only place that names the TLS library.
//!
//! Every configuration is built with the provider made here ([`ciphers::Ciphers::provider`]); the library's own default
//! is never asked for. Nothing is read or allocated before a program wants TLS.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ciphers;
pub mod client;
pub mod error;
pub mod facts;
pub mod pem;
pub mod pump;
pub mod roots;
pub mod server;
pub mod ticket;
pub mod x509;

pub use error::Error;
pub use rustls::{ClientConnection, Connection, HandshakeKind, ProtocolVersion};
