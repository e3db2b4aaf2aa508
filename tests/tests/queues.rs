//! Several instances of the mail system, each with a queue of its own (QMQ), on one host and on several: made by
//! package/instances and package/service, run by their own run scripts, and joined by QMTPS with certificates both ways
//! and by QMQP. A host is a network name space on one bridge; all see the same files, of which each instance has its own.
//!
//! Each test has a machine of its own (whole_system::machine).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use whole_system::files;
use whole_system::machine::{Connection, Machine, on_its_own, until};

/// Port, as /proc/net/tcp writes it.
const QMTPS: &str = "1841";
const QMQP: &str = "0274";
const SMTPS: &str = "01D1";
/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
const NEEDED: [(&str, &str); 2] = [("ip", "iproute2"), ("openssl", "openssl")];

/// Self-signed certificates in /mnt/tls, one for each name; the key of `a` has a password.
const CERTIFICATES: &str = r#"
mkdir -p /mnt/tls && cd /mnt/tls
for n in $names; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$n.test" \
    -addext basicConstraints=CA:FALSE -keyout $n.key -out $n.pem
done
for n in $names; do
  openssl pkcs8 -topk8 -in $n.key -out $n.locked -passout pass:se%c:ret
done
chgrp qmail *.key *.locked && chmod 640 *.key *.locked
"#;

/// An instance, and the host that it runs on; without a name, the machine itself.
struct Node<'a> {
    machine: &'a Machine,
    name: &'static str,
    host: Option<&'static str>,
    ip: &'static str,
}

/// A network of hosts, of which each has its name and the address.
fn network(m: &Machine, hosts: &[(&str, &str)]) {
    m.sh("mount -t tmpfs none /run; ip link add br0 type bridge; ip link set br0 up");
    for (name, ip) in hosts {
        m.sh(&format!(
            "ip netns add {name}; ip link add to-{name} type veth peer name eth0 netns {name}
             ip link set to-{name} master br0; ip link set to-{name} up
             ip -n {name} addr add {ip}/24 dev eth0; ip -n {name} link set eth0 up; ip -n {name} link set lo up"
        ));
    }
}

