//! Harness shared by the whole-system tests.
