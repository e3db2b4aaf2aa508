use super::*;
use compile::{Unfit, line};
use control::cdb::Writer;
use proptest::prelude::*;

fn compiled(text: &str) -> Cdb {
    let mut writer = Writer::new(tempfile::tempfile().unwrap()).unwrap();
    for l in text.split_inclusive('\n') {
        let records = line(l.as_bytes()).unwrap();
        records.keys.iter().for_each(|k| writer.add(k, &records.data).unwrap());
    }
    Cdb::from_file(writer.finish().unwrap()).unwrap()
}

fn name_for(cdb: &Cdb, ip: &str, host: &str, info: &str) -> String {
    let some = |s: &'static str| -> Option<&'static [u8]> { (!s.is_empty()).then_some(s.as_bytes()) };
    let (host, info) = (some(host.to_owned().leak()), some(info.to_owned().leak()));
    match find(cdb, &Client { ip: ip.as_bytes(), host, info }).unwrap() {
        Some(rule) => String::from_utf8(rule.name).unwrap(),
        None => "none".to_owned(),
    }
}

const ALL: &str = "joe@1.2.3.4:allow\njoe@=h.a.b:allow\n1.2.3.4:allow\n=h.a.b:allow\n1.2.3.:allow\n1.2.:allow\n\
    1.:allow\n1.2.3.5/30:allow\n1.2.0.0/16:allow\n1/1:deny\n=.a.b:allow\n=.b:allow\n=:allow\n:allow\n";

#[test]
fn rules_are_searched_in_the_documented_order() {
    // Each row is found once the rules of all rows above it are gone.
    let order = [
        "joe@1.2.3.4",
        "joe@=h.a.b",
        "1.2.3.4",
        "=h.a.b",
        "1.2.3.",
        "1.2.",
        "1.",
        "1.2.3.4/30",
        "1.2.0.0/16",
        "0.0.0.0/1",
        "=.a.b",
        "=.b",
        "=",
        "",
    ];
    let mut lines: Vec<&str> = ALL.split_inclusive('\n').collect();
    for expected in order {
        assert_eq!(name_for(&compiled(&lines.concat()), "1.2.3.4", "h.a.b", "joe"), expected);
        lines.remove(0);
    }
    assert_eq!(name_for(&compiled(""), "1.2.3.4", "h.a.b", "joe"), "none");
}

#[test]
fn without_a_name_only_address_rules_apply() {
    let cdb = compiled("=:allow\n=.b:allow\njoe@=x.b:allow\n10.:deny\n");
    assert_eq!(name_for(&cdb, "9.2.3.4", "", "joe"), "none");
    assert_eq!(name_for(&cdb, "9.2.3.4", "b", ""), "=");
    assert_eq!(name_for(&cdb, "10.2.3.4", "x.b", ""), "10.");
}

