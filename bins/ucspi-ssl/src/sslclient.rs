//! sslclient: connects to a TCP port, speaks TLS there, and runs a program that need not know.
//!
//! `sslclient [options] host port program [arg ...]` (sslclient(1)), started by people and scripts, as any user. The
//! program reads from the server on fd 6 and writes to it on fd 7, and has the ends of the connection in its
//! environment; 0, 1 and 2 stay as they are. Reads the files of certificates that its options name, /etc/services for
//! the name of a port, /etc/resolv.conf when names are looked up. The program is started only after the server has shown
//! a good certificate (unless -X says that any will do).
//!
//! Exit codes: 100 wrong usage; 111 no connection, no TLS, or the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use dns::Resolver;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::fd::Fd;
use sys::opt::Opt;
use sys::process::{self, Ended};
use sys::signal::{self, SIGCHLD, SIGPIPE};
use sys::spawn::Program;
use tls::Connection;
use tls::client::{Certificate, Client, Demands, NameCheck, Trust};
use tls::facts::{self, Peer};
use tls::pem;
use tls::pump::{self, Inner};
use ucspi::client::{self, Options, Reason};
use ucspi::ends::Names;
use ucspi::{Misuse, Verbosity, ends};
use zeroize::Zeroizing;

/// Those of tcpclient, and those about TLS.
const LETTERS: &[u8] = b"46dDvqQhHrRi:p:t:T:l:I:3eEsSnNxXa:A:c:C:z:k:V:w:";
/// Shown when the command line can not be understood.
const USAGE: &[u8] = b"usage: sslclient [ -346hHrRdDqQveEsSnNxX ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] \
    [ -l localname ] [ -t timeoutinfo ] [ -I interface ] [ -a cafile ] [ -A cadir ] [ -c certfile ] \
    [ -C certchainfile ] [ -z ciphers ] [ -k keyfile ] [ -V verifydepth ] [ -w progtimeout ] host port program";
/// The program reads from the network here.
const READ_FD: i32 = 6;
/// And writes to it here.
const WRITE_FD: i32 = 7;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";
/// Where the password of the key is, with -3.
const PASSWORD_FD: i32 = 3;
/// The longest password (bytes).
const PASSWORD_MAX: u64 = 4096;
/// No time limit is longer, in seconds.
const SECS_MAX: u64 = 7 * 86400;

sys::program!(run);

/// The options about TLS.
struct Ours<'a> {
    tcp_variables: bool,
    ssl_variables: bool,
    password: bool,
    verify: bool,
    check_name: bool,
    ca_file: &'a [u8],
    ca_dir: &'a [u8],
    chain_file: &'a [u8],
    key_file: &'a [u8],
    ciphers: &'a [u8],
    depth: u32,
    idle_limit: Duration,
}

impl<'a> Ours<'a> {
    /// Takes an option if it is one of these; says whether it was.
    fn take(&mut self, option: Opt<'a>) -> bool {
        match option {
            Opt::Flag(letter @ (b'e' | b'E')) => self.tcp_variables = letter == b'e',
            Opt::Flag(letter @ (b's' | b'S')) => self.ssl_variables = letter == b's',
            Opt::Flag(letter @ (b'x' | b'X')) => self.verify = letter == b'x',
            Opt::Flag(letter @ (b'n' | b'N')) => self.check_name = letter == b'n',
            Opt::Flag(b'3') => self.password = true,
            Opt::Value(b'a', value) => self.ca_file = value,
            Opt::Value(b'A', value) => self.ca_dir = value,
            Opt::Value(b'c' | b'C', value) => self.chain_file = value,
            Opt::Value(b'k', value) => self.key_file = value,
            Opt::Value(b'z', value) => self.ciphers = value,
            Opt::Value(b'V', value) => self.depth = u32::try_from(number(value)).unwrap_or(u32::MAX),
            Opt::Value(b'w', value) => self.idle_limit = Duration::from_secs(number(value)),
            _ => return false,
        }
        true
    }
}

/// The digits at the start; 0 without any, as ever.
fn number(text: &[u8]) -> u64 {
    control::leading_number(text).unwrap_or(0).min(SECS_MAX)
}

fn run(args: sys::start::Args) -> Exit {
    let mut ours = Ours {
        tcp_variables: false,
        ssl_variables: false,
        password: false,
        verify: true,
        check_name: true,
        ca_file: b"",
        ca_dir: b"",
        chain_file: b"",
        key_file: b"",
        ciphers: b"",
        depth: 1,
        idle_limit: Duration::from_secs(3600),
    };
    let options = match Options::parse(LETTERS, &args, |option| ours.take(option)) {
        Ok(options) => options,
        Err(Misuse(letter)) => {
            if let Some(letter) = letter {
                complain(&[b"illegal option -- ", &[letter]]);
            }
            complain(&[USAGE]);
            return Exit::PERMANENT;
        }
    };
    match work(&options, &ours) {
        Ok(code) => code,
        Err(reason) => {
            if let Some(reason) = reason.filter(|_| options.verbosity > Verbosity::Nothing) {
                complain(&[b"fatal: ", &reason]);
            }
            Exit::TEMPORARY
        }
    }
}

