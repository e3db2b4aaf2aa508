//! Programs of others speak TLS with our services as their run scripts start them: gnutls-cli and OpenSSL's s_client
//! word by word, msmtp and mutt as users send, mutt and fetchmail as users fetch. Each refuses a server that its
//! authority has not signed for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Output;
use whole_system::site::{Site, body, field, home};
use whole_system::{stderr, stdout};

/// `secret` as Debian keeps it (yescrypt).
const HASH: &str = "$y$j9T$abcdefghijkl$XFQnRmFDoRnfefa6tLCdzcaB9xoGhmmkRgfG1lm0pK1";

/// In /etc/tls: an authority, a certificate of it for a client, one in the same name that nobody has signed for, and an
/// authority that has signed nothing here. In ssl: the server's, and what the run scripts read, as package/sslenv has it.
const CERTIFICATES: &str = r#"set -e; umask 022; mkdir /etc/tls $0/ssl; cd /etc/tls
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
for name in ca stranger; do openssl req -x509 $key -days 2 -subj /CN=$name -keyout $name.key -out $name.pem; done
printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:here.example\n' >ext
for name in server node; do
  openssl req $key -subj /CN=$name.example -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem
done
openssl req -x509 $key -days 2 -subj /CN=node.example -keyout false.key -out false.pem
chmod 644 node.key false.key
mv server.pem $0/ssl/cert.pem; mv server.key $0/ssl/key.pem; cd $0/ssl
printf 'export SSL_UID=%s SSL_GID=%s SSL_CHROOT=%s CERTFILE=%s/cert.pem KEYFILE=%s/key.pem\n' \
  $(id -u nobody) $(id -g nobody) $PWD $PWD $PWD >ssl.env"#;

/// The services, by the names of their run scripts, and their ports.
const SERVICES: [(&str, u16); 5] =
    [("qmail-smtpd", 25), ("qmail-smtpsub", 587), ("qmail-smtpsd", 465), ("qmail-pop3d", 110), ("qmail-pop3sd", 995)];

/// A site where nobody may relay who does not show who they are. far.example is ann's as well, but no client is told so:
/// mail to it arrives if the client was let relay.
fn site(programs: &[&str]) -> Option<Site> {
    let mut site = Site::prepare(&[programs, &["openssl"]].concat())?;
    site.sh("root", CERTIFICATES, &[&home("")], b"");
    site.put(&home("users/authuser"), "joe@here.example:secret\n*:!\n");
    site.sh("root", "echo \"ann:$0:19000::::::\" >>/etc/shadow; chmod 600 $1/users/authuser", &[HASH, &home("")], b"");
    site.put(&home("control/locals"), "here.example\nlocalhost\nfar.example\n");
    site.rules("smtpd", ":allow\n");
    site.start("./Maildir/");
    Some(site)
}

/// Starts a service by its run script, with one word of that in place of another.
fn serve(site: &mut Site, service: &str, port: u16, word: &str, other: &str) {
    let script = format!("{}/../service-templates/{service}/run", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(script).unwrap();
    assert!(text.contains(word), "{service}: {word}");
    site.put(&format!("/run/{service}"), &text.replace(word, other).replace("/var/qmail", conf::HOME));
    site.serve(&format!("exec sh /run/{service} >>/var/log/smtpd 2>&1"), Some(port));
}

fn with_all_services(programs: &[&str]) -> Option<Site> {
    let mut site = site(programs)?;
    for (service, port) in SERVICES {
        serve(&mut site, service, port, "", "");
    }
    Some(site)
}

/// Runs a client, and answers it: a line `PATTERN|WORDS` waits for a line that is like PATTERN, if there is one, and then
/// says WORDS.
const TALK: &str = r#"
rm -f to from; mkfifo to from
"$@" <to >from 2>&1 &
exec 5>to 4<from
while IFS='|' read -r pattern words <&3; do
  while [ -n "$pattern" ]; do
    IFS= read -r line <&4 || break 2
    printf '%s\n' "${line%$'\r'}"
    [[ ${line%$'\r'} != $pattern ]] || break
  done
  printf '%s\r\n' "$words" >&5
done 3<&0
cat <&4
wait $!
"#;

/// Has joe run a client (words of sh) and say this.
fn talk(site: &Site, client: &str, dialogue: &str) -> Output {
    site.try_sh("joe", &format!("trap '' PIPE; exec bash -c \"$0\" talk {client}"), &[TALK], dialogue.as_bytes())
}

/// joe logs in; to be said after EHLO.
const LOGIN: &str = "AUTH PLAIN AGpvZUBoZXJlLmV4YW1wbGUAc2VjcmV0\n235 *|";

/// What a server says first. After STARTTLS and STLS it waits.
fn greeting(port: u16) -> &'static str {
    match port {
        465 => "220 *",
        995 => "+OK*",
        _ => "",
    }
}

