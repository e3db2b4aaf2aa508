//! qmail-authuser as its callers see it: arguments, descriptors, files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;

use auth::digest;
use auth::scram::{self, Client, ClientFirst, Verifier, same_channel};
use host::Home;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What happens on a host of its own.
const SET_ID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/set-id.sh");
const CHALLENGE: &str = "<1896.697170952@postoffice.reston.mci.net>";

#[test]
fn each_row_of_users_authuser() {
    let home = Home::new();
    let crypt = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    let verifier = String::from_utf8(Verifier::of_password(b"secret", b"salt", 4096).text()).unwrap();
    home.put(
        "users/authuser",
        &format!(
            "plain:secret\nliteral:=%secret\nshort:x\ntwo:ab\nempty:\nmd5:%5ebe2294ecd0e0f08eab7690d2a6ee69\n\
             sha1:%e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4\n\
             sha256:%2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\nbadhash:%12345\n\
             crypt:{crypt}\nunknown:$nonsense$x\nscram:{verifier}\n\
             argon2:$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA\n\
             !off\noff:secret\n!@off.test:\n@off.test:secret\nuser@off.test:secret\n@dom.test:domain\n@:virtual\n\
             *:star\n"
        ),
    );
    let cram = String::from_utf8(digest::cram(CHALLENGE.as_bytes(), b"secret")).unwrap();
    let apop = String::from_utf8(digest::apop(CHALLENGE.as_bytes(), b"secret")).unwrap();
    let hashed = String::from_utf8(digest::cram(CHALLENGE.as_bytes(), b"5ebe2294ecd0e0f08eab7690d2a6ee69")).unwrap();
    let rows: &[(&str, &str, &str, i32)] = &[
        ("plain", "secret", "", 0),
        ("PLAIN", "secret", "", 0),
        ("plain", "Secret", "", 1),
        ("plain", "", "", 1),
        ("plain", "secret", CHALLENGE, 0),
        ("plain", &cram, CHALLENGE, 0),
        ("plain", &cram, "<other@host>", 1),
        ("plain", &cram, "", 1),
        ("plain", &apop, CHALLENGE, 0),
        ("plain", &apop, "", 1),
        ("literal", "%secret", "", 0),
        ("literal", "=%secret", "", 1),
        ("short", "x", "", 2),
        ("two", "ab", "", 0),
        ("empty", "", "", 1),
        ("empty", "x", "", 1),
        ("md5", "secret", "", 0),
        ("md5", "wrong", "", 1),
        // The hash is not the password, in no form.
        ("md5", "%5ebe2294ecd0e0f08eab7690d2a6ee69", "", 1),
        ("md5", "5ebe2294ecd0e0f08eab7690d2a6ee69", "", 1),
        ("md5", &hashed, CHALLENGE, 1),
        ("md5", &cram, CHALLENGE, 1),
        ("sha1", "secret", "", 0),
        ("sha1", "wrong", "", 1),
        ("sha256", "secret", "", 0),
        ("sha256", "wrong", "", 1),
        ("badhash", "%12345", "", 1),
        ("crypt", "Hello world!", "", 0),
        ("crypt", "Hello world?", "", 1),
        ("crypt", crypt, "", 1),
        ("unknown", "$nonsense$x", "", 1),
        ("scram", "secret", "", 0),
        ("scram", "wrong", "", 1),
        ("scram", &verifier, "", 1),
        ("argon2", "password", "", 0),
        ("argon2", "wrong", "", 1),
        ("off", "secret", "", 1),
        ("user@off.test", "secret", "", 1),
        ("x@Off.Test", "secret", "", 1),
        ("x@dom.test", "domain", "", 0),
        ("x@DOM.test", "domain", "", 0),
        ("x@other.test", "virtual", "", 0),
        ("x@other.test", "star", "", 1),
        ("@dom.test", "domain", "", 1),
        ("*", "star", "", 1),
        ("", "virtual", "", 1),
    ];
    for (user, response, challenge, expected) in rows {
        let input = format!("{user}\0{response}\0{challenge}\0");
        assert_eq!(home.run(&[], &["true"], input.as_bytes()), Some(*expected), "{user} {response} {challenge}");
    }
    // The third field may be missing, and the second form of the file has no entry for all.
    assert_eq!(home.run(&[], &["true"], b"plain\0secret\0"), Some(0));
    home.put("users/authuser", "*:star\n");
    assert_eq!(home.run(&[], &["true"], b"anybody\0star\0\0"), Some(0));
    fs::remove_file(home.path("users/authuser")).unwrap();
    assert_eq!(home.run(&[], &["true"], b"plain\0secret\0\0"), Some(1));
    fs::create_dir(home.path("users/authuser")).unwrap();
    assert_eq!(home.run(&[], &["true"], b"plain\0secret\0\0"), Some(111));
}

