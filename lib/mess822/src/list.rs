//! Address lists: finding the addresses in a field and putting others in their place.

use crate::token::{FromTop, Pile, Token};

/// How many tokens a field's name takes: the word and its colon.
const NAME_TOKENS: usize = 2;

/// The list is out of order: a `>` without `<`, or `:` and `;` that do not pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadList;

/// Shows every address of a field to `each`, which may change it, and returns the field with the changes, its first
/// token on top.
///
/// The tokens begin with the field's name and colon. Addresses are found **from the right to the left**, since an
/// address list is easy to understand only that way; `each` gets them in that order, and for a bad list it has seen
/// those right of the trouble. An address comes without its phrase and angle brackets, with its route if it has one;
/// `<>` comes as no tokens at all. A missing comma between two addresses is put in. A comment inside an address
/// without angle brackets moves behind it.
pub fn rewrite<'a>(field: &'a Pile, each: impl FnMut(&mut Vec<Token<'a>>)) -> Result<Pile, BadList> {
    let mut scan = Scan { out: Pile::default(), left: field.from_top(), address: Vec::new(), each };
    let mut in_group = false;
    // Whether a word here belongs to the address on its right.
    let mut joins = true;
    while let Some(token) = scan.take() {
        match token {
            Token::Semicolon => {
                scan.address_done(true);
                if in_group {
                    return Err(BadList);
                }
                in_group = true;
                joins = true;
                scan.out.put(&token);
            }
            Token::Colon => {
                scan.address_done(false);
                if !in_group {
                    return Err(BadList);
                }
                in_group = false;
                joins = true;
                scan.out.put(&token);
                scan.pass_group_name();
            }
            Token::Right => {
                scan.address_done(true);
                scan.out.put(&token);
                scan.bracketed()?;
                joins = false;
            }
            Token::Atom(_) | Token::Quoted(_) | Token::Literal(_) => {
                if !joins {
                    scan.address_done(true);
                }
                joins = false;
                scan.address.push(token);
            }
            // A comment is no more than a blank.
            Token::Comment(_) => scan.out.put(&token),
            Token::Comma => {
                scan.address_done(false);
                joins = true;
                scan.out.put(&token);
            }
            Token::At | Token::Dot | Token::Left => {
                joins = true;
                scan.address.push(token);
            }
        }
    }
    scan.address_done(false);
    let Scan { left, mut out, .. } = scan;
    left.for_each(|token| out.put(&token));
    Ok(out)
}

/// The state of a scan; `out` and `address` grow from the right to the left, that is, in reverse.
struct Scan<'a, F> {
    left: FromTop<'a>,
    out: Pile,
    address: Vec<Token<'a>>,
    each: F,
}