/// Makes the instances. NAME has the domains NAME.test, for anybody's mail, and far-NAME.test, only for those who may
/// relay; all is delivered to its alias/Maildir.
fn instances<'a, const N: usize>(
    machine: &'a Machine,
    nodes: [(&'static str, Option<&'static str>, &'static str); N],
    qmq: &[&str],
) -> [Node<'a>; N] {
    let names: String = nodes.iter().map(|(name, ..)| format!("{name}\n")).collect();
    let listen: String = nodes.iter().map(|(name, _, ip)| format!("{name}:LISTEN={ip}\n")).collect();
    let settings: String = qmq.iter().map(|line| format!("{line}\n")).collect();
    fs::write("/mnt/sources/conf/instances", names.clone() + "\n").unwrap();
    fs::write("/mnt/sources/conf/qmq", listen + &settings + "\n").unwrap();
    machine.sh(&format!("names='{}'{CERTIFICATES}", names.replace('\n', " ")));
    machine.sh("package/instances");
    let made = nodes.map(|(name, host, ip)| Node { machine, name, host, ip });
    for node in &made {
        let name = node.name;
        assert_eq!(fs::read_to_string(node.path("control/me")).unwrap(), format!("{name}.mail.test\n"));
        node.control("me", &format!("{name}.test\n"));
        node.control("rcpthosts", &format!("{name}.test\n"));
        node.control("locals", &format!("{name}.test\nfar-{name}.test\n"));
        node.put("alias/.qmail-default", "./Maildir/\n");
        // The server's certificate, and whose client certificates are good: nobody's yet.
        let certificate = format!("/mnt/tls/{0}.pem\n/mnt/tls/{0}.key\n", node.name);
        fs::write("/mnt/sources/conf/ssl", certificate).unwrap();
        machine.sh(&format!("package/sslenv --instance {}", node.name));
    }
    machine.sh("package/service --supervisor daemontools");
    made
}

impl Node<'_> {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}-{}/{name}", conf::HOME, self.name))
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn control(&self, name: &str, text: &str) {
        self.put(&format!("control/{name}"), text);
    }

    /// Compiles the rules of a server.
    fn rules(&self, name: &str, text: &str) {
        let dir = self.path("control");
        self.machine.sh(&format!(
            "cd {}; ../bin/tcprules rules.{name}.cdb rules.{name}.tmp <<'END'\n{text}END\n",
            dir.display()
        ));
    }

    /// Whose client certificates this server accepts.
    fn knows(&self, others: &[&Node]) {
        let file = self.path("ssl/nodes.pem");
        let pem = |n: &&Node| fs::read_to_string(format!("/mnt/tls/{}.pem", n.name)).unwrap();
        fs::write(&file, others.iter().map(pem).collect::<String>()).unwrap();
        let env = self.path("ssl/ssl.env");
        let old = fs::read_to_string(&env).unwrap();
        fs::write(&env, format!("{old}CCAFILE={}; export CCAFILE\n", file.display())).unwrap();
    }

    /// The certificate that this node shows to servers.
    fn shows(&self, of: &str) {
        let key = if of == "a" { "/mnt/tls/a.locked|se%c:ret".to_string() } else { format!("/mnt/tls/{of}.key") };
        self.control("domaincerts", &format!("*:/mnt/tls/{of}.pem|{key}\n"));
    }

    /// The line of tlsdestinations by which this node is the only one that is believed.
    fn pin(&self) -> String {
        let name = self.name;
        let digits = self.machine.sh(&format!("openssl x509 -in /mnt/tls/{name}.pem -outform DER | sha256sum"));
        format!("%{}:={}\n", self.ip, digits.split(' ').next().unwrap())
    }

    /// What runs something on the node's host.
    fn on_host(&self) -> String {
        self.host.map_or(String::new(), |host| format!("ip netns exec {host} "))
    }

    /// Starts a service by its run script; `port`: and waits until it listens.
    fn start(&self, service: &str, port: Option<&str>) {
        let (name, host) = (self.name, self.on_host());
        let run = self.path(&format!("svc/{service}-{name}/run"));
        let log = format!("/mnt/log-{service}-{name}");
        self.machine.start(&["sh", "-c", &format!("exec {host}{} >>{log} 2>&1 3>&-", run.display())]);
        match port {
            Some(port) => self.wait(service, || self.listens(port)),
            None => self.wait(service, || self.log().contains("status: local 0/")),
        }
    }

    fn listens(&self, port: &str) -> bool {
        let table = self.machine.sh(&format!("{}cat /proc/net/tcp", self.on_host()));
        let octets: Vec<u8> = self.ip.split('.').map(|n| n.parse().unwrap()).collect();
        let address: String = octets.iter().rev().map(|n| format!("{n:02X}")).collect();
        table.lines().any(|line| line.contains(&format!(": {address}:{port} 00000000:0000 0A")))
    }

    /// All logs of this node.
    fn log(&self) -> String {
        let logs = fs::read_dir("/mnt").unwrap().map(|e| e.unwrap().path());
        let mine = logs.filter(|p| p.to_str().unwrap().ends_with(&format!("-{}", self.name)));
        mine.map(|p| fs::read_to_string(p).unwrap_or_default()).collect()
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "{}: waited in vain for {what}\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self, text: &str) {
        self.wait(text, || self.log().contains(text));
    }

    /// A user who is nobody special sends a message from this node.
    fn send(&self, recipients: &str, subject: &str) {
        let code = self.try_send("bin/qmail-queue", recipients, subject);
        assert_eq!(code, 0, "{subject} {}", self.log());
    }

    /// The same, through another program than qmail-queue; the exit code of qmail-inject.
    fn try_send(&self, queue: &str, recipients: &str, subject: &str) -> i32 {
        let (name, host) = (self.name, self.on_host());
        let home = format!("{}-{name}", conf::HOME);
        let said = self.machine.sh(&format!(
            "printf 'Subject: {subject}\\n\\nText.\\n' | {host}setpriv --reuid=54321 --regid=54321 --clear-groups \
             env - QMAILHOME={home} QMAILQUEUE={queue} {home}/bin/qmail-inject -fann@{name}.test {recipients} 2>&1
             echo $?"
        ));
        said.lines().last().unwrap().parse().unwrap()
    }

    /// The messages that have arrived here.
    fn mail(&self) -> Vec<String> {
        files(&self.path("alias/Maildir/new")).iter().map(|f| fs::read_to_string(f).unwrap()).collect()
    }

    /// Waits for a message with this text in it; it, taken out of the mailbox.
    fn arrives(&self, text: &str) -> String {
        let found = || {
            let files = files(&self.path("alias/Maildir/new"));
            files.into_iter().find(|f| fs::read_to_string(f).unwrap().contains(text))
        };
        self.wait(text, || found().is_some());
        let file = found().unwrap();
        let message = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        message
    }

    /// How many messages are in the queue.
    fn queued(&self) -> usize {
        files(&self.path("queue/mess")).len()
    }

    fn drains(&self) {
        self.wait("an empty queue", || self.queued() == 0);
    }

    /// Has qmail-send try everything at once.
    fn retry(&self) {
        // The hosts share their processes; what was put off is due for all.
        self.machine.processes("qmail-send").iter().for_each(|pid| {
            self.machine.sh(&format!("kill -ALRM {pid}"));
        });
    }

    /// Sends a message that has to wait, and says why it has to; then the reason is taken away, and it arrives.
    fn waits(&self, to: &Node, reason: &str, mend: impl FnOnce()) {
        let subject = format!("because of {reason}");
        let before = self.log().matches(reason).count();
        self.send(&format!("box@far-{}.test", to.name), &subject);
        self.wait(reason, || self.log().matches(reason).count() > before);
        assert_eq!((self.queued(), to.mail().len()), (1, 0), "{}", self.log());
        mend();
        self.retry();
        to.arrives(&subject);
        self.drains();
    }
}

