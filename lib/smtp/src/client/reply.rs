//! What a server says: reading replies of one or more lines (RFC 5321 4.2).

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The most text of a reply that is kept for the report, in bytes.
pub const TEXT_MAX: usize = 5000;
/// The most that is read of one reply, in bytes (spec/reliability.md R3).
pub const REPLY_MAX: usize = 1 << 20;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 200 to 399.
    Good,
    /// 400 to 499, and whatever is no proper reply: doubt is temporary.
    Temporary,
    /// 500 to 599.
    Permanent,
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code; 0 for a malformed reply: no code, junk behind it, different codes.
    pub code: u16,
    /// All lines as they came, code and all, without CRs; cut at [`TEXT_MAX`], control bytes as `?`.
    pub text: Vec<u8>,
}

impl Reply {
    /// What the code means.
    pub fn kind(&self) -> Kind {
        match self.code {
            200..=399 => Kind::Good,
            500..=599 => Kind::Permanent,
            _ => Kind::Temporary,
        }
    }

    /// Whether a reply to EHLO offers `keyword`.
    pub fn offers(&self, keyword: &[u8]) -> bool {
        self.words(keyword).next().is_some()
    }

    /// The words behind `keyword` in a reply to EHLO; one line of them for each line that has it. Servers of old write
    /// `AUTH=LOGIN`.
    pub fn words(&self, keyword: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        let lines = self.text.split(|&b| b == b'\n').skip(1);
        lines.filter_map(move |line| {
            let mut words = line.get(4..)?.split(|&b| b == b' ' || b == b'=').filter(|w| !w.is_empty());
            words.next().is_some_and(|first| first.eq_ignore_ascii_case(keyword)).then_some(words)
        })
    }

    /// What follows the code in the only line of a reply: a challenge.
    pub fn challenge(&self) -> Option<&[u8]> {
        let line = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        (!line.contains(&b'\n')).then(|| line.get(4..).unwrap_or_default())
    }
}

/// Takes the bytes of one reply.
#[derive(Debug, Default)]
struct Parser {
    text: Vec<u8>,
    total: usize,
    /// The code of the first line.
    code: Option<u16>,
    /// Bytes seen of the present line, and its code so far.
    column: usize,
    line_code: u16,
    /// Another line is to follow.
    more: bool,
    malformed: bool,
}

impl Parser {
    /// Takes bytes; says how many belong to this reply, and whether it is complete. After the last line nothing more
    /// is looked at.
    fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        for (i, &b) in input.iter().enumerate() {
            self.total += 1;
            if b != b'\r' && self.text.len() < TEXT_MAX {
                self.text.push(if b < b' ' && !matches!(b, b'\n' | b'\t') || b == 127 { b'?' } else { b });
            }
            let ended = if b == b'\n' { self.end_line() } else { self.in_line(b) };
            if ended {
                return (i + 1, true);
            }
        }
        (input.len(), false)
    }

    fn in_line(&mut self, b: u8) -> bool {
        match self.column {
            0..=2 if b.is_ascii_digit() => self.line_code = self.line_code * 10 + u16::from(b - b'0'),
            3 if b == b'-' => self.more = true,
            3 if matches!(b, b' ' | b'\t' | b'\r') => self.more = false,
            0..=3 => self.malformed = true,
            _ => {}
        }
        // Only the first columns matter; a line of any length must not make the number overflow.
        self.column = (self.column + 1).min(4);
        self.total > REPLY_MAX
    }

    /// Whether the line that has just ended is the last one.
    fn end_line(&mut self) -> bool {
        if self.column < 3 || self.code.is_some_and(|first| first != self.line_code) {
            self.malformed = true;
        }
        // A line that is too short for a code, or ends right behind it, cannot announce another one.
        let last = self.column <= 3 || !self.more;
        self.code.get_or_insert(self.line_code);
        self.column = 0;
        self.line_code = 0;
        self.more = false;
        last || self.total > REPLY_MAX
    }

    fn finish(self) -> Reply {
        let code = if self.malformed { 0 } else { self.code.unwrap_or(0) };
        Reply { code, text: self.text }
    }
}

