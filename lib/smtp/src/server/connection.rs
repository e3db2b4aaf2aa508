//! The ends of a connection, as tcp-environ(5) has them.

/// Who is at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client's address, or `unknown`; a mapped IPv4 address as plain IPv4.
    pub remote_ip: Vec<u8>,
    /// Its name in the DNS, or `unknown`.
    pub remote_host: Vec<u8>,
    /// Its user, as its host says.
    pub remote_info: Option<Vec<u8>>,
    /// This host's name, else its address, or `unknown`.
    pub local: Vec<u8>,
    /// The port that the client has connected to, `0` if that is not known.
    pub local_port: Vec<u8>,
}

impl Connection {
    /// Reads the variables through `get`. Those for IPv6 come first.
    pub fn read(get: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Connection {
        let first = |names: &[&[u8]]| names.iter().find_map(|name| get(name));
        let known = |names: &[&[u8]], default: &[u8]| first(names).unwrap_or_else(|| default.to_vec());
        let ip = known(&[b"TCP6REMOTEIP", b"TCPREMOTEIP"], b"unknown");
        let prefix = ip.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"::ffff:"));
        let mapped = prefix && ip.contains(&b'.');
        let remote_ip = if mapped { ip.get(7..).unwrap_or_default().to_vec() } else { ip };
        Connection {
            remote_ip,
            remote_host: known(&[b"TCP6REMOTEHOST", b"TCPREMOTEHOST"], b"unknown"),
            remote_info: first(&[b"TCP6REMOTEINFO", b"TCPREMOTEINFO"]),
            local: known(&[b"TCP6LOCALHOST", b"TCPLOCALHOST", b"TCP6LOCALIP", b"TCPLOCALIP"], b"unknown"),
            local_port: known(&[b"TCP6LOCALPORT", b"TCPLOCALPORT"], b"0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_for_ipv6_come_first() {
        let read = |variables: &[(&str, &str)]| {
            let get = |name: &[u8]| variables.iter().find(|v| v.0.as_bytes() == name).map(|v| v.1.into());
            let c = Connection::read(get);
            let info = c.remote_info.unwrap_or_else(|| b"-".to_vec());
            let fields = [c.remote_ip, c.remote_host, info, c.local, c.local_port];
            String::from_utf8(fields.join(&b' ')).unwrap()
        };
        let four = [
            ("TCPREMOTEIP", "192.0.2.1"),
            ("TCPREMOTEHOST", "h"),
            ("TCPREMOTEINFO", "i"),
            ("TCPLOCALHOST", "l"),
            ("TCPLOCALIP", "192.0.2.2"),
            ("TCPLOCALPORT", "25"),
        ];
        let six = [
            ("TCP6REMOTEIP", "2001:db8::1"),
            ("TCP6REMOTEHOST", "h6"),
            ("TCP6REMOTEINFO", "i6"),
            ("TCP6LOCALHOST", "l6"),
            ("TCP6LOCALPORT", "465"),
        ];
        assert_eq!(read(&[]), "unknown unknown - unknown 0");
        assert_eq!(read(&four), "192.0.2.1 h i l 25");
        assert_eq!(read(&[&four[..], &six[..]].concat()), "2001:db8::1 h6 i6 l6 465");
        assert_eq!(read(&[("TCP6REMOTEIP", "::ffff:192.0.2.9"), ("TCP6LOCALIP", "::1")]), "192.0.2.9 unknown - ::1 0");
        assert_eq!(read(&[("TCPREMOTEIP", "::ffff:1:2")]), "::ffff:1:2 unknown - unknown 0");
    }
}
