//! Runs the rows of one question in turns.

use std::time::Duration;

use yardstick::report::median;

use crate::contenders::{Contender, Standing};
use crate::crew::{self, Run};
use crate::load::Job;
use crate::report::{Figures, Group, Outcome, Row, Spread};

/// How much is measured, and how.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each row runs.
    pub repeats: usize,
    /// About how long each of its runs takes.
    pub run: Duration,
    /// How long a run may take. A longer run is killed, and its row has failed.
    pub timeout: Duration,
    /// Gives each side a core of its own, if there are enough cores.
    pub pinned: bool,
}

/// How many messages the first trial has. The trial tells how many messages fill a run.
const FIRST: u64 = 200;

/// The most messages of a run: the times of more would not fit into memory, nor their lengths into
/// timeouts.
const MOST: u64 = 200_000_000;

/// One row's runs so far.
struct Turns<'a> {
    contender: &'a Contender,
    runs: Result<Vec<Run>, String>,
    /// Messages of the next run.
    messages: u64,
}

/// Runs all `contenders`, which answer the same question, as often as `effort` says. Each runs once
/// before any runs again, so that a disturbance of the machine hits all of them. `progress` is told of
/// each row that is about to run.
///
/// # Errors
///
/// Only if it is interrupted. A contender that fails gets a row that says so.
pub fn measure(
    contenders: &[Contender],
    effort: Effort,
    mut progress: impl FnMut(&Contender),
) -> anyhow::Result<Group> {
    let mut turns: Vec<Turns<'_>> = contenders
        .iter()
        .map(|contender| Turns { contender, runs: Ok(Vec::new()), messages: FIRST })
        .collect();
    for turn in 0..=effort.repeats {
        for row in &mut turns {
            progress(row.contender);
            // The first turn only finds out how many messages fill a run.
            let runs = row.run(effort, turn == 0);
            crate::interrupt::check()?;
            match (runs, &mut row.runs) {
                (Ok(run), Ok(runs)) if turn > 0 => runs.push(run),
                (Err(why), Ok(_)) => row.runs = Err(why),
                _ => {}
            }
        }
    }
    let question = contenders.first().map(|first| first.question);
    Ok(Group {
        chapter: question.map_or("", |question| question.chapter()),
        title: question.map_or_else(String::new, |question| question.to_string()),
        unit: question.map_or(crate::question::Unit::Messages, |question| question.unit()),
        rows: turns.iter().map(|row| row.figures(&turns)).collect(),
    })
}

impl Turns<'_> {
    fn run(&mut self, effort: Effort, trial: bool) -> Result<Run, String> {
        let (Ok(build), Ok(_)) = (&self.contender.build, &self.runs) else {
            return Err(self.contender.build.as_ref().err().cloned().unwrap_or_default());
        };
        let lengths = self.contender.question.size().lengths();
        loop {
            let job = Job::new(self.messages, lengths.clone(), effort.timeout);
            let run = job.and_then(|mut job| {
                job.pinned = effort.pinned && crew::fits(self.contender.sides);
                crew::run(build, self.contender.place, &job)
            });
            let run = run.map_err(|error| format!("{error:#}"))?;
            let before = self.messages;
            let fill = run.rate() * effort.run.as_secs_f64();
            self.messages = (fill as u64).clamp(FIRST, MOST.min(before.saturating_mul(64)));
            if !trial || self.messages < before * 4 {
                return Ok(run);
            }
        }
    }

    fn figures(&self, all: &[Self]) -> Row {
        let Contender { name, ref mode, standing, style, place, sides, .. } = *self.contender;
        let outcome = match &self.runs {
            Err(why) => Outcome::Failed { why: why.clone() },
            Ok(runs) => Outcome::Measured(self.figured(runs, all)),
        };
        let crowded = !crew::fits(sides);
        Row { name, mode: mode.clone(), standing, style, place, sides, crowded, outcome }
    }

    fn figured(&self, runs: &[Run], all: &[Self]) -> Figures {
        let of = |what: &dyn Fn(&Run) -> Option<f64>| {
            median(&runs.iter().filter_map(what).collect::<Vec<_>>())
        };
        let rates: Vec<f64> = runs.iter().map(Run::rate).collect();
        let bytes = |run: &Run| run.bytes as f64 / run.messages as f64;
        let first = |standing| {
            all.iter().find(|row| {
                let style =
                    standing == Standing::Limit || row.contender.style == self.contender.style;
                row.contender.standing == standing && style
            })
        };
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Figures {
            rate: Spread::of(&rates),
            megabytes: of(&|run| Some(run.rate() * bytes(run) / 1e6)).unwrap_or(0.0),
            p50: of(&|run| run.times.map(|times| us(times.p50))),
            p99: of(&|run| run.times.map(|times| us(times.p99))),
            cpu: of(&|run| Some(run.cpu.as_secs_f64() * 1e6 / run.messages as f64)).unwrap_or(0.0),
            server: of(&|run| Some(us(run.server?.as_nanos() as u64) / run.messages as f64)),
            of_limit: first(Standing::Limit).and_then(|limit| self.to(limit)),
            to_fanout: first(Standing::Fanout).and_then(|ours| self.to(ours)),
            lost: of(&|run| Some(run.lost)).unwrap_or(0.0),
            messages: runs.iter().map(|run| run.messages).sum(),
        }
    }

    /// The median of how much faster these runs were than `those`, turn by turn. The machine changes
    /// from minute to minute, and changes both runs of one turn alike.
    fn to(&self, those: &Self) -> Option<f64> {
        let (Ok(these), Ok(those)) = (&self.runs, &those.runs) else { return None };
        let pairs = these.iter().zip(those);
        median(&pairs.map(|(one, other)| one.rate() / other.rate()).collect::<Vec<_>>())
    }
}
