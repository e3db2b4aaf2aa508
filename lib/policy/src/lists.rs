//! badmailfrom, badhelo and badrcptto: names and addresses that are refused.

use crate::wildmat::Patterns;
use crate::{ends_in, suffixes};
use control::ConstMap;

/// What is known of the client when its sender is judged.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// It may send to any domain.
    pub relay: bool,
    /// Its name in the DNS, if it is known.
    pub host: Option<&'a [u8]>,
}

/// What badmailfrom says about a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Not listed.
    Clean,
    /// Listed as `?sender`: no other entry counts, nor is its domain looked up.
    Exempt,
    /// Refused; the sign of the kind of entry, for the log: one of `@ ~ = - + *`.
    Bad(u8),
}

/// control/badmailfrom.
#[derive(Clone, Debug, Default)]
pub struct BadMailFrom {
    listed: ConstMap,
    patterns: Patterns,
}

impl BadMailFrom {
    /// The items of the file.
    pub fn of(items: &[Vec<u8>]) -> BadMailFrom {
        BadMailFrom { listed: ConstMap::of_keys(items), patterns: Patterns::of(items, is_pattern) }
    }

    /// Judges an envelope sender. The first kind of entry that says something decides (spec/control.md 4.1).
    pub fn judge(&self, sender: &[u8], client: Client<'_>) -> Sender {
        if self.listed.is_empty() {
            return Sender::Clean;
        }
        if self.listed.contains(&[b"?", sender].concat()) {
            return Sender::Exempt;
        }
        let at = sender.iter().rposition(|&b| b == b'@');
        if let Some(domain) = at.and_then(|at| sender.get(at..)) {
            if let Some(sign) = self.spoofed(domain, client) {
                return Sender::Bad(sign);
            }
            if self.listed.contains(domain) {
                return Sender::Bad(b'@');
            }
        }
        if self.listed.contains(sender) {
            return Sender::Bad(b'@');
        }
        if self.patterns.catch(sender) { Sender::Bad(b'*') } else { Sender::Clean }
    }

    /// The entries that compare the sender's domain, here with its `@`, with the client.
    fn spoofed(&self, domain: &[u8], client: Client<'_>) -> Option<u8> {
        let listed = |sign: u8| self.listed.contains(&[domain, &[sign]].concat());
        if !client.relay && listed(b'+') {
            return Some(b'+');
        }
        let Some(host) = client.host else { return listed(b'-').then_some(b'-') };
        let domain = domain.get(1..).unwrap_or_default();
        if host.len() < domain.len() || ends_in(host, domain) {
            return None;
        }
        if listed(b'=') {
            return Some(b'=');
        }
        let named = |name: &[u8]| self.listed.contains(&[b"~", name].concat());
        let parent = |suffix: &[u8]| named(suffix) || suffix.get(1..).is_some_and(named);
        (named(host) || suffixes(host, b'.').any(parent)).then_some(b'~')
    }
}

/// The entries with a meaning of their own are no patterns, but for a `?` that begins one.
fn is_pattern(item: &[u8]) -> bool {
    match item {
        [b'@' | b'~', ..] => false,
        [b'?', rest @ ..] => rest.iter().any(|b| b"*?[".contains(b)),
        _ => true,
    }
}

/// What badhelo says about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helo {
    /// Not listed.
    Clean,
    /// Listed as `name!`: no check of names counts.
    Exempt,
    /// Refused; `.` for an entry that is the name, `*` for a pattern.
    Bad(u8),
}

/// control/badhelo.
#[derive(Clone, Debug, Default)]
pub struct BadHelo {
    listed: ConstMap,
    patterns: Patterns,
}

impl BadHelo {
    /// The items of the file.
    pub fn of(items: &[Vec<u8>]) -> BadHelo {
        let is_pattern = |item: &[u8]| item.last() != Some(&b'!') || item == b"!";
        BadHelo { listed: ConstMap::of_keys(items), patterns: Patterns::of(items, is_pattern) }
    }

    /// Judges a HELO name (spec/control.md 4.2).
    pub fn judge(&self, name: &[u8]) -> Helo {
        if self.listed.contains(&[name, b"!"].concat()) {
            Helo::Exempt
        } else if self.listed.contains(name) {
            Helo::Bad(b'.')
        } else if self.patterns.catch(name) {
            Helo::Bad(b'*')
        } else {
            Helo::Clean
        }
    }
}

/// control/badrcptto.
#[derive(Clone, Debug, Default)]
pub struct BadRcptTo {
    listed: ConstMap,
    patterns: Patterns,
}

impl BadRcptTo {
    /// The items of the file.
    pub fn of(items: &[Vec<u8>]) -> BadRcptTo {
        let is_pattern = |item: &[u8]| item.first() != Some(&b'@');
        BadRcptTo { listed: ConstMap::of_keys(items), patterns: Patterns::of(items, is_pattern) }
    }

