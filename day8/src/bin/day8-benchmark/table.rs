//! A row of the benchmark: what its contenders did, and what was asked beside what was found.

use std::fmt;

use serde::Serialize;
use yardstick::report::median;

use crate::turns::{Outcome, Sample};

/// A table: medians over the turns.
#[derive(Serialize)]
pub(crate) struct Table {
    /// What was measured.
    pub(crate) title: String,
    /// What is counted.
    pub(crate) unit: &'static str,
    lines: Vec<Line>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// A contender's figures.
#[derive(Serialize)]
struct Line {
    name: String,
    /// Why there are no figures.
    missing: Option<String>,
    figures: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    /// Requests per second: median, slowest and fastest turn.
    rate: f64,
    slowest: f64,
    fastest: f64,
    /// The server's CPU time for a request, in microseconds.
    cpu_microseconds: f64,
    /// The share of the time in which the server was running.
    busy: f64,
}

/// What was asked, beside what was found.
#[derive(Serialize)]
struct Finding {
    what: String,
    asked: Asked,
    /// `None` if a contender is missing.
    found: Option<f64>,
    holds: Option<bool>,
}

/// What a finding has to be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing is asked.
    Reported,
}

impl Asked {
    fn holds(self, found: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(found >= least),
            Self::AtMost(most) => Some(found <= most),
            Self::Reported => None,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => f.pad(&format!(">= {least:.2}")),
            Self::AtMost(most) => f.pad(&format!("<= {most:.2}")),
            Self::Reported => f.pad("reported"),
        }
    }
}

/// What two contenders are compared by.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    Rate,
    Cpu,
}

impl Measure {
    fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Rate => sample.rate(),
            Self::Cpu => sample.cpu_microseconds(),
        }
    }
}

impl Table {
    /// A table of what the contenders did.
    pub(crate) fn new(
        title: impl Into<String>,
        unit: &'static str,
        outcomes: &[(String, Outcome)],
    ) -> Self {
        let lines = outcomes.iter().map(|(name, outcome)| Line::new(name, outcome)).collect();
        Self { title: title.into(), unit, lines, findings: Vec::new(), notes: Vec::new() }
    }

    /// Adds the ratio of two contenders: the median of the ratios of each turn, not the ratio of the medians.
    pub(crate) fn compare(
        mut self,
        outcomes: &[(String, Outcome)],
        measure: Measure,
        (ours, theirs): (&str, &str),
        asked: Asked,
    ) -> Self {
        let named = |name: &str| {
            let found = outcomes.iter().find(|(other, _)| other == name);
            found.and_then(|(_, outcome)| outcome.as_ref().ok())
        };
        let found = named(ours).zip(named(theirs)).and_then(|(ours, theirs)| {
            let turns = ours.iter().zip(theirs);
            let ratio = |(ours, theirs)| measure.of(ours) / measure.of(theirs);
            median(&turns.map(ratio).collect::<Vec<f64>>())
        });
        let measure = match measure {
            Measure::Rate => "rate",
            Measure::Cpu => "CPU",
        };
        let what = format!("{measure}: {ours} / {theirs}");
        self.findings.push(Finding::new(what, asked, found));
        self
    }

    /// Adds a figure that stands for itself.
    pub(crate) fn find(
        mut self,
        what: impl Into<String>,
        asked: Asked,
        found: Option<f64>,
    ) -> Self {
        self.findings.push(Finding::new(what.into(), asked, found));
        self
    }

    /// Adds a remark.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl Line {
    fn new(name: &str, outcome: &Outcome) -> Self {
        let name = name.to_owned();
        match outcome {
            Ok(samples) => Self { name, missing: None, figures: Figures::new(samples) },
            Err(why) => Self { name, missing: Some(why.clone()), figures: None },
        }
    }
}