/// Joins the first node to the second: mail for its domains goes there by QMTPS, shows a certificate that the other one
/// knows, and is meant for nobody else.
fn join(one: &Node, other: &Node) {
    let routes: String =
        ["", "far-"].iter().map(|kind| format!("{kind}{}.test:{};6209\n", other.name, other.ip)).collect();
    for (name, more) in [("qmtproutes", routes), ("tlsdestinations", other.pin())] {
        let old = fs::read_to_string(one.path("control").join(name)).unwrap_or_default();
        let old = if old == "*:\n" { String::new() } else { old };
        one.control(name, &format!("{old}{more}"));
    }
    one.shows(one.name);
}

#[test]
fn two_nodes_are_joined_by_qmtps_with_certificates_both_ways() {
    on_its_own("two_nodes_are_joined_by_qmtps_with_certificates_both_ways", &NEEDED, |m| {
        network(m, &[("ha", "10.9.0.1"), ("hb", "10.9.0.2")]);
        let [a, b] = instances(m, [("a", Some("ha"), "10.9.0.1"), ("b", Some("hb"), "10.9.0.2")], &[]);
        for (one, other) in [(&a, &b), (&b, &a)] {
            join(one, other);
            one.knows(&[other]);
            one.rules("qmtpd", ":allow\n");
            one.start("qmail-qmtpsd", Some(QMTPS));
            one.start("qmail-send", None);
        }
        for (one, other) in [(&a, &b), (&b, &a)] {
            // The other one's own mail, and mail that it takes from those only who may relay.
            for domain in [format!("{}.test", other.name), format!("far-{}.test", other.name)] {
                one.send(&format!("box@{domain}"), &format!("to {domain}"));
                let message = other.arrives(&format!("Subject: to {domain}\n"));
                for trace in [
                    format!("({}.test@{})\n", one.name, one.ip),
                    format!("DN=/CN={}.test\n", one.name),
                    format!("by {}.test with QMTPSA; ", other.name),
                ] {
                    assert!(message.contains(&trace), "{trace}: {message}");
                }
            }
            let success = format!("/All_received_okay_by_{}/", other.ip);
            assert_eq!(one.log().matches(&success).count(), 2, "{}", one.log());
            one.drains();
        }
    });
}

