//! sslserver: accepts TCP connections, runs a program for each, and speaks TLS for it.
//!
//! Started by a supervisor as root, or as anybody for a high port. The process that accepts stays what it is and reads
//! certificates, keys and rules; it never reads a byte from a client. For each connection it makes a child that judges
//! the client, starts the program as user and group of -u and -g, and then handles TLS as SSL_UID and SSL_GID, locked in
//! SSL_CHROOT. The program gets the two ends of that child's pipes as fds 0 and 1, or with -n the bare connection and
//! the descriptors of UCSPI-TLS (sslserver(8)); fd 2 as sslserver has it. A private key is never in a process that a
//! program runs in. Reads the files named by its environment again when they have changed, and upon SIGHUP; /etc/passwd,
//! /etc/group, /etc/services and /etc/resolv.conf as tcpserver does.
//!
//! Exit codes: 0 after SIGTERM; 100 wrong usage; 111 no port, no certificate, or the identity can not be had.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

mod options;
mod session;

use options::{Options, Surroundings};
use rules::Rule;
use session::Session;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::fd::Fd;
use sys::process::{self, Fork, Gid, Pid, Uid};
use sys::signal::{self, SIGHUP};
use tls::server::Wanted;
use tls::ticket::Tickets;
use ucspi::server::{self, Identity, Service};
use ucspi::{Misuse, Verbosity, ends};
use zeroize::Zeroizing;

/// Where the password of the key is, with -3.
const PASSWORD_FD: i32 = 3;
/// The longest password (bytes).
const PASSWORD_MAX: u64 = 4096;

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
    process::no_looking_in();
    match prepare(&options) {
        Ok((mut server, listener)) => match server::serve(&mut server, &listener, options.common.limit) {
            Ok(()) => Exit::OK,
            Err(e) => {
                server.warn(&[b"unable to wait: ", text(&e).as_bytes()]);
                Exit::TEMPORARY
            }
        },
        Err(reason) => {
            if options.common.verbosity > Verbosity::Nothing {
                complain(&[b"fatal: ", &reason]);
            }
            Exit::TEMPORARY
        }
    }
}

/// Everything up to the first connection; an `Err` is the reason why there will be none.
fn prepare<'a>(options: &'a Options<'a>) -> Result<(Server<'a>, TcpListener), Vec<u8>> {
    server::catch_signals().map_err(|e| server::failed("unable to catch signals", &e))?;
    signal::catch(SIGHUP).map_err(|e| server::failed("unable to catch signals", &e))?;
    let password = if options.password { Some(read_password()?) } else { None };
    let program = Identity::of(options.common.user.as_deref(), options.common.group.as_deref())?;
    let program_ids = session::ids(program);
    if program_ids.is_some_and(|(uid, _)| uid != process::euid()) && process::euid() != Uid(0) {
        return Err(b"unable to set uid: permission denied".to_vec());
    }
    let surroundings = Surroundings::read(options, program, sys::env::get, password)?;
    let (listener, bound) = server::listen(&options.common)?;
    let tickets = Arc::new(Tickets::new());
    let tls = tls::server::Server::load(&surroundings.settings, tickets.clone(), true).map_err(|e| e.text())?;
    if surroundings.wanted != Wanted::Nothing && !tls.knows_clients() {
        return Err(b"CCAFILE is not set: no client certificate could be good".to_vec());
    }
    if options.common.print_port {
        // Who asked for the port and does not read it does not want it.
        let _ = sys::fd::write_all(1, format!("{}\n", bound.port()).as_bytes());
    }
    sys::fd::close(0);
    sys::fd::close(1);
    let server = Server {
        options,
        surroundings,
        tickets,
        tls,
        looked: Instant::now(),
        listener: listener.as_raw_fd(),
        bound,
        program_ids,
        env: ends::without_any_variables(Env::inherit()),
    };
    server.say_files();
    Ok((server, listener))
}

/// Up to a NUL or the end.
fn read_password() -> Result<Zeroizing<Vec<u8>>, Vec<u8>> {
    let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_MAX as usize));
    let read = Fd(PASSWORD_FD).take(PASSWORD_MAX).read_to_end(&mut password);
    read.map_err(|e| server::failed("unable to read password", &e))?;
    sys::fd::close(PASSWORD_FD);
    let end = password.iter().position(|&b| b == 0).unwrap_or(password.len());
    password.truncate(end);
    Ok(password)
}

