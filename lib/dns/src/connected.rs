//! The sockets the engine asks with: connected ones.
//!
//! hickory leaves its UDP sockets unconnected, and so never hears that nobody listens on the server's port: every
//! attempt would wait for the whole time limit. On a connected socket the system reports the refusal at once, and
//! drops what other hosts send.

use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

/// hickory's own provider of sockets and timers, but for [`RuntimeProvider::bind_udp`].
#[derive(Clone, Default)]
pub struct Connected(TokioRuntimeProvider);

impl RuntimeProvider for Connected {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        self.0.connect_tcp(server, from, limit)
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        Box::pin(async move {
            let socket = tokio::net::UdpSocket::bind(local).await?;
            // The trait advises against this for the sake of systems on which sending with an address then fails;
            // Linux ignores the address if it is the connected one.
            socket.connect(server).await?;
            Ok(socket)
        })
    }
}
