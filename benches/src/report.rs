//! The results of a comparison: as a table, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use yardstick::machine::Machine;
use yardstick::report::grouped;

use crate::contenders::{CAPACITY, ROOM, Standing, Style};
use crate::crew::Place;
use crate::question::Unit;

/// A whole comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine and the command that it was made with.
    pub machine: Machine,
    /// How often each row ran.
    pub repeats: usize,
    /// About how long each run took, in seconds.
    pub seconds: f64,
    /// Whether each side had a core of its own, if there were enough cores.
    pub pinned: bool,
    /// The answers to each question.
    pub groups: Vec<Group>,
}

/// The answers to one question.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The chapter of the report that it belongs to.
    pub chapter: &'static str,
    /// The question.
    pub title: String,
    /// What is counted.
    pub unit: Unit,
    /// Limits first, then this project, then rivals.
    pub rows: Vec<Row>,
}

/// The answer of one contender.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The contender, with its version.
    pub name: &'static str,
    /// How it was used.
    pub mode: String,
    /// Limit, this project, or rival.
    #[serde(rename = "role")]
    pub standing: Standing,
    /// One message at a time or several.
    pub style: Style,
    /// Where its sides were.
    pub place: Place,
    /// How many threads or processes of ours there were.
    pub sides: usize,
    /// Whether there were more sides than cores.
    pub crowded: bool,
    /// The row's result.
    pub outcome: Outcome,
}

/// The result of a row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The row ran as often as it should.
    Measured(Figures),
    /// There is no figure.
    Failed {
        /// The row's error.
        why: String,
    },
}

/// Medians over all runs.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Round trips, or messages, per second.
    pub rate: Spread,
    /// Megabytes of messages per second; for round trips, of one direction.
    pub megabytes: f64,
    /// How many microseconds half of the round trips took at most.
    pub p50: Option<f64>,
    /// How many microseconds 99 of 100 round trips took at most.
    pub p99: Option<f64>,
    /// CPU time of all sides together for each message or round trip, in microseconds.
    pub cpu: f64,
    /// CPU time of the side that answers, for each request, in microseconds.
    pub server: Option<f64>,
    /// The rate relative to the first limit's rate in the same turn.
    pub of_limit: Option<f64>,
    /// The rate relative to the rate of this project's first row of the same style in the same
    /// turn.
    pub to_fanout: Option<f64>,
    /// The share of messages that did not arrive where they should have: 0 to 1.
    pub lost: f64,
    /// Messages or round trips of all runs together.
    pub messages: u64,
}

/// A median, and the value furthest from it.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the line above names them")]
pub struct Spread {
    pub median: f64,
    pub slowest: f64,
    pub fastest: f64,
}

impl Report {
    /// How the comparison was made, in one line.
    pub fn method(&self) -> String {
        format!(
            "medians of {} interleaved runs of about {} s; sides {}; rings of 64-byte messages hold \
             {}, all else {} bytes",
            self.repeats,
            self.seconds,
            if self.pinned { "pinned to a core each where that fits" } else { "not pinned" },
            grouped(CAPACITY as u64),
            grouped(ROOM as u64)
        )
    }
}

impl Spread {
    /// The spread of some rates.
    pub fn of(rates: &[f64]) -> Self {
        Self {
            median: yardstick::report::median(rates).unwrap_or(0.0),
            slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: rates.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Row {
    /// Where the row's sides were, and whether each had a core.
    pub fn sides(&self) -> String {
        let what = match (self.sides, self.place) {
            (0, _) => return String::new(),
            (1, _) => return "1 thread".to_owned(),
            (n, Place::Threads) => format!("{n} threads"),
            (n, Place::Processes) => format!("{n} processes"),
        };
        if self.crowded { what + " *" } else { what }
    }
}

impl Row {
    /// The row's figures, as in the table. Without figures: the reason, in one line.
    pub fn cells(&self, unit: Unit) -> Result<Vec<String>, String> {
        let found = match &self.outcome {
            Outcome::Measured(found) => found,
            Outcome::Failed { why } => return Err(line(why)),
        };
        let rate = found.rate;
        let [median, slowest, fastest] =
            [rate.median, rate.slowest, rate.fastest].map(|rate| figure(rate / unit.scale()));
        let (first, second) = match unit {
            Unit::RoundTrips | Unit::Tasks => (optional(found.p50), optional(found.p99)),
            Unit::Messages => (figure(found.megabytes), percent(found.lost)),
        };
        let [limit, ours] = [found.of_limit, found.to_fanout].map(optional);
        let mut cells = vec![median, slowest, fastest, first, second, figure(found.cpu)];
        if unit == Unit::Tasks {
            cells.push(optional(found.server));
        }
        cells.extend([limit, ours]);
        Ok(cells)
    }
}

impl Unit {
    /// How many round trips or messages per second a 1 in the table stands for.
    pub fn scale(self) -> f64 {
        match self {
            Self::RoundTrips | Self::Tasks => 1e3,
            Self::Messages => 1e6,
        }
    }

    /// The heads of the columns of figures.
    pub fn heads(self) -> Vec<&'static str> {
        let [rate, first, second] = match self {
            Self::RoundTrips => ["k trips/s", "p50 us", "p99 us"],
            Self::Tasks => ["k tasks/s", "p50 us", "p99 us"],
            Self::Messages => ["M msg/s", "MB/s", "lost %"],
        };
        let server = (self == Self::Tasks).then_some("server us");
        let before = [rate, "slowest", "fastest", first, second, "CPU us"].into_iter();
        before.chain(server).chain(["of limit", "to fanout"]).collect()
    }
}

impl Group {
    /// This group's part of the table.
    pub fn table(&self) -> String {
        let width = |least: usize, of: &dyn Fn(&Row) -> usize| {
            self.rows.iter().map(of).max().map_or(least, |most| least.max(most + 2))
        };
        let name = width(20, &|row| row.name.chars().count());
        let mode = width(34, &|row| row.mode.chars().count());
        let sides = width(14, &|row| row.sides().chars().count());
        fn figures(out: &mut String, cells: &[impl std::fmt::Display]) {
            for cell in cells {
                let _ = write!(out, "{cell:>10}");
            }
            out.push('\n');
        }
        let mut out = format!("\n{}\n{:indent$}", self.title, "", indent = 2 + name + mode + sides);
        figures(&mut out, &self.unit.heads());
        for row in &self.rows {
            let _ = write!(out, "  {:<name$}{:<mode$}", row.name, row.mode);
            match row.cells(self.unit) {
                Ok(cells) => {
                    let _ = write!(out, "{:<sides$}", row.sides());
                    figures(&mut out, &cells);
                }
                Err(why) => {
                    let _ = writeln!(out, "failed: {why}");
                }
            }
        }
        if self.rows.iter().any(|row| row.crowded) {
            out.push_str("  * more of them than cores\n");
        }
        out
    }

    /// Its title, in a form that a file name or an anchor may have.
    pub fn slug(&self) -> String {
        let letters =
            |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
        let words: String = self.title.chars().map(letters).collect();
        words.split_whitespace().collect::<Vec<_>>().join("-")
    }
}

/// A library's message, as one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number with at least three significant digits.
pub fn figure(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        0.1.. => format!("{number:.3}"),
        _ => format!("{number:.4}"),
    }
}

fn optional(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), figure)
}

fn percent(share: f64) -> String {
    if share == 0.0 { "0".to_owned() } else { figure(share * 100.0) }
}
