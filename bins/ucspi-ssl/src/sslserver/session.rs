//! One connection: the child that judges the client, starts the program, and then handles TLS as somebody who can do
//! nothing else.

use crate::Server;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::fd::Fd;
use sys::process::{self, Ended, Fork, Gid, Pid, Uid};
use sys::signal::{self, SIGCHLD, SIGHUP};
use sys::spawn::Program;
use tls::facts::{self, Peer};
use tls::pump::{self, Inner};
use tls::server::Wanted;
use ucspi::Verbosity;
use ucspi::ends::Names;
use ucspi::server::{self, Connection, Verdict};

/// Where a program finds its ends of UCSPI-TLS: out of the way of the numbers that programs use themselves, and small
/// enough for a shell, where a number has one digit.
const CONTROL_FD: i32 = 7;
const READ_FD: i32 = 8;
const WRITE_FD: i32 = 9;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";
/// The most that a program is told about a session (bytes).
const FACTS_MAX: u64 = 1 << 20;

/// A program that runs, or waits to.
struct Running {
    pid: Pid,
    /// Our end of the control socket.
    control: OwnedFd,
    /// Our ends of its two pipes.
    inner: Inner,
}

/// The program's ends.
struct Theirs {
    control: OwnedFd,
    read: OwnedFd,
    write: OwnedFd,
}

/// A connection in the child that was made for it.
pub struct Session<'a> {
    server: &'a Server<'a>,
    stream: TcpStream,
    connection: Connection,
}

impl<'a> Session<'a> {
    /// The whole life of the child.
    pub fn run(server: &'a Server<'a>, stream: &TcpStream, remote: SocketAddr, present: usize) -> Exit {
        server::release_signals();
        signal::default(SIGHUP);
        let options = &server.options.common;
        // A socket bound to one address has no other: no need to ask for each connection.
        let local = if server.bound.ip().is_unspecified() { stream.local_addr() } else { Ok(server.bound) };
        let local = match local {
            Ok(local) => local,
            Err(e) => return server.drop_early(&[b"unable to get local address: ", text(&e).as_bytes()]),
        };
        let mut connection = Connection::new(options, remote, local);
        let pid = process::pid().0.to_string();
        server.say(&[b"pid ", pid.as_bytes(), &connection.log_from()]);
        server.set_options(stream);
        if server.options.delayed
            && let Err(e) = sys::fd::write_all(stream.as_raw_fd(), options.banner)
        {
            return server.drop_early(&[b"unable to print banner: ", text(&e).as_bytes()]);
        }
        if options.remote_host || options.remote_info || options.local_name.is_none() {
            connection.look_up(options);
        }
        let verdict = match connection.judge(options, present) {
            Ok(verdict) => verdict,
            Err(e) => {
                let file = options.rules.unwrap_or_default();
                return server.drop_early(&[b"unable to read ", file, b": ", text(&e).as_bytes()]);
            }
        };
        let word: &[u8] = if matches!(verdict, Verdict::Deny) { b"deny " } else { b"ok " };
        server.say(&[word, pid.as_bytes(), &connection.log_ends()]);
        let Verdict::Serve(rule) = verdict else { return Exit::PERMANENT };
        // From here on it is this child's own: its parent's value is never dropped here, for the child does not return.
        let stream = TcpStream::from(Fd(stream.as_raw_fd()).own());
        let names = if server.options.tcp_variables { Names::Both } else { Names::Ssl };
        let env = connection.environment(&server.env, names, rule.as_ref());
        let wanted = server.wanted(rule.as_ref());
        let session = Session { server, stream, connection };
        if server.options.delayed { session.delayed(env, wanted) } else { session.at_once(env, wanted) }
    }

    /// TLS first, then the program.
    fn at_once(self, env: Env, wanted: Wanted) -> Exit {
        let running = match self.program_in_waiting(env) {
            Ok(running) => running,
            Err(e) => return self.server.drop_early(&[b"unable to fork: ", text(&e).as_bytes()]),
        };
        if let Err(reason) = self.lock_in() {
            return self.server.drop_early(&[&reason]);
        }
        match self.accept(wanted, self.server.options.ssl_variables) {
            Ok((connection, told)) => {
                // Nobody there: the pump will notice.
                let _ = Fd(running.control.as_raw_fd()).write_all(&told);
                self.pump(connection, running, self.server.options.common.banner)
            }
            // Whoever waits sees the end of the control socket, and goes.
            Err(code) => code,
        }
    }