/// A message by SMTP, with a login on all ports but 25.
fn mail(port: u16, recipient: &str, subject: &str) -> String {
    let login = if port == 25 { "" } else { LOGIN };
    format!(
        "{}|EHLO desk.example\n250 *|{login}MAIL FROM:<joe@here.example>\n250 ok|RCPT TO:<{recipient}>\n\
         250 ok|DATA\n354 *|Subject: {subject}\n|\n|..dot\n|.\n250 ok *|QUIT\n",
        greeting(port)
    )
}

/// The protocol of the last handshake in the servers' log.
fn last_protocol(site: &Site) -> String {
    let log = site.log();
    let (_, end) = log.rsplit_once(" accept ").expect(&log);
    end.split(':').next().unwrap().to_string()
}

/// The only message that ann has; it came by TLS.
fn arrived(site: &Site, subject: &str, protocol: &str, token: &str) -> String {
    let message = site.only("ann");
    assert_eq!(field(&message, "Subject"), subject);
    assert!(message.contains(&format!("\n  de/crypted with {protocol}: ")), "{message}");
    assert!(message.contains(&format!("\n  by here.example with {token}; ")), "{message}");
    assert_eq!(last_protocol(site), protocol);
    message
}

/// A message for ann to fetch.
fn fill(site: &Site) {
    site.sh("joe", "/usr/sbin/sendmail ann@here.example", &[], b"Subject: fetched\n\n.\nbody\n");
    site.settle();
    // qmail-pop3d leaves what came in the present second for the next session.
    site.sh("ann", "touch -d '5 seconds ago' Maildir/new/*", &[], b"");
}

/// A POP3 session that takes the only message.
fn fetch(port: u16) -> String {
    format!("{}|USER ann\n+OK*|PASS secret\n+OK*|RETR 1\n.|DELE 1\n+OK*|QUIT\n", greeting(port))
}

/// It is taken, by TLS; the last line is as old as POP3 in qmail.
fn fetched(site: &Site, said: &str, protocol: &str) {
    assert!(said.contains("Subject: fetched\n\n..\nbody\n\n.\n"), "{said}{}", site.log());
    was_taken(site, protocol);
}

fn was_taken(site: &Site, protocol: &str) {
    assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
    assert_eq!(last_protocol(site), protocol);
    let log = site.log();
    assert!(log.rsplit_once("::AUTH::").unwrap().1.starts_with("User P:POP3S S:127.0.0.1:unknown ?~ 'ann'"), "{log}");
}

const SMTP: [u16; 3] = [25, 587, 465];
const POP3: [u16; 2] = [110, 995];

fn token(port: u16) -> &'static str {
    if port == 25 { "ESMTPS" } else { "ESMTPSA" }
}

fn gnutls_cli(port: u16, options: &str) -> String {
    let starttls = match port {
        25 | 587 => "--starttls-proto=smtp",
        110 => "--starttls-proto=pop3",
        _ => "",
    };
    format!("gnutls-cli {starttls} --port={port} {options} here.example")
}

