//! Orders of the delivery protocol, put together from what arrives (spec/programs.md 2.2):
//! `delnum messid NUL sender NUL recipient NUL`.

/// The longest sender or recipient in an order (bytes): two addresses (VERP) and a virtual domain's prefix fit well.
const FIELD_MAX: usize = 65536;

/// An order as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub delnum: u8,
    pub messid: Vec<u8>,
    pub sender: Vec<u8>,
    pub recipient: Vec<u8>,
    /// A field was longer than [`FIELD_MAX`]; but for the delivery number the order is garbage.
    pub too_long: bool,
}

/// Puts orders together from pieces of input.
#[derive(Debug, Default)]
pub struct Orders {
    /// The order being read, from its delivery number on.
    now: Option<Asked>,
    /// Its complete fields.
    fields: usize,
}

impl Orders {
    /// The next complete order, taken off the front of `input`; `None` when all of the input is used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Asked> {
        while !input.is_empty() {
            let Some(asked) = &mut self.now else {
                let (&delnum, rest) = input.split_first()?;
                self.now = Some(Asked { delnum, ..Asked::default() });
                *input = rest;
                continue;
            };
            let field = match self.fields {
                0 => &mut asked.messid,
                1 => &mut asked.sender,
                _ => &mut asked.recipient,
            };
            let end = input.iter().position(|&b| b == 0);
            let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
            if field.len() + piece.len() > FIELD_MAX {
                asked.too_long = true;
            } else {
                field.extend_from_slice(piece);
            }
            *input = rest.get(usize::from(end.is_some())..).unwrap_or_default();
            if end.is_some() {
                self.fields += 1;
            }
            if self.fields == 3 {
                self.fields = 0;
                return self.now.take();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Asked> {
        let (mut orders, mut found) = (Orders::default(), vec![]);
        for piece in pieces {
            let mut input = *piece;
            while let Some(asked) = orders.next(&mut input) {
                found.push(asked);
            }
            assert!(input.is_empty());
        }
        found
    }

    fn asked(delnum: u8, messid: &[u8], sender: &[u8], recipient: &[u8]) -> Asked {
        let (messid, sender, recipient) = (messid.to_vec(), sender.to_vec(), recipient.to_vec());
        Asked { delnum, messid, sender, recipient, too_long: false }
    }

    #[test]
    fn orders_are_the_same_however_they_are_cut() {
        let whole = b"\x035/28\0a@b\0c@d\0\0\0\0\0\xff1\0#@[]\0x\0\x04unfinished\0";
        let expected = [asked(3, b"5/28", b"a@b", b"c@d"), asked(0, b"", b"", b""), asked(255, b"1", b"#@[]", b"x")];
        assert_eq!(read(&[whole]), expected);
        for at in 0..whole.len() {
            let (one, two) = whole.split_at(at);
            assert_eq!(read(&[one, two]), expected, "{at}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(read(&single), expected);
    }

    #[test]
    fn a_field_without_end_takes_no_memory_and_spoils_only_its_order() {
        let long = vec![b'x'; FIELD_MAX + 1];
        let mut found = read(&[b"\x01", &long, &long, &long, b"\0s\0r@h\0\x02m\0s\0r\0"]);
        assert_eq!(found.pop().unwrap(), asked(2, b"m", b"s", b"r"));
        let first = found.pop().unwrap();
        assert!(first.too_long && first.messid.len() <= FIELD_MAX);
        let just = read(&[b"\x01m\0", &long[1..], b"\0r\0"]);
        assert!(!just[0].too_long);
    }
}
