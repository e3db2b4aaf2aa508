//! The tokens of a structured header field (RFC 822 section 3.3), and their way back to text.
//!
//! The reading is as generous as qmail's: any byte is accepted in a word, and a backslash works in bare words too.

use std::borrow::Cow;

/// One token. Words hold their meaning: without delimiters, backslashes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A bare word.
    Atom(Cow<'a, [u8]>),
    /// A string in double quotes, or a bare word that may only be written in quotes.
    Quoted(Cow<'a, [u8]>),
    /// What stands between `[` and `]`.
    Literal(Cow<'a, [u8]>),
    /// A comment; parentheses of comments inside it are dropped.
    Comment(Cow<'a, [u8]>),
    /// `<`
    Left,
    /// `>`
    Right,
    /// `@`
    At,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// `:`
    Colon,
    /// `.`
    Dot,
}

/// The text has no tokens: a quote, comment or literal without end, or a closing `)` or `]` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable;

impl Token<'_> {
    /// The same token, independent of the text it came from.
    pub fn into_owned(self) -> Token<'static> {
        match self {
            Token::Atom(w) => Token::Atom(Cow::Owned(w.into_owned())),
            Token::Quoted(w) => Token::Quoted(Cow::Owned(w.into_owned())),
            Token::Literal(w) => Token::Literal(Cow::Owned(w.into_owned())),
            Token::Comment(w) => Token::Comment(Cow::Owned(w.into_owned())),
            mark => mark.bare(),
        }
    }

    /// The same token, with its word borrowed from this one.
    pub fn borrowed(&self) -> Token<'_> {
        match self {
            Token::Atom(w) => Token::Atom(Cow::Borrowed(w)),
            Token::Quoted(w) => Token::Quoted(Cow::Borrowed(w)),
            Token::Literal(w) => Token::Literal(Cow::Borrowed(w)),
            Token::Comment(w) => Token::Comment(Cow::Borrowed(w)),
            mark => mark.bare(),
        }
    }

    fn is_word(&self) -> bool {
        matches!(self, Token::Atom(_) | Token::Quoted(_) | Token::Literal(_) | Token::Comment(_))
    }

    /// A token that is no word, free of any text.
    fn bare(&self) -> Token<'static> {
        match self {
            Token::Left => Token::Left,
            Token::Right => Token::Right,
            Token::At => Token::At,
            Token::Comma => Token::Comma,
            Token::Semicolon => Token::Semicolon,
            Token::Colon => Token::Colon,
            _ => Token::Dot,
        }
    }

    /// The one byte of a token that is no word.
    fn mark(&self) -> u8 {
        match self {
            Token::Left => b'<',
            Token::Right => b'>',
            Token::At => b'@',
            Token::Comma => b',',
            Token::Semicolon => b';',
            Token::Colon => b':',
            _ => b'.',
        }
    }
}

/// Cuts `text` into tokens. Blanks, tabs, CR and LF between tokens count for nothing. An empty list is fine.
pub fn parse(text: &[u8]) -> Result<Vec<Token<'_>>, Unparsable> {
    let mut tokens = Vec::new();
    cut(text, |token| tokens.push(token)).map(|()| tokens)
}

/// Shows the tokens of `text` to `each`, from the left to the right.
fn cut<'a>(text: &'a [u8], mut each: impl FnMut(Token<'a>)) -> Result<(), Unparsable> {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let token = match first {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'<' => Token::Left,
            b'>' => Token::Right,
            b'@' => Token::At,
            b',' => Token::Comma,
            b';' => Token::Semicolon,
            b':' => Token::Colon,
            b'.' => Token::Dot,
            b'(' => Token::Comment(enclosed(&mut rest, Some(b'('), b')')?),
            b'"' => Token::Quoted(enclosed(&mut rest, None, b'"')?),
            b'[' => Token::Literal(enclosed(&mut rest, None, b']')?),
            b')' | b']' => return Err(Unparsable),
            _ => {
                let (word, after) = bare_word(text.get(text.len() - rest.len() - 1..).unwrap_or_default());
                rest = after;
                match word {
                    // A backslash at the very end of the text quotes nothing.
                    w if w.is_empty() => continue,
                    w if w.iter().any(|&b| needs_quotes(b)) => Token::Quoted(w),
                    w => Token::Atom(w),
                }
            }
        };
        each(token);
    }
    Ok(())
}

/// Many tokens in little memory: a mark takes a byte, a word two bytes more than its own. They are read from the end
/// they were put on. A field of a megabyte may have a million tokens.
#[derive(Clone, Debug, Default)]
pub struct Pile {
    /// For each token: a word's bytes, their number as [`Pile::put`] writes it, the kind. So it is read from the end.
    bytes: Vec<u8>,
    count: usize,
}

