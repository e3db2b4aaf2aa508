//! The command line of sslserver, and what its environment says.

use std::time::Duration;
use sys::opt::Opt;
use sys::process::{self, Uid};
use tls::server::{Settings, Wanted};
use ucspi::server::{self, Identity};
use ucspi::{Misuse, Verbosity};
use zeroize::Zeroizing;

/// Those of tcpserver, and those about TLS.
const LETTERS: &[u8] = b"146dDvqQhHrRUXx:t:u:g:l:b:B:c:I:pPoO3VeEsSnNmzZT:w:";
/// Shown when the command line can not be understood.
pub const USAGE: &[u8] = b"usage: sslserver [ -1346UXpPhHrRoOdDqQvVeEsSnNmzZ ] [ -c limit ] [ -x rules.cdb ] \
    [ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] \
    [ -T ssltimeout ] [ -w progtimeout ] host port program";
/// Nobody: handles TLS if root was told no user for it.
const NOBODY: u32 = 65534;
/// No time limit is longer, in seconds.
const SECS_MAX: u64 = 7 * 86400;

/// What is asked for.
pub struct Options<'a> {
    /// What every server has.
    pub common: server::Options<'a>,
    /// -V: tell protocol and cipher.
    pub tell_cipher: bool,
    /// -e: set tcpserver's variables.
    pub tcp_variables: bool,
    /// -s: set mod_ssl's variables.
    pub ssl_variables: bool,
    /// -n: only when the program asks for it.
    pub delayed: bool,
    /// -z or -m: a good certificate of the client.
    pub demanded: bool,
    /// -z: in the client's name.
    pub named: bool,
    /// -3: the password of the key is on descriptor 3.
    pub password: bool,
    /// -T: for the handshake.
    pub handshake_limit: Duration,
    /// -w: for anything to move.
    pub idle_limit: Duration,
}

impl<'a> Options<'a> {
    /// Reads the command line (without argv[0]). `env` is asked for UID and GID when -U is there.
    pub fn parse(args: &'a [&'a [u8]], env: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<Options<'a>, Misuse> {
        let (mut tell_cipher, mut tcp_variables, mut ssl_variables) = (false, false, false);
        let (mut delayed, mut demanded, mut named, mut password) = (false, false, false, false);
        let (mut handshake_secs, mut idle_secs) = (26, 3600);
        let mut no_delay = true;
        let own = |option: Opt<'a>| {
            match option {
                Opt::Flag(b'V') => tell_cipher = true,
                Opt::Flag(b'v' | b'q' | b'Q') => {
                    tell_cipher = false;
                    return false;
                }
                Opt::Flag(letter @ (b'd' | b'D')) => no_delay = letter == b'D',
                Opt::Flag(letter @ (b'e' | b'E')) => tcp_variables = letter == b'e',
                Opt::Flag(letter @ (b's' | b'S')) => ssl_variables = letter == b's',
                Opt::Flag(letter @ (b'n' | b'N')) => delayed = letter == b'n',
                Opt::Flag(letter @ (b'z' | b'm' | b'Z')) => (demanded, named) = (letter != b'Z', letter == b'z'),
                Opt::Flag(b'3') => password = true,
                Opt::Value(b'T', value) => handshake_secs = number(value),
                Opt::Value(b'w', value) => idle_secs = number(value),
                _ => return false,
            }
            true
        };
        let mut common = server::Options::parse(LETTERS, args, env, own)?;
        if tell_cipher {
            common.verbosity = Verbosity::All;
        }
        common.no_delay = no_delay;
        Ok(Options {
            common,
            tell_cipher,
            tcp_variables,
            ssl_variables,
            delayed,
            demanded,
            named,
            password,
            handshake_limit: Duration::from_secs(handshake_secs),
            idle_limit: Duration::from_secs(idle_secs),
        })
    }
}

/// The digits at the start; 0 without any, as ever.
fn number(text: &[u8]) -> u64 {
    control::leading_number(text).unwrap_or(0).min(SECS_MAX)
}

/// What the environment says: about certificates, and who is to handle TLS.
pub struct Surroundings {
    /// The files of TLS.
    pub settings: Settings,
    /// What is wanted of clients of which the rules say nothing.
    pub wanted: Wanted,
    /// Whether somebody still thinks that the DHFILE is used.
    pub has_dhfile: bool,
    /// Where the process that handles TLS is locked in.
    pub chroot: Option<Vec<u8>>,
    /// Who that process is.
    pub handler: Identity,
}

