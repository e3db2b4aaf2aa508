use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

/// Messages in memory, and what was done with them.
#[derive(Default)]
struct Drop {
    messages: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    done: RefCell<Vec<String>>,
    stubborn: bool,
}

impl Drop {
    fn new(messages: &[(&str, Option<&str>)]) -> Drop {
        let messages = messages.iter().map(|(id, text)| (id.as_bytes().to_vec(), text.map(|t| t.as_bytes().to_vec())));
        Drop { messages: messages.collect(), ..Drop::default() }
    }
}

impl Maildrop for &Drop {
    type Message = io::Cursor<Vec<u8>>;
    fn count(&self) -> usize {
        self.messages.len()
    }
    fn size(&self, n: usize) -> u64 {
        self.messages[n].1.as_ref().map_or(u64::MAX, |t| t.len() as u64)
    }
    fn id(&self, n: usize) -> &[u8] {
        &self.messages[n].0
    }
    fn open(&mut self, n: usize) -> io::Result<Self::Message> {
        self.messages[n].1.clone().map(io::Cursor::new).ok_or(io::ErrorKind::NotFound.into())
    }
    fn remove(&mut self, n: usize) -> io::Result<()> {
        self.done.borrow_mut().push(format!("remove {n}"));
        if self.stubborn { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
    fn keep(&mut self, n: usize) {
        self.done.borrow_mut().push(format!("keep {n}"));
    }
}

/// The answers after the greeting, with | for CR LF.
fn play(maildrop: &Drop, script: &[u8]) -> (String, End) {
    let mut wire = Vec::new();
    let end = Session::new(maildrop, script, &mut wire).run();
    let text = wire.escape_ascii().to_string().replace("\\r\\n", "|");
    (text.strip_prefix("+OK |").unwrap().to_string(), end)
}

fn two() -> Drop {
    Drop::new(&[("a", Some("h\n\n.1\n2\n")), ("b", Some("12345"))])
}

#[test]
fn commands_get_the_classic_answers() {
    let rows: &[(&str, &str)] = &[
        ("STAT\r\n", "+OK 2 13|"),
        ("LIST\r\nLIST 2\r\n", "+OK |1 8|2 5|.|+OK 2 5|"),
        ("UIDL\r\nUIDL 1\r\n", "+OK |1 a|2 b|.|+OK 1 a|"),
        ("RETR 1\r\n", "+OK |h||..1|2||.|"),
        ("TOP 1 1\r\n", "+OK |h||..1||.|"),
        ("TOP 1 0\r\nTOP 2\r\n", "+OK |h|||.|+OK |12345||.|"),
        ("LAST\r\nDELE 2\r\nLAST\r\nDELE 1\r\nLAST\r\nRSET\r\nLAST\r\n", "+OK 0|+OK |+OK 2|+OK |+OK 2|+OK |+OK 0|"),
        ("DELE 1\r\nSTAT\r\nLIST\r\n", "+OK |+OK 2 5|+OK |2 5|.|"),
        ("NOOP\r\nnoop x\n", "+OK |+OK |"),
        ("CAPA\r\n", "+OK capability list follows|TOP|USER|UIDL|.|"),
    ];
    for &(script, expected) in rows {
        let (answers, end) = play(&two(), script.as_bytes());
        assert_eq!(answers, expected, "{script}");
        assert!(matches!(end, End::Gone));
    }
}

#[test]
fn m1_numbers_out_of_range_and_deleted_ones_are_refused() {
    let (zero, big, syntax) =
        ("-ERR messages are counted from 1|", "-ERR not that many messages|", "-ERR syntax error|");
    for verb in ["LIST", "UIDL", "DELE", "RETR", "TOP"] {
        let rows = [
            ("0", zero),
            ("-1", syntax),
            ("x", syntax),
            ("3", big),
            ("1000000000", big),
            ("18446744073709551615", big),
            ("18446744073709551616", big),
            ("18446744073709551617", big),
        ];
        for (number, expected) in rows {
            assert_eq!(play(&two(), format!("{verb} {number}\r\n").as_bytes()).0, expected, "{verb} {number}");
        }
        let script = format!("DELE 1\r\n{verb} 1\r\n");
        assert_eq!(play(&two(), script.as_bytes()).0, "+OK |-ERR already deleted|");
    }
    let script = [b"XTND\r\n\r\nUSER x\r\nDELE\r\nRETR\r\n".as_slice(), &[b'x'; 9000], b"\r\nSTAT\r\n"].concat();
    let expected = "-ERR unimplemented|".repeat(3) + &syntax.repeat(3) + "+OK 2 13|";
    assert_eq!(play(&two(), &script).0, expected);
}

#[test]
fn m1_a_vanished_message_is_refused_and_the_session_goes_on() {
    let maildrop = Drop::new(&[("a", None), ("b", Some("x\n"))]);
    let (answers, _) = play(&maildrop, b"RETR 1\r\nRETR 2\r\nSTAT\r\n");
    assert_eq!(answers, "-ERR unable to open that message|+OK |x||.|+OK 2 18446744073709551615|");
}

#[test]
fn m4_nothing_is_done_without_quit() {
    for script in [&b"DELE 1\r\n"[..], b"DELE 1\r\nQUIT", b"DELE 1\r\nQUI"] {
        let maildrop = two();
        assert!(matches!(play(&maildrop, script).1, End::Gone));
        assert!(maildrop.done.borrow().is_empty());
    }
    let maildrop = two();
    let (answers, end) = play(&maildrop, b"DELE 1\r\nQUIT\r\nDELE 2\r\n");
    assert_eq!(answers, "+OK |+OK |");
    assert!(matches!(end, End::Quit));
    assert_eq!(*maildrop.done.borrow(), ["remove 0", "keep 1"]);
}

#[test]
fn m4_nothing_is_done_when_the_client_does_not_get_its_answers() {
    /// A connection that breaks after so many bytes.
    struct Broken(usize);
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for room in 0..42 {
        let maildrop = two();
        let script = &b"RETR 1\r\nDELE 1\r\nQUIT\r\n"[..];
        let end = Session::new(&maildrop, script, Broken(room)).run();
        // Greeting 6, message 24, DELE 6, QUIT 6.
        assert_eq!(maildrop.done.borrow().is_empty(), room < 36, "{room}");
        assert!(matches!(end, End::Trouble(_)));
    }
}

#[test]
fn a_message_that_cannot_be_removed_is_told_once() {
    let maildrop = Drop { stubborn: true, ..two() };
    let (answers, _) = play(&maildrop, b"DELE 1\r\nDELE 2\r\nQUIT\r\n");
    assert_eq!(answers, "+OK |+OK |-ERR unable to unlink all deleted messages|");
}

#[test]
fn m5_ids_are_masked_and_cut() {
    let long = "x".repeat(71);
    let maildrop = Drop::new(&[("a b\x7f\n~!", Some("")), ("", Some("")), (&long, Some("")), ("\u{e9}", Some(""))]);
    let (answers, _) = play(&maildrop, b"UIDL\r\n");
    assert_eq!(answers, format!("+OK |1 a?b??~!|2 ?|3 {}|4 ??|.|", &long[1..]));
}

proptest! {
    #[test]
    fn every_line_gets_one_answer(
        lines in proptest::collection::vec("(STAT|DELE|LIST|UIDL|LAST|RSET|NOOP|[ -~]{0,6})( [0-9x]{1,3})", 0..20),
    ) {
        let script = lines.iter().filter(|l| !l.to_lowercase().starts_with("quit")).map(|l| format!("{l}\r\n"));
        let script: Vec<String> = script.collect();
        let (answers, _) = play(&two(), script.concat().as_bytes());
        let count = answers.split('|').filter(|a| a.starts_with("+OK") || a.starts_with("-ERR")).count();
        prop_assert_eq!(count, script.len());
    }
}
