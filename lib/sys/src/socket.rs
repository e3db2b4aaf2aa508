//! Sockets beyond what std offers: listening with a chosen backlog and interface, connecting from a chosen address,
//! handing descriptors over.

use crate::poll::{Interest, wait};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The step at which [`listen`] failed, with what the system said.
#[derive(Debug)]
pub enum NoListener {
    /// No socket could be had.
    Create(io::Error),
    /// The address is not ours, not allowed, or taken.
    Bind(io::Error),
    /// The system refuses to listen.
    Listen(io::Error),
}

/// How [`listen`] is to listen.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Where. Port 0: any that is free.
    pub address: SocketAddr,
    /// For an IPv6 address: take IPv4 clients on the same socket, too.
    pub dual_stack: bool,
    /// How many connections may wait until they are accepted; the system has a limit of its own.
    pub backlog: u32,
}

/// Makes a listening socket, close-on-exec, that does not block in accept.
pub fn listen(how: &Listening) -> Result<TcpListener, NoListener> {
    let fd = stream_socket(how.address).map_err(NoListener::Create)?;
    let set = || -> nix::Result<()> {
        socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if how.address.is_ipv6() {
            socket::setsockopt(&fd, sockopt::Ipv6V6Only, &!how.dual_stack)?;
        }
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(how.address))
    };
    set().map_err(|e| NoListener::Bind(e.into()))?;
    let most = i32::try_from(how.backlog).unwrap_or(i32::MAX);
    let backlog = Backlog::new(most).unwrap_or(Backlog::MAXCONN);
    socket::listen(&fd, backlog).map_err(|e| NoListener::Listen(e.into()))?;
    Ok(TcpListener::from(fd))
}

/// Connects to `to` within `limit`, from the address `from` if one is given. The stream does not block.
pub fn connect(from: Option<IpAddr>, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    connect_from(from.map(|ip| SocketAddr::new(ip, 0)), to, limit)
}

