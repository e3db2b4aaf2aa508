//! What a program does when it finds a bug in itself or no more memory, in place of what the standard library does.
//!
//! The standard library would print a backtrace, and holds 200 KB of code for it in every program: half of most of them,
//! mapped into each daemon with the code around it. sys::start has the few lines that are wanted. Not a module of that
//! crate, as a crate with the standard library cannot have a panic handler of its own: package/compile makes an object
//! of this file, and has the linker lead there whoever calls the two functions of the standard library.
#![no_std]

use core::panic::PanicInfo;

// SAFETY: lib/sys defines both with these types.
unsafe extern "Rust" {
    safe fn quoll_panicked(info: &PanicInfo<'_>) -> !;
    safe fn quoll_out_of_memory() -> !;
}

/// The compiler gives it the name that it gives the standard library's.
#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    quoll_panicked(info)
}

/// package/compile renames it, to be called for `__rust_alloc_error_handler`.
#[unsafe(no_mangle)]
fn out_of_memory(_size: usize, _align: usize) -> ! {
    quoll_out_of_memory()
}

/// Likewise for `panic_with_hook`, where a panic with a payload of its own kind arrives. The arguments are not looked at.
#[unsafe(no_mangle)]
fn thrown() -> ! {
    panic!()
}

/// Likewise for `_Unwind_Resume`, which is called after a clean-up on the way of a panic: never, as no panic gets so far.
#[unsafe(no_mangle)]
fn unwound() -> ! {
    panic!()
}