fn failed(what: &str, e: &io::Error) -> Reason {
    Some(format!("{what}: {}", text(e)).into_bytes())
}

/// Everything: connect, shake hands, start the program, and move bytes until it has finished.
fn work(options: &Options<'_>, ours: &Ours<'_>) -> Result<Exit, Reason> {
    signal::ignore(SIGPIPE);
    let password = if ours.password { Some(read_password()?) } else { None };
    let client = Client::new(&demands(options, ours, password.as_ref().map(|p| p.as_slice())));
    let client = client.map_err(|e| Some(e.text()))?;
    drop(password);
    let dns = Resolver::new();
    let (stream, ends) = client::begin(options, &dns, &mut |line| complain(&[line]))?;
    let remote = stream.peer_addr().map_err(|e| failed("unable to get remote address", &e))?;
    let session = client.connect(options.host, remote.ip()).map_err(|e| Some(e.text()))?;
    let mut session = Connection::Client(session);
    let limit = options.rounds.iter().sum();
    pump::handshake(&mut session, stream.as_raw_fd(), limit)
        .map_err(|e| Some([b"unable to TLS connect: ", e.text().as_bytes()].concat()))?;
    if options.verbosity == Verbosity::All {
        complain(&[b"ssl connect"]);
    }
    let names = if ours.tcp_variables { Names::Both } else { Names::Ssl };
    let mut env = ends.environment(&ends::without_any_variables(Env::inherit()), names);
    if ours.ssl_variables {
        let own = pem::certificates(ours.chain_file).unwrap_or_default();
        let peer = if ours.verify { Peer::Verified } else { Peer::Unknown };
        facts::variables(&mut session, &own, &peer).iter().for_each(|(name, value)| env.set(name, value));
    }
    serve(options, ours, session, &stream, env)
}

/// What is demanded of the server, and what it may see.
fn demands<'a>(options: &Options<'a>, ours: &Ours<'a>, password: Option<&'a [u8]>) -> Demands<'a> {
    let trust = match (ours.verify, ours.ca_file, ours.ca_dir) {
        (false, _, _) => Trust::Anybody,
        (true, b"", b"") => Trust::BuiltIn,
        (true, b"", dir) => Trust::Directory(dir),
        (true, file, b"") => Trust::File(file),
        (true, file, dir) => Trust::FileAndDirectory(file, dir),
    };
    let name = if ours.verify && ours.check_name { NameCheck::Wildcard } else { NameCheck::None };
    let key = if ours.key_file.is_empty() { ours.chain_file } else { ours.key_file };
    let certificate = Some(Certificate { chain: ours.chain_file, key, password }).filter(|c| !c.chain.is_empty());
    let (host, depth, ciphers) = (options.host, ours.depth, ours.ciphers);
    Demands { host, name, trust, depth, ciphers, certificate, ..Demands::default() }
}

/// Up to a NUL or the end.
fn read_password() -> Result<Zeroizing<Vec<u8>>, Reason> {
    let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_MAX as usize));
    let read = Fd(PASSWORD_FD).take(PASSWORD_MAX).read_to_end(&mut password);
    read.map_err(|e| failed("unable to read password", &e))?;
    sys::fd::close(PASSWORD_FD);
    let end = password.iter().position(|&b| b == 0).unwrap_or(password.len());
    password.truncate(end);
    Ok(password)
}

/// Starts the program, and moves bytes between it and the server until it has finished.
fn serve(
    options: &Options<'_>,
    ours: &Ours<'_>,
    mut session: Connection,
    stream: &TcpStream,
    env: Env,
) -> Result<Exit, Reason> {
    let no_pipe = |e: io::Error| failed("unable to create pipe", &e);
    let (read, to) = sys::fd::pipe().map_err(no_pipe)?;
    let (from, write) = sys::fd::pipe().map_err(no_pipe)?;
    let name = options.program.first().copied().unwrap_or_default();
    let path = env.get(b"PATH").unwrap_or(PATH);
    let started = Program::named(options.program, Some(path))
        .and_then(|p| p.fd(READ_FD, read.as_raw_fd()).fd(WRITE_FD, write.as_raw_fd()).env(env.clone()).start());
    let pid = started.map_err(|e| Some([b"unable to run ", name, b": ", text(&e).as_bytes()].concat()))?;
    drop((read, write));
    signal::catch(SIGCHLD).map_err(|e| failed("unable to catch signals", &e))?;
    let mut ended = None;
    let mut has_ended = || {
        if ended.is_none() {
            ended = process::reap().filter(|(child, _)| *child == pid).map(|(_, how)| how);
        }
        ended.is_some()
    };
    let moved = pump::run(&mut session, stream.as_raw_fd(), Inner { to, from }, ours.idle_limit, &mut has_ended);
    // The server need not wait for what the program still has to do.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let how = ended.map_or_else(|| process::wait(pid), Ok);
    if let Err(trouble) = moved {
        return Err(Some([b"unable to speak TLS: ", trouble.text().as_bytes()].concat()));
    }
    Ok(match how {
        Ok(Ended::Exit(code)) => Exit(code),
        _ => Exit::TEMPORARY,
    })
}