/// Reads replies off a stream; what is read beyond one of them is kept for the next.
#[derive(Debug)]
pub struct Replies {
    buf: Vec<u8>,
    at: usize,
    /// The limit for one whole reply.
    limit: Duration,
}

impl Replies {
    /// Reads with `limit` for each reply; the stream's own limit must not be longer.
    pub fn new(limit: Duration) -> Replies {
        Replies { buf: Vec::new(), at: 0, limit }
    }

    /// Whether the server has said more than was asked.
    pub fn has_more(&self) -> bool {
        self.at < self.buf.len()
    }

    /// The next reply. Errors: those of the stream, `UnexpectedEof` at its end, `TimedOut`, `InvalidData` for a reply
    /// of more than [`REPLY_MAX`] bytes.
    pub fn next<S: Read>(&mut self, stream: &mut S) -> io::Result<Reply> {
        let start = Instant::now();
        let mut parser = Parser::default();
        loop {
            let (used, complete) = parser.feed(self.buf.get(self.at..).unwrap_or_default());
            self.at += used;
            if parser.total > REPLY_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if complete {
                return Ok(parser.finish());
            }
            if start.elapsed() > self.limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.fill(stream)?;
        }
    }

    fn fill<S: Read>(&mut self, stream: &mut S) -> io::Result<()> {
        self.buf.resize(4096, 0);
        self.at = 0;
        loop {
            match stream.read(&mut self.buf) {
                Ok(0) => {
                    self.buf.clear();
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(n) => {
                    self.buf.truncate(n);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.buf.clear();
                    return Err(e);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(input: &[u8]) -> Option<(Reply, usize)> {
        let mut p = Parser::default();
        let (used, complete) = p.feed(input);
        complete.then(|| (p.finish(), used))
    }

    fn code(input: &[u8]) -> u16 {
        parse(input).unwrap().0.code
    }

    #[test]
    fn r3_only_proper_replies_have_a_code() {
        let rows: &[(&[u8], u16)] = &[
            (b"250 ok\r\n", 250),
            (b"250 ok\n", 250),
            (b"250\r\n", 250),
            (b"250\n", 250),
            (b"250 \r\n", 250),
            (b"250\tok\r\n", 250),
            (b"250-a\r\n250-b\r\n250 c\r\n", 250),
            (b"250-a\r\n250\r\n", 250),
            (b"250-\r\n250-\r\n250 \r\n", 250),
            (b"\n", 0),
            (b"\r\n", 0),
            (b"25\r\n", 0),
            (b"hello\r\n", 0),
            (b"250x ok\r\n", 0),
            (b"2500 ok\r\n", 0),
            (b"2 50 ok\r\n", 0),
            (b" 250 ok\r\n", 0),
            (b"25\x00 ok\r\n", 0),
            (b"250-a\r\n550 b\r\n", 0),
            (b"250-a\r\njunk\r\n", 0),
            (b"000 x\r\n", 0),
            (b"600 x\r\n", 600),
            (b"199 x\r\n", 199),
        ];
        for (input, want) in rows {
            assert_eq!(code(input), *want, "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn r3_what_is_out_of_range_is_temporary() {
        let kind = |code| Reply { code, text: Vec::new() }.kind();
        for (n, want) in [
            (0, Kind::Temporary),
            (199, Kind::Temporary),
            (200, Kind::Good),
            (399, Kind::Good),
            (400, Kind::Temporary),
            (499, Kind::Temporary),
            (500, Kind::Permanent),
            (599, Kind::Permanent),
            (600, Kind::Temporary),
            (999, Kind::Temporary),
        ] {
            assert_eq!(kind(n), want, "{n}");
        }
    }

    #[test]
    fn r3_text_is_cut_and_an_endless_reply_is_an_error() {
        let (reply, _) = parse(&[b"250 ".as_slice(), &[b'x'; 6000], b"\r\n"].concat()).unwrap();
        assert_eq!((reply.code, reply.text.len()), (250, TEXT_MAX));
        let line = b"250-go on\r\n".as_slice();
        let endless = line.repeat(REPLY_MAX / line.len() + 2);
        for input in [endless, vec![b'5'; REPLY_MAX + 9]] {
            let mut replies = Replies::new(Duration::from_secs(99));
            let got = replies.next(&mut input.as_slice()).unwrap_err();
            assert_eq!(got.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn r4_control_bytes_are_masked_and_line_ends_kept() {
        let (reply, _) = parse(b"550-a\x00\x1b[2Jb\r\n550 c\xe9\x7f\td\re\r\n").unwrap();
        assert_eq!(reply.text, b"550-a??[2Jb\n550 c\xe9?\tde\n");
    }

    #[test]
    fn r5_nothing_is_read_beyond_the_last_line() {
        let (reply, used) = parse(b"250-a\r\n250\r\n354 go\r\n").unwrap();
        assert_eq!((reply.code, used), (250, 12));
        assert!(parse(b"250-a\r\n250").is_none());
    }

    #[test]
    fn keywords_are_words_of_later_lines() {
        let (ehlo, _) = parse(b"250-PIPELINING\r\n250-Size 100\r\n250-XPIPELINING\r\n250 auth login\r\n").unwrap();
        assert!(!ehlo.offers(b"PIPELINING"), "the first line is the name of the server");
        assert!(ehlo.offers(b"SIZE") && ehlo.offers(b"AUTH") && !ehlo.offers(b"LOGIN"));
        assert!(!parse(b"250\r\n").unwrap().0.offers(b"X"));
        let words = |keyword| ehlo.words(keyword).flatten().map(String::from_utf8_lossy).collect::<Vec<_>>();
        assert_eq!((words(b"size"), words(b"AUTH")), (vec!["100".into()], vec!["login".into()]));
        let (old, _) = parse(b"250-x\r\n250-AUTH=LOGIN PLAIN\r\n250 AUTH CRAM-MD5\r\n").unwrap();
        assert_eq!(old.words(b"AUTH").flatten().collect::<Vec<_>>(), [b"LOGIN".as_slice(), b"PLAIN", b"CRAM-MD5"]);
    }

    #[test]
    fn challenges() {
        let rows: &[(&[u8], Option<&[u8]>)] = &[
            (b"334 abc=\r\n", Some(b"abc=")),
            (b"334 \r\n", Some(b"")),
            (b"334\r\n", Some(b"")),
            (b"334-a\r\n334 b\r\n", None),
        ];
        for (input, want) in rows {
            assert_eq!(parse(input).unwrap().0.challenge(), *want);
        }
    }

    #[test]
    fn replies_are_told_apart_in_one_packet() {
        let mut stream: &[u8] = b"250 a\r\n550-b\r\n550 c\r\n35";
        let mut r = Replies::new(Duration::from_secs(9));
        assert_eq!(r.next(&mut stream).unwrap().code, 250);
        assert!(r.has_more());
        assert_eq!(r.next(&mut stream).unwrap().text, b"550-b\n550 c\n");
        assert_eq!(r.next(&mut stream).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_reply(input in "(2|5|x|-| |0|\r|\n|\r\n|250|250-){0,12}\n", cut in 0usize..40) {
            let input = input.as_bytes();
            let whole = parse(input);
            let cut = cut.min(input.len());
            let mut p = Parser::default();
            let (mut used, mut complete) = p.feed(&input[..cut]);
            if !complete {
                let (more, done) = p.feed(&input[cut..]);
                used += more;
                complete = done;
            }
            prop_assert_eq!(whole, complete.then(|| (p.finish(), used)));
        }
    }
}