#[test]
fn a_node_without_the_right_certificate_relays_nothing() {
    on_its_own("a_node_without_the_right_certificate_relays_nothing", &NEEDED, |m| {
        let hosts = [("ha", "10.9.0.1"), ("hb", "10.9.0.2"), ("hc", "10.9.0.3")];
        network(m, &hosts);
        let [a, b, c] = instances(m, [0, 1, 2].map(|n| (["a", "b", "c"][n], Some(hosts[n].0), hosts[n].1)), &[]);
        b.knows(&[&a]);
        b.rules("qmtpd", ":allow\n");
        b.start("qmail-qmtpsd", Some(QMTPS));
        for node in [&a, &b, &c] {
            node.start("qmail-send", None);
        }
        join(&a, &b);
        join(&c, &b);
        let refused = |node: &Node, why: &str| {
            node.send("box@far-b.test", &format!("refused: {why}"));
            let bounce = node.arrives(&format!("refused: {why}"));
            assert!(bounce.contains("isn't in my list of allowed rcpthosts (#5.7.1)"), "{bounce}");
            node.drains();
            // Mail for its own domains is as welcome as anybody's.
            node.send("box@b.test", &format!("welcome: {why}"));
            let message = b.arrives(&format!("welcome: {why}"));
            assert!(message.contains("by b.test with QMTPS; "), "{message}");
            node.drains();
        };
        // A certificate that the server does not know, none, and one that the server does not ask for.
        refused(&c, "wrong");
        fs::remove_file(a.path("control/domaincerts")).unwrap();
        refused(&a, "none");
        a.shows("a");
        b.rules("qmtpd", "10.9.0.1:allow,CCAFILE=\"-\"\n:allow\n");
        refused(&a, "not asked");
        // Where the server demands one, mail waits at its sender.
        b.rules("qmtpd", "10.9.0.3:deny\n:allow,CCAVERIFY=\"\"\n");
        fs::remove_file(a.path("control/domaincerts")).unwrap();
        a.waits(&b, "but_connection_died.", || a.shows("a"));
        a.shows("c");
        a.waits(&b, "but_connection_died.", || a.shows("a"));
        // The other way round: a server with another certificate, and a key that can not be read.
        let right = fs::read_to_string(a.path("control/tlsdestinations")).unwrap();
        a.control("tlsdestinations", &right.replace(|c: char| c.is_ascii_hexdigit() && !c.is_ascii_digit(), "0"));
        a.waits(&b, "does_not_match_fingerprint", || a.control("tlsdestinations", &right));
        a.control("domaincerts", "*:/mnt/tls/a.pem|/mnt/tls/a.locked|secret\n");
        a.waits(&b, "private_key", || a.shows("a"));
        // A rule turns the third node away before that. A certificate more is known without a new start.
        c.waits(&b, "deferral: ", || {
            b.rules("qmtpd", ":allow\n");
            b.knows(&[&a, &c]);
            m.sh("kill -HUP $(pidof sslserver)");
        });
    });
}

