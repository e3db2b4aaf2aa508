//! dnsmxip: the addresses that take the mail of a domain.
//!
//! `dnsmxip domain`, run by people, as any user, to see what the mail programs see. Prints one address and its
//! preference a line on fd 1, or `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads
//! /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use dns::{Answer, Mx, Resolver};
use lookup::{Trouble, addresses, literal};
use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |domain| {
        let dns = lookup::resolver();
        let mut lines = Vec::new();
        let mut trouble = Trouble::Hard;
        for host in exchangers(domain, &dns)? {
            match addresses(&dns, &host.name) {
                Ok(list) => lines.extend(list.iter().map(|ip| format!("{ip} {}", host.preference).into_bytes())),
                Err(Trouble::Soft) => trouble = Trouble::Soft,
                Err(Trouble::Hard) => {}
            }
        }
        if lines.is_empty() { Err(trouble) } else { Ok(lines) }
    })
}

/// The hosts, best first. A domain without MX records is its own host (RFC 5321 5.1).
fn exchangers(domain: &[u8], dns: &Resolver) -> Result<Vec<Mx>, Trouble> {
    let itself = || vec![Mx { preference: 0, name: domain.to_vec() }];
    if literal(domain).is_some() {
        return Ok(itself());
    }
    match dns.mx(domain) {
        Answer::Found(list) => Ok(sorted(list)),
        Answer::NoRecords => Ok(itself()),
        Answer::NoSuchName => Err(Trouble::Hard),
        Answer::Temporary => Err(Trouble::Soft),
    }
}

/// By preference, without the root, which stands for no mail at all (RFC 7505).
fn sorted(mut list: Vec<Mx>) -> Vec<Mx> {
    list.retain(|mx| !mx.name.is_empty());
    list.sort_by_key(|mx| mx.preference);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_in_order_and_the_root_is_none() {
        let mx = |preference, name: &[u8]| Mx { preference, name: name.to_vec() };
        assert_eq!(sorted(vec![mx(0, b"")]), []);
        let list = vec![mx(20, b"b"), mx(10, b"c"), mx(20, b"a")];
        assert_eq!(sorted(list), [mx(10, b"c"), mx(20, b"b"), mx(20, b"a")]);
    }
}
