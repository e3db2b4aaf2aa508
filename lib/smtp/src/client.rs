//! The client side: replies, the body on the wire, and the dialogue from greeting to QUIT.

mod auth;
pub mod body;
pub mod reply;
pub mod session;

pub use auth::Login;
pub use reply::{Kind, Reply};
pub use session::{Asked, Dropped, End, Envelope, Offers, Recipient, Session, Unsendable, Why};
