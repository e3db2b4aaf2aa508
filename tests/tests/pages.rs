//! The manual pages against what they are about: every program has one, all lint clean, and what they name is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use whole_system::files;

/// Named by a page, but by no source of ours: with the page, and the reason.
const ELSEWHERE: [(&str, &str, &str); 8] = [
    ("TZ", "datemail.1", "read by the C library"),
    ("TZ", "predate.1", "read by the C library"),
    ("/etc/localtime", "predate.1", "read by the C library"),
    ("TZ", "splogger.8", "read by the C library"),
    ("/etc/nsswitch.conf", "qmail-authcrypt.8", "read by the C library"),
    ("/etc/shadow", "qmail-authcrypt.8", "read by the C library"),
    ("/etc/inetd.conf", "tcp-env.1", "read by inetd"),
    ("control/concurrencyincoming", "qmail-control.5", "read by the run scripts of many sites"),
];
/// Pages of sections 1 and 8 about something that is no program of its own.
const CONCEPTS: [&str; 1] = ["qmail-command"];
/// References to pages of other packages.
const FOREIGN: [&str; 13] = [
    "cat 1",
    "crypt 3",
    "find 1",
    "flock 2",
    "inotify 7",
    "logger 1",
    "madvise 2",
    "nsswitch.conf 5",
    "passwd 5",
    "shadow 5",
    "supervise 8",
    "svc 8",
    "syslog 3",
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

// ---------------------------------------------------------------- what is there

/// The lines of package/table in words: type, path, owner, group, mode, source.
fn table() -> Vec<Vec<String>> {
    let text = fs::read_to_string(top().join("package/table")).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| l.split_whitespace().map(str::to_string).collect()).collect()
}

/// The installed programs; for another name of one, the program.
fn programs() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in table() {
        if let Some(name) = line[1].strip_prefix("bin/") {
            let program = if line[0] == "link" { line[5].clone() } else { name.to_string() };
            found.insert(name.to_string(), program);
        }
    }
    found
}

/// All pages, by file name.
fn pages() -> BTreeMap<String, String> {
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    files(&top().join("man")).iter().map(|file| (name(file), fs::read_to_string(file).unwrap())).collect()
}

/// The sections of a page: name and text.
fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n.Sh ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// The arguments that a text gives to a macro, anywhere in its lines.
fn arguments(page: &str, wanted: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for line in page.lines().filter_map(|l| l.strip_prefix('.')) {
        let mut now = "";
        for word in line.split_whitespace() {
            // Two letters, the first of them a capital: a macro that can stand within a line.
            if let [b'A'..=b'Z', b'a'..=b'z' | b'0'..=b'9'] = word.as_bytes() {
                now = word;
            } else if now == wanted && !matches!(word, "." | "," | ";" | ":" | ")" | "(" | "?") {
                found.insert(word.replace("\\&", ""));
            }
        }
    }
    found
}

// ---------------------------------------------------------------- what the sources say

/// What a Rust source has in its string literals; comments and its tests left out.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let bytes = source.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"'\\") {
            at += 3 + rest[3..].iter().position(|&b| b == b'\'').unwrap();
        } else if byte == b'\'' && rest.get(2) == Some(&b'\'') {
            at += 3;
        } else if rest.starts_with(b"r\"") || rest.starts_with(b"r#\"") {
            let end = if rest[1] == b'#' { "\"#" } else { "\"" };
            let begin = at + 1 + end.len();
            let length = source[begin..].find(end).unwrap();
            found.push(source[begin..begin + length].to_string());
            at = begin + length + end.len();
        } else if byte == b'"' {
            let mut end = at + 1;
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            found.push(source[at + 1..end].to_string());
            at = end + 1;
        } else {
            at += 1;
        }
    }
    found
}

/// All literals of our libraries and programs by stage, `lib` for the libraries; `sh` has the words of scripts.
struct Sources(BTreeMap<String, Vec<String>>);