    /// The program first, with the bare connection; TLS when it asks (UCSPI-TLS).
    fn delayed(self, mut env: Env, wanted: Wanted) -> Exit {
        for (name, number) in [("SSLCTLFD", CONTROL_FD), ("SSLREADFD", READ_FD), ("SSLWRITEFD", WRITE_FD)] {
            env.set(name.as_bytes(), number.to_string().as_bytes());
        }
        let running = match self.start_program(env) {
            Ok(running) => running,
            Err(e) => return self.unable_to_run(&e),
        };
        if let Err(reason) = self.lock_in() {
            return self.server.drop_early(&[&reason]);
        }
        let mut command = [0];
        let wish = Fd(running.control.as_raw_fd()).read(&mut command);
        if !matches!((&wish, command), (Ok(1), [b'y' | b'Y'])) {
            // The program has ended, or wants something that nobody knows: then there is no TLS for it.
            let Running { pid, control, inner } = running;
            drop((control, inner, self.stream));
            let _ = process::wait(pid);
            return Exit::OK;
        }
        match self.accept(wanted, command == [b'Y']) {
            Ok((connection, told)) => {
                if command == [b'Y'] && Fd(running.control.as_raw_fd()).write_all(&told).is_err() {
                    return Exit::OK;
                }
                self.pump(connection, running, b"")
            }
            // The program must not go on in the clear, and does not: it gets SIGTERM as this process ends.
            Err(code) => code,
        }
    }

    /// The handshake, and what the program is told of it (two NULs if `tell` is not set).
    fn accept(&self, wanted: Wanted, tell: bool) -> Result<(tls::Connection, Vec<u8>), Exit> {
        let server = self.server;
        let failed = |reason: &[u8]| self.drop_late(&[b"unable to accept TLS: ", reason]);
        let mut connection = server.tls.connection(wanted).map_err(|e| failed(&e.text()))?;
        pump::handshake(&mut connection, self.stream.as_raw_fd(), server.options.handshake_limit)
            .map_err(|e| failed(e.text().as_bytes()))?;
        let peer = if wanted == Wanted::Nothing { Peer::Unknown } else { server.tls.judge(&connection) };
        if wanted == Wanted::GoodCertificate && peer != Peer::Verified {
            return Err(failed(b"no client certificate"));
        }
        if wanted == Wanted::GoodCertificate && server.options.named && server.options.common.remote_host {
            let name = self.connection.remote_name();
            let first = connection.peer_certificates().and_then(|c| c.first());
            if !first.is_some_and(|c| tls::server::is_named(c, name)) {
                return Err(failed(&[b"client hostname does not match certificate: ", name].concat()));
            }
        }
        let pid = process::pid().0.to_string();
        if server.options.tell_cipher {
            let (protocol, (cipher, _)) = (facts::protocol(&connection), facts::cipher(&connection));
            server.say(&[b"ssl ", pid.as_bytes(), b" accept ", protocol.as_bytes(), b":", cipher]);
        } else {
            server.say(&[b"ssl ", pid.as_bytes(), b" accept"]);
        }
        let told = if tell { facts::variables(&mut connection, &server.tls.shown(), &peer) } else { Vec::new() };
        Ok((connection, facts::as_text(&told)))
    }

    /// Everything after the handshake: until both sides have finished, or one of them is gone.
    fn pump(&self, mut connection: tls::Connection, running: Running, banner: &[u8]) -> Exit {
        let Running { pid, control, inner } = running;
        drop(control);
        if signal::catch(SIGCHLD).is_err() || connection.writer().write_all(banner).is_err() {
            return Exit::TEMPORARY;
        }
        let mut ended = None;
        let mut has_ended = || {
            if ended.is_none() {
                ended = process::reap().filter(|(child, _)| *child == pid).map(|(_, how)| how);
            }
            ended.is_some()
        };
        let limit = self.server.options.idle_limit;
        let result = pump::run(&mut connection, self.stream.as_raw_fd(), inner, limit, &mut has_ended);
        // With an Err this process ends, and the program gets SIGTERM.
        if let Err(trouble) = result {
            return self.drop_late(&[b"unable to speak TLS: ", trouble.text().as_bytes()]);
        }
        // The client need not wait for what the program still has to do.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let how = ended.map_or_else(|| process::wait(pid), Ok);
        match how {
            Ok(Ended::Exit(code)) => Exit(code),
            _ => Exit::TEMPORARY,
        }
    }

    /// Gives up everything but the connection. Root stays behind: with no more than SSL_CHROOT to see, as SSL_UID, and
    /// never as anybody else again. What is left are system calls on descriptors that are open, and waiting for the
    /// program: no file, no socket, no program, no process can be had or touched any more.
    fn lock_in(&self) -> Result<(), Vec<u8>> {
        let around = &self.server.surroundings;
        if let Some(dir) = &around.chroot {
            use std::os::unix::ffi::OsStrExt;
            let dir = Path::new(std::ffi::OsStr::from_bytes(dir));
            process::chroot(dir).map_err(|e| server::failed("unable to chroot", &e))?;
        }
        around.handler.assume()?;
        process::no_new_privileges();
        // Taking on an identity has that effect already; without one it is needed against others of the same user.
        process::no_looking_in();
        sys::cage::only_to_go_on(&[sys::cage::CHILDREN]);
        Ok(())
    }

