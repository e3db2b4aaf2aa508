//! rblsmtpd: refuses the mail of listed clients, or becomes the SMTP server for the others.
//!
//! `rblsmtpd [options] program [arg ...]` (rblsmtpd(1)), started by tcpserver as its server's user, with the client
//! as fds 0 and 1 and its address in TCPREMOTEIP. RBLSMTPD decides if it is set: empty lets the client in, a text
//! refuses it for now, a text behind a hyphen for good. Else the DNS lists of the options do, the first one that knows
//! the client. Reads GREETDELAY; sets RBLSMTPD with -i. What is refused is told on fd 2.
//!
//! Exit codes: 0 after a refusal; 100 wrong usage; 111 the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use dns::Resolver;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::opt::{Opt, Scanner};
use sys::spawn::Program;

const LETTERS: &[u8] = b"bBcCit:r:a:Ww:";
const USAGE: &[u8] =
    b"usage: rblsmtpd [ -bBcCi ] [ -t timeout ] [ -r base ] [ -a base ] [ -W ] [ -w delay ] smtpd [ arg ... ]";
/// How long a refused client is listened to, in seconds, if -t does not say.
const TIMEOUT_SECS: u64 = 60;
/// No time is longer, in seconds.
const SECS_MAX: u64 = 86400;
/// The most of a text that is shown, in bytes: what a list says is a stranger's word.
const TEXT_MAX: usize = 200;
/// More bytes than any command has that is told from others.
const VERB_MAX: usize = 8;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let options = match Options::parse(&args) {
        Some(options) => options,
        None => {
            complain(&[USAGE]);
            return Exit::PERMANENT;
        }
    };
    let client = sys::env::get(b"TCPREMOTEIP").unwrap_or_default();
    let ip = std::str::from_utf8(&client).ok().and_then(|ip| ip.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
    let mut env = Env::inherit();
    match judge(&options, ip, sys::env::get(b"RBLSMTPD")) {
        Verdict::Refuse(text, bounce) if options.interrogate => {
            let sign: &[u8] = if bounce { b"-" } else { b"" };
            env.set(b"RBLSMTPD", &[sign, &text].concat());
        }
        Verdict::Refuse(text, bounce) => return refuse(&options, &client, &text, bounce),
        Verdict::Unknown => delay(options.delay(sys::env::get(b"GREETDELAY"))),
        Verdict::Welcome => {}
    }
    let error = become_program(options.program, env);
    let name = options.program.first().copied().unwrap_or_default();
    complain(&[b"fatal: unable to run ", name, b": ", text(&error).as_bytes()]);
    Exit::TEMPORARY
}

/// One of the lists that are asked.
#[derive(Debug, PartialEq, Eq)]
struct List<'a> {
    base: &'a [u8],
    /// A client in it is let in (-a); else it is refused (-r).
    welcomes: bool,
    /// A list that does not answer refuses (-c before it).
    fails_closed: bool,
}

/// What the command line asks for.
struct Options<'a> {
    bounce: bool,
    interrogate: bool,
    timeout_secs: u64,
    delay_secs: u64,
    delay_from_environment: bool,
    lists: Vec<List<'a>>,
    program: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    fn parse(args: &'a [&'a [u8]]) -> Option<Options<'a>> {
        let mut o = Options {
            bounce: false,
            interrogate: false,
            timeout_secs: TIMEOUT_SECS,
            delay_secs: 0,
            delay_from_environment: false,
            lists: Vec::new(),
            program: &[],
        };
        let mut fails_closed = false;
        let mut scanner = Scanner::new(LETTERS, args);
        for option in scanner.by_ref() {
            match option {
                Opt::Flag(b @ (b'b' | b'B')) => o.bounce = b == b'b',
                Opt::Flag(c @ (b'c' | b'C')) => fails_closed = c == b'c',
                Opt::Flag(b'i') => o.interrogate = true,
                Opt::Flag(_) => o.delay_from_environment = true,
                Opt::Value(b't', value) => o.timeout_secs = number(value),
                Opt::Value(b'w', value) => o.delay_secs = number(value),
                Opt::Value(letter, base) => o.lists.push(List { base, welcomes: letter == b'a', fails_closed }),
                Opt::Unknown(_) => return None,
            }
        }
        o.program = scanner.rest();
        if o.program.is_empty() { None } else { Some(o) }
    }

    /// How long a client that no list knows waits, in seconds.
    fn delay(&self, greetdelay: Option<Vec<u8>>) -> u64 {
        let wanted = greetdelay.filter(|_| self.delay_from_environment);
        wanted.map_or(self.delay_secs, |value| number(&value))
    }
}

