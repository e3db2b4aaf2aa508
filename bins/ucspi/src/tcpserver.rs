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

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::process::{self, Fork, Pid};
use sys::spawn::Program;
use ucspi::ends::{self, Names};
use ucspi::server::{self, Connection, Identity, Options, Service, Verdict};
use ucspi::{Misuse, Verbosity};

/// Shown when the command line can not be understood.
const USAGE: &[u8] = b"usage: tcpserver [ -146UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] \
    [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] host port program";
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let options = match Options::parse(server::LETTERS, &args, sys::env::get, |_| false) {
        Ok(options) => options,
        Err(Misuse(letter)) => {
            if let Some(letter) = letter {
                complain(&[b"illegal option -- ", &[letter]]);
            }
            complain(&[USAGE]);
            return Exit::PERMANENT;
        }
    };
    let (listener, bound) = match prepare(&options) {
        Ok(prepared) => prepared,
        Err(reason) => {
            if options.verbosity > Verbosity::Nothing {
                complain(&[b"fatal: ", &reason]);
            }
            return Exit::TEMPORARY;
        }
    };
    let env = ends::without_variables(Env::inherit());
    let mut server = Server { options: &options, listener: &listener, bound, env };
    match server::serve(&mut server, &listener, options.limit) {
        Ok(()) => Exit::OK,
        Err(e) => {
            server.warn(&[b"unable to wait: ", text(&e).as_bytes()]);
            Exit::TEMPORARY
        }
    }
}

/// Everything up to the first connection; an `Err` is the reason why there will be none.
fn prepare(options: &Options<'_>) -> Result<(TcpListener, SocketAddr), Vec<u8>> {
    server::catch_signals().map_err(|e| server::failed("unable to catch signals", &e))?;
    let (listener, bound) = server::listen(options)?;
    Identity::of(options.user.as_deref(), options.group.as_deref())?.assume()?;
    if options.print_port {
        // Who asked for the port and does not read it does not want it.
        let _ = sys::fd::write_all(1, format!("{}\n", bound.port()).as_bytes());
    }
    sys::fd::close(0);
    sys::fd::close(1);
    Ok((listener, bound))
}

/// The server: what every connection needs.
struct Server<'a> {
    options: &'a Options<'a>,
    listener: &'a TcpListener,
    bound: SocketAddr,
    env: Env,
}

impl Service for Server<'_> {
    fn verbosity(&self) -> Verbosity {
        self.options.verbosity
    }

    fn say(&self, line: &[u8]) {
        complain(&[line]);
    }

    fn start(&mut self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Option<Pid> {
        if self.options.takes_time() {
            self.start_in_child(stream, remote, present)
        } else {
            self.start_here(stream, remote, present)
        }
    }
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
        let Ok(program) = self.program(stream, connection.environment(&self.env, Names::Tcp, rule.as_ref())) else {
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
        server::release_signals();
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
        let env = connection.environment(&self.env, Names::Tcp, rule.as_ref());
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
