//! fetchmail and getmail fetch mail from our tcpserver, qmail-popup and qmail-pop3d, and deliver what they fetched
//! through our sendmail, our SMTP server or our qmail-local.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{HOST, Site, body, field, home};

/// The checkpassword program of the site: ann's password is `secret`, also for APOP.
const CHECKPASSWORD: &str = r#"#!/bin/bash
# User, password and challenge on descriptor 3, each ended by NUL.
IFS= read -r -d '' user <&3 && IFS= read -r -d '' password <&3 && IFS= read -r -d '' challenge <&3 || exit 2
digest=$(printf '%s' "${challenge}secret" | md5sum)
[ "$user" = ann ] && { [ "$password" = secret ] || [ "$password" = "${digest%% *}" ]; } || exit 1
cd /var/home/ann || exit 111
export USER=ann HOME=/var/home/ann SHELL=/bin/sh
exec setpriv --reuid=ann --regid=people --init-groups "$@"
"#;

/// A site with POP3 on port 110 and SMTP on port 25. The mail of family.example goes to ann-family-ANYTHING.
fn with_pop3(programs: &[&str]) -> Option<Site> {
    let mut site = Site::prepare(&[programs, &["bash", "md5sum"]].concat())?;
    site.put(&home("control/virtualdomains"), "family.example:ann-family\n");
    site.start("./Maildir/");
    site.put("/etc/checkpassword", CHECKPASSWORD);
    site.sh("root", "chmod 755 /etc/checkpassword", &[], b"");
    let server = format!(
        "exec env - PATH={}:/usr/bin:/bin tcpserver -vRHl {HOST} 0 110 qmail-popup {HOST} /etc/checkpassword \
         qmail-pop3d Maildir 2>>/var/log/smtpd",
        home("bin")
    );
    site.serve(&server, Some(110));
    site.serve_smtp();
    Some(site)
}

/// Two messages for ann, one with everything that a transfer could spoil.
const TEXTS: [&str; 2] = [".\n..\n.dots\nFrom the start\n\n\nbody without a last newline", "second\n"];

fn fill(site: &Site) {
    for (n, text) in TEXTS.iter().enumerate() {
        let message = format!("To: ann@here.example\nSubject: message {n}\n\n{text}");
        site.sh("joe", "/usr/sbin/sendmail -t -f sender@here.example", &[], message.as_bytes());
    }
    site.settle();
    // qmail-pop3d leaves what came in the present second for the next session.
    site.sh("ann", "touch -d '5 seconds ago' Maildir/new/*", &[], b"");
}

/// joe has both messages, and ann has none any more.
fn were_fetched(site: &Site, sender: &str) {
    assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
    let mut mail = site.mail("joe", "Maildir");
    mail.sort_by_key(|m| field(m, "Subject").to_string());
    assert_eq!(mail.len(), 2, "{mail:#?}\n{}", site.log());
    for (n, text) in TEXTS.iter().enumerate() {
        assert_eq!(field(&mail[n], "Subject"), format!("message {n}"));
        assert_eq!(body(&mail[n]).trim_end_matches('\n'), text.trim_end_matches('\n'));
        assert_eq!(field(&mail[n], "Return-Path"), sender);
        assert!(mail[n].contains("\nDelivered-To: ann@here.example\n"), "{}", mail[n]);
    }
    site.sh("joe", "rm Maildir/new/*", &[], b"");
}

#[test]
fn fetchmail_fetches_and_hands_on() {
    let Some(site) = with_pop3(&["fetchmail"]) else { return };
    let mda = "mda \"/usr/sbin/sendmail -oi -f %F -- %T\"";
    for (protocol, delivery) in [("pop3", ""), ("pop3", mda), ("apop", ""), ("apop", mda)] {
        fill(&site);
        let rc = format!(
            "poll here.example protocol {protocol} uidl username ann password secret is joe here fetchall \
             sslproto \"\" {delivery}\n"
        );
        site.put_for("joe", ".fetchmailrc", &rc);
        site.sh("joe", "fetchmail --nosyslog --nodetach -v", &[], b"");
        were_fetched(&site, "<sender@here.example>");
    }
    // Kept on the server: the second time there is nothing new (exit code 1).
    fill(&site);
    let keep = "poll here.example protocol pop3 uidl username ann password secret is joe here keep sslproto \"\"\n";
    site.put_for("joe", ".fetchmailrc", keep);
    site.sh("joe", "fetchmail --nosyslog --nodetach", &[], b"");
    assert_eq!((site.mail("joe", "Maildir").len(), site.mail("ann", "Maildir").len()), (2, 2));
    assert_eq!(site.try_sh("joe", "fetchmail --nosyslog --nodetach", &[], b"").status.code(), Some(1));
    // A wrong password.
    site.put_for("joe", ".fetchmailrc", &keep.replace("secret", "wrong"));
    assert_eq!(site.try_sh("joe", "fetchmail --nosyslog --nodetach", &[], b"").status.code(), Some(3));
}

