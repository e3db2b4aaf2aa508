//! The envelope sender of what a .qmail file forwards (NEWSENDER).

/// Which owner files stand beside the .qmail file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// None: the sender stays.
    None,
    /// `-owner`: bounces go to the owner of the list.
    Owner,
    /// `-owner` and `-owner-default`: every recipient gets an envelope sender of its own (VERP).
    PerRecipient,
}

/// Whether owner files count for this sender: bounces and double bounces keep theirs, or they could loop.
pub fn can_change(sender: &[u8]) -> bool {
    !sender.is_empty() && sender != b"#@[]"
}

/// The sender for forwarded copies of a message from `sender` to `local`@`host`. The ending `-@[]` makes qmail-send put
/// each recipient into the sender (addresses(5)).
pub fn forwarding(sender: &[u8], local: &[u8], host: &[u8], owner: Owner) -> Vec<u8> {
    match owner {
        Owner::Owner if can_change(sender) => [local, b"-owner@", host].concat(),
        Owner::PerRecipient if can_change(sender) => [local, b"-owner-@", host, b"-@[]"].concat(),
        _ => sender.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_senders() {
        let rows: &[(&[u8], Owner, &[u8])] = &[
            (b"joe@x.test", Owner::None, b"joe@x.test"),
            (b"joe@x.test", Owner::Owner, b"me-l-owner@h.test"),
            (b"joe@x.test", Owner::PerRecipient, b"me-l-owner-@h.test-@[]"),
            (b"", Owner::PerRecipient, b""),
            (b"#@[]", Owner::Owner, b"#@[]"),
            (b"l-@x.test-@[]", Owner::None, b"l-@x.test-@[]"),
        ];
        for &(sender, owner, expected) in rows {
            assert_eq!(forwarding(sender, b"me-l", b"h.test", owner), expected);
        }
    }
}
