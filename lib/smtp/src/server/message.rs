//! DATA: the message on its way into the queue, and what became of it (spec/smtp.md 4).

use super::data::{Decoder, Hops, Progress};
use super::envelope::Transaction;
use super::host::{Host, Mail, SpfResult};
use super::input::Source;
use super::received::{self, Trace};
use super::replies::{Refusal, printable};
use super::rules::Trouble;
use super::session::{End, Session};
use policy::content::{Finding, Scanner, Scope};
use queue::Verdict;
use std::io::Write;

/// A message that has been through so many hosts and mailboxes is looping.
const HOPS_MAX: u32 = 100;

/// What a message turned out to be.
struct Body {
    bytes: u64,
    hops: u32,
    finding: Option<Finding>,
    /// It has, or may have, something for a scanner.
    scan: bool,
}

impl<S: Source, W: Write, H: Host> Session<S, W, H> {
    pub(super) fn data(&mut self) -> Result<(), End> {
        let Some(transaction) = self.transaction.take() else {
            return self.error(b"503 MAIL first (#5.5.1)");
        };
        if transaction.recipients.is_empty() {
            self.transaction = Some(transaction);
            self.reply(&[b"503 RCPT first (#5.5.1)"]);
            return Ok(());
        }
        if self.notorious {
            return Err(End::Notorious);
        }
        self.export_recipients(&transaction);
        self.reply(&[b"354 go ahead"]);
        if self.input.unused().is_empty() {
            // The client gets its message ready while the queue program starts.
            self.flush()?;
        }
        let mut mail = self.host.open();
        mail.put(&self.trace(&transaction));
        let body = self.body(&mut mail)?;
        let qp = mail.qp();
        let (verdict, code) = mail.close(&transaction.sender, &transaction.recipients, body.scan);
        match verdict {
            Verdict::Queued => {
                let reply = format!("250 ok {} qp {qp}", sys::time::now());
                self.reply(&[reply.as_bytes()]);
            }
            _ if body.hops >= HOPS_MAX => self.reply(&[b"554 too many hops, this message is looping (#5.4.6)"]),
            Verdict::Refused(text) => match self.reason(body, code) {
                Some(refusal) => self.refuse(&transaction, &refusal),
                None => self.pass_refusal_on(&transaction, &text, code),
            },
        }
        // Programs of the next transaction are told about that one.
        self.transaction = Some(transaction);
        self.forget_transaction();
        Ok(())
    }

    /// The fields for the top of the message.
    fn trace(&self, transaction: &Transaction) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(spf) = &transaction.spf
            && spf.result != SpfResult::None
        {
            let settings = &self.settings;
            let helo = self.hello.name.as_deref().unwrap_or(&settings.connection.remote_host);
            let (client, receiver) = (&settings.connection.remote_ip, &settings.connection.local);
            fields = received::spf(spf, helo, client, receiver, &transaction.sender);
        }
        let trace = Trace {
            remote_host: &self.settings.connection.remote_host,
            helo: self.other_name(),
            remote_info: self.remote_info.as_deref().or(transaction.claimed_user.as_deref()),
            remote_ip: &self.settings.connection.remote_ip,
            tls: self.tls.as_ref().map(|tls| tls.info.as_slice()),
            local: &self.settings.connection.local,
            protocol: &self.token(Some(transaction)),
        };
        fields.extend_from_slice(&trace.field(sys::time::now()));
        if let Some(text) = &self.settings.switches.rbl {
            fields.extend_from_slice(&received::rbl(text));
        }
        fields
    }

    /// Hands the message on as it comes in, to its end, whatever is wrong with it.
    fn body<M: Mail>(&mut self, mail: &mut M) -> Result<Body, End> {
        let limit = self.settings.databytes;
        let (mut decoder, mut hops, mut bytes) = (Decoder::default(), Hops::default(), 0u64);
        let search = std::mem::take(&mut self.rules.content);
        let base64_only = self.settings.switches.scan_base64_only && self.settings.switches.scanner.is_some();
        let scope = self.scope();
        let wanted = base64_only || !search.is_empty() && (scope.mimetypes || scope.loaders);
        let mut scanner = wanted.then(|| Scanner::new(&search, scope));
        loop {
            let progress = decoder.decode(self.input.unused(), |piece| {
                bytes = bytes.saturating_add(piece.len() as u64);
                hops.watch(piece);
                let bad = scanner.as_mut().is_some_and(|scanner| scanner.watch(piece));
                if bad || limit != 0 && bytes > limit {
                    mail.fail();
                }
                mail.put(piece);
            });
            match progress {
                Err(_) => return Err(End::BareLineFeed),
                Ok(Progress::More) => {
                    self.input.consume(usize::MAX);
                    self.fill(self.settings.timeout)?;
                }
                Ok(Progress::End(used)) => {
                    self.input.consume(used);
                    break;
                }
            }
        }
        if hops.count() >= HOPS_MAX {
            mail.fail();
        }
        let spared = base64_only && scanner.as_ref().is_some_and(|scanner| !scanner.has_seen_base64());
        let finding = scanner.map_or(Ok(None), Scanner::finding).map_err(Trouble::Content)?;
        self.rules.content = search;
        Ok(Body { bytes, hops: hops.count(), finding, scan: !spared })
    }

    /// What is looked for in this client's messages.
    fn scope(&self) -> Scope {
        let (check, stranger) = (self.settings.switches.content, self.relay.is_none());
        Scope {
            mimetypes: stranger || !check.mimetypes_from_strangers,
            loaders: stranger || !check.loaders_from_strangers,
        }
    }

    /// Why the message was refused, if this server has a reply of its own for that.
    fn reason(&self, body: Body, code: Option<u8>) -> Option<Refusal> {
        let limit = self.settings.databytes;
        if limit != 0 && body.bytes > limit {
            return Some(Refusal::TooBig);
        }
        match (body.finding, code) {
            (Some(Finding::MimeType(bytes)), _) => Some(Refusal::Content("Reject::DATA::Bad_MIME", bytes)),
            (Some(Finding::Loader(bytes)), _) => Some(Refusal::Content("Reject::DATA::Bad_Loader", bytes)),
            (None, Some(33)) => Some(Refusal::Content("Reject::DATA::Spam_Message", b"spam".to_vec())),
            (None, Some(34)) => Some(Refusal::Content("Reject::DATA::MIME_Attach", b"MIME".to_vec())),
            (None, Some(32)) => {
                let scanner = self.settings.switches.scanner.as_deref().unwrap_or(b"AV scanner");
                Some(Refusal::Content("Reject::DATA::Virus_Infected", scanner.to_vec()))
            }
            _ => None,
        }
    }

    fn refuse(&mut self, transaction: &Transaction, refusal: &Refusal) {
        if let Some((what, info)) = refusal.event() {
            let envelope = Some((transaction, transaction.first_recipient()));
            self.log(&[what.as_bytes()], envelope, info.as_deref(), None);
        }
        self.reply(&[&refusal.reply(&self.settings.switches.texts)]);
    }

    /// Passes the queue program's refusal on: `D` and a text, or `Z` and a text. The text may be a foreign program's.
    fn pass_refusal_on(&mut self, transaction: &Transaction, text: &[u8], exit: Option<u8>) {
        if exit == Some(35) {
            let envelope = Some((transaction, transaction.first_recipient()));
            self.log(&[b"Reject::DKIM::Signature"], envelope, None, None);
        }
        let (letter, text) = text.split_first().unwrap_or((&b'Z', b""));
        let code: &[u8] = if *letter == b'D' { b"554 " } else { b"451 " };
        self.reply(&[code, &printable(text)]);
    }
}
