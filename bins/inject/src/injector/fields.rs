//! The header: what becomes of each field, and which fields are new (qmail-header(5)).

use super::settings::{Settings, to_nul};
use super::{Failure, date_field, message_id_field};
use mess822::hfield::{self, Name};
use mess822::token::{self, Token};
use mess822::{list, quote};

/// For a message that names nobody in To or Cc: RFC 822 wants one of them.
const NOT_SHOWN: &[u8] = b"Cc: recipient list not shown: ;\n";

/// The header of one message, as far as it was read.
pub struct Header<'s> {
    settings: &'s Settings,
    seen: Seen,
    /// The fields that stay, rewritten, in their order.
    kept: Vec<u8>,
    sender: Option<Vec<u8>>,
    recipients: Vec<Vec<u8>>,
    resent_recipients: Vec<Vec<u8>>,
    /// The recipients in To and Cc, if there are lists to compare them with.
    shown: Vec<Vec<u8>>,
}

/// What a field's addresses are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Recipients that everybody sees: To and Cc.
    Shown,
    /// Other recipients.
    Recipient,
    /// Recipients if the message is sent again.
    Resent,
    /// The envelope sender.
    ReturnPath,
    /// People to be named, no more.
    Named,
}

impl Role {
    fn of(name: Name) -> Option<Role> {
        match name {
            Name::To | Name::Cc => Some(Role::Shown),
            Name::Bcc | Name::ApparentlyTo => Some(Role::Recipient),
            Name::ResentTo | Name::ResentCc | Name::ResentBcc => Some(Role::Resent),
            Name::ReturnPath => Some(Role::ReturnPath),
            Name::Sender | Name::From | Name::ReplyTo | Name::ReturnReceiptTo | Name::ErrorsTo => Some(Role::Named),
            Name::ResentSender | Name::ResentFrom | Name::ResentReplyTo => Some(Role::Named),
            _ => None,
        }
    }

    /// Whether a field that cannot be understood may pass as it is.
    fn may_fail(self) -> bool {
        matches!(self, Role::Shown | Role::Recipient | Role::Resent)
    }
}

/// Which fields the message has.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn add(&mut self, name: Name) {
        self.0 |= 1 << name as u8;
    }

    fn has(&self, name: Name) -> bool {
        self.0 & 1 << name as u8 != 0
    }

    /// Whether the message is one that was received and is sent on as it is.
    fn resent(&self) -> bool {
        use Name::*;
        [ResentSender, ResentFrom, ResentReplyTo, ResentTo, ResentCc, ResentBcc, ResentDate, ResentMessageId]
            .into_iter()
            .any(|name| self.has(name))
    }
}