#[test]
fn exit_codes_and_misuse() {
    let home = Home::new();
    home.put("users/authuser", "joe:secret\n");
    let good = b"joe\0secret\0\0";
    let long = [good.as_slice(), &[b'x'; 501]].concat();
    let rows: &[(&[&str], &[u8], i32)] = &[
        (&["sh", "-c", "exit 77"], good, 77),
        (&["sh", "-c", "if (: <&3) 2>&-; then exit 9; fi"], good, 0),
        (&["no-such-program"], good, 111),
        (&["/nonexistent/program"], good, 111),
        (&[], good, 2),
        (&["-q", "true"], good, 2),
        (&["-s"], good, 2),
        (&["-s", "/nowhere"], good, 2),
        (&["--", "true"], good, 0),
        (&["true"], b"", 2),
        (&["true"], b"joe\0secret", 2),
        (&["true"], &long, 2),
    ];
    for (args, input, expected) in rows {
        assert_eq!(home.run(&[], args, input), Some(*expected), "{args:?} {}", input.escape_ascii());
    }
    // A file, and nothing at all, in place of the pipe.
    home.put("input", "joe\0secret\0\0");
    for (redirection, expected) in [("3<input", 2), ("3<&-", 2), ("3</dev/null", 2), ("4>&1 3<&0 <input", 2)] {
        let script = format!("cat input >/dev/null; exec \"$@\" {redirection} </dev/null");
        let mut command = home.command("sh", &["-c", &script, "sh", host::AUTHUSER, "true"]);
        let status = command.current_dir(home.path(".")).stdin(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{redirection}");
    }
}

#[test]
fn s23_a_refusal_takes_the_same_time_for_all() {
    let home = Home::new();
    home.put("users/authuser", "joe:secret\nann:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\n");
    for user in ["joe", "nobody", "ann"] {
        let start = Instant::now();
        assert_eq!(home.run(&[], &["true"], format!("{user}\0wrong\0\0").as_bytes()), Some(1));
        assert!(start.elapsed() >= Duration::from_millis(490), "{user}: {:?}", start.elapsed());
    }
}

#[test]
fn other_checkers_get_what_came_on_descriptor_3() {
    let home = Home::new();
    let read = |name: &str| fs::read_to_string(home.path(name)).unwrap();
    home.put("users/authuser", "@m.test:+\n@p.test:&\n");
    for name in ["checkvpw", "vchkpw"] {
        let script =
            "#!/bin/sh\ncat <&3 >\"$CAPTURE\"; echo $0 \"$@\" >\"$CAPTURE.argv\"; exit $(cat \"$CAPTURE.code\")\n";
        home.put(&format!("path/{name}"), script);
        fs::set_permissions(home.path(&format!("path/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let capture = home.path("capture").display().to_string();
    let path = format!("{}:/usr/bin:/bin", home.path("path").display());
    let variables = [("CAPTURE", capture.as_str()), ("PATH", path.as_str())];
    let rows = [
        ("x@m.test", &["true"][..], "checkvpw true Maildir", [(0, 0), (1, 1), (3, 1), (111, 111)]),
        ("x@p.test", &["true"], "vchkpw", [(0, 0), (1, 1), (20, 1), (111, 111)]),
        (
            "x@p.test",
            &["/x/qmail-pop3d", "Maildir"],
            "vchkpw /x/qmail-pop3d Maildir",
            [(0, 0), (1, 1), (3, 3), (111, 111)],
        ),
        ("x@m.test", &["qmail-pop3d", "Maildir"], "checkvpw qmail-pop3d Maildir", [(0, 0), (1, 1), (3, 3), (111, 111)]),
    ];
    for (user, program, argv, codes) in rows {
        for (code, expected) in codes {
            home.put("capture.code", &code.to_string());
            let input = format!("{}\0a b\0<1@h>\0", user.to_uppercase());
            assert_eq!(home.run(&variables, program, input.as_bytes()), Some(expected), "{argv} {code}");
            let local = user.split('@').next().unwrap().to_uppercase();
            let domain = user.split('@').nth(1).unwrap();
            assert_eq!(read("capture"), format!("{local}@{domain}\0a b\0<1@h>\0"));
            assert!(read("capture.argv").trim_end().ends_with(&format!("path/{argv}")), "{}", read("capture.argv"));
        }
    }
    // Without the other program there is no answer.
    fs::remove_dir_all(home.path("path")).unwrap();
    assert_eq!(home.run(&variables, &["true"], b"x@m.test\0a\0\0"), Some(111));
}

/// Neither descriptor of the exchange is left open.
const CLOSED: &str = "if (: <&3) 2>&- || (: >&4) 2>&-; then exit 9; fi";

/// A whole exchange the way qmail-smtpd has it; what the client thought of it and the exit code.
fn scram(home: &Home, user: &str, password: &str) -> (Result<(), String>, Option<i32>) {
    scram_to_its_end(home, user, password, false)
}

fn scram_to_its_end(home: &Home, user: &str, password: &str, calls_off: bool) -> (Result<(), String>, Option<i32>) {
    let mut client = Client::new(user.as_bytes(), password.as_bytes(), b"eighteen bytes....");
    let message = client.first();
    let first = ClientFirst::parse(&message).unwrap();
    let mut command = home.command("sh", &["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"]);
    let mut child = command
        .args([host::AUTHUSER, "sh", "-c", CLOSED])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    to.write_all(&[user.as_bytes(), b"\0\0SCRAM-SHA-256 ", first.bare, b" servernonce\0"].concat()).unwrap();
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).unwrap();
    if line.is_empty() {
        return (Err("nothing".to_string()), child.wait().unwrap().code());
    }
    let answer = client.answer(line.strip_suffix(b"\n").unwrap()).unwrap();
    assert!(same_channel(&answer, first.header));
    to.write_all(&[&answer, &b"\0"[..]].concat()).unwrap();
    line.clear();
    from.read_until(b'\n', &mut line).unwrap();
    match calls_off {
        true => to.write_all(b"-").unwrap(),
        false => drop(to),
    }
    let code = child.wait().unwrap().code();
    let end = line.strip_suffix(b"\n").ok_or("nothing".to_string());
    (end.and_then(|end| client.check(end).map_err(|e| format!("{e:?}"))), code)
}

#[test]
fn scram_exchanges() {
    let home = Home::new();
    let verifier = String::from_utf8(Verifier::of_password(b"secret", b"some salt", 8192).text()).unwrap();
    home.put(
        "users/authuser",
        &format!(
            "plain:secret\nown:{verifier}\nmd5:%5ebe2294ecd0e0f08eab7690d2a6ee69\n!off\noff:secret\n\
            j\u{fc}rg:pa\u{308}ss\n"
        ),
    );
    let no = (Err("nothing".to_string()), Some(1));
    let rows = [
        ("plain", "secret", (Ok(()), Some(0))),
        ("plain", "wrong", no.clone()),
        ("own", "secret", (Ok(()), Some(0))),
        ("own", "wrong", no.clone()),
        ("md5", "secret", no.clone()),
        ("off", "secret", no.clone()),
        ("nobody", "secret", no.clone()),
        ("nobody", "", no.clone()),
        // Name and password are prepared: one way to write a letter is as good as the other.
        ("ju\u{308}rg", "p\u{e4}ss", (Ok(()), Some(0))),
        ("ju\u{7}rg", "secret", no),
    ];
    for (user, password, expected) in rows {
        assert_eq!(scram(&home, user, password), expected, "{user} {password}");
    }
    // The password is right, but the caller has its reasons.
    assert_eq!(scram_to_its_end(&home, "plain", "secret", true), (Ok(()), Some(1)));
    let key = fs::read(home.path("users/authkey")).unwrap();
    assert_eq!((key.len(), fs::metadata(home.path("users/authkey")).unwrap().mode() & 0o7777), (32, 0o600));
}

/// The server's first message to this user, from which the nonce is taken out.
fn first_answer(home: &Home, user: &str) -> String {
    let message = format!("{user}\0\0SCRAM-SHA-256 n={user},r=abc xyz\0");
    let mut command = home.command("sh", &["-c", "exec \"$@\" 3<&0 4>&1 </dev/null", "sh", host::AUTHUSER, "true"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    // The client has gone without an answer.
    assert_eq!(child.wait().unwrap().code(), Some(1));
    said.strip_prefix("r=abcxyz,").unwrap().to_string()
}

#[test]
fn scram_does_not_tell_who_is_there() {
    let home = Home::new();
    home.put("users/authuser", "plain:secret\n!off\nmd5:%5ebe2294ecd0e0f08eab7690d2a6ee69\n");
    let users = ["plain", "off", "md5", "nobody", "somebody"];
    let first: Vec<_> = users.iter().map(|user| first_answer(&home, user)).collect();
    for (n, answer) in first.iter().enumerate() {
        assert!(
            answer.starts_with("s=") && answer.ends_with(",i=4096\n") && answer.len() == first[0].len(),
            "{answer}"
        );
        assert!(!first[..n].contains(answer), "{answer}");
    }
    // They stay the same when the file changes: somebody new has the salt that nobody had.
    home.put("users/authuser", "somebody:secret2\nnew:x y\n");
    let later: Vec<_> = users.iter().map(|user| first_answer(&home, user)).collect();
    assert_eq!(first, later);
    assert_eq!(first_answer(&home, "NOBODY"), first[3]);
    // Another host has others.
    assert_ne!(first_answer(&Home::new(), "nobody"), first[3]);
}

#[test]
fn scram_requests_that_make_no_sense() {
    let home = Home::new();
    home.put("users/authuser", "joe:secret\n");
    let rows: &[(&str, i32)] = &[
        ("joe\0\0SCRAM-SHA-256 n=mary,r=abc xyz\0", 2),
        ("joe\0\0SCRAM-SHA-256 n=joe,r=abc x,z\0", 2),
        ("joe\0\0SCRAM-SHA-256 n=joe,r=abc \0", 2),
        ("joe\0\0SCRAM-SHA-256 n=joe xyz\0", 2),
        ("joe\0\0SCRAM-SHA-256 m=x,n=joe,r=abc xyz\0", 2),
        ("joe\0\0SCRAM-SHA-1 n=joe,r=abc xyz\0", 1),
        ("joe\0\0SCRAM-SHA-256 n=joe,r=abc xyz\0garbage\0", 1),
        ("joe\0\0\0", 1),
    ];
    for (input, expected) in rows {
        let mut command = home.command("sh", &["-c", "exec \"$@\" 3<&0 4>/dev/null", "sh", host::AUTHUSER, "true"]);
        assert_eq!(host::feed(&mut command, input.as_bytes()), Some(*expected), "{}", input.escape_default());
    }
    // Nobody listens on descriptor 4.
    assert_eq!(home.run(&[], &["true"], b"joe\0\0SCRAM-SHA-256 n=joe,r=abc xyz\0"), Some(2));
    assert_eq!(scram::NAME, b"SCRAM-SHA-256");
}

/// A host of its own: /etc/passwd and /etc/shadow with two users more, and the set-id program in the compiled-in home.
#[test]
fn unix_accounts_and_set_id_misuse() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    let home = Home::new();
    home.put("users/authuser", "*:?\n@box.test:!\nplain:secret\n");
    home.put("users/ids", "user qmaild 7791\n");
    // joe has Debian's kind of hash, mary one of another time, none has no password, lock one that was locked.
    let salt = "$y$j9T$abcdefghijkl$XFQnRmFDoRnfefa6tLCdzcaB9xoGhmmkRgfG1lm0pK1";
    home.put(
        "more.passwd",
        "joe:x:7801:7802::/mnt/jhome:/bin/jsh\nmary:x:7803:7803::/nohome:\nnone:x:7804:7804::/:\n\
         lock:x:7805:7805::/:\nsuper:x:0:0::/:\n",
    );
    home.put(
        "more.shadow",
        &format!(
            "joe:{salt}:1::::::\nmary:{salt}:1::::::\nnone::1::::::\nlock:!{salt}:1::::::\nsuper:{salt}:1::::::\n"
        ),
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", SET_ID]).arg(host::AUTHUSER);
    let output = command.current_dir(home.path(".")).env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("all ok\n"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_a_socket_dovecot_gives_no_answer() {
    let home = Home::new();
    home.put("users/authuser", "*:=\n");
    let socket = home.path("nothing").display().to_string();
    assert_eq!(home.run(&[], &["-s", &socket, "true"], b"joe\0secret\0\0"), Some(111));
    symlink("/dev/null", home.path("null")).unwrap();
    let null = home.path("null").display().to_string();
    assert_eq!(home.run(&[], &["-s", &null, "-x", "service=pop3", "true"], b"joe\0secret\0\0"), Some(111));
}
