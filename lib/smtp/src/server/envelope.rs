//! MAIL and RCPT: what is checked, in which order, and what follows (spec/smtp.md 3).

use super::address::{self, Parameters, Size};
use super::host::{Found, Host, Spf, SpfQuestion, SpfResult, Wanted};
use super::input::Source;
use super::replies::Refusal;
use super::rules::Trouble;
use super::session::{End, Session};
use super::switches::{HeloCheck, LocalSender, Tarpit};
use policy::lists::{Client, Helo, Sender};
use policy::mailfromrules;
use policy::recipients::Known;
use std::io::Write;

/// Sender and recipients of one transaction, in bytes (reliability.md S11).
const ENVELOPE_MAX: usize = 1 << 20;
/// The longest value of RCPTTO (bytes). The system takes no variable over 128 KiB, and without a part of its list a
/// program would judge wrongly: a longer one is not set at all.
const RCPTTO_MAX: usize = 100_000;

const SYNTAX: &[u8] = b"555 syntax error (#5.5.4)";

/// What MAIL and RCPT have said so far.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) sender: Vec<u8>,
    /// The sender is listed; the sign of the entry.
    bad_sender: Option<u8>,
    /// The sender's domain does not exist.
    unknown_domain: bool,
    /// What LOCALMFCHECK says of the sender, if it was asked.
    local: Option<bool>,
    too_big: bool,
    pub(super) utf8: bool,
    /// Whom the client says the message is from, if nothing better is known.
    pub(super) claimed_user: Option<Vec<u8>>,
    /// How many recipients were named, refused ones too.
    count: u64,
    /// Ended by a NUL each.
    pub(super) recipients: Vec<u8>,
    pub(super) spf: Option<Spf>,
}

impl Transaction {
    pub(super) fn is_local(&self) -> bool {
        self.local == Some(true)
    }

    /// The first of the recipients.
    pub(super) fn first_recipient(&self) -> &[u8] {
        self.recipients.split(|&b| b == 0).next().unwrap_or_default()
    }
}

/// What is to be thought of a HELO name; the sign says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameVerdict {
    Good,
    Bad(u8),
    BadInDns(u8),
    Unclear,
}

/// Why a recipient is not taken: for a reason, or because the session is over.
enum Stop {
    Refused(Refusal),
    End(End),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::End(trouble.into())
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Stop {
        Stop::End(end)
    }
}

impl<S: Source, W: Write, H: Host> Session<S, W, H> {
    /// The address as it goes into the envelope; `None`: it is too long.
    fn address(&mut self, mut address: Vec<u8>) -> Result<Option<Vec<u8>>, End> {
        self.rules.name_own_literal(&mut address)?;
        Ok((address.len() <= address::ADDRESS_MAX).then_some(address))
    }

    pub(super) fn mail(&mut self, argument: &[u8]) -> Result<(), End> {
        let switches = &self.settings.switches;
        if switches.starttls.required && self.tls.is_none() {
            self.log(&[b"Reject::TLS::missing"], None, None, None);
            return self.error(b"535 STARTTLS required (#5.7.1)");
        }
        let login_required = switches.auth.is_some_and(|auth| auth.required);
        if login_required && self.user.is_none() && !self.certificate {
            self.log(&[b"Reject::AUTH::missing"], None, None, None);
            return self.error(b"535 authentication required (#5.7.1)");
        }
        let (sender, parameters) = address::parse(argument);
        let Some(sender) = self.address(sender)? else { return self.error(SYNTAX) };
        let Parameters { size, utf8, user } = address::parameters(parameters);
        let limit = self.settings.databytes;
        let too_big = match size {
            Size::Unknown => false,
            Size::Bytes(n) => limit != 0 && n > limit,
            Size::Huge => true,
            Size::Malformed => return self.error(b"501 malformed SIZE parameter (#5.5.4)"),
        };
        if utf8 && std::str::from_utf8(&sender).is_err() {
            return self.error(SYNTAX);
        }
        self.forget_transaction();
        let claimed_user = user.filter(|_| self.remote_info.is_none());
        let mut transaction = Transaction { sender, too_big, utf8, claimed_user, ..Transaction::default() };
        if !self.judge_sender(&mut transaction)? {
            self.reply(&[&Refusal::DnsTrouble.reply(&self.settings.switches.texts)]);
            return Ok(());
        }
        self.host.export(b"MAILFROM", Some(&transaction.sender));
        if let Some(user) = &transaction.claimed_user {
            self.export_user(Some(user));
        }
        self.transaction = Some(transaction);
        self.reply(&[b"250 ok"]);
        Ok(())
    }

