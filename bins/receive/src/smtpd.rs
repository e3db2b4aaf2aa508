//! qmail-smtpd: takes mail from the network by SMTP and hands it to qmail-queue.
//!
//! `qmail-smtpd [checkprogram subprogram ...]`, started by tcpserver or sslserver (through tcprules and rblsmtpd, if
//! there are any) for one connection, as qmaild. fd 0 and fd 1 are the connection; fd 2 is the log. Reads control/me,
//! smtpgreeting, timeoutsmtpd, databytes, badmailfrom, badrcptto, rcpthosts and recipients; with their variables set
//! badhelo, mailfromrules.cdb, badmimetypes.cdb, badloadertypes.cdb, spflocalrules and spfexplain; and when an address
//! calls for it localiphost and morercpthosts.cdb. The environment tells of the connection (tcp-environ(5)), of the
//! client's rights, and what is to be checked (qmail-smtpd(8)). Starts bin/qmail-queue below home, or what QMAILQUEUE
//! names, for each message; checkprogram for AUTH; bin/dnsip, bin/dnsmxip, bin/spfquery and bin/qmail-postgrey for what has to be asked the network, so that
//! none of that is in this process.
//!
//! Exit codes: 0 the client said QUIT; 1 the session ended in another way.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod smtpd {
    pub mod host;
}

use control::{Controls, Unreadable};
use smtp::server::{Connection, End, Rules, Session, Settings, Switches, TIMEOUT_MAX, Tls, Trouble};
use smtpd::host::{SpfTexts, ThisHost};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use sys::poll::Timed;
use sys::{Exit, env, error, process, signal};

/// Default limit for a command line, a read of a message, or a write, in seconds (RFC 5321 4.5.3.2.7 asks for 5
/// minutes at least).
const TIMEOUT_SECS: u64 = 1200;
/// On this port TLS comes before everything (RFC 8314 3.3).
const SMTPS_PORT: &[u8] = b"465";

/// What is said of an SPF failure if neither the domain nor the site has a text.
const SPF_EXPLANATION: &[u8] = b"SPF check failed for %{s} from %{i}";

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    // A client that hangs up is an error of write, not the death of this process.
    signal::ignore(signal::SIGPIPE);
    process::no_core_dumps();
    let home = conf::home(env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    let end = match prepare(&home, !args.is_empty()) {
        Err(end) => {
            // The client may be gone already; then nobody is left to tell.
            let _ = sys::fd::write_all(1, end.last_words());
            end
        }
        Ok((settings, rules, spf)) => {
            let seconds = settings.timeout.as_secs();
            let host = ThisHost::new(home, args, settings.timeout, spf);
            Session::new(settings, rules, host, Timed::new(0, seconds), Timed::new(1, seconds)).run()
        }
    };
    match end {
        End::Quit => Exit::OK,
        End::Trouble(trouble) => {
            log(&trouble);
            Exit::NO
        }
        End::NoTls(e) => {
            error::complain(&[b"unable to start TLS: ", error::text(&e).as_bytes()]);
            Exit::NO
        }
        _ => Exit::NO,
    }
}

/// What every session needs from the controls and the environment.
fn prepare(home: &Path, checks_passwords: bool) -> Result<(Settings, Rules, SpfTexts), End> {
    process::chdir(home).map_err(|error| Trouble::Controls(Unreadable { file: home.into(), error }))?;
    let connection = Connection::read(env::get);
    let tls = Tls::read(env::get);
    if connection.local_port == SMTPS_PORT && tls.is_none() {
        return Err(End::NoTls(io::ErrorKind::NotConnected.into()));
    }
    let controls = Controls::of(home);
    let switches = read_switches(&controls).map_err(Trouble::Controls)?.ok_or(Trouble::Switches)?;
    let settings = read_settings(&controls, connection, tls, switches, checks_passwords).map_err(Trouble::Controls)?;
    let rules = Rules::read(home, settings.relayclient.is_some(), &settings.switches).map_err(Trouble::Controls)?;
    let spf = if settings.switches.spf == 0 || settings.relayclient.is_some() {
        SpfTexts::default()
    } else {
        read_spf(&controls).map_err(Trouble::Controls)?
    };
    Ok((settings, rules, spf))
}

/// The switches; where the environment does not name SPF, control/spfbehavior does, but not for a client that may relay.
fn read_switches(controls: &Controls) -> Result<Option<Switches>, Unreadable> {
    let here = [b"SPF".as_slice(), b"SPFBEHAVIOR", b"RELAYCLIENT"].iter().any(|name| env::get(name).is_some());
    let level = if here { None } else { controls.line("spfbehavior")? };
    Ok(Switches::read(|name| if name == b"SPFBEHAVIOR" && !here { level.clone() } else { env::get(name) }))
}

fn read_settings(
    controls: &Controls,
    connection: Connection,
    tls: Option<Tls>,
    switches: Switches,
    checks_passwords: bool,
) -> Result<Settings, Unreadable> {
    let greeting = controls.line_or_me("smtpgreeting")?;
    let nameless = || Unreadable { file: controls.path("me"), error: io::ErrorKind::NotFound.into() };
    let databytes = match env::get(b"DATABYTES") {
        // A value that is no number lifts the limit, as it always did.
        Some(value) => control::leading_number(&value).unwrap_or(0),
        None => controls.number("databytes")?.unwrap_or(0),
    };
    let seconds = controls.number("timeoutsmtpd")?.unwrap_or(TIMEOUT_SECS).max(1);
    Ok(Settings {
        greeting: greeting.ok_or_else(nameless)?,
        timeout: Duration::from_secs(seconds).min(TIMEOUT_MAX),
        databytes,
        relayclient: env::get(b"RELAYCLIENT"),
        connection,
        tls,
        checks_passwords,
        switches,
    })
}

/// What the site adds to SPF; the second names are those of other patched servers.
fn read_spf(controls: &Controls) -> Result<SpfTexts, Unreadable> {
    let either = |name: &str, other: &str| match controls.line(name)? {
        Some(text) => Ok(Some(text)),
        None => controls.line(other),
    };
    let explanation = either("spfexplain", "spfexp")?.unwrap_or_else(|| SPF_EXPLANATION.to_vec());
    Ok(SpfTexts { rules: either("spflocalrules", "spfrules")?.unwrap_or_default(), explanation })
}

/// The client is only told that it is not its fault; the log gets to know what is wrong.
fn log(trouble: &Trouble) {
    use policy::recipients::Trouble as Unknown;
    let unreadable = |file: &Path, e: &io::Error| {
        let (file, text) = (file.as_os_str().as_bytes(), error::text(e).as_bytes());
        error::complain(&[b"fatal: unable to read ", file, b": ", text]);
    };
    match trouble {
        Trouble::Controls(Unreadable { file, error: e }) => unreadable(file, e),
        Trouble::Content(e) => unreadable(Path::new("control/badmimetypes.cdb or badloadertypes.cdb"), e),
        Trouble::Recipients(Unknown::Cdb(file, e)) => unreadable(file, e),
        Trouble::Recipients(Unknown::Missing(file)) => unreadable(file, &io::ErrorKind::NotFound.into()),
        Trouble::Recipients(Unknown::Program) => {
            error::complain(&[b"fatal: a program in control/recipients is unable to answer"]);
        }
        Trouble::Switches => error::complain(&[b"fatal: SPF is not a number from 0 to 6"]),
        Trouble::Addresses(e) => {
            error::complain(&[b"fatal: unable to find my IP addresses: ", error::text(e).as_bytes()]);
        }
        Trouble::Memory => error::complain(&[b"fatal: out of memory"]),
    }
}
