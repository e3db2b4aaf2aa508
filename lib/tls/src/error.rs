//! What can go wrong before a handshake begins.

use std::fmt;
use std::io;

/// Why there is no configuration. Files are named as they were given.
#[derive(Debug)]
pub enum Error {
    /// A file or directory can not be read.
    Read(Vec<u8>, io::Error),
    /// A file that should hold certificates in PEM form holds none, or a broken one.
    NoCertificate(Vec<u8>),
    /// A file that should hold a private key in PEM form holds none that is understood.
    NoKey(Vec<u8>),
    /// The private key is encrypted, and there is no password, or a wrong one.
    Locked(Vec<u8>),
    /// The private key does not belong to the certificate.
    Mismatch,
    /// A line of a file is not understood: file and line.
    Line(Vec<u8>, Vec<u8>),
    /// None of these ciphers (OpenSSL names) can be had.
    Ciphers(Vec<u8>),
    /// The library refuses: its words.
    Refused(String),
}

impl Error {
    /// A text for people; file names are bytes.
    pub fn text(&self) -> Vec<u8> {
        let about = |what: &[u8], file: &[u8]| [what, b" ", file].concat();
        match self {
            Error::Read(file, e) => {
                [&about(b"unable to read", file), &b": "[..], sys::error::text(e).as_bytes()].concat()
            }
            Error::NoCertificate(file) => about(b"no certificate in", file),
            Error::NoKey(file) => about(b"no private key in", file),
            Error::Locked(file) => about(b"unable to decrypt the private key in", file),
            Error::Mismatch => b"the private key does not belong to the certificate".to_vec(),
            Error::Line(file, line) => [&about(b"unable to understand a line of", file), &b": "[..], line].concat(),
            Error::Ciphers(list) => about(b"none of these ciphers is available:", list),
            Error::Refused(why) => why.clone().into_bytes(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().escape_ascii().to_string())
    }
}

impl std::error::Error for Error {}

impl From<rustls::Error> for Error {
    fn from(e: rustls::Error) -> Error {
        match e {
            rustls::Error::InconsistentKeys(_) => Error::Mismatch,
            e => Error::Refused(e.to_string()),
        }
    }
}