#[test]
fn several_queues_on_one_host_from_n_to_1_to_n() {
    on_its_own("several_queues_on_one_host_from_n_to_1_to_n", &NEEDED, |m| {
        let nodes = [
            ("web1", None, "127.0.1.1"),
            ("web2", None, "127.0.1.2"),
            ("front", None, "127.0.1.3"),
            ("back1", None, "127.0.1.4"),
            ("back2", None, "127.0.1.5"),
        ];
        let settings = ["web1:QMAILQUEUE=bin/qmail-qmqpc,RELAYCLIENT=", "web2:QMAILQUEUE=bin/qmail-qmqpc"];
        let [web1, web2, front, back1, back2] = instances(m, nodes, &settings);
        // A second run changes nothing.
        let second = m.sh("package/instances; package/instances --check; package/service --supervisor daemontools");
        assert_eq!(second.matches(" 0 changed, ").count(), 5, "{second}");
        assert_eq!(second.matches(" 0 differ\n").count(), 5, "{second}");
        assert_eq!(second.matches(" services for daemontools, 0 new\n").count(), 6, "{second}");
        // Under systemd an instance has units of its own, and no sockets.
        m.sh("package/service --supervisor systemd --instance front");
        let unit = fs::read_to_string("/etc/systemd/system/qmail-qmtpd-front.service").unwrap();
        for line in [
            format!("ExecStart={0}-front/svc/qmail-qmtpd-front/run\n", conf::HOME),
            format!("ReadWritePaths={}-front/queue\n", conf::HOME),
            "SyslogIdentifier=qmail-qmtpd-front\n".to_string(),
        ] {
            assert!(unit.contains(&line), "{line}: {unit}");
        }
        assert!(!Path::new("/etc/systemd/system/qmail-qmtpd-front.socket").exists());
        for back in [&back1, &back2] {
            join(&front, back);
            back.knows(&[&front]);
            back.rules("qmtpd", ":allow\n");
            back.start("qmail-qmtpsd", Some(QMTPS));
            back.start("qmail-send", None);
        }
        front.rules("qmqpd", "127.:allow\n:deny\n");
        front.start("qmail-qmqpd", Some(QMQP));
        front.start("qmail-send", None);
        // n to 1: two instances without a queue hand everything to the third; 1 to n: from there by domain.
        web1.control("qmqpservers", "127.0.1.3\n");
        web2.control("qmqpservers", "127.0.1.3\n");
        for (web, back) in [(&web1, &back1), (&web1, &back2), (&web2, &back1), (&web2, &back2)] {
            let subject = format!("from {} to {}", web.name, back.name);
            assert_eq!(web.try_send("bin/qmail-qmqpc", &format!("box@far-{}.test", back.name), &subject), 0);
            let message = back.arrives(&format!("Subject: {subject}\n"));
            for trace in [
                format!("by {}.test with QMTPSA; ", back.name),
                "by front.test with QMQP; ".to_string(),
                "(qmail ".to_string(),
            ] {
                assert!(message.contains(&trace), "{trace}: {message}");
            }
        }
        // The variables of conf/qmq reach what comes in by SMTP.
        web1.start("qmail-smtpd", Some("0019"));
        let stream = std::net::TcpStream::connect(("127.0.1.1", 25)).unwrap();
        let mut client = Connection::from(stream);
        client.hear("220");
        client.mail("box@far-back2.test", "by SMTP");
        let message = back2.arrives("Subject: by SMTP\n");
        assert!(message.contains("by front.test with QMQP; "), "{message}");
        // One message for both.
        web2.try_send("bin/qmail-qmqpc", "box@far-back1.test box@far-back2.test", "for both");
        back1.arrives("Subject: for both\n");
        back2.arrives("Subject: for both\n");
        // Nothing of this was in any other queue, and what is without a server is the sender's.
        front.drains();
        assert_eq!((web1.queued(), web2.queued()), (0, 0));
        assert_eq!(files(&Path::new(conf::HOME).join("queue/mess")), Vec::<PathBuf>::new());
        web2.control("qmqpservers", "127.0.1.9\n");
        assert_eq!(web2.try_send("bin/qmail-qmqpc", "box@far-back1.test", "lost"), 111);
    });
}

#[test]
fn queues_on_several_hosts_from_n_to_m() {
    on_its_own("queues_on_several_hosts_from_n_to_m", &NEEDED, |m| {
        let ips = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"];
        let names = ["web", "f1", "f2", "b1", "b2"];
        let hosts = ["hw", "hf1", "hf2", "hb1", "hb2"];
        network(m, &[0, 1, 2, 3, 4].map(|n| (hosts[n], ips[n])));
        let [web, f1, f2, b1, b2] = instances(
            m,
            [0, 1, 2, 3, 4].map(|n| (names[n], Some(hosts[n]), ips[n])),
            &["web:QMAILQUEUE=bin/qmail-qmqpc"],
        );
        for front in [&f1, &f2] {
            join(front, &b1);
            join(front, &b2);
            front.rules("qmqpd", "10.9.0.1:allow\n:deny\n");
            front.start("qmail-qmqpd", Some(QMQP));
            front.start("qmail-send", None);
        }
        for back in [&b1, &b2] {
            back.knows(&[&f1, &f2]);
            back.rules("qmtpd", ":allow\n");
            back.start("qmail-send", None);
        }
        b1.start("qmail-qmtpsd", Some(QMTPS));
        // Without its server the second of two keeps its mail waiting at the front, and nothing else.
        web.control("qmqpservers", "10.9.0.2\n10.9.0.3\n");
        let both = "box@far-b1.test box@far-b2.test";
        assert_eq!(web.try_send("bin/qmail-qmqpc", both, "first"), 0);
        assert!(b1.arrives("Subject: first\n").contains("by f1.test with QMQP; "));
        f1.logs("deferral: ");
        assert_eq!((f1.queued(), f2.queued(), b2.mail().len()), (1, 0, 0));
        b2.start("qmail-qmtpsd", Some(QMTPS));
        f1.retry();
        assert!(b2.arrives("Subject: first\n").contains("by f1.test with QMQP; "));
        f1.drains();
        // Without the first front mail goes by the second.
        m.sh("kill $(ip netns pids hf1)");
        f1.wait("its end", || m.sh("ip netns pids hf1").is_empty());
        assert_eq!(web.try_send("bin/qmail-qmqpc", both, "second"), 0);
        for back in [&b1, &b2] {
            let message = back.arrives("Subject: second\n");
            assert!(message.contains("by f2.test with QMQP; ") && message.contains("DN=/CN=f2.test\n"), "{message}");
        }
        f2.drains();
        // Nobody else is let in: neither to the queue of a front, nor to relay by a back.
        assert_eq!(b1.try_send("bin/qmail-qmqpc", both, "no"), 111);
        b1.control("qmqpservers", "10.9.0.3\n");
        assert_eq!(b1.try_send("bin/qmail-qmqpc", both, "no"), 111);
    });
}

