//! AUTH (RFC 4954): showing the server who we are.

use super::reply::Reply;
use super::session::{Dropped, Session};
use ::auth::{Secret, base64, digest, plain, scram};
use std::io::{Read, Write};

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// The server knows us now.
    Done,
    /// The server offers nothing that is known here.
    NoMechanism,
    /// The server said no. The mechanism, or what was refused of it, as s/qmail reports it.
    Refused(&'static str, Reply),
    /// The server does not know the password itself, or its challenge makes no sense.
    NotBelieved(&'static str),
}

/// Mechanisms in s/qmail's order of liking: the server's. The first one, which s/qmail has not, goes before all: it gives
/// nothing away, and the server must prove itself, too.
const FIRST: &[u8] = scram::NAME;
const OTHERS: [&[u8]; 3] = [digest::CRAM_MD5, plain::LOGIN, plain::PLAIN];

impl<S: Read + Write> Session<S> {
    /// Shows that we are `user`. `random` are bytes nobody can foresee, 18 at least.
    pub fn authenticate(&mut self, user: &[u8], password: &[u8], random: &[u8]) -> Result<Login, Dropped> {
        let offered = &self.offers().auth;
        let first = offered.iter().find(|m| *m == FIRST);
        let Some(chosen) = first.or_else(|| offered.iter().find(|m| OTHERS.contains(&m.as_slice()))) else {
            return Ok(Login::NoMechanism);
        };
        match chosen.as_slice() {
            scram::NAME => self.scram(user, password, random),
            digest::CRAM_MD5 => self.cram(user, password),
            plain::LOGIN => self.login(user, password),
            _ => self.plain(user, password),
        }
    }

    fn scram(&mut self, user: &[u8], password: &[u8], random: &[u8]) -> Result<Login, Dropped> {
        const NAME: &str = "scram-sha-256";
        let mut client = scram::Client::new(user, password, random);
        let begin = self.command(b"AUTH SCRAM-SHA-256\r\n")?;
        if begin.code != 334 {
            return Ok(Login::Refused("AUTH SCRAM-SHA-256", begin));
        }
        let challenge = self.answer(&client.first())?;
        if challenge.code != 334 {
            return Ok(Login::Refused(NAME, challenge));
        }
        let Some(Ok(proof)) = decoded(&challenge).map(|c| client.answer(&c)) else {
            return self.cancel(NAME);
        };
        let mut last = self.answer(&proof)?;
        // What proves the server comes as one more challenge, or, in some, with the success.
        let mut proven = decoded(&last).is_some_and(|c| client.check(&c).is_ok());
        if last.code == 334 {
            if !proven {
                return self.cancel(NAME);
            }
            last = self.answer(b"")?;
        } else if last.code == 235 && !proven {
            let words = last.challenge().unwrap_or_default().split(|&b| b == b' ');
            proven = words.filter_map(base64::decode).any(|c| client.check(&c).is_ok());
        }
        match last.code {
            235 if proven => Ok(Login::Done),
            235 => Ok(Login::NotBelieved(NAME)),
            _ => Ok(Login::Refused(NAME, last)),
        }
    }

    fn cram(&mut self, user: &[u8], password: &[u8]) -> Result<Login, Dropped> {
        let begin = self.command(b"AUTH CRAM-MD5\r\n")?;
        if begin.code != 334 {
            return Ok(Login::Refused("AUTH CRAM-MD5", begin));
        }
        let Some(challenge) = decoded(&begin) else { return self.cancel("cram") };
        let last = self.answer(&digest::cram_response(user, password, &challenge))?;
        Ok(if last.code == 235 { Login::Done } else { Login::Refused("cram", last) })
    }

    fn login(&mut self, user: &[u8], password: &[u8]) -> Result<Login, Dropped> {
        let begin = self.command(b"AUTH LOGIN\r\n")?;
        if begin.code != 334 {
            return Ok(Login::Refused("AUTH LOGIN", begin));
        }
        let name = self.answer(user)?;
        if name.code != 334 {
            return Ok(Login::Refused("username", name));
        }
        let last = self.answer(password)?;
        Ok(if last.code == 235 { Login::Done } else { Login::Refused("login", last) })
    }

    fn plain(&mut self, user: &[u8], password: &[u8]) -> Result<Login, Dropped> {
        let begin = self.command(b"AUTH PLAIN\r\n")?;
        if begin.code != 334 {
            return Ok(Login::Refused("AUTH PLAIN", begin));
        }
        let last = self.answer(&plain::message(user, password))?;
        Ok(if last.code == 235 { Login::Done } else { Login::Refused("plain", last) })
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Reply, Dropped> {
        let text = base64::encode(bytes);
        let mut line = Secret::new(Vec::with_capacity(text.len() + 2));
        line.extend_from_slice(&text);
        line.extend_from_slice(b"\r\n");
        self.command(&line)
    }

    /// Breaks an exchange off; the server is expected to say 501.
    fn cancel(&mut self, mechanism: &'static str) -> Result<Login, Dropped> {
        self.command(b"*\r\n")?;
        Ok(Login::NotBelieved(mechanism))
    }
}

fn decoded(reply: &Reply) -> Option<Secret> {
    base64::decode(reply.challenge()?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io;
    use std::time::Duration;

    /// Answers each line by the next of its script, or by what a function makes of what it heard.
    struct Server {
        script: VecDeque<String>,
        ready: VecDeque<u8>,
        heard: Vec<String>,
    }

    impl Read for &mut Server {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.ready.read(buf)
        }
    }

    impl Write for &mut Server {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            let answer = match self.script.pop_front().unwrap_or_default().as_str() {
                "scram-first" => format!("334 {}\r\n", text(&scram_first(&line))),
                "scram-final" => scram_final(&self.heard, &line),
                other => other.to_string(),
            };
            self.ready.extend(answer.as_bytes());
            self.heard.push(line);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(base64::encode(bytes).to_vec()).unwrap()
    }

    fn verifier() -> scram::Verifier {
        scram::Verifier::of_password(b"secret", b"salt salt salt!!", 4096)
    }

    fn server_of(first: &str) -> scram::Server {
        let message = base64::decode(first.trim_end().as_bytes()).unwrap();
        scram::Server::new(message.strip_prefix(b"n,,").unwrap(), b"nonce", verifier()).unwrap()
    }

    fn scram_first(line: &str) -> Vec<u8> {
        server_of(line).first().to_vec()
    }

    fn scram_final(heard: &[String], line: &str) -> String {
        let last = base64::decode(line.trim_end().as_bytes()).unwrap();
        match server_of(&heard[2]).finish(&last) {
            Ok(proof) => format!("334 {}\r\n", text(&proof)),
            Err(_) => "535 no\r\n".to_string(),
        }
    }

    fn log_in(offer: &str, script: &[&str], password: &str) -> (Result<Login, Dropped>, Vec<String>) {
        let hello = format!("250-x\r\n250 {offer}\r\n");
        let script = std::iter::once(hello).chain(script.iter().map(|s| s.to_string())).collect();
        let mut server = Server { script, ready: VecDeque::new(), heard: Vec::new() };
        let mut session = Session::new(&mut server, Duration::from_secs(9));
        assert_eq!(session.hello(b"me").unwrap().code, 250);
        let login = session.authenticate(b"joe", password.as_bytes(), b"0123456789abcdefgh");
        (login, server.heard.split_off(1))
    }

    const DONE: &str = "235 ok\r\n";

    #[test]
    fn the_first_known_mechanism_is_taken_and_scram_before_all() {
        for (offer, begins) in [
            ("AUTH LOGIN PLAIN CRAM-MD5", "AUTH LOGIN\r\n"),
            ("AUTH DIGEST-MD5 PLAIN LOGIN", "AUTH PLAIN\r\n"),
            ("AUTH=cram-md5 LOGIN", "AUTH CRAM-MD5\r\n"),
            ("AUTH PLAIN SCRAM-SHA-256-PLUS SCRAM-SHA-256", "AUTH SCRAM-SHA-256\r\n"),
        ] {
            let (login, heard) = log_in(offer, &["504 no\r\n"], "secret");
            assert!(matches!(login, Ok(Login::Refused(what, _)) if what.starts_with("AUTH ")), "{offer}");
            assert_eq!(heard, [begins]);
        }
        for offer in ["SIZE 1", "AUTH", "AUTH GSSAPI NTLM XOAUTH2"] {
            assert_eq!(log_in(offer, &[], "secret").0, Ok(Login::NoMechanism), "{offer}");
        }
    }

    #[test]
    fn each_mechanism_says_its_lines() {
        let (login, heard) = log_in("AUTH PLAIN", &["334 \r\n", DONE], "secret");
        assert_eq!((login, heard), (Ok(Login::Done), vec!["AUTH PLAIN\r\n".into(), "AGpvZQBzZWNyZXQ=\r\n".into()]));
        let script = ["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", DONE];
        let (login, heard) = log_in("AUTH LOGIN", &script, "secret");
        let want = vec!["AUTH LOGIN\r\n".to_string(), "am9l\r\n".into(), "c2VjcmV0\r\n".into()];
        assert_eq!((login, heard), (Ok(Login::Done), want));
        // RFC 2195's own example has user tim; this is the same exchange by another name.
        let challenge = format!("334 {}\r\n", text(b"<1896.697170952@postoffice.reston.mci.net>"));
        let (login, heard) = log_in("AUTH CRAM-MD5", &[&challenge, DONE], "tanstaaftanstaaf");
        let answer = format!("{}\r\n", text(b"joe b913a602c7eda7a495b4e6e7334d3890"));
        assert_eq!((login, heard), (Ok(Login::Done), vec!["AUTH CRAM-MD5\r\n".into(), answer]));
    }

    #[test]
    fn scram_needs_a_server_that_knows_the_password() {
        let offer = "AUTH SCRAM-SHA-256";
        let good = ["334 \r\n", "scram-first", "scram-final", DONE];
        let (login, heard) = log_in(offer, &good, "secret");
        assert_eq!((login, heard.len()), (Ok(Login::Done), 4));
        // SASLprep: a soft hyphen is none of the password's characters.
        assert_eq!(log_in(offer, &good, "se\u{ad}cret").0, Ok(Login::Done));
        let (login, _) = log_in(offer, &good, "wrong");
        assert!(matches!(login, Ok(Login::Refused("scram-sha-256", r)) if r.code == 535));
        // A server that knows nothing and says that all is well.
        for last in [DONE, "334 dj1BQUFB\r\n"] {
            let script = ["334 \r\n", "scram-first", last, "501 ok\r\n"];
            assert_eq!(log_in(offer, &script, "secret").0, Ok(Login::NotBelieved("scram-sha-256")), "{last}");
        }
        let script = ["334 \r\n", "334 AAAA\r\n", "501 ok\r\n"];
        assert_eq!(log_in(offer, &script, "secret").1.last().unwrap(), "*\r\n");
    }

    #[test]
    fn refusals_say_at_which_step() {
        let rows: &[(&str, &[&str], &str)] = &[
            ("AUTH PLAIN", &["334 \r\n", "535 no\r\n"], "plain"),
            ("AUTH LOGIN", &["334 x\r\n", "535 no\r\n"], "username"),
            ("AUTH LOGIN", &["334 x\r\n", "334 x\r\n", "432 old\r\n"], "login"),
            ("AUTH CRAM-MD5", &["334 eA==\r\n", "534 weak\r\n"], "cram"),
        ];
        for (offer, script, what) in rows {
            let (login, _) = log_in(offer, script, "secret");
            assert!(matches!(login, Ok(Login::Refused(step, _)) if step == *what), "{offer}");
        }
        assert_eq!(log_in("AUTH CRAM-MD5", &["334 ?\r\n", "501 ok\r\n"], "x").0, Ok(Login::NotBelieved("cram")));
        assert!(log_in("AUTH PLAIN", &["334 \r\n", ""], "x").0.is_err());
    }
}