impl<'s> Header<'s> {
    /// An empty one. `sender` is the envelope sender if the caller knows it already.
    pub fn new(settings: &'s Settings, sender: Option<Vec<u8>>) -> Header<'s> {
        Header {
            settings,
            seen: Seen::default(),
            kept: Vec::new(),
            sender,
            recipients: Vec::new(),
            resent_recipients: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// Takes the next field of the message.
    pub fn take(&mut self, mut field: Vec<u8>) -> Result<(), Failure> {
        let name = hfield::known(&field);
        let dropped = match name {
            Some(Name::From) => self.settings.drop_from,
            Some(Name::MessageId) => self.settings.drop_message_id,
            Some(Name::ReturnPath) => self.settings.drop_return_path,
            _ => false,
        };
        if dropped {
            return Ok(());
        }
        if let Some(name) = name {
            self.seen.add(name);
        }
        if let Some(role) = name.and_then(Role::of) {
            match self.rewrite(&field, role) {
                Some(rewritten) => field = rewritten,
                None if role.may_fail() => {}
                None => return Err(Failure::Unparsable(field)),
            }
        }
        if !matches!(name, Some(Name::Bcc | Name::ResentBcc | Name::ReturnPath | Name::ContentLength)) {
            self.kept.extend_from_slice(&field);
        }
        Ok(())
    }

    /// Completes the addresses of a field and notes those it needs. `None`: not understood; the addresses right of
    /// the trouble were noted.
    fn rewrite(&mut self, field: &[u8], role: Role) -> Option<Vec<u8>> {
        let settings = self.settings;
        let tokens = token::parse(field).ok()?;
        let rewritten = list::rewrite(tokens, |address| {
            settings.defaults.complete(address);
            match role {
                Role::Shown => {
                    self.recipients.push(token::unquote(address));
                    if settings.lists.is_some() {
                        self.shown.push(token::unquote(address));
                    }
                }
                Role::Recipient => self.recipients.push(token::unquote(address)),
                Role::Resent => self.resent_recipients.push(token::unquote(address)),
                Role::ReturnPath if self.sender.is_none() => self.sender = Some(return_path(address, settings.verp)),
                Role::ReturnPath | Role::Named => {}
            }
        });
        Some(token::unparse(&rewritten.ok()?))
    }

    /// The envelope sender, once all fields were taken.
    pub fn sender(&mut self) -> Result<Vec<u8>, Failure> {
        if self.sender.is_none() {
            let Settings { sender_user, sender_host, .. } = self.settings;
            let mut tokens = vec![Token::Atom(b"Return-Path".into()), Token::Colon, Token::Quoted(sender_user.into())];
            if let Some(host) = sender_host {
                tokens.extend([Token::At, Token::Atom(host.into())]);
            }
            let field = token::unparse(&tokens);
            if self.rewrite(&field, Role::ReturnPath).is_none() {
                return Err(Failure::Unparsable(field));
            }
        }
        Ok(self.sender.clone().unwrap_or_default())
    }

    /// The recipients that the header names, in the order in which they were found.
    pub fn recipients(&self) -> &[Vec<u8>] {
        if self.seen.resent() { &self.resent_recipients } else { &self.recipients }
    }

    /// The whole new header: first the fields that were missing, then those that stay.
    pub fn finish(&mut self, now: u64) -> Result<Vec<u8>, Failure> {
        use Name::*;
        let (prefix, [date, id, from, to, cc]): (&[u8], _) = if self.seen.resent() {
            (b"Resent-", [ResentDate, ResentMessageId, ResentFrom, ResentTo, ResentCc])
        } else {
            (b"", [Date, MessageId, From, To, Cc])
        };
        let mut out = Vec::with_capacity(self.kept.len() + 256);
        let mut add = |field: &[u8]| {
            out.extend_from_slice(prefix);
            out.extend_from_slice(field);
        };
        if !self.seen.has(date) {
            add(&date_field(now));
        }
        if !self.seen.has(id) {
            add(&message_id_field(now, &self.settings.id_host));
        }
        if !self.seen.has(from) {
            add(&self.author_field()?);
        }
        if !self.seen.has(to) && !self.seen.has(cc) {
            add(NOT_SHOWN);
        }
        if !self.seen.resent() {
            out.extend_from_slice(&self.followup_field());
        }
        out.append(&mut self.kept);
        Ok(out)
    }

    /// A new From field for the user. It is written, read and completed like one in the message: a host with odd bytes
    /// means the same here as there.
    fn author_field(&mut self) -> Result<Vec<u8>, Failure> {
        let Settings { user, host, full_name, name_as_comment, .. } = self.settings;
        let mut address =
            vec![if quote::is_needed(user) { Token::Quoted(user.into()) } else { Token::Atom(user.into()) }];
        if let Some(host) = host {
            address.extend([Token::At, Token::Atom(host.into())]);
        }
        let mut tokens = vec![Token::Atom(b"From".into()), Token::Colon];
        match full_name {
            None => tokens.append(&mut address),
            Some(name) if *name_as_comment => {
                tokens.append(&mut address);
                tokens.push(Token::Comment(name.into()));
            }
            Some(name) => {
                tokens.extend([Token::Quoted(name.into()), Token::Left]);
                tokens.append(&mut address);
                tokens.push(Token::Right);
            }
        }
        let field = token::unparse(&tokens);
        self.rewrite(&field, Role::Named).ok_or(Failure::Unparsable(field))
    }

    /// A new Mail-Followup-To field with all visible recipients, if one of them is a known mailing list; else nothing.
    fn followup_field(&self) -> Vec<u8> {
        let Some(lists) = &self.settings.lists else { return Vec::new() };
        if self.seen.has(Name::MailFollowupTo) || !self.shown.iter().any(|address| lists.contains(address)) {
            return Vec::new();
        }
        let shown: Vec<_> = self.shown.iter().rev().map(|address| quote::address(to_nul(address))).collect();
        [b"Mail-Followup-To: ", &shown.join(&b",\n  "[..])[..], b"\n"].concat()
    }
}

/// The envelope sender that a Return-Path names. The ending `-@[]` makes qmail-send put each recipient into it (VERP).
fn return_path(address: &[Token<'_>], verp: bool) -> Vec<u8> {
    let mut sender = token::unquote(address);
    if verp {
        sender.extend_from_slice(b"-@[]");
    }
    sender
}
