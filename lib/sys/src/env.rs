//! The environment as bytes, and the list handed to a child.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;

unsafe extern "C" {
    /// The environment, which no program of the house changes.
    static environ: *const *const c_char;
}

/// The value of a variable, if it is set. Servers ask for many: this takes no lock and copies nothing but the value.
pub fn get(name: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: the C library sets it before `main`; nothing changes it.
    let mut list = unsafe { environ };
    if list.is_null() {
        return None;
    }
    loop {
        // SAFETY: the list ends in a null pointer, and the loop with it.
        let entry = unsafe { *list };
        if entry.is_null() {
            return None;
        }
        // SAFETY: an entry is a NUL-ended string. A byte that differs ends the comparison, and the NUL does: it is
        // neither in a name nor `=`.
        let at = |i: usize| unsafe { *entry.add(i) } as u8;
        if !name.contains(&0) && name.iter().enumerate().all(|(i, &b)| at(i) == b) && at(name.len()) == b'=' {
            // SAFETY: what is behind the `=` is still of the same string.
            return Some(unsafe { CStr::from_ptr(entry.add(name.len() + 1)) }.to_bytes().to_vec());
        }
        // SAFETY: the entry was not the last.
        list = unsafe { list.add(1) };
    }
}

/// The environment that a child will get. It is a copy: the process's own environment is never changed.
#[derive(Clone, Default)]
pub struct Env(Vec<CString>);

impl Env {
    /// A copy of this process's environment.
    pub fn inherit() -> Env {
        let mut list = Vec::new();
        for (name, value) in std::env::vars_os() {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            if let Ok(pair) = CString::new(pair) {
                list.push(pair);
            }
        }
        Env(list)
    }

    /// Sets `name`, replacing an older value. A NUL ends the value, as it would in C.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.unset(name);
        let value = value.split(|&b| b == 0).next().unwrap_or_default();
        if let Ok(pair) = CString::new([name, b"=", value].concat()) {
            self.0.push(pair);
        }
    }

    /// Removes `name`.
    pub fn unset(&mut self, name: &[u8]) {
        self.0.retain(|p| p.as_bytes().strip_prefix(name).is_none_or(|r| r.first() != Some(&b'=')));
    }

    /// Removes all whose name `is_unwanted` says so.
    pub fn unset_all(&mut self, is_unwanted: impl Fn(&[u8]) -> bool) {
        self.0.retain(|p| !p.as_bytes().split(|&b| b == b'=').next().is_some_and(&is_unwanted));
    }

    /// The value of `name` in this list.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find_map(|p| p.as_bytes().strip_prefix(name)?.strip_prefix(b"="))
    }

    pub(crate) fn list(&self) -> &[CString] {
        &self.0
    }
}
