//! The switches of a site for its server: what the environment says (spec/environment.md 2).

use std::time::Duration;

/// How TLS may begin, by UCSPITLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartTls {
    /// STARTTLS is offered.
    pub offered: bool,
    /// There is no MAIL and no AUTH without TLS.
    pub required: bool,
    /// A client certificate gives the right to relay.
    pub certificate_relays: bool,
    /// It also says who the client is.
    pub certificate_names: bool,
}

impl StartTls {
    /// What a value of UCSPITLS asks for.
    pub fn parse(value: Option<&[u8]>) -> StartTls {
        let Some(value) = value.filter(|v| *v != b"-") else { return StartTls::default() };
        StartTls {
            offered: true,
            required: matches!(value, b"!" | b"@"),
            certificate_relays: matches!(value, b"?" | b"@"),
            certificate_names: value == b"@",
        }
    }
}

/// Which ways to log in are offered, by SMTPAUTH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// LOGIN and PLAIN.
    pub plain: bool,
    /// CRAM-MD5.
    pub cram: bool,
    /// SCRAM-SHA-256.
    pub scram: bool,
    /// There is no MAIL without it.
    pub required: bool,
}

impl Auth {
    /// What a value of SMTPAUTH asks for: `!` requires, `+` adds to LOGIN and PLAIN, `cram` and `scram` name what else
    /// there is. Anything that names neither is LOGIN and PLAIN.
    pub fn parse(value: Option<&[u8]>) -> Option<Auth> {
        let value = value.filter(|v| *v != b"-")?;
        let (required, rest) = value.strip_prefix(b"!").map_or((false, value), |rest| (true, rest));
        let begins = |word: &[u8], name: &[u8]| word.get(..name.len()).is_some_and(|w| w.eq_ignore_ascii_case(name));
        let has = |name: &[u8]| rest.split(|&b| b == b'+').any(|word| begins(word, name));
        let (cram, scram) = (has(b"cram"), has(b"scram"));
        Some(Auth { plain: rest.first() == Some(&b'+') || !(cram || scram), cram, scram, required })
    }

    /// The keyword line of EHLO, without its code.
    pub fn keywords(self) -> String {
        let names = [(self.plain, " LOGIN PLAIN"), (self.cram, " CRAM-MD5"), (self.scram, " SCRAM-SHA-256")];
        names.into_iter().filter(|n| n.0).fold("AUTH".to_string(), |line, name| line + name.1)
    }
}

/// What a HELO name must be like, by HELOCHECK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeloCheck {
    /// Not in badhelo.
    Listed,
    /// One character: it must be given, and more depending on the character.
    Sign(u8),
}

impl HeloCheck {
    /// What a value of HELOCHECK asks for.
    pub fn parse(value: Option<&[u8]>) -> Option<HeloCheck> {
        value.map(|v| if let [sign] = v { HeloCheck::Sign(*sign) } else { HeloCheck::Listed })
    }
}

/// Which senders a client with the right to relay may use, by LOCALMFCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalSender {
    /// Those in rcpthosts.
    RcptHosts,
    /// Those in this domain, or in rcpthosts.
    Domain(Vec<u8>),
    /// Those that mailfromrules allows.
    Rules,
    /// The name of the user.
    User,
    /// The address in the client's certificate.
    Certificate,
}

impl LocalSender {
    /// What a value of LOCALMFCHECK asks for.
    pub fn parse(value: Option<&[u8]>) -> Option<LocalSender> {
        Some(match value? {
            b"!" => LocalSender::Rules,
            b"=" => LocalSender::User,
            b"?" => LocalSender::Certificate,
            [_, _, ..] => LocalSender::Domain(value.unwrap_or_default().to_vec()),
            _ => LocalSender::RcptHosts,
        })
    }
}

/// What is looked for in base64 parts, by BADMIMETYPE and BADLOADERTYPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentCheck {
    /// badmimetypes.cdb is asked.
    pub mimetypes: bool,
    /// Blanks in base64 are not taken.
    pub blanks: bool,
    /// Clients with the right to relay are spared both.
    pub mimetypes_from_strangers: bool,
    /// The byte that loaders begin with; badloadertypes.cdb is asked.
    pub loader: Option<u8>,
    /// Clients with the right to relay are spared that.
    pub loaders_from_strangers: bool,
}

impl ContentCheck {
    /// What the two values ask for.
    pub fn parse(mimetype: Option<&[u8]>, loadertype: Option<&[u8]>) -> ContentCheck {
        let mimetype = mimetype.filter(|v| *v != b"-");
        let loadertype = loadertype.filter(|v| *v != b"-").unwrap_or_default();
        let loader = loadertype.strip_prefix(b"+").unwrap_or(loadertype);
        ContentCheck {
            mimetypes: mimetype.is_some(),
            blanks: matches!(mimetype, Some(b"!" | b"+")),
            mimetypes_from_strangers: mimetype == Some(b"+"),
            loader: loader.first().copied(),
            loaders_from_strangers: loadertype.first() == Some(&b'+'),
        }
    }
}

