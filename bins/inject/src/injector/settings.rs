//! What environment, control files and options say.

use super::Failure;
use control::{ConstMap, Controls};
use mess822::complete::{BadDefault, Defaults};
use mess822::quote;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::env::Env;
use sys::opt::{Opt, Scanner};

/// All that does not depend on the message.
pub struct Settings {
    /// What completes addresses.
    pub defaults: Defaults,
    /// The right side of new Message-IDs.
    pub id_host: Vec<u8>,
    /// The local part and host of a From field to be made.
    pub user: Vec<u8>,
    /// See `user`; the default host if there is none.
    pub host: Option<Vec<u8>>,
    /// The name of the person, for that field.
    pub full_name: Option<Vec<u8>>,
    /// The local part of the envelope sender, if nothing else says it.
    pub sender_user: Vec<u8>,
    /// See `sender_user`.
    pub sender_host: Option<Vec<u8>>,
    /// Addresses of mailing lists (QMAILMFTFILE).
    pub lists: Option<ConstMap>,
    /// Letter `c`: the name as a comment behind the address.
    pub name_as_comment: bool,
    /// Letter `s`: no Return-Path of the message counts.
    pub drop_return_path: bool,
    /// Letter `f`: no From of the message counts.
    pub drop_from: bool,
    /// Letter `i`: no Message-ID of the message counts.
    pub drop_message_id: bool,
    /// Letter `r`: the envelope sender names every recipient (VERP).
    pub verp: bool,
}

impl Settings {
    /// `now` makes the sender of letter `m` unique.
    pub fn load(env: &Env, home: &Path, lists: Option<ConstMap>, now: u64) -> Result<Settings, Failure> {
        let controls = Controls::of(home);
        let me = controls.line("me").map_err(|_| Failure::Read)?;
        let name = |file: &str, variable: &[u8]| -> Result<Vec<u8>, Failure> {
            let line = controls.line(file).map_err(|_| Failure::Read)?;
            let line = line.or_else(|| me.clone()).unwrap_or_else(|| file.into());
            Ok(env.get(variable).map_or(line, <[u8]>::to_vec))
        };
        let domain = name("defaultdomain", b"QMAILDEFAULTDOMAIN")?;
        let default_host = name("defaulthost", b"QMAILDEFAULTHOST")?;
        let plus_domain = name("plusdomain", b"QMAILPLUSDOMAIN")?;
        let id_host = name("idhost", b"QMAILIDHOST")?;
        let defaults = Defaults::new(&domain, &default_host, &plus_domain)
            .map_err(|BadDefault(text)| Failure::Unparsable(text))?;

        let letters = env.get(b"QMAILINJECT").unwrap_or_default();
        let on = |letter: u8| letters.contains(&letter);
        let host = first(env, &[b"QMAILHOST", b"MAILHOST"]);
        let user = first(env, &[b"QMAILUSER", b"MAILUSER", b"USER", b"LOGNAME"]);
        let user = user.unwrap_or_else(|| b"anonymous".to_vec());
        let mut sender_user = first(env, &[b"QMAILSUSER"]).unwrap_or_else(|| user.clone());
        if on(b'm') {
            sender_user.extend_from_slice(format!("-{now}.{}", sys::process::pid().0).as_bytes());
        }
        if on(b'r') {
            sender_user.push(b'-');
        }
        Ok(Settings {
            defaults,
            id_host,
            sender_host: first(env, &[b"QMAILSHOST"]).or_else(|| host.clone()),
            user,
            host,
            full_name: first(env, &[b"QMAILNAME", b"MAILNAME", b"NAME"]),
            sender_user,
            lists,
            name_as_comment: on(b'c'),
            drop_return_path: on(b's'),
            drop_from: on(b'f'),
            drop_message_id: on(b'i'),
            verp: on(b'r'),
        })
    }
}

/// The first of these variables that is set, even if it is empty. A newline would end the field that it goes into, and
/// what follows it would be another one: it becomes a blank.
fn first(env: &Env, names: &[&[u8]]) -> Option<Vec<u8>> {
    let value = names.iter().find_map(|name| env.get(name))?;
    Some(value.iter().map(|&b| if b == b'\n' { b' ' } else { b }).collect())
}

