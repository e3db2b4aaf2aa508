//! Look-ups against a small name server on loopback.

use crate::engine::Engine;
use crate::{Answer, Mx, Resolver, Trust};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// What the server says to a question: code and answer section; `None`: silence.
type Zone = fn(&str, RecordType) -> Option<(ResponseCode, Vec<Record>)>;

fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').map(str::as_bytes)).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn address(owner: &str, last: u8) -> Record {
    record(owner, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))))
}

fn answer(packet: &[u8], zone: Zone, cut: bool) -> Option<Vec<u8>> {
    let mut m = Message::from_vec(packet).unwrap();
    let question = m.queries[0].clone();
    let owner = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let (code, records) = zone(&owner, question.query_type())?;
    m.metadata.message_type = MessageType::Response;
    m.metadata.response_code = code;
    if cut {
        m.metadata.truncation = true;
    } else {
        m.add_answers(records);
    }
    Some(m.to_vec().unwrap())
}

/// A resolver whose only server is `zone`; `cut` makes every UDP answer truncated.
fn resolver(zone: Zone, cut: bool) -> Resolver {
    let (udp, tcp, port) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
            break (udp, tcp, port);
        }
    };
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            if let Some(reply) = answer(&buf[..n], zone, cut) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let (mut stream, mut len) = (stream.unwrap(), [0; 2]);
            while stream.read_exact(&mut len).is_ok() {
                let mut packet = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut packet).unwrap();
                let reply = answer(&packet, zone, false).unwrap();
                stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
    with("options timeout:1 attempts:1\nsearch x.test y.test\n", &format!("127.0.0.1;{port}"))
}