/// What happens to a client that asks for many recipients, by TARPITCOUNT and TARPITDELAY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tarpit {
    /// From so many recipients on; 0: never.
    pub count: u64,
    /// The wait before each answer in seconds; 999 stands for no patience at all.
    pub delay: u64,
}

impl Tarpit {
    /// This delay is none: the next DATA ends the session.
    pub const NOTORIOUS: u64 = 999;

    /// How long to wait.
    pub fn pause(self) -> Option<Duration> {
        (1..Tarpit::NOTORIOUS).contains(&self.delay).then(|| Duration::from_secs(self.delay))
    }
}

/// A site's own words in replies, by the REPLY_ variables.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// REPLY_HELO
    pub helo: Option<Vec<u8>>,
    /// REPLY_MAILBOX
    pub mailbox: Option<Vec<u8>>,
    /// REPLY_MAXSIZE
    pub maxsize: Option<Vec<u8>>,
    /// REPLY_BADMAILFROM
    pub badmailfrom: Option<Vec<u8>>,
    /// REPLY_BADRCPTTO
    pub badrcptto: Option<Vec<u8>>,
    /// REPLY_SENDEREXIST
    pub senderexist: Option<Vec<u8>>,
    /// REPLY_SENDERINVALID
    pub senderinvalid: Option<Vec<u8>>,
    /// REPLY_NOGATEWAY
    pub nogateway: Option<Vec<u8>>,
    /// REPLY_CONTENT
    pub content: Option<Vec<u8>>,
    /// REPLY_GREYLISTED
    pub greylisted: Option<Vec<u8>>,
}

/// All switches.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// STARTTLS.
    pub starttls: StartTls,
    /// AUTH; `None`: not offered.
    pub auth: Option<Auth>,
    /// Checks of the HELO name.
    pub helo: Option<HeloCheck>,
    /// The sender's domain must exist.
    pub sender_exists: bool,
    /// Checks of the sender of a client with the right to relay.
    pub local_sender: Option<LocalSender>,
    /// An unknown mailbox may be known later.
    pub mailbox_temporary: bool,
    /// The most recipients of a message; 0: the envelope's size is the limit.
    pub recipients_max: u64,
    /// Slowing down.
    pub tarpit: Tarpit,
    /// What is looked for in messages.
    pub content: ContentCheck,
    /// Messages without base64 are not to be scanned.
    pub scan_base64_only: bool,
    /// The scanner, for the log.
    pub scanner: Option<Vec<u8>>,
    /// From which result of SPF on mail is refused, 0 to 6; 0 is no SPF.
    pub spf: u8,
    /// Where the greylist is asked.
    pub postgrey: Option<Vec<u8>>,
    /// Stands before the recipients in RCPTTO.
    pub deliver_to: Option<Vec<u8>>,
    /// What rblsmtpd found.
    pub rbl: Option<Vec<u8>>,
    /// Own words.
    pub texts: Texts,
}

