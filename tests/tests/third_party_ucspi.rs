//! Debian's ucspi-tcp in front of our qmail-smtpd, and our tcpserver in front of Debian's mailfront, which hands its
//! mail to our qmail-queue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{HOST, Site, body, field, home};
use whole_system::stdout;

/// What a client sends, line by line, and a message with everything that could be spoiled.
fn session(sender: &str, recipient: &str) -> String {
    format!(
        "EHLO client.example\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n\
         Subject: s\r\n\r\n..\r\n...dots\r\nFrom the start\r\n.\r\nQUIT\r\n"
    )
}
const BODY: &str = ".\n..dots\nFrom the start\n";

#[test]
fn ucspi_tcp_drives_our_qmail_smtpd() {
    let theirs = ["tcpserver", "tcpclient", "tcprules", "rblsmtpd", "fixcrio", "recordio", "mconnect"];
    let theirs = theirs.map(|name| format!("/usr/bin/{name}"));
    let Some(mut site) = Site::boot(&theirs.each_ref().map(String::as_str), "./Maildir/") else { return };
    site.put(
        "/tmp/rules",
        "127.0.0.1:allow,RELAYCLIENT=\"\"\n127.0.0.3:allow,RBLSMTPD=\"-go away\"\n127.0.0.4:deny\n:allow\n",
    );
    site.sh("root", "/usr/bin/tcprules $0/control/rules.smtpd.cdb $0/control/tmp </tmp/rules", &[&home("")], b"");
    let server = format!(
        "exec env - PATH=/usr/bin:/bin tcpserver -vRHl {HOST} -x {rules} -u 61202 -g 61102 0 25 \
         rblsmtpd -b fixcrio recordio {smtpd} >>/var/log/smtpd 2>&1",
        rules = home("control/rules.smtpd.cdb"),
        smtpd = home("bin/qmail-smtpd"),
    );
    site.serve(&server, Some(25));
    let talk = |client: &str, ip: &str, to: &str| {
        let script = format!("{client} -RHl0 -i {ip} 127.0.0.1 25 sh -c 'exec 3<&0; cat <&3 >&7 & exec cat <&6'");
        stdout(&site.try_sh("joe", &script, &[], session("a@b.example", to).as_bytes()))
    };
    for client in ["/usr/bin/tcpclient".to_string(), home("bin/tcpclient")] {
        let said = talk(&client, "127.0.0.2", "ann@here.example");
        assert!(said.starts_with("220 here.example ESMTP\r\n") && said.contains("\r\n250 ok "), "{said}");
        let message = site.only("ann");
        assert_eq!((field(&message, "Return-Path"), body(&message)), ("<a@b.example>", BODY));
        // qmail-smtpd had the variables.
        assert!(message.contains("(HELO client.example) (127.0.0.2)\n  by here.example with ESMTP;"), "{message}");
        assert!(
            talk(&client, "127.0.0.2", "x@elsewhere.example").contains("\r\n553 sorry, that domain isn't in my list")
        );
        assert!(talk(&client, "127.0.0.3", "ann@here.example").contains("\r\n553 go away"));
        assert_eq!(talk(&client, "127.0.0.4", "ann@here.example"), "");
    }
    // A client of LF alone, through their mconnect.
    let lines = session("a@b.example", "ann@here.example").replace('\r', "");
    let said = site.sh("joe", "PATH=/usr/bin:/bin mconnect 127.0.0.1 25", &[], lines.as_bytes());
    assert!(said.contains("250 ok "), "{said}");
    assert_eq!(body(&site.only("ann")), BODY);
    // recordio saw the session.
    assert!(
        site.log().contains("> 354 go ahead") && site.log().contains("< RCPT TO:<ann@here.example>"),
        "{}",
        site.log()
    );
}

#[test]
fn our_tcpserver_drives_mailfront_and_it_our_qmail_queue() {
    let Some(mut site) = Site::prepare(&["smtpfront-qmail", "qmqpfront-qmail"]) else { return };
    // Where Debian's qmail is.
    site.sh("root", "ln -s $0 /var/lib/qmail", &[conf::HOME], b"");
    // What it reads of qmail's: rcpthosts, the cdb file that qmail-newmrh makes, badmailfrom.
    site.put(&home("control/morercpthosts"), "more.example\n");
    site.put(&home("control/badmailfrom"), "bad@b.example\n@worse.example\n");
    site.put(&home("control/locals"), &format!("{HOST}\nmore.example\n"));
    site.sh("root", "$0/bin/qmail-newmrh", &[&home("")], b"");
    site.put(&home("control/virtualdomains"), "y.example:ann-y\n");
    site.put_for("ann", ".qmail-y-x", "./Maildir/\n");
    site.start("./Maildir/");
    let front = |port: u16, program: &str| {
        format!(
            "exec env - PATH={}:/usr/sbin:/usr/bin:/bin tcpserver -vRHl {HOST} -x {} -u qmaild -g nofiles 0 {port} \
             {program} 2>>/var/log/smtpd",
            home("bin"),
            home("control/rules.smtpd.cdb")
        )
    };
    site.serve(&front(25, "smtpfront-qmail"), Some(25));
    let talk = |ip: &str, from: &str, to: &str| {
        let script =
            format!("$0/bin/tcpclient -RHl0 -i {ip} 127.0.0.1 25 sh -c 'exec 3<&0; cat <&3 >&7 & exec cat <&6'");
        stdout(&site.try_sh("joe", &script, &[&home("")], session(from, to).as_bytes()))
    };
    for recipient in ["ann@here.example", "ann@more.example"] {
        let said = talk("127.0.0.2", "a@b.example", recipient);
        assert!(said.contains("\r\n250 2.6.0 Accepted message"), "{said}\n{}", site.log());
        let message = site.only("ann");
        assert_eq!((field(&message, "Return-Path"), body(&message)), ("<a@b.example>", BODY));
        assert_eq!(field(&message, "Delivered-To"), recipient);
    }
    for (from, to) in
        [("bad@b.example", "ann@here.example"), ("x@worse.example", "ann@here.example"), ("a@b.example", "x@y.example")]
    {
        let said = talk("127.0.0.2", from, to);
        assert!(said.contains("\r\n553 5.1.") || said.contains("\r\n550 5.1."), "{from} {to}: {said}");
    }
    // RELAYCLIENT from our tcpserver's rules.
    assert!(talk("127.0.0.1", "a@b.example", "x@y.example").contains("\r\n250 2.6.0 Accepted message"));
    assert_eq!(field(&site.only("ann"), "Delivered-To"), "ann-y-x@y.example");
    // QMQP: our qmail-qmqpc in place of qmail-queue, their server in front of qmail-queue.
    site.put(&home("control/qmqpservers"), "127.0.0.1\n");
    site.serve(&front(628, "qmqpfront-qmail"), Some(628));
    let qmqpc = home("bin/qmail-qmqpc");
    site.sh("joe", &format!("QMAILQUEUE={qmqpc} /usr/sbin/sendmail ann"), &[], b"Subject: by QMQP\n\nbody\n");
    let message = site.only("ann");
    assert_eq!((field(&message, "Subject"), body(&message)), ("by QMQP", "body\n"));
    assert!(message.contains("with QMQP"), "{message}");
}
