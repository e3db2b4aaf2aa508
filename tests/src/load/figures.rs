//! Figures of single transfers as lines of text, and the table that is made of them.
//!
//! A line has these words, separated by tabs: workload, system, round, accepted/s, end to end/s, processor ms, p50 ms,
//! p99 ms, and what makes it void, or `-`.

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

const COLUMNS: [&str; 5] = ["accepted/s", "end to end/s", "processor ms", "p50 ms", "p99 ms"];

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
    values: Vec<[f64; 5]>,
    void: Option<String>,
}

/// Reads lines of figures from descriptor 0 and prints the table. The first system of a workload is set in relation to
/// the second.
pub fn table() -> Result<ExitCode> {
    let lines: Vec<String> = std::io::stdin().lock().lines().map_while(|l| l.ok()).collect();
    let all = gather(lines.iter().map(String::as_str))?;
    print!("{}", render(&all));
    Ok(if all.iter().any(|r| r.void.is_some()) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn gather<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Rounds>> {
    let mut all: Vec<Rounds> = Vec::new();
    for line in lines {
        let bad = || format!("no line of figures: {line}");
        let words: Vec<&str> = line.split('\t').collect();
        let &[workload, system, _round, ref numbers @ .., void] = words.as_slice() else { return Err(bad()) };
        let numbers: Vec<f64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
        let values: [f64; 5] = numbers.try_into().map_err(|_| bad())?;
        let known = all.iter().position(|r| r.workload == workload && r.system == system);
        let at = known.unwrap_or_else(|| {
            let new = Rounds { workload: workload.into(), system: system.into(), values: vec![], void: None };
            all.push(new);
            all.len() - 1
        });
        if let Some(rounds) = all.get_mut(at) {
            rounds.values.push(values);
            if void != "-" {
                rounds.void.get_or_insert_with(|| void.to_string());
            }
        }
    }
    Ok(all)
}

fn render(all: &[Rounds]) -> String {
    let row = |workload: &str, system: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|c| format!("{c:>18}")).collect();
        format!("{workload:<12} {system:<8}{cells}\n")
    };
    let mut text = row("", "", COLUMNS.map(String::from).to_vec());
    let mut last = "";
    for pair in all.chunk_by(|a, b| a.workload == b.workload) {
        for rounds in pair {
            let label = if last == rounds.workload { "" } else { rounds.workload.as_str() };
            last = &rounds.workload;
            text += &match &rounds.void {
                Some(why) => format!("{label:<12} {:<8}  VOID: {why}\n", rounds.system),
                None => row(label, &rounds.system, (0..COLUMNS.len()).map(|n| figure(median(rounds, n))).collect()),
            };
        }
        if let [ours, theirs] = pair
            && ours.void.is_none()
            && theirs.void.is_none()
        {
            text += &row("", "ratio", (0..COLUMNS.len()).map(|n| ratio(ours, theirs, n)).collect());
        }
    }
    text
}

fn figure(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The ratio of the medians, and the smallest and the largest of all rounds.
fn ratio(ours: &Rounds, theirs: &Rounds, column: usize) -> String {
    let of_round = |(a, b): (&[f64; 5], &[f64; 5])| Some(a.get(column)? / b.get(column)?);
    let rounds: Vec<f64> = ours.values.iter().zip(&theirs.values).filter_map(of_round).collect();
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rounds.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}-{most:.2})", median(ours, column) / median(theirs, column))
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
        let text = render(&gather(lines.lines()).unwrap());
        let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..4], ["w", "a", "200", "90.00"]);
        assert_eq!(rows[2][..3], ["b", "100", "45.00"]);
        assert_eq!(rows[3][..5], ["ratio", "2.00", "(1.00-3.00)", "2.00", "(2.00-2.00)"]);
    }

    #[test]
    fn a_void_round_voids_the_figure() {
        let lines = "w\ta\t1\t100\t90\t2\t1\t5\t-\nw\tb\t1\t50\t45\t4\t2\t5\t1 lost\nw\ta\t2\t1\t1\t1\t1\t1\t-\n";
        let text = render(&gather(lines.lines()).unwrap());
        assert!(text.contains("VOID: 1 lost") && !text.contains("ratio"), "{text}");
        assert!(gather(["w\ta\t1\t100\t-"].into_iter()).is_err());
    }
}
