//! A row of the benchmark: what its contenders did, and what was asked beside what was found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use yardstick::report::{grouped, median};

use crate::message::Latency;
use crate::run::Sample;

/// A table of medians over the runs.
#[derive(Serialize)]
pub(crate) struct Table {
    title: String,
    lines: Vec<Line>,
    findings: Vec<Finding>,
    /// Messages that were carried in all runs.
    carried: u64,
    /// Of these, those that were lost, repeated, or out of order.
    faults: u64,
    #[serde(skip)]
    samples: Vec<(String, Vec<Sample>)>,
}

/// A contender's figures.
#[derive(Serialize)]
struct Line {
    name: String,
    /// Messages per second: median, slowest and fastest run.
    rate: f64,
    slowest: f64,
    fastest: f64,
    megabytes_per_second: f64,
    /// CPU time of a message, in microseconds; the same as seconds for a million.
    server: f64,
    out: f64,
    r#in: f64,
    ends: Option<f64>,
    latency: Option<Latency>,
}

/// What was asked, beside what was found.
#[derive(Serialize)]
struct Finding {
    what: String,
    asked: Asked,
    found: Option<f64>,
    holds: Option<bool>,
}

/// What a finding has to be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    AtLeast(f64),
    /// Nothing is asked.
    Reported,
}

impl Table {
    pub(crate) fn new(title: &str, size: usize, samples: Vec<(String, Vec<Sample>)>) -> Self {
        let all = || samples.iter().flat_map(|(_, samples)| samples);
        let carried = all().map(|sample| sample.messages).sum();
        let faults = all().map(|sample| sample.faults.lost + sample.faults.late).sum();
        let lines = samples.iter().filter_map(|(name, samples)| Line::new(name, size, samples));
        let (title, lines) = (title.to_owned(), lines.collect());
        Self { title, lines, findings: Vec::new(), carried, faults, samples }
    }

    /// Adds the ratio of two contenders' rates: the median of the ratios of each round, not the ratio of the medians.
    pub(crate) fn ratio(mut self, ours: &str, theirs: &str, asked: Asked) -> Self {
        let named = |name: &str| {
            let found = self.samples.iter().find(|(other, _)| other == name);
            found.map(|(_, samples)| samples.iter())
        };
        let found = named(ours).zip(named(theirs)).and_then(|(ours, theirs)| {
            let ratios = ours.zip(theirs).map(|(ours, theirs)| ours.rate() / theirs.rate());
            median(&ratios.collect::<Vec<f64>>())
        });
        let holds = match asked {
            Asked::AtLeast(least) => found.map(|found| found >= least),
            Asked::Reported => None,
        };
        let what = format!("{ours} / {theirs}");
        self.findings.push(Finding { what, asked, found, holds });
        self
    }

    /// Whether messages were lost, repeated, or out of order.
    pub(crate) fn has_faults(&self) -> bool {
        self.faults > 0
    }
}

impl Line {
    fn new(name: &str, size: usize, samples: &[Sample]) -> Option<Self> {
        let all = |figure: &dyn Fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
        let each = |cpu: &dyn Fn(&Sample) -> Duration| {
            median(&all(&|sample| 1e6 * cpu(sample).as_secs_f64() / sample.messages as f64))
        };
        let rates = all(&Sample::rate);
        let rate = median(&rates)?;
        let has_ends = samples.iter().all(|sample| sample.cpu.ends.is_some());
        Some(Self {
            name: name.to_owned(),
            rate,
            slowest: rates.iter().copied().min_by(f64::total_cmp)?,
            fastest: rates.iter().copied().max_by(f64::total_cmp)?,
            megabytes_per_second: rate * size as f64 / 1e6,
            server: each(&|sample| sample.cpu.server)?,
            out: each(&|sample| sample.cpu.out)?,
            r#in: each(&|sample| sample.cpu.r#in)?,
            ends: each(&|sample| sample.cpu.ends.unwrap_or_default()).filter(|_| has_ends),
            latency: latency(samples),
        })
    }
}

/// The medians over the runs.
fn latency(samples: &[Sample]) -> Option<Latency> {
    let of = |figure: fn(&Latency) -> f64| {
        median(
            &samples
                .iter()
                .filter_map(|sample| sample.latency.as_ref().map(figure))
                .collect::<Vec<_>>(),
        )
    };
    let (p50, p99) = (of(|latency| latency.p50)?, of(|latency| latency.p99)?);
    Some(Latency { p50, p99, most: of(|latency| latency.most)? })
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => f.pad(&format!(">= {least:.1}")),
            Self::Reported => f.pad("reported"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let (rate, least, most, bytes) = ("messages/s", "slowest", "fastest", "MB/s");
        write!(f, "{:<34}{rate:>12}{least:>11}{most:>11}{bytes:>8}", "")?;
        writeln!(f, "{:>20}{:>8}{:>8}{:>8}", "CPU us each: server", "out", "in", "ends")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        if self.lines.iter().any(|line| line.latency.is_some()) {
            writeln!(f, "{:<34}{:>12}{:>11}{:>11}", "", "p50 us", "p99 us", "most us")?;
        }
        for Line { name, latency, .. } in &self.lines {
            if let Some(Latency { p50, p99, most }) = latency {
                writeln!(f, "{name:<34}{p50:>12.1}{p99:>11.1}{most:>11.1}")?;
            }
        }
        if !self.findings.is_empty() {
            writeln!(f, "{:<57}{:>11}{:>8}", "", "asked", "found")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        let (carried, faults) = (grouped(self.carried), self.faults);
        writeln!(f, "lost, repeated or out of order: {faults} of {carried}")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rate, slowest, fastest, megabytes_per_second, .. } = self;
        write!(
            f,
            "{name:<34}{rate:>12.0}{slowest:>11.0}{fastest:>11.0}{megabytes_per_second:>8.1}"
        )?;
        write!(f, "{:>20.2}{:>8.2}{:>8.2}", self.server, self.out, self.r#in)?;
        match self.ends {
            Some(ends) => write!(f, "{ends:>8.2}"),
            None => write!(f, "{:>8}", "-"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.map_or("-".to_owned(), |found| format!("{found:.2}"));
        let fails = if self.holds == Some(false) { "  fails" } else { "" };
        write!(f, "{:<57}{:>11}{found:>8}{fails}", self.what, self.asked)
    }
}
