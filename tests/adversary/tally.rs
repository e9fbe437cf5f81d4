//! What happened, and what should not have happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::known;

/// How often each kind of event happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn add(&mut self, event: &str) {
        self.add_many(event, 1);
    }

    pub(crate) fn add_many(&mut self, event: &str, times: u64) {
        match self.0.get_mut(event) {
            Some(count) => *count += times,
            None => drop(self.0.insert(event.to_owned(), times)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (event, times) in &other.0 {
            self.add_many(event, *times);
        }
    }

    pub(crate) fn count(&self, event: &str) -> u64 {
        self.0.get(event).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(event, times)| (event.as_str(), *times))
    }

    /// A line for [`Tally::read`]: a child prints it, and its parent reads it.
    pub(crate) fn write(&self) -> String {
        self.iter().map(|(event, times)| format!("count: {times} {event}\n")).collect()
    }

    /// Adds what such a line says. Other lines are ignored.
    pub(crate) fn read(&mut self, line: &str) {
        let rest = line.strip_prefix("count: ").and_then(|rest| rest.split_once(' '));
        if let Some((times, event)) = rest {
            self.add_many(event, times.parse().unwrap_or(0));
        }
    }
}

/// All findings by shape: the first finding of each shape, and their number.
static FINDINGS: Mutex<BTreeMap<String, (String, u64)>> = Mutex::new(BTreeMap::new());

const NEW: &str = "finding: ";
const KNOWN: &str = "known finding: ";

/// The finding in this line, which another process has printed.
pub(crate) fn told(line: &str) -> Option<&str> {
    line.strip_prefix(NEW).or_else(|| line.strip_prefix(KNOWN))
}

/// Reports something that must not happen. The first finding of each shape is printed at once, so that
/// it survives what follows.
pub(crate) fn report(finding: String) {
    let mut findings = FINDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = shape(&finding);
    match findings.get_mut(&shape) {
        Some((_, times)) => *times += 1,
        None => {
            let label = if known::name(&finding).is_some() { KNOWN } else { NEW };
            println!("{label}{finding}");
            findings.insert(shape, (finding, 1));
        }
    }
}

/// A finding's text without its numbers.
fn shape(finding: &str) -> String {
    let words = finding.split([' ', '-', ',', '[', '(', ')', ']']);
    let is_number = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    words.filter(is_number).collect::<Vec<_>>().join(" ")
}

/// All findings so far: the first of each shape, and their number.
pub(crate) fn findings() -> Vec<(String, u64)> {
    let findings = FINDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    findings.values().cloned().collect()
}