fn with(text: &str, servers: &str) -> Resolver {
    let r = Resolver::new();
    assert!(r.engine.set(Engine::from_text(text.as_bytes(), Some(servers.as_bytes()))).is_ok());
    r
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

#[test]
fn answers_are_told_apart_and_filtered_by_type() {
    let r = resolver(
        |owner, kind| {
            let ok = |list| Some((ResponseCode::NoError, list));
            match (owner, kind) {
                ("two.test", RecordType::A) => ok(vec![address("two.test", 1), address("TWO.test", 2)]),
                ("mixed.test", RecordType::A) => {
                    ok(vec![record("mixed.test", RData::TXT(TXT::new(vec!["x".into()]))), address("other.test", 9)])
                }
                ("foreign.test", _) => ok(vec![address("other.test", 9)]),
                ("two.test", _) => ok(vec![]),
                ("broken.test", _) => Some((ResponseCode::ServFail, vec![])),
                ("refused.test", _) => Some((ResponseCode::Refused, vec![])),
                ("mx.test", RecordType::MX) => ok(vec![
                    record("mx.test", RData::MX(MX::new(10, name("a.test")))),
                    record("mx.test", RData::MX(MX::new(0, Name::root()))),
                ]),
                ("txt.test", RecordType::TXT) => {
                    ok(vec![record("txt.test", RData::TXT(TXT::from_bytes(vec![b"a\xff", b"", b"b"])))])
                }
                ("4.3.2.127.in-addr.arpa", RecordType::PTR) => ok(vec![record(
                    "4.3.2.127.in-addr.arpa",
                    RData::PTR(hickory_resolver::proto::rr::rdata::PTR(name("h.test"))),
                )]),
                ("localhost", RecordType::A) => ok(vec![address("localhost", 7)]),
                _ => Some((ResponseCode::NXDomain, vec![])),
            }
        },
        false,
    );
    assert_eq!(r.a(b"Two.test"), Answer::Found(vec![ip(1), ip(2)]));
    assert_eq!(r.a(b"two.test."), Answer::Found(vec![ip(1), ip(2)]));
    assert_eq!(r.aaaa(b"two.test"), Answer::NoRecords);
    assert_eq!(r.a(b"mixed.test"), Answer::NoRecords);
    assert_eq!(r.a(b"foreign.test"), Answer::Temporary);
    assert_eq!(r.a(b"none.test"), Answer::NoSuchName);
    assert_eq!(r.a(b"no..test"), Answer::NoSuchName);
    assert_eq!(r.a(b"broken.test"), Answer::Temporary);
    assert_eq!(r.a(b"refused.test"), Answer::Temporary);
    let mx = |preference, name: &[u8]| Mx { preference, name: name.to_vec() };
    assert_eq!(r.mx(b"mx.test"), Answer::Found(vec![mx(10, b"a.test"), mx(0, b"")]));
    assert_eq!(r.txt(b"txt.test"), Answer::Found(vec![b"a\xffb".to_vec()]));
    // Names that the engine's high-level half would answer by itself.
    assert_eq!(r.ptr("127.2.3.4".parse().unwrap()), Answer::Found(vec![b"h.test".to_vec()]));
    assert_eq!(r.a(b"localhost"), Answer::Found(vec![ip(7)]));
    assert_eq!(r.candidates(b"h"), [&b"h.x.test"[..], b"h.y.test", b"h"]);
}

#[test]
fn d1_cname_chains_are_followed_within_limits() {
    let r = resolver(
        |owner, kind| {
            let ok = |list| Some((ResponseCode::NoError, list));
            match owner {
                "www.test" if kind == RecordType::CNAME => ok(vec![alias("www.test", "mid.test")]),
                // The chain in one answer, in no order.
                "www.test" => {
                    ok(vec![address("end.test", 1), alias("mid.test", "end.test"), alias("www.test", "mid.test")])
                }
                // The rest of the chain has to be asked for.
                "far.test" => ok(vec![alias("far.test", "www.test")]),
                "nowhere.test" => Some((ResponseCode::NXDomain, vec![alias("nowhere.test", "gone.test")])),
                "loop.test" => ok(vec![alias("loop.test", "pool.test")]),
                "pool.test" => ok(vec![alias("pool.test", "loop.test")]),
                "self.test" => ok(vec![alias("self.test", "self.test")]),
                "nodata.test" => ok(vec![alias("nodata.test", "end.test")]),
                "end.test" => ok(vec![]),
                long => {
                    let n: usize = long.trim_start_matches('c').parse().unwrap();
                    match n {
                        0 => ok(vec![address(long, 5)]),
                        n => ok(vec![alias(long, &format!("c{}", n - 1))]),
                    }
                }
            }
        },
        false,
    );
    assert_eq!(r.a(b"www.test"), Answer::Found(vec![ip(1)]));
    assert_eq!(r.a(b"far.test"), Answer::Found(vec![ip(1)]));
    assert_eq!(r.cname(b"www.test"), Answer::Found(vec![b"mid.test".to_vec()]));
    assert_eq!(r.a(b"nowhere.test"), Answer::NoSuchName);
    assert_eq!(r.a(b"nodata.test"), Answer::NoRecords);
    assert_eq!(r.a(b"loop.test"), Answer::Temporary);
    assert_eq!(r.a(b"self.test"), Answer::Temporary);
    assert_eq!(r.a(b"c10"), Answer::Found(vec![ip(5)]));
    assert_eq!(r.a(b"c11"), Answer::Temporary);
}

#[test]
fn d1_a_truncated_answer_is_asked_for_again_over_tcp() {
    let r = resolver(
        |owner, _| {
            let owner = owner.to_owned();
            Some((ResponseCode::NoError, (0..200).map(|n| address(&owner, n)).collect()))
        },
        true,
    );
    assert_eq!(r.a(b"many.test"), Answer::Found((0..200).map(ip).collect()));
}

#[test]
fn d1_an_answer_of_64_kib_is_read() {
    let zone: Zone = |owner, _| {
        let owner = owner.to_owned();
        Some((ResponseCode::NoError, (0..2600).map(|_| address(&owner, 1)).collect()))
    };
    let r = resolver(zone, true);
    assert_eq!(r.a(b"many.test"), Answer::Found(vec![ip(1); 2600]));
}

/// A resolver whose server sends these packets for each question; the bytes of the right answer are given to `forge`.
fn forged(forge: fn(Vec<u8>, &UdpSocket, std::net::SocketAddr)) -> Resolver {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            let zone: Zone = |owner, _| Some((ResponseCode::NoError, vec![address(owner, 1)]));
            forge(answer(&buf[..n], zone, false).unwrap(), &udp, from);
        }
    });
    with("options timeout:1 attempts:1\n", &format!("127.0.0.1;{port}"))
}

#[test]
fn d1_wrong_id_port_or_question_is_ignored_until_the_answer_or_the_time_limit() {
    /// The same with another address, and something else wrong.
    fn forge(right: &[u8], change: fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut wrong = right.to_vec();
        *wrong.last_mut().unwrap() = 66;
        change(&mut wrong);
        wrong
    }
    fn send_wrong(right: &[u8], udp: &UdpSocket, from: std::net::SocketAddr) {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(&forge(right, |_| {}), from).unwrap();
        // Id, the question's name and type (behind `\x01a\x04test\0`), less than an id.
        let changes: [fn(&mut Vec<u8>); 4] = [|p| p[0] ^= 1, |p| p[13] ^= 1, |p| p[21] ^= 1, |p| p.truncate(1)];
        for change in changes {
            udp.send_to(&forge(right, change), from).unwrap();
        }
    }
    let r = forged(|right, udp, from| {
        send_wrong(&right, udp, from);
        udp.send_to(&right, from).unwrap();
    });
    assert_eq!(r.a(b"a.test"), Answer::Found(vec![ip(1)]));
    let r = forged(|right, udp, from| send_wrong(&right, udp, from));
    assert_eq!(r.a(b"a.test"), Answer::Temporary);
}

