//! What a server's domain says about its certificate: TLSA records (RFC 6698, RFC 7671, RFC 7672).

/// The most bytes of data in the records of a request, so that it stays within [`crate::REQUEST_MAX`].
const DATA_MAX: usize = 24576;

/// A record by which a server of mail can be known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// 2: the certificate of an authority in the server's chain; 3: the server's own.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: its SHA-256; 2: its SHA-512.
    pub matching: u8,
    /// What it must be.
    pub data: Vec<u8>,
}

impl Record {
    /// Whether mail can make use of it. Usages 0 and 1 stand for authorities of the web, which no mail program has
    /// (RFC 7672 3.1.3); what is longer or shorter than a digest is none.
    fn is_usable(&self) -> bool {
        let is_of_length = match self.matching {
            0 => !self.data.is_empty() && self.data.len() <= DATA_MAX,
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, 2 | 3) && self.selector <= 1 && is_of_length
    }

    /// Whether `other` says the same with a better digest (RFC 7671 9). What is no digest is as good as any.
    fn is_outdone_by(&self, other: &Record) -> bool {
        let same = (self.usage, self.selector) == (other.usage, other.selector);
        same && self.matching != 0 && other.matching > self.matching
    }
}

/// What a server's certificate must be like by its domain's word. Without records nothing is demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlsa {
    /// At least one of these must fit.
    pub records: Vec<Record>,
    /// The names of which one must be the certificate's, if an authority is what fits.
    pub names: Vec<Vec<u8>>,
}

