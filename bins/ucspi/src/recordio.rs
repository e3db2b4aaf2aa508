//! recordio: runs a program and logs what it reads and writes.
//!
//! `recordio program [arg ...]`, run by tcpserver or a person to see a dialogue. The program becomes this process; a
//! child passes fds 0 and 1 on and writes each packet to fd 2 at once: the id of the program, `<` for input or `>` for
//! output, the line, and behind it a blank, or `+` if the packet ends without a line feed. `[EOF]` is the end.
//!
//! Exit codes: 100 wrong usage; 111 the program can not be run; else those of the program.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod between;

use sys::Exit;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    if args.is_empty() {
        sys::error::complain(&[b"usage: recordio program [ arg ... ]"]);
        return Exit::PERMANENT;
    }
    between::become_with(&args, |pid, directions| {
        let prefix = |sign| format!("{} {sign} ", pid.0).into_bytes();
        let (inward, outward) = (prefix('<'), prefix('>'));
        directions.pass(&mut |bytes, out| pass_and_log(&inward, bytes, out), &mut |bytes, out| {
            pass_and_log(&outward, bytes, out)
        });
    })
}

fn pass_and_log(prefix: &[u8], bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(bytes.unwrap_or_default());
    // A log that nobody reads is no reason to break the dialogue off.
    let _ = sys::fd::write_all(2, &record(prefix, bytes));
}

/// The log lines for one packet, or for the end.
fn record(prefix: &[u8], bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else { return [prefix, b"[EOF]\n"].concat() };
    let mut text = Vec::with_capacity(2 * bytes.len());
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        text.extend_from_slice(prefix);
        text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        text.extend_from_slice(if line.ends_with(b"\n") { b" \n" } else { b"+\n" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parts_of_lines_and_the_end_are_told_apart() {
        let rows: &[(Option<&[u8]>, &[u8])] = &[
            (None, b"7 < [EOF]\n"),
            (Some(b"a\n"), b"7 < a \n"),
            (Some(b"a\r\n\nb"), b"7 < a\r \n7 <  \n7 < b+\n"),
            (Some(b"\0\xff"), b"7 < \0\xff+\n"),
        ];
        for (bytes, text) in rows {
            assert_eq!(record(b"7 < ", *bytes), *text);
        }
    }
}