/// The lengths of words that take one byte; behind any other stand its eight bytes, and this.
const LONG: u8 = u8::MAX;

impl Pile {
    /// The tokens of `text`, the last one on top.
    pub fn parse(text: &[u8]) -> Result<Pile, Unparsable> {
        let mut pile = Pile::default();
        cut(text, |token| pile.put(&token)).map(|()| pile)
    }

    /// Puts a copy of a token on top.
    pub fn put(&mut self, token: &Token<'_>) {
        self.count += 1;
        let (kind, word) = match token {
            Token::Atom(word) => (b'a', word),
            Token::Quoted(word) => (b'"', word),
            Token::Literal(word) => (b'[', word),
            Token::Comment(word) => (b'(', word),
            mark => return self.bytes.push(mark.mark()),
        };
        self.bytes.extend_from_slice(word);
        match u8::try_from(word.len()) {
            Ok(length) if length != LONG => self.bytes.push(length),
            _ => {
                self.bytes.extend_from_slice(&word.len().to_le_bytes());
                self.bytes.push(LONG);
            }
        }
        self.bytes.push(kind);
    }

    /// The tokens from the top.
    pub fn from_top(&self) -> FromTop<'_> {
        FromTop { bytes: &self.bytes, count: self.count }
    }
}

/// The tokens of a [`Pile`], from its top.
#[derive(Clone, Debug)]
pub struct FromTop<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl FromTop<'_> {
    /// How many are left.
    pub fn left(&self) -> usize {
        self.count
    }
}

impl<'a> Iterator for FromTop<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (&kind, rest) = self.bytes.split_last()?;
        self.count -= 1;
        self.bytes = rest;
        let word: fn(Cow<'a, [u8]>) -> Token<'a> = match kind {
            b'a' => Token::Atom,
            b'"' => Token::Quoted,
            b'[' => Token::Literal,
            b'(' => Token::Comment,
            b'<' => return Some(Token::Left),
            b'>' => return Some(Token::Right),
            b'@' => return Some(Token::At),
            b',' => return Some(Token::Comma),
            b';' => return Some(Token::Semicolon),
            b':' => return Some(Token::Colon),
            _ => return Some(Token::Dot),
        };
        let (&length, rest) = rest.split_last()?;
        let (rest, length) = match length {
            LONG => rest.split_last_chunk().map(|(rest, length)| (rest, usize::from_le_bytes(*length)))?,
            _ => (rest, usize::from(length)),
        };
        let (rest, text) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
        self.bytes = rest;
        Some(word(Cow::Borrowed(text)))
    }
}

/// The meaning of a quote, comment or literal whose opening byte was just read; `rest` goes behind its closing byte.
fn enclosed<'a>(rest: &mut &'a [u8], opener: Option<u8>, closer: u8) -> Result<Cow<'a, [u8]>, Unparsable> {
    let text = *rest;
    let special = |b: u8| b == closer || b == b'\\' || Some(b) == opener;
    let plain = text.iter().position(|&b| special(b)).ok_or(Unparsable)?;
    let (start, tail) = text.split_at(plain);
    if tail.first() == Some(&closer) {
        *rest = tail.get(1..).unwrap_or_default();
        return Ok(Cow::Borrowed(start));
    }
    let mut word = start.to_vec();
    let mut level = 1u32;
    let mut bytes = tail.iter();
    while level > 0 {
        match *bytes.next().ok_or(Unparsable)? {
            b'\\' => word.push(*bytes.next().ok_or(Unparsable)?),
            b if b == closer => level -= 1,
            // The text is shorter than 4 GiB of opening bytes; more would only fail to close.
            b if Some(b) == opener => level = level.saturating_add(1),
            b => word.push(b),
        }
    }
    *rest = bytes.as_slice();
    Ok(Cow::Owned(word))
}

/// The bare word that `text` begins with, and what follows it.
fn bare_word(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let plain = text.iter().take_while(|&&b| continues_word(b) && b != b'\\').count();
    let (start, mut rest) = text.split_at(plain);
    if rest.first() != Some(&b'\\') {
        return (Cow::Borrowed(start), rest);
    }
    let mut word = start.to_vec();
    while let Some((&b, after)) = rest.split_first() {
        if !continues_word(b) {
            break;
        }
        rest = after;
        if b != b'\\' {
            word.push(b);
        } else if let Some((&quoted, after)) = rest.split_first() {
            word.push(quoted);
            rest = after;
        }
    }
    (Cow::Owned(word), rest)
}

