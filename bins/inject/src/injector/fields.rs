//! The header: what becomes of each field, and which fields are new (qmail-header(5)).

use super::settings::{Settings, to_nul};
use super::{Failure, date_field, message_id_field};
use mess822::hfield::{self, Name};
use mess822::token::{self, Pile, Token};
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
    recipients: Addresses,
    resent_recipients: Addresses,
    /// The recipients in To and Cc, if there are lists to compare them with.
    shown: Addresses,
}

/// Addresses in a row, each ended by a NUL, as in envelopes: a header can name half a million.
#[derive(Default)]
struct Addresses(Vec<u8>);

impl Addresses {
    fn add(&mut self, address: &[Token<'_>]) {
        self.0.extend_from_slice(to_nul(&token::unquote(address)));
        self.0.push(0);
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.strip_suffix(b"\0").map(|all| all.split(|&b| b == 0)).into_iter().flatten()
    }
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
            recipients: Addresses::default(),
            resent_recipients: Addresses::default(),
            shown: Addresses::default(),
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
        let tokens = Pile::parse(field).ok()?;
        let rewritten = list::rewrite(&tokens, |address| {
            settings.defaults.complete(address);
            match role {
                Role::Shown => {
                    self.recipients.add(address);
                    if settings.lists.is_some() {
                        self.shown.add(address);
                    }
                }
                Role::Recipient => self.recipients.add(address),
                Role::Resent => self.resent_recipients.add(address),
                Role::ReturnPath if self.sender.is_none() => self.sender = Some(return_path(address, settings.verp)),
                Role::ReturnPath | Role::Named => {}
            }
        });
        let rewritten = rewritten.ok()?;
        drop(tokens);
        Some(token::unparse(rewritten.from_top()))
    }

    /// The envelope sender, once all fields were taken.
    pub fn sender(&mut self) -> Result<Vec<u8>, Failure> {
        if self.sender.is_none() {
            let Settings { sender_user, sender_host, .. } = self.settings;
            let mut tokens = vec![Token::Atom(b"Return-Path".into()), Token::Colon, Token::Quoted(sender_user.into())];
            if let Some(host) = sender_host {
                tokens.extend([Token::At, Token::Atom(host.into())]);
            }
            let field = token::unparse(tokens);
            if self.rewrite(&field, Role::ReturnPath).is_none() {
                return Err(Failure::Unparsable(field));
            }
        }
        Ok(self.sender.clone().unwrap_or_default())
    }

    /// The recipients that the header names, in the order in which they were found.
    pub fn recipients(&self) -> impl Iterator<Item = &[u8]> {
        if self.seen.resent() { self.resent_recipients.iter() } else { self.recipients.iter() }
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
        let field = token::unparse(tokens);
        self.rewrite(&field, Role::Named).ok_or(Failure::Unparsable(field))
    }

    /// A new Mail-Followup-To field with all visible recipients, if one of them is a known mailing list; else nothing.
    /// An address with a newline would end the field: it is left out.
    fn followup_field(&self) -> Vec<u8> {
        let Some(lists) = &self.settings.lists else { return Vec::new() };
        if self.seen.has(Name::MailFollowupTo) || !self.shown.iter().any(|address| lists.contains(address)) {
            return Vec::new();
        }
        let shown = self.shown.iter().rev().filter(|address| !address.contains(&b'\n'));
        let shown: Vec<_> = shown.map(quote::address).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use mess822::header::Fields;
    use proptest::prelude::*;
    use std::path::Path;
    use sys::env::Env;

    const NOW: u64 = 812_090_814;

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let mut env = Env::default();
        for (name, value) in
            [("QMAILDEFAULTHOST", "h.test"), ("QMAILDEFAULTDOMAIN", "d.test"), ("QMAILIDHOST", "id")].iter().chain(vars)
        {
            env.set(name.as_bytes(), value.as_bytes());
        }
        Settings::load(&env, Path::new("/nonexistent"), None, NOW).unwrap()
    }

    /// Sender, recipients and new header.
    type Injected = (Vec<u8>, Vec<Vec<u8>>, Vec<u8>);

