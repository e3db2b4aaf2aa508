//! qmail-newmrh: compiles control/morercpthosts into control/morercpthosts.cdb for qmail-smtpd.
//!
//! Run by the administrator after each change of the list, as root or the owner of control. Reads control/morercpthosts
//! below home, one domain a line, in the form of rcpthosts; replaces the cdb in one step, so that a running qmail-smtpd
//! sees the old list or the new one.
//!
//! Exit codes: 0 done; 111 not done, the old cdb is as it was.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use control::Controls;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::{Exit, error, process};

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    process::umask(0o033);
    let home = conf::home(sys::env::get(b"QMAILHOME"), process::is_privileged_beyond_caller());
    if let Err(e) = process::chdir(&home) {
        return fatal(&[b"unable to chdir to ", home.as_os_str().as_bytes()], &e);
    }
    let domains = match Controls::of(&home).list("morercpthosts") {
        Ok(Some(domains)) => domains,
        Ok(None) => return fatal(&[b"unable to read control/morercpthosts"], &io::ErrorKind::NotFound.into()),
        Err(e) => return fatal(&[b"unable to read control/morercpthosts"], &e.error),
    };
    let (cdb, temporary) = (Path::new("control/morercpthosts.cdb"), Path::new("control/morercpthosts.tmp"));
    let made = control::cdb::replace(cdb, temporary, 0o644, |writer| {
        domains.iter().try_for_each(|domain| writer.add(&domain.to_ascii_lowercase(), b""))
    });
    match made {
        Ok(()) => Exit::OK,
        Err(e) => fatal(&[b"unable to write to control/morercpthosts.tmp"], &e),
    }
}

fn fatal(what: &[&[u8]], e: &io::Error) -> Exit {
    error::complain(&[b"fatal: ", &what.concat(), b": ", error::text(e).as_bytes()]);
    Exit::TEMPORARY
}
