//! tcpserver: accepts TCP connections and runs a program for each.
//!
//! Started by a supervisor as root, or as anybody for a high port; becomes the user and group of -u and -g, or of UID
//! and GID with -U, once it has its port. The program gets the connection as fds 0 and 1, fd 2 as tcpserver has it, and
//! the ends of the connection in its environment. Reads the rules of -x for each connection, so that they can change;
//! /etc/services, /etc/passwd and /etc/group when names are used, /etc/resolv.conf when names are looked up.
//!
//! A connection about which nothing has to be found out in the network is judged here and its program started at once;
//! else a child looks things up, so that nobody waits for a slow name server but its own client.
//!
//! Exit codes: 0 after SIGTERM; 100 wrong usage; 111 no port, or the identity asked for can not be had.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod connection;
mod options;

use connection::{Connection, Verdict};
use options::{Misuse, Options, Verbosity};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::poll::Interest;
use sys::process::{self, Fork, Gid, Pid, Uid};
use sys::signal::{self, SIGCHLD, SIGPIPE, SIGTERM};
use sys::socket::{Listening, NoListener};
use sys::spawn::Program;
use ucspi::ends::canonical;
use ucspi::names;

/// How long to rest when the system has no descriptors or memory for another connection.
const SCARCE_REST: Duration = Duration::from_secs(1);
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let options = match Options::parse(&args, sys::env::get) {
        Ok(options) => options,
        Err(Misuse(letter)) => {
            if let Some(letter) = letter {
                complain(&[b"illegal option -- ", &[letter]]);
            }
            complain(&[options::USAGE]);
            return Exit::PERMANENT;
        }
    };
    match prepare(&options) {
        Ok((listener, bound)) => serve(&options, listener, bound),
        Err(reason) => {
            if options.verbosity > Verbosity::Nothing {
                complain(&[b"fatal: ", &reason]);
            }
            Exit::TEMPORARY
        }
    }
}

/// Everything up to the first connection; an `Err` is the reason why there will be none.
fn prepare(options: &Options<'_>) -> Result<(TcpListener, SocketAddr), Vec<u8>> {
    let port = names::port(options.port, || read("/etc/services"))
        .ok_or_else(|| [b"unable to figure out port number for ", options.port].concat())?;
    for caught in [SIGCHLD, SIGTERM] {
        signal::catch(caught).map_err(|e| failed("unable to catch signals", &e))?;
    }
    signal::ignore(SIGPIPE);

    let (ip, dual_stack) = match connection::listening_address(options) {
        Ok(Some(found)) => found,
        Ok(None) => return Err([b"no IP address for ", options.host].concat()),
        Err(()) => return Err([b"temporarily unable to figure out IP address for ", options.host].concat()),
    };
    let interface = match options.interface {
        Some(name) => {
            let number = sys::socket::interface_number(name);
            number.ok_or_else(|| [b"unable to find interface ", name].concat())?
        }
        None => 0,
    };
    let address = match ip {
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, interface)),
        ip => SocketAddr::new(ip, port),
    };
    let listener = sys::socket::listen(&Listening { address, dual_stack, backlog: options.backlog });
    let mut listener = listener.map_err(|e| match e {
        NoListener::Create(e) => failed("unable to create socket", &e),
        NoListener::Bind(e) => failed("unable to bind", &e),
        NoListener::Listen(e) => failed("unable to listen", &e),
    })?;
    if listener.as_raw_fd() <= 2 {
        // Started with a standard descriptor closed: its number is needed for the programs.
        listener = listener.try_clone().map_err(|e| failed("unable to create socket", &e))?;
    }
    let bound = listener.local_addr().map_err(|e| failed("unable to get local address", &e))?;
    become_someone(options)?;
    if options.print_port {
        // Who asked for the port and does not read it does not want it.
        let _ = sys::fd::write_all(1, format!("{}\n", bound.port()).as_bytes());
    }
    sys::fd::close(0);
    sys::fd::close(1);
    Ok((listener, bound))
}

fn failed(what: &str, e: &io::Error) -> Vec<u8> {
    format!("{what}: {}", text(e)).into_bytes()
}

/// A file of the system; what can not be read is empty.
fn read(file: &str) -> Vec<u8> {
    std::fs::read(file).unwrap_or_default()
}

