//! What a site's lists say about an envelope and a message: badmailfrom, badhelo, badrcptto, recipients, mailfromrules,
//! badmimetypes and badloadertypes (qmail-badlists(5), qmail-badtypes(5), qmail-recipients(5), qmail-mailfromrules(5)).
//!
//! Everything here is a question with an answer; who asks, and what is said to a client, is the server's business.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod content;
pub mod lists;
pub mod mailfromrules;
pub mod recipients;
pub mod wildmat;

/// Whether `text` is `tail`, or ends in it behind `before`; ASCII case does not count.
fn ends_in(text: &[u8], tail: &[u8]) -> bool {
    text.len() >= tail.len() && text.get(text.len() - tail.len()..).is_some_and(|end| end.eq_ignore_ascii_case(tail))
}

/// The parts of `text` from each `mark` on, the longest first, `text` itself not among them.
fn suffixes(text: &[u8], mark: u8) -> impl Iterator<Item = &[u8]> {
    text.iter().enumerate().skip(1).filter(move |&(_, &b)| b == mark).filter_map(|(at, _)| text.get(at..))
}
