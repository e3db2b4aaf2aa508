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
    let environment = format!("env - PATH={}:/usr/bin:/bin POP3AUTH=+apop+cram+scram", home("bin"));
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
import base64, hashlib, hmac, poplib
def text(b):
    return base64.b64encode(b).decode()
def scram(server, user, password):
    first = 'n=%s,r=fyko+d2lbbFgONRv9qkxdawL' % user
    answer = base64.b64decode(server._shortcmd('AUTH SCRAM-SHA-256 ' + text(('n,,' + first).encode()))[2:]).decode()
    said = dict(part.split('=', 1) for part in answer.split(','))
    salted = hashlib.pbkdf2_hmac('sha256', password.encode(), base64.b64decode(said['s']), int(said['i']))
    client = hmac.new(salted, b'Client Key', 'sha256').digest()
    last = 'c=biws,r=' + said['r']
    whole = ','.join([first, answer, last]).encode()
    signature = hmac.new(hashlib.sha256(client).digest(), whole, 'sha256').digest()
    proof = bytes(a ^ b for a, b in zip(client, signature))
    answer = base64.b64decode(server._shortcmd(text((last + ',p=' + text(proof)).encode()))[2:]).decode()
    expected = hmac.new(hmac.new(salted, b'Server Key', 'sha256').digest(), whole, 'sha256').digest()
    assert answer == 'v=' + text(expected)
    return server._shortcmd('')
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
for password in ['other', 'wrong']:
    try:
        server = session(1110)
        print(scram(server, 'box', password), server.stat())
        server.quit()
    except poplib.error_proto as e:
        print(e)
"#;

#[test]
fn poplib_sees_what_is_offered() {
    let Some(site) = with_authuser(&["python3"]) else { return };
    let said = site.sh("joe", "python3 -c \"$0\"", &[POPLIB], b"");
    let refused = "b'-ERR authorization failed'";
    let more = "{'TOP': [], 'USER': [], 'UIDL': []}";
    let expected = format!(
        "[('APOP', []), ('SASL', ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-256']), ('TOP', []), ('UIDL', []), ('USER', [])]\n\
         ann in 0 {more}\nann {refused}\nnobody {refused}\nroot {refused}\nbox in 0 {more}\n\
         ann in 0 {more}\nb'+OK '\nb'+OK ' (0, 0)\n{refused}\n"
    );
    assert_eq!(said, expected);
    let log = site.sh("root", "cat /var/log/pop3", &[], b"");
    for verdict in ["Accept", "Reject"] {
        let event = format!(" {verdict}::AUTH::Scram-SHA-256 P:POP3 S:127.0.0.1:unknown ?~ 'box'\n");
        assert!(log.contains(&event), "{log}");
    }
}

/// Certificate and key, and what the run scripts of TLS services read, as package/sslenv has it.
const SSLENV: &str = r#"set -e; mkdir $0/ssl; cd $0/ssl; umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=here.example \
    -addext subjectAltName=DNS:here.example -keyout key.pem -out cert.pem 2>/dev/null
cp cert.pem /var/tmp/ca.pem; chmod 644 cert.pem /var/tmp/ca.pem; chmod 755 .
id=$(id -u nobody) group=$(id -g nobody)
printf 'SSL_UID=%s\nSSL_GID=%s\nSSL_CHROOT=%s\nCERTFILE=%s/cert.pem\nKEYFILE=%s/key.pem\n' $id $group $PWD $PWD $PWD >ssl.env
echo 'export SSL_UID SSL_GID SSL_CHROOT CERTFILE KEYFILE' >>ssl.env"#;

/// Fetches a message by STLS and one by TLS from the start; what was sent ahead in clear comes to nothing.
const POPLIB_TLS: &str = r#"
import poplib, socket, ssl
context = ssl.create_default_context(cafile='/var/tmp/ca.pem')
context.minimum_version = ssl.TLSVersion.TLSv1_2
def login(server):
    try:
        server.user('ann'), server.pass_('secret')
        print(server.stat()[0], [line for line in server.top(1, 0)[1] if line.startswith(b'Subject')])
        server.quit()
    except poplib.error_proto as e:
        print(e)
server = poplib.POP3('here.example', 110, timeout=30)
print(sorted(server.capa()))
login(server)
server = poplib.POP3('here.example', 110, timeout=30)
server.stls(context)
print(sorted(server.capa()))
login(server)
login(poplib.POP3_SSL('here.example', 995, context=context, timeout=30))
raw = socket.create_connection(('here.example', 110), timeout=30)
raw.recv(500)
raw.sendall(b'STLS\r\nUSER ann\r\nPASS secret\r\n')
print(raw.recv(500))
secured = context.wrap_socket(raw, server_hostname='here.example')
secured.sendall(b'PASS secret\r\nQUIT\r\n')
print(b''.join(iter(lambda: secured.recv(500), b'')))
"#;

#[test]
fn pop3_services_as_they_are_installed_speak_tls() {
    let Some(mut site) = Site::prepare(&["python3", "openssl"]) else { return };
    site.put(&home("users/authuser"), "*:!\n");
    site.sh("root", "echo \"ann:$0:19000::::::\" >>/etc/shadow; chmod 600 $1/users/authuser", &[HASH, &home("")], b"");
    site.sh("root", SSLENV, &[&home("")], b"");
    site.start("./Maildir/");
    fill(&site);
    for (service, port) in [("qmail-pop3d", 110), ("qmail-pop3sd", 995)] {
        let script = format!("{}/../service-templates/{service}/run", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(script).unwrap().replace("/var/qmail", conf::HOME);
        site.put(&format!("/run/{service}"), &text);
        site.serve(&format!("exec sh /run/{service} >>/var/log/{service}"), Some(port));
    }
    let said = site.sh("joe", "python3 -c \"$0\"", &[POPLIB_TLS], b"");
    let expected = "['APOP', 'STLS', 'TOP', 'UIDL', 'USER']\n\
        b'-ERR TLS required but not negotiated'\n\
        ['APOP', 'SASL', 'TOP', 'UIDL', 'USER']\n\
        1 [b'Subject: fetched']\n\
        1 [b'Subject: fetched']\n\
        b'+OK starting TLS negotiation\\r\\n'\n\
        b'-ERR USER first\\r\\n+OK \\r\\n'\n";
    let log = site.sh("root", "cat /var/log/qmail-pop3d /var/log/qmail-pop3sd", &[], b"");
    assert_eq!(said, expected, "{log}");
    assert_eq!(log.matches(" Accept::AUTH::User P:POP3S S:127.0.0.1:").count(), 2, "{log}");
    assert!(log.contains(" Reject::STLS::Any P:POP3 S:127.0.0.1:"), "{log}");
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
