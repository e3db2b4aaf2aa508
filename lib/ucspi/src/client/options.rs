//! The part of the command line that all clients have.

use crate::{Misuse, Verbosity};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use sys::opt::{Opt, Scanner};

/// The letters, as ucspi-tcp and ucspi-tcp6 have them; a client adds its own.
pub const LETTERS: &[u8] = b"46dDvqQhHrRi:p:t:T:l:I:";
/// No time limit is longer, in seconds.
const SECS_MAX: u64 = 86400;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// -4: no IPv6.
    pub ipv4_only: bool,
    /// -6: IPv6 first, and every connection is shown as one of IPv6.
    pub as_ipv6: bool,
    /// -D: TCP_NODELAY.
    pub no_delay: bool,
    /// -v, -q, -Q
    pub verbosity: Verbosity,
    /// -h: look the remote name up.
    pub remote_host: bool,
    /// -r: ask the remote host who is there.
    pub remote_info: bool,
    /// -t: for so many seconds.
    pub ident_secs: u64,
    /// -T: how long to try each address, in the first and in the second round; no second round if that is 0.
    pub rounds: [Duration; 2],
    /// -i: the address to connect from.
    pub local_ip: Option<IpAddr>,
    /// -p: the port to connect from; 0 is any.
    pub local_port: u16,
    /// -l: TCPLOCALHOST.
    pub local_name: Option<&'a [u8]>,
    /// -I: the interface of link-local addresses.
    pub interface: Option<&'a [u8]>,
    /// Where to connect to.
    pub host: &'a [u8],
    /// The port there, a number or a name.
    pub port: &'a [u8],
    /// The program and its arguments; never empty.
    pub program: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    /// Reads a command line (without argv[0]) of these letters. `own` gets every option first and says whether it was one
    /// of the client's own.
    pub fn parse(
        letters: &[u8],
        args: &'a [&'a [u8]],
        mut own: impl FnMut(Opt<'a>) -> bool,
    ) -> Result<Options<'a>, Misuse> {
        let mut o = Options::default();
        let mut scanner = Scanner::new(letters, args);
        for option in scanner.by_ref() {
            match option {
                option if own(option) => {}
                Opt::Flag(letter) => o.flag(letter),
                Opt::Value(letter, value) => o.value(letter, value).ok_or(Misuse(Some(letter)))?,
                Opt::Unknown(letter) => return Err(Misuse(Some(letter))),
            }
        }
        match scanner.rest() {
            [host, port, program @ ..] if !program.is_empty() => {
                (o.host, o.port, o.program) = (host, port, program);
                Ok(o)
            }
            _ => Err(Misuse(None)),
        }
    }

    /// The address to connect from, for a connection to `to`: none if any will do.
    pub fn local_address(&self, to: IpAddr) -> Option<IpAddr> {
        let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        self.local_ip.or(if self.local_port == 0 { None } else { Some(any) })
    }

    fn flag(&mut self, letter: u8) {
        match letter {
            b'4' => self.ipv4_only = true,
            b'6' => self.as_ipv6 = true,
            b'd' | b'D' => self.no_delay = letter == b'D',
            b'h' | b'H' => self.remote_host = letter == b'h',
            b'r' | b'R' => self.remote_info = letter == b'r',
            b'v' => self.verbosity = Verbosity::All,
            b'q' => self.verbosity = Verbosity::Nothing,
            _ => self.verbosity = Verbosity::Errors,
        }
    }

    /// `None` if the value is no good.
    fn value(&mut self, letter: u8, value: &'a [u8]) -> Option<()> {
        match letter {
            b'i' => self.local_ip = Some(parse_ip(value)?),
            b'I' => self.interface = Some(value),
            b'l' => self.local_name = Some(value),
            b'p' => self.local_port = u16::try_from(number(value)).ok()?,
            b't' => self.ident_secs = number(value),
            // Without a plus, one round is all.
            _ => {
                let (first, second) = match value.iter().position(|&b| b == b'+') {
                    Some(plus) => (value.get(..plus)?, value.get(plus + 1..)?),
                    None => (value, &b""[..]),
                };
                self.rounds = [Duration::from_secs(number(first)), Duration::from_secs(number(second))];
            }
        }
        Some(())
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            ipv4_only: false,
            as_ipv6: false,
            no_delay: false,
            verbosity: Verbosity::Errors,
            remote_host: true,
            remote_info: false,
            ident_secs: 26,
            rounds: [Duration::from_secs(2), Duration::from_secs(58)],
            local_ip: None,
            local_port: 0,
            local_name: None,
            interface: None,
            host: b"",
            port: b"",
            program: &[],
        }
    }
}

/// The address written as `text`; one of IPv4 in IPv6 form is one of IPv4.
pub fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The number at the beginning, 0 without one, as the classic scanner has it.
fn number(text: &[u8]) -> u64 {
    control::leading_number(text).unwrap_or(0).min(SECS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(args: &'a [&'a [u8]]) -> Result<Options<'a>, Misuse> {
        Options::parse(LETTERS, args, |_| false)
    }

    #[test]
    fn command_lines() {
        let args: &[&[u8]] = &[b"-RHl0", b"-T5+7", b"-i", b"::ffff:192.0.2.1", b"-p25", b"h", b"p", b"sh", b"-c"];
        let o = parse(args).unwrap();
        assert_eq!((o.host, o.port, o.program), (&b"h"[..], &b"p"[..], &args[7..]));
        assert_eq!(o.rounds.map(|d| d.as_secs()), [5, 7]);
        assert_eq!((o.local_name, o.local_port), (Some(&b"0"[..]), 25));
        assert_eq!(o.local_ip, parse_ip(b"192.0.2.1"));
        assert!(!o.remote_host && !o.remote_info);
        let one: &[&[u8]] = &[b"-T", b"9", b"h", b"p", b"x"];
        assert_eq!(parse(one).unwrap().rounds.map(|d| d.as_secs()), [9, 0]);
    }

    #[test]
    fn misuse() {
        let rows: &[(&[&[u8]], Option<u8>)] = &[
            (&[], None),
            (&[b"h", b"p"], None),
            (&[b"-z", b"h", b"p", b"x"], Some(b'z')),
            (&[b"-i", b"nowhere", b"h", b"p", b"x"], Some(b'i')),
            (&[b"-p", b"65536", b"h", b"p", b"x"], Some(b'p')),
            (&[b"-t"], Some(b't')),
        ];
        for (args, letter) in rows {
            assert_eq!(parse(args).unwrap_err(), Misuse(*letter));
        }
    }
}
