//! What stands in base64 parts of a message: badmimetypes.cdb and badloadertypes.cdb (spec/smtp.md 5.1).

use control::cdb::Cdb;
use std::io;

/// How much of a line is looked at (bytes).
const LINE_MAX: usize = 1024;
/// The length of a key in badmimetypes.cdb (bytes): what a file's first bytes become in base64.
pub const MIMETYPE_LEN: usize = 9;
/// The length of a key in badloadertypes.cdb (bytes).
pub const LOADER_LEN: usize = 5;

const BASE64_FIELD: &[u8] = b"content-transfer-encoding: base64";

/// What to look for.
#[derive(Debug, Default)]
pub struct Search {
    /// How base64 parts must not begin.
    pub mimetypes: Option<Cdb>,
    /// No blanks inside a line of base64.
    pub blanks: bool,
    /// What must not stand in base64, and the byte that it begins with.
    pub loaders: Option<(u8, Cdb)>,
}

impl Search {
    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.mimetypes.is_none() && !self.blanks && self.loaders.is_none()
    }
}

/// Which of the searches are made in a message.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// For the beginnings of parts, and blanks.
    pub mimetypes: bool,
    /// For loaders.
    pub loaders: bool,
}

/// What was found: the bytes, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The beginning of a part, or blanks inside base64.
    MimeType(Vec<u8>),
    /// The beginning of a loader.
    Loader(Vec<u8>),
}