impl Sources {
    fn read() -> Sources {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let words = |text: String| text.split_whitespace().map(|w| w.trim_matches('"').to_string()).collect::<Vec<_>>();
        for file in ["lib", "bins"].iter().flat_map(|dir| files(&top().join(dir))) {
            let parts: Vec<_> = file.strip_prefix(top()).unwrap().iter().map(|p| p.to_str().unwrap()).collect();
            let stage = if parts[0] == "lib" { "lib" } else { parts[1] };
            let text = || fs::read_to_string(&file).unwrap();
            let list = found.entry(stage.to_string()).or_default();
            match parts[2] {
                // It knows every control file, and would vouch for all.
                "src" if file.ends_with("queue/src/showctl.rs") || file.ends_with("tests.rs") => {}
                "src" if file.extension().is_some_and(|e| e == "rs") => list.extend(literals(&text())),
                "scripts" => list.extend(words(text())),
                _ => {}
            }
        }
        let scripts = ["service-templates", "package"].iter().flat_map(|dir| files(&top().join(dir)));
        found.insert("sh".to_string(), scripts.flat_map(|f| words(fs::read_to_string(f).unwrap())).collect());
        Sources(found)
    }

    /// Those of a stage and of the libraries; `None`: all.
    fn of(&self, stage: Option<&str>) -> Vec<&str> {
        let all = self.0.iter().filter(|(of, _)| stage.is_none_or(|stage| *of == stage || *of == "lib"));
        all.flat_map(|(_, list)| list).map(String::as_str).collect()
    }
}

/// The folder in bins/ that builds a program.
fn stage_of(program: &str) -> Option<String> {
    let stages = fs::read_dir(top().join("bins")).unwrap().map(|entry| entry.unwrap().path());
    let mut stages = stages.filter(|dir| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        manifest.contains(&format!("name = \"{program}\"\n")) || dir.join("scripts").join(program).exists()
    });
    stages.next().map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned())
}

/// Whether `text` has `word`, and not as a piece of a longer name; a word like .old is the end of a name.
fn has_word(text: &str, word: &str) -> bool {
    let is_end = word.starts_with(['.', '-']);
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-';
    text.match_indices(word).any(|(at, _)| {
        let before = text.as_bytes()[..at].last();
        let after = text.as_bytes().get(at + word.len());
        (is_end || !before.is_some_and(|b| is_name(b) || *b == b'.')) && !after.is_some_and(is_name)
    })
}

/// Whether a file that a page names is one of the installed tree, of the repository, or in these literals.
fn file_exists(name: &str, literals: &[&str], table: &BTreeSet<String>) -> bool {
    let short = name.strip_prefix(&format!("{}/", conf::HOME)).unwrap_or(name).trim_end_matches(['/', '*', '-']);
    // The split directories and message numbers.
    let short = short.trim_end_matches(|c: char| c.is_ascii_digit() || c == '/');
    let (dir, base) = short.rsplit_once('/').unwrap_or(("", short));
    if short.is_empty()
        || short == conf::HOME
        || table.contains(short)
        || (["conf", "package"].contains(&dir) && top().join(short).exists())
    {
        return true;
    }
    // Users' own.
    if base == ".qmail" || base.starts_with(".qmail-") {
        return true;
    }
    // Programs read control files by their names alone.
    let control = if dir.is_empty() { short } else { short.strip_prefix("control/").unwrap_or(short) };
    let has = |word: &str| literals.iter().any(|l| has_word(l, word));
    // Copies of what is installed: bin.old.
    let is_copy = |(stem, end): (&str, &str)| table.contains(stem) && has(&format!(".{end}"));
    literals.iter().any(|l| *l == name || *l == control || l.ends_with(&format!("control/{control}")))
        || (short.contains(['/', '.']) && has(short))
        || short.rsplit_once('.').is_some_and(is_copy)
}

// ---------------------------------------------------------------- the tests

#[test]
fn every_program_has_its_page() {
    let (pages, links) = (pages(), table());
    let link = |name: &str| links.iter().find(|l| l[0] == "link" && l[1] == format!("man/man8/{name}.8"));
    for name in programs().keys() {
        let page = link(name).map_or(name.clone(), |l| l[5].trim_end_matches(".8").to_string());
        let text = ["1", "8"].iter().find_map(|section| pages.get(&format!("{page}.{section}")));
        let text = text.unwrap_or_else(|| panic!("no page for {name}"));
        assert!(arguments(text, "Nm").contains(&page), "the page for {name} is about something else");
    }
    for page in pages.keys() {
        let (name, section) = page.rsplit_once('.').unwrap();
        let known = programs().contains_key(name) || CONCEPTS.contains(&name);
        assert!(known || !["1", "8"].contains(&section), "{page} is about no installed program");
    }
}

