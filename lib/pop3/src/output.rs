//! Answers, collected until the client has to see them.

use std::io::{self, Write};

/// How much is collected (bytes).
const BUFFER: usize = 65536;

/// A buffer before `sink`. Dropping it sends nothing: when writing has failed, or was to be broken off, that is all.
pub struct Output<W> {
    sink: W,
    buffer: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Nothing is written yet.
    pub fn new(sink: W) -> Output<W> {
        Output { sink, buffer: Vec::with_capacity(BUFFER) }
    }

    /// Adds `bytes`; writes what is there first if there is no room.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            return self.sink.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds a number in decimal.
    pub fn put_number(&mut self, number: u64) -> io::Result<()> {
        self.put(number.to_string().as_bytes())
    }

    /// Writes all that is there.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.sink.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_and_all_of_them() {
        let mut sink = Vec::new();
        let mut expected = Vec::new();
        let mut output = Output::new(&mut sink);
        for length in [0, 1, 65535, 1, 65536, 2, 65537, 200_000, 3, 65534] {
            let piece = vec![b'a' + (length % 26) as u8; length];
            output.put(&piece).unwrap();
            expected.extend_from_slice(&piece);
        }
        output.put_number(u64::MAX).unwrap();
        expected.extend_from_slice(b"18446744073709551615");
        output.flush().unwrap();
        output.flush().unwrap();
        drop(output);
        assert!(sink == expected);
    }
}
