//! One connection: bytes go from the plain stream to the TLS one and back.

use crate::demands::refused;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use sys::poll::Interest;
use tls::client::Refusal;
use tls::{ClientConnection, HandshakeKind};
use tunnel::{Agreed, Failed, Failure, HANDSHAKE_SECS};

/// What one read from the sender asks for (bytes): one TLS record.
const BLOCK: usize = 16384;
/// How long the last bytes may take on their way after the sender has gone, in seconds.
const FLUSH_SECS: u64 = 60;

/// The two streams with TLS between them.
pub struct Link {
    plain: UnixStream,
    network: TcpStream,
    tls: ClientConnection,
    /// When this must be over, unless it is open for use.
    pub deadline: Option<Instant>,
    /// What the sender is to get: the answer to its request, then what the server says.
    out: Vec<u8>,
    state: State,
    /// The sender says no more.
    sender_gone: bool,
    /// The server says no more.
    server_gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Shaking,
    Open,
    /// It only remains to say so.
    Failed,
    Over,
}

impl Link {
    /// A connection before its handshake. `None`: the streams are of no use.
    pub fn new(plain: UnixStream, network: TcpStream, tls: ClientConnection) -> Option<Link> {
        plain.set_nonblocking(true).ok()?;
        network.set_nonblocking(true).ok()?;
        let deadline = Some(Instant::now() + Duration::from_secs(HANDSHAKE_SECS));
        let state = State::Shaking;
        Some(Link { plain, network, tls, deadline, out: vec![], state, sender_gone: false, server_gone: false })
    }

    /// Whether the handshake has succeeded.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether there is nothing left to do.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What to wait for: network, then the sender. Only as much is read from one side as the other has taken.
    pub fn interests(&self) -> [Interest; 2] {
        let network = Interest {
            read: !self.server_gone && !self.sender_gone && self.out.is_empty() && self.state != State::Failed,
            write: self.tls.wants_write(),
            ..Interest::read(self.network.as_raw_fd())
        };
        let plain = Interest {
            read: self.is_open() && !self.sender_gone && !self.tls.wants_write(),
            write: !self.out.is_empty(),
            ..Interest::read(self.plain.as_raw_fd())
        };
        // A stream that has hung up is always ready, even if nothing is wanted of it.
        [network, plain].map(|i| if i.read || i.write { i } else { Interest { fd: -1, ..i } })
    }

    /// Moves what can be moved, after waiting.
    pub fn step(&mut self, ready: &[Interest]) {
        let [network, plain] = ready else { return };
        if network.readable {
            self.hear_network();
        }
        if plain.readable {
            self.hear_sender();
        }
        if self.tls.wants_write() && (network.writable || plain.readable) {
            self.tell_network();
        }
        if self.state == State::Shaking && !self.tls.is_handshaking() {
            self.opened();
        }
        if !self.out.is_empty() {
            self.tell_sender();
        }
        if self.deadline.is_some_and(|end| Instant::now() >= end) {
            match self.state {
                State::Shaking => {
                    let reason = sys::error::text(&io::ErrorKind::TimedOut.into()).into();
                    self.fail(Failed { failure: Failure::Connection, reason });
                    self.tell_sender();
                    self.state = State::Over;
                }
                _ => self.state = State::Over,
            }
        }
        let all_is_sent = !self.tls.wants_write();
        let all_is_told = self.out.is_empty();
        match self.state {
            State::Failed if all_is_told => self.state = State::Over,
            State::Open if self.server_gone && all_is_told || self.sender_gone && all_is_sent => {
                self.state = State::Over;
            }
            _ => {}
        }
    }

    fn opened(&mut self) {
        let protocol = match self.tls.protocol_version() {
            Some(tls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = self.tls.negotiated_cipher_suite().and_then(|s| tls::ciphers::openssl_name(s.suite()));
        let agreed = Agreed {
            protocol: protocol.into(),
            cipher: cipher.map_or(Vec::new(), |(name, _)| name.to_vec()),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        };
        // In front of what the server has said already.
        self.out.splice(..0, Agreed::encode(&Ok(agreed)));
        self.state = State::Open;
        self.deadline = None;
    }

    fn hear_network(&mut self) {
        match self.tls.read_tls(&mut self.network) {
            Ok(0) => self.ended(None),
            Ok(_) => self.look_at_packets(),
            Err(e) if is_for_later(&e) => {}
            Err(e) => self.ended(Some(&e)),
        }
    }

    fn look_at_packets(&mut self) {
        match self.tls.process_new_packets() {
            Ok(state) => {
                let there = state.plaintext_bytes_to_read();
                let start = self.out.len();
                self.out.resize(start + there, 0);
                let taken = self.out.get_mut(start..).map(|room| self.tls.reader().read_exact(room));
                self.server_gone |= state.peer_has_closed() || matches!(taken, Some(Err(_)));
            }
            Err(e) => {
                // The server is told why, if it listens.
                let _ = self.tls.write_tls(&mut self.network);
                match self.state {
                    State::Shaking => self.fail(refused(Refusal::of(&e), e.to_string())),
                    // What came before the broken record was good; then the connection ends for the sender.
                    _ => self.server_gone = true,
                }
            }
        }
    }

    /// Nothing more comes from the server.
    fn ended(&mut self, e: Option<&io::Error>) {
        self.server_gone = true;
        if self.state == State::Shaking {
            let reason = e.map_or(&b"connection closed by the server"[..], |e| sys::error::text(e).as_bytes()).to_vec();
            self.fail(Failed { failure: Failure::Connection, reason });
        }
    }

    fn fail(&mut self, failed: Failed) {
        self.out = Agreed::encode(&Err(failed));
        self.state = State::Failed;
        self.deadline = Some(Instant::now() + Duration::from_secs(FLUSH_SECS));
    }

    fn hear_sender(&mut self) {
        let mut block = [0; BLOCK];
        match self.plain.read(&mut block) {
            Ok(0) => self.sender_left(),
            Ok(n) => {
                if self.tls.writer().write_all(block.get(..n).unwrap_or_default()).is_err() {
                    self.state = State::Over;
                }
            }
            Err(e) if is_for_later(&e) => {}
            Err(_) => self.sender_left(),
        }
    }

    fn sender_left(&mut self) {
        self.sender_gone = true;
        self.out.clear();
        self.tls.send_close_notify();
        self.deadline = Some(Instant::now() + Duration::from_secs(FLUSH_SECS));
    }

    fn tell_network(&mut self) {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.network) {
                Ok(_) => {}
                Err(e) if is_for_later(&e) => return,
                Err(e) if self.state == State::Shaking => return self.ended(Some(&e)),
                Err(_) => {
                    // The server may have said why before it went: that is still to be read.
                    self.state = if self.server_gone || self.sender_gone { State::Over } else { self.state };
                    self.server_gone = true;
                    return;
                }
            }
        }
    }

    fn tell_sender(&mut self) {
        match self.plain.write(&self.out) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(e) if is_for_later(&e) => {}
            Err(_) => {
                self.out.clear();
                if self.is_open() && !self.sender_gone {
                    // It may have left a last word behind.
                    self.hear_sender();
                } else {
                    self.state = State::Over;
                }
            }
        }
    }
}

fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
