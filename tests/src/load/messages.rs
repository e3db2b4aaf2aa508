//! What is sent, to whom, and whether it arrived once and unaltered.

use std::collections::HashMap;

/// Local users: b00 to b19.
pub const USERS: usize = 20;
/// Lines of text in each message; with its header about 2 kB.
const LINES: usize = 30;

/// The messages of one transfer.
pub struct Plan {
    /// Workload and round: no other transfer has messages of this name.
    pub name: String,
    /// How many messages.
    pub messages: usize,
    /// How many recipients each has.
    pub recipients: usize,
    /// Whose domain this is.
    pub domain: String,
}

impl Plan {
    /// Whether the recipients have mailboxes here.
    pub fn is_local(&self) -> bool {
        self.domain == "local.test"
    }

    /// The local part of a message's recipient. With fewer recipients than users they take turns.
    fn recipient(&self, message: usize, n: usize) -> String {
        if self.is_local() { format!("b{:02}", (message * self.recipients + n) % USERS) } else { format!("r{n:04}") }
    }

    /// The addresses of a message's recipients.
    pub fn addresses(&self, message: usize) -> Vec<String> {
        (0..self.recipients).map(|n| format!("{}@{}", self.recipient(message, n), self.domain)).collect()
    }

    /// A message, its lines ended by LF.
    pub fn message(&self, message: usize) -> Vec<u8> {
        let id = format!("{}.{message}", self.name);
        let header = format!(
            "From: <{SENDER}>\nTo: <list@{}>\nSubject: bench {id}\nDate: Tue, 24 Nov 2026 09:00:00 +0000\n\
             Message-ID: <{id}@bench.test>\n\n",
            self.domain
        );
        [header.into_bytes(), body(&id)].concat()
    }

    /// The same for the wire: lines ended by CRLF, dots doubled, and the end of the data.
    pub fn wire(&self, message: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in self.message(message).split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line.trim_ascii_end());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }

    /// A list on which to tick off what arrived.
    pub fn check(&self) -> Check {
        let all = (0..self.messages).flat_map(|m| (0..self.recipients).map(move |n| (m, n)));
        let awaited = all.map(|(m, n)| ((format!("{}.{m}", self.name), self.recipient(m, n)), 0)).collect();
        Check { awaited, altered: 0, unknown: 0 }
    }
}

/// The envelope sender of everything.
pub const SENDER: &str = "sender@bench.test";

/// Text with lines that begin with a dot, and one that is nothing but a dot.
fn body(id: &str) -> Vec<u8> {
    let mut text = format!("bench {id}\n");
    for n in 0..LINES {
        text += match n {
            7 => ".\n",
            n if n % 10 == 9 => "..A line that begins with two dots, of which neither must be lost on the way.\n",
            _ => "The quick brown fox jumps over the lazy dog, and back again, 0123456789.\n",
        };
    }
    text.into_bytes()
}

/// What arrived so far.
pub struct Check {
    awaited: HashMap<(String, String), usize>,
    altered: usize,
    unknown: usize,
}

impl Check {
    /// A message, its lines ended by LF, was delivered to this local part.
    pub fn arrived(&mut self, recipient: &str, message: &[u8]) {
        let end = message.windows(2).position(|w| w == b"\n\n").map_or(message.len(), |n| n + 2);
        let (header, text) = message.split_at(end);
        let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
        let id = String::from_utf8_lossy(first.strip_prefix(b"bench ").unwrap_or_default()).into_owned();
        let subject = format!("\nSubject: bench {id}\n");
        if text != body(&id) || !header.windows(subject.len()).any(|w| w == subject.as_bytes()) {
            self.altered += 1;
        }
        match self.awaited.get_mut(&(id, recipient.to_string())) {
            Some(count) => *count += 1,
            None => self.unknown += 1,
        }
    }

    /// What is wrong, if anything is.
    pub fn verdict(&self) -> Option<String> {
        let lost = self.awaited.values().filter(|n| **n == 0).count();
        let twice = self.awaited.values().filter(|n| **n > 1).count();
        let counts = [(lost, "lost"), (twice, "twice"), (self.altered, "altered"), (self.unknown, "not awaited")];
        let wrong: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { name: "w.1".to_string(), messages: 2, recipients: 2, domain: "local.test".to_string() }
    }

    #[test]
    fn everything_once_and_unaltered_is_no_void() {
        let (plan, mut check) = (plan(), plan().check());
        for (m, to) in [(0, "b00"), (0, "b01"), (1, "b02"), (1, "b03")] {
            check.arrived(to, &[b"Received: x\n".to_vec(), plan.message(m)].concat());
        }
        assert_eq!(check.verdict(), None);
    }

    #[test]
    fn each_kind_of_damage_is_seen() {
        let plan = plan();
        let m = |n| plan.message(n);
        let mut short = m(1);
        short.pop();
        let mut check = plan.check();
        check.arrived("b00", &m(0));
        check.arrived("b00", &m(0));
        check.arrived("b01", &m(0)[5..]); // a header field less does no harm
        check.arrived("b02", &short);
        check.arrived("b09", &m(1));
        check.arrived("b03", b"");
        assert_eq!(check.verdict().unwrap(), "1 lost, 1 twice, 2 altered, 2 not awaited");
    }

    #[test]
    fn the_wire_form_doubles_dots() {
        let wire = plan().wire(0);
        assert!(wire.windows(6).any(|w| w == b"\r\n..\r\n"));
        assert!(wire.windows(6).any(|w| w == b"\r\n...A"));
        assert_eq!(wire.windows(5).filter(|w| w == b"\r\n.\r\n").count(), 1);
    }
}
