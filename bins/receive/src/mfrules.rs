//! qmail-mfrules: compiles control/mailfromrules into control/mailfromrules.cdb for qmail-smtpd.
//!
//! Run by the administrator after each change of the rules, as root or the owner of control. Reads
//! control/mailfromrules below home, lines of the form `client&sender,sender` (qmail-mailfromrules(5)); replaces the cdb
//! in one step. A key is a client in lower case; its data are the ends of senders, each with a `+` before it.
//!
//! Exit codes: 0 done; 100 a line is no rule; 111 trouble with a file. Unless 0, the old cdb is as it was.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod compiling;

use compiling::{Entry, Files};
use sys::Exit;

/// The shortest client and sender, in bytes.
const CLIENT_MIN: usize = 2;
const SENDER_MIN: usize = 3;
/// The largest number in an IPv4 address.
const OCTET_MAX: u64 = 255;

const FILES: Files =
    Files { list: "control/mailfromrules", cdb: "control/mailfromrules.cdb", temporary: "control/mailfromrules.tmp" };

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    compiling::compile(&FILES, |text| {
        let mut entries = Vec::new();
        for line in control::items(text) {
            entries.extend(rule(&line).ok_or(line)?);
        }
        Ok(entries)
    })
}

/// The records of a line: one, or one for each address of a range; `None` if it is no rule.
fn rule(line: &[u8]) -> Option<Vec<Entry>> {
    let line = line.to_ascii_lowercase();
    let at = line.iter().position(|&b| b == b'&')?;
    let (client, senders) = (line.get(..at)?, line.get(at + 1..)?);
    if client.len() < CLIENT_MIN || line.iter().any(|b| b.is_ascii_whitespace()) {
        return None;
    }
    let mut data = Vec::new();
    for sender in senders.split(|&b| b == b',').filter(|_| !senders.is_empty()) {
        // A + ends a sender in the data.
        if sender.len() < SENDER_MIN || sender.contains(&b'+') {
            return None;
        }
        data.push(b'+');
        data.extend_from_slice(sender);
    }
    Some(clients(client)?.into_iter().map(|client| (client, data.clone())).collect())
}

/// The clients that a token stands for: itself, or all addresses of a range `a.b.c.x-y`, with anything after `y`.
fn clients(token: &[u8]) -> Option<Vec<Vec<u8>>> {
    let itself = || Some(vec![token.to_vec()]);
    if token.contains(&b'=') || token.contains(&b'@') {
        return itself();
    }
    let Some(hyphen) = token.iter().position(|&b| b == b'-') else { return itself() };
    let (before, after) = (token.get(..hyphen)?, token.get(hyphen + 1..)?);
    // A hyphen may also be part of a user's name.
    if !before.iter().all(|&b| b.is_ascii_digit() || b == b'.') {
        return itself();
    }
    let left = before.iter().rposition(|&b| b == b'.').map_or(0, |dot| dot + 1);
    let right = after.iter().position(|&b| b == b'.').unwrap_or(after.len());
    let (prefix, low) = before.split_at(left);
    let (high, suffix) = after.split_at(right);
    let top = whole_number(high)?.min(OCTET_MAX);
    let numbers = whole_number(low)?..=top;
    Some(numbers.map(|n| [prefix, n.to_string().as_bytes(), suffix].concat()).collect())
}

/// The number that `text` is, and nothing more.
fn whole_number(text: &[u8]) -> Option<u64> {
    if text.iter().all(u8::is_ascii_digit) { control::leading_number(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(line: &str) -> Option<Vec<(String, String)>> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Some(rule(line.as_bytes())?.into_iter().map(|(key, data)| (text(key), text(data))).collect())
    }

    #[test]
    fn rules() {
        for (line, expected) in [
            ("127.0.0.1&@a.test", &[("127.0.0.1", "+@a.test")][..]),
            ("Joe@=Host.test&Joe@A.test,.b.test", &[("joe@=host.test", "+joe@a.test+.b.test")]),
            ("=.test&", &[("=.test", "")]),
            ("joe-x&a@b", &[("joe-x", "+a@b")]),
            ("joe@10.0.0.1-2&a@b", &[("joe@10.0.0.1-2", "+a@b")]),
            ("2001:db8:&a@b", &[("2001:db8:", "+a@b")]),
            ("10.0.0.254-999&a@b", &[("10.0.0.254", "+a@b"), ("10.0.0.255", "+a@b")]),
            ("10.8-9.&a@b", &[("10.8.", "+a@b"), ("10.9.", "+a@b")]),
            ("7-8&a@b", &[("7", "+a@b"), ("8", "+a@b")]),
            ("10.0.0.9-8&a@b", &[]),
        ] {
            let expected = expected.iter().map(|(k, d)| (k.to_string(), d.to_string())).collect();
            assert_eq!(records(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_rules() {
        for line in [
            "10.0.0.1",
            "&a@b",
            "=&a@b",
            "x&a@b",
            "10.0.0.1&ab",
            "10.0.0.1&a@b,",
            "10.0.0.1&,a@b",
            "10.0.0.1&a@b,,c@d",
            "10.0.0.1& a@b",
            "10.0.0.1 &a@b",
            "10.0.0.1&a@b c@d",
            "10.0.0.1-&a@b",
            "10.0.0.-3&a@b",
            "10.0.0.1-x&a@b",
            "10.0.0.1-2-3&a@b",
            "10.0.0.1&joe+x@b",
        ] {
            assert_eq!(records(line), None, "{line}");
        }
    }
}
