//! tcpclient: connects to a TCP port and becomes a program that talks to it.
//!
//! `tcpclient [options] host port program [arg ...]` (tcpclient(1)), started by people and scripts, as any user. The
//! program gets the connection as fd 6 to read from and fd 7 to write to, and the ends of the connection in its
//! environment; 0, 1 and 2 stay as they are. Reads /etc/services for the name of a port, /etc/resolv.conf when names
//! are looked up.
//!
//! Exit codes: 100 wrong usage; 111 no connection, or the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use dns::Resolver;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use sys::Exit;
use sys::env::Env;
use sys::error::{complain, text};
use sys::spawn::Program;
use ucspi::client::{self, Options, Reason};
use ucspi::ends::Names;
use ucspi::{Misuse, Verbosity, ends};

/// Shown when the command line can not be understood.
const USAGE: &[u8] = b"usage: tcpclient [ -46hHrRdDqQv ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] \
    [ -l localname ] [ -t timeoutinfo ] [ -I interface ] host port program";
/// The program reads from the network here.
const READ_FD: i32 = 6;
/// And writes to it here.
const WRITE_FD: i32 = 7;
/// Where programs are searched if PATH is not set.
const PATH: &[u8] = b"/bin:/usr/bin";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let options = match Options::parse(client::LETTERS, &args, |_| false) {
        Ok(options) => options,
        Err(Misuse(letter)) => {
            if let Some(letter) = letter {
                complain(&[b"illegal option -- ", &[letter]]);
            }
            complain(&[USAGE]);
            return Exit::PERMANENT;
        }
    };
    let reason = match work(&options) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    if let Some(reason) = reason.filter(|_| options.verbosity > Verbosity::Nothing) {
        complain(&[b"fatal: ", &reason]);
    }
    Exit::TEMPORARY
}

/// Connects, finds out what the options want to be known, and becomes the program.
fn work(options: &Options<'_>) -> Result<std::convert::Infallible, Reason> {
    let dns = Resolver::new();
    let (stream, ends) = client::begin(options, &dns, &mut |line| complain(&[line]))?;
    let env = ends.environment(&ends::without_variables(Env::inherit()), Names::Tcp);
    let name = options.program.first().copied().unwrap_or_default();
    let error = match program(options.program, &stream, env) {
        Ok(program) => program.exec(),
        Err(e) => e,
    };
    Err(Some([b"unable to run ", name, b": ", text(&error).as_bytes()].concat()))
}

fn program(argv: &[&[u8]], stream: &TcpStream, env: Env) -> io::Result<Program> {
    let name = argv.first().copied().unwrap_or_default();
    let path = env.get(b"PATH").unwrap_or(PATH);
    let file = sys::spawn::search(name, path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let fd = stream.as_raw_fd();
    Ok(Program::new(&file, argv)?.fd(READ_FD, fd).fd(WRITE_FD, fd).env(env))
}
