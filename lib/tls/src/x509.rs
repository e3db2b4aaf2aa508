//! What a certificate says about itself, for people and for the environment of programs. Nothing here decides whether a
//! certificate is to be trusted; that of a server may be judged by its common name if it has no other.

/// A certificate taken apart (RFC 5280 4.1). Names and numbers are as the certificate has them.
pub struct Certificate<'a> {
    /// 1 to 3.
    pub version: u8,
    /// Big-endian.
    pub serial: &'a [u8],
    /// The algorithm of its signature.
    pub signature_algorithm: &'a [u8],
    /// Who made it.
    pub issuer: Name<'a>,
    /// From when on it is good: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
    pub not_before: &'a [u8],
    /// Until when it is good.
    pub not_after: &'a [u8],
    /// Whom it is about.
    pub subject: Name<'a>,
    /// The algorithm of its key.
    pub key_algorithm: &'a [u8],
    /// Whether it says that it may vouch for others (RFC 5280 4.2.1.9).
    pub is_authority: bool,
}

/// A distinguished name: its attributes in order.
pub struct Name<'a>(Vec<(&'a [u8], &'a [u8])>);

const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];

/// Object identifiers of attributes: the bytes, OpenSSL's short name, and the name in variables (empty: none).
const ATTRIBUTES: &[(&[u8], &str, &str)] = &[
    (&[0x55, 4, 6], "C", "C"),
    (&[0x55, 4, 8], "ST", "ST"),
    (&[0x55, 4, 7], "L", "L"),
    (&[0x55, 4, 10], "O", "O"),
    (&[0x55, 4, 11], "OU", "OU"),
    (&[0x55, 4, 3], "CN", "CN"),
    (&[0x55, 4, 12], "title", "T"),
    (&[0x55, 4, 43], "initials", "I"),
    (&[0x55, 4, 42], "GN", "G"),
    (&[0x55, 4, 4], "SN", "S"),
    (&[0x55, 4, 13], "description", "D"),
    (&[0x55, 4, 45], "x500UniqueIdentifier", "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress", "Email"),
    (&[0x55, 4, 5], "serialNumber", ""),
    (&[0x55, 4, 9], "street", ""),
    (&[0x55, 4, 17], "postalCode", ""),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC", ""),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID", ""),
];

/// Object identifiers of algorithms, and OpenSSL's long name.
const ALGORITHMS: &[(&[u8], &str)] = &[
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], "rsaEncryption"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "sha1WithRSAEncryption"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], "rsassaPss"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], "sha256WithRSAEncryption"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], "sha384WithRSAEncryption"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], "sha512WithRSAEncryption"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], "id-ecPublicKey"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], "ecdsa-with-SHA256"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], "ecdsa-with-SHA384"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], "ecdsa-with-SHA512"),
    (&[0x2b, 0x65, 0x70], "ED25519"),
];

/// Cuts the first element off `bytes` (DER): its tag, what is in it, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=127 => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |n, &d| n << 8 | usize::from(d)), rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((tag, inside, rest))
}

/// Like [`element`], for one that must have this tag.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|e| e.0 == tag).map(|(_, inside, rest)| (inside, rest))
}

impl<'a> Certificate<'a> {
    /// Takes a certificate in DER form apart; `None` if it is none.
    pub fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let (whole, _) = expect(SEQUENCE, der)?;
        let (mut part, _) = expect(SEQUENCE, whole)?;
        let mut version = 1;
        if let Some((inside, rest)) = expect(VERSION, part) {
            version = expect(INTEGER, inside)?.0.first()?.saturating_add(1);
            part = rest;
        }
        let (serial, part) = expect(INTEGER, part)?;
        let (algorithm, part) = expect(SEQUENCE, part)?;
        let (issuer, part) = expect(SEQUENCE, part)?;
        let (validity, part) = expect(SEQUENCE, part)?;
        let (subject, part) = expect(SEQUENCE, part)?;
        let (key, mut part) = expect(SEQUENCE, part)?;
        let mut is_authority = false;
        // Two identifiers that nobody uses may stand before the extensions.
        while let Some((tag, inside, rest)) = element(part) {
            if tag == EXTENSIONS {
                is_authority = says_authority(expect(SEQUENCE, inside)?.0)?;
            }
            part = rest;
        }
        let (_, not_before, after) = element(validity)?;
        let (_, not_after, _) = element(after)?;
        Some(Certificate {
            version,
            serial,
            signature_algorithm: expect(OBJECT, algorithm)?.0,
            issuer: Name::parse(issuer)?,
            not_before,
            not_after,
            subject: Name::parse(subject)?,
            key_algorithm: expect(OBJECT, expect(SEQUENCE, key)?.0)?.0,
            is_authority,
        })
    }
}

/// Whether one of the extensions says that the certificate is an authority's.
fn says_authority(mut extensions: &[u8]) -> Option<bool> {
    while !extensions.is_empty() {
        let (extension, rest) = expect(SEQUENCE, extensions)?;
        let (object, mut value) = expect(OBJECT, extension)?;
        if let Some((_, after)) = expect(BOOLEAN, value) {
            // Whether it is critical.
            value = after;
        }
        if object == BASIC_CONSTRAINTS {
            let (constraints, _) = expect(SEQUENCE, expect(OCTETS, value)?.0)?;
            return Some(expect(BOOLEAN, constraints).is_some_and(|(yes, _)| yes != [0]));
        }
        extensions = rest;
    }
    Some(false)
}

