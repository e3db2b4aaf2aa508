//! A SCRAM-SHA-256 exchange: what the client says goes to the checking program, and the other way round
//! (qmail-authuser(8)). That program begins to serve the client only when its descriptor 3 has come to its end.

use super::log::Log;
use super::{NO_PIPE, NOT_WRITTEN, REFUSED, TIMEOUT_SECS, judge, start};
use auth::{base64, scram};
use pop3::line::Lines;
use pop3::login::{self, ScramFirst, Stop};
use pop3::output::Output;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use sys::env::Env;
use sys::poll::Timed;
use sys::{fd, random};

/// Random bytes in the server's part of a nonce.
const NONCE_BYTES: usize = 18;
/// The longest message of the program (bytes).
const MESSAGE_MAX: u64 = 4096;
/// What calls the program off.
const NO: &[u8] = b"-";

/// Lets the checking program decide, and whatever it becomes serve the client; returns when that is over.
pub fn check(checker: &[&[u8]], first: &ScramFirst, variables: Option<Env>, log: &Log) -> Result<(), &'static [u8]> {
    let (reader, writer) = fd::pipe().map_err(|_| NO_PIPE)?;
    let (hear, talk) = fd::pipe().map_err(|_| NO_PIPE)?;
    let mut random = [0; NONCE_BYTES];
    random::fill(&mut random).map_err(|_| REFUSED)?;
    let nonce = base64::encode(&random);
    let said = [&first.user, &b"\0\0"[..], scram::NAME, b" ", &first.bare, b" ", &nonce, b"\0"].concat();
    // A client's line is so short that the pipe holds all of it.
    fd::write_all(writer.as_raw_fd(), &said).map_err(|_| NOT_WRITTEN)?;
    let child = start(checker, &[(3, reader.as_raw_fd()), (4, talk.as_raw_fd())], variables)?;
    drop((reader, talk));
    let mut program = Program { say: writer.into(), hear: hear.into() };
    let mut answer = None;
    if let Err(stop) = converse(&mut program, &first.header) {
        // It may have ended already.
        let _ = program.say.write_all(NO);
        if let Stop::Answer(text) = stop {
            answer = Some(text);
        }
    }
    drop(program);
    let judged = judge(child, "Scram-SHA-256", &first.user, log);
    match answer {
        Some(text) => judged.map_err(|_| text),
        None => judged,
    }
}

/// What passes between client and program, up to the point where it is settled that each knows the password. `Gone`:
/// they do not agree.
fn converse(program: &mut Program, header: &[u8]) -> Result<(), Stop> {
    let mut lines = Lines::new(Timed::new(0, TIMEOUT_SECS));
    let mut output = Output::new(Timed::new(1, TIMEOUT_SECS));
    let client_final = login::challenge(&mut lines, &mut output, &program.hear()?)?;
    if client_final.contains(&0) || !scram::same_channel(&client_final, header) {
        return Err(Stop::Gone);
    }
    program.say.write_all(&[&client_final, &b"\0"[..]].concat()).map_err(Stop::Trouble)?;
    let last_words = program.hear()?;
    // RFC 5034 4: these come in a challenge, and the client has nothing more to say.
    match login::challenge(&mut lines, &mut output, &last_words)?.is_empty() && last_words.starts_with(b"v=") {
        true => Ok(()),
        false => Err(Stop::Gone),
    }
}

/// The checking program.
struct Program {
    say: File,
    hear: File,
}

impl Program {
    /// Its next message. Without one its end tells why.
    fn hear(&mut self) -> Result<Vec<u8>, Stop> {
        let mut source = Timed::new(self.hear.as_raw_fd(), TIMEOUT_SECS).take(MESSAGE_MAX);
        let (mut message, mut byte) = (Vec::new(), [0]);
        loop {
            match source.read(&mut byte).map_err(Stop::Trouble)? {
                0 => return Err(Stop::Gone),
                _ if byte == *b"\n" => return Ok(message),
                _ => message.extend_from_slice(&byte),
            }
        }
    }
}
