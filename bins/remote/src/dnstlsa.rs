//! dnstlsa: what the certificate of a mail server must be like (RFC 6698).
//!
//! `dnstlsa host [port]`, run by people, as any user, to see what the mail programs see. Prints usage, selector, type
//! and hex data a line on fd 1, or `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads
//! /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use dns::Tlsa;
use lookup::{Trouble, found};
use std::fmt::Write;
use sys::Exit;

/// SMTP
const PORT: u16 = 25;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |host| {
        let name = name(host, args.get(1).copied()).ok_or(Trouble::Hard)?;
        let list = found(lookup::resolver().tlsa(&name))?;
        Ok(list.iter().map(shown).collect())
    })
}

/// The name under which the records of `host` are; `None` if the port is none.
fn name(host: &[u8], port: Option<&[u8]>) -> Option<Vec<u8>> {
    let port = match port {
        Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        None => PORT,
    };
    Some([format!("_{port}._tcp.").as_bytes(), host].concat())
}

fn shown(record: &Tlsa) -> Vec<u8> {
    let mut line = format!("{} {} {} ", record.usage, record.selector, record.matching);
    for b in &record.data {
        // Writing to a string does not fail.
        let _ = write!(line, "{b:02x}");
    }
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lines() {
        assert_eq!(name(b"mx.test", None).unwrap(), b"_25._tcp.mx.test");
        assert_eq!(name(b"mx.test", Some(b"465")).unwrap(), b"_465._tcp.mx.test");
        assert_eq!(name(b"mx.test", Some(b"65536")), None);
        assert_eq!(name(b"mx.test", Some(b"smtp")), None);
        let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0, 0xab] };
        assert_eq!(shown(&record), b"3 1 1 00ab");
    }
}