#[test]
fn d1_what_can_not_be_parsed_is_temporary() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    // The name of the answer stands at 24: a pointer to itself, to a later place, to one that leads back, behind the
    // end; a label of no known kind, one longer than the packet.
    let names: [&[u8]; 6] = [&[0xc0, 24], &[0xc0, 40], &[0xc0, 26, 0xc0, 24], &[0xff, 0xff], &[0x40, 0], &[63]];
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        for name in names {
            let (n, from) = udp.recv_from(&mut buf).unwrap();
            let zone: Zone = |owner, _| Some((ResponseCode::NoError, vec![address(owner, 1)]));
            let mut packet = answer(&buf[..n], zone, false).unwrap();
            packet.splice(24..26, name.iter().copied());
            udp.send_to(&packet, from).unwrap();
        }
    });
    let r = with("options timeout:5 attempts:1\n", &format!("127.0.0.1;{port}"));
    for name in names {
        assert_eq!(r.a(b"a.test"), Answer::Temporary, "{name:?}");
    }
}

#[test]
fn d1_garbage_and_silence_are_temporary() {
    let r = resolver(|owner, _| (owner != "silent.test").then_some((ResponseCode::FormErr, vec![])), false);
    assert_eq!(r.a(b"odd.test"), Answer::Temporary);
    let start = Instant::now();
    assert_eq!(r.a(b"silent.test"), Answer::Temporary);
    assert!(start.elapsed() < Duration::from_secs(3), "one attempt of one second");
}

#[test]
fn d1_no_look_up_lasts_beyond_the_time_that_was_set() {
    let r = resolver(|_, _| None, false);
    let start = Instant::now();
    r.until(Some(start + Duration::from_millis(50)));
    assert_eq!(r.a(b"silent.test"), Answer::Temporary);
    assert_eq!(r.a(b"more.test"), Answer::Temporary);
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_refuses_connections_fails_at_once() {
    // Bound and closed again: nobody listens there.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let r = with("", &format!("127.0.0.1;{port}"));
    let start = Instant::now();
    assert_eq!(r.mx(b"a.test"), Answer::Temporary);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_server_may_be_behind_an_interface() {
    let udp = UdpSocket::bind("[::1]:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            let zone: Zone = |owner, _| Some((ResponseCode::NoError, vec![address(owner, 3)]));
            udp.send_to(&answer(&buf[..n], zone, false).unwrap(), from).unwrap();
        }
    });
    for scope in ["", "%lo", "%1"] {
        assert_eq!(with("", &format!("::1{scope};{port}")).a(b"a.test"), Answer::Found(vec![ip(3)]), "{scope}");
    }
}

#[test]
fn the_next_server_is_asked_when_one_refuses() {
    let udp = UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            let zone: Zone = |owner, _| Some((ResponseCode::NoError, vec![address(owner, 3)]));
            udp.send_to(&answer(&buf[..n], zone, false).unwrap(), from).unwrap();
        }
    });
    let r = with("", &format!("127.0.0.1;{port} 127.0.0.2;{port}"));
    assert_eq!(r.a(b"a.test"), Answer::Found(vec![ip(3)]));
}

#[test]
fn without_a_name_server_line_this_host_is_asked() {
    for text in ["", "search x.test\n", "garbage\0\nnameserver nonsense\n"] {
        let engine = Engine::from_text(text.as_bytes(), None);
        assert_eq!(engine.servers(), 1, "{text:?}");
    }
    let listed = b"nameserver 127.0.0.1\nnameserver 127.0.0.2\n";
    for (caches, servers) in [("", 2), ("nonsense ::1;x", 2), (" 192.0.2.1\t::1;5300 fe80::1%none0", 2), ("::1", 1)] {
        assert_eq!(Engine::from_text(listed, Some(caches.as_bytes())).servers(), servers, "{caches:?}");
    }
    let scoped = "fe80::1%lo fe80::1%1;5300 fe80::1%none0 127.0.0.1%lo ::1%lo;x fe80::1%";
    assert_eq!(Engine::from_text(listed, Some(scoped.as_bytes())).servers(), 2);
    let text = b"# fe80::2%9\nnameserver 192.0.2.1\n nameserver\tfe80::1%lo \nnameserver fe80::2%none0\n";
    for (ip, scope) in [("fe80::1", 1), ("fe80::2", 0), ("192.0.2.1", 0), ("::1", 0)] {
        assert_eq!(crate::engine::scope_in(text, ip.parse().unwrap()), scope, "{ip}");
    }
    assert_eq!(Engine::from_text(text, None).servers(), 3);
    assert_eq!(Engine::from_text(b"search x.test\n", None).search(), [b"x.test"]);
}

