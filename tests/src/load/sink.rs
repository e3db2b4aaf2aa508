//! The rest of the world: an SMTP server that takes everything.

use crate::load::Result;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where the systems under test send what is not for them.
const PORT: u16 = 2525;
/// Longer lines than this are nobody's.
const GREETING: &[u8] = b"220 sink.test ESMTP\r\n";

/// A message that was taken, with its recipients.
struct Taken {
    at: Instant,
    recipients: Vec<String>,
    message: Vec<u8>,
}

/// What was taken so far.
pub struct Sink(Arc<Mutex<Vec<Taken>>>);

/// Listens, and serves every connection in a thread of its own.
pub fn start() -> Result<Sink> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).map_err(|e| format!("unable to bind port {PORT}: {e}"))?;
    let sink = Sink(Arc::default());
    let taken = sink.0.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let taken = taken.clone();
            std::thread::spawn(move || {
                // A client that goes away in the middle has delivered nothing.
                let _ = serve(&stream, &taken);
            });
        }
    });
    Ok(sink)
}

impl Sink {
    fn with<T>(&self, look: impl FnOnce(&[Taken]) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many deliveries, counted by recipients.
    pub fn count(&self) -> usize {
        self.with(|taken| taken.iter().map(|t| t.recipients.len()).sum())
    }

    /// When the last one was complete.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.with(|taken| taken.iter().map(|t| t.at).max())
    }

    /// Shows the local part of each recipient with the message, its lines ended by LF.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &[u8])) {
        self.with(|taken| {
            for t in taken {
                let local = |r: &String| r.split('@').next().unwrap_or_default().to_string();
                t.recipients.iter().map(local).for_each(|r| visit(&r, &t.message));
            }
        });
    }
}

fn serve(stream: &TcpStream, taken: &Mutex<Vec<Taken>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::with_capacity(65536, stream), GREETING.to_vec());
    let mut recipients = Vec::new();
    loop {
        // Answers to a pipelined group go out together.
        if input.buffer().is_empty() {
            (&*stream).write_all(&output)?;
            output.clear();
        }
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n",
            b"MAIL" | b"RSET" => {
                recipients.clear();
                b"250 ok\r\n"
            }
            b"RCPT" => {
                let text = String::from_utf8_lossy(&line);
                recipients.push(text.split(['<', '>']).nth(1).unwrap_or_default().to_string());
                b"250 ok\r\n"
            }
            b"DATA" => {
                output.extend_from_slice(b"354 go on\r\n");
                (&*stream).write_all(&output)?;
                output.clear();
                let Some(message) = data(&mut input)? else { return Ok(()) };
                let new = Taken { at: Instant::now(), recipients: std::mem::take(&mut recipients), message };
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(new);
                b"250 taken\r\n"
            }
            b"QUIT" => {
                output.extend_from_slice(b"221 bye\r\n");
                return (&*stream).write_all(&output);
            }
            _ => b"250 ok\r\n",
        };
        output.extend_from_slice(answer);
    }
}

/// The message, with LF and without doubled dots; `None` if the client goes away before its end.
fn data(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let (mut message, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line == b".\r\n" {
            return Ok(Some(message));
        }
        let text = line.strip_prefix(b".").unwrap_or(&line);
        message.extend_from_slice(text.strip_suffix(b"\r\n").unwrap_or(text));
        message.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn data_ends_at_a_dot_alone() {
        let message = super::data(&mut &b"a\r\n..\r\n...b\r\n.\r\nQUIT\r\n"[..]).unwrap();
        assert_eq!(message.unwrap(), b"a\n.\n..b\n");
        assert!(super::data(&mut &b"a\r\n..\r\n"[..]).unwrap().is_none());
    }
}
