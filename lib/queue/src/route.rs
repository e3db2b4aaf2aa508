//! Which channel a recipient belongs to, and under which address: control/locals, percenthack and virtualdomains
//! (qmail-send(8)).

use crate::layout::Channel;
use control::{ConstMap, Controls, Unreadable};

/// The routing controls, as read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    env_no_at_host: Vec<u8>,
    percenthack: ConstMap,
    locals: ConstMap,
    virtualdomains: ConstMap,
}

/// Routing controls that can not be had.
#[derive(Debug)]
pub enum Error {
    /// A control file could not be read.
    Unreadable(Unreadable),
    /// Neither this file nor control/me exists.
    Missing(&'static str),
}

impl From<Unreadable> for Error {
    fn from(e: Unreadable) -> Self {
        Error::Unreadable(e)
    }
}

impl Routes {
    /// Reads control/envnoathost, percenthack, locals and virtualdomains.
    pub fn read(controls: &Controls) -> Result<Routes, Error> {
        let mut r = Routes {
            env_no_at_host: controls.line_or_me("envnoathost")?.unwrap_or_else(|| b"envnoathost".to_vec()),
            percenthack: ConstMap::of_keys(&controls.list("percenthack")?.unwrap_or_default()),
            ..Routes::default()
        };
        r.read_again(controls)?;
        Ok(r)
    }

    /// Reads locals and virtualdomains again, as SIGHUP asks for. On an error the old values stay.
    pub fn read_again(&mut self, controls: &Controls) -> Result<(), Error> {
        let locals = controls.list_or_me("locals")?.ok_or(Error::Missing("locals"))?;
        let virtualdomains = controls.list("virtualdomains")?.unwrap_or_default();
        self.locals = ConstMap::of_keys(&locals);
        self.virtualdomains = ConstMap::of_pairs(&virtualdomains);
        Ok(())
    }

    /// The channel of an envelope recipient, and the address it has there.
    ///
    /// An address without `@` gets envnoathost; `user%host@hack` becomes `user@host` while the domain is in
    /// percenthack; a domain in locals is local; an entry of virtualdomains for the address, the domain, one of its
    /// dotted suffixes or the empty key makes it local with a prefix; everything else is remote.
    pub fn rewrite(&self, recipient: &[u8]) -> (Channel, Vec<u8>) {
        let mut address = recipient.to_vec();
        let mut at = match address.iter().rposition(|&b| b == b'@') {
            Some(at) => at,
            None => {
                address.push(b'@');
                address.extend_from_slice(&self.env_no_at_host);
                recipient.len()
            }
        };
        while self.percenthack.contains(after(&address, at)) {
            let Some(percent) = address.iter().take(at).rposition(|&b| b == b'%') else { break };
            address.truncate(at);
            if let Some(b) = address.get_mut(percent) {
                *b = b'@';
            }
            at = percent;
        }
        if self.locals.contains(after(&address, at)) {
            return (Channel::Local, address);
        }
        match self.prepend(&address, at) {
            Some(prefix) => {
                let mut with_prefix = prefix.to_vec();
                with_prefix.push(b'-');
                with_prefix.extend_from_slice(&address);
                (Channel::Local, with_prefix)
            }
            None => (Channel::Remote, address),
        }
    }

    /// The prefix of the first entry of virtualdomains that is for `address`. An empty prefix ends the search: it makes
    /// an exception, the address is remote.
    fn prepend(&self, address: &[u8], at: usize) -> Option<&[u8]> {
        let places = (0..=address.len())
            .filter(|&i| i == 0 || i == at + 1 || i == address.len() || (i > at && address.get(i) == Some(&b'.')));
        let found = places.filter_map(|i| self.virtualdomains.get(address.get(i..).unwrap_or_default())).next();
        found.filter(|prefix| !prefix.is_empty())
    }

