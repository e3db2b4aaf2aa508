//! crypt(3) of this host, for dynamic programs only: which kinds of hashes it knows is the host's business, and Debian's
//! own kind (yescrypt) is in no other library.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;

/// struct crypt_data of libxcrypt and of glibc before it: larger than either (bytes).
const DATA: usize = 131_232;
/// The library, by the names it has on the distributions.
const NAMES: [&CStr; 2] = [c"libcrypt.so.1", c"libcrypt.so.2"];

type CryptR = unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> *const c_char;

#[repr(align(16))]
struct Data([u8; DATA]);

/// Hashes `phrase` the way `setting` says, which may be a hash itself: the result is that hash then if the phrase was
/// the one. `Ok(None)`: the setting is none that the library knows. `Err`: the host has no such library.
pub fn crypt(phrase: &[u8], setting: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (Ok(phrase), Ok(setting)) = (CString::new(phrase), CString::new(setting)) else { return Ok(None) };
    let function = find().ok_or(io::ErrorKind::NotFound)?;
    let mut data = Box::new(Data([0; DATA]));
    let place = std::ptr::from_mut(&mut data.0).cast();
    // SAFETY: both strings are NUL-ended and live, the place is as large as the library needs, aligned, and zero.
    let hash = unsafe { function(phrase.as_ptr(), setting.as_ptr(), place) };
    let result = if hash.is_null() {
        None
    } else {
        // SAFETY: the library returns a NUL-ended string in `data`, which lives until the end of this function.
        Some(unsafe { CStr::from_ptr(hash) }.to_bytes().to_vec())
    };
    data.0.fill(0);
    std::hint::black_box(&mut data);
    let mut phrase = phrase.into_bytes();
    phrase.fill(0);
    std::hint::black_box(&mut phrase);
    // A setting it does not know gives `*0` or `*1`, which is never a hash (crypt(3)).
    Ok(result.filter(|hash| hash.first() != Some(&b'*')))
}

fn find() -> Option<CryptR> {
    NAMES.iter().find_map(|name| {
        // SAFETY: the name is NUL-ended; the library's start-up code is what every program linked with it runs.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        // SAFETY: the handle was just given out and is never closed; the name is NUL-ended.
        let symbol = unsafe { libc::dlsym(library, c"crypt_r".as_ptr()) };
        // SAFETY: crypt_r has this type in each library of these names; a null pointer becomes `None`.
        unsafe { std::mem::transmute::<*mut c_void, Option<CryptR>>(symbol) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_its_own_setting() {
        let hash =
            b"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        let yes = crypt(b"Hello world!", hash).unwrap().unwrap();
        assert_eq!(yes, hash);
        assert_ne!(crypt(b"Hello world?", hash).unwrap(), Some(hash.to_vec()));
        for setting in [&b"*"[..], b"!", b"", b"*0", b"$6$\0"] {
            assert_eq!(crypt(b"Hello world!", setting).unwrap(), None, "{}", setting.escape_ascii());
        }
    }
}
