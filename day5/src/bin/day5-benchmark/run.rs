//! The cases, interleaved: each runs once before any runs again.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::QueueName;
use common::sync::{AtomicU32, Ordering};
use day2::Segment;
use yardstick::crew::Crew;
use yardstick::descriptors::inherited;
use yardstick::report::Throughput;

use crate::cue::{Cue, race};
use crate::idle::Idled;
use crate::ping::{Pinged, Side};
use crate::plan::{Case, Duty, Plan};
use crate::{broadcast, idle, ping};

/// How much longer a member may take than it was asked to.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The result of one run of a case.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Pinged(Pinged),
    Idled(Idled),
    /// The throughput to each consumer.
    Moved(Throughput),
}

/// Names of rings that no other program uses. They are removed when this is dropped.
struct Names([QueueName; 2]);

impl Names {
    fn new() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = |way| format!("/day5-benchmark-{pid}-{n}-{way}").parse();
        Ok(Self([name("there")?, name("back")?]))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            // The creator may have removed it, or it may never have been created.
            let _ = Segment::remove(name);
        }
    }
}

/// One run. All processes get `arguments`.
pub(crate) fn run(case: Case, plan: &Plan, arguments: &[String]) -> anyhow::Result<Found> {
    // Declared first, so that it is dropped after the crew: by then no process is left that could
    // create these names.
    let mut shared = Some(Names::new()?);
    let names = shared.as_ref().map(|names| names.0.clone()).context("names are gone")?;
    let mut crew =
        Crew::new(Instant::now() + plan.seconds + plan.idle + TIMEOUT, "choose fewer --seconds");
    let mut hire = |duty: Duty, descriptors| {
        let [there, back] = &names;
        let part = [
            format!("--case={case}"),
            format!("--duty={duty}"),
            format!("--at={there}"),
            format!("--at={back}"),
        ];
        crew.hire(&duty.to_string(), &[&part, arguments].concat(), descriptors)
    };
    match case {
        Case::Ping(way, _) => {
            let [pinger, ponger] = ping::descriptors(way)?;
            hire(Duty::Pinger, pinger)?;
            hire(Duty::Ponger, ponger)?;
        }
        Case::Idle(_) => {
            hire(Duty::Idler, vec![])?;
            hire(Duty::Host, vec![])?;
        }
        Case::Broadcast(broadcast) => {
            hire(Duty::Producer, vec![])?;
            for _ in 0..broadcast.consumers {
                hire(Duty::Consumer, vec![])?;
            }
        }
    }
    // Once all have joined, the names are not needed; nothing is left behind, whatever happens.
    let reports = race(&mut crew, || drop(shared.take()))?;
    let unread = || format!("a child reported {:?}", reports[0]);
    Ok(match case {
        Case::Ping(..) => Found::Pinged(serde_json::from_str(&reports[0]).with_context(unread)?),
        Case::Idle(_) => Found::Idled(serde_json::from_str(&reports[0]).with_context(unread)?),
        Case::Broadcast(broadcast) => {
            let read = |report: &String| serde_json::from_str(report);
            let moved = reports.iter().map(read).collect::<Result<Vec<_>, _>>();
            Found::Moved(broadcast.rate(&moved.with_context(unread)?)?)
        }
    })
}

/// What a process with this duty does in a case.
pub(crate) fn play(
    (case, duty): (Case, Duty),
    plan: &Plan,
    (at, descriptors): (&[String], &[RawFd]),
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    let [there, back] = at else { bail!("two names are needed: --at, twice") };
    // SAFETY: the process that started us passed each on, and this is called once.
    let take = |n: &RawFd| unsafe { inherited(*n) };
    let descriptors = descriptors.iter().map(take).collect::<Result<Vec<_>, _>>()?;
    match (case, duty) {
        (Case::Ping(way, schedule), Duty::Pinger | Duty::Ponger) => {
            let side = if duty == Duty::Pinger { Side::Pinger } else { Side::Ponger };
            ping::play((way, schedule, side), plan, ([there, back], descriptors), cue)
        }
        (Case::Idle(strategy), Duty::Idler) => idle::idler(strategy, plan, there, cue),
        (Case::Idle(strategy), Duty::Host) => idle::host(strategy, plan, there, cue),
        (Case::Broadcast(case), Duty::Producer) => broadcast::produce(case, plan, there, cue),
        (Case::Broadcast(case), Duty::Consumer) => broadcast::consume(case, there, cue),
        _ => bail!("no process is {duty} in {case}"),
    }
}

/// Every run of a case, in order.
pub(crate) type Runs = Vec<(Case, Vec<Found>)>;

/// Runs each of `cases` `repeats` times. Idle waits run once.
pub(crate) fn turn(
    cases: &[Case],
    plan: &Plan,
    repeats: usize,
    arguments: &[String],
    mut progress: impl FnMut(Case),
) -> anyhow::Result<Runs> {
    let mut runs: Runs = cases.iter().map(|case| (*case, Vec::with_capacity(repeats))).collect();
    for repeat in 0..repeats {
        for (case, found) in &mut runs {
            progress(*case);
            if repeat == 0 || !matches!(case, Case::Idle(_)) {
                let run = run(*case, plan, arguments).with_context(|| case.to_string())?;
                found.push(run);
            }
        }
    }
    Ok(runs)
}

/// About how long the whole benchmark takes, without starting processes.
pub(crate) fn estimate(cases: &[Case], plan: &Plan, repeats: usize) -> Duration {
    let repeats = repeats as u32;
    cases
        .iter()
        .map(|case| match case {
            Case::Ping(..) => plan.seconds * 11 / 10 * repeats,
            Case::Idle(_) => plan.idle,
            Case::Broadcast(_) => plan.seconds / 4 * repeats,
        })
        .sum()
}
