//! The sides of one run: threads of one process, or a process each. None of them is this process, so a
//! rival that crashes, hangs or leaves threads behind spoils only its own run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use yardstick::{affinity, bytes, payload};

use crate::child::{Child, Talk};
use crate::load::Job;

/// Where the sides of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Threads of one process.
    Threads,
    /// A process each.
    Processes,
}

/// What has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Everything that the sender sent, at each receiver.
    Each,
    /// Everything that the sender sent, at all receivers together.
    Together,
    /// What each side sent, at the next side: there and back, or back to itself.
    Around,
    /// Everything that all senders sent, at the one receiver.
    Gathered,
}

/// A side's first step: it opens its end. The sides do that one after the other.
///
/// If the sides are processes, this is made before they are. So it may hold descriptors, names and
/// addresses, and nothing whose drop has an effect.
pub type SetUp = Box<dyn FnOnce() -> anyhow::Result<Go> + Send>;

/// What one side does when all are set up.
pub type Go = Box<dyn FnOnce() -> anyhow::Result<Done>>;

/// What one side has done.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// What it sent.
    pub sent: Moved,
    /// What it received.
    pub received: Moved,
    /// Messages that it should have received and never will.
    pub lost: u64,
    /// How long its round trips took.
    pub times: Option<Times>,
}

impl Done {
    /// A side that only sent.
    pub fn sent(moved: impl Into<Moved>) -> Self {
        Self { sent: moved.into(), ..Self::default() }
    }

    /// A side that only received.
    pub fn received(moved: impl Into<Moved>) -> Self {
        Self { received: moved.into(), ..Self::default() }
    }
}

/// Messages, their bytes, and a checksum over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the line above names them")]
pub struct Moved {
    pub count: u64,
    pub bytes: u64,
    pub sum: u64,
}

impl std::iter::Sum for Moved {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            count: one.count + other.count,
            bytes: one.bytes + other.bytes,
            sum: one.sum.wrapping_add(other.sum),
        })
    }
}

impl From<bytes::Tally> for Moved {
    fn from(bytes::Tally { count, bytes, checksum }: bytes::Tally) -> Self {
        Self { count, bytes, sum: checksum }
    }
}

/// Of messages of 64 bytes.
impl From<payload::Tally> for Moved {
    fn from(payload::Tally { count, sum }: payload::Tally) -> Self {
        Self { count, bytes: count * size_of::<crate::Packet>() as u64, sum }
    }
}

/// Round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How many were made without a clock in between.
    pub calls: u64,
    /// How long those took together, in nanoseconds.
    pub elapsed: u64,
    /// Half of the round trips that were timed one by one took at most this, in nanoseconds.
    pub p50: u64,
    /// And 99 of 100 took at most this.
    pub p99: u64,
}

/// The sides of a run, in the order in which they are set up.
pub struct Crew {
    delivery: Delivery,
    sides: Vec<SetUp>,
}

impl Crew {
    /// A crew without sides.
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, sides: Vec::new() }
    }

    /// Adds a side.
    #[must_use]
    pub fn side(mut self, set_up: impl FnOnce() -> anyhow::Result<Go> + Send + 'static) -> Self {
        self.sides.push(Box::new(set_up));
        self
    }

    /// Adds a side that is set up already. This works only for threads.
    #[must_use]
    pub fn ready(self, go: impl FnOnce() -> anyhow::Result<Done> + Send + 'static) -> Self {
        self.side(move || Ok(Box::new(go)))
    }
}

/// Makes the sides of a run.
pub type Build = dyn Fn(&Job) -> anyhow::Result<Crew>;

/// One side, and its start and end on the clock that all processes share, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lap {
    done: Done,
    started: u64,
    ended: u64,
    /// The CPU time of the side's own thread, in nanoseconds.
    cpu: u64,
}

/// The sides in one process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Laps {
    delivery: Delivery,
    laps: Vec<Lap>,
    /// The CPU time of all threads while they ran.
    cpu: Duration,
}