#[test]
fn mail_goes_by_smtps_with_a_login() {
    on_its_own("mail_goes_by_smtps_with_a_login", &NEEDED, |m| {
        let [a, b] = instances(m, [("a", None, "127.0.1.1"), ("b", None, "127.0.1.2")], &[]);
        b.put("users/authuser", "ann@a.test:se|cret\n");
        b.start("qmail-smtpsd", Some(SMTPS));
        b.start("qmail-send", None);
        a.start("qmail-send", None);
        let route = |password: &str| {
            a.control("smtproutes", &format!("far-b.test:127.0.1.2;465|ann@a.test|{password}\n"));
        };
        a.control("tlsdestinations", &b.pin());
        route("se|cret");
        a.send("box@far-b.test", "by a login");
        let message = b.arrives("Subject: by a login\n");
        assert!(message.contains("(ann@a.test@127.0.0.1)") && message.contains("with ESMTPSA; "), "{message}");
        a.logs("TLS_transmitted_message_accepted");
        a.drains();
        // Another password, another certificate.
        route("secret");
        a.waits(&b, "authentication_was_rejected", || route("se|cret"));
        a.control("tlsdestinations", &a.pin().replace("127.0.1.1", "127.0.1.2"));
        a.waits(&b, "does_not_match_fingerprint", || a.control("tlsdestinations", &b.pin()));
    });
}

#[test]
fn a_second_queue_in_the_same_home() {
    on_its_own("a_second_queue_in_the_same_home", &[], |m| {
        let home = conf::HOME;
        let queues = ["/mnt/second", "/mnt/third"];
        for queue in queues {
            m.sh(&format!("cp -a {home}/queue {queue}"));
        }
        m.sh(&format!("echo {} >{home}/control/instances", queues[0]));
        m.sh(&format!("echo far.test:127.0.0.1:26 >{home}/control/smtproutes"));
        let count = |queue: &str| files(&Path::new(queue).join("mess")).len();
        let first = format!("{home}/queue");
        let send = |queue: &str, subject: &str| {
            m.sh(&format!(
                "printf 'Subject: {subject}\\n\\nText.\\n' | setpriv --reuid=54321 --regid=54321 --clear-groups \
                 env QUEUEDIR={queue} {home}/bin/sendmail joe@mail.test box@far.test"
            ));
        };
        // qmail-queue, which is set-user-ID, puts nothing into a queue that is not listed.
        send(queues[1], "not listed");
        assert_eq!([first.as_str(), queues[0], queues[1]].map(count), [1, 0, 0]);
        send(queues[0], "second");
        assert_eq!([first.as_str(), queues[0], queues[1]].map(count), [1, 1, 0]);
        let show = |program: &str| m.sh(&format!("QUEUEDIR={} {home}/bin/{program}", queues[0]));
        assert!(show("qmail-qstat").starts_with("messages in queue: 1\n"));
        let start = format!("exec env - QUEUEDIR={} PATH={home}/bin:/usr/bin:/bin qmail-start ./Maildir/", queues[0]);
        m.start(&["sh", "-c", &start]);
        m.arrives(&["second"]);
        // The remote side, too, works there: nothing listens at the other recipient's host.
        let said = || fs::read_to_string("/mnt/said").unwrap_or_default();
        until("a deferral", || {
            said().contains("deferral: Sorry,_I_wasn't_able_to_establish_an_SMTP_connection").then_some(())
        });
        assert!(show("qmail-qread").contains("\tremote\tbox@far.test\n"), "{}", show("qmail-qread"));
        show("qmail-tcpto");
        show("qmail-tcpok");
        assert_eq!((m.mail().len(), count(&first)), (1, 1));
    });
}
