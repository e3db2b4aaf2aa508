//! Who a client is in the words of its own host: the identification protocol (RFC 1413).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use sys::poll::{Interest, wait};

/// The port of the service.
const PORT: u16 = 113;
/// The longest answer that is kept, in bytes.
const INFO_MAX: usize = 257;

/// Asks the host of `remote` about the connection between `remote` and `local`; `None` if nothing comes back within
/// `secs` seconds, all steps together. The answer is a stranger's word: any bytes but blanks and line ends.
pub fn ask(remote: SocketAddr, local: SocketAddr, secs: u64) -> Option<Vec<u8>> {
    let end = Instant::now() + Duration::from_secs(secs);
    let left = || end.saturating_duration_since(Instant::now());
    let mut service = remote;
    service.set_port(PORT);
    // A link-local address means nothing without its interface; the system then chooses the right one by itself.
    let from = Some(local.ip()).filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    let mut stream = sys::socket::connect(from, service, left()).ok()?;
    let question = format!("{} , {}\r\n", remote.port(), local.port());
    stream.write_all(question.as_bytes()).ok()?;

    let mut answer = Answer::default();
    let mut buffer = [0; 128];
    loop {
        let mut interest = Interest::read(stream.as_raw_fd());
        if wait(std::slice::from_mut(&mut interest), Some(left())).ok()? == 0 {
            if left().is_zero() {
                return None;
            }
            continue;
        }
        let length = stream.read(&mut buffer).ok()?;
        if length == 0 {
            return None;
        }
        if answer.take(buffer.get(..length)?) {
            return Some(answer.info);
        }
    }
}

/// An answer as it comes in: `ports : USERID : system : info`.
#[derive(Default)]
struct Answer {
    colons: u8,
    info: Vec<u8>,
}

impl Answer {
    /// Takes more bytes; `true` when the answer is complete. An answer without a third colon, such as an error, has no
    /// info, but is an answer.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for &b in bytes {
            match b {
                b' ' | b'\t' | b'\r' => {}
                b'\n' => return true,
                b':' if self.colons < 3 => self.colons += 1,
                _ if self.colons < 3 => {}
                _ => self.info.push(b),
            }
            if self.info.len() >= INFO_MAX {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let rows: &[(&[u8], bool, &[u8])] = &[
            (b"4801 , 2632 : USERID : UNIX : joe\r\n", true, b"joe"),
            (b"1,2:USERID:OTHER,US-ASCII: a b:c \r\n", true, b"ab:c"),
            (b"4802 , 2633 : ERROR : NO-USER\r\n", true, b""),
            (b"\n", true, b""),
            (b"1,2:USERID:UNIX:joe", false, b"joe"),
        ];
        for (bytes, complete, info) in rows {
            let mut whole = Answer::default();
            assert_eq!((whole.take(bytes), whole.info.as_slice()), (*complete, *info));
            let mut split = Answer::default();
            let done = bytes.iter().any(|b| split.take(&[*b]));
            assert_eq!((done, split.info.as_slice()), (*complete, *info));
        }
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let mut answer = Answer::default();
        assert!(answer.take(b":::") || answer.take(&[b'x'; 1000]));
        assert_eq!(answer.info.len(), INFO_MAX);
    }
}