    /// A local recipient as its sender knows it: without the prefix that [`Routes::rewrite`] put in front.
    pub fn without_prefix<'a>(&self, recipient: &'a [u8]) -> &'a [u8] {
        let Some(at) = recipient.iter().rposition(|&b| b == b'@') else { return recipient };
        let domain = after(recipient, at);
        let places = (0..=domain.len()).filter(|&i| i == 0 || i == domain.len() || domain.get(i) == Some(&b'.'));
        for i in places {
            if let Some(prefix) = self.virtualdomains.get(domain.get(i..).unwrap_or_default()) {
                if prefix.is_empty() {
                    break;
                }
                let rest = recipient.strip_prefix(prefix).and_then(|r| r.strip_prefix(b"-"));
                return rest.unwrap_or(recipient);
            }
        }
        recipient
    }
}

fn after(address: &[u8], at: usize) -> &[u8] {
    address.get(at + 1..).unwrap_or_default()
}

/// The envelope sender for one recipient: `owner-@host-@[]` becomes `owner-recipient=domain@host` (VERP), any other
/// sender stays.
pub fn sender_for(sender: &[u8], recipient: &[u8]) -> Vec<u8> {
    let verp = || {
        let base = sender.strip_suffix(b"-@[]")?;
        let at = base.iter().rposition(|&b| b == b'@')?;
        let recipient_at = recipient.iter().rposition(|&b| b == b'@')?;
        let (owner, host) = base.split_at(at);
        let (local, domain) = recipient.split_at(recipient_at);
        Some([owner, local, b"=", domain.get(1..)?, b"@", host.get(1..)?].concat())
    };
    verp().unwrap_or_else(|| sender.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let list = |items: &[&str]| items.iter().map(|i| i.as_bytes().to_vec()).collect::<Vec<_>>();
        Routes {
            env_no_at_host: b"here.test".to_vec(),
            percenthack: ConstMap::of_keys(&list(&["hack.test"])),
            locals: ConstMap::of_keys(&list(&["here.test"])),
            virtualdomains: ConstMap::of_pairs(&list(&[
                "v.test:joe",
                ".sub.test:sub",
                "not.sub.test:",
                "one@x.test:single",
            ])),
        }
    }

    #[test]
    fn recipients_go_where_the_controls_say() {
        use Channel::{Local, Remote};
        for (given, channel, address) in [
            ("ann", Local, "ann@here.test"),
            ("ann@HERE.test", Local, "ann@HERE.test"),
            ("ann%here.test@hack.test", Local, "ann@here.test"),
            ("ann%far.test@hack.test", Remote, "ann@far.test"),
            ("ann@hack.test", Remote, "ann@hack.test"),
            ("a%b%hack.test@hack.test", Remote, "a@b"),
            ("x@v.test", Local, "joe-x@v.test"),
            ("x@deep.a.sub.test", Local, "sub-x@deep.a.sub.test"),
            ("x@not.sub.test", Remote, "x@not.sub.test"),
            ("one@x.test", Local, "single-one@x.test"),
            ("two@x.test", Remote, "two@x.test"),
            ("a@b@here.test", Local, "a@b@here.test"),
            ("", Local, "@here.test"),
            ("@", Remote, "@"),
        ] {
            assert_eq!(routes().rewrite(given.as_bytes()), (channel, address.as_bytes().to_vec()), "{given}");
        }
    }

    #[test]
    fn the_prefix_goes_as_it_came() {
        for (given, want) in [
            ("joe-x@v.test", "x@v.test"),
            ("x@v.test", "x@v.test"),
            ("sub-x@deep.a.sub.test", "x@deep.a.sub.test"),
            ("x@not.sub.test", "x@not.sub.test"),
            ("x", "x"),
        ] {
            assert_eq!(routes().without_prefix(given.as_bytes()), want.as_bytes(), "{given}");
        }
    }

    #[test]
    fn verp_senders_name_the_recipient() {
        for (sender, recipient, want) in [
            ("owner-@h-@[]", "joe@x", "owner-joe=x@h"),
            ("owner-@h-@[]", "joe", "owner-@h-@[]"),
            ("#@[]", "joe@x", "#@[]"),
            ("-@[]", "joe@x", "-@[]"),
            ("a@b", "joe@x", "a@b"),
        ] {
            assert_eq!(sender_for(sender.as_bytes(), recipient.as_bytes()), want.as_bytes(), "{sender}");
        }
    }
}
