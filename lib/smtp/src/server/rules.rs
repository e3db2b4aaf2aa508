//! Who may send to whom: rcpthosts, morercpthosts.cdb, localiphost, and the lists of lib/policy (qmail-control(5)).

use super::address;
use super::switches::{LocalSender, Switches};
use control::cdb::Cdb;
use control::{ConstMap, Controls, Unreadable};
use policy::content::Search;
use policy::lists::{BadHelo, BadMailFrom, BadRcptTo};
use policy::mailfromrules;
use policy::recipients::{self, Recipients};
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Something of this host fails that a session cannot do without. The client is told to come back later.
#[derive(Debug)]
pub enum Trouble {
    /// A control file exists but cannot be read.
    Controls(Unreadable),
    /// A cdb about contents cannot be read.
    Content(io::Error),
    /// A variable has a value that means nothing.
    Switches,
    /// Whether a recipient exists cannot be found out.
    Recipients(recipients::Trouble),
    /// The addresses of this host's interfaces cannot be had.
    Addresses(io::Error),
    /// No memory.
    Memory,
}

impl From<Unreadable> for Trouble {
    fn from(e: Unreadable) -> Trouble {
        Trouble::Controls(e)
    }
}

/// The domains that mail is taken for: control/rcpthosts, then control/morercpthosts.cdb.
#[derive(Debug)]
pub struct RcptHosts {
    /// `None`: no such file, mail for every domain is taken.
    listed: Option<ConstMap>,
    more: More,
}

/// morercpthosts.cdb is opened only if a domain does not stand in rcpthosts.
#[derive(Debug)]
enum More {
    NotOpened(Controls),
    Absent,
    Open(Cdb),
}

const MORE: &str = "morercpthosts.cdb";

impl RcptHosts {
    /// Reads control/rcpthosts.
    pub fn read(controls: &Controls) -> Result<RcptHosts, Unreadable> {
        let listed = controls.list("rcpthosts")?.map(|items| ConstMap::of_keys(&items));
        Ok(RcptHosts { listed, more: More::NotOpened(controls.clone()) })
    }

    /// Whether mail for `address` is taken: its domain is listed, or a suffix of it that begins at a dot is. So is an
    /// address without a domain, which is a local one.
    pub fn take(&mut self, address: &[u8]) -> Result<bool, Unreadable> {
        let Some(listed) = &self.listed else { return Ok(true) };
        let Some(domain) = address::domain(address) else { return Ok(true) };
        let domain = domain.to_ascii_lowercase();
        if suffixes(&domain).any(|s| listed.contains(s)) {
            return Ok(true);
        }
        self.more.contains_any(suffixes(&domain))
    }
}

impl More {
    fn contains_any<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<bool, Unreadable> {
        if let More::NotOpened(controls) = self {
            *self = open(controls, MORE)?.map_or(More::Absent, More::Open);
        }
        let More::Open(cdb) = self else { return Ok(false) };
        for key in keys {
            match cdb.get(key) {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(true),
                Err(error) => return Err(Unreadable { file: MORE.into(), error }),
            }
        }
        Ok(false)
    }
}

/// The domain itself and its parts from each dot on: `a.b.c`, `.b.c`, `.c`. None of an empty domain.
fn suffixes(domain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = domain.iter().enumerate().filter(|&(at, &b)| at == 0 || b == b'.');
    starts.filter_map(|(at, _)| domain.get(at..))
}

/// All rules of one session.
#[derive(Debug)]
pub struct Rules {
    controls: Controls,
    /// `None`: nobody will ask.
    rcpthosts: Option<RcptHosts>,
    pub(super) bad_senders: BadMailFrom,
    /// `None`: not read yet, for no recipient came so far.
    bad_recipients: Option<BadRcptTo>,
    pub(super) bad_helo: BadHelo,
    pub(super) recipients: Recipients,
    mailfromrules: Option<Cdb>,
    /// What messages are searched for.
    pub(super) content: Search,
    /// The addresses of this host and what control/localiphost puts in their place; looked up at the first literal.
    own: Option<(Vec<IpAddr>, Option<Vec<u8>>)>,
}

impl Rules {
    /// Reads the rules of `home`, those that count with these switches. For a client that may `relay` from the start
    /// there are none about names, and none about recipients.
    pub fn read(home: &Path, relay: bool, switches: &Switches) -> Result<Rules, Unreadable> {
        let controls = Controls::of(home);
        let list = |name: &str| Ok::<_, Unreadable>(controls.list(name)?.unwrap_or_default());
        let cdb = |wanted: bool, name: &str| if wanted { open(&controls, name) } else { Ok(None) };
        let bad_helo = if switches.helo.is_some() && !relay { list("badhelo")? } else { Vec::new() };
        let known = if relay { None } else { controls.list("recipients")? };
        let local = switches.local_sender.as_ref();
        let mailfromrules = cdb(local == Some(&LocalSender::Rules), "mailfromrules.cdb")?;
        let needs_hosts = !relay
            || match local {
                None | Some(LocalSender::User | LocalSender::Certificate) => false,
                Some(LocalSender::Rules) => mailfromrules.is_none(),
                Some(LocalSender::RcptHosts | LocalSender::Domain(_)) => true,
            };
        let loaders = cdb(switches.content.loader.is_some(), "badloadertypes.cdb")?;
        Ok(Rules {
            rcpthosts: if needs_hosts { Some(RcptHosts::read(&controls)?) } else { None },
            bad_senders: BadMailFrom::of(&list("badmailfrom")?),
            bad_recipients: None,
            bad_helo: BadHelo::of(&bad_helo),
            recipients: Recipients::of(home, known),
            mailfromrules,
            content: Search {
                mimetypes: cdb(switches.content.mimetypes, "badmimetypes.cdb")?,
                blanks: switches.content.blanks,
                loaders: switches.content.loader.zip(loaders),
            },
            own: None,
            controls,
        })
    }

