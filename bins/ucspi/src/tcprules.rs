//! tcprules: compiles the rules that tcpserver and sslserver follow.
//!
//! Called by the administrator as `tcprules rules.cdb rules.tmp`, under any user who may write the two files. Reads
//! rules on fd 0, one a line (tcprules(1)); writes them into rules.tmp and moves that to rules.cdb, so that servers see
//! the old rules or the new ones. After any error rules.cdb is as it was.
//!
//! Exit codes: 0 done; 100 wrong usage or a line that is no rule; 111 trouble with a file.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod making;

use making::{Failed, Making};
use rules::compile::{self, Unfit};
use std::io::{BufRead, BufReader, Read};
use sys::Exit;
use sys::error::{complain, text};

/// The longest line, in bytes: what is longer is no rule that anybody wrote.
const LINE_MAX: u64 = 65536;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let &[path, temporary, ..] = args.as_slice() else {
        complain(&[b"usage: tcprules rules.cdb rules.tmp"]);
        return Exit::PERMANENT;
    };
    match compile_rules(path, temporary) {
        Ok(()) => Exit::OK,
        Err(Stop::Output(failed)) => {
            failed.complain();
            Exit::TEMPORARY
        }
        Err(Stop::Input(e)) => {
            complain(&[b"fatal: unable to read input: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
        Err(Stop::Line { number, line, why }) => {
            let reason: &[u8] = match why {
                Unfit::Syntax => b"unable to parse this line: ",
                Unfit::Address => b"invalid address on this line: ",
                Unfit::Length => b"invalid prefix length on this line: ",
            };
            let place = format!(" (line {number})");
            complain(&[b"fatal: ", reason, &printable(&line), place.as_bytes()]);
            Exit::PERMANENT
        }
    }
}

/// Why the rules were not compiled.
enum Stop<'a> {
    Output(Failed<'a>),
    Input(std::io::Error),
    Line { number: u64, line: Vec<u8>, why: Unfit },
}

impl<'a> From<Failed<'a>> for Stop<'a> {
    fn from(failed: Failed<'a>) -> Stop<'a> {
        Stop::Output(failed)
    }
}

fn compile_rules<'a>(path: &'a [u8], temporary: &'a [u8]) -> Result<(), Stop<'a>> {
    let mut making = Making::start(path, temporary)?;
    let mut input = BufReader::new(sys::fd::STDIN);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let length = (&mut input).take(LINE_MAX).read_until(b'\n', &mut line).map_err(Stop::Input)?;
        if length == 0 {
            break;
        }
        let too_long = length as u64 == LINE_MAX && !line.ends_with(b"\n");
        let records = if too_long { Err(Unfit::Syntax) } else { compile::line(&line) };
        let records = records.map_err(|why| Stop::Line { number, line: std::mem::take(&mut line), why })?;
        for key in &records.keys {
            making.add(key, &records.data)?;
        }
    }
    Ok(making.finish()?)
}

/// The line as it may be shown on a terminal: its first 200 bytes without the newline, what is not ASCII text as `?`.
fn printable(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.iter().take(200).map(|&b| if (32..127).contains(&b) { b } else { b'?' }).collect()
}
