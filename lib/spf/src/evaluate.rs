//! check_host() (RFC 7208 4): a client against the policy of a domain and of those it refers to.

use crate::macros::{self, Piece, Place};
use crate::record::{self, Directive, Fault, Mechanism, Record, Widths};
use crate::{EXPLANATION_MAX, Names, Outcome, Query, Verdict};
use dns::Answer;
use std::net::IpAddr;

/// Terms that ask the DNS, in one check (RFC 7208 4.6.4).
const TERMS_MAX: u32 = 10;
/// Look-ups, in one check, of names that have nothing to say (RFC 7208 4.6.4).
const VOIDS_MAX: u32 = 2;
/// Exchangers of one `mx`, and names of an address that are looked at (RFC 7208 4.6.4).
const NAMES_MAX: usize = 10;
/// The longest name and label (RFC 1035 2.3.4), in bytes.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Evaluates the policy of the domain in `query`.
pub fn check(names: &impl Names, query: &Query<'_>) -> Verdict {
    let (local, domain) = query.identity();
    let mut check = Check {
        names,
        query,
        ip: query.ip.to_canonical(),
        local,
        domain,
        budget: Budget::default(),
        validated: None,
        at: Vec::new(),
        trail: vec![b' '],
        records: Vec::new(),
    };
    check.run()
}

/// An evaluation under way.
struct Check<'a, N> {
    names: &'a N,
    query: &'a Query<'a>,
    ip: IpAddr,
    /// The sender's local part.
    local: &'a [u8],
    /// The domain that is checked.
    domain: &'a [u8],
    budget: Budget,
    /// The names of the client that have its address; `None`: not asked for yet.
    validated: Option<Vec<Vec<u8>>>,
    /// The name of the term that is being evaluated.
    at: Vec<u8>,
    trail: Vec<u8>,
    records: Vec<u8>,
}

/// What has been used up.
#[derive(Clone, Copy, Default)]
struct Budget {
    terms: u32,
    voids: u32,
}

