//! Where mail goes, and how: by control/authsenders, control/qmtproutes or control/smtproutes, else to the host itself
//! (spec/control.md 4.5, 4.6).

use std::net::Ipv6Addr;
use tunnel::{suffixes, value_of};
use zeroize::Zeroizing;

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Smtp,
    Qmtp,
}

/// The ports of SMTP and QMTP, and those where TLS is spoken from the start.
const SMTP: u16 = 25;
pub const SMTPS: u16 = 465;
const QMTP: u16 = 209;
pub const QMTPS: u16 = 6209;

/// Whom a server is to know us as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Zeroizing<Vec<u8>>,
}

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host to find: a name or an address literal.
    pub host: Vec<u8>,
    /// Whether it is a relay that was set by hand: it is taken as it is, without MX, even if it is this host.
    pub relay: bool,
    /// What to speak.
    pub protocol: Protocol,
    /// The port to connect to.
    pub port: u16,
    /// Whom to be there.
    pub account: Option<Account>,
}

impl Default for Route {
    fn default() -> Route {
        Route { host: Vec::new(), relay: false, protocol: Protocol::Smtp, port: SMTP, account: None }
    }
}

/// The lines of the three files; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub authsenders: Vec<Vec<u8>>,
    pub qmtproutes: Vec<Vec<u8>>,
    pub smtproutes: Vec<Vec<u8>>,
}

impl Tables {
    /// The way for mail from `sender` to `host`. The sender's own comes first, then, for bounces, that of the key `!@`,
    /// then that of the host's name and of what follows each of its dots, each in qmtproutes and then in smtproutes. An
    /// empty relay there means the host itself. `None`: the line makes no sense.
    pub fn find(&self, host: &[u8], sender: &[u8]) -> Option<Route> {
        if let Some(value) = sender_keys(sender).find_map(|key| value_of(key, &self.authsenders))
            && !value.is_empty()
        {
            return parse(value, Protocol::Smtp);
        }
        let bounces: &[&[u8]] = if sender.is_empty() { &[b"!@"] } else { &[] };
        for (is_own, key) in bounces.iter().map(|k| (false, *k)).chain(suffixes(host).map(|k| (true, k))) {
            let tables = [(Protocol::Qmtp, &self.qmtproutes), (Protocol::Smtp, &self.smtproutes)];
            let mut hits = tables.into_iter().filter_map(|(protocol, lines)| Some((protocol, value_of(key, lines)?)));
            match hits.next() {
                Some((protocol, relay)) if !relay.is_empty() => return parse(relay, protocol),
                // Nothing is said about bounces.
                Some(_) if !is_own => {}
                Some((protocol, _)) => {
                    return Some(Route { host: host.to_vec(), protocol, port: port_of(protocol), ..Route::default() });
                }
                None => {}
            }
        }
        Some(Route { host: host.to_vec(), ..Route::default() })
    }
}

/// The whole address, what follows each `@` and each dot with it, and the empty key.
fn sender_keys(sender: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_start = |i: &usize| *i == 0 || matches!(sender.get(*i), None | Some(b'@' | b'.'));
    (0..=sender.len()).filter(is_start).filter_map(|i| sender.get(i..))
}

fn port_of(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Smtp => SMTP,
        Protocol::Qmtp => QMTP,
    }
}

/// `relay`, `relay:port` or `relay;port`, perhaps with `|user|password`. A relay that is an IPv6 address needs brackets or
/// the semicolon to have a port. QMTP knows no users.
fn parse(value: &[u8], protocol: Protocol) -> Option<Route> {
    let mut parts = value.splitn(3, |&b| b == b'|');
    let relay = parts.next()?;
    let account = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some(user), Some(password)) if !user.is_empty() && protocol == Protocol::Smtp => {
            Some(Account { user: user.to_vec(), password: password.to_vec().into() })
        }
        _ => return None,
    };
    let (host, port) = host_and_port(relay)?;
    let port = port.unwrap_or(port_of(protocol));
    (!host.is_empty()).then_some(Route { host, relay: true, protocol, port, account })
}

