//! What the small tools that ask the DNS have in common: one argument, results one a line, three ways to end.
#![allow(dead_code)]

use dns::{Answer, Resolver};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sys::Exit;

/// How a look-up ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is none.
    Hard,
    /// That could not be found out now.
    Soft,
}

/// The resolver of these tools: it asks the name servers in DNSCACHEIP, or those of resolv.conf.
pub fn resolver() -> Resolver {
    Resolver::asking(sys::env::get(b"DNSCACHEIP"))
}

/// Calls `find` with the first argument and prints the lines it gives. Without an argument the exit code says it all.
pub fn run_with(args: &[&[u8]], find: impl FnOnce(&[u8]) -> Result<Vec<Vec<u8>>, Trouble>) -> Exit {
    let Some(argument) = args.first() else { return Exit::PERMANENT };
    match find(argument) {
        Ok(lines) => print(&lines),
        Err(trouble) => {
            let (word, exit): (&[u8], Exit) = match trouble {
                Trouble::Hard => (b"hard error\n", Exit::PERMANENT),
                Trouble::Soft => (b"soft error\n", Exit::TEMPORARY),
            };
            // The exit code says it again.
            let _ = sys::fd::write_all(2, word);
            exit
        }
    }
}

/// Prints `lines` on fd 1, in one write.
pub fn print(lines: &[Vec<u8>]) -> Exit {
    let mut text = Vec::with_capacity(256);
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    match sys::fd::write_all(1, &text) {
        Ok(()) => Exit::OK,
        Err(e) => {
            let reason = sys::error::text(&e).as_bytes();
            sys::error::complain(&[b"fatal: unable to write output: ", reason]);
            Exit::TEMPORARY
        }
    }
}

/// The records; none at all is a hard error.
pub fn found<T>(answer: Answer<T>) -> Result<Vec<T>, Trouble> {
    match answer {
        Answer::Found(list) => Ok(list),
        Answer::NoRecords | Answer::NoSuchName => Err(Trouble::Hard),
        Answer::Temporary => Err(Trouble::Soft),
    }
}

/// The addresses of `name`, IPv4 first. An address, in brackets or not, is its own. A failure of one kind of look-up
/// counts only if the other one finds nothing.
pub fn addresses(dns: &Resolver, name: &[u8]) -> Result<Vec<IpAddr>, Trouble> {
    if let Some(ip) = literal(name) {
        return Ok(vec![ip]);
    }
    join(dns.a(name), dns.aaaa(name))
}

fn join(a: Answer<Ipv4Addr>, aaaa: Answer<Ipv6Addr>) -> Result<Vec<IpAddr>, Trouble> {
    let unsure = a == Answer::Temporary || aaaa == Answer::Temporary;
    let a = a.records().unwrap_or_default().into_iter().map(IpAddr::V4);
    let all: Vec<IpAddr> = a.chain(aaaa.records().unwrap_or_default().into_iter().map(IpAddr::V6)).collect();
    match (all.is_empty(), unsure) {
        (false, _) => Ok(all),
        (true, true) => Err(Trouble::Soft),
        (true, false) => Err(Trouble::Hard),
    }
}

/// The address that `text` is.
pub fn literal(text: &[u8]) -> Option<IpAddr> {
    let inner = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]")).unwrap_or(text);
    std::str::from_utf8(inner).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_either_kind_will_do() {
        let (four, six) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let (v4, v6) = (IpAddr::V4(four), IpAddr::V6(six));
        assert_eq!(join(Answer::Found(vec![four]), Answer::Found(vec![six])), Ok(vec![v4, v6]));
        assert_eq!(join(Answer::Found(vec![four]), Answer::Temporary), Ok(vec![v4]));
        assert_eq!(join(Answer::NoRecords, Answer::Found(vec![six])), Ok(vec![v6]));
        assert_eq!(join(Answer::NoRecords, Answer::Temporary), Err(Trouble::Soft));
        assert_eq!(join(Answer::NoSuchName, Answer::NoSuchName), Err(Trouble::Hard));
    }

    #[test]
    fn literals() {
        let rows: &[(&[u8], Option<&str>)] = &[
            (b"192.0.2.1", Some("192.0.2.1")),
            (b"[192.0.2.1]", Some("192.0.2.1")),
            (b"[2001:db8::1]", Some("2001:db8::1")),
            (b"192.0.2", None),
            (b"[192.0.2.1", None),
            (b"", None),
            (b"\xff", None),
        ];
        for (text, ip) in rows {
            assert_eq!(literal(text), ip.map(|ip| ip.parse().unwrap()), "{}", text.escape_ascii());
        }
    }
}
