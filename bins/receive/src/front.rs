//! What the two servers that speak netstrings have in common: the client's description, and the queue's answer.

use queue::Verdict;
use smtp::server::Tls;
use smtp::server::received::Trace;
use std::io;
use sys::env;

/// The longest address (bytes).
pub const ADDRESS_MAX: usize = 999;
/// How long a session may take in all, in seconds (spec/reliability.md N4).
pub const SESSION_SECS: u32 = 3600;

/// Why a session ends before its time.
pub enum Stop {
    /// What the client sends makes no sense, or ended.
    Broken(qmtp::Broken),
    /// Something of this host fails.
    Trouble,
    /// The client takes no answers any more.
    Gone,
}

impl From<qmtp::Broken> for Stop {
    fn from(broken: qmtp::Broken) -> Stop {
        Stop::Broken(broken)
    }
}

impl Stop {
    /// What the program ends with: a client that hangs up is no error, whenever it does.
    pub fn exit(&self) -> sys::Exit {
        match self {
            Stop::Broken(qmtp::Broken::Ended) | Stop::Gone => sys::Exit::OK,
            Stop::Broken(qmtp::Broken::Malformed) => sys::Exit::PERMANENT,
            Stop::Broken(qmtp::Broken::TooLong) | Stop::Trouble => sys::Exit::TEMPORARY,
        }
    }
}

/// Reports what failed; to the client nothing is said.
pub fn trouble(what: &[&[u8]], e: &io::Error) -> Stop {
    sys::error::complain(&[b"fatal: ", &what.concat(), b": ", sys::error::text(e).as_bytes()]);
    Stop::Trouble
}

/// The connection: its ends, and what is known of TLS.
pub struct Connection {
    /// A client with a certificate is known by its name there.
    pub ends: smtp::server::Connection,
    /// `None`: there is none.
    pub tls: Option<Tls>,
}

impl Connection {
    /// From the environment.
    pub fn from_environment() -> Connection {
        let (mut ends, tls) = (smtp::server::Connection::read(env::get), Tls::read(env::get));
        if let Some(name) = tls.as_ref().and_then(|tls| tls.client.clone()) {
            ends.remote_info = Some(name);
        }
        Connection { ends, tls }
    }

    /// The trace field of a message that comes now.
    pub fn trace(&self, protocol: &[u8]) -> Vec<u8> {
        let trace = Trace {
            remote_host: &self.ends.remote_host,
            helo: None,
            remote_info: self.ends.remote_info.as_deref(),
            remote_ip: &self.ends.remote_ip,
            tls: self.tls.as_ref().map(|tls| tls.info.as_slice()),
            local: &self.ends.local,
            protocol,
        };
        trace.field(sys::time::now())
    }
}

/// The answer to the client. Its first letter decides about the mail: K for queued and for nothing else, so a queue
/// program with a text of its own can not say it by mistake.
pub fn answer(verdict: Verdict, qp: i32) -> Vec<u8> {
    match verdict {
        Verdict::Queued => format!("Kok {} qp {qp}", sys::time::now()).into_bytes(),
        Verdict::Refused(text) if matches!(text.first(), Some(b'D' | b'Z')) => text,
        Verdict::Refused(text) => [b"Z", text.as_slice()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queued_message_is_acknowledged() {
        assert!(answer(Verdict::Queued, 17).starts_with(b"Kok "));
        assert!(answer(Verdict::Queued, 17).ends_with(b" qp 17"));
        for (text, want) in [("Dno", "Dno"), ("Zlater", "Zlater"), ("Kyes", "ZKyes"), ("", "Z"), ("no", "Zno")] {
            assert_eq!(answer(Verdict::Refused(text.into()), 17), want.as_bytes());
        }
    }
}