impl<'a> Name<'a> {
    fn parse(mut sets: &'a [u8]) -> Option<Name<'a>> {
        let mut list = Vec::new();
        while !sets.is_empty() {
            let (mut set, rest) = expect(SET, sets)?;
            while !set.is_empty() {
                let (attribute, more) = expect(SEQUENCE, set)?;
                let (object, value) = expect(OBJECT, attribute)?;
                list.push((object, element(value)?.1));
                set = more;
            }
            sets = rest;
        }
        Some(Name(list))
    }

    /// The whole name in OpenSSL's old one-line form: `/C=XX/O=...`. Bytes that are not printable, and the slash that
    /// would make one attribute look like two, are `\xHH`.
    pub fn one_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        for (object, value) in &self.0 {
            line.push(b'/');
            match ATTRIBUTES.iter().find(|a| a.0 == *object) {
                Some((_, short, _)) => line.extend_from_slice(short.as_bytes()),
                None => line.extend_from_slice(dotted(object).as_bytes()),
            }
            line.push(b'=');
            for &b in *value {
                match b {
                    b' '..=b'~' if b != b'/' => line.push(b),
                    _ => line.extend_from_slice(format!("\\x{b:02X}").as_bytes()),
                }
            }
        }
        line
    }

    /// The attributes that have a name in variables, with it.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &'a [u8])> + '_ {
        self.0.iter().filter_map(|(object, value)| {
            let (_, _, name) = ATTRIBUTES.iter().find(|a| a.0 == *object)?;
            Some((*name, *value)).filter(|_| !name.is_empty())
        })
    }
}

/// OpenSSL's long name of an algorithm.
pub fn algorithm_name(object: &[u8]) -> &'static str {
    ALGORITHMS.iter().find(|a| a.0 == object).map_or("UNKNOWN", |a| a.1)
}

/// An object identifier in digits.
fn dotted(object: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for &b in object {
        number = number.wrapping_shl(7) | u64::from(b & 0x7f);
        if b & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - 40 * first]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// A big-endian number in decimal digits.
pub fn decimal(bytes: &[u8]) -> String {
    let mut digits: Vec<u8> = vec![0];
    for &b in bytes {
        let mut carry = u16::from(b);
        for digit in &mut digits {
            carry += u16::from(*digit) * 256;
            *digit = (carry % 10) as u8;
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|d| char::from(b'0' + d)).collect()
}

/// A time of a certificate as OpenSSL prints it: `Jan  2 03:04:05 2026 GMT`; empty if it is none.
pub fn time_text(time: &[u8]) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some([year, month, day, hour, minute, second]) = fields(time) else { return String::new() };
    let Some(name) = (month as usize).checked_sub(1).and_then(|m| MONTHS.get(m)) else { return String::new() };
    format!("{name} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
}

/// Seconds since 1970 of a time of a certificate.
pub fn seconds(time: &[u8]) -> Option<i64> {
    let [year, month, day, hour, minute, second] = fields(time)?.map(i64::from);
    // Days from the civil calendar, with the year beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Year, month, day, hour, minute, second (RFC 5280 4.1.2.5).
fn fields(time: &[u8]) -> Option<[u32; 6]> {
    let digits = time.strip_suffix(b"Z").filter(|t| t.iter().all(u8::is_ascii_digit))?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    let (year, rest) = match digits.len() {
        12 => {
            let (two, rest) = digits.split_at_checked(2)?;
            let two = number(two);
            (if two < 50 { 2000 + two } else { 1900 + two }, rest)
        }
        14 => digits.split_at_checked(4).map(|(four, rest)| (number(four), rest))?,
        _ => return None,
    };
    let mut all = [year; 6];
    all.iter_mut().skip(1).zip(rest.chunks(2)).for_each(|(place, two)| *place = number(two));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 1, 0, 0]), "65536");
        assert_eq!(decimal(&[0xff; 8]), u64::MAX.to_string());
        assert_eq!(time_text(b"260102030405Z"), "Jan  2 03:04:05 2026 GMT");
        assert_eq!(time_text(b"20501231235959Z"), "Dec 31 23:59:59 2050 GMT");
        let none: &[&[u8]] = &[b"", b"Z", b"2601020304Z", b"260102030405", b"261302030405Z", b"26010203040xZ"];
        for time in none {
            assert_eq!(time_text(time), "", "{}", time.escape_ascii());
        }
        let rows: &[(&[u8], i64)] = &[
            (b"700101000000Z", 0),
            (b"240229120000Z", 1_709_208_000),
            (b"491231235959Z", 2_524_607_999),
            (b"500101000000Z", -631_152_000),
            (b"20500101000000Z", 2_524_608_000),
        ];
        for (time, expected) in rows {
            assert_eq!(seconds(time), Some(*expected), "{}", time.escape_ascii());
        }
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
    }

    #[test]
    fn a_name_on_one_line() {
        let name = [
            &[0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 6, 0x13, 2][..],
            b"DE",
            &[0x31, 14, 0x30, 12, 6, 3, 0x55, 4, 3, 0x0c, 5],
            b"a/b\xff\n",
            &[0x31, 10, 0x30, 8, 6, 3, 0x2a, 3, 4, 0x0c, 1],
            b"x",
        ]
        .concat();
        let name = Name::parse(&name).unwrap();
        assert_eq!(name.one_line(), b"/C=DE/CN=a\\x2Fb\\xFF\\x0A/1.2.3.4=x");
        assert_eq!(name.attributes().map(|a| a.0).collect::<Vec<_>>(), ["C", "CN"]);
    }

    #[test]
    fn garbage_is_no_certificate() {
        let rows: &[&[u8]] = &[b"", b"0", b"0\x84\xff\xff\xff\xff", b"0\x80", b"0\x02\x30\x00", &[0x30; 64]];
        for row in rows {
            assert!(Certificate::parse(row).is_none());
        }
    }
}
