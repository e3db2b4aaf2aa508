//! tcprules, tcprulescheck and the cdb tools through their real interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(program: &str, args: &[&Path], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that gives up at the first bad line does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn dump(cdb: &Path) -> Vec<u8> {
    let input = std::fs::File::open(cdb).unwrap();
    Command::new(env!("CARGO_BIN_EXE_cdbdump")).stdin(input).output().unwrap().stdout
}

#[test]
fn a_dump_is_what_was_made_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (cdb, tmp) = (dir.path().join("f"), dir.path().join("f.tmp"));
    let text = b"+3,5:one->Hello\n+0,2:->\n\0\n+3,0:one->\n\n";
    let out = run(env!("CARGO_BIN_EXE_cdbmake"), &[&cdb, &tmp], text);
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(dump(&cdb), text);
    // cdbdump reads a pipe, too.
    let out = run(env!("CARGO_BIN_EXE_cdbdump"), &[], &std::fs::read(&cdb).unwrap());
    assert_eq!(out.stdout, text);
    assert!(!tmp.exists());
}

#[test]
fn d5_tools_refuse_a_database_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let (cdb, tmp) = (dir.path().join("f"), dir.path().join("f.tmp"));
    run(env!("CARGO_BIN_EXE_cdbmake"), &[&cdb, &tmp], b"+3,5:one->Hello\n\n");
    let whole = std::fs::read(&cdb).unwrap();
    for length in [0, 7, 2047, 2050, 2060] {
        std::fs::write(&cdb, &whole[..length]).unwrap();
        let input = || std::fs::File::open(&cdb).unwrap();
        let get = Command::new(env!("CARGO_BIN_EXE_cdbget")).arg("one").stdin(input()).output().unwrap();
        let dump = Command::new(env!("CARGO_BIN_EXE_cdbdump")).stdin(input()).output().unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_tcprulescheck")).arg(&cdb).env("TCPREMOTEIP", "one").output();
        assert_eq!((get.status.code(), dump.status.code()), (Some(111), Some(111)), "{length}");
        assert_eq!(check.unwrap().status.code(), Some(111), "{length}");
    }
}

#[test]
fn d7_a_bad_line_is_named_by_number_and_the_old_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (cdb, tmp) = (dir.path().join("r"), dir.path().join("r.tmp"));
    std::fs::write(&cdb, "old").unwrap();
    let long = [b":allow,X=\"".as_slice(), &[b'x'; 70_000], b"\"\n"].concat();
    let rows: &[(&[u8], &str)] = &[
        (b"1.2.3.4:allow\n#\n1.2.3.4:permit\x1b\n", "unable to parse this line: 1.2.3.4:permit? (line 3)"),
        (b"1.2.3.4/33:allow", "invalid prefix length on this line: 1.2.3.4/33:allow (line 1)"),
        (b"fe80:1::allow\n", "invalid address on this line: fe80:1::allow (line 1)"),
        (&long, "unable to parse this line: :allow,X=\""),
        (b":allow\0\n", "unable to parse this line: :allow? (line 1)"),
    ];
    for (text, reason) in rows {
        let out = run(env!("CARGO_BIN_EXE_tcprules"), &[&cdb, &tmp], text);
        assert_eq!(out.status.code(), Some(100));
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.starts_with(&format!("tcprules: fatal: {reason}")) && said.len() < 300, "{said}");
        assert_eq!(std::fs::read(&cdb).unwrap(), b"old");
    }
}

#[test]
fn a_network_is_shown_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (cdb, tmp) = (dir.path().join("r"), dir.path().join("r.tmp"));
    run(env!("CARGO_BIN_EXE_tcprules"), &[&cdb, &tmp], b"172.16./12:deny\n2001:db8::/32:allow,A=\"b\"\n");
    let check = |ip: &str| {
        let out = Command::new(env!("CARGO_BIN_EXE_tcprulescheck")).arg(&cdb).env("TCPREMOTEIP", ip).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(check("172.31.0.1"), "rule 172.16.0.0/12:\ndeny connection\n");
    assert_eq!(check("2001:db8::7"), "rule 2001:db8::/32:\nset environment variable A=b\nallow connection\n");
    assert_eq!(check("172.32.0.1"), "default:\nallow connection\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn any_records_survive_make_and_dump(
        records in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..8),
    ) {
        let mut text = Vec::new();
        for (key, data) in &records {
            text.extend(format!("+{},{}:", key.len(), data.len()).bytes());
            text.extend([key.as_slice(), b"->", data, b"\n"].concat());
        }
        text.push(b'\n');
        let dir = tempfile::tempdir().unwrap();
        let (cdb, tmp) = (dir.path().join("f"), dir.path().join("f.tmp"));
        let out = run(env!("CARGO_BIN_EXE_cdbmake"), &[&cdb, &tmp], &text);
        prop_assert_eq!(out.status.code(), Some(0));
        prop_assert_eq!(dump(&cdb), text);
    }
}
