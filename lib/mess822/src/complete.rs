//! Completing addresses: default host, default domain, and the `+` that stands for the plus domain (qmail-header(5)).

use crate::token::{self, Token, Unparsable};

/// What is put behind incomplete addresses.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `@` and the default host, for addresses without a host.
    host: Vec<Token<'static>>,
    /// `.` and the default domain, for hosts without a dot.
    domain: Vec<Token<'static>>,
    /// `.` and the plus domain, for hosts that end with `+`.
    plus_domain: Vec<Token<'static>>,
}

/// A default that cannot stand in an address: the text with its `@` or `.` in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDefault(pub Vec<u8>);

impl Defaults {
    /// Takes the three names as the control files have them.
    pub fn new(domain: &[u8], host: &[u8], plus_domain: &[u8]) -> Result<Defaults, BadDefault> {
        let domain = tokens(b'.', domain)?;
        let host = tokens(b'@', host)?;
        Ok(Defaults { host, domain, plus_domain: tokens(b'.', plus_domain)? })
    }

    /// Completes an address: drops a route, dots and `@` at the end, then adds what is missing. Left alone are the
    /// null address and addresses at the empty literal (`#@[]`, the double bounce sender).
    pub fn complete<'a>(&'a self, address: &mut Vec<Token<'a>>) {
        if address.is_empty() || is_special(address) {
            return;
        }
        drop_route(address);
        address.pop_if(|last| *last == Token::Dot);
        address.pop_if(|last| *last == Token::At);
        if address.is_empty() {
            return;
        }
        if !address.contains(&Token::At) {
            address.extend(self.host.iter().map(Token::borrowed));
        }
        if drop_plus(address) {
            address.extend(self.plus_domain.iter().map(Token::borrowed));
        }
        if has_bare_host(address) {
            address.extend(self.domain.iter().map(Token::borrowed));
        }
    }

    /// Completes an address that is given alone, in its quoted form; returns its meaning.
    pub fn complete_text(&self, address: &[u8]) -> Result<Vec<u8>, Unparsable> {
        let mut tokens = token::parse(address)?;
        self.complete(&mut tokens);
        Ok(token::unquote(&tokens))
    }
}

fn tokens(mark: u8, name: &[u8]) -> Result<Vec<Token<'static>>, BadDefault> {
    let text = [&[mark], name].concat();
    match token::parse(&text) {
        Ok(list) => Ok(list.into_iter().map(Token::into_owned).collect()),
        Err(Unparsable) => Err(BadDefault(text)),
    }
}

fn is_special(address: &[Token<'_>]) -> bool {
    matches!(address, [.., Token::At, Token::Literal(w)] if w.is_empty())
}

/// `@host,@host:` in front of an address (RFC 822 section 6.2.7) has had no use for decades.
fn drop_route(address: &mut Vec<Token<'_>>) {
    if address.first() == Some(&Token::At) {
        let end = address.iter().position(|t| *t == Token::Colon).map_or(address.len(), |at| at + 1);
        address.drain(..end);
    }
}

/// Takes the `+` off a last word that ends with one.
fn drop_plus(address: &mut [Token<'_>]) -> bool {
    let Some(Token::Atom(word)) = address.last_mut() else { return false };
    if !word.ends_with(b"+") {
        return false;
    }
    word.to_mut().pop();
    true
}

/// Whether the host is neither dotted nor a literal.
fn has_bare_host(address: &[Token<'_>]) -> bool {
    let mut host = address.iter().rev().take_while(|t| **t != Token::At);
    !host.any(|t| matches!(t, Token::Dot | Token::Literal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> Defaults {
        Defaults::new(b"dom.test", b"host", b"plus.test").unwrap()
    }

    #[test]
    fn addresses_are_completed() {
        let rows: &[(&str, &str)] = &[
            ("", ""),
            ("joe", "joe@host.dom.test"),
            ("joe@x", "joe@x.dom.test"),
            ("joe@x.y", "joe@x.y"),
            ("joe@x+", "joe@x.plus.test"),
            ("joe@x.y+", "joe@x.y.plus.test"),
            ("joe+", "joe+@host.dom.test"),
            ("joe@[1.2.3.4]", "joe@[1.2.3.4]"),
            ("joe@[]", "joe@[]"),
            ("#@[]", "#@[]"),
            ("@a,@b:joe@x.y", "joe@x.y"),
            ("@a,@b:joe", "joe@host.dom.test"),
            ("@a:", ""),
            ("@a", ""),
            (".", ""),
            ("@", ""),
            ("joe.", "joe@host.dom.test"),
            ("joe@", "joe@host.dom.test"),
            ("joe@.", "joe@host.dom.test"),
            ("joe@x.", "joe@x.dom.test"),
            ("a.b", "a.b@host.dom.test"),
            ("a@b@x", "a@b@x.dom.test"),
            ("\"a b\"@x", "a b@x.dom.test"),
        ];
        for &(before, after) in rows {
            assert_eq!(defaults().complete_text(before.as_bytes()).unwrap(), after.as_bytes(), "{before}");
        }
    }

    #[test]
    fn defaults_must_be_parsable_and_may_be_odd() {
        assert_eq!(Defaults::new(b"d", b"a(", b"p").unwrap_err(), BadDefault(b"@a(".to_vec()));
        let d = Defaults::new(b"d.test", b"h+", b"p.test").unwrap();
        assert_eq!(d.complete_text(b"joe").unwrap(), b"joe@h.p.test");
    }

    proptest! {
        #[test]
        fn completing_twice_changes_nothing_more(
            local in "[a-z+]{1,8}",
            host in "(@[a-z]{1,5}(\\.[a-z]{1,5}){0,2}\\+?)?",
        ) {
            let d = defaults();
            let once = d.complete_text(format!("{local}{host}").as_bytes()).unwrap();
            prop_assert_eq!(d.complete_text(&once).unwrap(), once);
        }
    }
}