/// The number at the beginning, 0 without one, as the classic scanner has it.
fn number(text: &[u8]) -> u64 {
    control::leading_number(text).unwrap_or(0).min(SECS_MAX)
}

/// What becomes of the client.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Somebody vouches for it.
    Welcome,
    /// Nobody knows it.
    Unknown,
    /// The text, and whether it is for good.
    Refuse(Vec<u8>, bool),
}

fn judge(options: &Options<'_>, client: Option<IpAddr>, variable: Option<Vec<u8>>) -> Verdict {
    if let Some(value) = variable {
        return match value.strip_prefix(b"-") {
            _ if value.is_empty() => Verdict::Welcome,
            Some(text) => Verdict::Refuse(text.to_vec(), true),
            None => Verdict::Refuse(value, false),
        };
    }
    let Some(client) = client else { return Verdict::Unknown };
    let dns = Resolver::asking(sys::env::get(b"DNSCACHEIP"));
    for list in &options.lists {
        let name = [dns::reversed(client).as_slice(), b".", list.base].concat();
        if list.welcomes {
            match is_known(&dns, &name) {
                Some(true) => return Verdict::Welcome,
                Some(false) => {}
                // Better one unwanted message than a wanted one refused.
                None if !list.fails_closed => return Verdict::Welcome,
                None => {}
            }
            continue;
        }
        match dns.txt(&name).records() {
            Some(texts) if texts.is_empty() => {}
            Some(texts) => return Verdict::Refuse(texts.concat(), options.bounce),
            None if list.fails_closed => return Verdict::Refuse(b"temporary RBL lookup error".to_vec(), false),
            None => {}
        }
    }
    Verdict::Unknown
}

/// Whether the name has an address of either kind; `None` if that could not be found out.
fn is_known(dns: &Resolver, name: &[u8]) -> Option<bool> {
    let a = dns.a(name).records();
    if a.as_ref().is_some_and(|list| !list.is_empty()) {
        return Some(true);
    }
    match dns.aaaa(name).records() {
        Some(list) if !list.is_empty() => Some(true),
        aaaa => aaaa.and(a).map(|_| false),
    }
}

fn delay(secs: u64) {
    if secs > 0 {
        // If waiting fails, the client is served at once.
        let _ = sys::poll::wait(&mut [], Some(Duration::from_secs(secs)));
    }
}