#[test]
fn every_script_of_package_is_explained_in_install() {
    let install = fs::read_to_string(top().join("INSTALL")).unwrap();
    for entry in fs::read_dir(top().join("package")).unwrap() {
        let (file, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        // A directory of scripts has one section.
        let name = if file.is_dir() { format!("package/{name}/") } else { format!("package/{name}") };
        if fs::metadata(&file).unwrap().permissions().mode() & 0o111 != 0 {
            assert!(install.lines().any(|l| l.split(' ').next() == Some(&name)), "{name} is not in INSTALL");
        }
    }
}

#[test]
fn every_page_lints_clean() {
    let mut command = Command::new("mandoc");
    command.args(["-Tlint", "-W", "warning"]).args(files(&top().join("man")));
    let Ok(done) = command.output() else {
        eprintln!("skipped: mandoc is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.is_empty(), "{said}");
}

#[test]
fn every_file_and_variable_that_a_page_names_exists() {
    let (sources, programs) = (Sources::read(), programs());
    let table: BTreeSet<_> = table().into_iter().map(|line| line[1].clone()).collect();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (page, text) in pages() {
        let stage = programs.get(page.rsplit_once('.').unwrap().0).and_then(|program| stage_of(program));
        for (section, text) in sections(&text) {
            let literals = match section {
                // What a user may choose.
                "EXAMPLES" => continue,
                // What the program itself reads and writes.
                "ENVIRONMENT" | "FILES" => sources.of(stage.as_deref()),
                _ => sources.of(None),
            };
            let files = arguments(text, "Pa").into_iter().map(|name| (file_exists(&name, &literals, &table), name));
            let has = |name: &str| literals.iter().any(|l| has_word(l, name));
            let variables = arguments(text, "Ev").into_iter().map(|name| (has(&name), name));
            for (exists, name) in files.chain(variables) {
                count += 1;
                if !exists && !ELSEWHERE.iter().any(|(n, p, _)| *n == name && *p == page) {
                    wrong.push(format!("{page}, {section}: {name}"));
                }
            }
        }
    }
    // Otherwise this would prove nothing.
    assert!(count > 300, "{count}");
    assert!(wrong.is_empty(), "in no source:\n{}", wrong.join("\n"));
}

#[test]
fn every_variable_and_control_file_that_a_program_reads_has_its_page() {
    let pages = pages();
    let variables: BTreeSet<_> = pages.values().flat_map(|text| arguments(text, "Ev")).collect();
    let controls = arguments(&pages["qmail-control.5"], "Pa");
    let mut wrong = BTreeSet::new();
    for file in files(&top().join("lib")).into_iter().chain(files(&top().join("bins"))) {
        let name = file.strip_prefix(top()).unwrap().display().to_string();
        if !name.ends_with(".rs") || !name.contains("/src/") || name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let after = |start: &str| {
            let parts = text.split(start).skip(1).map(|p| p.split('"').next().unwrap().to_string());
            parts.collect::<Vec<_>>()
        };
        for variable in ["env::get(b\"", "env.get(b\""].into_iter().flat_map(after) {
            if !variables.contains(&variable) {
                wrong.insert(format!("{name}: {variable}"));
            }
        }
        for reader in ["bytes", "line", "line_or_me", "number", "list", "list_or_me"] {
            for control in after(&format!(".{reader}(\"")) {
                if !controls.contains(&control) {
                    wrong.insert(format!("{name}: control/{control}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "in no page: {wrong:#?}");
}

#[test]
fn every_page_that_another_refers_to_exists() {
    let pages = pages();
    for (page, text) in &pages {
        for line in text.lines().filter_map(|l| l.trim_start_matches('.').split_once("Xr ").map(|p| p.1)) {
            let mut words = line.split_whitespace();
            let (name, section) = (words.next().unwrap(), words.next().unwrap());
            let known =
                pages.contains_key(&format!("{name}.{section}")) || FOREIGN.contains(&&*format!("{name} {section}"));
            assert!(known, "{page} refers to {name}({section})");
        }
    }
}

#[test]
fn literals_are_found_where_they_are() {
    let source = "// \"no\"\nlet a = b\"one\\\"\"; let q = '\"'; let n = b'\\''; r#\"two\"\"#;\n\
        let l: &'a str = \"three\";\n\
        #[cfg(test)]\nmod tests { \"no\" }";
    assert_eq!(literals(source), ["one\\\"", "two\"", "three"]);
}
