//! A preprocessed envelope on its way from qmail-todo to qmail-send (qmail-internals(7)), and what either keeps of it.

use crate::layout::{Channel, MessNum};

/// The longest address that is told (bytes); a record must stay below 10000 bytes (spec/programs.md 1).
const ADDRESS_MAX: usize = 5000;

/// An envelope of which there are no files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Envelope sender.
    pub sender: Vec<u8>,
    /// By channel, in the order of [`Channel::BOTH`]: what its file would hold, `T`, address and NUL for each recipient.
    pub lists: [Vec<u8>; 2],
}

impl Envelope {
    /// The memory it takes (bytes).
    pub fn size(&self) -> usize {
        self.sender.len() + self.lists.iter().map(Vec::len).sum::<usize>()
    }

    /// Adds a recipient.
    pub fn add(&mut self, channel: Channel, address: &[u8]) {
        let [local, remote] = &mut self.lists;
        let list = if channel == Channel::Local { local } else { remote };
        list.push(b'T');
        list.extend_from_slice(address);
        list.push(0);
    }

    /// Whether every address fits into a record.
    pub fn can_be_told(&self) -> bool {
        let fits = |address: &[u8]| address.len() <= ADDRESS_MAX;
        fits(&self.sender) && self.lists.iter().all(|l| addresses(l).all(fits))
    }

    /// Appends the records that tell it, as the envelope of message `n`: `F` and the sender, `l` or `r` and a recipient
    /// for each, `E` and the number, each with a NUL.
    pub fn tell(&self, n: MessNum, records: &mut Vec<u8>) {
        let mut record = |letter: u8, text: &[u8]| {
            records.push(letter);
            records.extend_from_slice(text);
            records.push(0);
        };
        record(b'F', &self.sender);
        for (letter, list) in [b'l', b'r'].into_iter().zip(&self.lists) {
            addresses(list).for_each(|address| record(letter, address));
        }
        record(b'E', n.to_string().as_bytes());
    }

    /// Takes one of those records but the last, without its NUL; false: it is none of them.
    pub fn hear(&mut self, record: &[u8]) -> bool {
        match record.split_first() {
            Some((b'F', sender)) => self.sender = sender.to_vec(),
            Some((b'l', address)) => self.add(Channel::Local, address),
            Some((b'r', address)) => self.add(Channel::Remote, address),
            _ => return false,
        }
        true
    }
}

fn addresses(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == 0).filter_map(|record| record.strip_prefix(b"T"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let mut e = Envelope { sender: b"s".to_vec(), ..Envelope::default() };
        for (channel, address) in [(Channel::Local, &b"a@b"[..]), (Channel::Remote, b""), (Channel::Local, b"Tc@d")] {
            e.add(channel, address);
        }
        assert_eq!(e.lists, [b"Ta@b\0TTc@d\0".to_vec(), b"T\0".to_vec()]);
        assert_eq!(e.size(), 14);
        let mut records = Vec::new();
        e.tell(MessNum(7), &mut records);
        assert_eq!(records, b"Fs\0la@b\0lTc@d\0r\0E7\0");
        let mut heard = Envelope::default();
        let rest: Vec<_> = records.split(|&b| b == 0).filter(|r| !heard.hear(r)).collect();
        assert_eq!((heard, rest), (e, vec![&b"E7"[..], b""]));
    }

    #[test]
    fn an_address_too_long_for_a_record_is_not_told() {
        let mut e = Envelope::default();
        e.add(Channel::Remote, &[b'x'; ADDRESS_MAX]);
        assert!(e.can_be_told());
        e.add(Channel::Local, &[b'x'; ADDRESS_MAX + 1]);
        assert!(!e.can_be_told());
    }
}