/// A run whose checks were passed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The time from the first side's start to the last side's end.
    pub elapsed: Duration,
    /// CPU time of all sides together, background threads included.
    pub cpu: Duration,
    /// CPU time of the threads that answer, if there are such.
    pub server: Option<Duration>,
    /// Messages sent, or round trips.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The share of messages that did not arrive where they should have: 0 to 1.
    pub lost: f64,
    /// The times of a run there and back.
    pub times: Option<Times>,
}

impl Run {
    /// Round trips, or messages that arrived, per second.
    pub fn rate(&self) -> f64 {
        let (count, elapsed) = match self.times {
            Some(times) => (times.calls, Duration::from_nanos(times.elapsed)),
            None => (self.messages, self.elapsed),
        };
        count as f64 * (1.0 - self.lost) / elapsed.as_secs_f64()
    }
}

/// Runs all sides, and checks what arrived.
///
/// # Errors
///
/// If a side fails, dies or takes too long, or if what arrived is not what was sent.
pub fn run(build: &Build, place: Place, job: &Job) -> anyhow::Result<Run> {
    let deadline = Instant::now() + job.timeout;
    let mut children = Vec::new();
    let mut start = |work: &mut dyn FnMut(&mut Talk) -> anyhow::Result<Laps>| {
        let mut child = Child::start(work)?;
        child.ready(deadline)?;
        children.push(child);
        anyhow::Ok(())
    };
    match place {
        Place::Threads => start(&mut |talk| {
            let Crew { delivery, sides } = build(job)?;
            perform(delivery, sides.into_iter().enumerate().collect(), job.pinned, talk)
        })?,
        Place::Processes => {
            let Crew { delivery, mut sides } = build(job)?;
            for side in 0..sides.len() {
                // The descriptors of earlier sides are gone already, and those of later sides do
                // not concern this one.
                start(&mut |talk| {
                    let mut rest = std::mem::take(&mut sides);
                    let mine = rest.remove(0);
                    drop(rest);
                    perform(delivery, vec![(side, mine)], job.pinned, talk)
                })?;
                drop(sides.remove(0));
            }
        }
    }
    for child in &mut children {
        child.go()?;
    }
    let laps = children.iter_mut().map(|child| child.done(deadline)).collect::<Result<_, _>>()?;
    check(job, laps)
}

/// Whether each of `sides` threads or processes can have a core of its own.
pub fn fits(sides: usize) -> bool {
    sides <= affinity::cores().len()
}

