//! What is known of one connection, and how it is told: to the program in its environment, to the log in a line.

use super::options::Options;
use crate::Ends;
use crate::ends::Names;
use control::cdb::Cdb;
use dns::Resolver;
use rules::{Client, Rule};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::env::Env;

/// The most of one item that goes into a log line, in bytes.
const LOG_ITEM_MAX: usize = 100;

/// A connection, as a server judges and tells it.
pub struct Connection(Ends);

/// What the rules say about a client.
pub enum Verdict {
    /// It is served, with the variables of the rule.
    Serve(Option<Rule>),
    /// It is not.
    Deny,
}

impl Connection {
    /// What is known without asking anybody.
    pub fn new(options: &Options<'_>, remote: SocketAddr, local: SocketAddr) -> Connection {
        let mut ends = Ends::new(options.as_ipv6, remote, local);
        ends.local_host = options.local_name.map(<[u8]>::to_vec);
        Connection(ends)
    }

    /// Finds out what the options want to be known, in the network.
    pub fn look_up(&mut self, options: &Options<'_>) {
        let dns = Resolver::new();
        if self.0.local_host.is_none() {
            self.0.look_up_local_host(&dns);
        }
        if options.remote_host {
            self.0.look_up_remote_host(&dns, options.paranoid);
        }
        if options.remote_info {
            self.0.ask_remote_info(options.ident_secs);
        }
    }

    /// Asks the rules. `present` is how many connections the same client has already. An `Err`: they can not be read.
    pub fn judge(&self, options: &Options<'_>, present: usize) -> io::Result<Verdict> {
        let Some(file) = options.rules else { return Ok(Verdict::Serve(None)) };
        let cdb = match Cdb::open(Path::new(OsStr::from_bytes(file))) {
            Ok(cdb) => cdb,
            Err(e) if e.kind() == io::ErrorKind::NotFound && options.rules_may_miss => return Ok(Verdict::Serve(None)),
            Err(e) => return Err(e),
        };
        let client =
            Client { ip: &self.0.remote_ip, host: self.0.remote_host.as_deref(), info: self.0.remote_info.as_deref() };
        let Some(rule) = rules::find(&cdb, &client)? else { return Ok(Verdict::Serve(None)) };
        let most = rule.variables().filter(|(name, _)| *name == b"MAXCONNIP").last();
        let most = most.and_then(|(_, value)| control::leading_number(value));
        let crowded = most.is_some_and(|most| present as u64 >= most);
        Ok(if rule.denies() || crowded { Verdict::Deny } else { Verdict::Serve(Some(rule)) })
    }

    /// The name of the client that was found, or else its address.
    pub fn remote_name(&self) -> &[u8] {
        self.0.remote_host.as_deref().unwrap_or(&self.0.remote_ip)
    }

    /// The program's environment: `base`, the connection, then what the rule sets or overrides.
    pub fn environment(&self, base: &Env, names: Names, rule: Option<&Rule>) -> Env {
        let mut env = self.0.environment(base, names);
        for (name, value) in rule.iter().flat_map(|r| r.variables()) {
            env.set(name, value);
        }
        env
    }

    /// What the log line `pid P from IP` has behind the process id.
    pub fn log_from(&self) -> Vec<u8> {
        [b" from ", self.0.remote_ip.as_slice()].concat()
    }

    /// What the log lines `ok P ...` and `deny P ...` have behind the process id.
    pub fn log_ends(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(128);
        let empty: &[u8] = b"";
        line.push(b' ');
        log_item(&mut line, self.0.local_host.as_deref().unwrap_or(empty));
        line.push(b':');
        log_item(&mut line, &self.0.local_ip);
        line.extend_from_slice(format!(":{} ", self.0.local.port()).as_bytes());
        log_item(&mut line, self.0.remote_host.as_deref().unwrap_or(empty));
        line.push(b':');
        log_item(&mut line, &self.0.remote_ip);
        line.push(b':');
        log_item(&mut line, self.0.remote_info.as_deref().unwrap_or(empty));
        line.extend_from_slice(format!(":{}", self.0.remote.port()).as_bytes());
        line
    }
}

/// Adds what a stranger may have chosen: only printable ASCII without `%`, and not too much of it.
fn log_item(line: &mut Vec<u8>, item: &[u8]) {
    line.extend(item.iter().take(LOG_ITEM_MAX).map(|&b| match b {
        b'%' => b'?',
        33..=126 => b,
        _ => b'?',
    }));
    if item.len() >= LOG_ITEM_MAX {
        line.extend_from_slice(b"...");
    }
}
