//! What a sweep has found, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a sweep has found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// One row for each scenario.
    pub rows: Vec<Row>,
    /// How long it took.
    pub took: Duration,
    /// What repeats it.
    pub seed: u64,
}

/// What was found in one scenario.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// How many instructions its operation has.
    pub instructions: usize,
    /// At how many points a victim was killed.
    pub points: usize,
    /// Whether these are all that there are: before each instruction, and after the last.
    pub is_whole: bool,
    /// Whether points were left out because there were too many failures.
    pub is_cut: bool,
    /// How many victims were done before their point: they went another way than the one that was noted.
    pub early: usize,
    /// What the kills turned out to be, and how often.
    pub outcomes: BTreeMap<String, usize>,
    /// What was broken.
    pub failures: Vec<Failure>,
}

/// A promise that was broken.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// How many instructions the victim had run.
    pub point: usize,
    /// Where its next instruction was.
    pub place: String,
    /// Which promise.
    pub what: String,
}

impl Row {
    pub(crate) fn new(scenario: &str, instructions: usize) -> Self {
        let (scenario, outcomes, failures) = (scenario.to_owned(), BTreeMap::new(), Vec::new());
        let (points, early, is_whole, is_cut) = (1, 0, false, false);
        Self { scenario, instructions, points, is_whole, is_cut, early, outcomes, failures }
    }
}

impl Report {
    /// How many victims were killed.
    pub fn points(&self) -> usize {
        self.rows.iter().map(|row| row.points).sum()
    }

    /// How many kills have broken a promise.
    pub fn failures(&self) -> usize {
        self.rows.iter().map(|row| row.failures.len()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.rows.iter().map(|row| row.scenario.len()).max().unwrap_or(0);
        let titles = ("scenario", "instructions", "killed at", "failures");
        writeln!(
            f,
            "{:wide$}  {}  {:>13}  {}  what was seen",
            titles.0, titles.1, titles.2, titles.3
        )?;
        for row in &self.rows {
            let killed = format!("{}{}", row.points, if row.is_whole { " (every)" } else { "" });
            let (scenario, instructions) = (&row.scenario, row.instructions);
            write!(
                f,
                "{scenario:wide$}  {instructions:>12}  {killed:>13}  {:>8}",
                row.failures.len()
            )?;
            let outcomes: Vec<_> =
                row.outcomes.iter().map(|(outcome, times)| format!("{times} {outcome}")).collect();
            write!(f, "  {}", outcomes.join("; "))?;
            let early =
                if row.early > 0 { format!("; {} done early", row.early) } else { String::new() };
            writeln!(f, "{early}{}", if row.is_cut { "; the rest was left out" } else { "" })?;
        }
        for row in &self.rows {
            for failure in &row.failures {
                let Failure { point, place, what } = failure;
                writeln!(f, "FAILURE {} --at {point} ({place}): {what}", row.scenario)?;
            }
        }
        let (points, seconds) = (self.points(), self.took.as_secs_f64());
        let rate = points as f64 / seconds.max(f64::MIN_POSITIVE);
        let (scenarios, failures) = (self.rows.len(), self.failures());
        write!(f, "{points} kills in {scenarios} scenarios, {failures} failures; ")?;
        writeln!(f, "{seconds:.1} s, {rate:.0} kills a second; --seed {} repeats it", self.seed)
    }
}
