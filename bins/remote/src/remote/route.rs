//! Where mail for a host goes: by control/smtproutes, else to the host itself.

use std::net::Ipv6Addr;

/// The port of SMTP.
const SMTP: u16 = 25;

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host to find: a name or an address literal.
    pub host: Vec<u8>,
    /// Whether it is a relay that was set by hand: it is taken as it is, without MX, even if it is this host.
    pub relay: bool,
    /// The port to connect to.
    pub port: u16,
}

impl Route {
    /// Looks `host` up in the lines of control/smtproutes, then what follows each of its dots, dot included, and last
    /// the empty key; the first hit counts, and an empty relay there means the MX. `None`: the line makes no sense.
    pub fn find(host: &[u8], routes: &[Vec<u8>]) -> Option<Route> {
        let ends = (0..=host.len()).filter(|&i| i == 0 || i == host.len() || host.get(i) == Some(&b'.'));
        let hit = ends.filter_map(|i| value_of(host.get(i..)?, routes)).next();
        match hit {
            Some(relay) if !relay.is_empty() => parse(relay),
            _ => Some(Route { host: host.to_vec(), relay: false, port: SMTP }),
        }
    }
}

/// The value of the first line `key:value`. The list is read once and asked a few times, so it is not made a map of.
fn value_of<'a>(key: &[u8], routes: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    routes.iter().find_map(|line| {
        let at = line.iter().position(|&b| b == b':')?;
        let (this, value) = line.split_at(at);
        this.eq_ignore_ascii_case(key).then(|| value.get(1..).unwrap_or_default())
    })
}

/// `relay`, `relay:port` or `relay;port`. A relay that is an IPv6 address needs brackets or the semicolon to have a
/// port. What s/qmail has behind a `|` are credentials: without a way to use them mail must not go out.
fn parse(value: &[u8]) -> Option<Route> {
    let route = |host: &[u8], port| (!host.is_empty()).then(|| Route { host: host.to_vec(), relay: true, port });
    if value.contains(&b'|') {
        return None;
    }
    let literal = if value.first() == Some(&b'[') { value.iter().position(|&b| b == b']')? + 1 } else { 0 };
    let (literal, rest) = value.split_at(literal);
    let semicolon = rest.iter().position(|&b| b == b';');
    if semicolon.is_none() && literal.is_empty() && is_ipv6(rest) {
        return route(value, SMTP);
    }
    let Some(at) = semicolon.or_else(|| rest.iter().position(|&b| b == b':')) else {
        return if rest.is_empty() || literal.is_empty() { route(value, SMTP) } else { None };
    };
    let (name, port) = rest.split_at(at);
    if !literal.is_empty() && !name.is_empty() {
        return None;
    }
    route(&[literal, name].concat(), port_number(port.get(1..)?)?)
}

fn port_number(text: &[u8]) -> Option<u16> {
    match text {
        b"" => Some(SMTP),
        _ if text.iter().all(u8::is_ascii_digit) => str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|t| t.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(host: &[u8], routes: &[&str]) -> Option<Route> {
        Route::find(host, &routes.iter().map(|r| r.as_bytes().to_vec()).collect::<Vec<_>>())
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
            ("r.test;587|user|secret", None),
        ] {
            let found = find(b"x", &[&format!(":{value}")]);
            let want = want.map(|(host, port)| Route { host: host.into(), relay: true, port });
            assert_eq!(found, want, "{value}");
        }
    }
}
