//! A client's side of SMTP: it says something and waits for the answer, with or without TLS.

use crate::load::Result;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tls::{ClientConnection, HandshakeKind};

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Server(BufReader<Wire>);

impl Server {
    /// What is said goes over the wire as it is.
    pub fn plain(address: &str) -> Result<Server> {
        let stream = connect(address).map_err(|e| e.to_string())?;
        Ok(Server(BufReader::new(Wire { stream, tls: None })))
    }

    /// TLS first. Also tells whether a session was resumed.
    pub fn secure(address: &str, mut tls: ClientConnection) -> Result<(Server, bool)> {
        let mut stream = connect(address).map_err(|e| e.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(|e| format!("handshake: {e}"))?;
        }
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((Server(BufReader::new(Wire { stream, tls: Some(Box::new(tls)) })), resumed))
    }

    /// Takes an answer of which the code begins so.
    pub fn hear(&mut self, class: u8) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = self.0.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("the server hung up".to_string());
            }
            if line.get(3) != Some(&b'-') {
                break;
            }
        }
        if line.first() == Some(&class) { Ok(()) } else { Err(String::from_utf8_lossy(&line).trim_end().to_string()) }
    }

    /// Says this and takes the answer.
    pub fn ask(&mut self, said: &[u8], class: u8) -> Result<()> {
        self.0.get_mut().write_all(said).map_err(|e| e.to_string())?;
        self.hear(class)
    }

    /// Waits for the server to hang up.
    pub fn finish(mut self) -> Result<()> {
        let wire = self.0.get_mut();
        if let Some(tls) = &mut wire.tls {
            tls.send_close_notify();
            // A server that has hung up already has no ear for it.
            let _ = tls.complete_io(&mut wire.stream);
        }
        match io::copy(&mut self.0, &mut io::sink()) {
            // Without a close_notify, or with a reset: many a server is as short as that.
            Err(e) if !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Err(e.to_string())
            }
            _ => Ok(()),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(stream)
}

struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buf) };
        loop {
            match tls.reader().read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut self.stream)? > 0 {
                tls.process_new_packets().map_err(io::Error::other)?;
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(buf) };
        let count = tls.writer().write(buf)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
