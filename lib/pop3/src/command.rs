//! What a client says, as values.

/// A command of the transaction state. Message numbers are counted from 1 and not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Quit,
    Stat,
    /// `None`: all messages.
    List(Option<u64>),
    /// `None`: all messages.
    Uidl(Option<u64>),
    Dele(u64),
    /// RETR, or TOP with so many lines of the body. TOP without a number is RETR, and RETR with one is TOP, in qmail.
    Retr(u64, Option<u64>),
    Rset,
    Last,
    Noop,
    Capa,
    /// A known verb with something that is no number.
    Nonsense,
    Unknown,
}

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Command {
        let (verb, argument) = split(line);
        let number = number(argument);
        let one = |command: fn(u64) -> Command| number.map_or(Command::Nonsense, |(n, _)| command(n));
        let all_or_one = |command: fn(Option<u64>) -> Command| match number {
            None if argument.is_empty() => command(None),
            None => Command::Nonsense,
            Some((n, _)) => command(Some(n)),
        };
        match verb.to_ascii_lowercase().as_slice() {
            b"quit" => Command::Quit,
            b"stat" => Command::Stat,
            b"list" => all_or_one(Command::List),
            b"uidl" => all_or_one(Command::Uidl),
            b"dele" => one(Command::Dele),
            b"retr" | b"top" => match number {
                None => Command::Nonsense,
                Some((n, rest)) => Command::Retr(n, self::number(after_blanks(rest)).map(|(lines, _)| lines)),
            },
            b"rset" => Command::Rset,
            b"last" => Command::Last,
            b"noop" => Command::Noop,
            b"capa" => Command::Capa,
            _ => Command::Unknown,
        }
    }
}

/// The verb, and its argument without the blanks before it. Blanks at the end stay: they may belong to a password.
pub(crate) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at(at);
    (verb, after_blanks(rest))
}

fn after_blanks(text: &[u8]) -> &[u8] {
    text.get(text.iter().take_while(|&&b| b == b' ').count()..).unwrap_or_default()
}

/// The decimal number at the start of `text`, and what follows it. One too large for 64 bits is the largest.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(count).filter(|(digits, _)| !digits.is_empty())?;
    let digits = digits.iter().map(|b| u64::from(b - b'0'));
    Some((digits.fold(0u64, |n, d| n.saturating_mul(10).saturating_add(d)), rest))
}

#[cfg(test)]
mod tests {
    use super::Command::{self, *};
    use proptest::prelude::*;

    #[test]
    fn m1_commands_and_numbers() {
        let rows: &[(&[u8], Command)] = &[
            (b"", Unknown),
            (b" STAT", Unknown),
            (b"STAT", Stat),
            (b"sTaT junk", Stat),
            (b"STATS", Unknown),
            (b"STAT\t", Unknown),
            (b"quit", Quit),
            (b"RSET", Rset),
            (b"LAST", Last),
            (b"NOOP x", Noop),
            (b"CAPA", Capa),
            (b"LIST", List(None)),
            (b"LIST   ", List(None)),
            (b"LIST   2", List(Some(2))),
            (b"LIST 2x", List(Some(2))),
            (b"LIST -1", Nonsense),
            (b"UIDL +1", Nonsense),
            (b"UIDL 1000000000", Uidl(Some(1_000_000_000))),
            (b"DELE 18446744073709551616", Dele(u64::MAX)),
            (b"DELE 99999999999999999999999999999999", Dele(u64::MAX)),
            (b"DELE", Nonsense),
            (b"RETR", Nonsense),
            (b"RETR y2", Nonsense),
            (b"RETR 0", Retr(0, None)),
            (b"TOP 2", Retr(2, None)),
            (b"TOP 2  0", Retr(2, Some(0))),
            (b"TOP 2 x", Retr(2, None)),
            (b"TOP 2 18446744073709551617", Retr(2, Some(u64::MAX))),
            (b"USER x", Unknown),
        ];
        for &(line, expected) in rows {
            assert_eq!(Command::parse(line), expected, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_command(line in proptest::collection::vec(any::<u8>(), 0..40), n in any::<u64>()) {
            Command::parse(&line);
            prop_assert_eq!(Command::parse(format!("dele {n}").as_bytes()), Dele(n));
        }
    }
}