impl Surroundings {
    /// Reads the environment; `options` come first. An `Err` is why it can not be.
    pub fn read(
        options: &Options<'_>,
        program: Identity,
        env: impl Fn(&[u8]) -> Option<Vec<u8>>,
        password: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Surroundings, Vec<u8>> {
        let get = |name: &[u8]| env(name).filter(|v| !v.is_empty());
        let chain_file = get(b"CERTCHAINFILE").or_else(|| get(b"CERTFILE"));
        let chain_file = chain_file.ok_or_else(|| b"CERTFILE is not set".to_vec())?;
        // A file may hold both.
        let key_file = get(b"KEYFILE").unwrap_or_else(|| chain_file.clone());
        let client_file = get(b"CCAFILE");
        let refuses_clients = client_file.as_deref() == Some(b"-");
        let client_file = client_file.filter(|_| !refuses_clients);
        let wanted = match &client_file {
            _ if refuses_clients => Wanted::Nothing,
            _ if options.demanded => Wanted::GoodCertificate,
            Some(_) => Wanted::Certificate,
            None => Wanted::Nothing,
        };
        let settings = Settings {
            chain_file,
            key_file,
            password,
            names_file: get(b"SNIFILE"),
            ciphers: get(b"CIPHERS"),
            client_file,
            authorities_file: get(b"CAFILE"),
            authorities_dir: get(b"CADIR"),
            depth: get(b"VERIFYDEPTH").map_or(1, |v| usize::try_from(number(&v)).unwrap_or(usize::MAX)),
        };
        let either = |number: &[u8], name: &[u8]| get(number).or_else(|| get(name));
        let (user, group) = (either(b"SSL_UID", b"SSL_USER"), either(b"SSL_GID", b"SSL_GROUP"));
        let mut handler = Identity::of(user.as_deref(), group.as_deref())?;
        let is_root = process::euid() == Uid(0);
        if is_root {
            handler.user = handler.user.or(program.user).or(Some(NOBODY));
            handler.group = handler.group.or(program.group).or(Some(NOBODY));
        } else {
            // Nobody else can be had, and nothing locked.
            handler = Identity::default();
        }
        let chroot = get(b"SSL_CHROOT").filter(|_| is_root);
        Ok(Surroundings { settings, wanted, has_dhfile: get(b"DHFILE").is_some(), chroot, handler })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(args: &'a [&'a [u8]]) -> Result<Options<'a>, Misuse> {
        Options::parse(args, |_| None)
    }

    #[test]
    fn command_lines() {
        let o = parse(&[b"0", b"465", b"cat"]).unwrap();
        assert!(!o.tell_cipher && !o.tcp_variables && !o.ssl_variables && !o.delayed && !o.demanded && !o.password);
        assert_eq!((o.handshake_limit.as_secs(), o.idle_limit.as_secs()), (26, 3600));
        assert!(o.common.no_delay && o.common.remote_host);
        let o =
            parse(&[b"-seVn", b"-Rp", b"-l", b"mx", b"-c9", b"-T", b"5x", b"-w7", b"-z3d", b"0", b"25", b"x"]).unwrap();
        assert!(
            o.tell_cipher && o.tcp_variables && o.ssl_variables && o.delayed && o.demanded && o.named && o.password
        );
        assert_eq!((o.handshake_limit.as_secs(), o.idle_limit.as_secs(), o.common.limit), (5, 7, 9));
        assert!(!o.common.no_delay && o.common.paranoid && o.common.verbosity == Verbosity::All);
        let o = parse(&[b"-senzVvSENZ", b"0", b"25", b"x"]).unwrap();
        assert!(!o.tell_cipher && !o.tcp_variables && !o.ssl_variables && !o.delayed && !o.demanded && !o.named);
        let o = parse(&[b"-vzmVq", b"0", b"25", b"x"]).unwrap();
        assert!(o.demanded && !o.named && o.common.verbosity == Verbosity::Nothing);
    }

    #[test]
    fn misuse() {
        let rows: &[(&[&[u8]], Option<u8>)] =
            &[(&[], None), (&[b"0", b"25"], None), (&[b"-y", b"0", b"25", b"x"], Some(b'y')), (&[b"-T"], Some(b'T'))];
        for (args, letter) in rows {
            assert_eq!(parse(args).err(), Some(Misuse(*letter)));
        }
    }

    #[test]
    fn surroundings() {
        let read = |args: &[&[u8]], vars: &[(&str, &str)]| {
            let options = parse(args).unwrap();
            let env = |name: &[u8]| {
                let value = vars.iter().find(|v| v.0.as_bytes() == name)?.1;
                Some(value.as_bytes().to_vec())
            };
            Surroundings::read(&options, Identity { user: Some(7), group: Some(8) }, env, None)
        };
        let plain: &[&[u8]] = &[b"0", b"25", b"x"];
        assert_eq!(read(plain, &[("CERTFILE", "")]).err(), Some(b"CERTFILE is not set".to_vec()));
        let s =
            read(plain, &[("CERTFILE", "c"), ("CERTCHAINFILE", "d"), ("DHFILE", "x"), ("VERIFYDEPTH", "3")]).unwrap();
        assert_eq!((s.settings.chain_file, s.settings.key_file), (b"d".to_vec(), b"d".to_vec()));
        assert_eq!((s.settings.depth, s.has_dhfile, s.wanted), (3, true, Wanted::Nothing));
        let rows = [
            (false, "a", Wanted::Certificate, Some("a")),
            (true, "a", Wanted::GoodCertificate, Some("a")),
            (true, "", Wanted::GoodCertificate, None),
            (true, "-", Wanted::Nothing, None),
            (false, "-", Wanted::Nothing, None),
        ];
        for (demanded, file, wanted, kept) in rows {
            let args: &[&[u8]] = if demanded { &[b"-m", b"0", b"25", b"x"] } else { plain };
            let s = read(args, &[("CERTFILE", "c"), ("KEYFILE", "k"), ("CCAFILE", file)]).unwrap();
            assert_eq!((s.wanted, s.settings.client_file), (wanted, kept.map(|k| k.as_bytes().to_vec())), "{file}");
        }
        let who = |vars: &[(&str, &str)]| read(plain, &[&[("CERTFILE", "c")], vars].concat()).unwrap().handler;
        if process::euid() == Uid(0) {
            assert_eq!(who(&[("SSL_UID", "5"), ("SSL_GID", "6")]), Identity { user: Some(5), group: Some(6) });
            assert_eq!(who(&[("SSL_USER", "daemon")]).user, Some(1));
            assert_eq!(who(&[]), Identity { user: Some(7), group: Some(8) });
        } else {
            assert_eq!(who(&[("SSL_UID", "5")]), Identity::default());
        }
        assert!(read(plain, &[("CERTFILE", "c"), ("SSL_USER", "no such user")]).is_err());
    }
}