/// A clock that is the same for all processes, in nanoseconds.
fn now() -> anyhow::Result<u64> {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The CPU time that this thread has used, in nanoseconds.
fn own_cpu() -> anyhow::Result<u64> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> anyhow::Result<u64> {
    let time: Duration = clock_gettime(clock).context("reading a clock")?.into();
    Ok(time.as_nanos() as u64)
}

fn cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    let time = |time: TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// The sides of this process, a thread each, with their numbers.
fn perform(
    delivery: Delivery,
    sides: Vec<(usize, SetUp)>,
    pinned: bool,
    talk: &mut Talk,
) -> anyhow::Result<Laps> {
    let start = Arc::new(Barrier::new(sides.len() + 1));
    let (done, all) = channel::<(usize, anyhow::Result<Lap>)>();
    let count = sides.len();
    for (number, side) in sides {
        let (ready, set_up) = channel();
        let (start, done) = (Arc::clone(&start), done.clone());
        thread::spawn(move || {
            let whole = move || {
                let go = side().context("setting up")?;
                // Only now: threads that a library has started earlier may run on any core.
                if pinned {
                    affinity::pin(&affinity::cores(), number);
                }
                let _ = ready.send(());
                drop(ready);
                start.wait();
                let (started, before) = (now()?, own_cpu()?);
                let done = go()?;
                let cpu = own_cpu()? - before;
                Ok(Lap { done, started, ended: now()?, cpu })
            };
            let lap = catch_unwind(AssertUnwindSafe(whole)).unwrap_or_else(|panic| {
                Err(anyhow!("panicked: {}", crate::child::said(panic.as_ref())))
            });
            let _ = done.send((number, lap));
        });
        if set_up.recv().is_err() {
            // No other thread can say anything before this.
            all.recv().context("a thread ended without a word")?.1?;
        }
    }
    talk.ready()?;
    start.wait();
    let before = cpu()?;
    let mut laps = Vec::new();
    for _ in 0..count {
        let (number, lap) = all.recv().context("a thread ended without a word")?;
        laps.push((number, lap?));
    }
    laps.sort_by_key(|(number, _)| *number);
    let laps = laps.into_iter().map(|(_, lap)| lap).collect();
    Ok(Laps { delivery, laps, cpu: cpu()? - before })
}

fn check(job: &Job, parts: Vec<Laps>) -> anyhow::Result<Run> {
    let delivery = parts.first().context("a run has no side")?.delivery;
    let cpu = parts.iter().map(|part| part.cpu).sum();
    let laps: Vec<Lap> = parts.into_iter().flat_map(|part| part.laps).collect();
    let sides: Vec<Done> = laps.iter().map(|lap| lap.done).collect();
    let sent = sent(delivery, &sides);
    ensure!(sent.count == job.messages, "{} of {} messages were sent", sent.count, job.messages);
    let receivers: Vec<Done> = sides.iter().filter(|side| side.sent.count == 0).copied().collect();
    match delivery {
        Delivery::Around => {
            for (i, side) in sides.iter().enumerate() {
                let next = sides[(i + 1) % sides.len()].received;
                ensure!(next == side.sent, "{next:?} arrived of {:?}", side.sent);
            }
        }
        Delivery::Each => receivers.iter().try_for_each(|side| arrived(side, sent))?,
        Delivery::Together | Delivery::Gathered => {
            let received = receivers.iter().map(|side| side.received).sum();
            let lost = receivers.iter().map(|side| side.lost).sum();
            arrived(&Done { received, lost, ..Done::default() }, sent)?;
        }
    }
    let started = laps.iter().map(|lap| lap.started).min().unwrap_or_default();
    let ended = laps.iter().map(|lap| lap.ended).max().unwrap_or_default();
    let due = match delivery {
        Delivery::Each => sent.count * receivers.len().max(1) as u64,
        Delivery::Together | Delivery::Around | Delivery::Gathered => sent.count,
    };
    Ok(Run {
        elapsed: Duration::from_nanos(ended.saturating_sub(started)),
        cpu,
        server: server(&laps),
        messages: sent.count,
        bytes: sent.bytes,
        lost: receivers.iter().map(|side| side.lost).sum::<u64>() as f64 / due as f64,
        times: sides.iter().find_map(|side| side.times),
    })
}

/// What went into the run: what its only sender sent, or its first, or all of them together.
fn sent(delivery: Delivery, sides: &[Done]) -> Moved {
    let mut sent = sides.iter().map(|side| side.sent).filter(|sent| sent.count > 0);
    match delivery {
        Delivery::Gathered => sent.sum(),
        Delivery::Each | Delivery::Together | Delivery::Around => sent.next().unwrap_or_default(),
    }
}

/// The CPU time of the threads that answer: those beside the thread that has timed its round trips.
fn server(laps: &[Lap]) -> Option<Duration> {
    laps.iter().find(|lap| lap.done.times.is_some())?;
    let mut answering = laps.iter().filter(|lap| lap.done.times.is_none()).peekable();
    answering.peek()?;
    Some(Duration::from_nanos(answering.map(|lap| lap.cpu).sum()))
}

/// Everything but what is known to be lost. If messages are lost, sums cannot be compared.
fn arrived(side: &Done, sent: Moved) -> anyhow::Result<()> {
    let Done { received, lost, .. } = side;
    if *lost == 0 {
        ensure!(*received == sent, "{received:?} arrived of {sent:?}");
    }
    let found = received.count + lost;
    ensure!(
        found == sent.count,
        "{} arrived and {lost} were lost, which is {found} of {}",
        received.count,
        sent.count
    );
    Ok(())
}
