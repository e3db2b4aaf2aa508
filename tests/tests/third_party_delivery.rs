//! Delivery programs started from .qmail files or as the default delivery: procmail, maildrop, Dovecot's. As Debian
//! builds them, wired as their manuals and qmail's questions and answers say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{Site, body, field};

/// A message of joe's to ann.
fn send(site: &Site, subject: &str) {
    let message = format!("To: ann@here.example\nSubject: {subject}\n\nFrom the start\nbody\n");
    site.sh("joe", "/usr/sbin/sendmail -t", &[], message.as_bytes());
}

#[test]
fn procmail_sorts_forwards_and_bounces() {
    let Some(site) = Site::boot(&["procmail"], "./Maildir/") else { return };
    let rules = "MAILDIR=$HOME\nDEFAULT=$HOME/Maildir/\n\
        :0\n* ^Subject: list\nlists/\n\
        :0:\n* ^Subject: old\nold\n\
        :0\n* ^Subject: on\n! joe@here.example\n\
        :0\n* ^Subject: pipe\n| cat >piped\n\
        :0\n* ^Subject: no\n{\n EXITCODE=100\n HOST\n}\n\
        :0\n* ^Subject: stop\n{\n EXITCODE=99\n :0\n stopped/\n}\n";
    site.put_for("ann", ".procmailrc", rules);
    for wiring in ["|preline procmail", "|preline -f procmail -f-", "|exec preline /usr/bin/procmail -t"] {
        site.put_for("ann", ".qmail", &format!("{wiring}\n./after\n"));
        for subject in ["plain", "list", "old", "on", "pipe", "no", "stop"] {
            send(&site, subject);
        }
        let plain = site.only("ann");
        assert_eq!(
            (field(&plain, "Return-Path"), field(&plain, "Delivered-To")),
            ("<joe@here.example>", "ann@here.example")
        );
        assert_eq!(body(&plain), "From the start\nbody\n");
        let lists = site.mail("ann", "lists");
        assert_eq!(lists.iter().map(|m| field(m, "Subject")).collect::<Vec<_>>(), ["list"]);
        assert_eq!(field(&site.mail("ann", "stopped")[0], "Subject"), "stop");
        let old = site.text("ann", "old");
        assert!(old.starts_with("From ") && old.contains("\n\n>From the start\nbody\n"), "{old}");
        assert!(site.text("ann", "piped").contains("Subject: pipe\n"));
        // Forwarded, and what came back.
        let joes = site.mail("joe", "Maildir");
        assert_eq!(joes.len(), 2, "{joes:#?}\n{}", site.log());
        assert!(joes.iter().any(|m| field(m, "Subject") == "on" && m.contains("Delivered-To: ann@here.example")));
        assert!(joes.iter().any(|m| field(m, "Subject") == "failure notice" && m.contains("\nSubject: no\n")));
        // The line after the program's has had all but those two.
        let after = site.text("ann", "after");
        assert_eq!(after.matches("\nSubject: ").count(), 5, "{after}");
        assert!(!after.contains("Subject: no\n") && !after.contains("Subject: stop\n"), "{after}");
        site.sh("ann", "rm -rf Maildir/new/* lists stopped old piped after", &[], b"");
        site.sh("joe", "rm Maildir/new/*", &[], b"");
    }
}

#[test]
fn procmail_is_everybodys_delivery() {
    let Some(site) = Site::boot(&["procmail"], "|preline procmail") else { return };
    site.put_for("ann", ".procmailrc", "DEFAULT=$HOME/Maildir/\n");
    send(&site, "default");
    assert_eq!(field(&site.only("ann"), "Subject"), "default");
}

