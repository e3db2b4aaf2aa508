//! Figures of single transfers as lines of text, and the table that is made of them.
//!
//! A line has these words, separated by tabs: workload, system, round, accepted/s, end to end/s, processor ms, p50 ms,
//! p99 ms, and what makes it void, or `-`. Lines about sessions (sessions.rs) have other figures in the middle.

use crate::load::Result;
use std::io::BufRead;
use std::process::ExitCode;

/// What one transfer came to, per recipient where a message has several.
pub struct Figures {
    /// Accepted per second.
    pub accepted: f64,
    /// Delivered per second.
    pub delivered: f64,
    /// Milliseconds of processor time for each.
    pub processor: f64,
    /// Milliseconds within which half of the messages were accepted.
    pub p50: f64,
    /// Likewise, 99 of 100.
    pub p99: f64,
}

/// What the figures of a line are.
pub struct Kind {
    columns: &'static [&'static str],
    /// A workload without TLS, the column in which it is subtracted from the others, and what the difference is.
    part: Option<(&'static str, usize, &'static str)>,
}

/// Of `load transfer`.
pub const MESSAGES: Kind =
    Kind { columns: &["accepted/s", "end to end/s", "processor ms", "p50 ms", "p99 ms"], part: None };
/// Of `load sessions`.
pub const SESSIONS: Kind =
    Kind { columns: &["sessions/s", "processor ms", "p50 ms", "p99 ms"], part: Some(("plain", 1, "of it TLS")) };
/// Of `load idle`.
pub const IDLE: Kind = Kind { columns: &["memory kB"], part: Some(("idle-plain", 0, "of it TLS")) };

impl Figures {
    /// The line.
    pub fn line(&self, workload: &str, system: &str, round: &str, void: &str) -> String {
        let void = if void.is_empty() { "-" } else { void };
        let Figures { accepted, delivered, processor, p50, p99 } = self;
        format!(
            "{workload}\t{system}\t{round}\t{accepted:.3}\t{delivered:.3}\t{processor:.4}\t{p50:.4}\t{p99:.4}\t{void}"
        )
    }
}

/// All rounds of one workload in one system.
struct Rounds {
    workload: String,
    system: String,
    values: Vec<Vec<f64>>,
    void: Option<String>,
}

/// Reads lines of figures from descriptor 0 and prints the table. The first system of a workload is set in relation to
/// each of the others.
pub fn table(kind: &Kind) -> Result<ExitCode> {
    let lines: Vec<String> = std::io::stdin().lock().lines().map_while(|l| l.ok()).collect();
    let all = gather(kind, lines.iter().map(String::as_str))?;
    print!("{}", render(kind, &all));
    Ok(if all.iter().any(|r| r.void.is_some()) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn gather<'a>(kind: &Kind, lines: impl Iterator<Item = &'a str>) -> Result<Vec<Rounds>> {
    let mut all: Vec<Rounds> = Vec::new();
    for line in lines {
        let bad = || format!("no line of figures: {line}");
        let words: Vec<&str> = line.split('\t').collect();
        let &[workload, system, _round, ref numbers @ .., void] = words.as_slice() else { return Err(bad()) };
        let numbers: Vec<f64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
        if numbers.len() != kind.columns.len() {
            return Err(bad());
        }
        let known = all.iter().position(|r| r.workload == workload && r.system == system);
        let at = known.unwrap_or_else(|| {
            let new = Rounds { workload: workload.into(), system: system.into(), values: vec![], void: None };
            all.push(new);
            all.len() - 1
        });
        if let Some(rounds) = all.get_mut(at) {
            rounds.values.push(numbers);
            if void != "-" {
                rounds.void.get_or_insert_with(|| void.to_string());
            }
        }
    }
    if let Some((plain, column, _)) = kind.part {
        add_difference(&mut all, plain, column);
    }
    Ok(all)
}

/// One more figure behind each line's others: what it has in `column` more than the same system has in the workload
/// `plain`, in the same round. A system that has no such workload is one that works on behalf of the first that has.
fn add_difference(all: &mut [Rounds], plain: &str, column: usize) {
    let of = |r: &Rounds| (r.system.clone(), r.values.iter().map(|v| v.get(column).copied()).collect::<Vec<_>>());
    let bases: Vec<_> = all.iter().filter(|r| r.workload == plain).map(of).collect();
    for rounds in all {
        let base = bases.iter().find(|(system, _)| *system == rounds.system).or(bases.first());
        for (n, values) in rounds.values.iter_mut().enumerate() {
            let without = base.and_then(|(_, values)| values.get(n).copied().flatten());
            let with = values.get(column).copied().filter(|_| rounds.workload != plain);
            values.push(with.zip(without).map_or(f64::NAN, |(with, without)| with - without));
        }
    }
}

fn render(kind: &Kind, all: &[Rounds]) -> String {
    let row = |workload: &str, system: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|c| format!("{c:>20}")).collect();
        format!("{workload:<12} {system:<8}{cells}\n")
    };
    let columns = kind.columns.iter().copied().chain(kind.part.map(|(.., name)| name));
    let count = columns.clone().count();
    let mut text = row("", "", columns.map(String::from).collect());
    let mut last = "";
    for pair in all.chunk_by(|a, b| a.workload == b.workload) {
        for rounds in pair {
            let label = if last == rounds.workload { "" } else { rounds.workload.as_str() };
            last = &rounds.workload;
            text += &match &rounds.void {
                Some(why) => format!("{label:<12} {:<8}  VOID: {why}\n", rounds.system),
                None => row(label, &rounds.system, (0..count).map(|n| figure(median(rounds, n))).collect()),
            };
            if let Some(ours) = pair.first().filter(|ours| ours.system != rounds.system)
                && ours.void.is_none()
                && rounds.void.is_none()
            {
                text += &row("", "ratio", (0..count).map(|n| ratio(ours, rounds, n)).collect());
            }
        }
    }
    text
}

