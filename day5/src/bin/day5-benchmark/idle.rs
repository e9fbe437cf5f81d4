//! The cost of waiting for a message that does not come.

use anyhow::ensure;
use day3::Start;
use day3::error::RecvTimeoutError;
use day3::ring::{Consumer, Producer};
use day5::Strategy;
use serde::{Deserialize, Serialize};
use yardstick::crew::now;
use yardstick::payload::Message;

use crate::cue::{Cue, used};
use crate::ends::CAPACITY;
use crate::plan::Plan;

/// What the waiting process reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Idled {
    /// CPU time used, in nanoseconds.
    pub(crate) used: u64,
    /// Elapsed time, in nanoseconds.
    pub(crate) elapsed: u64,
}

impl Idled {
    /// CPU time in percent of one core.
    pub(crate) fn percent(self) -> f64 {
        100.0 * self.used as f64 / self.elapsed.max(1) as f64
    }
}

/// The host's part: creates the ring, and sends nothing until the other process has waited.
pub(crate) fn host(
    strategy: Strategy,
    plan: &Plan,
    at: &str,
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    let producer = Producer::<Message<1>>::create(at, CAPACITY)?.waiting(strategy.start());
    cue.meet()?;
    cue.go()?;
    std::thread::sleep(plan.idle);
    // Wait until the other process has left: closing would wake it.
    while !producer.consumers().is_empty() {
        std::thread::sleep(plan.idle / 100);
    }
    Ok(serde_json::Value::Null)
}

/// The waiting process's part.
pub(crate) fn idler(
    strategy: Strategy,
    plan: &Plan,
    at: &str,
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    cue.meet()?;
    let consumer = Consumer::<Message<1>>::join(at, Start::Oldest)?;
    let mut consumer = consumer.waiting(strategy.start());
    cue.go()?;
    let (started, before) = (now()?, used()?);
    let received = consumer.recv_timeout(plan.idle);
    let (used, elapsed) = (used()? - before, now()? - started);
    ensure!(
        matches!(received, Err(RecvTimeoutError::TimedOut(_))),
        "nothing was sent, and {received:?} came"
    );
    ensure!(elapsed >= plan.idle, "the wait ended after {elapsed:?} already");
    let (used, elapsed) = (used.as_nanos() as u64, elapsed.as_nanos() as u64);
    Ok(serde_json::to_value(Idled { used, elapsed })?)
}