/// Reads a message line by line. It goes by the looks of lines, not by the structure of the message.
#[derive(Debug)]
pub struct Scanner<'a> {
    search: &'a Search,
    scope: Scope,
    line: Vec<u8>,
    /// A field that says base64 stood in this part.
    announced: bool,
    after_blank: bool,
    in_base64: bool,
    seen_base64: bool,
    mimetype: Option<Vec<u8>>,
    loader: Option<Vec<u8>>,
    trouble: Option<io::Error>,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of a message.
    pub fn new(search: &'a Search, scope: Scope) -> Scanner<'a> {
        Scanner {
            search,
            scope,
            line: Vec::new(),
            announced: false,
            after_blank: false,
            in_base64: false,
            seen_base64: false,
            mimetype: None,
            loader: None,
            trouble: None,
        }
    }

    /// Takes the next bytes of the message, with LF at line ends. Whether the message is to be refused so far.
    pub fn watch(&mut self, message: &[u8]) -> bool {
        for piece in message.split_inclusive(|&b| b == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_MAX - self.line.len();
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if ended {
                let line = std::mem::take(&mut self.line);
                self.end_of_line(&line);
                self.line = line;
                self.line.clear();
            }
        }
        self.mimetype.is_some() || self.loader.is_some() || self.trouble.is_some()
    }

    /// Whether the message has had a base64 part.
    pub fn has_seen_base64(&self) -> bool {
        self.seen_base64
    }

    /// What was found; an error if a cdb could not be read.
    pub fn finding(self) -> io::Result<Option<Finding>> {
        match (self.trouble, self.mimetype, self.loader) {
            (Some(e), ..) => Err(e),
            (None, Some(bytes), _) => Ok(Some(Finding::MimeType(bytes))),
            (None, None, loader) => Ok(loader.map(Finding::Loader)),
        }
    }

    fn end_of_line(&mut self, line: &[u8]) {
        let first_of_part = std::mem::replace(&mut self.after_blank, line.is_empty());
        if line.is_empty() {
            self.in_base64 = false;
        }
        if line.get(..BASE64_FIELD.len()).is_some_and(|start| start.eq_ignore_ascii_case(BASE64_FIELD)) {
            self.announced = true;
        }
        let begins = self.announced && first_of_part && line.len() > MIMETYPE_LEN && line.first() != Some(&b'-');
        if begins {
            self.in_base64 = true;
            self.seen_base64 = true;
        }
        if line.first() == Some(&b'-') {
            self.announced = false;
            self.in_base64 = false;
        }
        if begins
            && self.scope.mimetypes
            && let Some(start) = line.get(..MIMETYPE_LEN)
        {
            match self.search.mimetypes.as_ref().map_or(Ok(None), |cdb| cdb.get(start)) {
                Ok(None) => {}
                Ok(Some(_)) => self.mimetype = Some(start.to_vec()),
                Err(e) => self.trouble = Some(e),
            }
        }
        if self.in_base64 {
            self.base64_line(line);
        }
    }

    fn base64_line(&mut self, line: &[u8]) {
        if self.scope.loaders
            && let Some((sign, cdb)) = &self.search.loaders
        {
            let starts = line.windows(LOADER_LEN).filter(|window| window.first() == Some(sign));
            for window in starts {
                match cdb.get(window) {
                    Ok(None) => {}
                    Ok(Some(_)) => self.loader = Some(window.to_vec()),
                    Err(e) => self.trouble = Some(e),
                }
            }
        }
        let inside = line.trim_ascii_end();
        let blanks = self.scope.mimetypes && self.search.blanks;
        if blanks && let Some(at) = inside.iter().position(|b| matches!(b, b' ' | b'\t')) {
            let from = at.saturating_sub(2);
            self.mimetype = inside.get(from..(from + MIMETYPE_LEN).min(inside.len())).map(<[u8]>::to_vec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Scope = Scope { mimetypes: true, loaders: true };

    fn cdb(keys: &[&str]) -> Cdb {
        let mut writer = control::cdb::Writer::new(tempfile::tempfile().unwrap()).unwrap();
        keys.iter().for_each(|key| writer.add(key.as_bytes(), b"").unwrap());
        Cdb::from_file(writer.finish().unwrap()).unwrap()
    }

    fn search() -> Search {
        Search { mimetypes: Some(cdb(&["TVqQAAMAA"])), blanks: true, loaders: Some((b'M', cdb(&["Mi5kb"]))) }
    }

    /// What is found with the message in one piece; byte by byte must be the same.
    fn scan(search: &Search, message: &str) -> (Option<Finding>, bool) {
        let mut whole = Scanner::new(search, ALL);
        let refused = whole.watch(message.as_bytes());
        let mut bytes = Scanner::new(search, ALL);
        for b in message.bytes() {
            bytes.watch(&[b]);
        }
        let seen = whole.has_seen_base64();
        assert_eq!(bytes.has_seen_base64(), seen);
        let finding = whole.finding().unwrap();
        assert_eq!(finding.is_some(), refused);
        assert_eq!(bytes.finding().unwrap(), finding);
        (finding, seen)
    }

    #[test]
    fn only_base64_parts_are_looked_at() {
        let mime = |b: &str| Some(Finding::MimeType(b.as_bytes().to_vec()));
        let loader = || Some(Finding::Loader(b"Mi5kb".to_vec()));
        let head = "Subject: x\nContent-Transfer-Encoding: base64\n";
        let rows: [(String, Option<Finding>, bool); 16] = [
            (format!("{head}\nTVqQAAMAAxxx\n"), mime("TVqQAAMAA"), true),
            (format!("{}\nTVqQAAMAAxxx\n", head.to_ascii_uppercase()), mime("TVqQAAMAA"), true),
            (format!("{head}X: y\n\nTVqQAAMAAxxx\n"), mime("TVqQAAMAA"), true),
            (format!("{head}\nTVqQAAMAA\n"), None, false),
            (format!("{head}\nAAAABBBBCC\nTVqQAAMAAxxx\n"), None, true),
            (format!("{head}\n\nTVqQAAMAAxxx\n"), mime("TVqQAAMAA"), true),
            (format!("{head}--b\n\nTVqQAAMAAxxx\n"), None, false),
            ("\nTVqQAAMAAxxx\n".into(), None, false),
            (format!("--b\n{head}\nAAAABBBBCC\nxxMi5kbxx\n--b\n"), loader(), true),
            (format!("{head}\nAAAABBBBCC\nxxxMi5kb\n"), loader(), true),
            (format!("{head}\nAAAABBBBCC\nxxxMi5k\n"), None, true),
            (format!("{head}\nAAAABBBBCC\n\nxxxMi5kb\n"), None, true),
            (format!("{head}\nAAAABBBBCC\nabc def ghijk\n"), mime("bc def gh"), true),
            (format!("{head}\nAAAABBBBCC\nabcdef  \n"), None, true),
            (format!("{head}\nAAAABBBBCC\n--b\nplain text here\n"), None, true),
            (format!("{head}\n----------\nTVqQAAMAAxxx\n"), None, false),
        ];
        for (message, finding, seen) in rows {
            assert_eq!(scan(&search(), &message), (finding, seen), "{message}");
        }
    }

    #[test]
    fn lines_take_no_memory() {
        let search = search();
        let mut scanner = Scanner::new(&search, ALL);
        scanner.watch(&vec![b'x'; 1 << 20]);
        scanner.watch(&vec![b'x'; 1 << 20]);
        assert!(scanner.line.capacity() <= 4 * LINE_MAX);
    }

    #[test]
    fn a_cut_cdb_is_trouble() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"cut").unwrap();
        let search = Search { mimetypes: Some(Cdb::from_file(file).unwrap()), ..Search::default() };
        let mut scanner = Scanner::new(&search, ALL);
        assert!(scanner.watch(b"Content-Transfer-Encoding: base64\n\nTVqQAAMAAxxx\n"));
        assert!(scanner.finding().is_err());
    }
}
