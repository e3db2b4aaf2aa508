//! Names of ports, users and groups, from plain text files: the name service is never asked.

/// Ports of mail, for hosts without a list of services, or with one that lacks the newer names.
const MAIL_PORTS: &[(&[u8], u16)] = &[
    (b"smtp", 25),
    (b"mail", 25),
    (b"pop3", 110),
    (b"pop-3", 110),
    (b"auth", 113),
    (b"imap", 143),
    (b"imap2", 143),
    (b"qmtp", 209),
    (b"smtps", 465),
    (b"submissions", 465),
    (b"submission", 587),
    (b"qmqp", 628),
    (b"imaps", 993),
    (b"pop3s", 995),
    (b"qmtps", 6209),
];

/// The port called `name`: a number, a TCP service in `services` (the text of /etc/services), or one of mail.
pub fn port(name: &[u8], services: impl FnOnce() -> Vec<u8>) -> Option<u16> {
    if let Some(number) = number(name) {
        return u16::try_from(number).ok();
    }
    let services = services();
    let listed = services.split(|&b| b == b'\n').find_map(|line| {
        let line = line.split(|&b| b == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let (first, port) = (words.next()?, words.next()?.strip_suffix(b"/tcp")?);
        (first == name || words.any(|alias| alias == name)).then(|| u16::try_from(number(port)?).ok())?
    });
    listed.or_else(|| MAIL_PORTS.iter().find(|(n, _)| *n == name).map(|&(_, port)| port))
}

/// The user `name`, a number or a name in `passwd` (the text of /etc/passwd): the user id, and the id of the primary
/// group if the user was given by name.
pub fn user(name: &[u8], passwd: impl FnOnce() -> Vec<u8>) -> Option<(u32, Option<u32>)> {
    if let Some(uid) = number(name) {
        return Some((uid, None));
    }
    entry(name, &passwd(), |fields| Some((number(fields.get(2)?)?, Some(number(fields.get(3)?)?))))
}

/// The group `name`, a number or a name in `group` (the text of /etc/group).
pub fn group(name: &[u8], group: impl FnOnce() -> Vec<u8>) -> Option<u32> {
    if let Some(gid) = number(name) {
        return Some(gid);
    }
    entry(name, &group(), |fields| number(fields.get(2)?))
}

/// What `read` makes of the fields of the line for `name` in a file whose fields are separated by colons.
fn entry<T>(name: &[u8], text: &[u8], read: impl Fn(&[&[u8]]) -> Option<T>) -> Option<T> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        if name.is_empty() || fields.first() != Some(&name) { None } else { read(&fields) }
    })
}

/// A number, digits from end to end.
fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let services =
            || b"# x\nsmtp\t\t26/tcp\tmail # y\nsmtp 27/udp\n\nodd\nhigh 70000/tcp\n  two  2/tcp  zwei\n".to_vec();
        let rows: &[(&[u8], Option<u16>)] = &[
            (b"0", Some(0)),
            (b"65535", Some(65535)),
            (b"65536", None),
            (b"25x", None),
            (b"", None),
            (b"smtp", Some(26)),
            (b"mail", Some(26)),
            (b"zwei", Some(2)),
            (b"pop3s", Some(995)),
            (b"high", None),
            (b"y", None),
            (b"odd", None),
            (b"no-such-service", None),
        ];
        for (name, port_number) in rows {
            assert_eq!(port(name, services), *port_number, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn users_and_groups() {
        let passwd = || b"root:x:0:0:r:/:/bin/sh\nbad\nqmaild:x:7791:7780::/:\n:x:5:5::/:\n".to_vec();
        assert_eq!(user(b"12345", passwd), Some((12345, None)));
        assert_eq!(user(b"qmaild", passwd), Some((7791, Some(7780))));
        assert_eq!(user(b"nobody", passwd), None);
        assert_eq!(user(b"bad", passwd), None);
        assert_eq!(user(b"", passwd), None);
        assert_eq!(user(b"4294967296", passwd), None);
        let groups = || b"nofiles:x:7780:\n".to_vec();
        assert_eq!((group(b"nofiles", groups), group(b"0", groups), group(b"x", groups)), (Some(7780), Some(0), None));
    }
}
