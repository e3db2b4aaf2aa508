//! A small authoritative name server on loopback, over UDP and TCP, for programs that are told of it by DNSCACHEIP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;

/// What a record says. Its owner is the name that was asked for.
#[derive(Clone, Debug)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger: preference and name, empty for the root.
    Mx(u16, Vec<u8>),
    /// The name of an address.
    Ptr(Vec<u8>),
    /// The name that this one is an alias of.
    Cname(Vec<u8>),
    /// The strings of a TXT record.
    Txt(Vec<Vec<u8>>),
    /// What a certificate must be like: usage, selector, matching type and data.
    Tlsa(u8, u8, u8, Vec<u8>),
}

/// What the server says to a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The records of the wanted type, which may be none, or an alias.
    Records(Vec<Data>),
    /// The same, and to a client that asks for it that their signatures are good (the AD bit).
    Secure(Vec<Data>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// None: the client may wait as long as it likes.
    Silence,
}

/// Types of records, as in questions.
pub mod kind {
    #![allow(missing_docs)]
    pub const A: u16 = 1;
    pub const CNAME: u16 = 5;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const TLSA: u16 = 52;
}

/// The most bytes in a UDP answer (RFC 1035 4.2.1); a longer one is to be fetched over TCP.
const UDP_MAX: usize = 512;

/// A running server. It runs until the test process ends.
pub struct NameServer {
    port: u16,
}

impl NameServer {
    /// Serves what `zone` says about a name, in lower case without the final dot, and a type.
    pub fn start(zone: impl Fn(&[u8], u16) -> Reply + Send + Sync + 'static) -> NameServer {
        let zone = Arc::new(zone);
        let (udp, tcp, port) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
                break (udp, tcp, port);
            }
        };
        let zone_too = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok((n, from)) = udp.recv_from(&mut buf) {
                if let Some(mut answer) = answer(&buf[..n], &*zone) {
                    if answer.len() > UDP_MAX {
                        answer.truncate(question_end(&answer));
                        // Truncated; no answers.
                        answer[2] |= 2;
                        answer[6..8].fill(0);
                    }
                    // A client that has gone is no trouble of the server's.
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (mut stream, mut len) = (stream.unwrap(), [0; 2]);
                while stream.read_exact(&mut len).is_ok() {
                    let mut packet = vec![0; usize::from(u16::from_be_bytes(len))];
                    stream.read_exact(&mut packet).unwrap();
                    let Some(answer) = answer(&packet, &*zone_too) else { break };
                    let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
                    stream.write_all(&framed).unwrap();
                }
            }
        });
        NameServer { port }
    }

    /// The value of DNSCACHEIP that leads here.
    pub fn cache(&self) -> String {
        format!("127.0.0.1;{}", self.port)
    }
}

/// Where the only question of a packet ends.
fn question_end(packet: &[u8]) -> usize {
    let mut at = 12;
    while packet[at] != 0 {
        at += usize::from(packet[at]) + 1;
    }
    at + 5
}

fn answer(packet: &[u8], zone: &impl Fn(&[u8], u16) -> Reply) -> Option<Vec<u8>> {
    let end = question_end(packet);
    let (mut labels, mut at) = (Vec::new(), 12);
    while packet[at] != 0 {
        let len = usize::from(packet[at]);
        labels.push(packet[at + 1..=at + len].to_ascii_lowercase());
        at += len + 1;
    }
    let wanted = u16::from_be_bytes([packet[end - 4], packet[end - 3]]);
    let (code, records) = match zone(&labels.join(&b'.'), wanted) {
        Reply::Records(records) => (0, records),
        Reply::Secure(records) => (packet[3] & 0x20, records),
        Reply::NoSuchName => (3, Vec::new()),
        Reply::Failure => (2, Vec::new()),
        Reply::Silence => return None,
    };
    // An authoritative response, one question, and the answers.
    let mut out = packet[..2].to_vec();
    out.extend_from_slice(&[0x84 | packet[2] & 1, 0x80 | code, 0, 1]);
    out.extend_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&packet[12..end]);
    for record in &records {
        let (kind, data) = wire(record);
        // The owner is the name in the question; class IN, a minute to live.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

fn wire(record: &Data) -> (u16, Vec<u8>) {
    match record {
        Data::A(ip) => (kind::A, ip.octets().to_vec()),
        Data::Aaaa(ip) => (kind::AAAA, ip.octets().to_vec()),
        Data::Mx(preference, name) => (kind::MX, [&preference.to_be_bytes()[..], &labels(name)].concat()),
        Data::Ptr(name) => (kind::PTR, labels(name)),
        Data::Cname(name) => (kind::CNAME, labels(name)),
        Data::Txt(strings) => {
            // A string holds 255 bytes; a record without one is not allowed, so it gets an empty one.
            let parts = strings.iter().flat_map(|s| if s.is_empty() { vec![&[][..]] } else { s.chunks(255).collect() });
            let mut data: Vec<u8> = parts.flat_map(|p| [&[p.len() as u8][..], p].concat()).collect();
            if data.is_empty() {
                data.push(0);
            }
            (kind::TXT, data)
        }
        Data::Tlsa(usage, selector, matching, data) => {
            (kind::TLSA, [&[*usage, *selector, *matching][..], data].concat())
        }
    }
}

fn labels(name: &[u8]) -> Vec<u8> {
    let labels = name.split(|&b| b == b'.').filter(|l| !l.is_empty());
    labels.flat_map(|l| [&[u8::try_from(l.len()).unwrap()][..], l].concat()).chain([0]).collect()
}
