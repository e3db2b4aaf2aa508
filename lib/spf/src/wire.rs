//! A verdict between processes: what spfquery says to a program that has it do the check, in fields that end in NUL.

use crate::{Outcome, Verdict};

impl Verdict {
    /// Seven fields, each with a NUL after it: the result (`loopback` for this host), domain, problem, mechanism,
    /// explanation, trail, records.
    pub fn to_bytes(&self) -> Vec<u8> {
        let word = if self.loopback { "loopback" } else { self.outcome.word() };
        let fields: [&[u8]; 7] = [
            word.as_bytes(),
            &self.domain,
            &self.problem,
            &self.mechanism,
            &self.explanation,
            &self.trail,
            &self.records,
        ];
        let mut out = Vec::with_capacity(fields.iter().map(|f| f.len() + 1).sum());
        for field in fields {
            // A NUL in a domain would look like the end of the field.
            out.extend(field.iter().map(|&b| if b == 0 { b'?' } else { b }));
            out.push(0);
        }
        out
    }

    /// Reads what [`Verdict::to_bytes`] wrote; `None` if it is anything else, as after a crash half way.
    pub fn from_bytes(text: &[u8]) -> Option<Verdict> {
        let mut fields = text.strip_suffix(b"\0")?.split(|&b| b == 0).map(<[u8]>::to_vec);
        let mut field = || fields.next();
        let word = field()?;
        let loopback = word == b"loopback";
        let outcome = if loopback { Outcome::Pass } else { Outcome::of_word(&word)? };
        let (domain, problem, mechanism) = (field()?, field()?, field()?);
        let verdict = Verdict {
            outcome,
            loopback,
            domain,
            problem,
            mechanism,
            explanation: field()?,
            trail: field()?,
            records: field()?,
        };
        field().is_none().then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let mut verdict = Verdict::loopback("127.0.0.1".parse().unwrap());
        assert_eq!(Verdict::from_bytes(&verdict.to_bytes()), Some(verdict.clone()));
        verdict.loopback = false;
        verdict.outcome = Outcome::Fail;
        verdict.explanation = b"no\nno".to_vec();
        verdict.domain = b"a\0b".to_vec();
        let whole = verdict.to_bytes();
        let read = Verdict::from_bytes(&whole).unwrap();
        assert_eq!((read.outcome, read.domain), (Outcome::Fail, b"a?b".to_vec()));
        for end in 0..whole.len() {
            assert_eq!(Verdict::from_bytes(&whole[..end]), None, "{end}");
        }
        assert_eq!(Verdict::from_bytes(&[&whole[..], b"\0"].concat()), None);
        assert_eq!(Verdict::from_bytes(b"maybe\0\0\0\0\0\0\0"), None);
    }
}
