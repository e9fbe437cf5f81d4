//! The sweep: kills a victim at one point after another, and asks the survivors.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use fanout::QueueName;
use testing::Dice;

use crate::error::SweepError;
use crate::judge::{Judge, Wrong};
use crate::mark::Act;
use crate::path::{Hop, Path};
use crate::report::{Failure, Report, Row};
use crate::scenario::Scenario;
use crate::tracer::{Stop, Victim};
use crate::trial::{Dead, Outcome, tidy};

/// No operation has as many instructions, unless it never ends.
const MOST_STEPS: usize = 1 << 20;

/// After so many failures the rest of a scenario is left out.
const MOST_FAILURES: usize = 10;

/// How much is swept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How many points, in all scenarios together; each gets its share.
    pub points: Points,
    /// What is drawn at random follows from it.
    pub seed: u64,
    /// How long survivors may take before they are said to hang.
    pub patience: Duration,
}

/// At which points victims are killed.
#[derive(Clone, Copy, Debug)]
pub enum Points {
    /// At every instruction.
    Every,
    /// At so many in all; in a scenario with fewer instructions than its share, at every one.
    Share(usize),
    /// Only at this one.
    At(usize),
}

impl Default for Options {
    fn default() -> Self {
        Self { points: Points::Share(10_000), seed: 0, patience: Duration::from_secs(15) }
    }
}

/// A point of a scenario, and what came of it.
struct Killed {
    is_done: bool,
    place: u64,
    verdict: Result<Outcome, Wrong>,
}

/// Where a victim is brought.
enum Aim<'a> {
    /// To the end, step by step, noting where it was.
    Note(&'a mut Vec<u64>),
    /// To a point, by these hops.
    Hops(&'a [Hop]),
    /// To a point, by so many steps. After so many of them the survivors meddle, if they do.
    Steps { steps: usize, meddle: Option<usize> },
}

struct Sweep<'a> {
    scenarios: &'a [Scenario],
    options: &'a Options,
    judge: Judge,
}

/// Sweeps these scenarios. `progress` is told of each kill.
///
/// # Errors
///
/// [`SweepError`]; in particular this process may have one thread only. What survivors report is no error, but a
/// failure in the report.
pub fn sweep(
    scenarios: &[Scenario],
    options: &Options,
    progress: &mut dyn FnMut(&str, usize),
) -> Result<Report, SweepError> {
    let threads = fs::read_dir("/proc/self/task").map_err(SweepError::io("opendir"))?.count();
    if threads != 1 {
        return Err(SweepError::Threads { found: threads });
    }
    let started = Instant::now();
    // SAFETY: there is no other thread, and none is started while this runs.
    let judge = unsafe { Judge::fork(scenarios, options.patience) }?;
    let mut sweep = Sweep { scenarios, options, judge };
    let mut rows = Vec::new();
    let mut paths = Vec::new();
    for index in 0..scenarios.len() {
        let (path, row) = sweep.explore(index)?;
        paths.push(path);
        rows.push(row);
    }
    let lengths: Vec<_> = paths.iter().map(Path::len).collect();
    let mut dice = Dice::new(options.seed);
    for (index, points) in plan(&lengths, options.points, &mut dice).into_iter().enumerate() {
        progress(scenarios[index].name(), points.len());
        sweep.kill_at(index, &paths[index], &points, (&mut dice, &mut rows[index]), progress)?;
    }
    Ok(Report { rows, took: started.elapsed(), seed: options.seed })
}

/// The points of each scenario but its last, at which the first victim was killed.
fn plan(lengths: &[usize], points: Points, dice: &mut Dice) -> Vec<Vec<usize>> {
    let shares = match points {
        Points::Every => lengths.to_vec(),
        Points::Share(total) => shares(lengths, total.saturating_sub(lengths.len())),
        Points::At(point) => {
            return lengths.iter().map(|&len| vec![point.min(len)]).collect();
        }
    };
    lengths.iter().zip(shares).map(|(&len, share)| spread(len, share, dice)).collect()
}

