//! The words of a verdict: for logs and variables, for the header of a message, for the client.

use crate::{Outcome, Query, Verdict};
use std::net::IpAddr;

/// What a server at some level of strictness does with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The recipient is taken.
    Accept,
    /// The client is to come again: [`DEFERRAL`].
    Defer,
    /// The recipient is refused: [`refusal`].
    Refuse,
}

/// The highest level of strictness.
pub const LEVEL_MAX: u64 = 6;

/// The reply to a recipient when nobody can say whether the client may send.
pub const DEFERRAL: &[u8] = b"451 SPF lookup failure (#4.3.0)\r\n";

/// What level `level` of the variable SPF does with an outcome (spec/environment.md 2).
pub fn action(level: u64, outcome: Outcome) -> Action {
    let refused_from = match outcome {
        Outcome::Pass | Outcome::TempError => u64::MAX,
        Outcome::Fail => 3,
        Outcome::SoftFail => 4,
        Outcome::Neutral => 5,
        Outcome::None | Outcome::PermError => 6,
    };
    match outcome {
        _ if level >= refused_from => Action::Refuse,
        Outcome::TempError | Outcome::PermError if level >= 2 => Action::Defer,
        _ => Action::Accept,
    }
}

impl Outcome {
    /// The word in SPFRESULT, in log lines and from spfquery.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::None => "none",
            Outcome::PermError => "unknown",
            Outcome::Neutral => "neutral",
            Outcome::SoftFail => "softfail",
            Outcome::Fail => "fail",
            Outcome::TempError => "error",
        }
    }

    /// The outcome of that word.
    pub fn of_word(word: &[u8]) -> Option<Outcome> {
        use Outcome::{Fail, Neutral, None, Pass, PermError, SoftFail, TempError};
        let all = [Pass, None, PermError, Neutral, SoftFail, Fail, TempError];
        all.into_iter().find(|outcome| outcome.word().as_bytes() == word)
    }
}

/// The letter of an outcome in the trail.
pub(crate) fn letter(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => b'+',
        Outcome::None => b'o',
        Outcome::PermError => b'e',
        Outcome::Neutral => b'?',
        Outcome::SoftFail => b'~',
        Outcome::Fail => b'-',
        Outcome::TempError => b't',
    }
}

/// The header field Received-SPF, with its newlines (spec/smtp.md 4.2). Empty if the domain says nothing.
pub fn received_spf(verdict: &Verdict, query: &Query<'_>) -> Vec<u8> {
    if verdict.outcome == Outcome::None {
        return Vec::new();
    }
    field(verdict, query)
}

/// The field for every outcome.
fn field(verdict: &Verdict, query: &Query<'_>) -> Vec<u8> {
    let client = query.ip.to_canonical().to_string();
    let domain = if verdict.domain.is_empty() { b"unknown" } else { verdict.domain.as_slice() };
    let or_unknown = |text: &[u8]| if text.is_empty() { b"unknown".to_vec() } else { safe(text) };
    let (h, d, c) = (or_unknown(query.helo), safe(domain), client.as_bytes());
    let text: Vec<&[u8]> = match verdict.outcome {
        Outcome::Pass => {
            let (r, f) = (or_unknown(query.receiver), safe(query.sender));
            let parts: [&[u8]; 13] = [
                b"pass (",
                &h,
                b": domain of ",
                &d,
                b"\n  designates ",
                c,
                b" as permitted sender)\n  receiver=",
                &r,
                b"; client-ip=",
                c,
                b"\n  envelope-from=<",
                &f,
                b">\n",
            ];
            return [&b"Received-SPF: "[..], &parts.concat()].concat();
        }
        Outcome::Fail => {
            vec![b"fail (", &h, b": domain of ", &d, b"\n  does not designate ", c, b" as permitted sender)\n"]
        }
        Outcome::SoftFail => vec![
            b"softfail (",
            &h,
            b": domain of transitioning ",
            &d,
            b"\n  does not designate ",
            c,
            b" as permitted sender)\n",
        ],
        Outcome::Neutral => {
            vec![b"neutral (", &h, b"; client-ip=", c, b" is neither permitted\n  nor denied by domain of ", &d, b")\n"]
        }
        Outcome::None => {
            vec![b"none (", &h, b": domain of ", &d, b" does\n  not designate permitted sender hosts)\n"]
        }
        Outcome::TempError | Outcome::PermError => {
            let word: &[u8] = if verdict.outcome == Outcome::TempError { b"temperror (" } else { b"permerror (" };
            let (p, m) = (or_unknown(&verdict.problem), or_unknown(&verdict.mechanism));
            let parts: [&[u8]; 9] =
                [word, &h, b": domain of ", &d, b" evaluated\n  with error: ", &p, b" for mechanism: ", &m, b")\n"];
            return [&b"Received-SPF: "[..], &parts.concat()].concat();
        }
    };
    [&b"Received-SPF: "[..], &text.concat()].concat()
}

