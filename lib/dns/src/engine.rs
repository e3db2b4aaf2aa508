//! The engine behind the interface: hickory's transport (UDP, repeats, TCP for truncated answers, checks of id and
//! question), driven by a single-threaded runtime, one name server after the other as resolv.conf lists them.
//!
//! hickory's own high-level resolver is not used: it answers some names by itself (localhost, 127/8, the hosts file)
//! and asks two servers at once, neither of which an administrator who looks at resolv.conf would expect.

use crate::connected::Connected;
use crate::name::to_bytes;
use crate::{Answer, CNAME_MAX, Checked, Trust};
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

/// Where the name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Name servers beyond this many are not asked (MAXNS of the C library).
const SERVERS_MAX: usize = 3;

/// Everything that a look-up needs. Each server is a pool of its own, so that the order of asking is ours.
pub struct Engine {
    runtime: Option<tokio::runtime::Runtime>,
    servers: Vec<NameServerPool<Connected>>,
    /// All of them are on this host.
    is_local: bool,
    request: DnsRequestOptions,
    attempts: usize,
    search: Vec<Vec<u8>>,
    ndots: usize,
}

/// What one question to the servers came to.
enum Reply {
    Records(Box<DnsResponse>),
    NoRecords,
    NoSuchName,
    Failed,
}

impl Engine {
    /// Reads resolv.conf and sets the runtime up. What goes wrong makes every look-up fail temporarily.
    /// Servers in `caches`, if there are any, take the place of those in resolv.conf.
    pub fn start(caches: Option<&[u8]>) -> Engine {
        // A missing file and an unreadable one are treated alike: the classic default is a server on this host.
        Engine::from_text(&std::fs::read(RESOLV_CONF).unwrap_or_default(), caches)
    }

    /// Sets up from the text of a resolv.conf and the list of servers that goes before its own.
    pub fn from_text(text: &[u8], caches: Option<&[u8]>) -> Engine {
        let local = [text, b"\nnameserver 127.0.0.1\n"].concat();
        let parsed = parse_resolv_conf(text).or_else(|_| parse_resolv_conf(&local));
        let (config, options) = parsed.or_else(|_| parse_resolv_conf("nameserver 127.0.0.1\n")).unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok();
        let mut search: Vec<Vec<u8>> = config.search().iter().map(to_bytes).collect();
        if search.is_empty() {
            search.extend(config.domain().map(to_bytes));
        }
        let mut request = DnsRequestOptions::default();
        request.use_edns = options.edns0;
        let (attempts, ndots) = (options.attempts.max(1), options.ndots);
        let mut servers = named_servers(caches.unwrap_or_default());
        if servers.is_empty() {
            let listed = config.name_servers().iter();
            servers.extend(listed.map(|server| (server.clone(), scope_in(text, server.ip))));
        }
        servers.truncate(SERVERS_MAX);
        let is_local = servers.iter().all(|(server, _)| server.ip.to_canonical().is_loopback());
        let servers = servers.into_iter().filter_map(|(s, scope)| pool(s, scope, &options)).collect();
        Engine { runtime, servers, is_local, request, attempts, search, ndots }
    }

    /// The search list, without final dots.
    pub fn search(&self) -> &[Vec<u8>] {
        &self.search
    }

    /// How many dots make a name that is tried as it is first.
    pub fn ndots(&self) -> usize {
        self.ndots
    }

    /// Whether a server's word that an answer is authentic counts.
    fn believes(&self, trust: Trust) -> bool {
        match trust {
            Trust::Nobody => false,
            Trust::ThisHost => self.is_local,
            Trust::Everybody => true,
        }
    }

    #[cfg(test)]
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Asks for the records of `kind`, follows CNAMEs, and keeps what `pick` takes.
    /// Nothing is waited for beyond `end`.
    pub fn look_up<T>(
        &self,
        mut name: Name,
        kind: RecordType,
        end: Option<Instant>,
        trust: Trust,
        pick: fn(&RData) -> Option<T>,
    ) -> Checked<T> {
        let mut is_secure = self.believes(trust);
        let answer = self.walk(&mut name, kind, end, &mut is_secure, pick);
        is_secure &= matches!(answer, Answer::Found(_));
        Checked { answer, is_secure, name: to_bytes(&name) }
    }

