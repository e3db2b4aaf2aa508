//! QMTP and QMQP as state machines over byte streams, with no idea of who calls them.
//!
//! Both protocols are nothing but netstrings (`5:hello,`) one after the other, or inside one another. A [`Reader`]
//! takes them apart piece by piece, in constant memory whatever lengths the peer announces; [`netstring`] makes one;
//! a [`Body`] undoes QMTP's two encodings of line ends.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod body;
pub mod client;
mod length;
mod reader;

pub use body::Body;
pub use length::{LENGTH_BYTES_MAX, LENGTH_MAX, Length};
pub use reader::{Broken, Reader};

/// The netstring that holds `text`.
pub fn netstring(text: &[u8]) -> Vec<u8> {
    [text.len().to_string().as_bytes(), b":", text, b","].concat()
}
