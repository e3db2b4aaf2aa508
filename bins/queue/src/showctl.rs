//! qmail-showctl explains the control files: what each says, and what holds where there is none.
//!
//! Started by people, as any user that can read home/control. No arguments. Standard output: how the programs were
//! built, then one paragraph per control file that they know, then the files nobody knows.
//! Files: everything in control/, only read; users/ids or /etc/passwd and /etc/group for the ids; the names in
//! queue/info for the split.
//! Exit: 0 explained, 111 the control directory cannot be read.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

use control::Controls;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;

/// How a control file is read and explained. The texts around a value are given as (before, after).
enum Kind {
    /// A number with its default.
    Number(&'static str, (&'static str, &'static str)),
    /// The first line, with its default.
    Line(&'static str, (&'static str, &'static str)),
    /// The first line; control/me's takes its place, and then the word.
    LineOrMe(&'static str, (&'static str, &'static str)),
    /// One line per item, or the sentence if there is no file.
    List(&'static str, (&'static str, &'static str)),
    /// rcpthosts, morercpthosts and morercpthosts.cdb, which depend on each other.
    Rcpthosts,
    /// One line per item, if there is a file.
    Map((&'static str, &'static str)),
    /// Only that it is there.
    There(&'static str),
    /// A map that s/qmail reads and that no program reads here yet; shown only if it exists.
    Unread,
}

use Kind::{Line, LineOrMe, List, Map, Number, Rcpthosts, There, Unread};

/// Every control file that is known (qmail-control(5)), in the order of the report.
const KNOWN: &[(&str, Kind)] = &[
    ("badmailfrom", List("Any MAIL FROM is allowed.", ("", " not accepted in MAIL FROM."))),
    ("bouncefrom", Line("MAILER-DAEMON", ("Bounce user name is ", "."))),
    ("bouncehost", LineOrMe("bouncehost", ("Bounce host name is ", "."))),
    ("concurrencyincoming", Number("up to the run script", ("Incoming concurrency is ", "."))),
    ("concurrencylocal", Number("10", ("Local concurrency is ", "."))),
    ("concurrencyremote", Number("20", ("Remote concurrency is ", "."))),
    ("databytes", Number("0", ("SMTP DATA limit is ", " bytes."))),
    ("defaultdelivery", Line("up to the run script", ("Default delivery is ", "."))),
    ("defaultdomain", LineOrMe("defaultdomain", ("Default domain name is ", "."))),
    ("defaulthost", LineOrMe("defaulthost", ("Default host name is ", "."))),
    ("doublebouncehost", LineOrMe("doublebouncehost", ("2B recipient host: ", "."))),
    ("doublebounceto", Line("postmaster", ("2B recipient user: ", "."))),
    ("envnoathost", LineOrMe("envnoathost", ("Presumed domain name is ", "."))),
    ("helohost", LineOrMe("helohost", ("SMTP client HELO host name is ", "."))),
    ("idhost", LineOrMe("idhost", ("Message-ID host name is ", "."))),
    ("instances", List("Set-id programs serve this home only.", ("Set-id programs also serve the home ", "."))),
    ("localiphost", LineOrMe("localiphost", ("Local IP address becomes ", "."))),
    ("locals", List("Messages for me are delivered locally.", ("Messages for ", " are delivered locally."))),
    ("me", Line("undefined! Uh-oh", ("My name is ", "."))),
    ("percenthack", List("The percent hack is not allowed.", ("The percent hack is allowed for user%host@", "."))),
    ("plusdomain", LineOrMe("plusdomain", ("Plus domain name is ", "."))),
    ("qmqpservers", List("No QMQP servers.", ("QMQP server: ", "."))),
    ("queuelifetime", Number("604800", ("Message lifetime in the queue is ", " seconds."))),
    ("rcpthosts", Rcpthosts),
    ("smtpgreeting", LineOrMe("smtpgreeting", ("SMTP greeting: 220 ", "."))),
    ("smtproutes", List("No artificial SMTP routes.", ("SMTP route: ", ""))),
    ("timeoutconnect", Number("60", ("SMTP client connection timeout is ", " seconds."))),
    ("timeoutremote", Number("1200", ("SMTP client data timeout is ", " seconds."))),
    ("timeoutsmtpd", Number("1200", ("SMTP server data timeout is ", " seconds."))),
    ("virtualdomains", List("No virtual domains.", ("Virtual domain: ", ""))),
    ("authcallers", Map(("May ask qmail-authuser: ", ""))),
    ("scancallers", Map(("May name a scanner to qmail-queue: ", ""))),
    ("authsender", Map(("Route for a sender, if there is no authsenders: ", ""))),
    ("authsenders", Map(("Route for a sender: ", ""))),
    ("badhelo", Unread),
    ("badloadertypes", Unread),
    ("badloadertypes.cdb", Unread),
    ("badmimetypes", Unread),
    ("badmimetypes.cdb", Unread),
    ("badrcptto", Unread),
    ("bouncemaxbytes", Unread),
    ("dkimdomains", Unread),
    ("dnssec-trusted", Map(("Whose word counts that a name is signed (1: this host's, 2: every name server's): ", ""))),
    ("domaincerts", Map(("Certificate shown for a sender's domain: ", ""))),
    ("domainips", Map(("Source address for a sender's domain: ", ""))),
    ("mailfromrules", Unread),
    ("mailfromrules.cdb", Unread),
    ("outgoingip", Map(("Source address, if there is no domainips: ", ""))),
    ("qmtproutes", Map(("QMTP route: ", ""))),
    ("recipients", Unread),
    ("spfexplain", Unread),
    ("spflocalrules", Unread),
    ("srsdomains", Unread),
    ("tlsdestinations", Map(("TLS rule: ", ""))),
    ("tlsfallback", There("Mail that need not have TLS goes out without when TLS fails.")),
];

/// Said of a control file whose reading failed.
const OOPS: &str = "Oops! Trouble reading this file.\n";

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let mut out = BufWriter::with_capacity(8192, sys::fd::STDOUT);
    let shown = show_build(&mut out, &home).and_then(|()| show_controls(&mut out, &home));
    match shown.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        // Nobody reads the report any more: there is no place to say so.
        Err(_) => Exit::TEMPORARY,
    }
}

/// What conf/ said when the programs were built, and what the accounts are on this host.
fn show_build(out: &mut impl Write, home: &Path) -> io::Result<()> {
    use conf::names::{ALIAS, NOFILES, OWNER, QMAIL, QMAILD, QMAILL, QMAILP, QMAILQ, QMAILR, QMAILS};
    out.write_all(b"qmail home directory: ")?;
    put_masked(out, home.as_os_str().as_bytes())?;
    writeln!(out, ".\nuser-ext delimiter: {}.", char::from(conf::BREAK))?;
    writeln!(out, "paternalism (in decimal): {}.", conf::PATRN)?;
    writeln!(out, "silent concurrency limit: {}.", conf::SPAWN)?;
    writeln!(out, "subdirectory split: {}.", split(home))?;
    let ids = conf::ids::Ids::load(home);
    let users = [ALIAS, QMAILD, QMAILL, OWNER, QMAILP, QMAILQ, QMAILR, QMAILS].map(|name| id_or_none(ids.user(name)));
    writeln!(out, "user ids: {}.", users.join(", "))?;
    let groups = [NOFILES, QMAIL].map(|name| id_or_none(ids.group(name)));
    writeln!(out, "group ids: {}.", groups.join(", "))
}

/// An id, or the word for an account that this host lacks, as is usual for a private instance.
fn id_or_none(id: Option<u32>) -> String {
    id.map_or_else(|| "none".to_string(), |id| id.to_string())
}

/// The split of the queue on disk; the one a new queue would get if the caller may not look at it.
fn split(home: &Path) -> u64 {
    let queue = conf::queue(home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    let found = sys::process::chdir(&queue).and_then(|()| queue::Layout::find());
    found.map_or(conf::SPLIT, queue::Layout::split)
}

/// The control files, known and unknown. `Err` only if `out` cannot be written.
fn show_controls(out: &mut impl Write, home: &Path) -> io::Result<Exit> {
    let controls = Controls::of(home);
    let Ok(dir) = std::fs::read_dir(home.join("control")) else {
        out.write_all(b"Oops! Unable to chdir to control.\n")?;
        return Ok(Exit::TEMPORARY);
    };
    let Ok(me) = controls.line("me") else {
        out.write_all(b"Oops! Trouble reading control/me.\n")?;
        return Ok(Exit::TEMPORARY);
    };
    for (name, kind) in KNOWN {
        match kind {
            Number(default, around) => show_number(out, &controls, name, default, *around)?,
            Line(default, around) => show_line(out, &controls, name, default.as_bytes(), *around)?,
            LineOrMe(default, around) => {
                let default = me.as_deref().unwrap_or(default.as_bytes());
                show_line(out, &controls, name, default, *around)?;
            }
            List(default, around) => {
                show_list(out, &controls, name, default, *around)?;
            }
            Map(around) => {
                if controls.path(name).exists() {
                    show_list(out, &controls, name, "", *around)?;
                }
            }
            There(text) => {
                if controls.path(name).exists() {
                    writeln!(out, "\n{name}: {text}")?;
                }
            }
            Rcpthosts => show_rcpthosts(out, &controls)?,
            Unread => show_unread(out, &controls, name)?,
        }
    }
    for entry in dir.flatten() {
        let name = entry.file_name();
        if !is_known(name.as_bytes()) {
            out.write_all(b"\n")?;
            put_masked(out, name.as_bytes())?;
            out.write_all(b": I have no idea what this file does.\n")?;
        }
    }
    Ok(Exit::OK)
}

fn is_known(name: &[u8]) -> bool {
    name == b"morercpthosts" || name == b"morercpthosts.cdb" || KNOWN.iter().any(|(known, _)| known.as_bytes() == name)
}

fn show_number(
    out: &mut impl Write,
    controls: &Controls,
    name: &str,
    default: &str,
    (before, after): (&str, &str),
) -> io::Result<()> {
    write!(out, "\n{name}: ")?;
    match controls.number(name) {
        Ok(Some(n)) => writeln!(out, "{before}{n}{after}"),
        Ok(None) => writeln!(out, "(Default.) {before}{default}{after}"),
        Err(_) => out.write_all(OOPS.as_bytes()),
    }
}

fn show_line(
    out: &mut impl Write,
    controls: &Controls,
    name: &str,
    default: &[u8],
    (before, after): (&str, &str),
) -> io::Result<()> {
    write!(out, "\n{name}: ")?;
    let Ok(found) = controls.line(name) else {
        return out.write_all(OOPS.as_bytes());
    };
    if found.is_none() {
        out.write_all(b"(Default.) ")?;
    }
    out.write_all(before.as_bytes())?;
    put_masked(out, found.as_deref().unwrap_or(default))?;
    writeln!(out, "{after}")
}

/// Whether there is such a file (one that cannot be read counts).
fn show_list(
    out: &mut impl Write,
    controls: &Controls,
    name: &str,
    default: &str,
    (before, after): (&str, &str),
) -> io::Result<bool> {
    write!(out, "\n{name}: ")?;
    match controls.list(name) {
        Ok(None) => {
            writeln!(out, "(Default.) {default}")?;
            return Ok(false);
        }
        Ok(Some(items)) => {
            out.write_all(b"\n")?;
            for item in items {
                out.write_all(before.as_bytes())?;
                put_masked(out, without_secrets(name, &item))?;
                writeln!(out, "{after}")?;
            }
        }
        Err(_) => out.write_all(OOPS.as_bytes())?,
    }
    Ok(true)
}

/// In the maps that may hold passwords these are all that follows a `|`.
fn without_secrets<'a>(name: &str, item: &'a [u8]) -> &'a [u8] {
    let may_hold = ["authsender", "authsenders", "domaincerts", "qmtproutes", "smtproutes"].contains(&name);
    let end = item.iter().position(|&b| may_hold && b == b'|').unwrap_or(item.len());
    item.get(..end).unwrap_or_default()
}

/// A missing rcpthosts makes an open relay, so it is not passed over as just a default (spec/reliability.md P6).
fn show_rcpthosts(out: &mut impl Write, controls: &Controls) -> io::Result<()> {
    const TO: &str = "SMTP clients may send messages to recipients at ";
    let more = "morercpthosts";
    if show_list(out, controls, "rcpthosts", "SMTP clients may send messages to any recipient.", (TO, "."))? {
        show_list(out, controls, more, "No effect.", (TO, "."))?;
    } else {
        out.write_all(b"OPEN RELAY! Anybody may send mail through this host: create control/rcpthosts.\n")?;
        let default = "No rcpthosts; morercpthosts is irrelevant.";
        let around = ("No rcpthosts; doesn't matter that morercpthosts has ", ".");
        show_list(out, controls, more, default, around)?;
    }
    let changed = |name: &str| std::fs::metadata(controls.path(name)).and_then(|m| m.modified()).ok();
    let verdict = match (changed(more), changed("morercpthosts.cdb")) {
        (None, None) => "(Default.) No effect.",
        (None, Some(_)) => "Oops! morercpthosts.cdb exists but morercpthosts doesn't.",
        (Some(_), None) => "Oops! morercpthosts exists but morercpthosts.cdb doesn't.",
        (Some(text), Some(cdb)) if text > cdb => "Oops! morercpthosts.cdb is older than morercpthosts.",
        (Some(_), Some(_)) => "Modified recently enough; hopefully up to date.",
    };
    writeln!(out, "\nmorercpthosts.cdb: {verdict}")
}

/// These may hold passwords: their contents are not shown.
fn show_unread(out: &mut impl Write, controls: &Controls, name: &str) -> io::Result<()> {
    if std::fs::metadata(controls.path(name)).is_ok() {
        writeln!(out, "\n{name}: Known from s/qmail; no program here reads it.")?;
    }
    Ok(())
}

/// Writes a value so that it stays on its line: anything but printable ASCII becomes `?`.
fn put_masked(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let masked: Vec<u8> = text.iter().map(|&b| if matches!(b, b' '..=b'~') { b } else { b'?' }).collect();
    out.write_all(&masked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The report on a home with these control files.
    fn report(files: &[(&str, &[u8])]) -> (Exit, String) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("control")).unwrap();
        for (name, text) in files {
            fs::write(home.path().join("control").join(name), text).unwrap();
        }
        let mut out = Vec::new();
        let exit = show_controls(&mut out, home.path()).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn p6_a_missing_rcpthosts_is_shouted_about() {
        assert!(report(&[]).1.contains("OPEN RELAY!"));
        assert!(!report(&[("rcpthosts", b"")]).1.contains("OPEN RELAY!"));
    }

    #[test]
    fn values_are_masked_and_files_of_other_programs_named() {
        let (exit, text) = report(&[("me", b"a\x1b.test\n"), ("new\nline", b""), ("dkimdomains", b"x\n")]);
        assert_eq!(exit, Exit::OK);
        assert!(text.contains("\nme: My name is a?.test.\n"));
        assert!(text.contains("\nidhost: (Default.) Message-ID host name is a?.test.\n"));
        assert!(text.contains("\nnew?line: I have no idea what this file does.\n"));
        assert!(text.contains("\ndkimdomains: Known from s/qmail; no program here reads it.\n"));
    }

    #[test]
    fn p12_passwords_are_not_shown() {
        let text = report(&[
            ("smtproutes", b":r.test:587|joe|secret\n"),
            ("authsenders", b"@b.test:r.test|joe|secret\n"),
            ("domaincerts", b"*:cert|key|secret\n"),
            ("domainips", b"*:192.0.2.1|helo.test\n"),
            ("dnssec-trusted", b"1\n"),
            ("tlsfallback", b""),
        ])
        .1;
        assert!(text.contains("\nsmtproutes: \nSMTP route: :r.test:587\n"), "{text}");
        assert!(text.contains("\nauthsenders: \nRoute for a sender: @b.test:r.test\n"), "{text}");
        assert!(text.contains("\ndomaincerts: \nCertificate shown for a sender's domain: *:cert\n"), "{text}");
        assert!(text.contains("*:192.0.2.1|helo.test\n") && text.contains("\ntlsfallback: Mail that"), "{text}");
        assert!(text.contains("\ndnssec-trusted: \nWhose word counts that a name is signed (1: "), "{text}");
        assert!(!text.contains("secret") && !text.contains("joe"), "{text}");
    }

    #[test]
    fn numbers_without_digits_are_defaults() {
        let (_, text) = report(&[("concurrencylocal", b"many\n"), ("queuelifetime", b"3600 s\n")]);
        assert!(text.contains("\nconcurrencylocal: (Default.) Local concurrency is 10.\n"));
        assert!(text.contains("\nqueuelifetime: Message lifetime in the queue is 3600 seconds.\n"));
    }

    #[test]
    fn a_home_without_controls_is_temporary_trouble() {
        let home = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        assert_eq!(show_controls(&mut out, home.path()).unwrap(), Exit::TEMPORARY);
        assert_eq!(out, b"Oops! Unable to chdir to control.\n");
    }

    #[test]
    fn a_control_file_that_cannot_be_read_is_said_so() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("control/locals")).unwrap();
        let mut out = Vec::new();
        assert_eq!(show_controls(&mut out, home.path()).unwrap(), Exit::OK);
        assert!(String::from_utf8(out).unwrap().contains("\nlocals: Oops! Trouble reading this file.\n"));
    }
}
