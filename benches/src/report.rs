//! What a comparison found: as a table, and for those who read JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::contenders::{Role, Style};
use crate::crew::Place;
use crate::machine::Machine;
use crate::question::Unit;

/// A whole comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where and how it was made.
    pub machine: Machine,
    /// How often each row ran.
    pub repeats: usize,
    /// About how long each run took, in seconds.
    pub seconds: f64,
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
    /// Who, with its version.
    pub name: &'static str,
    /// How it was used.
    pub mode: String,
    /// Limit, this project, or rival.
    pub role: Role,
    /// One message at a time or not.
    pub style: Style,
    /// Where its sides were.
    pub place: Place,
    /// How many threads or processes of ours there were.
    pub sides: usize,
    /// More sides than cores.
    pub crowded: bool,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran as often as it should.
    Measured(Figures),
    /// There is no figure.
    Failed {
        /// What it said.
        why: String,
    },
}

/// Medians over all runs.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Round trips, or messages, per second.
    pub rate: Spread,
    /// MB/s of messages; of round trips, one way.
    pub megabytes: f64,
    /// Microseconds that half of the round trips took at most.
    pub p50: Option<f64>,
    /// And 99 of 100.
    pub p99: Option<f64>,
    /// Microseconds of CPU time of all sides together, for each message or round trip.
    pub cpu: f64,
    /// Rate, relative to the first limit's in the same turn.
    pub of_limit: Option<f64>,
    /// Rate, relative to that of this project's first row of the same style in the same turn.
    pub to_fanout: Option<f64>,
    /// The share of messages that did not arrive where they should have: 0 to 1.
    pub lost: f64,
    /// Messages, or round trips, of all runs together.
    pub messages: u64,
}

/// A median, and what was furthest from it.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the line above names them")]
pub struct Spread {
    pub median: f64,
    pub slowest: f64,
    pub fastest: f64,
}

impl Spread {
    /// Of some rates.
    pub fn of(rates: &[f64]) -> Self {
        Self {
            median: common::report::median(rates).unwrap_or(0.0),
            slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: rates.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Row {
    /// Where its sides were, and whether they had a core each.
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

impl Group {
    /// The part of the table.
    pub fn table(&self) -> String {
        let mut out = format!("\n{}\n", self.title);
        let scale = match self.unit {
            Unit::RoundTrips => 1e3,
            Unit::Messages => 1e6,
        };
        let heads = match self.unit {
            Unit::RoundTrips => ["k trips/s", "p50 us", "p99 us", "CPU us"],
            Unit::Messages => ["M msg/s", "MB/s", "lost %", "CPU us"],
        };
        let [rate, first, second, cpu] = heads;
        let _ = writeln!(
            out,
            "  {:<20}{:<34}{:<14}{rate:>10}{:>10}{:>10}{first:>10}{second:>10}{cpu:>9}{:>10}{:>10}",
            "", "", "", "slowest", "fastest", "of limit", "to fanout"
        );
        for row in &self.rows {
            let _ = write!(out, "  {:<20}{:<34}", row.name, row.mode);
            let Outcome::Measured(found) = &row.outcome else {
                let Outcome::Failed { why } = &row.outcome else { continue };
                let _ = writeln!(out, "failed: {why}");
                continue;
            };
            let Spread { median, slowest, fastest } = found.rate;
            let [median, slowest, fastest] = [median, slowest, fastest].map(|r| figure(r / scale));
            let (first, second) = match self.unit {
                Unit::RoundTrips => (optional(found.p50), optional(found.p99)),
                Unit::Messages => (figure(found.megabytes), percent(found.lost)),
            };
            let (cpu, sides) = (figure(found.cpu), row.sides());
            let [limit, ours] = [found.of_limit, found.to_fanout].map(optional);
            let _ = writeln!(
                out,
                "{sides:<14}{median:>10}{slowest:>10}{fastest:>10}{first:>10}{second:>10}{cpu:>9}\
                 {limit:>10}{ours:>10}"
            );
        }
        if self.rows.iter().any(|row| row.crowded) {
            out.push_str("  * more of them than cores\n");
        }
        out
    }
}

/// Three digits that count, at least.
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
