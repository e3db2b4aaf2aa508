//! The lines of a .qmail file.

/// What one line asks for. Addresses, names and commands are never empty of meaning to the reader: an empty command is
/// run, an empty address is handed to qmail-queue, as qmail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction<'a> {
    /// Nothing stands there. In the first line this is a mistake of the user, elsewhere it is skipped.
    Blank,
    /// `#`: skipped.
    Comment,
    /// `.` or `/`: append to this mbox file, named relative to the home directory or absolute.
    Mbox(&'a [u8]),
    /// `.` or `/` with a slash at the end: deliver to this maildir; the slash is part of the name.
    Maildir(&'a [u8]),
    /// `|`: feed the message to this shell command.
    Program(&'a [u8]),
    /// `&`, or anything not listed here: forward to this address.
    Forward(&'a [u8]),
    /// `+list`: from here on only forwarding is allowed.
    ForwardOnly,
    /// `+` and something else: reserved, skipped.
    Reserved,
}

/// The instructions of a .qmail file, one for each line. The last newline may be missing; a file without any byte has
/// one blank line.
pub fn instructions(file: &[u8]) -> impl Iterator<Item = Instruction<'_>> {
    file.strip_suffix(b"\n").unwrap_or(file).split(|&b| b == b'\n').map(instruction)
}

/// Blanks and tabs at the end of a line do not count. A NUL ends the line: what follows would not reach the system.
fn instruction(line: &[u8]) -> Instruction<'_> {
    let keep = line.iter().rposition(|&b| b != b' ' && b != b'\t').map_or(0, |at| at + 1);
    let line = line.get(..keep).unwrap_or_default();
    let line = line.split(|&b| b == 0).next().unwrap_or_default();
    match line {
        [] => Instruction::Blank,
        [b'#', ..] => Instruction::Comment,
        [b'.' | b'/', ..] if line.ends_with(b"/") => Instruction::Maildir(line),
        [b'.' | b'/', ..] => Instruction::Mbox(line),
        [b'|', command @ ..] => Instruction::Program(command),
        b"+list" => Instruction::ForwardOnly,
        [b'+', ..] => Instruction::Reserved,
        [b'&', address @ ..] => Instruction::Forward(address),
        address => Instruction::Forward(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Instruction::*;

    #[test]
    fn each_kind_of_line() {
        let rows: &[(&[u8], Instruction)] = &[
            (b"", Blank),
            (b" \t ", Blank),
            (b"\0./x", Blank),
            (b"#", Comment),
            (b"# ./Mailbox", Comment),
            (b".", Mbox(b".")),
            (b"./Mailbox \t", Mbox(b"./Mailbox")),
            (b"/var/mail/joe", Mbox(b"/var/mail/joe")),
            (b"/", Maildir(b"/")),
            (b"./Maildir/", Maildir(b"./Maildir/")),
            (b"./Maildir/ ", Maildir(b"./Maildir/")),
            (b"./a\0b/", Mbox(b"./a")),
            (b"|", Program(b"")),
            (b"| a |b ", Program(b" a |b")),
            (b"+list", ForwardOnly),
            (b"+list ", ForwardOnly),
            (b"+List", Reserved),
            (b"+", Reserved),
            (b"&", Forward(b"")),
            (b"& joe", Forward(b" joe")),
            (b"&joe@x.test", Forward(b"joe@x.test")),
            (b"joe@x.test", Forward(b"joe@x.test")),
            (b" ./Mailbox", Forward(b" ./Mailbox")),
            (b"\xe9", Forward(b"\xe9")),
            (b"-x", Forward(b"-x")),
            (b"joe\r", Forward(b"joe\r")),
        ];
        for &(line, expected) in rows {
            assert_eq!(instruction(line), expected, "{line:?}");
        }
    }

    #[test]
    fn files_are_cut_into_lines() {
        let all = |file| instructions(file).collect::<Vec<_>>();
        assert_eq!(all(b""), [Blank]);
        assert_eq!(all(b"\n"), [Blank]);
        assert_eq!(all(b"\n\n"), [Blank, Blank]);
        assert_eq!(all(b"a"), [Forward(b"a")]);
        assert_eq!(all(b"a\n"), [Forward(b"a")]);
        assert_eq!(all(b"a\n|b"), [Forward(b"a"), Program(b"b")]);
    }
}
