//! The classic option scanner (getopt as qmail and ucspi-tcp have it), over bytes.

/// One scanned option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// A letter of the list, without value.
    Flag(u8),
    /// A letter of the list that takes a value, with it.
    Value(u8, &'a [u8]),
    /// A letter that is not in the list, or one whose value is missing.
    Unknown(u8),
}

/// Scans `args` (without argv[0]) by a list like `b"vqp:c:"`: letters, each followed by a colon if it takes a value.
///
/// Letters may be clustered, a value may be attached or the next argument; `--` ends the options, so does the first
/// argument that does not begin with `-` or is a lone `-`. Afterwards [`Scanner::rest`] holds what is left.
pub struct Scanner<'l, 'a> {
    list: &'l [u8],
    args: &'a [&'a [u8]],
    cluster: &'a [u8],
}

impl<'l, 'a> Scanner<'l, 'a> {
    /// Starts at the first argument.
    pub fn new(list: &'l [u8], args: &'a [&'a [u8]]) -> Self {
        Scanner { list, args, cluster: b"" }
    }

    /// The arguments after the options; call it when `next` has returned `None`.
    pub fn rest(&self) -> &'a [&'a [u8]] {
        self.args
    }

    /// Drops what is left of the present cluster: the attached value of an option whose value is optional.
    pub fn skip_cluster(&mut self) {
        self.cluster = b"";
    }
}

impl<'a> Iterator for Scanner<'_, 'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        if self.cluster.is_empty() {
            let first = *self.args.first()?;
            if first.len() < 2 || first.first() != Some(&b'-') {
                return None;
            }
            self.args = self.args.get(1..).unwrap_or_default();
            if first == b"--" {
                // Leaves `rest` behind the `--`; an empty list makes later calls end as well.
                self.list = b"";
                return None;
            }
            self.cluster = first.get(1..).unwrap_or_default();
        }
        let (&letter, after) = self.cluster.split_first()?;
        self.cluster = after;
        let Some(at) = self.list.iter().position(|&b| b == letter && b != b':') else {
            return Some(Opt::Unknown(letter));
        };
        if self.list.get(at + 1) != Some(&b':') {
            return Some(Opt::Flag(letter));
        }
        if !after.is_empty() {
            self.cluster = b"";
            return Some(Opt::Value(letter, after));
        }
        let Some((&value, rest)) = self.args.split_first() else {
            return Some(Opt::Unknown(letter));
        };
        self.args = rest;
        Some(Opt::Value(letter, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan<'a>(list: &[u8], args: &'a [&'a [u8]]) -> (Vec<Opt<'a>>, &'a [&'a [u8]]) {
        let mut s = Scanner::new(list, args);
        let found: Vec<_> = s.by_ref().collect();
        (found, s.rest())
    }

    #[test]
    fn clusters_values_and_ends() {
        let args: &[&[u8]] = &[b"-vc", b"40", b"-x/a", b"-vv", b"--", b"-q"];
        let (found, rest) = scan(b"vc:x:", args);
        use Opt::*;
        assert_eq!(found, [Flag(b'v'), Value(b'c', b"40"), Value(b'x', b"/a"), Flag(b'v'), Flag(b'v')]);
        assert_eq!(rest, [b"-q"]);
        assert_eq!(scan(b"v", &[b"-", b"-v"]), (vec![], &[&b"-"[..], b"-v"][..]));
        assert_eq!(scan(b"v:", &[b"-zv"]), (vec![Unknown(b'z'), Unknown(b'v')], &[][..]));
        assert_eq!(scan(b"v:", &[b"-:"]), (vec![Unknown(b':')], &[][..]));
        let args: &[&[u8]] = &[b"-vxy", b"-v"];
        let mut s = Scanner::new(b"vxy", args);
        s.next();
        s.skip_cluster();
        assert_eq!((s.next(), s.next()), (Some(Flag(b'v')), None));
    }
}
