//! The part of the command line that all servers have.

use crate::{Misuse, Verbosity};
use sys::opt::{Opt, Scanner};

/// The letters, as ucspi-tcp and ucspi-tcp6 have them; a server adds its own.
pub const LETTERS: &[u8] = b"146dDvqQhHrRUXx:t:u:g:l:b:B:c:I:pPoO";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// -1: print the port.
    pub print_port: bool,
    /// -4: no IPv6 sockets.
    pub ipv4_only: bool,
    /// -6: every client is shown as an IPv6 client.
    pub as_ipv6: bool,
    /// -D: TCP_NODELAY.
    pub no_delay: bool,
    /// -o: leave IP options alone.
    pub keep_ip_options: bool,
    /// -v, -q, -Q
    pub verbosity: Verbosity,
    /// -h: look the client's name up.
    pub remote_host: bool,
    /// -p: and check that the name leads back to the client.
    pub paranoid: bool,
    /// -r: ask the client's host who the client is.
    pub remote_info: bool,
    /// -t: for so many seconds.
    pub ident_secs: u64,
    /// -x: the file of rules.
    pub rules: Option<&'a [u8]>,
    /// -X: a missing file of rules is no trouble.
    pub rules_may_miss: bool,
    /// -u, or from -U: the user to become, a number or a name.
    pub user: Option<Vec<u8>>,
    /// -g, or from -U: the group to become.
    pub group: Option<Vec<u8>>,
    /// -l: TCPLOCALHOST.
    pub local_name: Option<&'a [u8]>,
    /// -b
    pub backlog: u32,
    /// -B
    pub banner: &'a [u8],
    /// -c
    pub limit: usize,
    /// -I
    pub interface: Option<&'a [u8]>,
    /// The address to listen on.
    pub host: &'a [u8],
    /// The port to listen on, a number or a name.
    pub port: &'a [u8],
    /// The program and its arguments; never empty.
    pub program: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    /// Reads a command line (without argv[0]) of these letters. `env` is asked for UID and GID when -U is there; `own`
    /// gets every option first and says whether it was one of the server's own.
    pub fn parse(
        letters: &[u8],
        args: &'a [&'a [u8]],
        env: impl Fn(&[u8]) -> Option<Vec<u8>>,
        mut own: impl FnMut(Opt<'a>) -> bool,
    ) -> Result<Options<'a>, Misuse> {
        let mut o = Options::default();
        let mut scanner = Scanner::new(letters, args);
        for option in scanner.by_ref() {
            match option {
                option if own(option) => {}
                Opt::Flag(b'U') => {
                    // Without the variable no user will be found: better no server than one that stays root.
                    o.user = Some(env(b"UID").unwrap_or_else(|| b"$UID".to_vec()));
                    o.group = Some(env(b"GID").unwrap_or_else(|| b"$GID".to_vec()));
                }
                Opt::Flag(letter) => o.flag(letter),
                Opt::Value(letter, value) => o.value(letter, value),
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

    fn flag(&mut self, letter: u8) {
        match letter {
            b'1' => self.print_port = true,
            b'4' => self.ipv4_only = true,
            b'6' => self.as_ipv6 = true,
            b'd' | b'D' => self.no_delay = letter == b'D',
            b'h' | b'H' => self.remote_host = letter == b'h',
            b'o' | b'O' => self.keep_ip_options = letter == b'o',
            b'p' | b'P' => self.paranoid = letter == b'p',
            b'r' | b'R' => self.remote_info = letter == b'r',
            b'X' => self.rules_may_miss = true,
            b'v' => self.verbosity = Verbosity::All,
            b'q' => self.verbosity = Verbosity::Nothing,
            _ => self.verbosity = Verbosity::Errors,
        }
    }

    fn value(&mut self, letter: u8, value: &'a [u8]) {
        match letter {
            b'b' => self.backlog = u32::try_from(number(value)).unwrap_or(u32::MAX),
            b'B' => self.banner = value,
            b'c' => self.limit = usize::try_from(number(value)).unwrap_or(usize::MAX),
            b'g' => self.group = Some(value.to_vec()),
            b'I' => self.interface = Some(value),
            b'l' => self.local_name = Some(value),
            b't' => self.ident_secs = number(value).min(86400),
            b'u' => self.user = Some(value.to_vec()),
            _ => self.rules = Some(value),
        }
    }

    /// Whether something must be found out, or said, that can take a while: not a job for the process that accepts.
    pub fn takes_time(&self) -> bool {
        self.remote_host || self.remote_info || self.local_name.is_none() || !self.banner.is_empty()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            print_port: false,
            ipv4_only: false,
            as_ipv6: false,
            no_delay: false,
            keep_ip_options: false,
            verbosity: Verbosity::Errors,
            remote_host: true,
            paranoid: false,
            remote_info: false,
            ident_secs: 26,
            rules: None,
            rules_may_miss: false,
            user: None,
            group: None,
            local_name: None,
            // The classic has 20. Clients beyond it lose a second to a repeated SYN; nothing else tells the two apart.
            backlog: 128,
            banner: b"",
            limit: 40,
            interface: None,
            host: b"",
            port: b"",
            program: &[],
        }
    }
}

/// The digits at the start; 0 without any, as ever.
fn number(text: &[u8]) -> u64 {
    control::leading_number(text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &[u8]) -> Option<Vec<u8>> {
        (name == b"UID").then(|| b"7791".to_vec())
    }

    fn parse<'a>(args: &'a [&'a [u8]]) -> Result<Options<'a>, Misuse> {
        Options::parse(LETTERS, args, env, |_| false)
    }

    #[test]
    fn defaults_and_order() {
        let o = parse(&[b"0", b"25", b"cat", b"-n"]).unwrap();
        assert!(o.remote_host && !o.remote_info && o.takes_time());
        assert_eq!((o.limit, o.ident_secs, o.verbosity), (40, 26, Verbosity::Errors));
        assert_eq!((o.host, o.port, o.program), (&b"0"[..], &b"25"[..], &[&b"cat"[..], b"-n"][..]));
        let args: &[&[u8]] =
            &[b"-vqQHRl0", b"-c", b"5x", b"-b99999999999", b"-u5", b"-U", b"-g", b"qmail", b"::", b"0", b"x"];
        let o = parse(args).unwrap();
        assert!(!o.takes_time());
        assert_eq!((o.limit, o.backlog, o.verbosity), (5, u32::MAX, Verbosity::Errors));
        assert_eq!((o.user, o.group), (Some(b"7791".to_vec()), Some(b"qmail".to_vec())));
        let o = parse(&[b"-146XodDpr", b"-xr.cdb", b"-t9", b"-B", b"hi", b"0", b"0", b"x"]).unwrap();
        assert!(o.print_port && o.ipv4_only && o.as_ipv6 && o.rules_may_miss && o.keep_ip_options && o.no_delay);
        assert!(o.paranoid && o.remote_info);
        assert_eq!((o.rules, o.ident_secs, o.banner), (Some(&b"r.cdb"[..]), 9, &b"hi"[..]));
    }

    #[test]
    fn misuse() {
        let rows: &[(&[&[u8]], Option<u8>)] =
            &[(&[], None), (&[b"0", b"25"], None), (&[b"-y", b"0", b"25", b"x"], Some(b'y')), (&[b"-c"], Some(b'c'))];
        for (args, letter) in rows {
            assert_eq!(parse(args).unwrap_err(), Misuse(*letter));
        }
    }
}