fn host_and_port(value: &[u8]) -> Option<(Vec<u8>, Option<u16>)> {
    let literal = if value.first() == Some(&b'[') { value.iter().position(|&b| b == b']')? + 1 } else { 0 };
    let (literal, rest) = value.split_at(literal);
    let semicolon = rest.iter().position(|&b| b == b';');
    if semicolon.is_none() && literal.is_empty() && is_ipv6(rest) {
        return Some((value.to_vec(), None));
    }
    let Some(at) = semicolon.or_else(|| rest.iter().position(|&b| b == b':')) else {
        return (rest.is_empty() || literal.is_empty()).then(|| (value.to_vec(), None));
    };
    let (name, port) = rest.split_at(at);
    if !literal.is_empty() && !name.is_empty() {
        return None;
    }
    let port = match port.get(1..)? {
        b"" => None,
        digits if digits.iter().all(u8::is_ascii_digit) => Some(str::from_utf8(digits).ok()?.parse().ok()?),
        _ => return None,
    };
    Some(([literal, name].concat(), port))
}

fn is_ipv6(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|t| t.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<Vec<u8>> {
        text.iter().map(|r| r.as_bytes().to_vec()).collect()
    }

    fn find(host: &[u8], routes: &[&str]) -> Option<Route> {
        Tables { smtproutes: lines(routes), ..Tables::default() }.find(host, b"s@x")
    }

    #[test]
    fn the_most_specific_line_counts() {
        let routes = &["a.b.test:exact", ".b.test:sub", ".test:tld", "none.test:", ":all"];
        for (host, relay) in [
            ("a.b.test", Some("exact")),
            ("A.B.Test", Some("exact")),
            ("c.b.test", Some("sub")),
            ("b.test", Some("tld")),
            ("x.a.b.test", Some("sub")),
            ("none.test", None),
            ("elsewhere", Some("all")),
            ("", Some("all")),
        ] {
            let found = find(host.as_bytes(), routes).unwrap();
            assert_eq!(found.relay, relay.is_some(), "{host}");
            assert_eq!(found.host, relay.unwrap_or(host).as_bytes(), "{host}");
        }
        assert!(!find(b"a.test", &[]).unwrap().relay);
    }

    #[test]
    fn relays_and_ports() {
        for (value, want) in [
            ("r.test", Some(("r.test", 25))),
            ("r.test:26", Some(("r.test", 26))),
            ("r.test;26", Some(("r.test", 26))),
            ("r.test:", Some(("r.test", 25))),
            ("r.test;", Some(("r.test", 25))),
            ("127.0.0.1:2525", Some(("127.0.0.1", 2525))),
            ("[127.0.0.1]", Some(("[127.0.0.1]", 25))),
            ("[127.0.0.1]:2525", Some(("[127.0.0.1]", 2525))),
            ("[::1]:2525", Some(("[::1]", 2525))),
            ("[::1];2525", Some(("[::1]", 2525))),
            ("[IPv6:::1]", Some(("[IPv6:::1]", 25))),
            ("2001:db8::1", Some(("2001:db8::1", 25))),
            ("2001:db8::1;26", Some(("2001:db8::1", 26))),
            ("r.test:65535", Some(("r.test", 65535))),
            ("r.test:65536", None),
            ("r.test:2x", None),
            ("r.test:-1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[::1]x:26", None),
            (":26", None),
            ("|user|secret", None),
            ("r.test|user", None),
            ("r.test||secret", None),
        ] {
            let found = find(b"x", &[&format!(":{value}")]);
            let want = want.map(|(host, port)| Route { host: host.into(), relay: true, port, ..Route::default() });
            assert_eq!(found, want, "{value}");
        }
    }

    #[test]
    fn accounts_have_a_user_and_a_password_that_may_hold_anything() {
        let found = find(b"x", &[":r.test;587|joe|se|cr:et"]).unwrap();
        let account = Account { user: b"joe".to_vec(), password: b"se|cr:et".to_vec().into() };
        let want =
            Route { host: b"r.test".to_vec(), relay: true, port: 587, account: Some(account), ..Route::default() };
        assert_eq!(found, want);
        assert_eq!(find(b"x", &[":r.test|joe|"]).unwrap().account.unwrap().password.as_slice(), b"");
    }

    #[test]
    fn qmtproutes_go_before_smtproutes_of_the_same_length() {
        let tables = Tables {
            qmtproutes: lines(&["a.b.test:q1", ".test:q2;6209", "mx.test:", "!@:qbounce"]),
            smtproutes: lines(&["a.b.test:s1", ".b.test:s2", ":s3"]),
            ..Tables::default()
        };
        for (host, sender, want) in [
            ("a.b.test", "s@x", ("q1", Protocol::Qmtp, 209, true)),
            ("c.b.test", "s@x", ("s2", Protocol::Smtp, 25, true)),
            ("c.test", "s@x", ("q2", Protocol::Qmtp, 6209, true)),
            ("mx.test", "s@x", ("mx.test", Protocol::Qmtp, 209, false)),
            ("c.com", "s@x", ("s3", Protocol::Smtp, 25, true)),
            ("a.b.test", "", ("qbounce", Protocol::Qmtp, 209, true)),
        ] {
            let r = tables.find(host.as_bytes(), sender.as_bytes()).unwrap();
            let got = (String::from_utf8(r.host).unwrap(), r.protocol, r.port, r.relay);
            assert_eq!(got, (want.0.to_string(), want.1, want.2, want.3), "{host}");
        }
        let users = Tables { qmtproutes: lines(&[":q|user|secret"]), ..Tables::default() };
        assert_eq!(users.find(b"x", b"s@x"), None);
    }

    #[test]
    fn bounces_have_a_route_of_their_own_if_it_is_not_empty() {
        for (line, want) in [("!@:r.test", "r.test"), ("!@:", "all")] {
            let tables = Tables { smtproutes: lines(&[line, ":all"]), ..Tables::default() };
            assert_eq!(tables.find(b"a.test", b"").unwrap().host, want.as_bytes(), "{line}");
            assert_eq!(tables.find(b"a.test", b"s@x").unwrap().host, b"all");
        }
    }

    #[test]
    fn a_senders_route_goes_before_all() {
        let tables = Tables {
            authsenders: lines(&[
                "joe@a.test:r1|joe|x",
                "@a.test:r2;465|any|x",
                ".test:r3",
                "ann@a.test:",
                "@:r5|null|x",
                "bad@a.test:r|u",
            ]),
            smtproutes: lines(&[":smart"]),
            ..Tables::default()
        };
        for (sender, want) in [
            ("joe@a.test", Some(("r1", 25, Some("joe")))),
            ("Joe@A.test", Some(("r1", 25, Some("joe")))),
            ("x@a.test", Some(("r2", 465, Some("any")))),
            ("x@b.test", Some(("r3", 25, None))),
            // As in s/qmail a dot of the local part counts.
            ("x.test", Some(("r3", 25, None))),
            ("ann@a.test", Some(("smart", 25, None))),
            ("x@c.com", Some(("smart", 25, None))),
            ("", Some(("smart", 25, None))),
            ("bad@a.test", None),
        ] {
            let found = tables.find(b"h.test", sender.as_bytes()).map(|r| {
                let user = r.account.map(|a| String::from_utf8(a.user).unwrap());
                (String::from_utf8(r.host).unwrap(), r.port, user)
            });
            let want = want.map(|(host, port, user)| (host.to_string(), port, user.map(String::from)));
            assert_eq!(found, want, "{sender}");
        }
        let all = Tables { authsenders: lines(&[":r|u|p"]), ..Tables::default() };
        assert_eq!(all.find(b"h", b"").unwrap().host, b"r");
    }
}
