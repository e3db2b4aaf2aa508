//! Three names of glibc that the standard library of the gnu target refers to and musl lacks.
//!
//! Not a module of this crate: package/compile makes an object of this file when it links the one-shot programs with
//! musl through musl-gcc, and gives it to the linker. None of the three is ever asked for anything that matters: the
//! unwinder (a panic here aborts, see the release profile) and a look-up of host names that no program makes.
#![no_std]

use core::ffi::{c_char, c_int, c_void};

/// Where the unwinder would find its tables; -1 sends it to dl_iterate_phdr, which musl has.
#[unsafe(no_mangle)]
pub extern "C" fn _dl_find_object(_address: *const c_void, _result: *mut c_void) -> c_int {
    -1
}

/// Reads /etc/resolv.conf again after a failed look-up; musl reads it at each look-up.
#[unsafe(no_mangle)]
pub extern "C" fn __res_init() -> c_int {
    0
}

/// Tells the standard library whether it must call the function above; no version below 2.26 needs more.
#[unsafe(no_mangle)]
pub extern "C" fn gnu_get_libc_version() -> *const c_char {
    c"2.26".as_ptr()
}