/// The server: what every connection needs.
struct Server<'a> {
    options: &'a Options<'a>,
    surroundings: Surroundings,
    tickets: Arc<Tickets>,
    tls: tls::server::Server,
    /// When the files were looked at last.
    looked: Instant,
    listener: i32,
    bound: SocketAddr,
    program_ids: Option<(Uid, Gid)>,
    env: Env,
}

impl Service for Server<'_> {
    fn verbosity(&self) -> Verbosity {
        self.options.common.verbosity
    }

    fn say(&self, line: &[u8]) {
        complain(&[line]);
    }

    fn start(&mut self, stream: &TcpStream, remote: SocketAddr, present: usize) -> Option<Pid> {
        match process::fork() {
            Ok(Fork::Parent(pid)) => Some(pid),
            Ok(Fork::Child) => {
                sys::fd::close(self.listener);
                process::exit_now(Session::run(self, stream, remote, present))
            }
            Err(e) => {
                self.warn(&[b"dropping connection, unable to fork: ", text(&e).as_bytes()]);
                None
            }
        }
    }

    fn awake(&mut self) {
        self.tls.rotate_tickets();
        let now = Instant::now();
        if signal::take(SIGHUP) {
            self.reload(now);
        } else if now.saturating_duration_since(self.looked) >= session::LOOK_INTERVAL {
            self.looked = now;
            if self.tls.is_outdated() {
                self.reload(now);
            }
        }
    }
}

impl Server<'_> {
    /// Reads the files again. Connections that there are stay as they are; if the files are no good, those to come do,
    /// too.
    fn reload(&mut self, now: Instant) {
        self.looked = now;
        match tls::server::Server::load(&self.surroundings.settings, self.tickets.clone(), true) {
            Ok(tls) => {
                self.tls = tls;
                self.say_files();
            }
            Err(e) => {
                self.warn(&[b"going on with the old certificates: ", &e.text()]);
                // Once is enough, until something changes again.
                self.tls.look_again();
            }
        }
    }

    /// Tells which files are in use, and what of the settings is not.
    fn say_files(&self) {
        let settings = &self.surroundings.settings;
        let pid = process::pid().0.to_string();
        let files = [
            (&b"cafile"[..], settings.authorities_file.as_deref()),
            (b"ccafile", settings.client_file.as_deref()),
            (b"cadir", settings.authorities_dir.as_deref()),
            (b"cert", Some(settings.chain_file.as_slice())),
            (b"key", Some(settings.key_file.as_slice())),
            (b"sni", settings.names_file.as_deref()),
        ];
        for (what, file) in files {
            if let Some(file) = file {
                self.say(&[what, b" ", pid.as_bytes(), b" ", file]);
            }
        }
        if !self.tls.unknown_ciphers.is_empty() {
            self.warn(&[b"CIPHERS: not available: ", &self.tls.unknown_ciphers.join(&b':')]);
        }
        if self.surroundings.has_dhfile {
            self.say(&[b"DHFILE is not used: all keys are exchanged over elliptic curves"]);
        }
    }

    fn warn(&self, parts: &[&[u8]]) {
        if self.options.common.verbosity > Verbosity::Nothing {
            complain(&[&[&b"warning: "[..]], parts].concat());
        }
    }

    /// With -v.
    fn say(&self, parts: &[&[u8]]) {
        if self.options.common.verbosity == Verbosity::All {
            complain(parts);
        }
    }

    /// The end of a connection that did not get as far as to TLS.
    fn drop_early(&self, reason: &[&[u8]]) -> Exit {
        self.warn(&[&[&b"dropping connection, "[..]], reason].concat());
        Exit::TEMPORARY
    }

    fn set_options(&self, stream: &TcpStream) {
        if !self.options.common.keep_ip_options && self.bound.is_ipv4() {
            sys::socket::kill_ip_options(stream);
        }
        if self.options.common.no_delay {
            // A connection that is gone already: whoever uses it will notice.
            let _ = stream.set_nodelay(true);
        }
    }

    /// What is wanted of a client of which the rules say this.
    fn wanted(&self, rule: Option<&Rule>) -> Wanted {
        let mut wanted = self.surroundings.wanted;
        for (name, value) in rule.into_iter().flat_map(Rule::variables) {
            match (name, value) {
                (b"CCAFILE", b"-") => wanted = Wanted::Nothing,
                (b"CCAVERIFY", _) => wanted = Wanted::GoodCertificate,
                _ => {}
            }
        }
        wanted
    }
}
