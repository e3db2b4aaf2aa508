//! What the control files say (qmail-send(8)).

use control::Controls;
use queue::route::Routes;
use std::path::{Path, PathBuf};

/// The settings of one run; only the routes can change (SIGHUP).
pub struct Settings {
    /// Home of this instance.
    pub home: PathBuf,
    controls: Controls,
    /// How recipients became local: bounces undo it.
    pub routes: Routes,
    /// Most deliveries at a time.
    pub concurrency_local: u64,
    /// Likewise, remote.
    pub concurrency_remote: u64,
    /// How long a message is tried (seconds).
    pub lifetime: u64,
    /// Local part that bounces come from.
    pub bounce_from: Vec<u8>,
    /// Host that bounces come from.
    pub bounce_host: Vec<u8>,
    /// Address that gets the bounces of bounces.
    pub double_bounce_to: Vec<u8>,
}

impl Settings {
    /// Reads the control files; `None` if one of them can not be read or must exist and does not.
    pub fn read(home: &Path) -> Option<Settings> {
        let controls = Controls::of(home);
        let c = &controls;
        let host = |name: &str| Some(c.line_or_me(name).ok()?.unwrap_or_else(|| name.as_bytes().to_vec()));
        let line = |name: &str, default: &str| Some(c.line(name).ok()?.unwrap_or_else(|| default.as_bytes().to_vec()));
        let number = |name: &str, default: u64| Some(c.number(name).ok()?.unwrap_or(default));
        Some(Settings {
            home: home.to_path_buf(),
            routes: Routes::read(c).ok()?,
            concurrency_local: number("concurrencylocal", 10)?,
            concurrency_remote: number("concurrencyremote", 20)?,
            lifetime: number("queuelifetime", 604_800)?,
            bounce_from: line("bouncefrom", "MAILER-DAEMON")?,
            bounce_host: host("bouncehost")?,
            double_bounce_to: [line("doublebounceto", "postmaster")?, b"@".to_vec(), host("doublebouncehost")?]
                .concat(),
            controls,
        })
    }

    /// Reads locals and virtualdomains again. If that fails the old values stay, and qmail-todo says so in the log.
    pub fn read_routes_again(&mut self) {
        let _ = self.routes.read_again(&self.controls);
    }
}
