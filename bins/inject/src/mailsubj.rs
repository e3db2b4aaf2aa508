//! mailsubj: sends a message with a subject and recipients from the command line (mailsubj(1)).
//!
//! Started by users and their programs, as the user. fd 0 is the body. Runs bin/qmail-inject, which reads what
//! qmail-inject(8) says.
//!
//! Exit codes: those of qmail-inject; 100 bad usage; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod feed;

use sys::Exit;
use sys::error::complain;
use sys::spawn::Program;

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some((subject, recipients)) = args.split_first() else {
        complain(&[b"usage: mailsubj subject [ recipient ... ]"]);
        return Exit::PERMANENT;
    };
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let inject = conf::below(&home, "bin/qmail-inject");
    feed::run(Program::new(&inject, &[&inject]), &inject, &header(subject, recipients))
}

/// The fields and the empty line after them. Nothing is quoted, so that a recipient may be a list, with comments.
fn header(subject: &[u8], recipients: &[&[u8]]) -> Vec<u8> {
    let to = recipients.join(&b' ');
    [b"Subject: ", subject, b"\nTo: ", &to, b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_and_recipients_become_fields() {
        assert_eq!(header(b"a b", &[b"x@y", b"z"]), b"Subject: a b\nTo: x@y z\n\n");
        assert_eq!(header(b"", &[]), b"Subject: \nTo: \n\n");
    }
}
