//! dnscname: the name behind an alias.
//!
//! `dnscname name`, run by people, as any user, to see what the mail programs see. Prints the name itself if it is no
//! alias, on fd 1, or `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use dns::{Answer, CNAME_MAX};
use lookup::Trouble;
use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |name| {
        let dns = lookup::resolver();
        canonical(name, |name| dns.cname(name)).map(|name| vec![name])
    })
}

/// Follows aliases to their end; `look_up` knows one step.
fn canonical(name: &[u8], look_up: impl Fn(&[u8]) -> Answer<Vec<u8>>) -> Result<Vec<u8>, Trouble> {
    let mut name = name.to_vec();
    for _ in 0..=CNAME_MAX {
        name = match look_up(&name) {
            Answer::Found(list) => list.into_iter().next().ok_or(Trouble::Hard)?,
            Answer::NoRecords => return Ok(name),
            Answer::NoSuchName => return Err(Trouble::Hard),
            Answer::Temporary => return Err(Trouble::Soft),
        };
    }
    // A loop, or as good as one.
    Err(Trouble::Soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_followed_but_not_for_ever() {
        let zone = |name: &[u8]| match name {
            b"a" => Answer::Found(vec![b"b".to_vec()]),
            b"b" => Answer::Found(vec![b"c".to_vec()]),
            b"c" => Answer::NoRecords,
            b"loop" => Answer::Found(vec![b"loop".to_vec()]),
            b"late" => Answer::Temporary,
            _ => Answer::NoSuchName,
        };
        assert_eq!(canonical(b"a", zone), Ok(b"c".to_vec()));
        assert_eq!(canonical(b"c", zone), Ok(b"c".to_vec()));
        assert_eq!(canonical(b"none", zone), Err(Trouble::Hard));
        assert_eq!(canonical(b"loop", zone), Err(Trouble::Soft));
        assert_eq!(canonical(b"late", zone), Err(Trouble::Soft));
    }
}
