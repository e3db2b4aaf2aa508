//! spfquery: whether a client may send mail in the name of a domain, by the domain's sender policy (RFC 7208).
//!
//! `spfquery ip helo mailfrom [local rules] [-v]`, run by people, as any user, to see what qmail-smtpd sees. Prints the
//! result on fd 1, then the steps, with -v also the policies, and why a client fails. Reads control/me and
//! control/spfexplain below home, if they are there, and the DNS ($DNSCACHEIP, /etc/resolv.conf).
//! `spfquery -0 ip helo mailfrom receiver local-rules explanation`, run by a program: reads no file of home, leaves it to
//! the caller to know its own addresses, and prints the verdict in fields that end in NUL.
//!
//! Exit codes: 0 printed; 1 no IP address; 100 wrong usage; 111 trouble.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use control::Controls;
use spf::{CHECK_SECS, EXPLANATION, Outcome, Query, Verdict};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use sys::error::{complain, text};
use sys::{Exit, process};

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    process::no_new_privileges();
    match parse(&args) {
        Some(Call::People { query: [ip, helo, mailfrom], local_rules, verbose }) => {
            let Some(ip) = address(ip) else {
                let printed = print(b"result=IP address syntax error\n");
                return if printed == Exit::OK { Exit::NO } else { printed };
            };
            let (receiver, explanation) = match site() {
                Ok(values) => values,
                Err(e) => return fatal(&[b"unable to read ", e.file.as_os_str().as_encoded_bytes()], &e.error),
            };
            let mut query = Query::new(ip, helo, mailfrom);
            (query.receiver, query.local_rules, query.explanation) = (&receiver, local_rules, &explanation);
            // A host does not ask whether it may send to itself.
            match sys::net::local_addresses() {
                Ok(own) if spf::is_loopback(ip, &own) => print(&answer(&Verdict::loopback(&query), verbose)),
                Ok(_) => print(&answer(&check(query), verbose)),
                Err(e) => fatal(&[b"unable to list my IP addresses"], &e),
            }
        }
        Some(Call::Program([ip, helo, mailfrom, receiver, local_rules, explanation])) => {
            let Some(ip) = address(ip) else { return Exit::NO };
            let mut query = Query::new(ip, helo, mailfrom);
            (query.receiver, query.local_rules, query.explanation) = (receiver, local_rules, explanation);
            print(&fields(&check(query)))
        }
        None => {
            complain(&[b"usage: spfquery ip helo mailfrom [local rules] [-v]"]);
            Exit::PERMANENT
        }
    }
}

/// How this program was called.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    People { query: [&'a [u8]; 3], local_rules: &'a [u8], verbose: bool },
    Program([&'a [u8]; 6]),
}

fn parse<'a>(args: &[&'a [u8]]) -> Option<Call<'a>> {
    match *args {
        [b"-0", ip, helo, mailfrom, receiver, local_rules, explanation] => {
            Some(Call::Program([ip, helo, mailfrom, receiver, local_rules, explanation]))
        }
        [ip, helo, mailfrom, ref rest @ ..] if ip != b"-0" => {
            let (local_rules, verbose) = match *rest {
                [] => (&b""[..], false),
                // As in s/qmail, more letters after -v change nothing.
                [v] if v.starts_with(b"-v") => (&b""[..], true),
                [rules] => (rules, false),
                [rules, v] if v.starts_with(b"-v") => (rules, true),
                _ => return None,
            };
            Some(Call::People { query: [ip, helo, mailfrom], local_rules, verbose })
        }
        _ => None,
    }
}

fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What this site calls itself, and its text for failures.
fn site() -> Result<(Vec<u8>, Vec<u8>), control::Unreadable> {
    let home = conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    let controls = Controls::of(&home);
    let receiver = controls.line("me")?.unwrap_or_else(|| b"localhost".to_vec());
    let explanation = match controls.line("spfexplain")? {
        Some(own) => Some(own),
        // What other patch sets call it.
        None => controls.line("spfexp")?,
    };
    Ok((receiver, explanation.unwrap_or_else(|| EXPLANATION.to_vec())))
}

fn check(mut query: Query<'_>) -> Verdict {
    query.now = sys::time::now();
    let resolver = dns::Resolver::asking(sys::env::get(b"DNSCACHEIP"));
    resolver.until(Some(Instant::now() + Duration::from_secs(CHECK_SECS)));
    spf::check(&resolver, &query)
}

/// What a program reads.
fn fields(verdict: &Verdict) -> Vec<u8> {
    let Verdict { outcome, domain, problem, mechanism, explanation, .. } = verdict;
    let fields = [outcome.word().as_bytes(), domain, problem, mechanism, explanation];
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
        assert_eq!(
            call(&["-0", "1", "2", "3", "4", "5", ""]),
            Some(Call::Program([b"1", b"2", b"3", b"4", b"5", b""]))
        );
        for wrong in
            [&[][..], &["i", "h"], &["i", "h", "m", "r", "x"], &["-0", "i", "h", "m"], &["i", "h", "m", "r", "-v", "x"]]
        {
            assert_eq!(call(wrong), None, "{wrong:?}");
        }
    }
}