impl<'a, F: FnMut(&mut Vec<Token<'a>>)> Scan<'a, F> {
    /// The next token to the left, down to the field's name.
    fn take(&mut self) -> Option<Token<'a>> {
        if self.left.left() > NAME_TOKENS { self.left.next() } else { None }
    }

    /// Ends the address that was being collected, if any, with a comma on its left if `comma`.
    fn address_done(&mut self, comma: bool) {
        if !self.address.is_empty() {
            self.show();
            if comma {
                self.out.put(&Token::Comma);
            }
        }
    }

    fn show(&mut self) {
        self.address.reverse();
        (self.each)(&mut self.address);
        self.address.drain(..).rev().for_each(|token| self.out.put(&token));
    }

    /// The words left of a group's colon, with the comma that ends the item before them.
    fn pass_group_name(&mut self) {
        while let Some(token) = self.take() {
            let ended = token == Token::Comma;
            self.out.put(&token);
            if ended {
                break;
            }
        }
    }

    /// What stands left of a `>`: the address, the `<`, the phrase before it.
    fn bracketed(&mut self) -> Result<(), BadList> {
        let mut opened = false;
        while let Some(token) = self.take() {
            if token == Token::Left {
                opened = true;
                break;
            }
            self.address.push(token);
        }
        // An empty address counts here: <> is the null sender.
        self.show();
        if !opened {
            return Err(BadList);
        }
        self.out.put(&Token::Left);
        loop {
            let before = self.left.clone();
            let Some(token) = self.take() else { break };
            let of_phrase =
                matches!(token, Token::Comment(_) | Token::Atom(_) | Token::Quoted(_) | Token::At | Token::Dot);
            if !of_phrase {
                self.left = before;
                break;
            }
            self.out.put(&token);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{unparse, unquote};
    use proptest::prelude::*;

    /// The addresses in the order they were shown, and the field after identity rewriting.
    fn addresses(field: &[u8]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let mut found = Vec::new();
        let Ok(tokens) = Pile::parse(field) else { return (found, None) };
        let out = rewrite(&tokens, |a| found.push(unquote(a))).ok();
        (found, out.map(|o| unparse(o.from_top())))
    }

    #[test]
    fn addresses_are_found_from_the_right() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("To:", &[], Some("To:\n")),
            ("To: a", &["a"], Some("To: a\n")),
            ("To: a, b@c", &["b@c", "a"], Some("To: a, b@c\n")),
            ("To: A B <a@b>", &["a@b"], Some("To: A B <a@b>\n")),
            ("To: <>", &[""], Some("To: <>\n")),
            ("To: a b", &["b", "a"], Some("To: a, b\n")),
            ("To: <a> <b>", &["b", "a"], Some("To: <a> <b>\n")),
            ("To: a (c) @b", &["a@b"], Some("To: a@b (c)\n")),
            ("To: g: a, b;, c", &["c", "b", "a"], Some("To: g: a, b;, c\n")),
            ("To: x, y z: a;", &["a", "x"], Some("To: x, y z: a;\n")),
            ("To: g: ;", &[], Some("To: g: ;\n")),
            ("To: <@r,@s:a@b>", &["@r,@s:a@b"], Some("To: <@r, @s: a@b>\n")),
            ("To: a>", &["a"], None),
            ("To: a, b: c", &["c"], None),
            ("To: a;;", &[], None),
            ("To: (", &[], None),
        ];
        for &(field, found, after) in rows {
            let (f, a) = addresses(field.as_bytes());
            assert_eq!(f, found.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>(), "{field}");
            assert_eq!(a.as_deref(), after.map(str::as_bytes), "{field}");
        }
    }

    #[test]
    fn addresses_can_be_emptied_and_grown() {
        let tokens = Pile::parse(b"To: a, b@c (x)").unwrap();
        let out = rewrite(&tokens, |a| {
            if a.len() == 1 {
                a.push(Token::At);
                a.push(Token::Atom(b"new".into()));
            } else {
                a.clear();
            }
        });
        assert_eq!(unparse(out.unwrap().from_top()), b"To: a@new, (x)\n");
    }

    /// Text that looks like address lists more often than chance would have it.
    fn list_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => "[a-z]{1,8}".prop_map(String::into_bytes),
            6 => proptest::sample::select(vec!["@", ".", ",", "<", ">", ":", ";", " ", "\n ", "\t"])
                .prop_map(|s| s.as_bytes().to_vec()),
            2 => "\"[a-z ,@.]{0,5}\"".prop_map(String::into_bytes),
            2 => "\\([a-z ]{0,5}\\)".prop_map(String::into_bytes),
            1 => "\\[[0-9.]{0,7}\\]".prop_map(String::into_bytes),
            1 => "\\\\[,<>:;@a]".prop_map(String::into_bytes),
            1 => any::<u8>().prop_map(|b| vec![b]),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|p| p.concat())
    }

    fn check_stable(text: &[u8]) -> Result<(), TestCaseError> {
        let field = [b"To: ", text].concat();
        let (first, Some(once)) = addresses(&field) else { return Ok(()) };
        let (second, Some(twice)) = addresses(&once) else {
            return Err(TestCaseError::fail("what was written cannot be read"));
        };
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(&once, &twice);
        Ok(())
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = addresses(&bytes);
            let _ = addresses(&[b"To: ", &bytes[..]].concat());
        }

        #[test]
        fn a_rewritten_field_has_the_same_addresses_when_read_again(text in list_text()) {
            // A blank behind a backslash is written bare, as in qmail, so that such words fall apart; and a newline
            // there is written with a blank (see `token`).
            prop_assume!(!text.windows(2).any(|w| w == b"\\ " || w == b"\\\n"));
            check_stable(&text)?;
        }
    }
}
