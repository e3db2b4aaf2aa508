//! One message's way from todo to a sender and lists of recipients. Nothing here is synced: the todo file stays until
//! the journal says otherwise, and where a todo file exists all else is made anew.

use crate::files::{self, Files};
use queue::envelope::Records;
use queue::layout::{Layout, MessNum};
use queue::log;
use queue::route::Routes;
use queue::told::Envelope;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// What came of a message.
#[derive(Debug)]
pub enum Preprocessed {
    /// It was small: nothing was written.
    Told(Envelope),
    /// Its info file was written, and the lists of these channels, local and remote.
    Written([bool; 2]),
}

/// What can go wrong with one message: the words of the warning and the file they are about.
struct Trouble(&'static str, PathBuf);

/// Reads envelopes and sorts their recipients.
pub struct Preprocessor {
    layout: Layout,
    /// The routing controls in force.
    pub routes: Routes,
    /// Messages already complained about: each is reported once, however often it is tried.
    reported: HashSet<MessNum>,
}

impl Preprocessor {
    /// For the queue in the current directory.
    pub fn new(layout: Layout, routes: Routes) -> Preprocessor {
        Preprocessor { layout, routes, reported: HashSet::new() }
    }

    /// Preprocesses message `n`, in memory if `room` bytes are enough for it, and appends its log records. `None`: it
    /// could not be done, for a reason that is logged; the todo file stays and is tried again at the next look.
    pub fn preprocess(&mut self, n: MessNum, room: usize, records: &mut Vec<u8>) -> Option<Preprocessed> {
        let before = records.len();
        match self.sort(n, room, records) {
            Ok(made) => {
                self.reported.remove(&n);
                Some(made)
            }
            // The name came from a look at the directory that is older than the end of the message.
            Err(_) if self.is_gone(n) => {
                self.reported.remove(&n);
                records.truncate(before);
                None
            }
            Err(Trouble(what, file)) => {
                if self.reported.insert(n) {
                    line(records, &["warning: ", what, " ", &file.to_string_lossy(), "\n"]);
                } else {
                    records.truncate(before);
                }
                None
            }
        }
    }

    fn sort(&self, n: MessNum, room: usize, records: &mut Vec<u8>) -> Result<Preprocessed, Trouble> {
        let todo_name = self.layout.todo(n);
        let todo = self.open_todo(n)?;
        let mess_name = self.layout.mess(n);
        let size = std::fs::metadata(&mess_name).map_err(|_| Trouble("unable to stat", mess_name))?.len();
        let bounce = self.layout.bounce(n);
        files::remove(self.layout, n)
            .and_then(|()| files::remove_file(&bounce).map_err(|_| bounce))
            .map_err(|stale| Trouble("unable to unlink", stale))?;
        line(records, &["new msg ", &n.to_string(), "\n"]);

        let failed = |name| Trouble("trouble writing to", name);
        let mut envelope = Envelope::default();
        let mut written = None;
        let mut todo = Records::new(BufReader::with_capacity(4096, todo));
        let (mut uid, mut qp, mut has_sender) = (0, 0, false);
        while let Some(r) = todo.read().map_err(|_| Trouble("trouble reading", todo_name.clone()))? {
            match r.letter {
                b'u' => uid = control::leading_number(r.value).unwrap_or(0),
                b'p' => qp = control::leading_number(r.value).unwrap_or(0),
                b'F' => {
                    envelope.sender = r.value.to_vec();
                    log_info(records, n, size, r.value, qp, uid);
                    has_sender = true;
                }
                b'T' => {
                    let (channel, address) = self.routes.rewrite(r.value);
                    envelope.add(channel, &address);
                    if has_sender && envelope.size() > room {
                        self.spill(n, &mut envelope, &mut written).map_err(failed)?;
                    }
                }
                _ => {
                    // Where it came to be damaged can be seen from what there is of it, as in qmail.
                    if has_sender {
                        self.spill(n, &mut envelope, &mut written).map_err(failed)?;
                    }
                    return Err(Trouble("unknown record type in", todo_name));
                }
            }
        }
        if !has_sender {
            return Err(Trouble("trouble reading", todo_name));
        }
        if written.is_none() && envelope.can_be_told() {
            return Ok(Preprocessed::Told(envelope));
        }
        self.spill(n, &mut envelope, &mut written).map_err(failed)?;
        let mut files = written.unwrap_or_else(|| Files::new(self.layout, n));
        files.finish().map_err(failed)?;
        Ok(Preprocessed::Written(files.channels()))
    }

    /// Moves the lists from memory to the files, which are made if need be.
    fn spill(&self, n: MessNum, envelope: &mut Envelope, files: &mut Option<Files>) -> Result<(), PathBuf> {
        let files = match files {
            Some(files) => files,
            None => {
                let made = files.insert(Files::new(self.layout, n));
                made.write_info(&envelope.sender)?;
                made
            }
        };
        files.append(envelope)?;
        envelope.lists.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    fn is_gone(&self, n: MessNum) -> bool {
        let gone = |e: std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
        self.layout.todo_places(n).all(|name| std::fs::symlink_metadata(name).is_err_and(gone))
    }

    fn open_todo(&self, n: MessNum) -> Result<File, Trouble> {
        let found = self.layout.todo_places(n).find_map(|name| sys::fs::open_read(&name).ok());
        found.ok_or_else(|| Trouble("unable to open", self.layout.todo(n)))
    }
}

fn log_info(records: &mut Vec<u8>, n: MessNum, size: u64, sender: &[u8], qp: u64, uid: u64) {
    records.extend_from_slice(format!("Linfo msg {n}: bytes {size} from <").as_bytes());
    log::safe(records, sender);
    records.extend_from_slice(format!("> qp {qp} uid {uid}\n\0").as_bytes());
}

fn line(records: &mut Vec<u8>, parts: &[&str]) {
    records.push(b'L');
    parts.iter().for_each(|p| records.extend_from_slice(p.as_bytes()));
    records.push(0);
}
