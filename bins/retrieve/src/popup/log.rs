//! The lines that qmail-log(5) describes.

use super::tls::Control;
use std::os::fd::RawFd;
use sys::env;
use sys::fd;
use sys::process;

/// Where s/qmail's run scripts put the log.
const LOG: RawFd = 5;
/// The port whose connections begin with TLS.
const TLS_PORT: &[u8] = b"995";

/// What the lines of one connection have in common.
pub struct Log {
    fd: RawFd,
    secure: bool,
    ip: Vec<u8>,
    host: Vec<u8>,
}

impl Log {
    /// Reads the environment. The log is descriptor 5, if there is one and it is none of TLS's, else 2.
    pub fn new(control: Option<&Control>) -> Log {
        let free = control.is_none_or(|c| !c.holds(LOG));
        // What is started has no business with it.
        let fd = if free && fd::close_on_exec(LOG).is_ok() { LOG } else { 2 };
        let first = |six: &[u8], four: &[u8]| env::get(six).or_else(|| env::get(four)).unwrap_or(b"unknown".to_vec());
        let ip = first(b"TCP6REMOTEIP", b"TCPREMOTEIP");
        let secure = env::get(b"SSL_PROTOCOL").is_some() || first(b"TCP6LOCALPORT", b"TCPLOCALPORT") == TLS_PORT;
        Log {
            fd,
            secure,
            ip: ip.strip_prefix(b"::ffff:").unwrap_or(&ip).to_vec(),
            host: first(b"TCP6REMOTEHOST", b"TCPREMOTEHOST"),
        }
    }

    /// Whether the connection is under TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// From now on it is.
    pub fn secured(&mut self) {
        self.secure = true;
    }

    /// `event` is like `Accept::AUTH::User`. One line, in one write; what could end it, or is not ASCII, becomes `?`.
    pub fn say(&self, event: &str, user: &[u8]) {
        let pid = process::pid().0.to_string();
        let protocol: &[u8] = if self.secure { b"POP3S" } else { b"POP3" };
        let head = [b"qmail-popup: pid ", pid.as_bytes(), b" ", event.as_bytes(), b" P:", protocol, b" S:"].concat();
        let line = [&head, &safe(&self.ip), b":".as_slice(), &safe(&self.host), b" ?~ '", &safe(user), b"'\n"].concat();
        // Nobody is left to hear that there is no log.
        let _ = fd::write_all(self.fd, &line);
    }
}

fn safe(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if matches!(b, 33..=126) { b } else { b'?' }).collect()
}