/// `)` and `]` are in: only at the beginning of a token they are errors.
fn continues_word(b: u8) -> bool {
    !matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b'[' | b'"' | b'<' | b'>' | b';' | b':' | b'@' | b',' | b'.')
}

/// Bytes that a word without quotes cannot show. A blank (it came in behind a backslash) is left bare, as qmail does.
fn needs_quotes(b: u8) -> bool {
    !(32..=126).contains(&b) || matches!(b, b')' | b']' | b'\\' | b',' | b';' | b':' | b'<' | b'>' | b'@' | b'.')
}

/// Lines longer than this are folded at their commas if possible (bytes).
const LINE_LEN: usize = 80;

/// Writes a field that begins with its name, as lines that end with a newline. It is folded after commas only, and
/// only where the next item would not fit.
pub fn unparse<'a>(tokens: impl IntoIterator<Item = Token<'a>>) -> Vec<u8> {
    let mut out = Folded::default();
    let mut before = None;
    for token in tokens {
        if before.as_ref().is_some_and(|b| needs_space(b, &token)) {
            out.text.push(b' ');
        }
        match &token {
            Token::Atom(w) => out.escaped(w),
            Token::Quoted(w) => out.between(b'"', w, b'"'),
            Token::Literal(w) => out.between(b'[', w, b']'),
            Token::Comment(w) => out.between(b'(', w, b')'),
            mark => out.text.push(mark.mark()),
        }
        if token == Token::Comma {
            out.fold();
        }
        before = Some(token);
    }
    out.fold();
    // The last fold is the end of the field: only its newline stays.
    out.text.pop();
    out.text
}

fn needs_space(before: &Token<'_>, next: &Token<'_>) -> bool {
    matches!(before, Token::Colon | Token::Comma) || *next == Token::Left || (before.is_word() && next.is_word())
}

/// Text being written with folds that are taken back while the line has room.
#[derive(Default)]
struct Folded {
    text: Vec<u8>,
    line_start: usize,
    last_fold: Option<usize>,
}

impl Folded {
    /// Folds here. If all since the line's start fits, the fold before this one is taken back.
    fn fold(&mut self) {
        let mut here = self.text.len();
        match self.last_fold {
            Some(fold) if here - self.line_start <= LINE_LEN => {
                self.text.drain(fold..fold + 2);
                here -= 2;
            }
            Some(fold) => self.line_start = fold + 1,
            None => {}
        }
        self.last_fold = Some(here);
        self.text.extend_from_slice(b"\n ");
    }

    fn between(&mut self, open: u8, word: &[u8], close: u8) {
        self.text.push(open);
        self.escaped(word);
        self.text.push(close);
    }

    fn escaped(&mut self, word: &[u8]) {
        let mut bytes = word.iter().peekable();
        while let Some(&b) = bytes.next() {
            if matches!(b, b'"' | b'[' | b']' | b'(' | b')' | b'\\' | b'\r' | b'\n') {
                self.text.push(b'\\');
            }
            self.text.push(b);
            // A backslash at the end of a line takes the newline into the word. Whatever follows must still look like
            // a continuation line, or the header would end here.
            if b == b'\n' && !matches!(bytes.peek(), Some(b' ' | b'\t')) {
                self.text.push(b' ');
            }
        }
    }
}