fn become_program(argv: &[&[u8]], env: Env) -> io::Error {
    let name = argv.first().copied().unwrap_or_default();
    let path = env.get(b"PATH").unwrap_or(PATH);
    let file = sys::spawn::search(name, path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    match file.and_then(|file| Program::new(&file, argv)) {
        Ok(program) => program.env(env).exec(),
        Err(e) => e,
    }
}

/// The answer to all that would bring mail in: code and text, without line end.
fn refusal(text: &[u8], bounce: bool) -> Vec<u8> {
    let code: &[u8] = if bounce { b"553 " } else { b"451 " };
    let shown = text.iter().take(TEXT_MAX).map(|&b| if (32..=126).contains(&b) { b } else { b'?' });
    code.iter().copied().chain(shown).collect()
}

/// Tells the log, and the client for as long as it asks, that its mail is not wanted.
fn refuse(options: &Options<'_>, client: &[u8], text: &[u8], bounce: bool) -> Exit {
    let refusal = refusal(text, bounce);
    let client: Vec<u8> = client.iter().take(TEXT_MAX).map(|&b| if b.is_ascii_graphic() { b } else { b'?' }).collect();
    let pid = sys::process::pid().0.to_string();
    complain(&[&client, b" pid ", pid.as_bytes(), b": ", &refusal]);
    sys::signal::ignore(sys::signal::SIGPIPE);
    if options.timeout_secs == 0 {
        // Who has gone does not mind.
        let _ = say(&refusal);
        return Exit::OK;
    }
    // However slowly the client reads or writes.
    sys::signal::exit_after(u32::try_from(options.timeout_secs).unwrap_or(u32::MAX), Exit::OK.0);
    // The client has gone: that is how it ends, or not at all.
    let _ = converse(&refusal);
    Exit::OK
}

fn say(line: &[u8]) -> io::Result<()> {
    sys::fd::write_all(1, &[line, b"\r\n"].concat())
}

/// The dialogue, up to QUIT or the end of the input.
fn converse(refusal: &[u8]) -> io::Result<()> {
    say(b"220 rblsmtpd.local")?;
    let mut verb = Verb::default();
    let mut buffer = [0; 512];
    loop {
        let length = sys::fd::Fd(0).read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        for &b in buffer.get(..length).unwrap_or_default() {
            match verb.take(b) {
                None => {}
                Some(Kind::Quit) => return say(b"221 rblsmtpd.local"),
                Some(Kind::Harmless) => say(b"250 rblsmtpd.local")?,
                Some(Kind::Mail) => say(refusal)?,
            }
        }
    }
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Quit,
    Harmless,
    Mail,
}

/// The first word of a command line as it comes in; the rest of the line is dropped.
#[derive(Default)]
struct Verb {
    word: Vec<u8>,
    complete: bool,
}

impl Verb {
    fn take(&mut self, b: u8) -> Option<Kind> {
        if b == b'\n' {
            let word = std::mem::take(self).word.to_ascii_lowercase();
            return Some(match word.strip_suffix(b"\r").unwrap_or(&word) {
                b"quit" => Kind::Quit,
                b"helo" | b"ehlo" | b"mail" | b"rset" | b"noop" => Kind::Harmless,
                _ => Kind::Mail,
            });
        }
        self.complete |= b == b' ';
        if !self.complete && self.word.len() < VERB_MAX {
            self.word.push(b);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let rows: &[(&[u8], Kind)] = &[
            (b"quit\r\n", Kind::Quit),
            (b"QUIT\n", Kind::Quit),
            (b"QUIT now\r\n", Kind::Quit),
            (b"quitx\r\n", Kind::Mail),
            (b"Mail FROM:<quit>\r\n", Kind::Harmless),
            (b"MAILFROM\r\n", Kind::Mail),
            (b"\r\n", Kind::Mail),
            (b"\n", Kind::Mail),
            (b" quit\r\n", Kind::Mail),
            (b"RCPT TO:<x>\r\n", Kind::Mail),
        ];
        let mut verb = Verb::default();
        for (line, kind) in rows {
            let (last, start) = line.split_last().unwrap();
            assert!(start.iter().all(|&b| verb.take(b).is_none()));
            assert_eq!(verb.take(*last).as_ref(), Some(kind), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn texts_are_cut_and_masked() {
        assert_eq!(refusal(b"a\tb\r\n\xc3\xa9~ ", true), b"553 a?b????~ ");
        assert_eq!(refusal(&[b'x'; 300], false).len(), 4 + TEXT_MAX);
    }

    #[test]
    fn the_variable_decides_before_the_lists() {
        let args: &[&[u8]] = &[b"-c", b"-r", b"invalid", b"x"];
        let options = Options::parse(args).unwrap();
        let verdict = |value: &[u8]| judge(&options, None, Some(value.to_vec()));
        assert_eq!(verdict(b""), Verdict::Welcome);
        assert_eq!(verdict(b"no"), Verdict::Refuse(b"no".to_vec(), false));
        assert_eq!(verdict(b"-no"), Verdict::Refuse(b"no".to_vec(), true));
        assert_eq!(judge(&options, None, None), Verdict::Unknown);
    }

    #[test]
    fn options_in_order() {
        let args: &[&[u8]] = &[b"-a", b"good", b"-c", b"-r", b"bad", b"-Ct0", b"-r", b"other", b"-Ww5", b"p", b"-b"];
        let o = Options::parse(args).unwrap();
        let list = |base, welcomes, fails_closed| List { base, welcomes, fails_closed };
        assert_eq!(o.lists, [list(&b"good"[..], true, false), list(b"bad", false, true), list(b"other", false, false)]);
        assert_eq!((o.timeout_secs, o.bounce, o.program), (0, false, &args[9..]));
        assert_eq!((o.delay(None), o.delay(Some(b"7".to_vec()))), (5, 7));
        assert!(Options::parse(&args[..9]).is_none());
    }
}
