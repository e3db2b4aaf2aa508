//! One message's way from todo to info, local and remote. Nothing here is synced: the todo file stays until the journal
//! says otherwise, and where a todo file exists the other files are made anew.

use queue::envelope::Records;
use queue::layout::{Channel, Layout, MessNum};
use queue::log;
use queue::route::Routes;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Which channels a message has recipients on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channels {
    /// Has a file in local.
    pub local: bool,
    /// Has a file in remote.
    pub remote: bool,
}

/// What can go wrong with one message: the words of the warning and the file they are about.
struct Trouble(&'static str, PathBuf);

/// Makes queue files from envelopes.
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

    /// Preprocesses message `n` and appends its log records. `None`: it could not be done, for a reason that is logged;
    /// the todo file stays and is tried again at the next look.
    pub fn preprocess(&mut self, n: MessNum, records: &mut Vec<u8>) -> Option<Channels> {
        let before = records.len();
        match self.make_files(n, records) {
            Ok(channels) => {
                self.reported.remove(&n);
                Some(channels)
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

    fn make_files(&self, n: MessNum, records: &mut Vec<u8>) -> Result<Channels, Trouble> {
        let todo_name = self.layout.todo(n);
        let todo = self.open_todo(n)?;
        let mess_name = self.layout.mess(n);
        let size = std::fs::metadata(&mess_name).map_err(|_| Trouble("unable to stat", mess_name))?.len();
        let info_name = self.layout.info(n);
        for stale in [
            self.layout.recipients(n, Channel::Local),
            self.layout.recipients(n, Channel::Remote),
            self.layout.bounce(n),
            info_name.clone(),
        ] {
            remove(&stale).map_err(|_| Trouble("unable to unlink", stale))?;
        }
        let mut info =
            sys::fs::create_new(&info_name, 0o600).map_err(|_| Trouble("unable to create", info_name.clone()))?;
        line(records, &["new msg ", &n.to_string(), "\n"]);

        let mut lists = Lists { layout: self.layout, n, local: None, remote: None };
        let mut todo = Records::new(BufReader::with_capacity(4096, todo));
        let (mut uid, mut qp, mut has_sender) = (0, 0, false);
        while let Some(r) = todo.read().map_err(|_| Trouble("trouble reading", todo_name.clone()))? {
            match r.letter {
                b'u' => uid = control::leading_number(r.value).unwrap_or(0),
                b'p' => qp = control::leading_number(r.value).unwrap_or(0),
                b'F' => {
                    let whole = [b"F", r.value, b"\0"].concat();
                    info.write_all(&whole).map_err(|_| Trouble("trouble writing to", info_name.clone()))?;
                    log_info(records, n, size, r.value, qp, uid);
                    has_sender = true;
                }
                b'T' => {
                    let (channel, address) = self.routes.rewrite(r.value);
                    lists.add(channel, &address)?;
                }
                _ => return Err(Trouble("unknown record type in", todo_name)),
            }
        }
        if !has_sender {
            return Err(Trouble("trouble reading", todo_name));
        }
        lists.finish()
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

/// Removes a file; one that does not exist is removed already.
fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The recipient lists of one message. A file is made when its first recipient comes.
struct Lists {
    layout: Layout,
    n: MessNum,
    local: Option<BufWriter<File>>,
    remote: Option<BufWriter<File>>,
}

impl Lists {
    fn add(&mut self, channel: Channel, address: &[u8]) -> Result<(), Trouble> {
        let name = self.layout.recipients(self.n, channel);
        let list = match channel {
            Channel::Local => &mut self.local,
            Channel::Remote => &mut self.remote,
        };
        let list = match list {
            Some(l) => l,
            None => {
                let file = sys::fs::create_new(&name, 0o600).map_err(|_| Trouble("unable to create", name.clone()))?;
                list.insert(BufWriter::with_capacity(4096, file))
            }
        };
        let written = list.write_all(b"T").and_then(|()| list.write_all(address)).and_then(|()| list.write_all(b"\0"));
        written.map_err(|_| Trouble("trouble writing to", name))
    }

    fn finish(mut self) -> Result<Channels, Trouble> {
        for (channel, list) in [(Channel::Local, &mut self.local), (Channel::Remote, &mut self.remote)] {
            if let Some(list) = list {
                let name = self.layout.recipients(self.n, channel);
                list.flush().map_err(|_| Trouble("trouble writing to", name))?;
            }
        }
        Ok(Channels { local: self.local.is_some(), remote: self.remote.is_some() })
    }
}
