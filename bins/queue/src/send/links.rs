//! The pipes to qmail-todo and qmail-clean.

use crate::log::Log;
use queue::layout::MessNum;
use queue::told::Envelope;
use std::io::{self, Read, Write};
use sys::fd::Fd;
use sys::poll::Interest;

/// The longest record qmail-todo may send (bytes).
const RECORD_MAX: usize = 10_000;

/// Commands to qmail-todo that could not be written yet, and records of which the end has not come.
pub struct Todo {
    output: Fd,
    input: Fd,
    commands: Vec<u8>,
    record: Vec<u8>,
    /// The envelope being told.
    envelope: Envelope,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// It was told to make everything durable and exit.
    Leaving,
    /// It has.
    Over,
    /// It died.
    Lost,
}

/// What qmail-todo says.
pub enum FromTodo {
    /// A log line, newline included.
    Line(Vec<u8>),
    /// A message was preprocessed.
    Message {
        /// Its number.
        n: MessNum,
        /// It has local recipients.
        local: bool,
        /// It has remote recipients.
        remote: bool,
    },
    /// A message was preprocessed, but no files were made of it.
    Fresh(MessNum, Envelope),
    /// Now there are files of such a message.
    Written(MessNum),
    /// It died.
    Lost,
}

impl Todo {
    /// Writes to number `output`, reads from `input`.
    pub fn new(output: i32, input: i32) -> Todo {
        // A pipe whose mode can not be set is as good as none; the first write will tell.
        let _ = sys::fd::set_nonblocking(output, true);
        Todo {
            output: Fd(output),
            input: Fd(input),
            commands: Vec::new(),
            record: Vec::new(),
            envelope: Envelope::default(),
            phase: Phase::Running,
        }
    }

    /// Gives a command of one letter.
    pub fn command(&mut self, letter: &[u8]) {
        if self.phase == Phase::Running {
            self.commands.extend_from_slice(letter);
        }
    }

    /// Tells that message `n` is finished and may be removed.
    pub fn finished(&mut self, n: MessNum) {
        self.command(format!("F{n}\0").as_bytes());
    }

    /// Tells that message `n` has to wait, so that its files should be made durable.
    pub fn keep(&mut self, n: MessNum) {
        self.command(format!("K{n}\0").as_bytes());
    }

    /// Tells it to make everything durable and exit.
    pub fn leave(&mut self) {
        if self.phase == Phase::Running {
            self.command(b"X");
            self.phase = Phase::Leaving;
        }
    }

    /// Whether it was told to leave and has not yet.
    pub fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Whether it takes commands.
    pub fn takes_commands(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether it has left, or died.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Lost)
    }

    /// Whether it died: some messages may still have a todo file.
    pub fn was_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// Wait for room if there are commands to write.
    pub fn output_interest(&self) -> Interest {
        Interest::write(if self.commands.is_empty() || self.is_over() { -1 } else { self.output.0 })
    }

    /// Wait for records.
    pub fn input_interest(&self) -> Interest {
        Interest::read(if self.is_over() { -1 } else { self.input.0 })
    }

    /// Writes what the pipe takes.
    pub fn write(&mut self) {
        match self.output.write(&self.commands) {
            Ok(n) => drop(self.commands.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // Reading will find the end.
            Err(_) => self.commands.clear(),
        }
    }

    /// Reads what there is.
    pub fn read(&mut self) -> Vec<FromTodo> {
        let mut buffer = [0; 8192];
        let n = self.input.read(&mut buffer).unwrap_or(0);
        if n == 0 {
            self.phase = Phase::Lost;
            return vec![FromTodo::Lost];
        }
        let mut records = Vec::new();
        for &b in buffer.iter().take(n) {
            if b != 0 {
                // qmail-todo keeps its records short; what is longer is cut, not believed.
                if self.record.len() < RECORD_MAX {
                    self.record.push(b);
                }
                continue;
            }
            let record = std::mem::take(&mut self.record);
            match record.split_first() {
                Some((b'L', line)) => records.push(FromTodo::Line(line.to_vec())),
                Some((b'D', message)) => records.extend(parse_message(message)),
                Some((b'E', number)) => {
                    let envelope = std::mem::take(&mut self.envelope);
                    records.extend(MessNum::parse(number).map(|n| FromTodo::Fresh(n, envelope)));
                }
                Some((b'W', number)) => records.extend(MessNum::parse(number).map(FromTodo::Written)),
                Some((b'X', _)) if self.phase == Phase::Leaving => {
                    self.phase = Phase::Over;
                    break;
                }
                // The envelope that the next E is about; anything else is not known.
                _ => drop(self.envelope.hear(&record)),
            }
        }
        records
    }
}

fn parse_message(record: &[u8]) -> Option<FromTodo> {
    let (&letter, number) = record.split_first()?;
    let n = MessNum::parse(number)?;
    let (local, remote) = match letter {
        b'L' => (true, false),
        b'R' => (false, true),
        b'B' => (true, true),
        b'X' => (false, false),
        _ => return None,
    };
    Some(FromTodo::Message { n, local, remote })
}

/// qmail-clean: removes what qmail-send may not.
pub struct Clean {
    output: Fd,
    input: Fd,
    alive: bool,
}

impl Clean {
    /// Writes to number `output`, reads from `input`.
    pub fn new(output: i32, input: i32) -> Clean {
        Clean { output: Fd(output), input: Fd(input), alive: true }
    }

    /// It never speaks unasked: being readable means that it is gone.
    pub fn interest(&self) -> Interest {
        Interest::read(if self.alive { self.input.0 } else { -1 })
    }

    /// Call it when the pipe is readable although nothing was asked.
    pub fn is_hung_up(&mut self) -> bool {
        !matches!(self.input.read(&mut [0]), Ok(1))
    }

    /// Do not ask any more.
    pub fn lost(&mut self) {
        self.alive = false;
    }

    /// Removes what is left of message `n`; its todo file too, if qmail-todo is not there to do that. `Err`: lost.
    pub fn remove(&mut self, n: MessNum, with_todo: bool, log: &mut Log) -> Result<(), ()> {
        if !self.alive {
            return Ok(());
        }
        // If todo stays, the message must: it will be found there.
        if with_todo && !self.ask(&format!("todo/{n}"), log)? {
            return Ok(());
        }
        self.ask(&format!("foop/{n}"), log).map(drop)
    }

    fn ask(&mut self, request: &str, log: &mut Log) -> Result<bool, ()> {
        self.output.write_all(&[request.as_bytes(), b"\0"].concat()).map_err(drop)?;
        let mut answer = [0];
        self.input.read_exact(&mut answer).map_err(drop)?;
        if answer != *b"+" {
            log.line(&[b"warning: qmail-clean unable to clean up ", request.as_bytes()]);
        }
        Ok(answer == *b"+")
    }
}