/// How many points each scenario gets: the same number, as far as it has so many, and together no fewer than `total`.
fn shares(lengths: &[usize], total: usize) -> Vec<usize> {
    let (mut low, mut high) = (0, lengths.iter().copied().max().unwrap_or(0));
    let given = |share: usize| -> usize { lengths.iter().map(|&len| share.min(len)).sum() };
    while low < high {
        let middle = (low + high) / 2;
        if given(middle) >= total {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    lengths.iter().map(|&len| low.min(len)).collect()
}

/// `share` of `all` points: one at random out of each part. With a share of all, each of them.
fn spread(all: usize, share: usize, dice: &mut Dice) -> Vec<usize> {
    let point = |part: usize| {
        let (begin, end) = (part * all / share, (part + 1) * all / share);
        begin + dice.below((end - begin) as u64) as usize
    };
    (0..share).map(point).collect()
}

impl Sweep<'_> {
    /// Runs the operation to its end once, and notes its path.
    fn explore(&mut self, index: usize) -> Result<(Path, Row), SweepError> {
        let mut addresses = Vec::new();
        let killed = self.kill(index, Aim::Note(&mut addresses))?;
        let path = Path::new(addresses);
        let mut row = Row::new(self.scenarios[index].name(), path.len());
        let point = path.len();
        self.note(&mut row, point, killed)?;
        Ok((path, row))
    }

    fn kill_at(
        &mut self,
        index: usize,
        path: &Path,
        points: &[usize],
        (dice, row): (&mut Dice, &mut Row),
        progress: &mut dyn FnMut(&str, usize),
    ) -> Result<(), SweepError> {
        for &point in points {
            if row.failures.len() >= MOST_FAILURES {
                row.is_cut = true;
                break;
            }
            let meddler = self.scenarios[index].has_meddler();
            let meddle = meddler.then(|| dice.below(point as u64 + 1) as usize);
            let mut killed = if meddler {
                self.kill(index, Aim::Steps { steps: point, meddle })?
            } else {
                self.kill(index, Aim::Hops(&path.hops(point)))?
            };
            if killed.is_done && point < path.len() && !meddler {
                // It has gone another way than the one that was noted, and met no breakpoint.
                self.note(row, path.len(), killed)?;
                killed = self.kill(index, Aim::Steps { steps: point, meddle })?;
            }
            if killed.is_done && point < path.len() {
                row.early += 1;
            }
            row.points += 1;
            self.note(row, point, killed)?;
            progress(self.scenarios[index].name(), 0);
        }
        row.is_whole = points.len() >= path.len() && !row.is_cut;
        Ok(())
    }

    /// Writes down what came of a kill.
    fn note(&mut self, row: &mut Row, point: usize, killed: Killed) -> Result<(), SweepError> {
        let what = match killed.verdict {
            Ok(outcome) => {
                *row.outcomes.entry(outcome).or_default() += 1;
                return Ok(());
            }
            Err(Wrong::Broken(what)) => {
                // What the survivors could not clear away must not look like the next point's.
                if self.judge.dismiss().is_err() {
                    self.replace_judge()?;
                }
                tidy(std::process::id());
                what
            }
            Err(Wrong::Gone(what)) => {
                self.replace_judge()?;
                what
            }
        };
        let place = describe(killed.place);
        row.failures.push(Failure { point, place, what });
        Ok(())
    }

    fn replace_judge(&mut self) -> Result<(), SweepError> {
        // SAFETY: as at the beginning, there is no other thread.
        self.judge = unsafe { Judge::fork(self.scenarios, self.options.patience) }?;
        tidy(std::process::id());
        Ok(())
    }

    /// One victim's life and death, and the verdict.
    fn kill(&mut self, index: usize, aim: Aim<'_>) -> Result<Killed, SweepError> {
        match self.try_kill(index, aim) {
            Ok(killed) => Ok(killed),
            Err(Trouble::Judge(wrong)) => {
                Ok(Killed { is_done: false, place: 0, verdict: Err(wrong) })
            }
            Err(Trouble::Victim(error)) if error.is_a_victim() => {
                // Its survivors are still there.
                let verdict = match self.judge.dismiss() {
                    Ok(()) => Wrong::Broken(error.to_string()),
                    Err(wrong) => wrong,
                };
                Ok(Killed { is_done: false, place: 0, verdict: Err(verdict) })
            }
            Err(Trouble::Victim(error)) => Err(error),
        }
    }

    fn try_kill(&mut self, index: usize, aim: Aim<'_>) -> Result<Killed, Trouble> {
        let name = self.judge.prepare(index)?;
        let mut victim = self.raise(index, &name)?;
        let is_done = self.bring(&mut victim, aim)?;
        let place = victim.place()?;
        let pid = victim.id();
        victim.kill()?;
        let verdict = self.judge.judge(Dead { pid, is_done });
        Ok(Killed { is_done, place, verdict })
    }

    /// A victim that stands where its operation begins.
    fn raise(&mut self, index: usize, name: &QueueName) -> Result<Victim, Trouble> {
        let scenario = &self.scenarios[index];
        let act = Act::new(name.clone());
        // SAFETY: there is no other thread.
        let mut victim = unsafe { Victim::fork(|| scenario.play(&act)) }?;
        for time in 1.. {
            match victim.run()? {
                Stop::Edge => break,
                Stop::Stage => self.judge.stage(time)?,
                Stop::Step => {}
            }
            if let Some(part) = scenario.play_casualty().filter(|_| time == 1) {
                // SAFETY: there is no other thread.
                let mut casualty = unsafe { Victim::fork(|| part(&act)) }?;
                for time in 1.. {
                    match casualty.run()? {
                        Stop::Stage => self.judge.casualty_stage(time)?,
                        Stop::Edge | Stop::Step => break,
                    }
                }
                let pid = casualty.id();
                casualty.kill()?;
                self.judge.casualty(pid)?;
            }
        }
        Ok(victim)
    }

    /// Brings a victim to its point. Says whether its operation was done before.
    fn bring(&mut self, victim: &mut Victim, aim: Aim<'_>) -> Result<bool, Trouble> {
        match aim {
            Aim::Note(addresses) => {
                for _ in 0..MOST_STEPS {
                    addresses.push(victim.place()?);
                    if victim.step()? != Stop::Step {
                        return Ok(true);
                    }
                }
                Err(SweepError::Endless { steps: MOST_STEPS }.into())
            }
            Aim::Hops(hops) => {
                for &hop in hops {
                    if victim.hop(hop)? != Stop::Step {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Aim::Steps { steps, meddle } => {
                for step in 0..=steps {
                    if Some(step) == meddle {
                        self.judge.meddle()?;
                    }
                    if step < steps && victim.step()? != Stop::Step {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

/// What may come between a victim and its death.
enum Trouble {
    Victim(SweepError),
    Judge(Wrong),
}

impl From<SweepError> for Trouble {
    fn from(error: SweepError) -> Self {
        Self::Victim(error)
    }
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::Judge(wrong)
    }
}

/// Where an address lies: in which file, and how far from where that is loaded. A victim has the same mappings as
/// this process, which it was forked from.
fn describe(place: u64) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut bases = BTreeMap::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let range = words.next().and_then(|range| range.split_once('-'));
        let Some((begin, end)) = range else { continue };
        let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        let (begin, end) = (number(begin), number(end));
        let file = words.nth(4).unwrap_or("memory").to_owned();
        let base = *bases.entry(file.clone()).or_insert(begin);
        if (begin..end).contains(&place) {
            let file = file.rsplit('/').next().unwrap_or(&file);
            return format!("{file}+{:#x}", place - base);
        }
    }
    format!("{place:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_to_all_alike_and_what_one_does_not_need_to_the_others() {
        assert_eq!(shares(&[10, 1000, 5000], 610), [10, 300, 300]);
        assert_eq!(shares(&[10, 1000, 5000], 609), [10, 300, 300]);
        assert_eq!(shares(&[10, 20], 1000), [10, 20]);
        assert_eq!(shares(&[], 10), [0; 0]);
    }

    #[test]
    fn a_share_of_all_points_is_each_of_them_and_a_smaller_one_reaches_far() {
        let mut dice = Dice::new(1);
        assert_eq!(spread(7, 7, &mut dice), [0, 1, 2, 3, 4, 5, 6]);
        let some = spread(1000, 10, &mut dice);
        for (part, point) in some.into_iter().enumerate() {
            assert!((part * 100..part * 100 + 100).contains(&point), "{point} in part {part}");
        }
    }
}