    /// Whether a client without the right to relay may send to `recipient`.
    pub fn may_send_to(&mut self, recipient: &[u8]) -> Result<bool, Trouble> {
        match &mut self.rcpthosts {
            None => Ok(true),
            Some(hosts) => Ok(hosts.take(recipient)?),
        }
    }

    /// Whether mail for the address would be taken.
    pub(super) fn is_local(&mut self, address: &[u8]) -> Result<bool, Trouble> {
        self.may_send_to(address)
    }

    /// Whether the site takes no mail for `recipient`.
    pub(super) fn refuses_recipient(&mut self, recipient: &[u8]) -> Result<bool, Trouble> {
        if self.bad_recipients.is_none() {
            let items = match self.controls.list("badrcptto")? {
                // What other patched servers call it.
                None => self.controls.list("badmailto")?,
                items => items,
            };
            self.bad_recipients = Some(BadRcptTo::of(&items.unwrap_or_default()));
        }
        Ok(self.bad_recipients.as_ref().is_some_and(|list| list.refuses(recipient)))
    }

    pub(super) fn has_mailfromrules(&self) -> bool {
        self.mailfromrules.is_some()
    }

    /// Whether mailfromrules.cdb allows the client the sender.
    pub(super) fn allows_sender(&self, client: mailfromrules::Client<'_>, sender: &[u8]) -> Result<bool, Trouble> {
        let Some(rules) = &self.mailfromrules else { return Ok(false) };
        let unreadable = |error| Unreadable { file: self.controls.path("mailfromrules.cdb"), error };
        Ok(mailfromrules::allow(rules, client, sender).map_err(unreadable)?)
    }

    /// Puts the name in control/localiphost in place of an address literal that is one of this host's.
    pub fn name_own_literal(&mut self, address: &mut Vec<u8>) -> Result<(), Trouble> {
        let Some(domain) = address::domain(address) else { return Ok(()) };
        let Some(ip) = address::literal(domain) else { return Ok(()) };
        let before = address.len() - domain.len();
        let (own, name) = match &mut self.own {
            Some(known) => known,
            unknown => {
                let own = sys::net::local_addresses().map_err(Trouble::Addresses)?;
                unknown.insert((own, self.controls.line_or_me("localiphost")?))
            }
        };
        if let Some(name) = name.as_ref().filter(|_| own.contains(&ip.to_canonical())) {
            address.truncate(before);
            address.extend_from_slice(name);
        }
        Ok(())
    }
}

/// A cdb in control; `None` if there is none.
fn open(controls: &Controls, name: &str) -> Result<Option<Cdb>, Unreadable> {
    let file = controls.path(name);
    match Cdb::open(&file) {
        Ok(cdb) => Ok(Some(cdb)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unreadable { file, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Controls) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("control")).unwrap();
        for (name, bytes) in files {
            std::fs::write(home.path().join("control").join(name), bytes).unwrap();
        }
        let controls = Controls::of(home.path());
        (home, controls)
    }

    #[test]
    fn s18_the_last_domain_decides() {
        let (_home, controls) = controls(&[("rcpthosts", b"Example.org\n.sub.example.org\n")]);
        let mut hosts = RcptHosts::read(&controls).unwrap();
        let rows: [(&[u8], bool); 14] = [
            (b"a@example.org", true),
            (b"a@EXAMPLE.ORG", true),
            (b"a@sub.example.org", false),
            (b"a@x.sub.example.org", true),
            (b"a@x.y.sub.example.org", true),
            (b"a@org", false),
            (b"a@badexample.org", false),
            (b"a@example.org.", false),
            (b"x@example.org@other.test", false),
            (b"x@other.test@example.org", true),
            (b"x%other.test@example.org", true),
            (b"a@", false),
            (b"other.test!x", true),
            (b"", true),
        ];
        for (address, taken) in rows {
            assert_eq!(hosts.take(address).unwrap(), taken, "{}", address.escape_ascii());
        }
    }

    #[test]
    fn s25_a_cut_cdb_is_trouble_and_is_only_looked_at_when_needed() {
        let (_home, controls) = controls(&[("rcpthosts", b"a.test\n"), (MORE, b"cut short")]);
        let mut hosts = RcptHosts::read(&controls).unwrap();
        assert!(hosts.take(b"x@a.test").unwrap());
        assert!(hosts.take(b"x@b.test").is_err());
    }

    #[test]
    fn s25_a_directory_in_place_of_a_control_file_is_trouble() {
        let (home, controls) = controls(&[]);
        std::fs::create_dir(controls.path("badmailfrom")).unwrap();
        assert!(Rules::read(home.path(), false, &Switches::default()).is_err());
    }

    #[test]
    fn own_literals_are_named() {
        let (home, _controls) = controls(&[("me", b"me.test\n"), ("localiphost", b"ip.test\n")]);
        let mut rules = Rules::read(home.path(), true, &Switches::default()).unwrap();
        for (from, to) in [
            ("a@[127.0.0.1]", "a@ip.test"),
            ("a@[0.0.0.0]", "a@ip.test"),
            ("a@[IPv6:::ffff:127.0.0.1]", "a@ip.test"),
            ("a@[192.0.2.77]", "a@[192.0.2.77]"),
            ("a@[127.0.0.1].x", "a@[127.0.0.1].x"),
            ("[127.0.0.1]", "[127.0.0.1]"),
            ("@[127.0.0.1]", "@ip.test"),
        ] {
            let mut address = from.as_bytes().to_vec();
            rules.name_own_literal(&mut address).unwrap();
            assert_eq!(address, to.as_bytes());
        }
    }
}
