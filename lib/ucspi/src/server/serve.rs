//! The loop of a server: accept, count, and see children end.

use crate::Verbosity;
use crate::ends::canonical;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;
use sys::error::text;
use sys::poll::Interest;
use sys::process::{self, Pid};
use sys::signal::{self, SIGCHLD, SIGPIPE, SIGTERM};

/// How long to rest when the system has no descriptors or memory for another connection.
const SCARCE_REST: Duration = Duration::from_secs(1);

/// What differs from server to server.
pub trait Service {
    /// How much the server says.
    fn verbosity(&self) -> Verbosity;

    /// Says a line on behalf of the server.
    fn say(&self, line: &[u8]);

    /// Starts whatever serves a connection; `present` is how many its client has already. `None`: nothing runs.
    fn start(&mut self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Option<Pid>;

    /// Called whenever the loop has woken up, before a connection is accepted.
    fn awake(&mut self) {}
}

/// To be called before anything else may fail: children that end and SIGTERM are noticed from now on, and a program that
/// is gone is no signal but an error.
pub fn catch_signals() -> io::Result<()> {
    for caught in [SIGCHLD, SIGTERM] {
        signal::catch(caught)?;
    }
    signal::ignore(SIGPIPE);
    Ok(())
}

/// In a child that goes on to do something else: signals as they were before [`catch_signals`], but for SIGPIPE.
pub fn release_signals() {
    signal::default(SIGTERM);
    signal::default(SIGCHLD);
    signal::unblock_all();
}

/// Accepts until SIGTERM, and never more than `limit` at a time. An `Err`: waiting fails.
pub fn serve(service: &mut impl Service, listener: &TcpListener, limit: usize) -> io::Result<()> {
    let mut children: Vec<(Pid, IpAddr)> = Vec::new();
    say_status(service, 0, limit);
    loop {
        while let Some((pid, ended)) = process::reap_status() {
            if service.verbosity() == Verbosity::All {
                service.say(format!("end {} status {ended}", pid.0).as_bytes());
            }
            children.retain(|(child, _)| *child != pid);
            say_status(service, children.len(), limit);
        }
        if signal::take(SIGTERM) {
            return Ok(());
        }
        let full = children.len() >= limit;
        let mut interest = Interest::read(if full { -1 } else { listener.as_raw_fd() });
        sys::poll::wait(std::slice::from_mut(&mut interest), None)?;
        service.awake();
        if !interest.readable {
            continue;
        }
        match listener.accept() {
            Ok((stream, remote)) => {
                say_status(service, children.len() + 1, limit);
                let client = canonical(remote.ip());
                let present = children.iter().filter(|(_, ip)| *ip == client).count();
                match service.start(&stream, remote, present) {
                    Some(pid) => children.push((pid, client)),
                    None => say_status(service, children.len(), limit),
                }
            }
            // The client is gone again, or a signal came.
            Err(e) if is_passing(&e) => {}
            Err(e) => {
                if service.verbosity() > Verbosity::Nothing {
                    service.say(format!("warning: unable to accept: {}", text(&e)).as_bytes());
                }
                // A child that ends wakes us up early. If waiting fails, so it will in the loop.
                let _ = sys::poll::wait(&mut [], Some(SCARCE_REST));
            }
        }
    }
}

fn say_status(service: &impl Service, count: usize, limit: usize) {
    if service.verbosity() == Verbosity::All {
        service.say(format!("status: {count}/{limit}").as_bytes());
    }
}

fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(e.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}
