//! The connection as the programs see it, with TLS or without.

use crate::{Failed, Failure, Request, Way, open};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection with time limits.
#[derive(Debug)]
pub enum Stream {
    /// What is written is what goes over the wire.
    Plain(TcpStream),
    /// A process in between makes TLS of it.
    Tls(UnixStream),
}

impl Stream {
    /// Whether others can read along.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Starts TLS as `request` demands, and limits each read and write to `limit`. One with TLS stays as it is.
    pub fn secure(self, request: &Request, way: Way<'_>, limit: Duration) -> Result<Stream, Failed> {
        let Stream::Plain(network) = self else { return Ok(self) };
        let (stream, _) = open(&network, request, way)?;
        let set = stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)));
        set.map(|()| Stream::Tls(stream)).map_err(|_| Failed::from(Failure::Context))
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(s) => s.read(buf),
            Stream::Tls(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(s) => s.write(buf),
            Stream::Tls(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