    /// Notes what is to be said about the sender at RCPT. `false`: it can not be found out now.
    fn judge_sender(&mut self, transaction: &mut Transaction) -> Result<bool, End> {
        let sender = &transaction.sender;
        let relay = self.relay.is_some();
        if relay {
            transaction.local = self.is_own_sender(sender)?;
        }
        let host = self.known_host();
        match self.rules.bad_senders.judge(sender, Client { relay, host }) {
            Sender::Exempt => return Ok(true),
            Sender::Bad(sign) => transaction.bad_sender = Some(sign),
            Sender::Clean => {}
        }
        if self.settings.switches.sender_exists && !relay && !sender.is_empty() {
            let domain = address::domain(sender).unwrap_or(sender);
            match self.host.look_up(Wanted::Exchanger, domain) {
                Found::Yes => {}
                Found::No => transaction.unknown_domain = true,
                Found::Temporary => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The client's name in the DNS, if it has one.
    fn known_host(&self) -> Option<&[u8]> {
        Some(self.settings.connection.remote_host.as_slice()).filter(|host| !host.eq_ignore_ascii_case(b"unknown"))
    }

    /// Whether a client with the right to relay may use the sender; `None` if nobody asks, and for the null sender.
    fn is_own_sender(&mut self, sender: &[u8]) -> Result<Option<bool>, Trouble> {
        let Some(check) = self.settings.switches.local_sender.as_ref().filter(|_| !sender.is_empty()) else {
            return Ok(None);
        };
        let is = |name: Option<&[u8]>| name.is_some_and(|name| name.eq_ignore_ascii_case(sender));
        let own = match check {
            LocalSender::User => is(self.remote_info.as_deref()),
            LocalSender::Certificate => is(self.tls.as_ref().and_then(|tls| tls.email.as_deref())),
            LocalSender::Domain(domain) => {
                address::domain(sender).is_some_and(|d| d.eq_ignore_ascii_case(domain))
                    || self.rules.is_local(sender)?
            }
            LocalSender::Rules if self.rules.has_mailfromrules() => {
                let (info, ip) = (self.remote_info.as_deref(), self.settings.connection.remote_ip.as_slice());
                let client = mailfromrules::Client { info, ip, host: self.known_host() };
                self.rules.allows_sender(client, sender)?
            }
            LocalSender::Rules | LocalSender::RcptHosts => self.rules.is_local(sender)?,
        };
        Ok(Some(own))
    }

    pub(super) fn rcpt(&mut self, argument: &[u8]) -> Result<(), End> {
        let Some(mut transaction) = self.transaction.take() else {
            return self.error(b"503 MAIL first (#5.5.1)");
        };
        let answered = self.recipient(&mut transaction, argument);
        let complete = !transaction.recipients.is_empty();
        self.transaction = Some(transaction);
        answered?;
        if complete && self.input.unused().is_empty() {
            // The client makes up its mind to say DATA while the queue program starts.
            self.flush()?;
            self.host.expect_mail();
        }
        Ok(())
    }

    fn recipient(&mut self, transaction: &mut Transaction, argument: &[u8]) -> Result<(), End> {
        let (recipient, _) = address::parse(argument);
        let Some(mut recipient) = self.address(recipient)? else { return self.error(SYNTAX) };
        if transaction.utf8 && std::str::from_utf8(&recipient).is_err() {
            return self.error(SYNTAX);
        }
        transaction.count += 1;
        match self.judge(transaction, &mut recipient) {
            Ok(known) => {
                self.log_accepted(transaction, &recipient, known);
                self.reply(&[b"250 ok"]);
            }
            Err(Stop::End(end)) => return Err(end),
            Err(Stop::Refused(refusal)) => {
                if let Some((what, info)) = refusal.event() {
                    self.log(&[what.as_bytes()], Some((transaction, &recipient)), info.as_deref(), None);
                }
                self.reply(&[&refusal.reply(&self.settings.switches.texts)]);
            }
        }
        Ok(())
    }

    /// All checks of a recipient, in the order of spec/smtp.md 3.3; if none refuses it, it stands in the envelope then.
    fn judge(&mut self, transaction: &mut Transaction, recipient: &mut Vec<u8>) -> Result<Known, Stop> {
        let known = match self.relay.as_ref() {
            None => self.judge_from_stranger(transaction, recipient)?,
            Some(_) if transaction.local == Some(false) => return Err(Refusal::SenderInvalid.into()),
            Some(suffix) => {
                recipient.extend_from_slice(suffix);
                Known::NotAsked
            }
        };
        if let Some(sign) = transaction.bad_sender {
            return Err(Refusal::BadSender(sign).into());
        }
        if self.rules.refuses_recipient(recipient)? {
            return Err(Refusal::BadRecipient.into());
        }
        if transaction.too_big {
            return Err(Refusal::TooBig.into());
        }
        let most = self.settings.switches.recipients_max;
        if most > 0 && transaction.count > most {
            return Err(Refusal::ManyRecipients.into());
        }
        let list = &mut transaction.recipients;
        if transaction.sender.len() + list.len() + recipient.len() + 1 > ENVELOPE_MAX {
            return Err(Refusal::ManyRecipients.into());
        }
        list.try_reserve(recipient.len() + 1).map_err(|_| Trouble::Memory)?;
        list.extend_from_slice(recipient);
        list.push(0);
        Ok(known)
    }

    /// The checks for a client without the right to relay.
    fn judge_from_stranger(&mut self, transaction: &mut Transaction, recipient: &[u8]) -> Result<Known, Stop> {
        match self.judge_name() {
            NameVerdict::Good => {}
            NameVerdict::Bad(sign) => return Err(Refusal::Helo(sign).into()),
            NameVerdict::BadInDns(sign) => return Err(Refusal::HeloDns(sign).into()),
            NameVerdict::Unclear => return Err(Refusal::DnsTrouble.into()),
        }
        if transaction.unknown_domain {
            return Err(Refusal::SenderUnknown.into());
        }
        if !self.rules.may_send_to(recipient)? {
            return Err(Refusal::NoGateway.into());
        }
        let tarpit = self.settings.switches.tarpit;
        if tarpit.count > 0 && self.failed_recipients >= tarpit.count {
            self.notorious |= tarpit.delay == Tarpit::NOTORIOUS;
            return Err(Refusal::ManyFailed.into());
        }
        if tarpit.count > 0
            && transaction.count >= tarpit.count
            && let Some(time) = tarpit.pause()
        {
            self.flush()?;
            self.host.pause(time);
        }
        let host = &mut self.host;
        let known = self.rules.recipients.ask(recipient, |argv, address| host.ask(argv, address));
        let known = known.map_err(Trouble::Recipients)?;
        if known == Known::No {
            self.failed_recipients += 1;
            let later = self.settings.switches.mailbox_temporary;
            return Err(if later { Refusal::MailboxTemporary } else { Refusal::Mailbox }.into());
        }
        self.judge_by_spf(transaction)?;
        if let Some(server) = self.settings.switches.postgrey.clone() {
            let question = question(&self.settings, &self.hello, &transaction.sender);
            if self.host.is_greylisted(&server, &question, recipient) {
                return Err(Refusal::Greylisted.into());
            }
        }
        Ok(known)
    }

    /// Looks at the HELO name once, when it first matters: a client that logs in is spared.
    fn judge_name(&mut self) -> NameVerdict {
        let Some(check) = self.settings.switches.helo else { return NameVerdict::Good };
        if let Some(verdict) = self.hello.verdict {
            return verdict;
        }
        let verdict = self.look_at_name(check);
        self.hello.verdict = Some(verdict);
        verdict
    }

    fn look_at_name(&mut self, check: HeloCheck) -> NameVerdict {
        let sign = if let HeloCheck::Sign(sign) = check { Some(sign) } else { None };
        let Some(name) = self.hello.name.as_deref() else {
            return if sign.is_some() { NameVerdict::Bad(b'0') } else { NameVerdict::Good };
        };
        if name.is_empty() && matches!(sign, Some(b'!' | b'.')) {
            return NameVerdict::Bad(b'!');
        }
        if sign != Some(b'!') {
            match self.rules.bad_helo.judge(name) {
                Helo::Exempt => return NameVerdict::Good,
                Helo::Bad(sign) => return NameVerdict::Bad(sign),
                Helo::Clean => {}
            }
        }
        let (sign, wanted) = match sign {
            Some(b'=') if self.other_name().is_some() => return NameVerdict::BadInDns(b'='),
            Some(b'A') => (b'A', Wanted::Address),
            Some(b'M') => (b'M', Wanted::Exchanger),
            _ => return NameVerdict::Good,
        };
        let name = name.trim_ascii_end();
        let found = if name.is_empty() { Found::No } else { self.host.look_up(wanted, name) };
        match found {
            Found::Yes => NameVerdict::Good,
            Found::No => NameVerdict::BadInDns(sign),
            Found::Temporary => NameVerdict::Unclear,
        }
    }

    /// Evaluates SPF once in a transaction, and refuses what the site wants refused.
    fn judge_by_spf(&mut self, transaction: &mut Transaction) -> Result<(), Stop> {
        let level = self.settings.switches.spf;
        if level == 0 {
            return Ok(());
        }
        let spf = match &mut transaction.spf {
            Some(spf) => spf,
            unknown => {
                let question = question(&self.settings, &self.hello, &transaction.sender);
                let spf = self.host.spf(&question);
                self.host.export(b"SPFRESULT", Some(spf.result.word()));
                unknown.insert(spf)
            }
        };
        let refused_from = match spf.result {
            SpfResult::Pass => return Ok(()),
            SpfResult::TempError => u8::MAX,
            SpfResult::Fail => 3,
            SpfResult::SoftFail => 4,
            SpfResult::Neutral => 5,
            SpfResult::None | SpfResult::PermError => 6,
        };
        if level < refused_from {
            let doubtful = matches!(spf.result, SpfResult::TempError | SpfResult::PermError);
            return if doubtful && level >= 2 { Err(Refusal::SpfTrouble.into()) } else { Ok(()) };
        }
        let explained = spf.result == SpfResult::Fail && !spf.explanation.is_empty();
        let text = if explained {
            spf.explanation.clone()
        } else {
            [b"SPF ", spf.result.word(), b" for ", &transaction.sender].concat()
        };
        Err(Refusal::Spf(text).into())
    }

    /// The first reason that holds says why the recipient was taken.
    fn log_accepted(&mut self, transaction: &Transaction, recipient: &[u8], known: Known) {
        let envelope = Some((transaction, recipient));
        let by: &[u8] = match known {
            Known::InCdb => b"Recipients_Cdb",
            Known::ByProgram => b"Recipients_Pam",
            Known::Wildcard => b"Recipients_Wild",
            Known::NotAsked | Known::No => b"Rcpthosts_Rcptto",
        };
        if let Some(user) = self.user.clone() {
            self.log(&[b"Accept::AUTH::", user.method.as_bytes()], envelope, None, Some(&user.name));
        } else if transaction.is_local() {
            self.log(&[b"Accept::ORIG::Local_Sender"], envelope, None, None);
        } else if self.relay.is_some() {
            self.log(&[b"Accept::SNDR::Relay_Client"], envelope, None, None);
        } else if transaction.spf.as_ref().is_some_and(|spf| spf.result == SpfResult::Pass) {
            self.log(&[b"Accept::SPF::", by], envelope, None, None);
        } else {
            self.log(&[b"Accept::RCPT::", by], envelope, None, None);
        }
    }

    /// Lets the queue program know the recipients.
    pub(super) fn export_recipients(&mut self, transaction: &Transaction) {
        let mut list = Vec::new();
        if transaction.recipients.len() <= RCPTTO_MAX {
            if let Some(text) = &self.settings.switches.deliver_to {
                list.extend_from_slice(text);
                list.push(b' ');
            }
            list.extend(transaction.recipients.iter().map(|&b| if b == 0 { b' ' } else { b }));
        }
        self.host.export(b"RCPTTO", Some(list.as_slice()).filter(|list| !list.is_empty()));
    }
}

/// What SPF and the greylist are asked about.
fn question<'a>(
    settings: &'a super::session::Settings,
    hello: &'a super::session::Hello,
    sender: &'a [u8],
) -> SpfQuestion<'a> {
    let helo = hello.name.as_deref().unwrap_or(&settings.connection.remote_host);
    SpfQuestion {
        ip: &settings.connection.remote_ip,
        host: &settings.connection.remote_host,
        helo,
        sender,
        receiver: &settings.connection.local,
    }
}