/// The addresses in the file that QMAILMFTFILE names. No file is no address.
pub fn list_addresses(env: &Env) -> Result<Option<ConstMap>, Failure> {
    let Some(file) = env.get(b"QMAILMFTFILE") else { return Ok(None) };
    let mut text = Vec::new();
    match sys::fs::open_read(Path::new(OsStr::from_bytes(file))).and_then(|mut f| f.read_to_end(&mut text)) {
        Ok(_) => Ok(Some(ConstMap::of_keys(&control::items(&text)))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(Failure::Read),
    }
}

/// What the arguments say.
pub struct Options {
    /// `-n` prints, `-N` queues.
    pub queue: bool,
    /// `-f`, completed.
    pub sender: Option<Vec<u8>>,
    /// Recipients from the arguments, completed.
    pub recipients: Vec<Vec<u8>>,
    /// Whether those in the header are recipients too.
    pub use_header: bool,
}

impl Options {
    /// The last option of its kind wins.
    pub fn parse(args: &[&[u8]], settings: &Settings) -> Result<Options, Failure> {
        const LIST: &[u8] = b"aAhHnNf:";
        let mut options = Options { queue: true, sender: None, recipients: Vec::new(), use_header: false };
        let mut source = b'A';
        let mut scanner = Scanner::new(LIST, args);
        for option in scanner.by_ref() {
            match option {
                Opt::Flag(b'n') => options.queue = false,
                Opt::Flag(b'N') => options.queue = true,
                Opt::Flag(letter) => source = letter,
                Opt::Value(_, address) => {
                    let quoted = quote::address(address);
                    let completed = settings.defaults.complete_text(&quoted);
                    options.sender = Some(completed.map_err(|_| Failure::Unparsable(quoted.into_owned()))?);
                }
                Opt::Unknown(letter) => return Err(Failure::Usage(letter, letter == b'f')),
            }
        }
        let args = scanner.rest();
        // -a: arguments; -h: header; -H: both; -A: arguments if there are any, else header.
        options.use_header = matches!(source, b'h' | b'H') || (source == b'A' && args.is_empty());
        if source != b'h' {
            for &arg in args {
                let completed = settings.defaults.complete_text(&quote::address(arg));
                options.recipients.push(completed.map_err(|_| Failure::BadRecipient(arg.to_vec()))?);
            }
        }
        Ok(options)
    }
}

/// The address up to its first NUL: no address has one (envelopes(5)).
pub fn to_nul(address: &[u8]) -> &[u8] {
    address.split(|&b| b == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)]) -> Result<Settings, Failure> {
        let mut env = Env::default();
        for (name, value) in vars {
            env.set(name.as_bytes(), value.as_bytes());
        }
        Settings::load(&env, Path::new("/nonexistent"), None, 7)
    }

    fn parse(args: &[&str]) -> Result<Options, Failure> {
        let settings = load(&[("QMAILDEFAULTHOST", "h.test")]).unwrap();
        let args: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
        Options::parse(&args, &settings)
    }

    #[test]
    fn without_controls_names_stand_for_themselves() {
        let s = load(&[]).unwrap();
        assert_eq!(s.id_host, b"idhost");
        assert_eq!(s.defaults.complete_text(b"a").unwrap(), b"a@defaulthost.defaultdomain");
        assert_eq!((s.user, s.host), (b"anonymous".to_vec(), None));
    }

    #[test]
    fn variables_go_by_rank_and_cannot_begin_a_new_field() {
        let s = load(&[("USER", "u"), ("MAILUSER", "m"), ("MAILHOST", "h"), ("NAME", "a\nBcc: b"), ("QMAILNAME", "")]);
        let s = s.unwrap();
        assert_eq!((s.user.as_slice(), s.sender_user.as_slice()), (&b"m"[..], &b"m"[..]));
        assert_eq!((s.host.as_deref(), s.sender_host.as_deref()), (Some(&b"h"[..]), Some(&b"h"[..])));
        assert_eq!(s.full_name.as_deref(), Some(&b""[..]));
        assert_eq!(load(&[("NAME", "a\nBcc: b")]).unwrap().full_name.unwrap(), b"a Bcc: b");
        let verp = load(&[("QMAILINJECT", "mr"), ("QMAILSUSER", "s")]).unwrap().sender_user;
        assert_eq!(verp, format!("s-7.{}-", std::process::id()).as_bytes());
    }

    #[test]
    fn bad_defaults_and_options_are_failures() {
        assert!(matches!(load(&[("QMAILDEFAULTHOST", "a(")]), Err(Failure::Unparsable(t)) if t == b"@a("));
        assert!(matches!(parse(&["-x"]), Err(Failure::Usage(b'x', false))));
        assert!(matches!(parse(&["-f"]), Err(Failure::Usage(b'f', true))));
        assert!(matches!(parse(&["-f", "a@b("]), Err(Failure::Unparsable(t)) if t == b"a@b("));
        assert!(matches!(parse(&["a@b("]), Err(Failure::BadRecipient(t)) if t == b"a@b("));
    }

    #[test]
    fn recipients_come_from_arguments_or_header() {
        let rows: &[(&[&str], usize, bool)] = &[
            (&[], 0, true),
            (&["a"], 1, false),
            (&["-a"], 0, false),
            (&["-h", "a"], 0, true),
            (&["-H", "a"], 1, true),
            (&["-hA", "a", "-b"], 2, false),
            (&["--", "-h"], 1, false),
        ];
        for &(args, count, header) in rows {
            let o = parse(args).unwrap();
            assert_eq!((o.recipients.len(), o.use_header), (count, header), "{args:?}");
        }
    }
}