impl Figures {
    fn new(samples: &[Sample]) -> Option<Self> {
        let all = |figure: fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
        let rates = all(Sample::rate);
        Some(Self {
            rate: median(&rates)?,
            slowest: rates.iter().copied().min_by(f64::total_cmp)?,
            fastest: rates.iter().copied().max_by(f64::total_cmp)?,
            cpu_microseconds: median(&all(Sample::cpu_microseconds))?,
            busy: median(&all(Sample::busy))?,
        })
    }
}

impl Finding {
    fn new(what: String, asked: Asked, found: Option<f64>) -> Self {
        Self { what, asked, found, holds: found.and_then(|found| asked.holds(found)) }
    }
}

/// A server that is busy for less of the time waits for the generator at times.
const SATURATED: f64 = 0.9;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let unit = format!("{}/s", self.unit);
        let (least, most, each) = ("slowest", "fastest", "CPU us each");
        writeln!(f, "{:<36}{unit:>12}{least:>10}{most:>10}{each:>13}{:>7}", "", "busy")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "{:<58}{:>10}{:>10}", "", "asked", "found")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let busy = self.lines.iter().filter_map(|line| Some(line.figures.as_ref()?.busy));
        if busy.fold(1.0, f64::min) < SATURATED {
            let percent = 100.0 * SATURATED;
            writeln!(
                f,
                "note: a server that is busy for less than {percent:.0} % has nothing to do at times: its CPU says more than its rate"
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36}", self.name)?;
        if let Some(why) = &self.missing {
            return write!(f, "{why}");
        }
        let Some(Figures { rate, slowest, fastest, cpu_microseconds, busy }) = &self.figures else {
            return write!(f, "nothing was measured");
        };
        let busy = format!("{:.0} %", 100.0 * busy);
        write!(f, "{rate:>12.0}{slowest:>10.0}{fastest:>10.0}{cpu_microseconds:>13.3}{busy:>7}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.map_or("-".to_owned(), |found| format!("{found:.2}"));
        let fails = if self.holds == Some(false) { "  fails" } else { "" };
        write!(f, "{:<58}{:>10}{found:>10}{fails}", self.what, self.asked)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(requests: u64, cpu: u64) -> Sample {
        let (elapsed, cpu) = (Duration::from_secs(1), Duration::from_micros(cpu));
        Sample { requests, elapsed, cpu }
    }

    fn outcomes() -> Vec<(String, Outcome)> {
        // The machine was twice as fast in the last turn: for both.
        let ours = vec![sample(110, 220), sample(90, 90), sample(220, 440)];
        let theirs = vec![sample(100, 100), sample(100, 100), sample(200, 200)];
        let missing = Err("is not installed".to_owned());
        vec![("ours".into(), Ok(ours)), ("theirs".into(), Ok(theirs)), ("third".into(), missing)]
    }

    #[test]
    fn a_ratio_is_the_median_of_the_turns_ratios() {
        let outcomes = outcomes();
        let table = Table::new("a row", "requests", &outcomes)
            .compare(&outcomes, Measure::Rate, ("ours", "theirs"), Asked::AtLeast(1.05))
            .compare(&outcomes, Measure::Cpu, ("ours", "theirs"), Asked::AtMost(1.5));
        let [rate, cpu] = &table.findings[..] else { panic!("two findings") };
        assert!((rate.found.unwrap() - 1.1).abs() < 1e-9, "{:?}", rate.found);
        assert_eq!(rate.holds, Some(true));
        assert!((cpu.found.unwrap() - 2.0).abs() < 1e-9, "{:?}", cpu.found);
        assert_eq!(cpu.holds, Some(false));
    }

    #[test]
    fn a_missing_peer_is_named_and_nothing_is_claimed() {
        let outcomes = outcomes();
        let asked = Asked::AtLeast(1.0);
        let table = Table::new("a row", "requests", &outcomes);
        let table = table.compare(&outcomes, Measure::Rate, ("ours", "third"), asked);
        assert_eq!((table.findings[0].found, table.findings[0].holds), (None, None));
        assert!(table.to_string().contains("is not installed"), "{table}");
    }
}