#[test]
fn gnutls_cli_sends_and_fetches() {
    let Some(site) = with_all_services(&["gnutls-cli", "bash"]) else { return };
    for version in ["1.2", "1.3"] {
        let options = format!("--x509cafile=/etc/tls/ca.pem --priority=NORMAL:-VERS-ALL:+VERS-TLS{version}");
        let verified = "- Status: The certificate is trusted.";
        let protocol = format!("TLSv{version}");
        for port in SMTP {
            let said = stdout(&talk(&site, &gnutls_cli(port, &options), &mail(port, "ann@here.example", "x")));
            assert!(said.contains(verified) && said.contains("\n221 "), "{port}: {said}{}", site.log());
            assert_eq!(body(&arrived(&site, "x", &protocol, token(port))), ".dot\n");
        }
        for port in POP3 {
            fill(&site);
            let said = stdout(&talk(&site, &gnutls_cli(port, &options), &fetch(port)));
            assert!(said.contains(verified), "{port}: {said}");
            fetched(&site, &said, &protocol);
        }
    }
}

#[test]
fn gnutls_cli_refuses_and_is_refused() {
    let Some(site) = with_all_services(&["gnutls-cli", "bash"]) else { return };
    fill(&site);
    let known = "--x509cafile=/etc/tls/ca.pem";
    for (options, says) in [
        ("--x509cafile=/etc/tls/stranger.pem", "- Status: The certificate is NOT trusted."),
        (&format!("{known} --verify-hostname=there.example"), "The name in the certificate does not match"),
        (&format!("{known} --priority=NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT"), "Fatal error"),
        (&format!("{known} --priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA"), "Fatal error"),
    ] {
        for port in SMTP.into_iter().chain(POP3) {
            let dialogue = if POP3.contains(&port) { fetch(port) } else { mail(port, "joe@here.example", "x") };
            let said = talk(&site, &gnutls_cli(port, options), &dialogue);
            assert!(!said.status.success() && stdout(&said).contains(says), "{options} {port}: {}", stdout(&said));
        }
    }
    assert_eq!((site.mail("joe", "Maildir").len(), site.mail("ann", "Maildir").len()), (0, 1));
    assert!(!site.log().contains("::AUTH::"), "{}", site.log());
}

#[test]
fn msmtp_logs_in_by_each_method() {
    let Some(mut site) = site(&["msmtp"]) else { return };
    for (service, port) in [("qmail-smtpsub", 587), ("qmail-smtpsd", 465)] {
        serve(&mut site, service, port, "SMTPAUTH=!", "SMTPAUTH=!+cram+scram");
    }
    let text = b"From: joe@here.example\nTo: ann@far.example\nSubject: hello\n\n.\n..\nbody\n";
    let send = |port: u16, method: &str, password: &str, authority: &str| {
        let rc = format!(
            "account default\nhost here.example\nport {port}\ntls on\ntls_starttls {}\nauth {method}\n\
             tls_trust_file /etc/tls/{authority}.pem\nuser joe@here.example\npassword {password}\n\
             from joe@here.example\ndomain desk.example\n",
            if port == 465 { "off" } else { "on" }
        );
        site.put_for("joe", ".msmtprc", &rc);
        site.try_sh("joe", "msmtp -t", &[], text)
    };
    for port in [587, 465] {
        for method in ["plain", "login", "cram-md5", "scram-sha-256"] {
            let sent = send(port, method, "secret", "ca");
            assert!(sent.status.success(), "{port} {method}: {}{}", stderr(&sent), site.log());
            let message = arrived(&site, "hello", "TLSv1.3", "ESMTPSA");
            assert_eq!((field(&message, "Return-Path"), body(&message)), ("<joe@here.example>", ".\n..\nbody\n"));
            assert!(message.contains(" (HELO desk.example) (joe@here.example@127.0.0.1)\n"), "{message}");
            let event = format!(" Accept::AUTH::{method} P:ESMTPSA ");
            assert_eq!(site.log().matches(&event).count(), if port == 587 { 1 } else { 2 }, "{}", site.log());
        }
        let refused = send(port, "plain", "secret", "stranger");
        assert!(stderr(&refused).contains("TLS certificate verification failed"), "{}", stderr(&refused));
    }
    // Once is enough: qmail-smtpd takes its time.
    let refused = send(587, "scram-sha-256", "guess", "ca");
    assert!(stderr(&refused).contains("535 authentication failed (#5.7.1)"), "{}", stderr(&refused));
    assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
}

