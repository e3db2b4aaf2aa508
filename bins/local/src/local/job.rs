//! The delivery that was asked for: the arguments, and what follows from them.

use dotqmail::{Owner, part, sender};
use std::path::Path;
use sys::env::Env;

/// One delivery.
pub struct Job<'a> {
    /// Login name of the recipient.
    pub user: &'a [u8],
    /// Home directory, absolute.
    pub home: &'a [u8],
    /// Local part of the envelope recipient.
    pub local: &'a [u8],
    /// What stands between `.qmail` and the extension in file names.
    pub dash: &'a [u8],
    /// The extension.
    pub ext: &'a [u8],
    /// Domain of the envelope recipient.
    pub host: &'a [u8],
    /// Envelope sender; empty is the null sender.
    pub sender: &'a [u8],
    /// The lines to follow where the .qmail file is missing or empty.
    pub default_delivery: &'a [u8],
    /// What `default` in the name of the .qmail file stands for, once that is found.
    pub default: Option<&'a [u8]>,
    /// `Return-Path: <sender>` with its newline.
    pub return_path: Vec<u8>,
    /// `Delivered-To: local@host` with its newline.
    pub delivered_to: Vec<u8>,
    /// Both, as they stand before a message in a mailbox.
    pub front: Vec<u8>,
    /// The From_ line of mbox files, with its newline.
    pub from_line: Vec<u8>,
}

impl<'a> Job<'a> {
    /// `None`: there are not eight arguments, or the home directory is not absolute.
    pub fn from_arguments(args: &[&'a [u8]]) -> Option<Job<'a>> {
        let &[user, home, local, dash, ext, host, sender, default_delivery] = args else { return None };
        if !home.starts_with(b"/") {
            return None;
        }
        let return_path = field(&[b"Return-Path: <", &mess822::quote::address(sender), b">"]);
        let delivered_to = field(&[b"Delivered-To: ", local, b"@", host]);
        Some(Job {
            user,
            home,
            local,
            dash,
            ext,
            host,
            sender,
            default_delivery,
            default: None,
            front: [&return_path[..], &delivered_to].concat(),
            return_path,
            delivered_to,
            from_line: mailbox::mbox::from_line(sender, sys::time::now()),
        })
    }

    /// The sender for what is forwarded. An error: it can not be told whether there is an owner file.
    pub fn new_sender(&self) -> Result<Vec<u8>, super::Failure> {
        let owner = if !sender::can_change(self.sender) || !self.has(b"-owner")? {
            Owner::None
        } else if self.has(b"-owner-default")? {
            Owner::PerRecipient
        } else {
            Owner::Owner
        };
        Ok(sender::forwarding(self.sender, self.local, self.host, owner))
    }

    /// Whether there is a file by the name of this address's .qmail file and `suffix`.
    fn has(&self, suffix: &[u8]) -> Result<bool, super::Failure> {
        use std::os::unix::ffi::OsStrExt;
        let file = dotqmail::name::with_suffix(self.dash, self.ext, suffix);
        match std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(&file))) {
            Ok(_) => Ok(true),
            Err(e) if sys::error::is_temporary(&e) => Err(super::explain(&[b"Unable to open ", &file], &e, b"4.3.0")),
            Err(_) => Ok(false),
        }
    }

    /// What commands and qmail-queue find in their environment (qmail-command(8)), on top of this program's own.
    pub fn environment(&self, new_sender: &[u8]) -> Env {
        let mut env = Env::inherit();
        env.set(b"USER", self.user);
        env.set(b"HOME", self.home);
        env.set(b"LOCAL", self.local);
        env.set(b"HOST", self.host);
        env.set(b"RECIPIENT", &[self.local, b"@", self.host].concat());
        env.set(b"SENDER", self.sender);
        env.set(b"NEWSENDER", new_sender);
        env.set(b"DTLINE", &self.delivered_to);
        env.set(b"RPLINE", &self.return_path);
        env.set(b"UFLINE", &self.from_line);
        let names: [&[u8]; 4] = [b"EXT", b"EXT2", b"EXT3", b"EXT4"];
        for (name, value) in names.iter().zip(part::extensions(self.ext)) {
            env.set(name, value);
        }
        let names: [&[u8]; 4] = [b"HOST", b"HOST2", b"HOST3", b"HOST4"];
        for (name, value) in names.iter().zip(part::hosts(self.host)) {
            env.set(name, value);
        }
        match self.default {
            Some(value) => env.set(b"DEFAULT", value),
            None => env.unset(b"DEFAULT"),
        }
        env
    }
}

/// A header field that stays one line whatever the address holds.
fn field(parts: &[&[u8]]) -> Vec<u8> {
    let mut line = parts.concat();
    for b in &mut line {
        if *b == b'\n' {
            *b = b'_';
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(sender: &'static [u8], ext: &'static [u8]) -> Job<'static> {
        Job::from_arguments(&[b"joe", b"/home/joe", b"joe-x", b"-", ext, b"a.b.test", sender, b"./Mailbox"]).unwrap()
    }

    #[test]
    fn eight_arguments_and_an_absolute_home() {
        let args: [&'static [u8]; 9] = [b"joe", b"/", b"", b"", b"", b"", b"", b"", b""];
        assert!(Job::from_arguments(&args[..8]).is_some());
        assert!(Job::from_arguments(&args[..7]).is_none());
        assert!(Job::from_arguments(&args).is_none());
        assert!(Job::from_arguments(&[b"joe", b"home", b"", b"", b"", b"", b"", b""]).is_none());
        assert!(Job::from_arguments(&[b"joe", b"", b"", b"", b"", b"", b"", b""]).is_none());
    }

    #[test]
    fn l9_lines_stay_one_line_and_variables_are_literal() {
        let j = job(b"-f\"root\nX: y@z.test", b"x");
        assert_eq!(j.return_path, b"Return-Path: <\"-f\\\"root\\_X: y\"@z.test>\n");
        assert_eq!(j.from_line.iter().filter(|&&b| b == b'\n').count(), 1);
        assert!(j.from_line.starts_with(b"From -f\"root-X:-y@z.test "));
        let env = j.environment(b"n");
        assert_eq!(env.get(b"SENDER"), Some(&b"-f\"root\nX: y@z.test"[..]));
        assert_eq!(env.get(b"RPLINE"), Some(&j.return_path[..]));
        assert_eq!(env.get(b"NEWSENDER"), Some(&b"n"[..]));
    }

    #[test]
    fn default_is_set_only_if_the_file_name_ends_with_it() {
        let mut j = job(b"", b"A-b");
        assert_eq!(j.environment(b"").get(b"DEFAULT"), None);
        j.default = Some(b"b");
        assert_eq!(j.environment(b"").get(b"DEFAULT"), Some(&b"b"[..]));
        assert_eq!(j.environment(b"").get(b"EXT2"), Some(&b"b"[..]));
        assert_eq!(j.environment(b"").get(b"HOST2"), Some(&b"a.b"[..]));
    }
}