    /// The look-up; `name` goes along the chain of aliases, and `is_secure` stays only if each answer says that it is.
    fn walk<T>(
        &self,
        at: &mut Name,
        kind: RecordType,
        end: Option<Instant>,
        is_secure: &mut bool,
        pick: fn(&RData) -> Option<T>,
    ) -> Answer<T> {
        let mut followed = 0;
        loop {
            let name = &mut *at;
            let response = match self.ask(name, kind, end, *is_secure) {
                Reply::Records(response) => response,
                Reply::NoRecords => return Answer::NoRecords,
                Reply::NoSuchName => return Answer::NoSuchName,
                Reply::Failed => return Answer::Temporary,
            };
            *is_secure &= response.metadata.authentic_data;
            // Only records of the name in question count, and of those it is an alias of: the order in which a
            // server lists a chain is not fixed, so each step searches the whole answer.
            let asked = name.clone();
            loop {
                let here = || response.answers.iter().filter(|r| r.name == *name);
                let found: Vec<T> = here().filter(|r| r.record_type() == kind).filter_map(|r| pick(&r.data)).collect();
                if !found.is_empty() {
                    return Answer::Found(found);
                }
                let alias = here().find_map(|r| match &r.data {
                    RData::CNAME(target) => Some(target.0.clone()),
                    _ => None,
                });
                let Some(target) = alias else { break };
                followed += 1;
                if followed > CNAME_MAX {
                    return Answer::Temporary;
                }
                *name = target;
            }
            if *name == asked {
                // Other records of the name: none of this type. Records of other names only: a confused server.
                let known = response.answers.iter().any(|r| r.name == *name);
                return if known { Answer::NoRecords } else { Answer::Temporary };
            }
            if response.response_code == ResponseCode::NXDomain {
                return Answer::NoSuchName;
            }
            // The chain leads out of this answer: its end is asked for by itself.
            name.set_fqdn(true);
        }
    }

    /// One question: each server in turn, `attempts` times around. Only an answer about the name ends it; a server
    /// that refuses, fails or is silent makes the next one be asked. With `verdict` the AD bit asks the server to say
    /// whether the answer is authentic (RFC 6840 5.7), without the signatures that only make it longer.
    fn ask(&self, name: &Name, kind: RecordType, end: Option<Instant>, verdict: bool) -> Reply {
        let Some(runtime) = &self.runtime else { return Reply::Failed };
        for _ in 0..self.attempts {
            for server in &self.servers {
                let mut request = DnsRequest::from_query(Query::query(name.clone(), kind), self.request);
                request.metadata.authentic_data = verdict;
                let answer = server.send(request).first_answer();
                let answer = match end {
                    None => runtime.block_on(answer),
                    Some(end) => {
                        // The timer belongs to the runtime, so it must be made inside.
                        match runtime.block_on(async { tokio::time::timeout_at(end.into(), answer).await }) {
                            Ok(answer) => answer,
                            Err(_) => return Reply::Failed,
                        }
                    }
                };
                match answer {
                    Ok(response) => return Reply::Records(Box::new(response)),
                    Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                        ResponseCode::NXDomain => return Reply::NoSuchName,
                        ResponseCode::NoError => return Reply::NoRecords,
                        _ => {}
                    },
                    Err(_) => {}
                }
            }
        }
        Reply::Failed
    }
}

fn pool(server: NameServerConfig, scope: u32, options: &ResolverOpts) -> Option<NameServerPool<Connected>> {
    let mut options = options.clone();
    options.num_concurrent_reqs = 1;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new().ok()?));
    Some(NameServerPool::from_config([server], context, Connected::behind(scope)))
}

/// The servers in a list of addresses with blanks between them, with the number of the interface each is behind (0:
/// whichever). To an address may be added `%` and the name or number of an interface, then `;` and a port if that is
/// not 53. What is no such server is passed over.
fn named_servers(list: &[u8]) -> Vec<(NameServerConfig, u32)> {
    let list = list.split(|b| b.is_ascii_whitespace()).filter_map(|one| std::str::from_utf8(one).ok());
    let servers = list.filter_map(|one| {
        let (place, port) = one.split_once(';').unwrap_or((one, "53"));
        let (ip, scope) = match place.split_once('%') {
            Some((ip, interface)) => (ip.parse::<Ipv6Addr>().ok()?.into(), scope(interface)?),
            None => (place.parse::<IpAddr>().ok()?, 0),
        };
        let mut server = NameServerConfig::udp_and_tcp(ip);
        let port = port.parse().ok()?;
        for connection in &mut server.connections {
            connection.port = port;
        }
        Some((server, scope))
    });
    servers.collect()
}

/// The number of the interface behind which a resolv.conf has this server, which hickory leaves out.
pub fn scope_in(text: &[u8], server: IpAddr) -> u32 {
    let lines = text.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let places = lines.filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next());
    let scopes = places.filter_map(|place| {
        let (ip, interface) = place.split_once('%')?;
        (ip.parse() == Ok(server)).then(|| scope(interface))?
    });
    scopes.into_iter().next().unwrap_or(0)
}

/// The number of an interface (RFC 4007 11.2).
fn scope(interface: &str) -> Option<u32> {
    interface.parse().ok().or_else(|| sys::net::interface_number(interface.as_bytes()).ok())
}
