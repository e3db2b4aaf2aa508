//! One line from the client, taken apart.

/// What a client can ask for. Verbs are known by their first word alone, whatever its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// HELO: says who the client is, drops the transaction.
    Helo,
    /// EHLO: the same, and lists the extensions.
    Ehlo,
    /// MAIL: begins a transaction.
    Mail,
    /// RCPT: adds a recipient.
    Rcpt,
    /// DATA: the message follows.
    Data,
    /// RSET: drops the transaction.
    Rset,
    /// NOOP: nothing.
    Noop,
    /// HELP: a word of advice.
    Help,
    /// VRFY: never tells.
    Vrfy,
    /// AUTH: proves who the client is.
    Auth,
    /// STARTTLS: begins TLS.
    StartTls,
    /// QUIT: ends the session.
    Quit,
    /// Anything else.
    Unknown,
}

const VERBS: [(&[u8], Verb); 12] = [
    (b"rcpt", Verb::Rcpt),
    (b"mail", Verb::Mail),
    (b"data", Verb::Data),
    (b"quit", Verb::Quit),
    (b"auth", Verb::Auth),
    (b"starttls", Verb::StartTls),
    (b"helo", Verb::Helo),
    (b"ehlo", Verb::Ehlo),
    (b"rset", Verb::Rset),
    (b"help", Verb::Help),
    (b"noop", Verb::Noop),
    (b"vrfy", Verb::Vrfy),
];

/// Splits a line (without its line feed) into verb and argument. One carriage return at the end belongs to the line
/// end; the verb ends at the first blank, and the blanks after it are skipped.
pub fn split(line: &[u8]) -> (Verb, &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let verb = VERBS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map_or(Verb::Unknown, |v| v.1);
    (verb, skip_blanks(rest))
}

pub(super) fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&b| b == b' ').count();
    text.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_splits_at_its_first_blank() {
        let rows: [(&[u8], Verb, &[u8]); 12] = [
            (b"QUIT\r", Verb::Quit, b""),
            (b"quit", Verb::Quit, b""),
            (b"qUiT now\r", Verb::Quit, b"now"),
            (b"HELO   a b \r", Verb::Helo, b"a b "),
            (b"HELO\ta\r", Verb::Unknown, b""),
            (b"NOOP\r\r", Verb::Unknown, b""),
            (b"NOOP \r\r", Verb::Noop, b"\r"),
            (b" NOOP\r", Verb::Unknown, b"NOOP"),
            (b"", Verb::Unknown, b""),
            (b"\r", Verb::Unknown, b""),
            (b"MAIL<a@b>", Verb::Unknown, b""),
            (b"MAIL FROM:<a@b>", Verb::Mail, b"FROM:<a@b>"),
        ];
        for (line, verb, argument) in rows {
            assert_eq!(split(line), (verb, argument), "{:?}", line.escape_ascii().to_string());
        }
    }
}