impl Switches {
    /// Reads the variables through `get`. `None`: SPF has a number that means nothing. Without SPF, SPFBEHAVIOR counts,
    /// as other patched servers call it.
    pub fn read(get: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Switches> {
        let number = |name: &[u8]| get(name).and_then(|value| control::leading_number(&value)).unwrap_or(0);
        let set = |name: &[u8]| get(name).is_some();
        let spf = get(b"SPF").or_else(|| get(b"SPFBEHAVIOR"));
        let spf = spf.map_or(0, |value| control::leading_number(&value).unwrap_or(0));
        Some(Switches {
            starttls: StartTls::parse(get(b"UCSPITLS").as_deref()),
            auth: Auth::parse(get(b"SMTPAUTH").as_deref()),
            helo: HeloCheck::parse(get(b"HELOCHECK").as_deref()),
            sender_exists: set(b"MFDNSCHECK"),
            local_sender: LocalSender::parse(get(b"LOCALMFCHECK").as_deref()),
            mailbox_temporary: set(b"RECIPIENTS450"),
            recipients_max: number(b"MAXRECIPIENTS"),
            tarpit: Tarpit { count: number(b"TARPITCOUNT"), delay: number(b"TARPITDELAY") },
            content: ContentCheck::parse(get(b"BADMIMETYPE").as_deref(), get(b"BADLOADERTYPE").as_deref()),
            scan_base64_only: set(b"BASE64"),
            scanner: get(b"QHPSI").filter(|value| !value.is_empty()),
            spf: u8::try_from(spf).ok().filter(|level| *level <= 6)?,
            postgrey: get(b"POSTGREY").filter(|value| !value.is_empty()),
            deliver_to: get(b"DELIVERTO"),
            rbl: get(b"RBLSMTPD").filter(|value| !value.is_empty()),
            texts: Texts {
                helo: get(b"REPLY_HELO"),
                mailbox: get(b"REPLY_MAILBOX"),
                maxsize: get(b"REPLY_MAXSIZE"),
                badmailfrom: get(b"REPLY_BADMAILFROM"),
                badrcptto: get(b"REPLY_BADRCPTTO"),
                senderexist: get(b"REPLY_SENDEREXIST"),
                senderinvalid: get(b"REPLY_SENDERINVALID"),
                nogateway: get(b"REPLY_NOGATEWAY"),
                content: get(b"REPLY_CONTENT"),
                greylisted: get(b"REPLY_GREYLISTED"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_smtpauth() {
        let rows = [
            (None, None),
            (Some("-"), None),
            (Some(""), Some("AUTH LOGIN PLAIN")),
            (Some("yes"), Some("AUTH LOGIN PLAIN")),
            (Some("!"), Some("! AUTH LOGIN PLAIN")),
            (Some("cram"), Some("AUTH CRAM-MD5")),
            (Some("CRAM-MD5"), Some("AUTH CRAM-MD5")),
            (Some("+cram"), Some("AUTH LOGIN PLAIN CRAM-MD5")),
            (Some("!cram"), Some("! AUTH CRAM-MD5")),
            (Some("!+Cram"), Some("! AUTH LOGIN PLAIN CRAM-MD5")),
            (Some("scram"), Some("AUTH SCRAM-SHA-256")),
            (Some("+scram"), Some("AUTH LOGIN PLAIN SCRAM-SHA-256")),
            (Some("!scram"), Some("! AUTH SCRAM-SHA-256")),
            (Some("!+scram"), Some("! AUTH LOGIN PLAIN SCRAM-SHA-256")),
            (Some("cram+scram"), Some("AUTH CRAM-MD5 SCRAM-SHA-256")),
            (Some("+cram+scram"), Some("AUTH LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256")),
            (Some("!+scram+cram"), Some("! AUTH LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256")),
        ];
        for (value, expected) in rows {
            let auth = Auth::parse(value.map(str::as_bytes));
            let shown = auth.map(|a| if a.required { format!("! {}", a.keywords()) } else { a.keywords() });
            assert_eq!(shown.as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn values_of_ucspitls() {
        let rows = [
            (None, (false, false, false, false)),
            (Some("-"), (false, false, false, false)),
            (Some(""), (true, false, false, false)),
            (Some("yes"), (true, false, false, false)),
            (Some("!"), (true, true, false, false)),
            (Some("?"), (true, false, true, false)),
            (Some("@"), (true, true, true, true)),
        ];
        for (value, expected) in rows {
            let t = StartTls::parse(value.map(str::as_bytes));
            assert_eq!((t.offered, t.required, t.certificate_relays, t.certificate_names), expected, "{value:?}");
        }
    }

    #[test]
    fn values_of_the_content_switches() {
        let rows = [
            (None, None, "- -"),
            (Some("-"), Some("-"), "- -"),
            (Some(""), Some(""), "cdb -"),
            (Some("x"), Some("M"), "cdb M"),
            (Some("!"), Some("+M"), "cdb+blanks M:strangers"),
            (Some("+"), Some("+"), "cdb+blanks:strangers -:strangers"),
        ];
        for (mimetype, loadertype, expected) in rows {
            let c = ContentCheck::parse(mimetype.map(str::as_bytes), loadertype.map(str::as_bytes));
            let mut shown = if c.mimetypes { "cdb".to_string() } else { "-".to_string() };
            shown += if c.blanks { "+blanks" } else { "" };
            shown += if c.mimetypes_from_strangers { ":strangers" } else { "" };
            shown = format!("{shown} {}", c.loader.map_or('-', char::from));
            shown += if c.loaders_from_strangers { ":strangers" } else { "" };
            assert_eq!(shown, expected, "{mimetype:?} {loadertype:?}");
        }
    }

    #[test]
    fn values_of_spf() {
        let level = |name: &str, value: &str| {
            Switches::read(|n| (n == name.as_bytes()).then(|| value.as_bytes().to_vec())).map(|s| s.spf)
        };
        let rows = [("0", Some(0)), ("3", Some(3)), ("6", Some(6)), ("7", None), ("", Some(0)), ("999", None)];
        for (value, expected) in rows {
            assert_eq!(level("SPF", value), expected, "{value}");
            assert_eq!(level("SPFBEHAVIOR", value), expected, "{value}");
        }
    }
}
