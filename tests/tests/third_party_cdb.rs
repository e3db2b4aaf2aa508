//! cdb files both ways: Debian's tinycdb, freecdb and ucspi-tcp read what ours make, and ours read what theirs make;
//! and a running site goes by files that they made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{HOST, Site, field, home};
use whole_system::{stderr, stdout};

/// Records that could go wrong: two of one key, empty ones, and bytes that mean something in the text form.
const RECORDS: &str = "+3,5:one->first\n+3,6:one->second\n+0,0:->\n+4,5:a\nb\0->->x\0y\n+4,0:null->\n+0,4:->none\n\n";

/// Makers: input on fd 0, the file is `$0`.
const MAKERS: [&str; 3] = ["OURS/cdbmake $0 $0.tmp", "/usr/bin/cdbmake $0 $0.tmp", "cdb -c -t $0.tmp $0 -"];
/// Dumpers of `$0`.
const DUMPERS: [&str; 3] = ["OURS/cdbdump <$0", "/usr/bin/cdbdump <$0", "cdb -d $0"];
/// Readers of the value of `$1` in `$0`.
const READERS: [&str; 3] = ["OURS/cdbget \"$1\" <$0", "/usr/bin/cdbget \"$1\" <$0", "cdb -q -n 1 $0 \"$1\""];

fn ours(command: &str) -> String {
    command.replace("OURS", &home("bin"))
}

#[test]
fn tinycdb_freecdb_and_ours_read_each_others_files() {
    let Some(site) = Site::boot(&["/usr/bin/cdbmake", "/usr/bin/cdb"], "./Maildir/") else { return };
    let file = |n: usize| format!("/tmp/made.{n}.cdb");
    for (n, make) in MAKERS.iter().enumerate() {
        site.sh("root", &ours(make), &[&file(n)], RECORDS.as_bytes());
        for dump in DUMPERS {
            assert_eq!(site.sh("joe", &ours(dump), &[&file(n)], b""), RECORDS, "{make}, {dump}");
        }
        for read in READERS {
            for (key, value) in [("one", "first"), ("null", "")] {
                assert_eq!(site.sh("joe", &ours(read), &[&file(n), key], b""), value, "{make}, {read}, {key}");
            }
            let none = site.try_sh("joe", &ours(read), &[&file(n), "two"], b"");
            assert_eq!((none.status.code(), stdout(&none).as_str()), (Some(100), ""), "{make}, {read}");
        }
        // The second value of a key; and the empty key, which theirs refuse to look for.
        assert_eq!(site.sh("joe", &ours("OURS/cdbget one 1 <$0"), &[&file(n)], b""), "second");
        assert_eq!(site.sh("joe", &ours("OURS/cdbget '' 1 <$0"), &[&file(n)], b""), "none");
    }
    let bytes = |n| std::fs::read(site.path(&file(n))).unwrap();
    assert!(bytes(0) == bytes(1), "freecdb's file differs from ours");
    // cdbstats counts how far each record is from where its search begins.
    let counted = site.sh("joe", "/usr/bin/cdbstats <$0", &[&file(0)], b"");
    assert!(counted.starts_with("records          6\n"), "{counted}");
    // Many records, so that every table is used and searches go on over its end.
    let many: String =
        (0..5000).map(|n| format!("+{},{}:{n}->{}\n", n.to_string().len(), (n * n).to_string().len(), n * n)).collect();
    for (n, make) in MAKERS.iter().enumerate() {
        site.sh("root", &ours(make), &[&file(n)], (many.clone() + "\n").as_bytes());
        for read in READERS {
            let script =
                format!("for n in 0 17 4999; do set -- $n; {}; echo; done", ours(read).replace("$0", &file(n)));
            assert_eq!(site.sh("joe", &script, &[], b""), "0\n289\n24990001\n", "{make}, {read}");
        }
    }
    assert!(bytes(0) == bytes(1));
    let counted = site.sh("joe", "/usr/bin/cdbstats <$0", &[&file(0)], b"");
    assert!(counted.starts_with("records       5000\n"), "{counted}");
}

const RULES: &str = "127.0.0.1:allow,RELAYCLIENT=\"\",GREETING=\"/hello world/\"\n10.1-20.:deny\n\
    10.:allow,NET=\"ten\"\n192.0.2.7:allow,RBLSMTPD=\"-no\"\njoe@192.0.2.8:allow,JOE=\"yes\"\n\
    =good.example:allow\n=.example:deny\n=:allow,NAMED=\"\"\n:deny\n";