#[test]
fn names_in_lists_of_addresses_begin_with_the_reversed_address() {
    assert_eq!(crate::reversed("192.0.2.99".parse().unwrap()), b"99.2.0.192");
    let text = b"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
    assert_eq!(crate::reversed("2001:db8::1".parse().unwrap()), text);
}

#[test]
fn certificate_records_come_back_as_numbers() {
    use hickory_resolver::proto::rr::rdata::TLSA;
    use hickory_resolver::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
    let r = resolver(
        |owner, kind| match (owner, kind) {
            ("_25._tcp.mx.test", RecordType::TLSA) => {
                let data = TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, vec![0, 0xff]);
                Some((ResponseCode::NoError, vec![record("_25._tcp.mx.test", RData::TLSA(data))]))
            }
            _ => Some((ResponseCode::NXDomain, vec![])),
        },
        false,
    );
    let found = crate::Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0, 0xff] };
    assert_eq!(r.tlsa(b"_25._tcp.mx.test"), Answer::Found(vec![found]));
    assert_eq!(r.tlsa(b"_26._tcp.mx.test"), Answer::NoSuchName);
}

#[test]
fn answers_are_secure_if_the_server_says_so_and_is_believed() {
    /// A server that says of every name but `plain...` that it has checked it, if it is asked whether it has.
    fn server(at: &str) -> u16 {
        let udp = UdpSocket::bind((at, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok((n, from)) = udp.recv_from(&mut buf) {
                let zone: Zone = |owner, kind| match owner {
                    "none.test" => Some((ResponseCode::NoError, vec![])),
                    "out.test" => Some((ResponseCode::NoError, vec![alias("out.test", "plain.test")])),
                    "alias.test" => {
                        Some((ResponseCode::NoError, vec![alias("alias.test", "end.test"), address("end.test", 2)]))
                    }
                    _ if kind == RecordType::A => Some((ResponseCode::NoError, vec![address(owner, 1)])),
                    _ => Some((ResponseCode::NXDomain, vec![])),
                };
                let asks = buf[3] & 0x20 != 0;
                let mut packet = answer(&buf[..n], zone, false).unwrap();
                let is_plain =
                    packet.windows(6).any(|w| w == b"\x05plain") && !packet.windows(4).any(|w| w == b"\x03out");
                packet[3] = packet[3] & !0x20 | if asks && !is_plain { 0x20 } else { 0 };
                udp.send_to(&packet, from).unwrap();
            }
        });
        port
    }
    let port = server("127.0.0.1");
    let local = format!("127.0.0.1;{port}");
    // Of these only the first one answers; the others stand for one somewhere else.
    let remote = format!("127.0.0.1;{port} 192.0.2.1");
    for (trust, servers, secure) in [
        (Trust::Nobody, &local, false),
        (Trust::ThisHost, &local, true),
        (Trust::ThisHost, &remote, false),
        (Trust::Everybody, &remote, true),
    ] {
        let r = with("options timeout:1 attempts:1\n", servers).trusting(trust);
        let found = r.checked_a(b"a.test");
        assert_eq!((found.answer, found.is_secure), (Answer::Found(vec![ip(1)]), secure), "{trust:?} {servers}");
    }
    let r = with("", &local).trusting(Trust::ThisHost);
    let found = r.checked_a(b"Alias.test");
    assert_eq!((found.answer, found.is_secure, &found.name[..]), (Answer::Found(vec![ip(2)]), true, &b"end.test"[..]));
    // A chain is as secure as its weakest link.
    assert!(!r.checked_a(b"plain.test").is_secure);
    let found = r.checked_a(b"out.test");
    assert_eq!(
        (found.answer, found.is_secure, &found.name[..]),
        (Answer::Found(vec![ip(1)]), false, &b"plain.test"[..])
    );
    assert!(r.checked_cname(b"out.test").is_secure);
    let found = r.checked_a(b"none.test");
    assert_eq!((found.answer, found.is_secure), (Answer::NoRecords, false));
}