#[test]
fn fetchmail_sorts_the_mailbox_of_a_virtual_domain() {
    let Some(site) = with_pop3(&["fetchmail"]) else { return };
    site.put_for("ann", ".qmail-family-default", "./Maildir/\n");
    for user in ["joe", "nobody"] {
        let message = format!("To: x@elsewhere.example\nSubject: to {user}\n\nbody\n");
        site.sh("joe", "/usr/sbin/sendmail $0@family.example", &[user], message.as_bytes());
    }
    site.settle();
    site.sh("ann", "touch -d '5 seconds ago' Maildir/new/*", &[], b"");
    // By the Delivered-To field that qmail-local writes, less the prefix from control/virtualdomains.
    let rc = "set postmaster \"postmaster\"\npoll here.example protocol pop3 envelope \"Delivered-To\" \
        qvirtual \"ann-family-\" aka family.example no dns username ann password secret to joe ann here fetchall \
        sslproto \"\"\n";
    site.put_for("joe", ".fetchmailrc", rc);
    site.sh("joe", "fetchmail --nosyslog --nodetach -v", &[], b"");
    let arrived = site.only("joe");
    assert_eq!(field(&arrived, "Subject"), "to joe");
    assert!(arrived.contains("\nDelivered-To: ann-family-joe@family.example\n"), "{arrived}");
    assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
    let rest = site.sh("alias", "cat $0/alias/Maildir/new/*", &[&home("")], b"");
    assert!(rest.contains("\nSubject: to nobody\n"), "{rest}");
}

/// getmail 6.18 never hears of the end of a program that ends before getmail has begun to wait for it; ours would. So
/// they begin when getmail sleeps.
const LATER: &str = "#!/bin/sh\n\
    while sleep 0.2; read -r _ _ state _ </proc/$PPID/stat; [ \"$state\" != S ]; do :; done\n\
    exec \"$@\"\n";

#[test]
fn getmail_fetches_and_hands_on() {
    let Some(site) = with_pop3(&["getmail"]) else { return };
    let account = "server = here.example\nusername = ann\npassword = secret\n";
    let simple = format!("[retriever]\ntype = SimplePOP3Retriever\n{account}");
    let multidrop =
        format!("[retriever]\ntype = MultidropPOP3Retriever\nenvelope_recipient = delivered-to:1\n{account}");
    let sendmail = "[destination]\ntype = MDA_external\npath = /var/home/joe/later\n\
        arguments = (\"/usr/sbin/sendmail\", \"-oi\", \"-f\", \"%(sender)\", \"joe@here.example\")\n";
    let local = "[destination]\ntype = MDA_qmaillocal\nqmaillocal = /var/home/joe/later-local\nuser = joe\n\
        homedir = /var/home/joe\nlocaldomain = fetched.example\ndefaultdelivery = ./Maildir/\n";
    site.put_for("joe", "later", LATER);
    site.put_for("joe", "later-local", &LATER.replace("exec", &format!("exec {}", home("bin/qmail-local"))));
    site.sh("joe", "mkdir -m 700 .getmail; chmod 700 later later-local", &[], b"");
    for (retriever, destination) in [(&simple, sendmail), (&multidrop, local)] {
        fill(&site);
        let rc = format!("{retriever}{destination}[options]\ndelete = true\nread_all = true\nreceived = false\n");
        site.put_for("joe", ".getmail/getmailrc", &rc);
        site.sh("joe", "getmail", &[], b"");
        were_fetched(&site, "<sender@here.example>");
    }
}
