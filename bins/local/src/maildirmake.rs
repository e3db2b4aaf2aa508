//! maildirmake: makes a maildir (maildirmake(1), maildir(5)).
//!
//! Started by a person or a script, as the user who is to own it. Makes the directory, and tmp, new and cur in it, all
//! mode 0700.
//!
//! Exit codes: 0 made; 100 no name given; 111 anything else, for instance it exists.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::Exit;
use sys::error::complain;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    sys::process::umask(0o077);
    let Some(&name) = args.first() else {
        complain(&[b"usage: maildirmake name"]);
        return Exit::PERMANENT;
    };
    let dir = Path::new(OsStr::from_bytes(name));
    for sub in ["", "tmp", "new", "cur"] {
        // An empty name joined would leave a slash at the end.
        let path = if sub.is_empty() { dir.to_path_buf() } else { dir.join(sub) };
        if let Err(e) = std::fs::create_dir(&path) {
            complain(&[
                b"fatal: unable to mkdir ",
                path.as_os_str().as_bytes(),
                b": ",
                sys::error::text(&e).as_bytes(),
            ]);
            return Exit::TEMPORARY;
        }
    }
    make_durable(dir);
    Exit::OK
}

/// Mail that is acknowledged must not be lost with the directory it lies in.
fn make_durable(dir: &Path) {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for dir in [dir, parent] {
        // The maildir is there and can be used; where its parent may not be read, it can not be synced either.
        let _ = sys::fs::sync_dir(dir);
    }
}
