//! dnstxt: the texts of a name.
//!
//! `dnstxt name`, run by people, as any user, to see what the mail programs see. Prints one text a line on fd 1, or
//! `hard error` (there is none) or `soft error` (no answer) on fd 2. Reads /etc/resolv.conf.
//!
//! Exit codes: 0 printed; 100 there is none, or no argument; 111 no answer.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod lookup;

use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    lookup::run_with(&args, |name| {
        let list = lookup::found(lookup::resolver().txt(name))?;
        Ok(list.iter().map(|text| one_line(text)).collect())
    })
}

/// A stranger's text, fit for a terminal: what is not printable is a question mark; 8-bit characters stay.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if b < b' ' || b == 0x7f { b'?' } else { b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(one_line(b"a\nb\x1b\x7f\xc3\xa9 "), b"a?b??\xc3\xa9 ");
    }
}
