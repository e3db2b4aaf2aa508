//! Other mail systems as servers that take nothing without TLS: our qmail-remote into Debian's Postfix, OpenSMTPD and exim.
//! Each is the package as Debian has it, downloaded and unpacked, not installed, with few settings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use whole_system::files;
use whole_system::host::{has, skip, until};
use whole_system::site::{Site, body, field, home};

/// Where the servers listen.
const PORT: u16 = 2525;
/// The domain that they have.
const THERE: &str = "there.example";

/// Downloads a package and the libraries it needs that this host has not; unpacked, or why not.
fn unpacked(dir: &Path, package: &str) -> Result<PathBuf, String> {
    let tree = dir.join("tree");
    let script = r#"
        wanted=$(apt-get -qq -s install --no-install-recommends "$1" | sed -n -E "s/^Inst ($1|$2|lib[^ ]*) .*/\1/p")
        [ -n "$wanted" ] || { echo "$1 is unknown, or installed" >&2; exit 1; }
        mkdir debs tree && cd debs && apt-get -qq download $wanted || exit 1
        for f in ./*.deb; do dpkg-deb -x "$f" ../tree; done
        [ ! -d ../tree/lib ] || { cp -a ../tree/lib ../tree/usr/ && rm -r ../tree/lib; }
        chmod -R go+rX ../tree"#;
    // exim's program comes in a package of its own.
    let also = if package == "exim4-daemon-light" { "exim4-base" } else { package };
    let out = Command::new("sh").args(["-c", script, "sh", package, also]).current_dir(dir).output().unwrap();
    if out.status.success() { Ok(tree) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

/// A site with the package in its /usr and the certificates in /etc/tls; `None` says why not.
fn site(package: &str, dir: &Path) -> Option<Site> {
    let site = Site::boot(&["apt-get", "dpkg-deb", "openssl"], "./Maildir/")?;
    let tree = match unpacked(dir, package) {
        Ok(tree) => tree,
        Err(why) => {
            skip(&format!("{package} can not be had: {why}"));
            return None;
        }
    };
    site.bring_in(&tree, "/var/package");
    let lay_over = "set -e; mkdir /var/upper /var/work
        mount -t overlay -o lowerdir=/var/package/usr:/usr,upperdir=/var/upper,workdir=/var/work none /usr
        cp -a /var/package/etc/. /etc/; ldconfig -X; mkdir -p /etc/tls /etc/exim4";
    site.sh("root", lay_over, &[], b"");
    for (name, text) in [
        ("ca.pem", include_str!("../../bins/remote/tests/certificates/ca.pem")),
        ("server.pem", include_str!("../../bins/remote/tests/certificates/rsa.pem")),
        ("server.key", include_str!("../../bins/remote/tests/certificates/rsa.key")),
    ] {
        site.put(&format!("/etc/tls/{name}"), text);
    }
    site.sh("root", "chmod 600 /etc/tls/server.key", &[], b"");
    site.put(&home("control/smtproutes"), &format!("{THERE}:127.0.0.1:{PORT}\n"));
    Some(site)
}

/// What a forger would put behind the end of a message.
const FORGED: &str = "MAIL FROM:<x@forged.example>\r\nRCPT TO:<ann@there.example>\r\nDATA\r\nSubject: forged\r\n\r\nx";
/// What a server may take for that end (tests/smuggling.rs has each on its own).
const ENDS: [&str; 9] =
    ["\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n"];

/// Mail goes there with a verified certificate, one time after the other, and does not without TLS or to a wrong
/// certificate. Nothing in a message makes a second one of it.
fn all_goes_by_tls(site: &Site) {
    let forged: String = ENDS.iter().map(|end| format!("{end}{FORGED}")).collect();
    let send = |subject: &str| {
        let message = format!("To: ann@{THERE}\nSubject: {subject}\n\n.\nFrom here\nbody\n{forged}\n");
        site.sh("joe", &format!("{} -t", home("bin/sendmail")), &[], message.as_bytes());
    };
    let rule = |text: &str| site.put(&home("control/tlsdestinations"), text);
    for (number, text) in ["127.0.0.1:/etc/tls/ca.pem\n", "127.0.0.1:/etc/tls/ca.pem\n", "*:\n"].iter().enumerate() {
        rule(text);
        send(&format!("number {number}"));
        site.settle();
        // The server delivers in its own time.
        let subject = format!("number {number}");
        let arrived = || site.mail("ann", "Maildir").into_iter().find(|m| field(m, "Subject") == subject);
        let message = until("the message", arrived);
        assert!(body(&message).starts_with(".\n") && body(&message).contains("From here\nbody\n"), "{message}");
        assert_eq!(message.matches("MAIL FROM:<x@forged.example>").count(), ENDS.len(), "{message}");
    }
    assert_eq!(site.log().matches("127.0.0.1_TLS_transmitted_message_accepted./").count(), 3, "{}", site.log());
    // Without TLS the server refuses.
    rule("");
    send("clear");
    site.wait_for_log(": failure: ");
    assert!(!site.only("joe").is_empty());
    // A certificate in another name, or of somebody else: the mail waits.
    for (text, reason) in [
        ("=127.0.0.1:/etc/tls/ca.pem\n", "deferral: _Unable_to_validate_X.509_certificate_Subject_for:_127.0.0.1."),
        ("127.0.0.1:+\n", "deferral: _Unable_to_verify_X.509_certificate_from:_127.0.0.1."),
        ("%127.0.0.1:=00112233445566778899aabbccddeeff00112233\n", "does_not_match_fingerprint:_00112233"),
    ] {
        rule(text);
        send("wrong");
        site.wait_for_log(reason);
    }
    let there = files(&site.path("/var/home/ann/Maildir/new"));
    assert_eq!(there.len(), 3, "{}", site.log());
}

#[test]
fn postfix_takes_mail_by_tls_only() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut site) = site("postfix", dir.path()) else { return };
    site.put(
        "/etc/postfix/main.cf",
        &format!(
            "compatibility_level = 3.6\nmyhostname = {THERE}\nmydestination = {THERE}\nmynetworks = 127.0.0.0/8\n\
            inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nsmtpd_peername_lookup = no\nalias_maps =\n\
            alias_database =\nhome_mailbox = Maildir/\nsmtpd_tls_security_level = encrypt\n\
            smtpd_tls_cert_file = /etc/tls/server.pem\nsmtpd_tls_key_file = /etc/tls/server.key\n\
            maillog_file = /var/log/postfix\nmaillog_file_prefixes = /var\n"
        ),
    );
    let lay_out = r#"
        grep -q ^postfix: /etc/passwd || echo postfix:x:61301:61301::/var/spool/postfix:/bin/false >>/etc/passwd
        grep -q ^postfix: /etc/group || echo postfix:x:61301: >>/etc/group
        grep -q ^postdrop: /etc/group || echo postdrop:x:61302: >>/etc/group
        mkdir -p /var/spool/postfix /var/lib/postfix
        chown postfix /var/lib/postfix
        chgrp postdrop /usr/sbin/postdrop /usr/sbin/postqueue && chmod 2755 /usr/sbin/postdrop /usr/sbin/postqueue
        cp -n /usr/share/postfix/postfix-files* /etc/postfix/ 2>/dev/null
        sed -E 's/^([^ #]+ +(unix|inet|pass) +[^ ]+ +[^ ]+ +)y /\1n /; s/^smtp( +inet)/2525\1/' \
          /usr/share/postfix/master.cf.dist >/etc/postfix/master.cf
        echo '465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes' >>/etc/postfix/master.cf
        echo 'postlog unix-dgram n - n - 1 postlogd' >>/etc/postfix/master.cf"#;
    site.sh("root", lay_out, &[], b"");
    site.serve("exec postfix start-fg >/var/log/peer 2>&1", Some(PORT));
    all_goes_by_tls(&site);
    // Where TLS comes before the first word.
    let before = site.log().matches("TLS_transmitted_message_accepted.").count();
    site.put(&home("control/smtproutes"), &format!("{THERE}:127.0.0.1;465\n"));
    site.put(&home("control/tlsdestinations"), "127.0.0.1:/etc/tls/ca.pem\n");
    let message = format!("To: ann@{THERE}\nSubject: at once\n\nx\n");
    site.sh("joe", &format!("{} -t", home("bin/sendmail")), &[], message.as_bytes());
    let there = || {
        let files = whole_system::files(&site.path("/var/home/ann/Maildir/new"));
        files.iter().any(|f| std::fs::read_to_string(f).is_ok_and(|m| m.contains("Subject: at once\n"))).then_some(())
    };
    until("the message", there);
    let accepted = || site.log().matches("TLS_transmitted_message_accepted.").count() > before;
    until("a success in the log", || accepted().then_some(()));
}

#[test]
fn opensmtpd_takes_mail_by_tls_only() {
    if !has("cc") {
        return skip("cc is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(mut site) = site("opensmtpd", dir.path()) else { return };
    site.put(
        "/etc/smtpd.conf",
        &format!(
            "pki {THERE} cert \"/etc/tls/server.pem\"\npki {THERE} key \"/etc/tls/server.key\"\n\
            listen on 127.0.0.1 port {PORT} hostname {THERE} tls-require pki {THERE}\n\
            action \"box\" maildir \"~/Maildir\"\nmatch from any for domain \"{THERE}\" action \"box\"\n"
        ),
    );
    let lay_out = r#"
        sed -i '/^opensmtp[dq]:/d' /etc/passwd /etc/group
        printf 'opensmtpd:x:61311:61311::/var/lib/opensmtpd/empty:/bin/false\n' >>/etc/passwd
        printf 'opensmtpq:x:61312:61312::/var/lib/opensmtpd/empty:/bin/false\n' >>/etc/passwd
        printf 'opensmtpd:x:61311:\nopensmtpq:x:61312:\n' >>/etc/group
        mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
        chmod 711 /var/spool/smtpd"#;
    site.sh("root", lay_out, &[], b"");
    // Debian 12 has one whose process for handshakes finds its way to the keeper of keys by what it noted at a key; with
    // OpenSSL 3 that was noted at a copy, until this makes the copy the key (OpenSMTPD's issue 1171).
    let shim = "
        #define _GNU_SOURCE
        #include <dlfcn.h>
        int EVP_PKEY_set1_RSA(void *key, void *rsa);
        void *EVP_PKEY_get1_RSA(void *key) {
            void *(*get)(void *) = (void *(*)(void *))dlsym(RTLD_NEXT, \"EVP_PKEY_get1_RSA\");
            void *rsa = get(key);
            if (rsa) EVP_PKEY_set1_RSA(key, rsa);
            return rsa;
        }";
    site.put("/tmp/shim.c", shim);
    site.sh("root", "cc -shared -fPIC -o /var/lib/shim.so /tmp/shim.c", &[], b"");
    site.serve("LD_PRELOAD=/var/lib/shim.so exec smtpd -d -f /etc/smtpd.conf >/var/log/peer 2>&1", Some(PORT));
    all_goes_by_tls(&site);
}

#[test]
fn exim_takes_mail_by_tls_only() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut site) = site("exim4-daemon-light", dir.path()) else { return };
    site.put(
        "/etc/exim4/exim4.conf",
        &format!(
            "primary_hostname = {THERE}\ntls_advertise_hosts = *\ntls_certificate = /etc/tls/server.pem\n\
            tls_privatekey = /etc/tls/key.exim\nlog_file_path = /var/log/peer-%s\nacl_smtp_mail = mail\n\
            acl_smtp_rcpt = rcpt\nhost_lookup =\nrfc1413_hosts =\nkeep_environment =\n\
            local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {PORT}\n\
            begin acl\nmail:\n  deny !encrypted = *\n       message = TLS required\n  accept\nrcpt:\n  accept\n\
            begin routers\nall:\n  driver = accept\n  transport = box\n\
            begin transports\nbox:\n  driver = appendfile\n  directory = /var/home/ann/Maildir\n\
            \x20 maildir_format\n  user = ann\n  group = people\n"
        ),
    );
    let lay_out = r#"
        grep -q ^Debian-exim: /etc/passwd || echo Debian-exim:x:61321:61321::/var/spool/exim4:/bin/false >>/etc/passwd
        grep -q ^Debian-exim: /etc/group || echo Debian-exim:x:61321: >>/etc/group
        mkdir -p /var/spool/exim4 /var/log/exim4
        touch /var/log/peer-main /var/log/peer-panic /var/log/peer-reject
        chown -R Debian-exim:Debian-exim /var/spool/exim4 /var/log/exim4 /var/log/peer-*
        chmod 640 /etc/exim4/exim4.conf
        chgrp Debian-exim /etc/exim4/exim4.conf
        cp /etc/tls/server.key /etc/tls/key.exim
        chown Debian-exim /etc/tls/key.exim"#;
    site.sh("root", lay_out, &[], b"");
    site.serve("exec exim4 -bdf >/var/log/peer 2>&1", Some(PORT));
    all_goes_by_tls(&site);
}
