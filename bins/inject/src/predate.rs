//! predate: puts a Date field in local time before a message and runs a program on it (predate(1)).
//!
//! Started by users and by datemail, as the user. fd 0 is the message; the program gets a pipe as its fd 0. Reads TZ or
//! /etc/localtime.
//!
//! Exit codes: that of the program; 100 bad usage; 111 anything else.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod feed;

use sys::Exit;
use sys::error::complain;
use sys::spawn::Program;
use sys::time::Local;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

sys::program!(run);

fn run(args: sys::start::Args) -> Exit {
    let Some(&name) = args.first() else {
        complain(&[b"usage: predate child"]);
        return Exit::PERMANENT;
    };
    let program = Program::named(&args, sys::env::get(b"PATH").as_deref());
    feed::run(program, name, date(&sys::time::local(sys::time::now())).as_bytes())
}

/// The field with its newline (RFC 822 section 5.1): the zone to the nearest minute.
fn date(now: &Local) -> String {
    let Local { year, month, day, hour, minute, second, east } = *now;
    let month = MONTHS.get(usize::from(month)).copied().unwrap_or_default();
    let sign = if east < 0 { '-' } else { '+' };
    let off = (east.unsigned_abs() + 30) / 60;
    let (hours, minutes) = (off / 60, off % 60);
    format!("Date: {day} {month} {year} {hour:02}:{minute:02}:{second:02} {sign}{hours:02}{minutes:02}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_written_to_the_minute() {
        let rows = [
            (0, "+0000"),
            (19800, "+0530"),
            (-12600, "-0330"),
            (18300, "+0505"),
            (-18000, "-0500"),
            (29, "+0000"),
            (30, "+0001"),
            (-1, "-0000"),
            (50400, "+1400"),
        ];
        for (east, zone) in rows {
            let now = Local { year: 2000, month: 1, day: 9, hour: 4, minute: 5, second: 6, east };
            assert_eq!(date(&now), format!("Date: 9 Feb 2000 04:05:06 {zone}\n"));
        }
    }
}