#[test]
fn rules_of_ucspi_tcp_and_of_ours_say_the_same() {
    let Some(site) = Site::boot(&["/usr/bin/tcprules", "/usr/bin/tcprulescheck"], "./Maildir/") else { return };
    for (n, bin) in [home("bin"), "/usr/bin".to_string()].iter().enumerate() {
        site.sh("root", "$0/tcprules $1 $1.tmp", &[bin, &format!("/tmp/rules.{n}")], RULES.as_bytes());
    }
    let clients = [
        ("127.0.0.1", "", ""),
        ("127.0.0.2", "", ""),
        ("10.1.2.3", "", ""),
        ("10.20.2.3", "", ""),
        ("10.21.2.3", "", ""),
        ("192.0.2.7", "", "good.example"),
        ("192.0.2.8", "joe", ""),
        ("192.0.2.8", "ann", ""),
        ("192.0.2.9", "", "good.example"),
        ("192.0.2.9", "", "bad.example"),
        ("192.0.2.9", "", "other.test"),
        ("255.255.255.255", "", ""),
    ];
    for (ip, info, host) in clients {
        let mut said = Vec::new();
        for bin in [home("bin"), "/usr/bin".to_string()] {
            for file in ["/tmp/rules.0", "/tmp/rules.1"] {
                let mut script = "exec env".to_string();
                for (name, value) in [("TCPREMOTEINFO", info), ("TCPREMOTEHOST", host)] {
                    if !value.is_empty() {
                        script += &format!(" {name}={value}");
                    }
                }
                // 0.88 takes the client's address from its arguments or, in another version, from the environment.
                script += &format!(" TCPREMOTEIP={ip} {bin}/tcprulescheck {file} {ip}");
                said.push(site.sh("joe", &script, &[], b""));
            }
        }
        assert!(said.iter().all(|s| *s == said[0]), "{ip} {info} {host}: {said:#?}");
    }
}

#[test]
fn a_site_goes_by_files_that_others_made() {
    let Some(mut site) = Site::prepare(&["/usr/bin/cdbmake", "/usr/bin/cdb", "/usr/bin/tcprules"]) else {
        return;
    };
    site.put("/tmp/rules", "127.0.0.1:allow,RELAYCLIENT=\"\"\n127.0.0.2:deny\n:allow\n");
    site.sh("root", "cd $0/control; /usr/bin/tcprules rules.smtpd.cdb tmp </tmp/rules", &[&home("")], b"");
    site.put(&home("control/locals"), &format!("{HOST}\nmore.example\n"));
    site.start("./Maildir/");
    site.serve_smtp();
    let session = |ip: &str, recipient: &str| {
        let script =
            format!("$0/bin/tcpclient -RHl0 -i {ip} 127.0.0.1 25 sh -c 'exec 3<&0; cat <&3 >&7 & exec cat <&6'");
        let input = format!(
            "HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<{recipient}>\r\n\
             DATA\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n"
        );
        stdout(&site.try_sh("joe", &script, &[&home("")], input.as_bytes()))
    };
    assert_eq!(session("127.0.0.2", "ann@here.example"), "");
    assert!(session("127.0.0.3", "ann@more.example").contains("\r\n553 "), "{}", site.log());
    let makers = ["/usr/bin/cdbmake morercpthosts.cdb tmp", "cdb -c -t tmp morercpthosts.cdb -"];
    for make in makers {
        let script = format!("cd $0/control; rm -f morercpthosts.cdb; {make}");
        site.sh("root", &script, &[&home("")], b"+12,0:more.example->\n+4,0:.sub->\n\n");
        let said = session("127.0.0.3", "ann@more.example");
        assert!(said.contains("\r\n250 ok ") && !said.contains("\r\n553 "), "{said}");
        assert_eq!(field(&site.only("ann"), "Delivered-To"), "ann@more.example");
    }
    // users/cdb, taken apart and made again by others.
    let assign = "=sales:ann:61002:61000:/var/home/ann:::\n+sales-:joe:61001:61000:/var/home/joe:-::\n.\n";
    site.put(&home("users/assign"), assign);
    site.sh("root", "$0/bin/qmail-newu", &[&home("")], b"");
    for make in ["/usr/bin/cdbdump <$f | cdb -c -t tmp $f.new -", "cdb -d $f | /usr/bin/cdbmake $f.new tmp"] {
        site.sh("root", &format!("f=$0/users/cdb; {make}; mv $f.new $f; chmod 644 $f"), &[&home("")], b"");
        site.put_for("joe", ".qmail-eu", "./Maildir/\n");
        for (recipient, user) in [("sales", "ann"), ("sales-eu", "joe")] {
            let done = site.try_sh("joe", "/usr/sbin/sendmail $0", &[recipient], b"Subject: s\n\nbody\n");
            assert!(done.status.success(), "{}", stderr(&done));
            assert_eq!(field(&site.only(user), "Delivered-To"), format!("{recipient}@{HOST}"));
        }
    }
}
