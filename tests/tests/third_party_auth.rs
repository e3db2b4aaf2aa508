//! fetchmail, and Python's poplib, log in at our qmail-popup, with qmail-authuser as the checking program, set-id as it is
//! installed: with the password of a Unix account, and with one that users/authuser has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use whole_system::site::{HOST, Site, field, home};

/// `secret` as Debian keeps it (yescrypt).
const HASH: &str = "$y$j9T$abcdefghijkl$XFQnRmFDoRnfefa6tLCdzcaB9xoGhmmkRgfG1lm0pK1";

/// On port 110 who logs in becomes the Unix account; on port 1110 all have ann's mailbox, and passwords of their own.
fn with_authuser(programs: &[&str]) -> Option<Site> {
    let mut site = Site::prepare(programs)?;
    site.put(&home("users/authuser"), "box:other\n!root\nroot:root\n*:!\n");
    site.put(&home("control/authcallers"), "ann\n");
    site.sh("root", "echo \"ann:$0:19000::::::\" >>/etc/shadow; chmod 600 $1/users/authuser", &[HASH, &home("")], b"");
    site.start("./Maildir/");
    let environment = format!("env - PATH={}:/usr/bin:/bin POP3AUTH=+apop+cram", home("bin"));
    let unix = format!(
        "exec {environment} tcpserver -vRHl {HOST} 0 110 qmail-popup {HOST} qmail-authuser qmail-pop3d Maildir \
         2>>/var/log/pop3"
    );
    site.serve(&unix, Some(110));
    let one = format!(
        "exec {environment} tcpserver -vRHl {HOST} -u 61002 -g 61000 0 1110 qmail-popup {HOST} qmail-authuser \
         qmail-pop3d /var/home/ann/Maildir 2>>/var/log/pop3"
    );
    site.serve(&one, Some(1110));
    Some(site)
}

fn fill(site: &Site) {
    site.sh("joe", "/usr/sbin/sendmail ann@here.example", &[], b"Subject: fetched\n\nbody\n");
    site.settle();
    // qmail-pop3d leaves what came in the present second for the next session.
    site.sh("ann", "touch -d '5 seconds ago' Maildir/new/*", &[], b"");
}

#[test]
fn fetchmail_logs_in_each_way() {
    let Some(site) = with_authuser(&["fetchmail"]) else { return };
    let logins = [
        ("110", "ann", "secret", "protocol pop3 auth password", "User P:POP3 S:127.0.0.1:unknown ?~ 'ann'"),
        ("1110", "box", "other", "protocol pop3 auth password", "User P:POP3 S:127.0.0.1:unknown ?~ 'box'"),
        ("1110", "box", "other", "protocol apop", "Apop P:POP3 S:127.0.0.1:unknown ?~ 'box'"),
        ("1110", "box", "other", "protocol pop3 auth cram-md5", "Cram-MD5 P:POP3 S:127.0.0.1:unknown ?~ 'box'"),
    ];
    for (port, user, password, how, log) in logins {
        let rc = |password: &str| {
            format!(
                "poll here.example service {port} {how} username {user} password {password} is joe here fetchall \
                 sslproto \"\" mda \"/usr/sbin/sendmail -oi -f %F -- %T\"\n"
            )
        };
        fill(&site);
        site.put_for("joe", ".fetchmailrc", &rc("wrong"));
        assert_eq!(site.try_sh("joe", "fetchmail --nosyslog --nodetach", &[], b"").status.code(), Some(3), "{how}");
        site.put_for("joe", ".fetchmailrc", &rc(password));
        site.sh("joe", "fetchmail --nosyslog --nodetach -v", &[], b"");
        assert_eq!(field(&site.only("joe"), "Subject"), "fetched");
        assert_eq!(site.mail("ann", "Maildir"), [""; 0]);
        let lines = site.sh("root", "cat /var/log/pop3", &[], b"");
        for verdict in ["Accept", "Reject"] {
            assert!(lines.contains(&format!(" {verdict}::AUTH::{log}\n")), "{lines}");
        }
    }
}

/// Prints the capabilities, and how each login goes.
const POPLIB: &str = r#"
import poplib
def session(port):
    server = poplib.POP3('here.example', port, timeout=30)
    return server