/// Takes on the identity asked for. Without one, or when it is the present one, nothing changes. What is no number and
/// no known name is an error, so that a slip in a run script does not leave a server running as root.
fn become_someone(options: &Options<'_>) -> Result<(), Vec<u8>> {
    let named = |what: &str, name: &[u8]| [b"unable to find ", what.as_bytes(), b" ", name].concat();
    let mut uid = None;
    let mut gid = None;
    if let Some(name) = &options.user {
        let found = names::user(name, || read("/etc/passwd")).ok_or_else(|| named("user", name))?;
        (uid, gid) = (Some(found.0), found.1);
    }
    if let Some(name) = &options.group {
        gid = Some(names::group(name, || read("/etc/group")).ok_or_else(|| named("group", name))?);
    }
    // 0 asks for nothing: so it has always been.
    let uid = uid.filter(|&u| u != 0 && Uid(u) != process::euid());
    let gid = gid.filter(|&g| g != 0 && (Gid(g) != process::egid() || uid.is_some()));
    if let Some(gid) = gid {
        process::become_group(Gid(gid)).map_err(|e| failed("unable to set gid", &e))?;
    }
    if let Some(uid) = uid {
        process::become_user(Uid(uid), process::egid()).map_err(|e| failed("unable to set uid", &e))?;
    }
    Ok(())
}

/// Accepts until SIGTERM.
fn serve(options: &Options<'_>, listener: TcpListener, bound: SocketAddr) -> Exit {
    let mut server = Server { options, listener, bound, env: connection::clean_environment(), children: Vec::new() };
    server.log_status();
    loop {
        server.reap();
        if signal::take(SIGTERM) {
            return Exit::OK;
        }
        let full = server.children.len() >= options.limit;
        let mut interest = Interest::read(if full { -1 } else { server.listener.as_raw_fd() });
        if let Err(e) = sys::poll::wait(std::slice::from_mut(&mut interest), None) {
            server.warn(&[b"unable to wait: ", text(&e).as_bytes()]);
            return Exit::TEMPORARY;
        }
        if !interest.readable {
            continue;
        }
        match server.listener.accept() {
            Ok((stream, remote)) => server.connected(stream, remote),
            // The client is gone again, or a signal came.
            Err(e) if is_passing(&e) => {}
            Err(e) => {
                server.warn(&[b"unable to accept: ", text(&e).as_bytes()]);
                // A child that ends wakes us up early. If waiting fails, so it will in the loop.
                let _ = sys::poll::wait(&mut [], Some(SCARCE_REST));
            }
        }
    }
}

fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(e.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

/// The server and its children: the process, and the client it serves.
struct Server<'a> {
    options: &'a Options<'a>,
    listener: TcpListener,
    bound: SocketAddr,
    env: Env,
    children: Vec<(Pid, IpAddr)>,
}