    fn ends() -> io::Result<(OwnedFd, Inner, Theirs)> {
        let (ours, control) = sys::socket::pair()?;
        let (read, to) = sys::fd::pipe()?;
        let (from, write) = sys::fd::pipe()?;
        Ok((ours, Inner { to, from }, Theirs { control, read, write }))
    }

    fn program(&self, env: Env) -> io::Result<Program> {
        let argv = self.server.options.common.program;
        let name = argv.first().copied().unwrap_or_default();
        let path = self.server.env.get(b"PATH").unwrap_or(PATH);
        let file = sys::spawn::search(name, path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // This process will be too much of a nobody to send it a signal.
        let program = Program::new(&file, argv)?.env(env).ends_with_parent();
        Ok(match self.server.program_ids {
            Some((uid, gid)) => program.ids(uid, gid),
            None => program,
        })
    }

    /// Starts the program with the bare connection.
    fn start_program(&self, env: Env) -> io::Result<Running> {
        let (control, inner, theirs) = Session::ends()?;
        let net = self.stream.as_raw_fd();
        let program = self.program(env)?.fd(0, net).fd(1, net);
        let program = program.fd(CONTROL_FD, theirs.control.as_raw_fd());
        let program = program.fd(READ_FD, theirs.read.as_raw_fd()).fd(WRITE_FD, theirs.write.as_raw_fd());
        let pid = program.start()?;
        Ok(Running { pid, control, inner })
    }

    /// Makes a child that becomes the program when it is told about the session, which is after the handshake. Until
    /// then it is what this process is now, since whoever shakes hands may not make anybody anything any more.
    fn program_in_waiting(&self, env: Env) -> io::Result<Running> {
        let (control, inner, theirs) = Session::ends()?;
        match process::fork()? {
            Fork::Parent(pid) => Ok(Running { pid, control, inner }),
            Fork::Child => {
                drop((control, inner));
                sys::fd::close(self.stream.as_raw_fd());
                process::exit_now(self.become_program(theirs, env))
            }
        }
    }

    fn become_program(&self, theirs: Theirs, mut env: Env) -> Exit {
        let mut told = Vec::new();
        let control = Fd(theirs.control.as_raw_fd());
        let mut room = [0; 4096];
        let mut limited = control.take(FACTS_MAX);
        while !told.ends_with(b"\0\0") {
            match limited.read(&mut room) {
                // No handshake, no program.
                Ok(0) | Err(_) => return Exit::OK,
                Ok(count) => told.extend_from_slice(room.get(..count).unwrap_or_default()),
            }
        }
        for pair in told.split(|&b| b == 0) {
            // Whoever handles TLS may only speak of TLS.
            if let Some(at) = pair.iter().position(|&b| b == b'=')
                && let Some((name, value)) = pair.split_at_checked(at)
                && name.starts_with(b"SSL_")
            {
                env.set(name, value.get(1..).unwrap_or_default());
            }
        }
        let error = match self.program(env) {
            Ok(program) => program.fd(0, theirs.read.as_raw_fd()).fd(1, theirs.write.as_raw_fd()).exec(),
            Err(e) => e,
        };
        self.unable_to_run(&error)
    }

    fn unable_to_run(&self, e: &io::Error) -> Exit {
        let name = self.server.options.common.program.first().copied().unwrap_or_default();
        self.server.drop_early(&[b"unable to run ", name, b": ", text(e).as_bytes()])
    }

    /// The end of a connection whose client was let in.
    fn drop_late(&self, reason: &[&[u8]]) -> Exit {
        if self.server.options.common.verbosity > Verbosity::Nothing {
            let pid = process::pid().0.to_string();
            let ends = self.connection.log_ends();
            complain(&[&[b"drop ", pid.as_bytes(), &ends, b": "], reason].concat());
        }
        Exit::TEMPORARY
    }
}

/// Who the program runs as, if that is not who this process is.
pub fn ids(identity: server::Identity) -> Option<(Uid, Gid)> {
    let uid = identity.user.map_or_else(process::euid, Uid);
    let gid = identity.group.map_or_else(process::egid, Gid);
    Some((uid, gid)).filter(|&(u, g)| u != process::euid() || g != process::egid())
}

/// How often files are looked at, at most: each look costs a system call for each file.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
