//! Throughput: how many messages reach one or more consumers, on the cores of this machine.

use std::time::{Duration, Instant};

use anyhow::ensure;
use day3::Start;
use day3::error::RecvError;
use day3::ring::{Consumer, Producer};
use day5::AnyStrategy;
use serde::{Deserialize, Serialize};
use yardstick::affinity;
use yardstick::crew::now;
use yardstick::payload::{Message, Payload, Tally, fill, sum};
use yardstick::report::Throughput;

use crate::cue::Cue;
use crate::plan::{Broadcast, Plan};

type Words = Message<8>;

/// How many messages the ring holds.
const CAPACITY: u64 = 1024;

/// What each side reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) count: u64,
    sum: u64,
    /// In nanoseconds, on a clock that is the same for all processes.
    started: u64,
    ended: u64,
}

impl Broadcast {
    /// Whether there are more processes than cores, so that they have to take turns.
    pub(crate) fn is_crowded(&self) -> bool {
        self.consumers >= affinity::cores().len()
    }

    /// The throughput of the consumers; the producer's report is the first.
    ///
    /// # Errors
    ///
    /// If a consumer got anything but what was sent, or a report is missing.
    pub(crate) fn rate(&self, reports: &[Moved]) -> anyhow::Result<Throughput> {
        ensure!(reports.len() == self.consumers + 1, "a process did not report");
        let sent = reports[0];
        for got in reports {
            ensure!(
                (got.count, got.sum) == (sent.count, sent.sum),
                "{} messages with sum {} were sent, {} with sum {} arrived",
                sent.count,
                sent.sum,
                got.count,
                got.sum
            );
        }
        let ended = reports.iter().map(|report| report.ended).max().unwrap_or_default();
        let elapsed = Duration::from_nanos(ended - sent.started);
        let bytes = sent.count * size_of::<Words>() as u64;
        Ok(Throughput { messages: sent.count, bytes, elapsed })
    }

    fn pin(&self, nth: usize) {
        // With more processes than cores, the kernel places them better than we do.
        if !self.is_crowded() {
            affinity::pin(&affinity::cores(), nth);
        }
    }
}

/// The producer's part: sends for a quarter of the plan's time.
pub(crate) fn produce(
    case: Broadcast,
    plan: &Plan,
    at: &str,
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    case.pin(0);
    let producer = Producer::<Words>::create(at, CAPACITY)?;
    let mut producer = producer.waiting(case.strategy.start());
    cue.meet()?;
    cue.go()?;
    let started = now()?;
    let tally = send(&mut producer, case.batch, plan.seconds / 4)?;
    producer.close();
    let ended = now()?;
    report(tally, started, ended)
}

/// A consumer's part: receives until the producer closes.
pub(crate) fn consume(
    case: Broadcast,
    at: &str,
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    case.pin(1);
    cue.meet()?;
    let mut consumer = Consumer::<Words>::join(at, Start::Oldest)?.waiting(case.strategy.start());
    cue.go()?;
    let started = now()?;
    let tally = receive(&mut consumer, case.batch)?;
    report(tally, started, now()?)
}

fn report(tally: Tally, started: Duration, ended: Duration) -> anyhow::Result<serde_json::Value> {
    let Tally { count, sum } = tally;
    let (started, ended) = (started.as_nanos() as u64, ended.as_nanos() as u64);
    Ok(serde_json::to_value(Moved { count, sum, started, ended })?)
}

/// How many messages pass between two looks at the clock.
const BETWEEN_CLOCKS: u64 = 256;

#[inline(never)]
fn send(
    producer: &mut Producer<Words, AnyStrategy>,
    batch: usize,
    time: Duration,
) -> anyhow::Result<Tally> {
    let (started, mut tally) = (Instant::now(), Tally::default());
    while started.elapsed() < time {
        let until = tally.count + BETWEEN_CLOCKS;
        while tally.count < until && batch == 1 {
            let mut message = Words::ZERO;
            let sum = message.fill(tally.count);
            producer.send(message)?;
            tally.add(1, sum);
        }
        while tally.count < until {
            let mut places = producer.reserve(batch)?;
            let (head, tail) = places.slices();
            let behind = tally.count + head.len() as u64;
            let sum = fill(head, tally.count).wrapping_add(fill(tail, behind));
            places.publish();
            tally.add(batch as u64, sum);
        }
    }
    Ok(tally)
}

#[inline(never)]
fn receive(consumer: &mut Consumer<Words, AnyStrategy>, batch: usize) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let end = if batch == 1 {
        loop {
            match consumer.recv() {
                Ok(message) => tally.add(1, message.sum()),
                Err(end) => break end,
            }
        }
    } else {
        loop {
            match consumer.recv_batch(batch) {
                Ok(messages) => {
                    let (head, tail) = messages.slices();
                    tally.add(messages.len() as u64, sum(head).wrapping_add(sum(tail)));
                }
                Err(end) => break end,
            }
        }
    };
    ensure!(end == RecvError::Closed, "a consumer was stopped: {end}");
    Ok(tally)
}