impl Server<'_> {
    fn warn(&self, parts: &[&[u8]]) {
        if self.options.verbosity > Verbosity::Nothing {
            complain(&[&[&b"warning: "[..]], parts].concat());
        }
    }

    /// The end of a connection for which no program could be started.
    fn warn_dropping(&self, parts: &[&[u8]]) {
        self.warn(&[&[&b"dropping connection, "[..]], parts].concat());
    }

    fn is_verbose(&self) -> bool {
        self.options.verbosity == Verbosity::All
    }

    fn log_status(&self) {
        self.log_count(self.children.len());
    }

    fn log_count(&self, children: usize) {
        if self.is_verbose() {
            complain(&[format!("status: {children}/{}", self.options.limit).as_bytes()]);
        }
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process::reap_status() {
            if self.is_verbose() {
                complain(&[format!("end {} status {status}", pid.0).as_bytes()]);
            }
            self.children.retain(|(child, _)| *child != pid);
            self.log_status();
        }
    }

    /// One connection, from here to its program.
    fn connected(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.log_count(self.children.len() + 1);
        let client = canonical(remote.ip());
        let present = self.children.iter().filter(|(_, ip)| *ip == client).count();
        let started = if self.options.takes_time() {
            self.start_in_child(&stream, remote, present)
        } else {
            self.start_here(&stream, remote, present)
        };
        match started {
            Some(pid) => self.children.push((pid, client)),
            None => self.log_status(),
        }
    }

    /// Judges the client and starts its program without a child in between. Whatever is out of the ordinary is left to
    /// a child, at least when there is a log that tells of it.
    fn start_here(&self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Option<Pid> {
        let connection = match self.connection(stream, remote) {
            Ok(connection) => connection,
            Err(_) => return self.start_in_child(stream, remote, present),
        };
        let rule = match connection.judge(self.options, present) {
            Ok(Verdict::Serve(rule)) => rule,
            Ok(Verdict::Deny) if !self.is_verbose() => return None,
            _ => return self.start_in_child(stream, remote, present),
        };
        let Ok(program) = self.program(stream, connection.environment(&self.env, rule.as_ref())) else {
            return self.start_in_child(stream, remote, present);
        };
        self.set_options(stream);
        // Two log lines, `pid P from IP` and `ok P ...`; the child puts P in between.
        let name = sys::start::program_name();
        let first = [name, b": pid "].concat();
        let second = [connection.log_from().as_slice(), b"\n", name, b": ok "].concat();
        let third = [connection.log_ends().as_slice(), b"\n"].concat();
        let said: &[&[u8]] = if self.is_verbose() { &[&first, &second, &third] } else { &[] };
        match program.start_saying(said) {
            Ok(pid) => Some(pid),
            Err((e, Some(pid))) => {
                self.warn_unable_to_run(&e);
                Some(pid)
            }
            Err((e, None)) => {
                self.warn_dropping(&[b"unable to fork: ", text(&e).as_bytes()]);
                None
            }
        }
    }

    /// Makes a child that does all the rest.
    fn start_in_child(&self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Option<Pid> {
        match process::fork() {
            Ok(Fork::Parent(pid)) => Some(pid),
            Ok(Fork::Child) => process::exit_now(self.work_as_child(stream, remote, present)),
            Err(e) => {
                self.warn_dropping(&[b"unable to fork: ", text(&e).as_bytes()]);
                None
            }
        }
    }

    /// The child: finds out about the client, judges it, and becomes the program. Returns only what went wrong.
    fn work_as_child(&self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Exit {
        sys::fd::close(self.listener.as_raw_fd());
        signal::default(SIGTERM);
        signal::default(SIGCHLD);
        signal::unblock_all();
        let mut connection = match self.connection(stream, remote) {
            Ok(connection) => connection,
            Err(e) => {
                self.warn_dropping(&[b"unable to get local address: ", text(&e).as_bytes()]);
                return Exit::TEMPORARY;
            }
        };
        let pid = process::pid().0.to_string();
        if self.is_verbose() {
            complain(&[b"pid ", pid.as_bytes(), &connection.log_from()]);
        }
        self.set_options(stream);
        if let Err(e) = sys::fd::write_all(stream.as_raw_fd(), self.options.banner) {
            self.warn_dropping(&[b"unable to print banner: ", text(&e).as_bytes()]);
            return Exit::TEMPORARY;
        }
        connection.look_up(self.options);
        let verdict = match connection.judge(self.options, present) {
            Ok(verdict) => verdict,
            Err(e) => {
                let file = self.options.rules.unwrap_or_default();
                self.warn_dropping(&[b"unable to read ", file, b": ", text(&e).as_bytes()]);
                return Exit::TEMPORARY;
            }
        };
        if self.is_verbose() {
            let word: &[u8] = if matches!(verdict, Verdict::Deny) { b"deny " } else { b"ok " };
            complain(&[word, pid.as_bytes(), &connection.log_ends()]);
        }
        let Verdict::Serve(rule) = verdict else { return Exit::PERMANENT };
        let env = connection.environment(&self.env, rule.as_ref());
        let error = match self.program(stream, env) {
            Ok(program) => program.exec(),
            Err(e) => e,
        };
        self.warn_unable_to_run(&error);
        Exit::TEMPORARY
    }

    fn warn_unable_to_run(&self, e: &io::Error) {
        let name = self.options.program.first().copied().unwrap_or_default();
        self.warn_dropping(&[b"unable to run ", name, b": ", text(e).as_bytes()]);
    }

    fn connection(&self, stream: &TcpStream, remote: SocketAddr) -> io::Result<Connection> {
        // A socket bound to one address has no other: no need to ask for each connection.
        let local = if self.bound.ip().is_unspecified() { stream.local_addr()? } else { self.bound };
        Ok(Connection::new(self.options, remote, local))
    }

    fn set_options(&self, stream: &TcpStream) {
        if !self.options.keep_ip_options && self.bound.is_ipv4() {
            sys::socket::kill_ip_options(stream);
        }
        if self.options.no_delay {
            // A connection that is gone already: its program will notice.
            let _ = stream.set_nodelay(true);
        }
    }

    /// The program with the connection as its fds 0 and 1.
    fn program(&self, stream: &TcpStream, env: Env) -> io::Result<Program> {
        let name = self.options.program.first().copied().unwrap_or_default();
        let path = self.env.get(b"PATH").unwrap_or(PATH);
        let file = sys::spawn::search(name, path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let fd = stream.as_raw_fd();
        Ok(Program::new(&file, self.options.program)?.fd(0, fd).fd(1, fd).env(env))
    }
}
