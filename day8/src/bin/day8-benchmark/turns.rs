//! Contenders in turns: ours, a peer, ours, a peer, so that whatever disturbs the machine disturbs all of them.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

use crate::Effort;

/// What a contender did in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// The CPU time of the server's process.
    pub(crate) cpu: Duration,
}

impl Sample {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The server's CPU time for a request, in microseconds.
    pub(crate) fn cpu_microseconds(&self) -> f64 {
        1e6 * self.cpu.as_secs_f64() / self.requests as f64
    }

    /// The share of the time in which the server was running.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// What takes a turn of about this time.
pub(crate) type Turn = Box<dyn FnMut(Duration) -> anyhow::Result<Sample>>;

/// What has its turn; without one, why not.
pub(crate) struct Contender {
    name: String,
    turn: anyhow::Result<Turn>,
}

/// The samples of all turns, or why there are none.
pub(crate) type Outcome = Result<Vec<Sample>, String>;

impl Contender {
    /// A contender that does not stand says why, and the row goes on without it.
    pub(crate) fn new(name: impl Into<String>, turn: anyhow::Result<Turn>) -> Self {
        Self { name: name.into(), turn }
    }
}

/// All contenders in turns. What the first turn finds is not used. A contender that fails is left out from then on.
pub(crate) fn interleaved(effort: &Effort, contenders: Vec<Contender>) -> Vec<(String, Outcome)> {
    let time = Duration::from_secs(effort.seconds.into());
    let mut all: Vec<_> = contenders
        .into_iter()
        .map(|Contender { name, turn }| (name, turn.map(|turn| (turn, Vec::new()))))
        .collect();
    let mut others = Vec::new();
    for number in 0..=effort.turns {
        for (_, contender) in &mut all {
            let Ok((turn, samples)) = contender else { continue };
            let before = Used::now(effort);
            let sample = turn(time);
            let used = Used::now(effort).zip(before).map(|(after, before)| after - before);
            others.extend(used.zip(sample.as_ref().ok()).map(|(used, sample)| used.others(sample)));
            match sample {
                Ok(sample) if number > 0 => samples.push(sample),
                Ok(_) => {}
                Err(error) => *contender = Err(error.context(format!("failed in turn {number}"))),
            }
        }
    }
    let outcome = |turn: anyhow::Result<(Turn, _)>| match turn {
        Ok((_, samples)) => Ok(samples),
        Err(error) => Err(format!("{error:#}")),
    };
    warn_of_others(&others);
    all.into_iter().map(|(name, turn)| (name, outcome(turn))).collect()
}

/// More than this share of a core, used by others, and rates mean little.
const MUCH: f64 = 0.1;

fn warn_of_others(shares: &[f64]) {
    let disturbed = shares.iter().filter(|&&share| share > MUCH).count();
    if disturbed > 0 {
        let (all, most) = (shares.len(), shares.iter().copied().fold(0.0, f64::max));
        eprintln!(
            "note: in {disturbed} of {all} turns other processes had more than {MUCH} of a core, at most {most:.1}: \
             rates mean little, run it again while nothing else runs"
        );
    }
}

/// CPU time that was used until now.
#[derive(Clone, Copy)]
struct Used {
    /// Of these cores, by everybody, and what the hypervisor took.
    cores: Duration,
    /// By this process, and by the children that have ended.
    ours: Duration,
}

impl Used {
    /// `None` if the kernel does not tell.
    fn now(effort: &Effort) -> Option<Self> {
        let usage = |who| {
            let usage = getrusage(who).ok()?;
            let parts = [usage.user_time(), usage.system_time()];
            Some(parts.map(|part| Duration::from_micros(part.num_microseconds() as u64)))
        };
        let ours = usage(UsageWho::RUSAGE_SELF)?.into_iter();
        let ours = ours.chain(usage(UsageWho::RUSAGE_CHILDREN)?).sum();
        let tick = sysconf(SysconfVar::CLK_TCK).ok()??;
        let text = fs::read_to_string("/proc/stat").ok()?;
        let cores = effort.cores.iter().take(2).map(|core| ticks(&text, *core));
        let ticks = cores.sum::<Option<u64>>()?;
        Some(Self { cores: Duration::from_secs_f64(ticks as f64 / tick as f64), ours })
    }

    /// How many cores others had in the time of this sample.
    fn others(self, sample: &Sample) -> f64 {
        let known = self.ours + sample.cpu;
        self.cores.saturating_sub(known).as_secs_f64() / sample.elapsed.as_secs_f64()
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let cores = self.cores.saturating_sub(before.cores);
        Self { cores, ours: self.ours.saturating_sub(before.ours) }
    }
}

/// The ticks in which this core was not idle, from `/proc/stat`.
fn ticks(stat: &str, core: usize) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    let fields = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in user and nice.
    let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(user + nice + system + irq + softirq + steal)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use anyhow::bail;

    use super::*;

    #[test]
    fn all_but_waiting_is_use_of_a_core() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 4 8 16 32 64 128 256 512\nintr 1\n";
        assert_eq!(ticks(stat, 1), Some(1 + 2 + 4 + 32 + 64 + 128));
        assert_eq!(ticks(stat, 0), None);
    }

    #[test]
    fn what_others_used_is_what_nobody_here_used() {
        let seconds = Duration::from_secs_f64;
        let used = Used { cores: seconds(3.5), ours: seconds(1.0) };
        let sample = Sample { requests: 1, elapsed: seconds(2.0), cpu: seconds(1.5) };
        assert!((used.others(&sample) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn contenders_alternate_and_one_that_fails_is_left_out() {
        let log = Rc::new(RefCell::new(String::new()));
        let contender = |name: char, fails: bool| {
            let log = log.clone();
            let turn: Turn = Box::new(move |elapsed| {
                log.borrow_mut().push(name);
                if fails && log.borrow().len() > 2 {
                    bail!("tired");
                }
                Ok(Sample { requests: 1, elapsed, cpu: Duration::ZERO })
            });
            Contender::new(name, Ok(turn))
        };
        let effort = Effort { turns: 2, seconds: 1, idle: 0, cores: vec![] };
        let absent = Contender::new("c", Err(anyhow::anyhow!("is not installed")));
        let outcomes =
            interleaved(&effort, vec![contender('a', false), contender('b', true), absent]);
        assert_eq!(*log.borrow(), "ababa");
        assert_eq!(outcomes[0].1.as_ref().unwrap().len(), 2, "the first turn only warms up");
        assert_eq!(outcomes[1].1.as_ref().unwrap_err(), "failed in turn 1: tired");
        assert_eq!(outcomes[2].1.as_ref().unwrap_err(), "is not installed");
    }
}
