//! qmail-tlsc: speaks TLS with a server for a program that sends mail.
//!
//! Started by qmail-remote, qmail-qmqpc and qmail-smtpam, as their user, for a connection that is to have TLS (lib/tunnel
//! has the whole conversation). fds 0 and 1: a local stream, over which first a request and the connection come, and then,
//! after the handshake, the plain bytes go both ways. With -l fd 3 is a local socket: further connections for the same
//! request come in there, and this process waits for them for a while, since it has the session to resume.
//!
//! Files: the authorities, certificate and key that the request names, read before the first byte is sent. After that it
//! can open nothing, connect to nothing and start nothing (sys::cage), for then a stranger begins to talk.
//!
//! Exit codes: 0 at the end; 100 wrong arguments; 111 no request came.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod demands;
mod link;

use link::Link;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use sys::Exit;
use sys::poll::Interest;
use tls::client::Client;
use tunnel::{Agreed, OTHER, REQUEST_MAX, Request, TAKEN};
use zeroize::Zeroizing;

/// How long this process waits for another connection, in seconds: mail for one server comes in bursts.
const IDLE_SECS: u64 = 120;
/// How long it takes connections at all, in seconds. A session should not be resumed for ever, nor a program that has been
/// replaced run on.
const LIFE_SECS: u64 = 3600;
/// The most connections at a time; further ones wait, or get a process of their own.
const LINKS_MAX: usize = 64;
/// How long a request may take to come in, in seconds. The sender has it ready when it connects.
const REQUEST_SECS: u64 = 2;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let listens = match args[..] {
        [] => false,
        [b"-l"] => true,
        _ => return Exit::PERMANENT,
    };
    sys::signal::ignore(sys::signal::SIGPIPE);
    sys::process::no_core_dumps();
    sys::process::no_looking_in();
    sys::process::no_new_privileges();
    // Number 1 is the same stream; as long as it is open the sender would never see the end.
    sys::fd::close(1);
    let plain = UnixStream::from(sys::fd::Fd(0).own());
    let listener = listens.then(|| UnixListener::from(sys::fd::Fd(3).own()));
    let Some((encoded, network)) = receive(&plain) else { return Exit::TEMPORARY };
    let Ok(Some(request)) = Request::decode(&encoded) else { return Exit::TEMPORARY };
    if (&plain).write_all(&[TAKEN]).is_err() {
        return Exit::TEMPORARY;
    }
    match demands::client(&request) {
        Ok(client) => {
            let mut server = Server::new(encoded, request, client, listener);
            sys::cage::only_to_go_on(&[sys::cage::ACCEPT, sys::cage::STAT]);
            server.begin(plain, network);
            server.serve();
        }
        Err(failed) => {
            // A sender that does not read its answer is not to be helped.
            let _ = (&plain).write_all(&Agreed::encode(&Err(failed)));
        }
    }
    Exit::OK
}

/// Reads a request, and takes the connection that comes with it.
fn receive(plain: &UnixStream) -> Option<(Zeroizing<Vec<u8>>, TcpStream)> {
    plain.set_read_timeout(Some(Duration::from_secs(REQUEST_SECS))).ok()?;
    let mut bytes = Zeroizing::new(vec![0; REQUEST_MAX + 16]);
    let mut length = 0;
    let mut network: Option<OwnedFd> = None;
    loop {
        let (count, passed) = sys::socket::receive_with_fd(plain, bytes.get_mut(length..)?).ok()?;
        length += count;
        network = network.or(passed);
        match Request::decode(bytes.get(..length)?) {
            Ok(Some(_)) => break,
            Ok(None) if count > 0 => {}
            _ => return None,
        }
    }
    bytes.truncate(length);
    Some((bytes, TcpStream::from(network?)))
}

/// All connections of this process: to one server, under one set of demands.
struct Server {
    encoded: Zeroizing<Vec<u8>>,
    request: Request,
    client: Client,
    files: Vec<demands::Stamp>,
    listener: Option<UnixListener>,
    links: Vec<Link>,
    /// When the last connection ended, or was asked for.
    used: Instant,
    born: Instant,
    /// A handshake was finished: there is a reason to wait.
    is_of_use: bool,
}

impl Server {
    fn new(encoded: Zeroizing<Vec<u8>>, request: Request, client: Client, listener: Option<UnixListener>) -> Server {
        let files = demands::stamps(&request);
        let now = Instant::now();
        Server { encoded, request, client, files, listener, links: vec![], used: now, born: now, is_of_use: false }
    }

    fn begin(&mut self, plain: UnixStream, network: TcpStream) {
        match self.client.connect(&self.request.server, self.request.peer.ip()) {
            Ok(tls) => self.links.extend(Link::new(plain, network, tls)),
            Err(e) => {
                let failed = demands::failed(&self.request, &e);
                let _ = (&plain).write_all(&Agreed::encode(&Err(failed)));
            }
        }
    }

    /// Until there is nothing left to do and nothing to wait for.
    fn serve(&mut self) {
        loop {
            let now = Instant::now();
            let waits_until =
                (self.used + Duration::from_secs(IDLE_SECS)).min(self.born + Duration::from_secs(LIFE_SECS));
            if now >= self.born + Duration::from_secs(LIFE_SECS) {
                self.listener = None;
            }
            let is_waiting = self.links.is_empty();
            if is_waiting && (self.listener.is_none() || !self.is_of_use || now >= waits_until) {
                return;
            }
            let mut list: Vec<Interest> = self.links.iter().flat_map(Link::interests).collect();
            let own = self.listener.as_ref().filter(|_| self.links.len() < LINKS_MAX);
            list.extend(own.map(|l| Interest::read(l.as_raw_fd())));
            let end = self.links.iter().filter_map(|l| l.deadline).chain(is_waiting.then_some(waits_until)).min();
            if sys::poll::wait(&mut list, end.map(|end| end.saturating_duration_since(now))).is_err() {
                return;
            }
            let (of_links, of_listener) = list.split_at(self.links.len() * 2);
            for (link, ready) in self.links.iter_mut().zip(of_links.chunks_exact(2)) {
                link.step(ready);
                self.is_of_use |= link.is_open();
            }
            let before = self.links.len();
            self.links.retain(|l| !l.is_over());
            if self.links.len() < before {
                self.used = Instant::now();
            }
            if of_listener.iter().any(|i| i.readable) {
                self.accept();
            }
        }
    }

    /// Takes another connection, if it is for the same.
    fn accept(&mut self) {
        let Some(Ok((plain, _))) = self.listener.as_ref().map(UnixListener::accept) else { return };
        // Somebody may only have looked whether anybody is there.
        let Some((encoded, network)) = receive(&plain) else { return };
        let is_fresh = demands::stamps(&self.request) == self.files;
        let answer = if encoded == self.encoded && is_fresh { TAKEN } else { OTHER };
        if !is_fresh {
            // A new authority or certificate: a new process.
            self.listener = None;
        }
        if (&plain).write_all(&[answer]).is_ok() && answer == TAKEN {
            self.used = Instant::now();
            self.begin(plain, network);
        }
    }
}
