//! Programs of users that send mail and read it: mutt and s-nail through our sendmail, msmtp and swaks through our
//! tcpserver and qmail-smtpd. As Debian builds them, with the settings that a user of qmail would have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{Site, body, field};
use whole_system::{stderr, stdout};

#[test]
fn mutt_sends_and_reads_and_bounces() {
    let Some(site) = Site::boot(&["mutt", "script"], "./Maildir/") else { return };
    // Sending: an attachment, a copy, a blind copy.
    site.put_for("joe", "notes", "line\n.\nFrom here\nlast\n");
    let options = "-n -s 'the subject' -a notes -c alias@here.example -b joe@here.example";
    site.sh("joe", &format!("mutt {options} -- ann"), &[], "h\u{e9}llo\n.\nbye\n".as_bytes());
    let message = site.only("ann");
    assert_eq!(field(&message, "Return-Path"), "<joe@here.example>");
    assert_eq!((field(&message, "Subject"), field(&message, "To")), ("the subject", "ann@here.example"));
    assert!(message.contains("\n\nline\n.\nFrom here\nlast\n"), "{message}");
    assert!(field(&message, "From").contains("joe@here.example") && !message.contains("\nBcc:"), "{message}");
    assert_eq!(field(&site.only("joe"), "Subject"), "the subject");
    // An address that does not exist.
    site.sh("joe", "mutt -n -s lost nobody@here.example", &[], b"body\n");
    let bounce = site.only("joe");
    assert_eq!((field(&bounce, "Return-Path"), field(&bounce, "Subject")), ("<>", "failure notice"));
    // Reading a maildir, and passing a message on.
    site.sh("joe", "mutt -n -s three ann", &[], b"third\n");
    site.settle();
    // Without folder it asks whether to make one.
    let rc = "set folder=~/Maildir use_envelope_from quit=yes nowait_key\n";
    site.put_for("ann", ".muttrc", rc);
    let keys = "push '<pipe-message>cat >seen<enter><bounce-message>joe<enter>y<quit>'";
    site.put_for("ann", "keys", keys);
    site.sh("ann", "script -qec 'mutt -n -f Maildir -e \"source keys\"' screen", &[], b"");
    assert!(site.text("ann", "seen").contains("third\n"));
    let bounced = site.only("joe");
    assert_eq!(field(&bounced, "Return-Path"), "<ann@here.example>");
    assert!(bounced.contains("\nResent-From: ") && body(&bounced) == "third\n", "{bounced}");
}

#[test]
fn s_nail_sends_and_reads_a_maildir_and_an_mbox() {
    let Some(site) = Site::boot(&["s-nail"], "./Maildir/") else { return };
    site.sh("joe", "s-nail -n -s 'the subject' -c joe ann@here.example", &[], b"body\n.\nend\n");
    let message = site.only("ann");
    assert_eq!((field(&message, "Subject"), body(&message)), ("the subject", "body\n.\nend\n"));
    assert_eq!(field(&message, "Return-Path"), "<joe@here.example>");
    assert_eq!(field(&site.only("joe"), "Subject"), "the subject");
    // Another sender: s-nail passes -f to sendmail.
    site.sh("joe", "s-nail -n -r other@elsewhere.example -s two ann", &[], b"body\n");
    assert_eq!(field(&site.only("ann"), "Return-Path"), "<other@elsewhere.example>");
    // Reading.
    site.put_for("ann", ".qmail", "./Maildir/\n./Mailbox\n");
    for n in ["one", "two"] {
        site.sh("joe", &format!("s-nail -n -s {n} ann"), &[], b"From the start\nbody\n");
        site.settle();
    }
    for folder in ["maildir://$HOME/Maildir", "Mailbox"] {
        let said = site.sh("ann", &format!("s-nail -n -N -R -f {folder}"), &[], b"from *\nprint 1\nprint 2\nexit\n");
        assert!(said.matches("From the start\nbody\n").count() == 2, "{folder}: {said}");
        assert!(said.contains("one") && said.contains("two"), "{folder}: {said}");
    }
    // What it removes is gone for the next program.
    site.sh("ann", "s-nail -n -N -f Mailbox", &[], b"delete 1\nquit\n");
    assert_eq!(site.text("ann", "Mailbox").matches("\nReturn-Path: ").count(), 1);
}

