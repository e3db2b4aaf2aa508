//! mailfromrules.cdb: which client may use which envelope senders (spec/control.md 4.3).

use control::cdb::Cdb;
use std::io;

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its user: authenticated, or as its host says.
    pub info: Option<&'a [u8]>,
    /// Its address.
    pub ip: &'a [u8],
    /// Its name in the DNS, if it is known.
    pub host: Option<&'a [u8]>,
}

/// Whether a rule for the client allows the sender. A rule that does not is no reason to stop looking.
pub fn allow(rules: &Cdb, client: Client<'_>, sender: &[u8]) -> io::Result<bool> {
    let sender = sender.to_ascii_lowercase();
    for key in keys(client) {
        if rules.get(&key.to_ascii_lowercase())?.is_some_and(|senders| among(&senders, &sender)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys that may have a rule for the client, in the order in which they are looked up.
fn keys(client: Client<'_>) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    if let Some(info) = client.info {
        keys.push(info.to_vec());
        keys.push([info, b"@", client.ip].concat());
        keys.extend(client.host.map(|host| [info, b"@=", host].concat()));
    }
    keys.push(client.ip.to_vec());
    keys.extend(client.host.map(|host| [b"=", host].concat()));
    for mark in *b":." {
        let ends = client.ip.iter().enumerate().rev().filter(|&(_, &b)| b == mark);
        keys.extend(ends.filter_map(|(at, _)| client.ip.get(..=at)).map(<[u8]>::to_vec));
    }
    if let Some(host) = client.host {
        keys.extend(crate::suffixes(host, b'.').map(|suffix| [b"=", suffix].concat()));
        keys.push(b"=".to_vec());
    }
    keys
}

/// Whether the sender ends in one of `+one+two...`; nothing at all is every sender.
fn among(senders: &[u8], sender: &[u8]) -> bool {
    senders.is_empty() || senders.split(|&b| b == b'+').any(|tail| !tail.is_empty() && sender.ends_with(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(records: &[(&str, &str)]) -> Cdb {
        let mut writer = control::cdb::Writer::new(tempfile::tempfile().unwrap()).unwrap();
        records.iter().for_each(|(key, data)| writer.add(key.as_bytes(), data.as_bytes()).unwrap());
        Cdb::from_file(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn keys_are_looked_up_from_the_particular_to_the_general() {
        let client = Client { info: Some(b"joe"), ip: b"192.0.2.1", host: Some(b"a.b.test") };
        let found = keys(client).into_iter().map(|k| String::from_utf8(k).unwrap()).collect::<Vec<_>>();
        let expected = [
            "joe",
            "joe@192.0.2.1",
            "joe@=a.b.test",
            "192.0.2.1",
            "=a.b.test",
            "192.0.2.",
            "192.0.",
            "192.",
            "=.b.test",
            "=.test",
            "=",
        ];
        assert_eq!(found, expected);
        let client = Client { info: None, ip: b"2001:db8::1", host: None };
        let found = keys(client).into_iter().map(|k| String::from_utf8(k).unwrap()).collect::<Vec<_>>();
        assert_eq!(found, ["2001:db8::1", "2001:db8::", "2001:db8:", "2001:"]);
    }

    #[test]
    fn a_rule_allows_senders_by_their_tails() {
        let rules = rules(&[
            ("joe", "+joe@x.test+@joe.test"),
            ("192.0.2.", "+@net.test+.net.test"),
            ("198.51.100.7", ""),
            ("=.host.test", "+@host.test"),
        ]);
        let client = |info, ip, host| Client { info, ip, host };
        let joe = client(Some(&b"JOE"[..]), &b"203.0.113.1"[..], None);
        let net = client(None, &b"192.0.2.9"[..], None);
        let any = client(None, &b"198.51.100.7"[..], None);
        let host = client(None, &b"203.0.113.1"[..], Some(&b"a.HOST.test"[..]));
        let both = client(Some(&b"joe"[..]), &b"192.0.2.9"[..], None);
        let rows = [
            (joe, "Joe@X.test", true),
            (joe, "billjoe@x.test", true),
            (joe, "any@joe.test", true),
            (joe, "bill@x.test", false),
            (net, "a@net.test", true),
            (net, "a@sub.net.test", true),
            (net, "a@xnet.test", false),
            (any, "whoever@wherever.test", true),
            (host, "a@host.test", true),
            (host, "a@net.test", false),
            (both, "a@net.test", true),
        ];
        for (client, sender, allowed) in rows {
            assert_eq!(allow(&rules, client, sender.as_bytes()).unwrap(), allowed, "{client:?} {sender}");
        }
    }
}
