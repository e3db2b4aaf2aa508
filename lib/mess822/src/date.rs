//! Dates in UTC, from seconds since 1970. No time zone but UTC is known here.

use std::io::Write;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A moment in UTC, broken down. Leap seconds do not exist, as on Unix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// Year of the Gregorian calendar, with its century.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 is Sunday, 6 is Saturday.
    pub weekday: u8,
}

impl DateTime {
    /// The moment `seconds` after 1970 began in UTC; every value is valid.
    pub fn from_seconds(seconds: u64) -> DateTime {
        let days = seconds / 86400;
        let rest = seconds % 86400;
        // Count from 1 March of the year 0: the leap day is then the last day of its year, and a span of 400 years
        // (an era) always has 146097 days. 719468 days lie between that day and 1970.
        let from_march = days + 719_468;
        let era = from_march / 146_097;
        let day_of_era = from_march % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March on the months have 31, 30, 31, 30, 31 days over and over: 153 days in five months.
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        DateTime {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: small(month),
            day: small(day),
            hour: small(rest / 3600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
            weekday: small((days + 4) % 7),
        }
    }

    /// The month's English name of three letters.
    pub fn month_name(&self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or("")
    }

    /// The weekday's English name of three letters.
    pub fn weekday_name(&self) -> &'static str {
        WEEKDAYS.get(usize::from(self.weekday)).copied().unwrap_or("")
    }
}

/// All values passed here are below 60 by the arithmetic above.
fn small(n: u64) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

/// The date of a Date or Received field: `26 Sep 1995 04:46:54 -0000`, no leading zero in the day, no newline.
pub fn rfc822(seconds: u64) -> Vec<u8> {
    let t = DateTime::from_seconds(seconds);
    let mut out = Vec::with_capacity(32);
    let DateTime { year, day, hour, minute, second, .. } = t;
    // Writing to memory cannot fail.
    let _ = write!(out, "{day} {} {year} {hour:02}:{minute:02}:{second:02} -0000", t.month_name());
    out
}

/// The date of an mbox From_ line: `Tue Sep 26 04:46:54 1995`, the day always in two digits, no newline (mbox(5)).
pub fn ctime(seconds: u64) -> Vec<u8> {
    let t = DateTime::from_seconds(seconds);
    let mut out = Vec::with_capacity(32);
    let DateTime { year, day, hour, minute, second, .. } = t;
    // Writing to memory cannot fail.
    let _ = write!(out, "{} {} {day:02} {hour:02}:{minute:02}:{second:02} {year}", t.weekday_name(), t.month_name());
    out
}

/// The moment as digits alone, `19950926044654`: what Message-IDs begin with.
pub fn digits(seconds: u64) -> Vec<u8> {
    let DateTime { year, month, day, hour, minute, second, .. } = DateTime::from_seconds(seconds);
    let mut out = Vec::with_capacity(16);
    // Writing to memory cannot fail.
    let _ = write!(out, "{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let rows: &[(u64, &str, &str)] = &[
            (0, "1 Jan 1970 00:00:00 -0000", "Thu Jan 01 00:00:00 1970"),
            (812_090_814, "26 Sep 1995 04:46:54 -0000", "Tue Sep 26 04:46:54 1995"),
            (68_255_999, "29 Feb 1972 23:59:59 -0000", "Tue Feb 29 23:59:59 1972"),
            (68_256_000, "1 Mar 1972 00:00:00 -0000", "Wed Mar 01 00:00:00 1972"),
            (951_782_400, "29 Feb 2000 00:00:00 -0000", "Tue Feb 29 00:00:00 2000"),
            (978_307_199, "31 Dec 2000 23:59:59 -0000", "Sun Dec 31 23:59:59 2000"),
            (2_147_483_648, "19 Jan 2038 03:14:08 -0000", "Tue Jan 19 03:14:08 2038"),
            (4_107_542_400, "1 Mar 2100 00:00:00 -0000", "Mon Mar 01 00:00:00 2100"),
            (4_294_967_296, "7 Feb 2106 06:28:16 -0000", "Sun Feb 07 06:28:16 2106"),
        ];
        for &(seconds, date, mbox) in rows {
            assert_eq!(rfc822(seconds), date.as_bytes());
            assert_eq!(ctime(seconds), mbox.as_bytes());
        }
        assert_eq!(digits(812_090_814), b"19950926044654");
    }

    #[test]
    fn d8_no_clock_value_panics() {
        for seconds in [u64::MAX, u64::MAX - 86_400, u64::MAX / 2, 1 << 40] {
            assert!(!rfc822(seconds).is_empty());
            assert!(!ctime(seconds).is_empty());
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = DateTime::from_seconds(0);
        for day in 1..200_000u64 {
            let this = DateTime::from_seconds(day * 86_400);
            let next_day = this.day == before.day + 1 && this.month == before.month && this.year == before.year;
            let next_month = this.day == 1 && this.month == before.month + 1 && this.year == before.year;
            let next_year = this.day == 1 && this.month == 1 && before.month == 12 && this.year == before.year + 1;
            assert!(next_day || next_month || next_year, "{before:?} {this:?}");
            assert_eq!(this.weekday, (before.weekday + 1) % 7);
            before = this;
        }
    }
}
