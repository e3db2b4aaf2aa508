//! sendmail: the interface of another mail system, which many programs expect; also called mailq and newaliases.
//!
//! Started by users and their programs, as the user. fd 0 is the message, which is injected here, in this process
//! (see `injector`); `-bs` becomes bin/qmail-smtpd, `-bp` and the name mailq become bin/qmail-qread. Reads PROTO, and
//! what qmail-inject(8) reads.
//!
//! Exit codes: 100 bad usage, 111 something could not be run, else those of the job done.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod injector;

use sys::Exit;
use sys::env::Env;
use sys::opt::{Opt, Scanner};
use sys::spawn::Program;

/// The options that exist; of most only the existence matters.
const OPTIONS: &[u8] = b"vimte:f:p:o:B:F:EJxb:";
const USAGE: &[u8] = b"sendmail: usage: sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]\n";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let mut env = Env::inherit();
    let home = conf::home(env.get(b"QMAILHOME").map(<[u8]>::to_vec), sys::process::is_privileged_beyond_caller());
    if sys::process::chdir(&home).is_err() {
        return say(b"sendmail: fatal: unable to switch to qmail home directory\n", Exit::TEMPORARY);
    }
    let mut header_too = false;
    let mut sender = None;
    let mut scanner = Scanner::new(OPTIONS, &args);
    while let Some(option) = scanner.next() {
        match option {
            Opt::Flag(b't') => header_too = true,
            // Sony NEWS-OS: an optional value, attached.
            Opt::Flag(b'E' | b'J') => scanner.skip_cluster(),
            // One way to deliver, one way to report errors, and no dot ends a message: nothing to choose.
            Opt::Flag(_) => {}
            Opt::Value(b'f', address) => sender = Some(bare(address)),
            Opt::Value(b'F', name) => env.set(b"MAILNAME", name),
            Opt::Value(b'b', mode) => match mode.first() {
                Some(b'm') => {}
                Some(b'p') => return list_queue(env),
                Some(b's') => return serve_smtp(env),
                _ => return say(USAGE, Exit::PERMANENT),
            },
            Opt::Value(..) => {}
            Opt::Unknown(letter) => return bad_option(letter),
        }
    }
    match sys::start::program_name() {
        b"mailq" => return list_queue(env),
        b"newaliases" => {
            return say(b"sendmail: fatal: please use fastforward/newaliases instead\n", Exit::PERMANENT);
        }
        _ => {}
    }
    let mut inject: Vec<&[u8]> = vec![if header_too { b"-H" } else { b"-a" }];
    if let Some(address) = sender {
        inject.extend([&b"-f"[..], address]);
        set_author(&mut env, address);
    }
    inject.push(b"--");
    inject.extend_from_slice(scanner.rest());
    injector::run(&inject, env)
}

/// Writes a line to fd 2.
fn say(line: &[u8], exit: Exit) -> Exit {
    // A last word: there is nowhere to report that it could not be said.
    let _ = sys::fd::write_all(2, line);
    exit
}

fn bad_option(letter: u8) -> Exit {
    let takes_value = OPTIONS.windows(2).any(|w| w == [letter, b':']);
    let why: &[u8] = if takes_value { b"option requires an argument -- " } else { b"illegal option -- " };
    sys::error::complain(&[why, &[letter]]);
    say(USAGE, Exit::PERMANENT)
}

/// The address in angle brackets, which many programs put around it: `-f "<>"` is the null sender.
fn bare(address: &[u8]) -> &[u8] {
    address.strip_prefix(b"<").and_then(|a| a.strip_suffix(b">")).unwrap_or(address)
}

/// Makes the envelope sender the author too, without a name, in case the message has no From field.
fn set_author(env: &mut Env, sender: &[u8]) {
    for name in [&b"QMAILNAME"[..], b"MAILNAME", b"NAME", b"QMAILHOST", b"MAILHOST"] {
        env.unset(name);
    }
    let at = sender.iter().rposition(|&b| b == b'@');
    let (user, host) = sender.split_at(at.unwrap_or(sender.len()));
    env.set(b"QMAILUSER", user);
    if let Some(host) = host.strip_prefix(b"@") {
        env.set(b"QMAILHOST", host);
    }
}

fn list_queue(env: Env) -> Exit {
    become_program(b"bin/qmail-qread", env);
    say(b"sendmail: fatal: unable to run qmail-qread\n", Exit::TEMPORARY)
}

/// The caller speaks SMTP on fd 0 and 1. Without a server in front, qmail-smtpd is told of a local client that may
/// relay.
fn serve_smtp(mut env: Env) -> Exit {
    if env.get(b"PROTO").is_none() {
        let client: [(&[u8], &[u8]); 8] = [
            (b"RELAYCLIENT", b""),
            (b"DATABYTES", b"0"),
            (b"PROTO", b"TCP"),
            (b"TCPLOCALIP", b"127.0.0.1"),
            (b"TCPLOCALHOST", b"localhost"),
            (b"TCPREMOTEIP", b"127.0.0.1"),
            (b"TCPREMOTEHOST", b"localhost"),
            (b"TCPREMOTEINFO", b"sendmail-bs"),
        ];
        for (name, value) in client {
            env.set(name, value);
        }
    }
    become_program(b"bin/qmail-smtpd", env);
    say(b"sendmail: fatal: unable to run qmail-smtpd\n", Exit::TEMPORARY)
}

/// Execs a program below home without arguments; returns if that failed.
fn become_program(file: &[u8], env: Env) {
    if let Ok(program) = Program::new(file, &[file]) {
        // The caller says what could not be run; the reason was never part of the text.
        let _ = program.env(env).exec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angle_brackets_are_no_part_of_an_address() {
        let rows =
            [("<>", ""), ("<a@b.test>", "a@b.test"), ("a@b.test", "a@b.test"), ("", ""), ("<", "<"), ("<a", "<a")];
        for (given, address) in rows {
            assert_eq!(bare(given.as_bytes()), address.as_bytes(), "{given}");
        }
    }

    #[test]
    fn the_sender_becomes_the_author() {
        let rows = [
            ("a@b.test", "a", Some("b.test")),
            ("a", "a", None),
            ("a@b@c", "a@b", Some("c")),
            ("@c", "", Some("c")),
            ("", "", None),
        ];
        for (sender, user, host) in rows {
            let mut env = Env::default();
            env.set(b"MAILHOST", b"old");
            env.set(b"NAME", b"old");
            set_author(&mut env, sender.as_bytes());
            assert_eq!(env.get(b"QMAILUSER"), Some(user.as_bytes()));
            assert_eq!(env.get(b"QMAILHOST"), host.map(str::as_bytes));
            assert_eq!((env.get(b"NAME"), env.get(b"MAILHOST")), (None, None));
        }
    }
}
