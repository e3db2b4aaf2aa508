//! The client side: replies, the body on the wire, and the dialogue from greeting to QUIT.

pub mod body;
pub mod reply;
pub mod session;

pub use reply::{Kind, Reply};
pub use session::{Dropped, End, Recipient, Session, Why};