/// Like [`connect`], from a chosen port as well; 0 is any. A port is taken even if a former connection still lingers.
pub fn connect_from(from: Option<SocketAddr>, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let fd = stream_socket(to)?;
    if let Some(address) = from {
        if address.port() != 0 {
            socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    }
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => return Ok(fd.into()),
        Err(nix::Error::EINPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let mut interest = Interest::write(fd.as_raw_fd());
    while wait(std::slice::from_mut(&mut interest), Some(end.saturating_duration_since(Instant::now())))? == 0 {
        if Instant::now() >= end {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
    }
    let stream = TcpStream::from(fd);
    match stream.take_error()? {
        None => Ok(stream),
        Some(e) => Err(e),
    }
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(family, SockType::Stream, flags, None)?)
}

/// Connects to the local socket at `path`, at once or not at all: a listener that has too many waiting already is an
/// error, too. The stream blocks.
pub fn connect_local(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(fd.as_raw_fd(), &socket::UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Writes to a local stream and hands `passed` over with the first of the bytes; returns how many were taken.
pub fn send_with_fd(stream: &UnixStream, bytes: &[u8], passed: RawFd) -> io::Result<usize> {
    let (data, fds) = ([IoSlice::new(bytes)], [passed]);
    let control = [socket::ControlMessage::ScmRights(&fds)];
    Ok(socket::sendmsg::<()>(stream.as_raw_fd(), &data, &control, socket::MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Reads from a local stream, once, and takes the descriptor that came along, if one did; close-on-exec. Of several
/// only the first is kept.
pub fn receive_with_fd(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut room = nix::cmsg_space!([RawFd; 4]);
    let mut data = [IoSliceMut::new(bytes)];
    let flags = socket::MsgFlags::MSG_CMSG_CLOEXEC;
    let message = socket::recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut room), flags)?;
    let mut passed = Vec::new();
    for control in message.cmsgs()? {
        if let socket::ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the system has just opened these descriptors for this process, and nobody else knows of them.
            passed.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, passed.into_iter().next()))
}

/// A socket that is read and written without ever waiting, whatever mode it is in: others may hold the same socket and
/// count on blocking. `ErrorKind::WouldBlock` when nothing can be done now; no SIGPIPE.
#[derive(Clone, Copy, Debug)]
pub struct Now(pub RawFd);

const NOW: socket::MsgFlags = socket::MsgFlags::MSG_DONTWAIT.union(socket::MsgFlags::MSG_NOSIGNAL);

impl io::Read for Now {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match socket::recv(self.0, bytes, NOW) {
                Err(nix::Error::EINTR) => {}
                r => return Ok(r?),
            }
        }
    }
}

impl io::Write for Now {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match socket::sendmsg::<()>(self.0, parts, &[], NOW, None) {
                Err(nix::Error::EINTR) => {}
                r => return Ok(r?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two connected local stream sockets, close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket::socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

/// Tells the other end of socket `fd` that nothing more will come. One that is gone already need not be told.
pub fn finish_writing(fd: RawFd) {
    let _ = socket::shutdown(fd, socket::Shutdown::Write);
}

/// Forgets the IP options (source routes) that the client of an IPv4 connection sent. Old systems may not know them at
/// all, so failure is no error.
pub fn kill_ip_options(stream: &TcpStream) {
    // SAFETY: with length 0 the kernel reads nothing through the null pointer.
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, std::ptr::null(), 0) };
}

/// The number of a network interface, as an IPv6 scope; `None` if there is no such interface.
pub fn interface_number(name: &[u8]) -> Option<u32> {
    nix::net::if_::if_nametoindex(OsStr::from_bytes(name)).ok()
}

/// The name of the network interface `number`.
pub fn interface_name(number: u32) -> Option<Vec<u8>> {
    Some(nix::net::if_::if_indextoname(number).ok()?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn listener(address: &str, dual_stack: bool) -> Result<TcpListener, NoListener> {
        listen(&Listening { address: address.parse().unwrap(), dual_stack, backlog: 100_000 })
    }

    #[test]
    fn a_stream_comes_from_the_address_it_was_told_to() {
        let server = listener("127.0.0.1:0", false).unwrap();
        server.set_nonblocking(false).unwrap();
        let to = server.local_addr().unwrap();
        let mut client = connect(Some("127.0.0.9".parse().unwrap()), to, Duration::from_secs(5)).unwrap();
        let (mut served, from) = server.accept().unwrap();
        assert_eq!(from.ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
        kill_ip_options(&served);
        client.write_all(b"x").unwrap();
        drop(client);
        let mut got = Vec::new();
        served.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"x");
    }

    #[test]
    fn the_failing_step_is_named() {
        let first = listener("127.0.0.1:0", false).unwrap();
        let taken = first.local_addr().unwrap().to_string();
        assert!(matches!(listener(&taken, false), Err(NoListener::Bind(_))));
        drop(first);
        let refused = connect(None, taken.parse().unwrap(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn nothing_waits_on_a_blocking_socket() {
        let (a, b) = pair().unwrap();
        let (mut a, mut b) = (Now(a.as_raw_fd()), Now(b.as_raw_fd()));
        let mut room = [0; 9];
        assert_eq!(a.read(&mut room).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(b.write_vectored(&[IoSlice::new(b"one"), IoSlice::new(b"two")]).unwrap(), 6);
        finish_writing(b.0);
        assert_eq!((a.read(&mut room).unwrap(), &room[..6]), (6, &b"onetwo"[..]));
        assert_eq!(a.read(&mut room).unwrap(), 0);
        while a.write(&[0; 4096]).is_ok() {}
        assert_eq!(a.write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_descriptor_goes_over_a_local_stream() {
        let dir = std::env::temp_dir().join(format!("local-{}", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&dir).unwrap();
        let to = connect_local(&dir).unwrap();
        let (from, _) = listener.accept().unwrap();
        std::fs::remove_file(&dir).unwrap();
        let (r, w) = crate::fd::pipe().unwrap();
        assert_eq!(send_with_fd(&to, b"hello", w.as_raw_fd()).unwrap(), 5);
        drop(w);
        let mut room = [0; 9];
        let (count, passed) = receive_with_fd(&from, &mut room).unwrap();
        assert_eq!(&room[..count], b"hello");
        std::fs::File::from(passed.unwrap()).write_all(b"x").unwrap();
        let mut got = String::new();
        std::fs::File::from(r).read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
        drop(to);
        assert!(matches!(receive_with_fd(&from, &mut room), Ok((0, None))));
        drop((from, listener));
        assert_eq!(connect_local(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn interfaces_have_numbers_and_names() {
        let number = interface_number(b"lo").unwrap();
        assert_eq!(interface_name(number), Some(b"lo".to_vec()));
        assert_eq!(interface_number(b"no such thing"), None);
    }
}
