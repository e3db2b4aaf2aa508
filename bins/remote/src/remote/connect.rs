//! Connections to servers: plain ones, and those that another process speaks TLS over.

use crate::hosts::Host;
use crate::settings::Settings;
use queue::tcpto;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use tunnel::{Failed, Failure, Request, Stream, Way};

/// Why there is no connection.
pub enum NoConnection {
    /// The host is away, or known to time out.
    Unreachable,
    /// The address of ours that is to be used can not be.
    NotBound(IpAddr),
}

/// Connects, unless the host is known to time out, and keeps that knowledge up to date.
pub fn connect(to: IpAddr, settings: &Settings, table: &tcpto::Table) -> Result<TcpStream, NoConnection> {
    let now = sys::time::now();
    let seen = table.look(to, now, std::process::id());
    if seen.skip {
        return Err(NoConnection::Unreachable);
    }
    let peer = SocketAddr::new(to, settings.route.port);
    let from = settings.source.address_for(&peer);
    let connected = match from {
        None => TcpStream::connect_timeout(&peer, settings.connect),
        Some(_) => sys::socket::connect_from(from, peer, settings.connect).and_then(|stream| {
            stream.set_nonblocking(false)?;
            Ok(stream)
        }),
    };
    if let (Some(from), Err(e)) = (from, &connected)
        && e.kind() == io::ErrorKind::AddrNotAvailable
    {
        return Err(NoConnection::NotBound(from.ip()));
    }
    // The table is a help only: a failure to write it must not stop a delivery.
    let _ = match &connected {
        Err(e) if e.kind() == io::ErrorKind::TimedOut => table.timed_out(to, sys::time::now()),
        _ if seen.known => table.reached(to),
        _ => Ok(()),
    };
    let stream = connected.map_err(|_| NoConnection::Unreachable)?;
    let set = stream.set_read_timeout(Some(settings.remote)).is_ok()
        && stream.set_write_timeout(Some(settings.remote)).is_ok()
        && stream.set_nodelay(true).is_ok();
    if set { Ok(stream) } else { Err(NoConnection::Unreachable) }
}

/// Starts TLS as the settings demand. An error is the record for the message.
pub fn secure(stream: Stream, host: &Host, settings: &Settings) -> Result<Stream, Vec<u8>> {
    let request = request(host, settings);
    let waiting = settings.queue.join(tunnel::DIRECTORY);
    let way = Way { program: &settings.tlsc, waiting: Some(&waiting) };
    stream.secure(&request, way, settings.remote).map_err(|failed| failed.record(&request))
}

/// The record for a server that is to speak TLS and does not offer it.
pub fn not_offered(host: &Host, settings: &Settings) -> Vec<u8> {
    Failed::from(Failure::NotOffered).record(&request(host, settings))
}

fn request(host: &Host, settings: &Settings) -> Request {
    Request {
        host: settings.route.host.clone(),
        // The name under which the records were found, if there were any (RFC 7672 8.1).
        server: settings.tlsa.names.first().unwrap_or(&host.exchanger.name).clone(),
        peer: SocketAddr::new(host.address, settings.route.port),
        policy: settings.policy.clone(),
        credentials: settings.credentials.clone(),
        tlsa: settings.tlsa.clone(),
    }
}
