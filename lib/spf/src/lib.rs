//! Sender Policy Framework (RFC 7208): whether a client may send mail in the name of a domain.
//!
//! [`check`] evaluates a domain's policy for one client and gives a [`Verdict`]. Nothing here opens a socket: names are
//! asked for through [`Names`], which [`dns::Resolver`] is one of, and whose time limit bounds the whole.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod evaluate;
mod macros;
mod names;
mod record;
mod report;

pub use evaluate::check;
pub use names::Names;
pub use report::is_loopback;

use std::net::IpAddr;

/// What is said of a failure if neither the domain nor the site has a text of its own.
pub const EXPLANATION: &[u8] = b"SPF check failed for %{s} from %{i}";

/// The longest explanation, in bytes: a text from the DNS may be 64 KiB, and each macro in it may grow.
pub const EXPLANATION_MAX: usize = 1000;

/// How long one [`check`] may take, in seconds (RFC 7208 4.6.4 demands at least this; spec/reliability.md D2). The
/// caller sets it with [`dns::Resolver::until`].
pub const CHECK_SECS: u64 = 20;

/// A client and what it says of itself.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Its address; an IPv4 address mapped into IPv6 counts as IPv4.
    pub ip: IpAddr,
    /// The name in HELO or EHLO.
    pub helo: &'a [u8],
    /// The envelope sender. If it has no domain, the name in HELO is checked (RFC 7208 2.4).
    pub sender: &'a [u8],
    /// This host's name, for `%{r}`.
    pub receiver: &'a [u8],
    /// Mechanisms of the site (control/spflocalrules), taken before the final `all` of the domain's policy, and alone
    /// if the domain has none. Empty: none.
    pub local_rules: &'a [u8],
    /// The site's text for a failure that the domain does not explain (control/spfexplain): [`EXPLANATION`] else.
    pub explanation: &'a [u8],
    /// Seconds since 1970, for `%{t}`.
    pub now: u64,
}

impl<'a> Query<'a> {
    /// A query without anything of the site.
    pub fn new(ip: IpAddr, helo: &'a [u8], sender: &'a [u8]) -> Query<'a> {
        Query { ip, helo, sender, receiver: b"unknown", local_rules: b"", explanation: EXPLANATION, now: 0 }
    }

    /// Local part and domain that are checked: those of the sender, or the postmaster of the name in HELO
    /// (RFC 7208 2.4, 4.3).
    fn identity(&self) -> (&'a [u8], &'a [u8]) {
        let (local, domain) = match self.sender.iter().rposition(|&b| b == b'@') {
            Some(at) => self.sender.split_at(at),
            None => (self.sender, &b""[..]),
        };
        let domain = domain.strip_prefix(b"@").filter(|d| !d.is_empty()).unwrap_or(self.helo);
        (if local.is_empty() { b"postmaster" } else { local }, domain)
    }
}

/// The results of RFC 7208 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The client may.
    Pass,
    /// The domain says nothing.
    None,
    /// The policy, or what it leads to, is wrong: nobody can say.
    PermError,
    /// The domain says that it does not say.
    Neutral,
    /// The client probably may not.
    SoftFail,
    /// The client may not.
    Fail,
    /// A name server did not answer: nobody can say now.
    TempError,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The result.
    pub outcome: Outcome,
    /// The client is this host, and nothing was asked.
    pub loopback: bool,
    /// The domain that was checked.
    pub domain: Vec<u8>,
    /// What is wrong, if the outcome is an error.
    pub problem: Vec<u8>,
    /// Where: the name of a mechanism or modifier; `v=spf1` for the record as a whole.
    pub mechanism: Vec<u8>,
    /// Why the client may not, if it fails: one line of visible ASCII.
    pub explanation: Vec<u8>,
    /// For people: the steps, as s/qmail's spfquery prints them.
    pub trail: Vec<u8>,
    /// For people: each policy that was read, one a line: `(domain) => policy`.
    pub records: Vec<u8>,
}

impl Verdict {
    /// The verdict on a client that is this host itself: it passes, whatever a domain says.
    pub fn loopback(query: &Query<'_>) -> Verdict {
        Verdict {
            outcome: Outcome::Pass,
            loopback: true,
            domain: query.identity().1.to_vec(),
            problem: Vec::new(),
            mechanism: Vec::new(),
            explanation: Vec::new(),
            trail: format!(" MLocal={} R:+ ", query.ip.to_canonical()).into_bytes(),
            records: Vec::new(),
        }
    }
}