print(sorted(session(110).capa().items()))
for port, user, password in [(110, 'ann', 'secret'), (110, 'ann', 'Secret'), (110, 'nobody', 'x'), (110, 'root', 'root'),
                             (1110, 'box', 'other'), (1110, 'ann', 'secret')]:
    try:
        server = session(port)
        server.user(user)
        server.pass_(password)
        print(user, 'in', server.stat()[0], server.capa())
        server.quit()
    except poplib.error_proto as e:
        print(user, e)
server = session(1110)
server.apop('box', 'other')
print(server.uidl()[0])
server.quit()
"#;

#[test]
fn poplib_sees_what_is_offered() {
    let Some(site) = with_authuser(&["python3"]) else { return };
    let said = site.sh("joe", "python3 -c \"$0\"", &[POPLIB], b"");
    let refused = "b'-ERR authorization failed'";
    let more = "{'TOP': [], 'USER': [], 'UIDL': []}";
    let expected = format!(
        "[('APOP', []), ('SASL', ['PLAIN', 'LOGIN', 'CRAM-MD5']), ('TOP', []), ('UIDL', []), ('USER', [])]\n\
         ann in 0 {more}\nann {refused}\nnobody {refused}\nroot {refused}\nbox in 0 {more}\n\
         ann in 0 {more}\nb'+OK '\n"
    );
    assert_eq!(said, expected);
}

/// Logs in at port 25 with each mechanism; SCRAM by a client written for it, from RFC 5802 alone.
const SMTPLIB: &str = r#"
import base64, hashlib, hmac, smtplib
def text(b):
    return base64.b64encode(b).decode()
def scram(server, user, password):
    first = 'n=%s,r=fyko+d2lbbFgONRv9qkxdawL' % user
    code, answer = server.docmd('AUTH', 'SCRAM-SHA-256 ' + text(('n,,' + first).encode()))
    if code != 334:
        return code
    answer = base64.b64decode(answer).decode()
    said = dict(part.split('=', 1) for part in answer.split(','))
    salted = hashlib.pbkdf2_hmac('sha256', password.encode(), base64.b64decode(said['s']), int(said['i']))
    client = hmac.new(salted, b'Client Key', 'sha256').digest()
    last = 'c=biws,r=' + said['r']
    whole = ','.join([first, answer, last]).encode()
    signature = hmac.new(hashlib.sha256(client).digest(), whole, 'sha256').digest()
    proof = bytes(a ^ b for a, b in zip(client, signature))
    code, answer = server.docmd(text((last + ',p=' + text(proof)).encode()))
    if code == 334:
        expected = hmac.new(hmac.new(salted, b'Server Key', 'sha256').digest(), whole, 'sha256').digest()
        assert base64.b64decode(answer).decode() == 'v=' + text(expected)
        code, answer = server.docmd('')
    return code
def login(mechanism, user, password):
    server = smtplib.SMTP('here.example', 25, timeout=30)
    server.ehlo()
    if mechanism == 'scram':
        return scram(server, user, password)
    server.user, server.password = user, password
    try:
        return server.auth(mechanism, getattr(server, 'auth_' + mechanism.lower().replace('-', '_')))[0]
    except smtplib.SMTPAuthenticationError as e:
        return e.smtp_code
for user, password in [('box', 'other'), ('ann', 'secret'), ('own', 'third'), ('box', 'wrong')]:
    print(user, [login(m, user, password) for m in ['PLAIN', 'LOGIN', 'CRAM-MD5', 'scram']])
"#;

#[test]
fn each_mechanism_logs_in_at_smtpd() {
    let Some(mut site) = with_authuser(&["python3"]) else { return };
    let made = site.sh("root", "echo third | $0/bin/qmail-authpass -s", &[&home("")], b"");
    site.put(&home("users/authuser"), &format!("box:other\nown:{made}*:?\n"));
    // As qmaild, who may ask the set-id program.
    let server = format!(
        "exec env - PATH={}:/usr/bin:/bin SMTPAUTH=+cram+scram tcpserver -vRHl {HOST} -u 61202 -g 61102 0 25 qmail-smtpd \
         qmail-authuser true 2>>/var/log/smtpd",
        home("bin")
    );
    site.serve(&server, Some(25));
    let said = site.sh("joe", "python3 -c \"$0\"", &[SMTPLIB], b"");
    // What is kept in clear allows all; a Unix password must be sent itself; and what SCRAM keeps is no CRAM-MD5.
    let expected = "box [235, 235, 235, 235]\nann [235, 235, 535, 535]\nown [235, 235, 535, 235]\n\
                    box [535, 535, 535, 535]\n";
    assert_eq!(said, expected);
}
