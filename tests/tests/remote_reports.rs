//! What qmail-remote reports when it comes to no server: each outcome of the look-ups, by a real name server; and what
//! the system does not give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};
use whole_system::names::{Data, NameServer, Reply, kind};
use whole_system::{Home, run, stderr, stdout};

/// The domains that are looked up below.
fn zone(name: &[u8], wanted: u16) -> Reply {
    let records = Reply::Records;
    let exchanger = |name: &str| records(vec![Data::Mx(5, name.into())]);
    match (name, wanted) {
        (b"null.test", kind::MX) => records(vec![Data::Mx(0, vec![])]),
        (b"bare.test", kind::MX) => exchanger("none.test"),
        (b"own.test", kind::MX) => exchanger("mx.own.test"),
        // Leads nowhere but to itself.
        (b"alias.test", kind::MX) => records(vec![Data::Cname(b"alias.test".to_vec())]),
        (b"mx.own.test", kind::A) => records(vec![Data::A([127, 0, 0, 1].into())]),
        (b"bare.test" | b"empty.test" | b"own.test" | b"mx.own.test", _) => records(vec![]),
        (b"late.test" | b"alias.test", _) => Reply::Failure,
        _ => Reply::NoSuchName,
    }
}

#[test]
fn each_way_to_find_no_server_has_its_words() {
    let server = NameServer::start(zone);
    let home = Home::new(&["qmail-remote"]);
    let unknown = |host: &str| format!("DSorry, I couldn't find any host named {host}. (#5.1.2)\n\0");
    let rows = [
        ("none.test", unknown("none.test")),
        ("empty.test", unknown("empty.test")),
        ("no\u{e9}..test", unknown("no??..test")),
        ("null.test", "DSorry, host null.test does not accept mail. (#5.1.10)\n\0".to_string()),
        ("bare.test", "DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n\0".to_string()),
        ("late.test", "ZSorry, I couldn't find any host by that name. (#4.1.2)\n\0".to_string()),
        ("alias.test", "ZSorry, I couldn't find any host by that name. (#4.1.2)\n\0".to_string()),
        (
            "own.test",
            "DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
             it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n\0"
                .to_string(),
        ),
    ];
    for (host, record) in rows {
        let mut remote = home.command("qmail-remote");
        remote.args([host, "s@b.test", "r@a.test"]).env("DNSCACHEIP", server.cache());
        let done = run(&mut remote, b"x\n");
        assert_eq!((stdout(&done), stderr(&done)), (record, String::new()), "{host}");
        assert_eq!(done.status.code(), Some(0));
    }
}

/// qmail-remote to an address that nobody listens at, by way of another program, which may be missing.
fn by_way_of(words: &[&str], recipients: &[String]) -> Option<Output> {
    if std::env::var_os("STAGE").is_none() {
        eprintln!("skipped: needs programs that load no libraries (STAGE)");
        return None;
    }
    if Command::new(words[0]).arg("-V").output().is_err() {
        eprintln!("skipped: {} is not installed", words[0]);
        return None;
    }
    let home = Home::new(&["qmail-remote"]);
    Some(run(home.through(words, "qmail-remote").args(["[127.0.0.9]", "s@b.test"]).args(recipients), b"x\n"))
}

#[test]
fn without_descriptors_or_sockets_the_message_waits() {
    let recipient = ["r@a.test".to_string()];
    let rows: [(&[&str], &str); 2] = [
        (&["prlimit", "--nofile=3"], "ZUnable to read control files. (#4.3.0)\n\0"),
        (
            &["strace", "-o", "/dev/null", "-e", "inject=socket:error=ENOBUFS:when=1"],
            "ZSystem resources temporarily unavailable. (#4.3.0)\n\0",
        ),
    ];
    for (words, record) in rows {
        let Some(done) = by_way_of(words, &recipient) else { continue };
        if stderr(&done).contains("ptrace") {
            eprintln!("skipped: {}", stderr(&done));
            continue;
        }
        assert_eq!((stdout(&done).as_str(), done.status.code()), (record, Some(0)), "{words:?}: {}", stderr(&done));
    }
}

#[test]
fn without_memory_the_message_waits() {
    // What they take is more than the limit leaves.
    let many: Vec<String> = (0..6000).map(|n| format!("someone-with-a-long-name-{n}@a.test")).collect();
    let Some(done) = by_way_of(&["prlimit", "--data=500000", "--core=0"], &many) else { return };
    if stderr(&done).contains("memory allocation of") {
        eprintln!("skipped: these programs have the last words of the standard library");
        return;
    }
    assert_eq!(stdout(&done), "ZOut of memory. (#4.3.0)\n\0", "{}", stderr(&done));
    assert_eq!((stderr(&done).as_str(), done.status.code()), ("qmail-remote: fatal: out of memory\n", Some(0)));
}
