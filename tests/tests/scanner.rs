//! The scanner of QHPSI in an installed system, where qmail-queue is set-user-ID: from a client of qmail-smtpd to the
//! program that looks at its message; and who else may have it run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{HOST, Site, home};

/// Finds a word in the message, and notes who it is.
const SCANNER: &str = "#!/bin/sh\nPATH=/usr/bin:/bin\nid -u -r >/var/tmp/real\nid -u >/var/tmp/effective\ngrep -q 'a virus' \"$1\" && exit 1\n\
    grep -q 'a riddle' \"$1\" && exit 2\nexit 0\n";

/// A session as a client types it, with this line as the body.
fn session(line: &str) -> String {
    format!(
        "EHLO there.example\r\nMAIL FROM:<eve@there.example>\r\nRCPT TO:<joe@{HOST}>\r\nDATA\r\nSubject: x\r\n\r\n{line}\r\n.\r\n\
         QUIT\r\n"
    )
}

#[test]
fn clients_of_smtp_are_scanned_and_other_callers_choose_no_program() {
    let Some(mut site) = Site::boot(&[], "./Maildir/") else { return };
    site.put("/var/sbin-scanner", SCANNER);
    site.sh("root", "chmod 755 /var/sbin-scanner; chmod 1777 /var/tmp", &[], b"");
    site.rules("smtpd", ":allow,QHPSI=\"/var/sbin-scanner\"\n");
    site.serve_smtp();
    let ids = format!("$(id -u {})", conf::names::QMAILQ);
    let client = format!("{}/bin/tcpclient -RHl0 127.0.0.1 25 sh -c 'cat <&6 & cat >&7; wait'", conf::HOME);
    let say = |line: &str| site.sh("joe", &client, &[], session(line).as_bytes());
    // The log tells what was found, and the client that it is not wanted.
    let said = say("This is a virus.");
    assert!(said.contains("\n554 sorry, invalid message content "), "{said}");
    assert!(site.log().contains(" Reject::DATA::Virus_Infected P:ESMTP "), "{}", site.log());
    assert!(site.log().contains(" '/var/sbin-scanner'\n"), "{}", site.log());
    // All of it is the queue's owner.
    site.sh(
        "root",
        &format!("for f in real effective; do [ $(cat /var/tmp/$f) = {ids} ] || exit 1; rm /var/tmp/$f; done"),
        &[],
        b"",
    );
    assert!(say("This is a riddle.").contains("\n451 mail server temporarily rejected message (#4.3.0)\r\n"));
    assert!(say("This is nothing.").contains("\n250 ok "));
    let message = site.only("joe");
    assert!(message.contains("This is nothing."), "{message}");
    site.sh("root", "rm -f /var/tmp/real", &[], b"");

    // As anybody else: the variable means nothing.
    let queue = home("bin/qmail-queue");
    let submit = format!(
        "printf 'Fann@{HOST}\\0Tjoe@{HOST}\\0\\0' >/tmp/e.$$; QHPSI=/var/sbin-scanner {queue} 1</tmp/e.$$; code=$?; rm /tmp/e.$$; exit $code"
    );
    let message = b"Subject: x\n\nThis is a virus.\n";
    assert_eq!(site.try_sh("joe", &submit, &[], message).status.code(), Some(0));
    assert!(site.only("joe").contains("a virus"));
    assert!(!site.path("/var/tmp/real").exists());
    // root and the users that the site names may.
    assert_eq!(site.try_sh("root", &submit, &[], message).status.code(), Some(32));
    for list in ["joe\n", "# ann's\n61001\n"] {
        site.put(&home("control/scancallers"), list);
        assert_eq!(site.try_sh("joe", &submit, &[], message).status.code(), Some(32), "{list}");
        assert_eq!(site.try_sh("ann", &submit, &[], message).status.code(), Some(0), "{list}");
        assert!(site.only("joe").contains("a virus"));
    }
    site.settle();
}
