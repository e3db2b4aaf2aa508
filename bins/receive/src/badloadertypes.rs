//! qmail-badloadertypes: compiles control/badloadertypes into control/badloadertypes.cdb for qmail-smtpd.
//!
//! Run by the administrator after each change of the list, as root or the owner of control. Reads control/badloadertypes
//! below home, one beginning of a base64 text a line, of which the first 5 bytes count; replaces the cdb in one step.
//! The keys are these bytes, the data are empty.
//!
//! Exit codes: 0 done; 111 not done, the old cdb is as it was.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod compiling;

use compiling::Files;
use sys::Exit;

/// The length of a key, in bytes: what qmail-smtpd looks up.
const KEY_BYTES: usize = 5;

const FILES: Files = Files {
    list: "control/badloadertypes",
    cdb: "control/badloadertypes.cdb",
    temporary: "control/badloadertypes.tmp",
};

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    compiling::compile(&FILES, |text| {
        let items = control::items(text);
        // A shorter line could match nothing.
        Ok(items.iter().filter_map(|item| Some((item.get(..KEY_BYTES)?.to_vec(), Vec::new()))).collect())
    })
}
