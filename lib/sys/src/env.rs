//! The environment as bytes, and the list handed to a child.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The value of a variable, if it is set.
pub fn get(name: &[u8]) -> Option<Vec<u8>> {
    std::env::var_os(OsStr::from_bytes(name)).map(OsStringExt::into_vec)
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