    /// Whether the recipient is refused: it, or `@` and its domain, is listed, or a pattern covers it.
    pub fn refuses(&self, recipient: &[u8]) -> bool {
        if self.listed.is_empty() {
            return false;
        }
        let at = recipient.iter().rposition(|&b| b == b'@');
        let domain = at.and_then(|at| recipient.get(at..));
        self.listed.contains(recipient)
            || domain.is_some_and(|d| self.listed.contains(d))
            || self.patterns.catch(recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(lines: &str) -> Vec<Vec<u8>> {
        control::items(lines.as_bytes())
    }

    #[test]
    fn badmailfrom_judges_in_the_order_of_its_kinds() {
        let list = BadMailFrom::of(&items(
            "?good@evil.test\nBad@x.test\n@evil.test\n@own.test+\n@nodns.test-\n@big.test=\n~dial.isp.test\n\
             ~dyn.test\n*%*\n!ok%*\n@both.test+\n@both.test",
        ));
        let known = |host| Client { relay: false, host: Some(host) };
        let unknown = Client { relay: false, host: None };
        let relay = Client { relay: true, host: Some(b"desk.own.test") };
        let rows: [(&str, Client<'_>, Sender); 27] = [
            ("a@clean.test", known(b"mx.clean.test"), Sender::Clean),
            ("", unknown, Sender::Clean),
            ("GOOD@evil.test", unknown, Sender::Exempt),
            ("other@EVIL.test", unknown, Sender::Bad(b'@')),
            ("bad@X.test", unknown, Sender::Bad(b'@')),
            ("ok@x.test", unknown, Sender::Clean),
            ("a@sub.evil.test", unknown, Sender::Clean),
            ("a@own.test", unknown, Sender::Bad(b'+')),
            ("a@own.test", relay, Sender::Clean),
            ("a@both.test", unknown, Sender::Bad(b'+')),
            ("a@both.test", relay, Sender::Bad(b'@')),
            ("a@nodns.test", unknown, Sender::Bad(b'-')),
            ("a@nodns.test", known(b"mx.other.test"), Sender::Clean),
            ("a@big.test", known(b"mx1.big.test"), Sender::Clean),
            ("a@big.test", known(b"BIG.test"), Sender::Clean),
            ("a@big.test", known(b"spam.other.test"), Sender::Bad(b'=')),
            ("a@big.test", unknown, Sender::Clean),
            ("a@big.test", known(b"x.y"), Sender::Clean),
            ("a@b.test", known(b"dial.isp.test"), Sender::Bad(b'~')),
            ("a@b.test", known(b"4-3.dial.isp.test"), Sender::Bad(b'~')),
            ("a@b.test", known(b"a.b.DYN.test"), Sender::Bad(b'~')),
            ("a@b.test", known(b"mail.isp.test"), Sender::Clean),
            ("a@dyn.test", known(b"host.dyn.test"), Sender::Clean),
            ("x%y@b.test", unknown, Sender::Bad(b'*')),
            ("ok%y@b.test", unknown, Sender::Clean),
            ("bad@x.test@b.test", unknown, Sender::Clean),
            ("no-at", unknown, Sender::Clean),
        ];
        for (sender, client, expected) in rows {
            assert_eq!(list.judge(sender.as_bytes(), client), expected, "{sender} {client:?}");
        }
        assert_eq!(BadMailFrom::default().judge(b"a@b", unknown), Sender::Clean);
    }

    #[test]
    fn entries_with_a_sign_are_no_patterns() {
        let unknown = Client { relay: false, host: None };
        let list = BadMailFrom::of(&items("?joe@x.test\n??@short.test"));
        assert_eq!(list.judge(b"ajoe@x.test", unknown), Sender::Clean);
        assert_eq!(list.judge(b"ab@short.test", unknown), Sender::Bad(b'*'));
        assert_eq!(list.judge(b"?@short.test", unknown), Sender::Exempt);
    }

    #[test]
    fn badhelo_has_names_patterns_and_exemptions() {
        let list = BadHelo::of(&items("localhost\n*.dyn.test\n!good.dyn.test\n[192.0.2.1]!\n*.spam.test!"));
        let rows: [(&str, Helo); 8] = [
            ("LocalHost", Helo::Bad(b'.')),
            ("a.dyn.test", Helo::Bad(b'*')),
            ("good.dyn.test", Helo::Clean),
            ("mx.test", Helo::Clean),
            ("", Helo::Clean),
            ("[192.0.2.1]", Helo::Exempt),
            ("1", Helo::Clean),
            ("x.spam.test", Helo::Clean),
        ];
        for (name, expected) in rows {
            assert_eq!(list.judge(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn badrcptto_has_addresses_domains_and_patterns() {
        let list = BadRcptTo::of(&items("joe@x.test\n@closed.test\n*\n!user1@open.test\n!*@another.test"));
        let rows = [
            ("joe@x.test", true),
            ("any@closed.test", true),
            ("user1@open.test", false),
            ("USER1@Open.test", false),
            ("user2@open.test", true),
            ("x@another.test", false),
            ("", true),
        ];
        for (recipient, refused) in rows {
            assert_eq!(list.refuses(recipient.as_bytes()), refused, "{recipient}");
        }
        assert!(!BadRcptTo::default().refuses(b"a@b"));
    }
}