/// The longest text in one line of a reply, in bytes: with code and line end within RFC 5321 4.5.3.1.5.
const REPLY_TEXT_MAX: usize = 480;

/// The reply to a recipient that is refused for `verdict`, with its line ends: as many lines as the text needs.
pub fn refusal(verdict: &Verdict, sender: &[u8]) -> Vec<u8> {
    let text = match verdict.outcome {
        Outcome::Fail => verdict.explanation.clone(),
        outcome => [b"SPF ", outcome.word().as_bytes(), b" for ", &visible(sender)].concat(),
    };
    let mut reply = Vec::with_capacity(text.len() + 32);
    let mut rest = text.as_slice();
    while rest.len() > REPLY_TEXT_MAX {
        // At a blank, if there is one not too early.
        let room = rest.get(..REPLY_TEXT_MAX).unwrap_or_default();
        let cut = room.iter().rposition(|&b| b == b' ').filter(|&at| at > REPLY_TEXT_MAX / 2).unwrap_or(REPLY_TEXT_MAX);
        let (line, after) = rest.split_at(cut);
        reply.extend_from_slice(&[b"550-", line, b"\r\n"].concat());
        rest = after.strip_prefix(b" ").unwrap_or(after);
    }
    reply.extend_from_slice(&[b"550 ", rest, b" (#5.7.1)\r\n"].concat());
    reply
}

/// A stranger's text on one line of visible ASCII: all else is a question mark.
pub(crate) fn visible(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if (b' '..=b'~').contains(&b) { b } else { b'?' }).collect()
}

/// A stranger's text fit for a header field, as in Received (spec/smtp.md 4.1).
fn safe(text: &[u8]) -> Vec<u8> {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b" .@%+/=:-".contains(&b);
    text.iter().map(|&b| if keep(b) { b } else { b'?' }).collect()
}

