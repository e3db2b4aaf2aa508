//! spfquery: whether a client may send mail in the name of a domain, by the domain's sender policy (RFC 7208).
//!
//! `spfquery ip helo mailfrom [local rules] [-v]`, run by people, as any user, to see what qmail-smtpd sees. Prints the
//! result on fd 1, then the steps, with -v also the policies, and why a client fails.
//! `spfquery -0 ip helo mailfrom receiver`, run by qmail-smtpd as qmaild, with the site's rules: prints five fields that
//! end in NUL: the result in the standard's words, domain, explanation, what is wrong, and where.
//! Reads control/spfexplain below home if it is there, control/me or control/spflocalrules, and the DNS ($DNSCACHEIP,
//! /etc/resolv.conf).
//!
//! Exit codes: 0 printed; 1 no IP address; 100 wrong usage; 111 trouble.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use control::{Controls, Unreadable};
use spf::{CHECK_SECS, EXPLANATION, Outcome, Query, Verdict};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use sys::error::{complain, text};
use sys::{Exit, process};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    process::no_new_privileges();
    match parse(&args) {
        Some(Call::People { query, local_rules, verbose }) => for_people(query, local_rules, verbose),
        Some(Call::Program { query, receiver }) => for_program(query, receiver),
        None => {
            complain(&[b"usage: spfquery ip helo mailfrom [local rules] [-v]"]);
            Exit::PERMANENT
        }
    }
}

/// How this program was called. A query is the client's address, its name and the sender.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    People { query: [&'a [u8]; 3], local_rules: &'a [u8], verbose: bool },
    Program { query: [&'a [u8]; 3], receiver: &'a [u8] },
}

fn parse<'a>(args: &[&'a [u8]]) -> Option<Call<'a>> {
    match *args {
        [b"-0", ip, helo, sender, receiver] => Some(Call::Program { query: [ip, helo, sender], receiver }),
        [ip, helo, sender, ref rest @ ..] if ip != b"-0" => {
            let (local_rules, verbose) = match *rest {
                [] => (&b""[..], false),
                // As in s/qmail, more letters after -v change nothing.
                [v] if v.starts_with(b"-v") => (&b""[..], true),
                [rules] => (rules, false),
                [rules, v] if v.starts_with(b"-v") => (rules, true),
                _ => return None,
            };
            Some(Call::People { query: [ip, helo, sender], local_rules, verbose })
        }
        _ => None,
    }
}

fn for_people([ip, helo, sender]: [&[u8]; 3], local_rules: &[u8], verbose: bool) -> Exit {
    let Some(ip) = address(ip) else {
        let printed = print(b"result=IP address syntax error\n");
        return if printed == Exit::OK { Exit::NO } else { printed };
    };
    let controls = controls();
    let read = || Ok((controls.line("me")?, explanation(&controls)?));
    let (receiver, explanation) = match read() {
        Ok(values) => values,
        Err(e) => return unreadable(&e),
    };
    let receiver = receiver.unwrap_or_else(|| b"localhost".to_vec());
    let mut query = Query::new(ip, helo, sender);
    (query.receiver, query.local_rules, query.explanation) = (&receiver, local_rules, &explanation);
    match check(query) {
        Ok(verdict) => print(&answer(&verdict, verbose)),
        Err(exit) => exit,
    }
}

fn for_program([ip, helo, sender]: [&[u8]; 3], receiver: &[u8]) -> Exit {
    let Some(ip) = address(ip) else { return Exit::NO };
    let controls = controls();
    let read = || Ok((first_line(&controls, "spflocalrules", "spfrules")?, explanation(&controls)?));
    let (local_rules, explanation) = match read() {
        Ok(values) => values,
        Err(e) => return unreadable(&e),
    };
    let local_rules = local_rules.unwrap_or_default();
    let mut query = Query::new(ip, helo, sender);
    (query.receiver, query.local_rules, query.explanation) = (receiver, &local_rules, &explanation);
    match check(query) {
        Ok(verdict) => print(&fields(&verdict)),
        Err(exit) => exit,
    }
}

fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn controls() -> Controls {
    Controls::of(&conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller()))
}