impl Tlsa {
    /// The usable ones of a domain's records, in an order of their own: so the same records always make the same
    /// demand. If there are far too many some are left out, which makes the demand stricter.
    pub fn of(all: Vec<Record>, names: Vec<Vec<u8>>) -> Tlsa {
        let mut usable: Vec<Record> = all.into_iter().filter(Record::is_usable).collect();
        usable.sort();
        usable.dedup();
        let mut records: Vec<Record> =
            usable.iter().filter(|r| !usable.iter().any(|other| r.is_outdone_by(other))).cloned().collect();
        let mut room = DATA_MAX;
        records.retain(|r| {
            // With a few bytes for the numbers.
            let rest = room.checked_sub(r.data.len() + 8);
            room = rest.unwrap_or(room);
            rest.is_some()
        });
        Tlsa { records, names }
    }

    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records as a text without NUL: three digits and hexadecimal data each, a comma between.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for record in &self.records {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend([record.usage, record.selector, record.matching].map(|n| b'0'.saturating_add(n)));
            for b in &record.data {
                text.extend([b >> 4, b & 15].map(|n| if n < 10 { b'0' + n } else { b'a' - 10 + n }));
            }
        }
        text
    }

    /// Reads what [`Tlsa::text`] made; `None` for anything else.
    pub(crate) fn parse(text: &[u8], names: &[&[u8]]) -> Option<Tlsa> {
        let mut tlsa = Tlsa { records: Vec::new(), names: names.iter().map(|n| n.to_vec()).collect() };
        if text.is_empty() {
            return Some(tlsa);
        }
        for one in text.split(|&b| b == b',') {
            let (&[usage, selector, matching], data) = one.split_first_chunk::<3>()?;
            let [usage, selector, matching] = [usage, selector, matching].map(|n| n.wrapping_sub(b'0'));
            let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let data = data.chunks(2).map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?));
            let record = Record { usage, selector, matching, data: data.collect::<Option<Vec<u8>>>()? };
            tlsa.records.push(Some(record).filter(Record::is_usable)?);
        }
        Some(tlsa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, length: usize) -> Record {
        Record { usage, selector, matching, data: vec![0xa5; length] }
    }

    fn kept(list: &[(u8, u8, u8, usize)]) -> Vec<(u8, u8, u8)> {
        let all = list.iter().map(|&(u, s, m, length)| record(u, s, m, length)).collect();
        Tlsa::of(all, vec![]).records.iter().map(|r| (r.usage, r.selector, r.matching)).collect()
    }

    #[test]
    fn some_records_are_of_no_use() {
        for (usage, selector, matching, length, usable) in [
            (3, 1, 1, 32, true),
            (3, 0, 2, 64, true),
            (2, 0, 0, 1, true),
            (2, 1, 0, DATA_MAX - 8, true),
            (0, 1, 1, 32, false),
            (1, 1, 1, 32, false),
            (4, 1, 1, 32, false),
            (255, 1, 1, 32, false),
            (3, 2, 1, 32, false),
            (3, 1, 3, 32, false),
            (3, 1, 1, 31, false),
            (3, 1, 1, 64, false),
            (3, 1, 2, 32, false),
            (3, 1, 0, 0, false),
            (3, 1, 0, DATA_MAX + 1, false),
        ] {
            assert_eq!(
                kept(&[(usage, selector, matching, length)]).len(),
                usize::from(usable),
                "{usage}{selector}{matching}"
            );
        }
    }

    #[test]
    fn of_digests_the_best_counts() {
        assert_eq!(kept(&[(3, 1, 1, 32), (3, 1, 2, 64)]), [(3, 1, 2)]);
        // What is of no use outdoes nothing.
        assert_eq!(kept(&[(3, 1, 1, 32), (3, 1, 2, 63), (3, 1, 9, 64)]), [(3, 1, 1)]);
        // Another selector, another usage, or no digest at all is another matter.
        let all = [(2, 1, 1, 32), (3, 0, 2, 64), (3, 1, 0, 9), (3, 1, 1, 32)];
        assert_eq!(kept(&all), all.map(|(u, s, m, _)| (u, s, m)));
        assert_eq!(kept(&[(3, 1, 2, 64), (3, 1, 0, 9), (3, 1, 1, 32)]), [(3, 1, 0), (3, 1, 2)]);
    }

    #[test]
    fn the_order_in_the_answer_does_not_matter_and_repeats_do_not_count() {
        let (a, b) = (Record { data: vec![1; 32], ..record(3, 1, 1, 0) }, record(2, 0, 1, 32));
        let one = Tlsa::of(vec![a.clone(), b.clone(), a.clone()], vec![]);
        assert_eq!(one, Tlsa::of(vec![b.clone(), a.clone()], vec![]));
        assert_eq!(one.records, [b, a]);
    }

    #[test]
    fn too_many_are_cut_off() {
        let all = (0..100).map(|n| Record { data: vec![n; 1000], ..record(3, 0, 0, 0) }).collect();
        assert_eq!(Tlsa::of(all, vec![]).records.len(), 24);
        // One that is too long does not take others with it.
        assert_eq!(kept(&[(2, 0, 0, DATA_MAX - 8), (3, 0, 0, DATA_MAX), (3, 1, 1, 32)]), [(2, 0, 0)]);
        assert_eq!(kept(&[(2, 0, 0, DATA_MAX - 100), (3, 0, 0, DATA_MAX - 8), (3, 1, 1, 32)]), [(2, 0, 0), (3, 1, 1)]);
    }

    #[test]
    fn texts() {
        let names: [&[u8]; 2] = [b"mx.test", b"d.test"];
        let tlsa = Tlsa::of(vec![record(3, 1, 1, 32), record(2, 0, 0, 2)], names.map(<[u8]>::to_vec).to_vec());
        let text = tlsa.text();
        assert_eq!(text, [b"200a5a5,311".as_slice(), &b"a5".repeat(32)].concat());
        assert_eq!(Tlsa::parse(&text, &names), Some(tlsa));
        assert_eq!(Tlsa::parse(b"", &[]), Some(Tlsa::default()));
        for bad in ["x", "31", "310", "3100", "310zz", "31000,", ",31000", "91000", "3110000", "\x2f1000"] {
            assert_eq!(Tlsa::parse(bad.as_bytes(), &[]), None, "{bad}");
        }
    }
}
