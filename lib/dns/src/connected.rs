//! The sockets the engine asks with: connected ones.
//!
//! hickory leaves its UDP sockets unconnected, and so never hears that nobody listens on the server's port: every
//! attempt would wait for the whole time limit. On a connected socket the system reports the refusal at once, and
//! drops what other hosts send.

use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;

type Soon<'a, T> = Pin<Box<dyn Send + Future<Output = io::Result<T>> + 'a>>;

/// hickory's own provider of sockets and timers, but for the UDP sockets, and for one server.
#[derive(Clone, Default)]
pub struct Connected {
    tokio: TokioRuntimeProvider,
    scope: u32,
}

impl Connected {
    /// Sockets to a server behind the interface with this number, where its address needs one to be told; 0: none.
    pub fn behind(scope: u32) -> Connected {
        Connected { scope, ..Connected::default() }
    }

    /// hickory knows addresses without interfaces only.
    fn scoped(&self, mut server: SocketAddr) -> SocketAddr {
        if let SocketAddr::V6(server) = &mut server {
            server.set_scope_id(self.scope);
        }
        server
    }
}

impl RuntimeProvider for Connected {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Socket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Soon<'static, Self::Tcp> {
        self.tokio.connect_tcp(self.scoped(server), from, limit)
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Soon<'static, Socket> {
        let server = self.scoped(server);
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            // The trait advises against this for the sake of systems on which sending with an address then fails.
            // Linux takes the address if it is the connected one.
            socket.connect(server).await?;
            Ok(Socket(socket))
        })
    }
}

/// A connected UDP socket.
pub struct Socket(UdpSocket);

impl DnsUdpSocket for Socket {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.0, cx, buf)
    }

    /// Waits for a packet or an error; the runtime's own receiving waits for packets only.
    fn recv_from<'a, 'b, 'c>(&'a self, buf: &'b mut [u8]) -> Soon<'c, (usize, SocketAddr)>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            loop {
                let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
                if ready.is_error() {
                    return Err(self.0.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
                }
                match self.0.try_recv_from(buf) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
            }
        })
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.0, cx, buf, target)
    }
}
