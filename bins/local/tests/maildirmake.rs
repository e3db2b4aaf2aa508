//! maildirmake through its real interface, where the recorded cases are silent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_maildir_is_complete_and_private() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["M", "./N/", "-x", "a b"] {
        let status =
            Command::new(env!("CARGO_BIN_EXE_maildirmake")).arg(name).current_dir(dir.path()).status().unwrap();
        assert!(status.success(), "{name}");
        for sub in ["", "tmp", "new", "cur"] {
            let mode = fs::metadata(dir.path().join(name).join(sub)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{name}/{sub}");
        }
    }
}
