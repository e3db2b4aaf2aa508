//! Asking the process in front for TLS (UCSPI-TLS, qmail-tls(7)).

use std::io::{self, Read};
use std::os::fd::RawFd;
use sys::env::{self, Env};
use sys::fd;
use sys::poll::Timed;

/// How long the handshake may take, as that process sees it as well (seconds), and some time for it to tell.
const HANDSHAKE_SECS: u64 = 60;
/// The most that it may tell about the connection (bytes).
const VARIABLES_MAX: u64 = 1 << 20;

/// The descriptors that lead to it.
pub struct Control {
    control: RawFd,
    read: RawFd,
    write: RawFd,
}

impl Control {
    /// Those that the environment names, if it names them. No program that is started gets them.
    pub fn find() -> Option<Control> {
        let number = |name: &[u8]| {
            let value = env::get(name)?;
            // 0 to 2 have another meaning.
            let n: RawFd = std::str::from_utf8(&value).ok()?.parse().ok().filter(|n| *n > 2)?;
            fd::close_on_exec(n).ok().map(|()| n)
        };
        let (control, read, write) = (number(b"SSLCTLFD"), number(b"SSLREADFD"), number(b"SSLWRITEFD"));
        Some(Control { control: control?, read: read?, write: write? })
    }

    /// Whether `n` is one of them.
    pub fn holds(&self, n: RawFd) -> bool {
        [self.control, self.read, self.write].contains(&n)
    }

    /// Starts TLS; from now on descriptors 0 and 1 are what it protects, whatever becomes of the handshake. What is
    /// known of the connection goes into `variables`.
    pub fn start(self, variables: &mut Env) -> io::Result<()> {
        fd::write_all(self.control, b"Y")?;
        fd::copy(0, self.read)?;
        fd::copy(1, self.write)?;
        let mut text = Vec::new();
        let mut source = Timed::new(self.control, HANDSHAKE_SECS).take(VARIABLES_MAX);
        let mut piece = [0; 4096];
        // An empty list is two NULs, too.
        while !text.ends_with(b"\0\0") {
            match source.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => text.extend_from_slice(piece.get(..n).unwrap_or_default()),
            }
        }
        // Reading and writing end may be one.
        for n in [self.control, self.read, self.write] {
            fd::close(n);
        }
        for pair in text.split(|&b| b == 0) {
            if let Some(at) = pair.iter().position(|&b| b == b'=') {
                let (name, value) = pair.split_at(at);
                variables.set(name, value.get(1..).unwrap_or_default());
            }
        }
        for name in [b"SSLCTLFD".as_slice(), b"SSLREADFD", b"SSLWRITEFD"] {
            variables.unset(name);
        }
        Ok(())
    }
}
