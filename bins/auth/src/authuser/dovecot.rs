//! Asking Dovecot, as `doveadm auth test` does, but over its socket: an argument would show the password to everybody
//! on this host. The protocol is Dovecot's auth-client, version 1.

use crate::request::Request;
use crate::{Failure, Setting};
use auth::{Secret, base64};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use sys::{env, process};

/// Where Dovecot listens if nothing else is said.
pub const SOCKET: &[u8] = b"/run/dovecot/auth-client";
/// How long Dovecot may take: it delays refusals, up to 15 seconds for a host that has tried often.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line, and all lines of the greeting together (bytes).
const LINES_MAX: usize = 65536;

/// Whether Dovecot lets the user in with this password.
pub fn check(setting: &Setting<'_>, request: &Request) -> Result<(), Failure> {
    let path = Path::new(std::ffi::OsStr::from_bytes(setting.socket));
    let stream = UnixStream::connect(path).map_err(|_| Failure::Trouble)?;
    for limit in [stream.set_read_timeout(Some(TIMEOUT)), stream.set_write_timeout(Some(TIMEOUT))] {
        limit.map_err(|_| Failure::Trouble)?;
    }
    let question = question(setting, request);
    converse(stream, process::pid().0, &question).unwrap_or(Err(Failure::Trouble))
}

/// The request, on one line.
fn question(setting: &Setting<'_>, request: &Request) -> Secret {
    let mut line = b"AUTH\t1\tPLAIN".to_vec();
    let mut add = |name: &[u8], value: &[u8]| {
        line.push(b'\t');
        line.extend_from_slice(name);
        escape(&mut line, value);
    };
    if !setting.extra.iter().any(|e| e.starts_with(b"service=")) {
        add(b"service=", b"smtp");
    }
    for extra in &setting.extra {
        add(b"", extra);
    }
    for (name, first, second) in
        [(&b"rip="[..], &b"TCP6REMOTEIP"[..], &b"TCPREMOTEIP"[..]), (b"lip=", b"TCP6LOCALIP", b"TCPLOCALIP")]
    {
        if let Some(address) = env::get(first).or_else(|| env::get(second)) {
            add(name, address.strip_prefix(b"::ffff:").unwrap_or(&address));
        }
    }
    // Who may send a password over which connection was decided before.
    add(b"secured", b"");
    add(b"nologin", b"");
    let message = auth::plain::message(&request.user, &request.response);
    Secret::new([line.as_slice(), b"\tresp=", &base64::encode(&message), b"\n"].concat())
}

/// Tab and line ends separate; \x01 escapes.
fn escape(line: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            1 => line.extend_from_slice(b"\x011"),
            b'\t' => line.extend_from_slice(b"\x01t"),
            b'\r' => line.extend_from_slice(b"\x01r"),
            b'\n' => line.extend_from_slice(b"\x01n"),
            byte => line.push(byte),
        }
    }
}

fn converse(mut stream: impl Read + Write, pid: i32, question: &[u8]) -> io::Result<Result<(), Failure>> {
    stream.write_all(format!("VERSION\t1\t1\nCPID\t{pid}\n").as_bytes())?;
    let mut input = Vec::new();
    loop {
        let line = line(&mut stream, &mut input)?;
        match line.split(|&b| b == b'\t').next() {
            Some(b"VERSION") if !line.starts_with(b"VERSION\t1\t") => return Err(io::ErrorKind::InvalidData.into()),
            Some(b"DONE") => break,
            // Its id, its mechanisms (it always has PLAIN) and whatever newer versions say.
            _ => {}
        }
    }
    stream.write_all(question)?;
    loop {
        let line = line(&mut stream, &mut input)?;
        let mut words = line.split(|&b| b == b'\t');
        return Ok(match (words.next(), words.next()) {
            (Some(b"OK"), Some(b"1")) => Ok(()),
            (Some(b"FAIL"), Some(b"1")) => {
                let temporary = words.any(|w| matches!(w, b"temp" | b"code=temp_fail"));
                Err(if temporary { Failure::Trouble } else { Failure::Refused })
            }
            // PLAIN has no second message.
            (Some(b"CONT"), _) => Err(Failure::Trouble),
            _ => continue,
        });
    }
}

/// The next line without its end; `input` holds what was read beyond.
fn line(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        if let Some(at) = input.iter().position(|&b| b == b'\n') {
            let rest = input.split_off(at + 1);
            let mut line = std::mem::replace(input, rest);
            line.pop();
            return Ok(line);
        }
        if input.len() > LINES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says all it has to say at once.
    struct Script<'a>(&'a [u8], Vec<u8>);

    impl Read for Script<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(5);
            self.0.read(buf.get_mut(..n).unwrap())
        }
    }

    impl Write for Script<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn play(server: &str) -> Result<(), Failure> {
        let mut script = Script(server.as_bytes(), Vec::new());
        let result = converse(&mut script, 7, b"AUTH\t1\n").unwrap_or(Err(Failure::Trouble));
        let said = String::from_utf8(script.1).unwrap();
        assert!(said.starts_with("VERSION\t1\t1\nCPID\t7\n"), "{said}");
        result
    }

    #[test]
    fn answers_of_dovecot() {
        let hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t9\nCUID\t1\nCOOKIE\tx\nDONE\n";
        let (no, trouble) = (Err(Failure::Refused), Err(Failure::Trouble));
        let rows: &[(&str, Result<(), Failure>)] = &[
            ("OK\t1\tuser=joe\n", Ok(())),
            ("OK\t1\n", Ok(())),
            ("FAIL\t1\tuser=joe\n", no),
            ("FAIL\t1\tuser=joe\tcode=temp_fail\n", trouble),
            ("FAIL\t1\ttemp\n", trouble),
            ("FAIL\t1\tuser=joe\tcode=user_disabled\n", no),
            ("CONT\t1\t\n", trouble),
            ("OK\t2\tuser=joe\nFAIL\t1\n", no),
            ("OK", trouble),
            ("", trouble),
        ];
        for (answer, expected) in rows {
            assert_eq!(play(&format!("{hello}{answer}")), *expected, "{answer}");
        }
        assert_eq!(play("VERSION\t2\t0\nDONE\nOK\t1\n"), trouble);
        assert_eq!(play(""), trouble);
        assert_eq!(play(&"x".repeat(100_000)), trouble);
    }
}