#[test]
fn maildrop_filters_forwards_and_bounces() {
    let Some(site) = Site::boot(&["maildrop"], "./Maildir/") else { return };
    let rules = "DEFAULT=\"$HOME/Maildir\"\n\
        if (/^Subject: list/)\n{\n `mkdir -p lists/new lists/cur lists/tmp`\n to \"lists/\"\n}\n\
        if (/^Subject: old/)\n{\n to \"old\"\n}\n\
        if (/^Subject: on/)\n{\n to \"! joe@here.example\"\n}\n\
        if (/^Subject: changed/)\n{\n xfilter \"sed s/body/BODY/\"\n}\n\
        if (/^Subject: no/)\n{\n EXITCODE=100\n exit\n}\n\
        if (/^Subject: stop/)\n{\n EXITCODE=99\n exit\n}\n";
    site.put_for("ann", ".mailfilter", rules);
    for wiring in ["|maildrop", "|preline maildrop", "|/usr/bin/maildrop .mailfilter"] {
        site.put_for("ann", ".qmail", &format!("{wiring}\n./after\n"));
        for subject in ["plain", "list", "old", "on", "changed", "no", "stop"] {
            send(&site, subject);
        }
        let mail = site.mail("ann", "Maildir");
        assert_eq!(mail.len(), 2, "{mail:#?}\n{}", site.log());
        let plain = mail.iter().find(|m| field(m, "Subject") == "plain").unwrap();
        assert!(body(plain) == "From the start\nbody\n", "{plain}");
        let changed = mail.iter().find(|m| field(m, "Subject") == "changed").unwrap();
        assert!(body(changed) == "From the start\nBODY\n", "{changed}");
        assert_eq!(site.mail("ann", "lists").len(), 1);
        let old = site.text("ann", "old");
        assert!(old.starts_with("From ") && old.contains("body\n"), "{old}");
        let joes = site.mail("joe", "Maildir");
        assert_eq!(joes.len(), 2, "{joes:#?}\n{}", site.log());
        assert!(joes.iter().any(|m| field(m, "Subject") == "on"));
        assert!(joes.iter().any(|m| field(m, "Subject") == "failure notice" && m.contains("\nSubject: no\n")));
        let after = site.text("ann", "after");
        assert_eq!(after.matches("\nSubject: ").count(), 5, "{after}");
        site.sh("ann", "rm -rf Maildir/new/* lists old after", &[], b"");
        site.sh("joe", "rm Maildir/new/*", &[], b"");
    }
}

#[test]
fn dovecots_delivery_agent_delivers_defers_and_rejects() {
    const LDA: &str = "/usr/lib/dovecot/dovecot-lda";
    let Some(site) = Site::boot(&[LDA], "./Maildir/") else { return };
    let conf = "base_dir = /run/dovecot\nstate_dir = /var/lib/dovecot\n\
        mail_location = maildir:~/Maildir\nlog_path = /dev/stderr\n\
        hostname = here.example\npostmaster_address = postmaster@here.example\n\
        sendmail_path = /usr/sbin/sendmail\nlda_mailbox_autocreate = yes\n\
        protocol lda {\n  mail_plugins = quota\n}\n\
        plugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=100K\n}\n";
    site.put("/etc/lda.conf", conf);
    site.put_for("ann", ".qmail", &format!("|preline -f {LDA} -c /etc/lda.conf -e\n"));
    site.put_for("ann", ".qmail-default", &format!("|preline -f {LDA} -c /etc/lda.conf -f \"$SENDER\" -m \"$EXT\"\n"));
    send(&site, "plain");
    let plain = site.only("ann");
    assert_eq!((field(&plain, "Return-Path"), field(&plain, "Subject")), ("<joe@here.example>", "plain"));
    assert_eq!(body(&plain), "From the start\nbody\n");
    // A mailbox by the extension.
    site.sh("joe", "/usr/sbin/sendmail ann-lists@here.example", &[], b"Subject: extension\n\nbody\n");
    assert_eq!(field(&site.mail("ann", "Maildir/.lists")[0], "Subject"), "extension");
    // More than the quota: with -e it is qmail that tells the sender, without it dovecot-lda, through our sendmail.
    let large = format!("Subject: large\n\n{}", "a line of text that is neither short nor very long\n".repeat(3000));
    for (recipient, subject) in [("ann", "failure notice"), ("ann-lists", "Rejected: large")] {
        site.sh("joe", &format!("/usr/sbin/sendmail {recipient}@here.example"), &[], large.as_bytes());
        let back = site.only("joe");
        assert_eq!((field(&back, "Return-Path"), field(&back, "Subject")), ("<>", subject), "{}", site.log());
    }
    // A full mailbox may also be a reason to try again later.
    site.put("/etc/lda.conf", &format!("quota_full_tempfail = yes\n{conf}"));
    site.sh("joe", "/usr/sbin/sendmail ann", &[], large.as_bytes());
    site.wait_for_log("deferral: ");
    site.put("/etc/lda.conf", &conf.replace("100K", "100M"));
    site.sh("root", "kill -ALRM $(pidof qmail-send)", &[], b"");
    assert_eq!(body(&site.only("ann")).len(), body(&large).len());
}
