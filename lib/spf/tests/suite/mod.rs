//! Reads rfc7208-tests.yml: just as much YAML as that file uses.
#![allow(dead_code)]

use std::collections::HashMap;

/// The suite, as it is published.
const TEXT: &str = include_str!("../rfc7208-tests.yml");

/// Some cases and the names that are known to them.
pub struct Scenario {
    pub description: String,
    pub cases: Vec<Case>,
    pub zone: Zone,
}

/// One question and its answers.
#[derive(Default)]
pub struct Case {
    pub name: String,
    pub host: String,
    pub helo: String,
    pub mailfrom: String,
    /// The results that are right, the best one first.
    pub results: Vec<String>,
    pub explanation: Option<String>,
}

/// Records by name, in lower case.
#[derive(Default)]
pub struct Zone(HashMap<Vec<u8>, Vec<Entry>>);

#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    A(std::net::Ipv4Addr),
    Aaaa(std::net::Ipv6Addr),
    Mx(u16, Vec<u8>),
    Ptr(Vec<u8>),
    Cname(Vec<u8>),
    /// The strings of a TXT record.
    Txt(Vec<Vec<u8>>),
    /// There is no TXT record, whatever SPF records say.
    NoTxt,
    /// The strings of a record of the abandoned type SPF, which stands for a TXT record if there is none.
    Spf(Vec<Vec<u8>>),
    /// Records after this one are not answered for.
    Timeout,
}

/// What a server says.
pub enum Said {
    Records(Vec<Entry>),
    NoSuchName,
    Nothing,
}

impl Zone {
    /// The records of `name` that `wanted` takes, or its alias.
    pub fn ask(&self, name: &[u8], wanted: fn(&Entry) -> bool) -> Said {
        let Some(entries) = self.0.get(&name.to_ascii_lowercase()) else { return Said::NoSuchName };
        let has_txt = entries.iter().any(|e| matches!(e, Entry::Txt(_) | Entry::NoTxt));
        let mut found = Vec::new();
        for entry in entries {
            let entry = match entry {
                Entry::Timeout if found.is_empty() => return Said::Nothing,
                Entry::Timeout => break,
                Entry::Spf(strings) if !has_txt => Entry::Txt(strings.clone()),
                other => other.clone(),
            };
            if wanted(&entry) || matches!(entry, Entry::Cname(_)) {
                found.push(entry);
            }
        }
        Said::Records(found)
    }
}

/// All scenarios.
pub fn scenarios() -> Vec<Scenario> {
    TEXT.split("\n---\n").skip(1).map(scenario).collect()
}

fn scenario(document: &str) -> Scenario {
    let mut scenario = Scenario { description: String::new(), cases: Vec::new(), zone: Zone::default() };
    let (mut section, mut owner) = ("", Vec::new());
    for line in document.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match (indent, section) {
            _ if text.is_empty() || text.starts_with('#') => {}
            (0, _) => {
                let (key, words) = text.split_once(':').unwrap();
                section = key;
                if key == "description" {
                    scenario.description = words.trim().to_string();
                }
            }
            (2, "tests") => {
                let name = text.trim_end().trim_end_matches(':').to_string();
                scenario.cases.push(Case { name, ..Case::default() });
            }
            (4, "tests") => {
                let case = scenario.cases.last_mut().unwrap();
                let (key, value) = text.split_once(':').unwrap();
                let values = || list(value).into_iter().map(|v| String::from_utf8(v).unwrap());
                let one = || values().next().unwrap();
                match key {
                    "host" => case.host = one(),
                    "helo" => case.helo = one(),
                    "mailfrom" => case.mailfrom = one(),
                    "result" => case.results = values().collect(),
                    "explanation" => case.explanation = Some(one()),
                    _ => {}
                }
            }
            (2, "zonedata") => {
                owner = list(text.trim_end().strip_suffix(':').unwrap()).remove(0).to_ascii_lowercase();
            }
            (4, "zonedata") => {
                let entry = entry(text.strip_prefix("- ").unwrap());
                scenario.zone.0.entry(owner.clone()).or_default().push(entry);
            }
            // The rest of a description.
            _ => {}
        }
    }
    scenario
}

fn entry(text: &str) -> Entry {
    if text.trim() == "TIMEOUT" {
        return Entry::Timeout;
    }
    let (kind, value) = text.split_once(':').unwrap();
    let values = list(value);
    let string = |at: usize| std::str::from_utf8(&values[at]).unwrap();
    let name = |at: usize| values[at].strip_suffix(b".").unwrap_or(&values[at]).to_vec();
    match kind {
        "A" => Entry::A(string(0).parse().unwrap()),
        "AAAA" => Entry::Aaaa(string(0).parse().unwrap()),
        "MX" => Entry::Mx(string(0).parse().unwrap(), name(1)),
        "PTR" => Entry::Ptr(name(0)),
        "CNAME" => Entry::Cname(name(0)),
        "TXT" if values == [b"NONE"] => Entry::NoTxt,
        "TXT" => Entry::Txt(values),
        "SPF" => Entry::Spf(values),
        _ => panic!("record {text}"),
    }
}

/// The items of a list in brackets; else the one value.
fn list(text: &str) -> Vec<Vec<u8>> {
    let text = text.trim();
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let (mut rest, many) = (inside.unwrap_or(text).trim(), inside.is_some());
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, after) = match rest.as_bytes()[0] {
            b'"' => double_quoted(&rest[1..]),
            b'\'' => {
                let end = rest[1..].find('\'').unwrap() + 1;
                (rest[1..end].into(), &rest[end + 1..])
            }
            _ if many => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().into(), &rest[end..])
            }
            _ => (rest.into(), ""),
        };
        items.push(item);
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    items
}

/// The bytes of a string in double quotes, and what follows it.
fn double_quoted(text: &str) -> (Vec<u8>, &str) {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes[at + 1] {
            b'x' => {
                out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).unwrap());
                at += 4;
            }
            b'0' => {
                out.push(0);
                at += 2;
            }
            other => {
                out.push(other);
                at += 2;
            }
        }
    }
    (out, &text[at + 1..])
}
