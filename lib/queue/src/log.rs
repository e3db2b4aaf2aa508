//! The log lines of qmail-send and qmail-todo (qmail-log(5)): what matchup and its kin read.

/// Appends `text` so that it can be no second line and no escape code: a newline becomes `/`; blanks, percent signs and
/// everything outside of printable ASCII become `_`.
pub fn safe(line: &mut Vec<u8>, text: &[u8]) {
    line.extend(text.iter().map(|&b| match b {
        b'\n' => b'/',
        b'%' => b'_',
        33..=126 => b,
        _ => b'_',
    }));
}

#[cfg(test)]
mod tests {
    #[test]
    fn r4_one_record_is_one_line() {
        let mut line = Vec::new();
        super::safe(&mut line, b"a b\nc\x1b[0m\xe4%");
        assert_eq!(line, b"a_b/c_[0m__");
    }
}
