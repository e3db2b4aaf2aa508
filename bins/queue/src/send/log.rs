//! The log: lines on fd 0, written together before the next sleep.

use std::path::Path;
use std::time::Duration;

/// Where the log goes: qmail-start puts the logger, or its own standard output, there.
const LOG: i32 = 0;
/// Lines are written at the latest when so many bytes wait.
const FULL_BYTES: usize = 16384;
/// How long the last resort is: sleep, and try what must not fail once more.
const PAUSE: Duration = Duration::from_secs(10);

/// Lines that wait to be written.
#[derive(Default)]
pub struct Log(Vec<u8>);

impl Log {
    /// Adds a line made of `parts`, which hold no newline.
    pub fn line(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|p| self.0.extend_from_slice(p));
        self.0.push(b'\n');
        self.flush_if_full();
    }

    /// Adds `before`, then text from outside as qmail-log(5) shows it, then the end of the line.
    pub fn line_with(&mut self, before: &[u8], outside: &[u8]) {
        self.0.extend_from_slice(before);
        queue::log::safe(&mut self.0, outside);
        self.line(&[]);
    }

    /// Adds a line that qmail-todo made, its newline included.
    pub fn verbatim(&mut self, line: &[u8]) {
        self.0.extend_from_slice(line);
        self.flush_if_full();
    }

    /// Adds a line about a queue file.
    pub fn about_file(&mut self, before: &str, name: &Path, after: &str) {
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str());
        self.line(&[before.as_bytes(), name, after.as_bytes()]);
    }

    fn flush_if_full(&mut self) {
        if self.0.len() >= FULL_BYTES {
            self.flush();
        }
    }

    /// Writes what waits. If nobody reads the log any more, mail is still delivered.
    pub fn flush(&mut self) {
        if !self.0.is_empty() {
            let _ = sys::fd::write_all(LOG, &self.0);
            self.0.clear();
        }
    }

    /// Writes what waits and sleeps: for trouble that leaves no other choice.
    pub fn pause(&mut self) {
        self.flush();
        std::thread::sleep(PAUSE);
    }
}
