//! The authorization state: who is the client? Ends with credentials, which somebody else checks.

use crate::command::split;
use crate::line::{Line, Lines};
use crate::output::Output;
use std::io::{self, Read, Write};

/// What a client says to prove who it is. Overwritten when dropped.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    /// As the client wrote it. Not empty after USER, without blank after APOP.
    pub user: Vec<u8>,
    /// The password, or APOP's digest: the MD5 of timestamp and password in hex, as any client may send any bytes.
    pub secret: Vec<u8>,
}

impl Credentials {
    /// What a program with the checkpassword interface reads on descriptor 3: user, secret, timestamp, each ended by
    /// NUL. None of the first two holds a NUL.
    pub fn record(&self, timestamp: &[u8]) -> Vec<u8> {
        [&self.user, b"\0".as_slice(), &self.secret, b"\0", timestamp, b"\0"].concat()
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        wipe(&mut self.secret);
    }
}

/// Overwrites what must not stay in memory.
pub fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    // The compiler must not find out that nobody looks at the zeros.
    std::hint::black_box(secret);
}

/// What a line leads to.
#[derive(PartialEq, Eq)]
enum Step {
    /// This answer, and the next line.
    Answer(&'static [u8]),
    /// The end of the conversation, with a yes.
    Quit,
    /// A look at these by somebody else.
    Check(Credentials),
}

/// What is known of the client so far.
#[derive(Default)]
struct Login {
    /// The argument of the last USER.
    user: Option<Vec<u8>>,
}

impl Login {
    fn step(&mut self, line: Line<'_>) -> Step {
        let Line::Good(line) = line else { return Step::Answer(crate::SYNTAX) };
        let (verb, argument) = split(line);
        match verb.to_ascii_lowercase().as_slice() {
            b"user" if argument.is_empty() => Step::Answer(crate::SYNTAX),
            b"user" => {
                self.user = Some(argument.to_vec());
                Step::Answer(crate::OK)
            }
            b"pass" => match &self.user {
                None => Step::Answer(b"-ERR USER first\r\n"),
                Some(_) if argument.is_empty() => Step::Answer(crate::SYNTAX),
                Some(user) => Step::Check(Credentials { user: user.clone(), secret: argument.to_vec() }),
            },
            b"apop" => match argument.iter().position(|&b| b == b' ') {
                None => Step::Answer(crate::SYNTAX),
                Some(at) => {
                    let (user, digest) = argument.split_at(at);
                    let digest = digest.get(1..).unwrap_or_default();
                    Step::Check(Credentials { user: user.to_vec(), secret: digest.to_vec() })
                }
            },
            b"noop" => Step::Answer(crate::OK),
            b"quit" => Step::Quit,
            _ => Step::Answer(b"-ERR authorization first\r\n"),
        }
    }
}

/// Greets the client with `timestamp` (RFC 1939 7: in angle brackets, never the same twice) and talks with it until it
/// has given credentials; `None` if it said QUIT or is gone.
pub fn converse<R: Read, W: Write>(
    lines: &mut Lines<R>,
    output: &mut Output<W>,
    timestamp: &[u8],
) -> io::Result<Option<Credentials>> {
    let mut login = Login::default();
    output.put(b"+OK ")?;
    output.put(timestamp)?;
    output.put(b"\r\n")?;
    loop {
        if !lines.is_ready() {
            output.flush()?;
        }
        let Some(line) = lines.next()? else { return Ok(None) };
        match login.step(line) {
            Step::Answer(text) => output.put(text)?,
            Step::Quit => {
                output.put(crate::OK)?;
                output.flush()?;
                return Ok(None);
            }
            Step::Check(credentials) => {
                lines.forget();
                output.flush()?;
                return Ok(Some(credentials));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers after the greeting, and the record at the end.
    fn play(script: &[u8]) -> (String, Option<String>) {
        let mut wire = Vec::new();
        let end = {
            let mut output = Output::new(&mut wire);
            converse(&mut Lines::new(script), &mut output, b"<1.2@h>").unwrap()
        };
        let text = String::from_utf8(wire).unwrap();
        let answers = text.strip_prefix("+OK <1.2@h>\r\n").unwrap().replace("\r\n", "|");
        (answers, end.map(|c| c.record(b"<1.2@h>").escape_ascii().to_string()))
    }

    #[test]
    fn credentials_are_taken_as_they_stand() {
        let rows: &[(&[u8], &str, &str)] = &[
            (b"USER joe\r\nPASS x\r\nSTAT\r\n", "+OK |", r"joe\x00x\x00<1.2@h>\x00"),
            (b"user  joe smith\npass two words \n", "+OK |", r"joe smith\x00two words \x00<1.2@h>\x00"),
            (b"USER a\r\nUSER b\r\nPASS \xff\r\n", "+OK |+OK |", r"b\x00\xff\x00<1.2@h>\x00"),
            (b"USER a\r\nPASS\r\nPASS p\r\n", "+OK |-ERR syntax error|", r"a\x00p\x00<1.2@h>\x00"),
            (b"APOP joe c4c9\r\n", "", r"joe\x00c4c9\x00<1.2@h>\x00"),
            (b"APOP joe \r\n", "", r"joe\x00\x00<1.2@h>\x00"),
        ];
        for &(script, answers, record) in rows {
            assert_eq!(play(script), (answers.to_string(), Some(record.to_string())), "{}", script.escape_ascii());
        }
    }

    #[test]
    fn m1_nothing_else_is_done_before_login() {
        let long = [b"USER ".as_slice(), &[b'x'; 600], b"\r\nPASS x\r\nQUIT\r\n"].concat();
        let first = "-ERR authorization first|";
        let rows: &[(&[u8], String)] = &[
            (b"STAT\r\nRETR 1\r\nXYZ\r\n\r\n", first.repeat(4)),
            (b"PASS x\r\nUSER\r\nAPOP\r\nAPOP joe\r\n", format!("-ERR USER first|{}", "-ERR syntax error|".repeat(3))),
            (b"USER a\0b\r\nPASS x\r\n", "-ERR syntax error|-ERR USER first|".to_string()),
            (&long, "-ERR syntax error|-ERR USER first|+OK |".to_string()),
            (b"NOOP\r\nQUIT\r\nSTAT\r\n", "+OK |+OK |".to_string()),
            (b"USER a\r\nPASS x", "+OK |".to_string()),
        ];
        for (script, answers) in rows {
            assert_eq!(play(script), (answers.clone(), None), "{}", script.escape_ascii());
        }
    }
}