    /// What becomes of a message's header.
    fn inject(settings: &Settings, header: &[u8]) -> Result<Injected, Failure> {
        let mut fields = Fields::new(header, 1 << 20);
        let mut h = Header::new(settings, None);
        while let Some(field) = fields.next_field().unwrap() {
            h.take(field)?;
        }
        let sender = h.sender()?;
        let out = h.finish(NOW)?;
        Ok((sender, h.recipients().map(<[u8]>::to_vec).collect(), out))
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn missing_fields_are_made() {
        let s = settings(&[("USER", "u")]);
        let (sender, recipients, out) = inject(&s, b"Subject: x\n").unwrap();
        assert_eq!((sender.as_slice(), recipients.len()), (&b"u@h.test"[..], 0));
        let pid = std::process::id();
        let expected = format!(
            "Date: 26 Sep 1995 04:46:54 -0000\nMessage-ID: <19950926044654.{pid}.qmail@id>\n\
             From: u@h.test\nCc: recipient list not shown: ;\nSubject: x\n"
        );
        assert_eq!(text(&out), expected);
    }

    #[test]
    fn resent_messages_get_resent_fields_and_recipients() {
        let s = settings(&[("USER", "u")]);
        let (_, recipients, out) = inject(&s, b"To: a@b.test\nResent-Bcc: c\nFrom: x\n").unwrap();
        assert_eq!(recipients, [b"c@h.test".to_vec()]);
        let out = text(&out);
        assert!(out.starts_with("Resent-Date: "), "{out}");
        assert!(out.ends_with(
            "Resent-From: u@h.test\nResent-Cc: recipient list not shown: ;\nTo: a@b.test\nFrom: x@h.test\n"
        ));
    }

    #[test]
    fn the_author_is_written_as_the_environment_says() {
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("USER", "u"), ("NAME", "N")], "\"N\" <u@h.test>"),
            (&[("USER", "u"), ("NAME", "N"), ("QMAILINJECT", "c")], "u@h.test (N)"),
            (&[("USER", "u v"), ("MAILHOST", "x")], "\"u v\"@x.d.test"),
            (&[("USER", ""), ("MAILHOST", "x.y")], "\"\"@x.y"),
            (&[("USER", "u"), ("NAME", "a\nBcc: b")], "\"a Bcc: b\" <u@h.test>"),
        ];
        for (vars, from) in rows {
            let (.., out) = inject(&settings(vars), b"To: x@y.z\nDate:\nMessage-Id:\n").unwrap();
            assert_eq!(text(&out), format!("From: {from}\nTo: x@y.z\nDate:\nMessage-Id:\n"));
        }
        let hostile = settings(&[("USER", "u"), ("MAILHOST", "(")]);
        // The backslash that keeps the parenthesis from beginning a comment is written, too.
        let (sender, _, out) = inject(&hostile, b"To: x@y.z\n").unwrap();
        assert_eq!(text(&sender), "u@(.d.test");
        assert!(text(&out).contains("From: u@\\(.d.test\n"));
    }

    #[test]
    fn recipient_fields_may_be_broken_and_others_may_not() {
        let s = settings(&[]);
        for name in ["To", "Cc", "Bcc", "Apparently-To", "Resent-To", "Resent-Cc", "Resent-Bcc"] {
            assert!(inject(&s, format!("{name}: a (\n").as_bytes()).is_ok(), "{name}");
        }
        for name in ["From", "Sender", "Reply-To", "Errors-To", "Return-Path", "Return-Receipt-To", "Resent-From"] {
            let field = format!("{name}: a (\n");
            assert!(matches!(inject(&s, field.as_bytes()), Err(Failure::Unparsable(f)) if f == field.as_bytes()));
        }
        // A backslash at the end of a line takes the newline along, which must not end the header.
        let (.., out) = inject(&s, b"To: \\\nCc: a\n").unwrap();
        assert!(text(&out).ends_with("To: \"\\\n \"@h.test\nCc: a@h.test\n"));
        let (_, recipients, out) = inject(&s, b"To: a, b: c, d\n").unwrap();
        assert_eq!(recipients, [b"d@h.test".to_vec(), b"c@h.test".to_vec()]);
        assert!(text(&out).ends_with("To: a, b: c, d\n"));
    }

    fn header_text() -> impl Strategy<Value = Vec<u8>> {
        let names = ["To", "Cc", "Bcc", "From", "Reply-To", "Return-Path", "Resent-To", "Resent-Date", "X", "From me"];
        let piece = prop_oneof![
            4 => proptest::sample::select(names.to_vec()).prop_map(|n| format!("\n{n}: ").into_bytes()),
            4 => "[a-z]{1,5}(@[a-z]{1,5}(\\.[a-z]{1,3})?\\+?)?".prop_map(String::into_bytes),
            3 => proptest::sample::select(vec![", ", "<", ">", ":", ";", "\n ", "(c)", "\"q q\"", "@", "."])
                .prop_map(|s| s.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|b| vec![b]),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|p| p.concat().trim_ascii_start().to_vec())
    }

    proptest! {
        #[test]
        fn no_header_makes_the_injector_panic_and_its_result_is_complete(header in header_text()) {
            let s = settings(&[("USER", "u"), ("NAME", "N")]);
            if let Ok((_, _, out)) = inject(&s, &header) {
                let mut again = Fields::new(&out[..], 1 << 20);
                let mut names = Vec::new();
                while let Some(field) = again.next_field().unwrap() {
                    names.extend(hfield::known(&field));
                }
                // All that was written is header, and nothing that must not be shown is in it.
                prop_assert_eq!(again.into_body().0, b"");
                let has = |n: &[Name]| n.iter().any(|n| names.contains(n));
                prop_assert!(!has(&[Name::Bcc, Name::ResentBcc, Name::ReturnPath]));
                prop_assert!(has(&[Name::Date, Name::ResentDate]));
                prop_assert!(has(&[Name::From, Name::ResentFrom]));
                prop_assert!(has(&[Name::To, Name::Cc, Name::ResentTo, Name::ResentCc]));
            }
        }

        #[test]
        fn injecting_again_finds_the_same_visible_recipients(
            list in "[a-z]{1,4}(@[a-z]{1,4}){0,1}(, ?<?[a-z. ]{1,6}>?){0,6}",
        ) {
            let s = settings(&[]);
            let (_, first, out) = inject(&s, format!("To: {list}\n").as_bytes()).unwrap();
            let (_, second, _) = inject(&s, &out).unwrap();
            let real = |l: Vec<Vec<u8>>| l.into_iter().filter(|a| !a.is_empty()).collect::<Vec<_>>();
            if list.matches('<').count() == list.matches('>').count() {
                prop_assert_eq!(real(first), real(second));
            }
        }
    }
}