fn figure(value: f64) -> String {
    match value {
        _ if value.is_nan() => "-".to_string(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value < 10.0 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

/// The ratio of the medians, and the smallest and the largest of all rounds.
fn ratio(ours: &Rounds, theirs: &Rounds, column: usize) -> String {
    let of_round = |(a, b): (&Vec<f64>, &Vec<f64>)| Some(a.get(column)? / b.get(column)?);
    let rounds: Vec<f64> = ours.values.iter().zip(&theirs.values).filter_map(of_round).collect();
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rounds.iter().copied().fold(0.0, f64::max);
    let whole = median(ours, column) / median(theirs, column);
    if whole.is_nan() { "-".to_string() } else { format!("{whole:.2} ({least:.2}-{most:.2})") }
}

fn median(rounds: &Rounds, column: usize) -> f64 {
    let mut values: Vec<f64> = rounds.values.iter().filter_map(|v| v.get(column).copied()).collect();
    values.sort_by(f64::total_cmp);
    let middle = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
    let n = values.len();
    if n % 2 == 1 { middle(n / 2) } else { (middle(n.wrapping_sub(2) / 2) + middle(n / 2)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_medians_ratios_and_their_spread() {
        let lines = "w\ta\t1\t100\t90\t2\t1\t5\t-\nw\tb\t1\t50\t45\t4\t2\t5\t-\n\
                     w\ta\t2\t300\t90\t2\t1\t5\t-\nw\tb\t2\t100\t45\t4\t2\t5\t-\n\
                     w\ta\t3\t200\t90\t2\t1\t5\t-\nw\tb\t3\t200\t45\t4\t2\t5\t-\n";
        let text = render(&MESSAGES, &gather(&MESSAGES, lines.lines()).unwrap());
        let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..4], ["w", "a", "200", "90.00"]);
        assert_eq!(rows[2][..3], ["b", "100", "45.00"]);
        assert_eq!(rows[3][..5], ["ratio", "2.00", "(1.00-3.00)", "2.00", "(2.00-2.00)"]);
    }

    #[test]
    fn a_void_round_voids_the_figure() {
        let lines = "w\ta\t1\t100\t90\t2\t1\t5\t-\nw\tb\t1\t50\t45\t4\t2\t5\t1 lost\nw\ta\t2\t1\t1\t1\t1\t1\t-\n";
        let text = render(&MESSAGES, &gather(&MESSAGES, lines.lines()).unwrap());
        assert!(text.contains("VOID: 1 lost") && !text.contains("ratio"), "{text}");
        assert!(gather(&MESSAGES, ["w\ta\t1\t100\t-"].into_iter()).is_err());
    }

    #[test]
    fn what_tls_adds_is_the_difference_to_the_same_round_without() {
        let lines = "plain\ta\t1\t9\t1\t0\t0\t-\nplain\tb\t1\t9\t3\t0\t0\t-\n\
                     tls\ta\t1\t9\t2\t0\t0\t-\ntls\tb\t1\t9\t5\t0\t0\t-\ntls\tc\t1\t9\t5\t0\t0\t-\n";
        let text = render(&SESSIONS, &gather(&SESSIONS, lines.lines()).unwrap());
        let last: Vec<&str> = text.lines().map(|l| l.split_whitespace().last().unwrap()).collect();
        assert_eq!(last, ["TLS", "-", "-", "-", "1.000", "2.000", "(0.50-0.50)", "4.000", "(0.25-0.25)"]);
        assert!(text.contains("ratio "), "{text}");
    }
}
