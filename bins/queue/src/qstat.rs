//! qmail-qstat says how many messages are in the queue, and how many of them qmail-send has not looked at yet.
//!
//! Started by people and by monitors, as a user that can read home/queue. No arguments. Standard output: two lines.
//! Files: the names in queue/mess, queue/todo and queue/info. Counting takes the same memory for any number of them.
//! Exit: 0 counted, 111 the queue cannot be read.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

use queue::{Layout, MessNum};
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::Exit;

sys::program!(run);

fn run(_args: sys::start::Args) -> Exit {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let queue = conf::queue(&home, sys::env::get(b"QUEUEDIR"), sys::process::is_privileged_beyond_caller());
    if let Err(e) = sys::process::chdir(&queue) {
        return fatal("unable to chdir to queue", &e);
    }
    let text = match count() {
        Ok(text) => text,
        Err(Unreadable { dir, error }) => return fatal(&format!("unable to read queue/{}", dir.display()), &error),
    };
    match sys::fd::write_all(1, text.as_bytes()) {
        Ok(()) => Exit::OK,
        Err(e) => fatal("unable to write", &e),
    }
}

/// A directory of the queue that could not be read.
struct Unreadable {
    dir: PathBuf,
    error: io::Error,
}

/// Counts the queue in the working directory, and words the answer.
fn count() -> Result<String, Unreadable> {
    let layout = Layout::find().map_err(|error| Unreadable { dir: PathBuf::from("mess"), error })?;
    let mut messages: u64 = 0;
    each_file(Path::new("mess"), &mut |_| messages += 1)?;
    let mut waiting: u64 = 0;
    each_file(Path::new("todo"), &mut |todo| waiting += u64::from(!is_prepared(layout, todo)))?;
    Ok(format!("messages in queue: {messages}\nmessages in queue but not yet preprocessed: {waiting}\n"))
}

/// Calls `found` for every file in `dir` and in its subdirectories: todo has them in some queues and not in others.
fn each_file(dir: &Path, found: &mut impl FnMut(&DirEntry)) -> Result<(), Unreadable> {
    let unreadable = |error| Unreadable { dir: dir.to_path_buf(), error };
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&entry.path(), found)?,
            Ok(kind) if kind.is_file() => found(&entry),
            // Gone meanwhile, or nothing that holds a message.
            _ => {}
        }
    }
    Ok(())
}

/// Whether the message that a todo file is about has been preprocessed all the same: the todo file stays as its journal
/// until the message is finished or its info is known to be safe on disk (qmail-internals(7)).
fn is_prepared(layout: Layout, todo: &DirEntry) -> bool {
    MessNum::parse(todo.file_name().as_bytes()).is_some_and(|id| layout.info(id).exists())
}

fn fatal(what: &str, e: &io::Error) -> Exit {
    sys::error::complain(&[b"fatal: ", what.as_bytes(), b": ", sys::error::text(e).as_bytes()]);
    Exit::TEMPORARY
}