#[test]
fn msmtp_sends_through_our_smtp_server() {
    let Some(mut site) = Site::boot(&["msmtp"], "./Maildir/") else { return };
    site.serve_smtp();
    let options = "--host=127.0.0.1 --port=25 --auth=off --tls=off";
    let message =
        b"From: joe@here.example\nTo: ann@here.example\nBcc: joe@here.example\nSubject: hello\n\n.\n..\nbody\n";
    site.sh("joe", &format!("msmtp {options} --from=joe@here.example -t"), &[], message);
    let arrived = site.only("ann");
    assert_eq!((field(&arrived, "Return-Path"), body(&arrived)), ("<joe@here.example>", ".\n..\nbody\n"));
    assert_eq!(field(&site.only("joe"), "Subject"), "hello");
    // As somebody's sendmail, with a file of settings.
    let rc = "account default\nhost localhost\nport 25\nfrom joe@here.example\ndomain here.example\n";
    site.put_for("joe", ".msmtprc", rc);
    site.sh("joe", "msmtp -oi -f box@here.example -- ann@here.example", &[], message);
    assert_eq!(field(&site.only("ann"), "Return-Path"), "<box@here.example>");
    // What we refuse, it reports with sysexits' codes and with our words.
    site.put("/var/qmail/control/badmailfrom", "@bad.example\n");
    let refused = site.try_sh("joe", &format!("msmtp {options} --from=x@bad.example ann@here.example"), &[], message);
    assert!(!refused.status.success());
    assert!(
        stderr(&refused).contains("553 sorry, your envelope sender is in my badmailfrom list"),
        "{}",
        stderr(&refused)
    );
    let info = site.sh("joe", "msmtp --serverinfo --host=127.0.0.1", &[], b"");
    assert!(info.contains("here.example ESMTP") && info.contains("PIPELINING"), "{info}");
}

#[test]
fn swaks_is_taken_relayed_and_refused() {
    let Some(mut site) = Site::boot(&["swaks"], "./Maildir/") else { return };
    site.serve_smtp();
    site.put("/var/qmail/control/smtproutes", ":127.0.0.1:26\n");
    let swaks = |options: &str| site.try_sh("joe", &format!("swaks --server 127.0.0.1 {options}"), &[], b"");
    let taken = swaks("--from joe@here.example --to ann@here.example,joe@here.example --body '.\\nbody\\n' --pipeline");
    assert!(taken.status.success(), "{}", stdout(&taken));
    assert_eq!(field(&site.only("ann"), "Return-Path"), "<joe@here.example>");
    assert!(body(&site.only("joe")).starts_with(".\nbody\n"));
    // This host may relay, a stranger may not.
    let relayed = swaks("--from joe@here.example --to x@elsewhere.example");
    assert!(relayed.status.success(), "{}", stdout(&relayed));
    let refused = swaks("--local-interface 127.0.0.2 --from a@b.example --to x@elsewhere.example");
    assert_eq!(refused.status.code(), Some(24), "{}", stdout(&refused));
    assert!(stdout(&refused).contains("<** 553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"));
    let taken = swaks("--local-interface 127.0.0.2 --from a@b.example --to ann@here.example --header 'Subject: s'");
    assert!(taken.status.success(), "{}", stdout(&taken));
    // Stops at each point of a session.
    for (point, code) in [("CONNECT", 0), ("EHLO", 0), ("MAIL", 0), ("RCPT", 0)] {
        let left = swaks(&format!("--from a@b.example --to ann@here.example --quit-after {point}"));
        assert_eq!(left.status.code(), Some(code), "{point}: {}", stdout(&left));
    }
}