#[test]
fn mutt_sends_and_reads() {
    let Some(site) = with_all_services(&["mutt", "script"]) else { return };
    let trusting = |authority: &str| {
        let rc = format!(
            "set ssl_ca_certificates_file=/etc/tls/{authority}.pem ssl_force_tls=yes\n\
             set from=joe@here.example use_envelope_from=yes hostname=desk.example\n\
             set smtp_pass=secret smtp_authenticators=plain pop_pass=secret pop_authenticators=user\n\
             set folder=~/Maildir quit=yes delete=yes nowait_key nopop_last pop_reconnect=no\n"
        );
        site.put_for("joe", "rc", &rc);
    };
    let send = |port: u16| {
        let scheme = if port == 465 { "smtps" } else { "smtp" };
        let url = format!("{scheme}://joe%40here.example@here.example:{port}/");
        site.try_sh("joe", "mutt -n -F rc -e \"set smtp_url=$0\" -s hello -- ann@far.example", &[&url], b".\nbody\n")
    };
    let read = |port: u16, typed: &[u8]| {
        let scheme = if port == 995 { "pops" } else { "pop" };
        let line = format!("mutt -n -F rc -f {scheme}://ann@here.example:{port}/ -e 'source keys'");
        site.try_sh("joe", "script -qec \"$0\" screen", &[&line], typed)
    };
    site.put_for("joe", "keys", "push '<pipe-message>cat >seen<enter><delete-message><quit>'");
    trusting("ca");
    for port in [587, 465] {
        let sent = send(port);
        assert!(sent.status.success(), "{}{}{}", stdout(&sent), stderr(&sent), site.log());
        let message = arrived(&site, "hello", "TLSv1.3", "ESMTPSA");
        assert_eq!((field(&message, "Return-Path"), body(&message)), ("<joe@here.example>", ".\nbody\n"));
    }
    for port in POP3 {
        fill(&site);
        read(port, b"");
        assert!(site.text("joe", "seen").contains("Subject: fetched\n\n.\nbody\n"));
        was_taken(&site, "TLSv1.3");
        site.sh("joe", "rm seen", &[], b"");
    }
    trusting("stranger");
    let tries = site.log().matches("::AUTH::").count();
    for port in [587, 465] {
        let refused = send(port);
        assert!(!refused.status.success() && stderr(&refused).contains("Untrusted server certificate"));
    }
    for port in POP3 {
        // It asks; r rejects.
        let said = stdout(&read(port, b"r"));
        let end = if port == 995 { "Error connecting to server" } else { "Could not negotiate TLS connection" };
        assert!(said.contains("SSL Certificate check") && said.contains(end), "{said:?}");
    }
    assert_eq!((site.mail("ann", "Maildir").len(), site.log().matches("::AUTH::").count()), (0, tries));
}

#[test]
fn fetchmail_fetches() {
    let Some(site) = with_all_services(&["fetchmail"]) else { return };
    let poll = |port: u16, protocol: &str, authority: &str| {
        let ssl = if port == 995 { "ssl" } else { "" };
        let rc = format!(
            "poll here.example service {port} protocol pop3 username ann password secret is joe here fetchall {ssl} \
             sslproto \"{protocol}\" sslcertck sslcertfile /etc/tls/{authority}.pem \
             mda \"/usr/sbin/sendmail -oi -f %F -- %T\"\n"
        );
        site.put_for("joe", ".fetchmailrc", &rc);
        site.try_sh("joe", "fetchmail --nosyslog --nodetach -v", &[], b"")
    };
    for port in POP3 {
        for (wanted, protocol) in [("TLS1.2", "TLSv1.2"), ("TLS1.3", "TLSv1.3"), ("TLS1.2+", "TLSv1.3")] {
            fill(&site);
            let done = poll(port, wanted, "ca");
            assert!(done.status.success(), "{port} {wanted}: {}{}", stdout(&done), stderr(&done));
            let message = site.only("joe");
            assert_eq!((field(&message, "Subject"), body(&message).trim_end()), ("fetched", ".\nbody"));
            was_taken(&site, protocol);
        }
        fill(&site);
        let refused = poll(port, "TLS1.2+", "stranger");
        // The connection failed.
        assert_eq!(refused.status.code(), Some(2), "{}", stdout(&refused));
        let why = "Server certificate verification error: unable to get local issuer certificate";
        assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
        assert_eq!((site.mail("joe", "Maildir").len(), site.mail("ann", "Maildir").len()), (0, 1));
        site.sh("ann", "rm Maildir/new/*", &[], b"");
    }
}