/// Whether `ip` is one of the addresses of this host, `own`: then there is nothing to check.
pub fn is_loopback(ip: IpAddr, own: &[IpAddr]) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || own.contains(&ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict {
            outcome,
            domain: b"d.test".to_vec(),
            problem: b"syntax error".to_vec(),
            mechanism: b"ip4".to_vec(),
            explanation: b"Go away.".to_vec(),
            ..Verdict::loopback("192.0.2.1".parse().unwrap())
        }
    }

    #[test]
    fn received_spf_has_a_form_for_each_result() {
        let mut query = Query::new("192.0.2.1".parse().unwrap(), b"h.test", b"f@d.test");
        query.receiver = b"r.test";
        for (outcome, expected) in [
            (
                Outcome::Pass,
                "pass (h.test: domain of d.test\n  designates 192.0.2.1 as permitted sender)\n  \
                 receiver=r.test; client-ip=192.0.2.1\n  envelope-from=<f@d.test>\n",
            ),
            (Outcome::Fail, "fail (h.test: domain of d.test\n  does not designate 192.0.2.1 as permitted sender)\n"),
            (
                Outcome::SoftFail,
                "softfail (h.test: domain of transitioning d.test\n  does not designate 192.0.2.1 as permitted \
                 sender)\n",
            ),
            (
                Outcome::Neutral,
                "neutral (h.test; client-ip=192.0.2.1 is neither permitted\n  nor denied by domain of d.test)\n",
            ),
            (Outcome::None, "none (h.test: domain of d.test does\n  not designate permitted sender hosts)\n"),
            (
                Outcome::TempError,
                "temperror (h.test: domain of d.test evaluated\n  with error: syntax error for mechanism: ip4)\n",
            ),
            (
                Outcome::PermError,
                "permerror (h.test: domain of d.test evaluated\n  with error: syntax error for mechanism: ip4)\n",
            ),
        ] {
            let text = String::from_utf8(field(&verdict(outcome), &query)).unwrap();
            assert_eq!(text, format!("Received-SPF: {expected}"));
            let written = received_spf(&verdict(outcome), &query);
            assert_eq!(written.is_empty(), outcome == Outcome::None);
        }
    }

    #[test]
    fn strangers_cannot_write_a_header() {
        let query = Query::new("::ffff:192.0.2.1".parse().unwrap(), b"h\r\nX: y", b"a\n\"(b)@d.test");
        let mut pass = verdict(Outcome::Pass);
        pass.domain = b"d\0\xff.test".to_vec();
        let text = String::from_utf8(received_spf(&pass, &query)).unwrap();
        let expected = "Received-SPF: pass (h??X: y: domain of d??.test\n  designates 192.0.2.1 as permitted sender)\n  \
                        receiver=unknown; client-ip=192.0.2.1\n  envelope-from=<a???b?@d.test>\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn words_and_levels() {
        use Action::{Accept, Defer, Refuse};
        for (outcome, word, actions) in [
            (Outcome::Pass, "pass", [Accept; 7]),
            (Outcome::None, "none", [Accept, Accept, Accept, Accept, Accept, Accept, Refuse]),
            (Outcome::PermError, "unknown", [Accept, Accept, Defer, Defer, Defer, Defer, Refuse]),
            (Outcome::Neutral, "neutral", [Accept, Accept, Accept, Accept, Accept, Refuse, Refuse]),
            (Outcome::SoftFail, "softfail", [Accept, Accept, Accept, Accept, Refuse, Refuse, Refuse]),
            (Outcome::Fail, "fail", [Accept, Accept, Accept, Refuse, Refuse, Refuse, Refuse]),
            (Outcome::TempError, "error", [Accept, Accept, Defer, Defer, Defer, Defer, Defer]),
        ] {
            assert_eq!(outcome.word(), word);
            assert_eq!(Outcome::of_word(word.as_bytes()), Some(outcome));
            for (level, expected) in (0..=LEVEL_MAX).zip(actions) {
                assert_eq!(action(level, outcome), expected, "{word} at {level}");
            }
        }
        assert_eq!(Outcome::of_word(b"loopback"), None);
    }

    #[test]
    fn refusals_name_the_reason() {
        let text = |outcome, sender: &[u8]| String::from_utf8(refusal(&verdict(outcome), sender)).unwrap();
        assert_eq!(text(Outcome::Fail, b"f@d.test"), "550 Go away. (#5.7.1)\r\n");
        assert_eq!(text(Outcome::SoftFail, b"f@d.test"), "550 SPF softfail for f@d.test (#5.7.1)\r\n");
        assert_eq!(text(Outcome::Neutral, b""), "550 SPF neutral for  (#5.7.1)\r\n");
        assert_eq!(text(Outcome::None, b"a\r\nb"), "550 SPF none for a??b (#5.7.1)\r\n");
        let mut long = verdict(Outcome::Fail);
        long.explanation = [b"word ".repeat(100), b"x".repeat(499)].concat();
        let reply = refusal(&long, b"");
        let lines: Vec<&[u8]> = reply.split_inclusive(|&b| b == b'\n').collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|l| l.len() <= 512 && l.ends_with(b"\r\n")));
        assert!(lines[..2].iter().all(|l| l.starts_with(b"550-")) && lines[2].starts_with(b"550 "));
    }

    #[test]
    fn this_host_is_not_checked() {
        let own = ["192.0.2.1".parse().unwrap()];
        for (ip, loopback) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.2", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(is_loopback(ip.parse().unwrap(), &own), loopback, "{ip}");
        }
    }
}