#[test]
fn ipv6_rules_are_found_by_address_and_by_network() {
    let cdb =
        compiled("2001:db8::1:deny\n2001:DB8::/32:allow\n2001:db8:0:1::/64:allow\njoe@fe80::2:allow\n8000::/1:deny\n");
    let rows = [
        ("2001:db8::1", "", "2001:db8::1"),
        ("2001:0db8:0::1", "", "2001:0db8:0::1"),
        ("2001:db8::2", "", "2001:db8::/32"),
        ("2001:db8:0:1::9", "", "2001:db8:0:1::/64"),
        ("fe80::2", "joe", "joe@fe80::2"),
        ("fe80::2", "", "8000::/1"),
        ("::1", "", "none"),
        ("1.2.3.4", "", "none"),
    ];
    for (ip, info, name) in rows {
        assert_eq!(name_for(&cdb, ip, "", info), name, "{ip}");
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_meets_ipv4_rules() {
    let cdb = compiled("1.2.3.:deny\n::ffff:5.6.7.8:deny\n::ffff:9.0.0.0/104:deny\n");
    assert_eq!(name_for(&cdb, "::ffff:1.2.3.4", "", ""), "1.2.3.");
    assert_eq!(name_for(&cdb, "5.6.7.8", "", ""), "5.6.7.8");
    assert_eq!(name_for(&cdb, "9.1.1.1", "", ""), "9.0.0.0/8");
}

#[test]
fn keys_of_networks_are_those_of_ucspi_tcp6() {
    let rows: &[(&str, &[u8])] = &[
        ("128.0.0.0/1:allow", b"_a"),
        ("10.0.0.0/8:allow", b"_0000e0g0"),
        ("127./8:allow", b"_0bcdefgh"),
        ("255.255.255.255/32:allow", b"_abcdefghijklmnopqrstuvwxyz123456"),
        ("2002::/16:allow", b"^00`00000000000a0"),
        ("::1:allow", b"0000:0000:0000:0000:0000:0000:0000:0001"),
        ("2001:dB8::c:allow", b"2001:0DB8:0000:0000:0000:0000:0000:000C"),
        ("joe@::1:allow", b"joe@0000:0000:0000:0000:0000:0000:0000:0001"),
        ("joe@1.2.3.0/8:allow", b"joe@1.2.3.0/8"),
        ("joe-bob@1.2.3.4:allow", b"joe-bob@1.2.3.4"),
        ("=a-b.c:allow", b"=a-b.c"),
    ];
    for (text, key) in rows {
        assert_eq!(line(text.as_bytes()).unwrap().keys, [key.to_vec()], "{text}");
    }
    assert_eq!(key::bits("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()).last(), Some(&(96 + 127)));
}

#[test]
fn instructions_and_quotes() {
    let rows: &[(&str, &[u8])] = &[
        (":allow", b""),
        (":deny", b"D\0"),
        (":deny \t\n", b"D\0"),
        (":allow,A=xhellox,B=,b,,C=\"with,comma\",D=\"a=b\"\n", b"+A=hello\0+B=b\0+C=with,comma\0+D=a=b\0"),
        (":deny,X=\"1\"", b"D\0+X=1\0"),
        (":allow,X==4=", b"+X=4\0"),
        (":allow,=\"\"", b"+=\0"),
        (":allow,X=\":deny\"", b"+X=:deny\0"),
    ];
    for (text, data) in rows {
        assert_eq!(line(text.as_bytes()).unwrap().data, *data, "{text}");
    }
}

#[test]
fn ranges() {
    let keys = |text: &str| -> Vec<String> {
        line(text.as_bytes()).unwrap().keys.into_iter().map(|k| String::from_utf8(k).unwrap()).collect()
    };
    assert_eq!(keys("1.2.3.9-11:deny"), ["1.2.3.9", "1.2.3.10", "1.2.3.11"]);
    assert_eq!(keys("10.2-3.:allow"), ["10.2.", "10.3."]);
    assert_eq!(keys("1-2:allow"), ["1", "2"]);
    assert_eq!(keys("1.254-99999999999999999999999:allow"), ["1.254", "1.255"]);
    assert_eq!(keys("1.9-8.:allow"), Vec::<String>::new());
    assert_eq!(keys("1.-1:allow"), ["1.0", "1.1"]);
}

#[test]
fn lines_that_are_no_rules() {
    for text in ["", "\n", "   \t\n", "# 1.2.3.4:deny", "nonsense\n", "deny"] {
        assert_eq!(line(text.as_bytes()), Ok(compile::Records::default()), "{text}");
    }
}

#[test]
fn d7_lines_that_can_not_be_compiled() {
    use Unfit::*;
    let rows = [
        ("1.2.3.4:permit", Syntax),
        ("1.2.3.4:", Syntax),
        (":allowed", Syntax),
        (":allow X", Syntax),
        (":allow,X", Syntax),
        (":allow,X=", Syntax),
        (":allow,X=y", Syntax),
        (":allow,X=\"y", Syntax),
        (":allow,", Syntax),
        (":allow\r\n", Syntax),
        (":allow,X=\"a\0D\0\"", Syntax),
        ("1.2.a-b:allow", Syntax),
        ("my-host:allow", Syntax),
        ("10.0.0.0/0:allow", Length),
        ("10.0.0.0/:allow", Length),
        ("10.0.0.0/33:allow", Length),
        ("10/9:allow", Length),
        ("10.0.0.0/8x:allow", Length),
        ("10.0.0.0.0/8:allow", Address),
        ("256.0.0.0/8:allow", Address),
        ("10..0/8:allow", Address),
        ("/8:allow", Address),
        ("x/8:allow", Address),
        ("2002::/129:allow", Length),
        ("2002::/0:allow", Length),
        ("2002:/16:allow", Address),
        ("1:2:3:allow", Address),
        ("joe@1:2:3:allow", Address),
    ];
    for (text, why) in rows {
        assert_eq!(line(text.as_bytes()), Err(why), "{text}");
    }
}

#[test]
fn unfinished_and_unknown_instructions_are_passed_over() {
    let rule = Rule { name: vec![], data: b"+A=1\0x\0\0+B\0D".to_vec() };
    assert_eq!(rule.steps().collect::<Vec<_>>(), [Step::Set(b"A=1"), Step::Set(b"B")]);
    assert!(!rule.denies());
    assert_eq!(rule.variables().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..])]);
    assert!(Rule { name: vec![], data: b"+A=1\0D\0".to_vec() }.denies());
}

#[test]
fn d5_a_damaged_file_is_an_error_or_an_answer() {
    let mut whole = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.cdb");
    control::cdb::replace::<io::Error>(&path, &dir.path().join("tmp"), 0o644, |w| {
        w.add(b"1.2.", b"D\0")?;
        w.add(b"", b"+A=b\0")
    })
    .unwrap();
    whole.extend(std::fs::read(&path).unwrap());
    let client = Client { ip: b"1.2.3.4", host: Some(b"a.b"), info: Some(b"joe") };
    for len in 0..whole.len() {
        std::fs::write(&path, whole.get(..len).unwrap()).unwrap();
        if let Ok(Some(rule)) = find(&Cdb::open(&path).unwrap(), &client) {
            assert!(rule.name == b"1.2." || rule.name.is_empty());
        }
    }
    // A file cut within the header answers nothing, whatever is asked for.
    std::fs::write(&path, whole.get(..100).unwrap()).unwrap();
    assert!(find(&Cdb::open(&path).unwrap(), &client).is_err());
}

proptest! {
    // Each case with a file syncs it.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn d7_any_bytes_compile_or_are_refused(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = line(&text);
    }

    #[test]
    fn any_rule_like_text_compiles_or_is_refused(text in "[0-9a-f:./@=-]{0,20}:(allow|deny)(,[A-C]=\"[a-z]?\"?){0,3}") {
        if let Ok(records) = line(text.as_bytes()) {
            prop_assert!(records.keys.len() <= 256);
        }
    }

    #[test]
    fn an_address_is_found_by_any_network_that_holds_it(ip in any::<u32>(), len in 1usize..=32) {
        let text = format!("{}/{len}:deny\n", Ipv4Addr::from(ip));
        let found = name_for(&compiled(&text), &Ipv4Addr::from(ip).to_string(), "", "");
        prop_assert_eq!(found.as_bytes(), key::network(Ipv4Addr::from(ip).into(), len));
    }

    #[test]
    fn ipv6_networks_alike(ip in any::<u128>(), len in 1usize..=96) {
        let ip = Ipv6Addr::from(ip);
        let text = format!("{ip}/{len}:deny\n");
        let found = name_for(&compiled(&text), &ip.to_string(), "", "");
        prop_assert_eq!(found.as_bytes(), key::network(ip.into(), len));
    }
}