/// The site's text for clients that fail.
fn explanation(controls: &Controls) -> Result<Vec<u8>, Unreadable> {
    Ok(first_line(controls, "spfexplain", "spfexp")?.unwrap_or_else(|| EXPLANATION.to_vec()))
}

/// The value of a control file, or of the one that has its place in other patch sets (spec/control.md 3).
fn first_line(controls: &Controls, name: &str, other: &str) -> Result<Option<Vec<u8>>, Unreadable> {
    match controls.line(name)? {
        Some(line) => Ok(Some(line)),
        None => controls.line(other),
    }
}

fn check(mut query: Query<'_>) -> Result<Verdict, Exit> {
    // A host does not ask whether it may send to itself.
    let own = sys::net::local_addresses().map_err(|e| fatal(&[b"unable to list my IP addresses"], &e))?;
    if spf::is_loopback(query.ip, &own) {
        return Ok(Verdict::loopback(&query));
    }
    query.now = sys::time::now();
    let resolver = dns::Resolver::asking(sys::env::get(b"DNSCACHEIP"));
    resolver.until(Some(Instant::now() + Duration::from_secs(CHECK_SECS)));
    Ok(spf::check(&resolver, &query))
}

/// What qmail-smtpd reads.
fn fields(verdict: &Verdict) -> Vec<u8> {
    let word = verdict.outcome.standard_word().as_bytes();
    let fields = [word, &verdict.domain, &verdict.explanation, &verdict.problem, &verdict.mechanism];
    fields.into_iter().flat_map(|field| field.iter().copied().chain([0])).collect()
}

/// What people read.
fn answer(verdict: &Verdict, verbose: bool) -> Vec<u8> {
    let word = if verdict.loopback { "loopback" } else { verdict.outcome.word() };
    let mut out = [b"result=", word.as_bytes(), b"\n"].concat();
    if verbose {
        out.extend_from_slice(&[b"SPF records read: \n", &verdict.records[..]].concat());
    }
    out.extend_from_slice(&[b"SPF information evaluated: ", &verdict.trail[..], b"\n"].concat());
    if verdict.outcome == Outcome::Fail {
        out.extend_from_slice(&[b"SPF results returned: ", &verdict.explanation[..], b"\n"].concat());
    }
    out
}

fn print(bytes: &[u8]) -> Exit {
    match sys::fd::write_all(1, bytes) {
        Ok(()) => Exit::OK,
        Err(e) => fatal(&[b"unable to write output"], &e),
    }
}

fn unreadable(e: &Unreadable) -> Exit {
    fatal(&[b"unable to read ", e.file.as_os_str().as_encoded_bytes()], &e.error)
}

fn fatal(what: &[&[u8]], e: &std::io::Error) -> Exit {
    complain(&[b"fatal: ", &what.concat(), b": ", text(e).as_bytes()]);
    Exit::TEMPORARY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_calling() {
        let call = |args: &[&'static str]| {
            let args: Vec<&'static [u8]> = args.iter().map(|a| a.as_bytes()).collect();
            parse(&args)
        };
        let people = |rules: &'static str, verbose| {
            Some(Call::People { query: [b"i", b"h", b"m"], local_rules: rules.as_bytes(), verbose })
        };
        assert_eq!(call(&["i", "h", "m"]), people("", false));
        assert_eq!(call(&["i", "h", "m", "-v"]), people("", true));
        assert_eq!(call(&["i", "h", "m", "a mx"]), people("a mx", false));
        assert_eq!(call(&["i", "h", "m", "a mx", "-verbose"]), people("a mx", true));
        assert_eq!(call(&["i", "h", "m", "", "-v"]), people("", true));
        let program = Call::Program { query: [b"i", b"h", b""], receiver: b"r" };
        assert_eq!(call(&["-0", "i", "h", "", "r"]), Some(program));
        for wrong in
            [&[][..], &["i", "h"], &["i", "h", "m", "r", "x"], &["-0", "i", "h", "m"], &["i", "h", "m", "r", "-v", "x"]]
        {
            assert_eq!(call(wrong), None, "{wrong:?}");
        }
    }
}
