//! Placeholder until its first program is built.
#![forbid(unsafe_code)]