/// What an address means: its tokens' bytes in a row, without quotes, comments and blanks. This is the form of
/// envelopes; the last `@` separates the domain (addresses(5)).
pub fn unquote(tokens: &[Token<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Atom(w) | Token::Quoted(w) => out.extend_from_slice(w),
            Token::Literal(w) => {
                out.push(b'[');
                out.extend_from_slice(w);
                out.push(b']');
            }
            Token::Comment(_) => {}
            mark => out.push(mark.mark()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(w: &str) -> Token<'_> {
        Token::Atom(Cow::Borrowed(w.as_bytes()))
    }

    fn quoted(w: &str) -> Token<'_> {
        Token::Quoted(Cow::Borrowed(w.as_bytes()))
    }

    #[test]
    fn words_and_marks_are_told_apart() {
        let literal = |w: &'static str| Token::Literal(Cow::Borrowed(w.as_bytes()));
        let comment = |w: &'static str| Token::Comment(Cow::Borrowed(w.as_bytes()));
        let rows: Vec<(&str, Vec<Token<'_>>)> = vec![
            ("", vec![]),
            (" \t\r\n", vec![]),
            ("a", vec![atom("a")]),
            ("a.b@c", vec![atom("a"), Token::Dot, atom("b"), Token::At, atom("c")]),
            ("<a>,;:", vec![Token::Left, atom("a"), Token::Right, Token::Comma, Token::Semicolon, Token::Colon]),
            ("\"a \\\"b\"", vec![quoted("a \"b")]),
            ("\"\"", vec![quoted("")]),
            ("[1.2]", vec![literal("1.2")]),
            ("[a[b]", vec![literal("a[b")]),
            ("(a (b) c)", vec![comment("a b c")]),
            ("(a\\)b)", vec![comment("a)b")]),
            ("a(b)c", vec![atom("a"), comment("b"), atom("c")]),
            ("a)b", vec![quoted("a)b")]),
            ("a\\,b", vec![quoted("a,b")]),
            ("a\\ b", vec![atom("a b")]),
            ("\\a", vec![atom("a")]),
            ("a\\", vec![atom("a")]),
            ("\\", vec![]),
            ("j\u{7f}", vec![quoted("j\u{7f}")]),
            ("jö", vec![quoted("jö")]),
        ];
        for (text, tokens) in rows {
            assert_eq!(parse(text.as_bytes()).unwrap(), tokens, "{text}");
        }
    }

    #[test]
    fn a_pile_gives_back_what_was_put_on_it() {
        let words = [0, 1, 254, 255, 256, 70_000].map(|n| vec![b'x'; n]);
        let mut all =
            vec![Token::Left, Token::Right, Token::At, Token::Comma, Token::Semicolon, Token::Colon, Token::Dot];
        for word in &words {
            for kind in [Token::Atom, Token::Quoted, Token::Literal, Token::Comment] {
                all.push(kind(Cow::Borrowed(word)));
            }
        }
        let mut pile = Pile::default();
        all.iter().for_each(|token| pile.put(token));
        let mut top = pile.from_top();
        assert_eq!(top.left(), all.len());
        assert!(top.by_ref().eq(all.iter().rev().cloned()));
        assert_eq!(top.left(), 0);
        let text = b"To: a.b <\"c\"@[d]> (e), \\a;";
        let parsed = Pile::parse(text).unwrap();
        assert!(parsed.from_top().eq(parse(text).unwrap().into_iter().rev()));
        assert_eq!(Pile::parse(b"(").err(), Some(Unparsable));
    }

    #[test]
    fn what_does_not_end_is_unparsable() {
        for text in ["(", "(()", "(a\\", "\"", "\"a\\\"", "[", "[\\]", ")", "]", "a ]", "a )"] {
            assert_eq!(parse(text.as_bytes()), Err(Unparsable), "{text}");
        }
    }

    #[test]
    fn fields_are_written_with_folds_only_where_needed() {
        let rows: &[(&str, &str)] = &[
            ("To:", "To:\n"),
            ("To : a@b", "To: a@b\n"),
            ("To: a , b", "To: a, b\n"),
            ("To: A B<c>", "To: A B <c>\n"),
            ("To: g:a,b;", "To: g: a, b;\n"),
            ("To: a(c)", "To: a (c)\n"),
            ("To: ()\\.\"\"", "To: () \".\" \"\"\n"),
            ("To: \"a\n b\"", "To: \"a\\\n b\"\n"),
            ("To: a\\\n", "To: \"a\\\n \"\n"),
            ("To: \\\n\\\n", "To: \"\\\n \\\n \"\n"),
        ];
        for &(before, after) in rows {
            assert_eq!(unparse(parse(before.as_bytes()).unwrap()), after.as_bytes());
        }
        let item = |n: usize| "x".repeat(n);
        // "To: " + 36 + ", " + 36 is 78 bytes; the fold of two bytes makes it 80.
        let fits = format!("To: {}, {}\n", item(36), item(36));
        assert_eq!(unparse(parse(fits.as_bytes()).unwrap()), fits.as_bytes());
        let folded = format!("To: {},\n  {}\n", item(36), item(37));
        assert_eq!(unparse(parse(folded.as_bytes()).unwrap()), folded.as_bytes());
    }

    #[test]
    fn unquoting_gives_the_bare_address() {
        let rows: &[(&str, &str)] = &[
            ("\"a b\" (c) . d @ [1.2.3.4]", "a b.d@[1.2.3.4]"),
            ("#@[]", "#@[]"),
            ("", ""),
            ("@r,@s:a@b", "@r,@s:a@b"),
        ];
        for &(text, address) in rows {
            assert_eq!(unquote(&parse(text.as_bytes()).unwrap()), address.as_bytes());
        }
    }
}