/// Why an evaluation ends at once: an outcome that is an error, and what is wrong.
struct Stop(Outcome, &'static str);

const NO_ANSWER: Stop = Stop(Outcome::TempError, "DNS lookup failed");

/// What a policy came to.
struct Found {
    outcome: Outcome,
    /// The domain whose policy decided, and where its explanation stands.
    explanation: Option<(Vec<u8>, Vec<Piece>)>,
}

impl From<Outcome> for Found {
    fn from(outcome: Outcome) -> Found {
        Found { outcome, explanation: None }
    }
}

impl<N: Names> Check<'_, N> {
    fn run(&mut self) -> Verdict {
        let sender = [self.local, b"@", self.domain].concat();
        let ip = self.ip.to_string();
        for (letter, value) in [("S", ip.as_bytes()), ("O", &sender), ("C", self.domain), ("H", self.query.helo)] {
            self.note(letter, value);
        }
        let (outcome, problem, explanation) = match self.policy(self.domain, true) {
            Ok(Found { outcome: Outcome::Fail, explanation }) => (Outcome::Fail, "", self.explain(explanation)),
            Ok(found) => (found.outcome, "", Vec::new()),
            Err(Stop(error, problem)) => {
                self.note("P", problem.as_bytes());
                (error, problem, Vec::new())
            }
        };
        self.trail.extend_from_slice(&[b'R', b':', crate::report::letter(outcome), b' ']);
        Verdict {
            outcome,
            loopback: false,
            domain: self.domain.to_vec(),
            problem: problem.as_bytes().to_vec(),
            mechanism: if problem.is_empty() { Vec::new() } else { std::mem::take(&mut self.at) },
            explanation,
            trail: std::mem::take(&mut self.trail),
            records: std::mem::take(&mut self.records),
        }
    }

    /// The policy of `domain`. `first`: it is the domain that is checked, not one that was referred to.
    fn policy(&mut self, domain: &[u8], first: bool) -> Result<Found, Stop> {
        if !is_plausible(domain) {
            return Ok(Outcome::None.into());
        }
        self.at = b"v=spf1".to_vec();
        let Some(texts) = self.names.txt(domain).records() else { return Err(NO_ANSWER) };
        let mut texts = texts.iter().filter(|text| record::is_policy(text));
        let (text, more) = (texts.next(), texts.next());
        self.show(domain, text.map(Vec::as_slice).unwrap_or_default());
        if more.is_some() {
            return Err(Stop(Outcome::PermError, "several SPF records"));
        }
        let mut record = match text {
            Some(text) => self.parsed(record::parse_record(text))?,
            None if first && !self.query.local_rules.is_empty() => Record::default(),
            None => return Ok(Outcome::None.into()),
        };
        if first {
            self.add_local_rules(&mut record)?;
        }
        for directive in &record.directives {
            if self.matches(directive, domain)? {
                let explanation = record.explanation.clone().filter(|_| !directive.local);
                let explanation = explanation.map(|pieces| (domain.to_vec(), pieces));
                return Ok(Found { outcome: directive.outcome, explanation });
            }
        }
        if text.is_none() {
            return Ok(Outcome::None.into());
        }
        let Some(redirect) = &record.redirect else { return Ok(Outcome::Neutral.into()) };
        self.at = b"redirect".to_vec();
        self.count_term()?;
        let other = self.expand(redirect, domain);
        self.note("D", &other);
        match self.policy(&other, false)? {
            Found { outcome: Outcome::None, .. } => {
                self.at = b"redirect".to_vec();
                Err(Stop(Outcome::PermError, "domain without SPF record"))
            }
            found => Ok(found),
        }
    }

    fn parsed(&mut self, record: Result<Record, Fault>) -> Result<Record, Stop> {
        record.map_err(|fault| {
            self.at = fault.term;
            Stop(Outcome::PermError, fault.problem)
        })
    }

    /// Puts the site's rules before the `all` of the domain, or after everything.
    fn add_local_rules(&mut self, record: &mut Record) -> Result<(), Stop> {
        let rules = self.parsed(record::parse_terms(self.query.local_rules))?;
        let end = record.directives.iter().position(|d| d.mechanism == Mechanism::All);
        let end = end.unwrap_or(record.directives.len());
        record.directives.splice(end..end, rules.directives.into_iter().map(|d| Directive { local: true, ..d }));
        Ok(())
    }

    fn matches(&mut self, directive: &Directive, domain: &[u8]) -> Result<bool, Stop> {
        self.at = directive.mechanism.name().into();
        if !directive.local {
            return self.mechanism(&directive.mechanism, domain);
        }
        // What the site asks is not charged to the domain.
        let domains_own = std::mem::take(&mut self.budget);
        let matched = self.mechanism(&directive.mechanism, domain);
        self.budget = domains_own;
        matched
    }

    fn mechanism(&mut self, mechanism: &Mechanism, domain: &[u8]) -> Result<bool, Stop> {
        let target = |check: &mut Self, target: &Option<Vec<Piece>>| match target {
            Some(pieces) => check.expand(pieces, domain),
            None => domain.to_vec(),
        };
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Include(pieces) => {
                self.count_term()?;
                let other = self.expand(pieces, domain);
                self.note("I", &other);
                self.include(&other)
            }
            Mechanism::A(name, widths) => {
                self.count_term()?;
                let name = target(self, name);
                self.note("MA/AAAA", &name);
                let addresses = self.addresses(&name);
                let addresses = self.or_void(addresses)?;
                Ok(addresses.iter().any(|&a| self.is_near(a, *widths)))
            }
            Mechanism::Mx(name, widths) => {
                self.count_term()?;
                let name = target(self, name);
                self.note("MMX", &name);
                self.exchangers(&name, *widths)
            }
            Mechanism::Ptr(name) => {
                self.count_term()?;
                let name = target(self, name);
                self.note("MPTR", &name);
                let is_known = self.validated().iter().any(|n| is_within(n, &name));
                self.check_voids()?;
                Ok(is_known)
            }
            Mechanism::Ip4(net, width) => {
                self.note("MIPv4", format!("{net}/{width}").as_bytes());
                Ok(self.is_near((*net).into(), Widths { v4: *width, v6: 0 }))
            }
            Mechanism::Ip6(net, width) => {
                self.note("MIPv6", format!("{net}/{width}").as_bytes());
                Ok(self.is_near((*net).into(), Widths { v4: 0, v6: *width }))
            }
            Mechanism::Exists(pieces) => {
                self.count_term()?;
                let name = self.expand(pieces, domain);
                self.note("MExists", &name);
                let addresses = self.names.a(&name);
                Ok(!self.or_void(addresses)?.is_empty())
            }
        }
    }

    fn include(&mut self, other: &[u8]) -> Result<bool, Stop> {
        match self.policy(other, false)?.outcome {
            Outcome::Pass => Ok(true),
            Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => Ok(false),
            // The errors come as `Err`.
            Outcome::None | Outcome::PermError | Outcome::TempError => {
                self.at = b"include".to_vec();
                Err(Stop(Outcome::PermError, "domain without SPF record"))
            }
        }
    }

    fn exchangers(&mut self, name: &[u8], widths: Widths) -> Result<bool, Stop> {
        let exchangers = self.names.mx(name);
        let exchangers = self.or_void(exchangers)?;
        if exchangers.len() > NAMES_MAX {
            return Err(Stop(Outcome::PermError, "too many mail exchangers"));
        }
        // A domain without mail has the root as its exchanger (RFC 7505).
        for exchanger in exchangers.iter().filter(|mx| !mx.name.is_empty()) {
            let addresses = self.addresses(&exchanger.name);
            let addresses = self.or_void(addresses)?;
            if addresses.iter().any(|&a| self.is_near(a, widths)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The addresses of `name` in the family of the client's.
    fn addresses(&self, name: &[u8]) -> Answer<IpAddr> {
        fn general<A: Into<IpAddr>>(answer: Answer<A>) -> Answer<IpAddr> {
            match answer {
                Answer::Found(list) => Answer::Found(list.into_iter().map(A::into).collect()),
                Answer::NoRecords => Answer::NoRecords,
                Answer::NoSuchName => Answer::NoSuchName,
                Answer::Temporary => Answer::Temporary,
            }
        }
        if self.ip.is_ipv4() { general(self.names.a(name)) } else { general(self.names.aaaa(name)) }
    }

    /// The names of the client whose address is the client's (RFC 7208 5.5). What cannot be found out is none; void
    /// look-ups are charged, and it is for the caller to see if they were too many.
    fn validated(&mut self) -> &[Vec<u8>] {
        if self.validated.is_none() {
            let mut names = self.charged(self.names.ptr(self.ip)).unwrap_or_default();
            names.truncate(NAMES_MAX);
            names.retain(|name| {
                let addresses = self.addresses(name);
                self.charged(addresses).is_some_and(|list| list.contains(&self.ip))
            });
            self.validated = Some(names);
        }
        self.validated.as_deref().unwrap_or_default()
    }

    /// Whether the client's address and `other` have their first bits in common.
    fn is_near(&self, other: IpAddr, widths: Widths) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u32::leading_zeros(a.to_bits() ^ b.to_bits()) >= u32::from(widths.v4),
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::leading_zeros(a.to_bits() ^ b.to_bits()) >= u32::from(widths.v6),
            _ => false,
        }
    }

    fn count_term(&mut self) -> Result<(), Stop> {
        self.budget.terms += 1;
        if self.budget.terms > TERMS_MAX {
            return Err(Stop(Outcome::PermError, "too many DNS lookups"));
        }
        Ok(())
    }

    /// The records, `None` if they could not be found out; that there are none is charged.
    fn charged<T>(&mut self, answer: Answer<T>) -> Option<Vec<T>> {
        let list = answer.records()?;
        self.budget.voids += u32::from(list.is_empty());
        Some(list)
    }

    /// The records, as long as there was not too often none.
    fn or_void<T>(&mut self, answer: Answer<T>) -> Result<Vec<T>, Stop> {
        let list = self.charged(answer).ok_or(NO_ANSWER)?;
        self.check_voids()?;
        Ok(list)
    }

    fn check_voids(&self) -> Result<(), Stop> {
        match self.budget.voids {
            0..=VOIDS_MAX => Ok(()),
            _ => Err(Stop(Outcome::PermError, "too many void DNS lookups")),
        }
    }

    /// The explanation of a failure: the domain's if it is usable (RFC 7208 6.2), else the site's.
    fn explain(&mut self, own: Option<(Vec<u8>, Vec<Piece>)>) -> Vec<u8> {
        let mut text = None;
        if let Some((domain, pieces)) = own {
            let name = self.expand(&pieces, &domain);
            if let Answer::Found(list) = self.names.txt(&name)
                && let [only] = list.as_slice()
                && let Some(pieces) = macros::parse(only, Place::Explanation)
            {
                text = Some(macros::expand_text(&pieces, EXPLANATION_MAX, |letter| self.value(letter, &domain)));
            }
        }
        let text = text.unwrap_or_else(|| {
            let site = self.query.explanation;
            let pieces = macros::parse(site, Place::Explanation);
            let pieces = pieces.unwrap_or_else(|| vec![Piece::Literal(site.to_vec())]);
            let domain = self.domain;
            macros::expand_text(&pieces, EXPLANATION_MAX, |letter| self.value(letter, domain))
        });
        crate::report::visible(&text)
    }

    fn expand(&mut self, pieces: &[Piece], domain: &[u8]) -> Vec<u8> {
        macros::expand_name(pieces, |letter| self.value(letter, domain))
    }

    /// What a macro letter stands for (RFC 7208 7.2).
    fn value(&mut self, letter: u8, domain: &[u8]) -> Vec<u8> {
        match letter {
            b's' => [self.local, b"@", self.domain].concat(),
            b'l' => self.local.to_vec(),
            b'o' => self.domain.to_vec(),
            b'd' => domain.to_vec(),
            b'i' => match self.ip {
                IpAddr::V4(ip) => ip.to_string().into_bytes(),
                IpAddr::V6(ip) => nibbles(ip.to_bits()),
            },
            b'p' => {
                let names = self.validated();
                let own = names.iter().find(|n| n.eq_ignore_ascii_case(domain));
                let below = || names.iter().find(|n| is_within(n, domain));
                own.or_else(below).or(names.first()).cloned().unwrap_or_else(|| b"unknown".to_vec())
            }
            b'v' => if self.ip.is_ipv4() { "in-addr" } else { "ip6" }.into(),
            b'h' => self.query.helo.to_vec(),
            b'c' => self.ip.to_string().into_bytes(),
            b'r' => self.query.receiver.to_vec(),
            b't' => self.query.now.to_string().into_bytes(),
            _ => Vec::new(),
        }
    }

    fn note(&mut self, letter: &str, value: &[u8]) {
        self.trail.extend_from_slice(letter.as_bytes());
        self.trail.push(b'=');
        self.trail.extend_from_slice(&crate::report::visible(value));
        self.trail.push(b' ');
    }

    fn show(&mut self, domain: &[u8], text: &[u8]) {
        let (domain, text) = (crate::report::visible(domain), crate::report::visible(text));
        self.records.extend_from_slice(&[b"(", &domain[..], b") => ", &text, b"\n"].concat());
    }
}

/// Whether a name can have a policy: at least two labels, none empty or too long, and no address in brackets
/// (RFC 7208 4.3).
fn is_plausible(domain: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let mut labels = domain.split(|&b| b == b'.');
    domain.len() <= NAME_MAX
        && !domain.starts_with(b"[")
        && domain.contains(&b'.')
        && labels.all(|l| !l.is_empty() && l.len() <= LABEL_MAX)
}

/// Whether `name` is `domain` or below it.
fn is_within(name: &[u8], domain: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(domain.len()) else { return false };
    let (before, end) = name.split_at(start);
    end.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with(b"."))
}

/// The 32 hexadecimal digits of an IPv6 address with dots between them.
fn nibbles(bits: u128) -> Vec<u8> {
    let digits = format!("{bits:032X}");
    digits.bytes().flat_map(|digit| [digit, b'.']).take(63).collect()
}