fn s_client(port: u16, options: &str) -> String {
    let starttls = match port {
        25 | 587 => "-starttls smtp",
        110 => "-starttls pop3",
        _ => "",
    };
    let trust = "-verify_return_error -verify_hostname here.example";
    format!("openssl s_client -ign_eof -connect here.example:{port} {starttls} {trust} {options}")
}

#[test]
fn s_client_resumes_sessions() {
    let Some(site) = with_all_services(&["bash"]) else { return };
    for (version, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for port in SMTP.into_iter().chain(POP3) {
            for (session, kind) in [("-sess_out", "New, TLSv1."), ("-sess_in", "Reused, TLSv1.")] {
                let client = s_client(port, &format!("-CAfile /etc/tls/ca.pem {version} {session} session"));
                let is_pop3 = POP3.contains(&port);
                if is_pop3 {
                    fill(&site);
                }
                let dialogue = if is_pop3 { fetch(port) } else { mail(port, "ann@here.example", kind) };
                let said = stdout(&talk(&site, &client, &dialogue));
                assert!(said.contains(&format!("\n{kind}")), "{port}: {said}");
                if is_pop3 {
                    fetched(&site, &said, protocol);
                } else {
                    arrived(&site, kind, protocol, token(port));
                }
            }
        }
    }
    for port in SMTP.into_iter().chain(POP3) {
        let said = stdout(&talk(&site, &s_client(port, "-CAfile /etc/tls/stranger.pem"), ""));
        assert!(said.contains("certificate verify failed"), "{port}: {said}");
    }
}

#[test]
fn s_client_relays_by_its_certificate() {
    let Some(mut site) = site(&["bash"]) else { return };
    site.sh("root", "echo 'export CCAFILE=/etc/tls/ca.pem' >>$0/ssl/ssl.env", &[&home("")], b"");
    serve(&mut site, "qmail-smtpd", 25, "UCSPITLS= ", "UCSPITLS=@ ");
    // Where TLS comes first a certificate counts without being asked for by UCSPITLS.
    serve(&mut site, "qmail-smtpsd", 465, "SMTPAUTH=! ", "");
    let dialogue = |port| mail(port, "ann@far.example", "mine").replace(LOGIN, "");
    let refusal = "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)";
    for (version, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for (port, token, event) in [
            (25, "ESMTPSA", " Accept::AUTH::cert P:ESMTPSA S:127.0.0.1:unknown H:desk.example F:joe@here.example"),
            (
                465,
                "ESMTPS",
                " Accept::SNDR::Relay_Client P:ESMTPS S:127.0.0.1:unknown H:desk.example F:joe@here.example",
            ),
        ] {
            let client = |more: &str| s_client(port, &format!("-CAfile /etc/tls/ca.pem {version} {more}"));
            let with = |name: &str| client(&format!("-cert /etc/tls/{name}.pem -key /etc/tls/{name}.key"));
            let said = stdout(&talk(&site, &with("node"), &dialogue(port)));
            assert!(said.contains("\n221 "), "{said}");
            let message = arrived(&site, "mine", protocol, token);
            assert!(message.contains(" (node.example@127.0.0.1)\n") && message.contains("] DN=/CN=node.example\n"));
            assert!(site.log().contains(event), "{}", site.log());
            // Without one, or with one that nobody knows.
            for client in [client(""), with("false")] {
                let said = stdout(&talk(&site, &client, &dialogue(port).replace("250 ok|DATA", "553 *|QUIT")));
                assert!(said.contains(refusal), "{said}");
            }
        }
    }
    assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
}
