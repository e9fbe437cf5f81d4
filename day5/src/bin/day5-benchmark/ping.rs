//! Ping-pong: how long a number takes to another process and back.

use core::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::sync::{spin_loop, yield_now};
use day3::Start;
use day3::ring::{Consumer, Producer};
use day5::Strategy;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use yardstick::affinity;
use yardstick::payload::Message;

use crate::cue::Cue;
use crate::ends::{self, Bare, CAPACITY, Counters, Descriptors, End, Files, Futex, Rings};
use crate::plan::Plan;

/// Which of the two sides a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Pinger,
    Ponger,
}

/// How a number reaches the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Rings(Strategy),
    Bare,
    Futex,
    Eventfd,
    Pipe,
    Unix,
}

impl Way {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let floors = [Self::Bare, Self::Futex, Self::Eventfd, Self::Pipe, Self::Unix];
        Strategy::ALL.into_iter().map(Self::Rings).chain(floors)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rings(strategy) => strategy.name(),
            Self::Bare => "bare",
            Self::Futex => "futex",
            Self::Eventfd => "eventfd",
            Self::Pipe => "pipe",
            Self::Unix => "unix",
        })
    }
}

/// When the next number is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// As soon as the number before it has come back.
    Fast,
    /// At its scheduled time, `--rate` times a second. The round trip is timed from there, even if
    /// we sent late.
    Rate,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Rate => "rate",
        })
    }
}

/// The percentiles that are kept of each run.
pub(crate) const PERCENTILES: [f64; 12] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99];

/// What the pinger reports. All times are nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pinged {
    /// How many round trips were timed.
    pub(crate) timed: u64,
    /// The round trip at each of [`PERCENTILES`].
    pub(crate) percentiles: Vec<u64>,
    /// The mean of as many round trips without a clock between them. Only for [`Schedule::Fast`].
    pub(crate) untimed: Option<f64>,
}

/// Tells the other side that this number is the last.
const LAST: u32 = u32::MAX;

/// The descriptors that the two sides inherit, the pinger's first.
pub(crate) fn descriptors(way: Way) -> anyhow::Result<Descriptors> {
    match way {
        Way::Rings(_) => Ok([vec![], vec![]]),
        Way::Bare | Way::Futex => ends::words(),
        Way::Eventfd => ends::counters(),
        Way::Pipe => ends::pipes(),
        Way::Unix => ends::sockets(),
    }
}

/// One side's part.
pub(crate) fn play(
    (way, schedule, side): (Way, Schedule, Side),
    plan: &Plan,
    (at, descriptors): ([&str; 2], Vec<OwnedFd>),
    cue: &mut Cue,
) -> anyhow::Result<serde_json::Value> {
    let cores = affinity::cores();
    if cores.len() > 1 {
        affinity::pin(&cores, side as usize);
    }
    let alone = cores.len() > 1;
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().context("a descriptor is missing");
    let mut part = Part { schedule, side, plan, alone };
    match way {
        Way::Rings(strategy) => {
            let [ping, pong] = at;
            let (ours, theirs) = if side == Side::Pinger { (ping, pong) } else { (pong, ping) };
            let out = Producer::<Message<1>>::create(ours, CAPACITY)?.waiting(strategy.start());
            cue.meet()?;
            let back =
                Consumer::<Message<1>>::join(theirs, Start::Oldest)?.waiting(strategy.start());
            cue.go()?;
            part.run(Rings { out, back })
        }
        Way::Bare => part.simply(Bare::new(&next()?, side)?, cue),
        Way::Futex => part.simply(Futex::new(&next()?, side)?, cue),
        Way::Eventfd => part.simply(Counters::new(next()?, next()?), cue),
        Way::Pipe | Way::Unix => part.simply(Files::new(next()?, next()?), cue),
    }
}

struct Part<'a> {
    schedule: Schedule,
    side: Side,
    plan: &'a Plan,
    /// Whether we have a core to ourselves.
    alone: bool,
}

impl Part<'_> {
    fn simply(&mut self, end: impl End, cue: &mut Cue) -> anyhow::Result<serde_json::Value> {
        cue.meet()?;
        cue.go()?;
        self.run(end)
    }

    fn run(&mut self, mut end: impl End) -> anyhow::Result<serde_json::Value> {
        if self.side == Side::Ponger {
            return Ok(serve(&mut end)?.into());
        }
        let mut pinger = Pinger { end, number: 0 };
        let warm = Instant::now() + self.plan.seconds / 10;
        while Instant::now() < warm {
            pinger.call()?;
        }
        let mut times = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        let untimed = match self.schedule {
            Schedule::Fast => {
                pinger.fast(self.plan.seconds / 2, &mut times)?;
                Some(pinger.untimed(self.plan.seconds / 2)?)
            }
            Schedule::Rate => {
                pinger.at_rate(self.plan, self.alone, &mut times)?;
                None
            }
        };
        pinger.end.send(LAST)?;
        ensure!(pinger.end.receive()? == LAST, "the last number did not come back");
        let percentiles = PERCENTILES.map(|p| times.value_at_percentile(p)).to_vec();
        Ok(serde_json::to_value(Pinged { timed: times.len(), percentiles, untimed })?)
    }
}

/// Sends every number back, and returns how many there were.
fn serve(end: &mut impl End) -> anyhow::Result<u64> {
    let mut served = 0;
    loop {
        let number = end.receive()?;
        end.send(number)?;
        if number == LAST {
            return Ok(served);
        }
        served += 1;
    }
}

struct Pinger<E> {
    end: E,
    number: u32,
}

impl<E: End> Pinger<E> {
    #[inline(always)]
    fn call(&mut self) -> anyhow::Result<()> {
        self.number += 1;
        self.end.send(self.number)?;
        let answer = self.end.receive()?;
        ensure!(answer == self.number, "sent {}, and {answer} came back", self.number);
        Ok(())
    }

    #[inline(never)]
    fn fast(&mut self, time: Duration, times: &mut Histogram<u64>) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            let started = Instant::now();
            self.call()?;
            let ended = Instant::now();
            times.record((ended - started).as_nanos() as u64)?;
            if ended >= end {
                return Ok(());
            }
        }
    }

    /// The mean of a round trip, in nanoseconds.
    #[inline(never)]
    fn untimed(&mut self, time: Duration) -> anyhow::Result<f64> {
        let (started, before) = (Instant::now(), self.number);
        while started.elapsed() < time {
            for _ in 0..64 {
                self.call()?;
            }
        }
        Ok(started.elapsed().as_nanos() as f64 / f64::from(self.number - before))
    }

    fn at_rate(
        &mut self,
        plan: &Plan,
        alone: bool,
        times: &mut Histogram<u64>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let calls = (plan.seconds.as_secs_f64() * plan.rate).max(1.0) as u32;
        for call in 0..calls {
            let due = started + Duration::from_secs_f64(f64::from(call) / plan.rate);
            while Instant::now() < due {
                if alone { spin_loop() } else { yield_now() }
            }
            self.call()?;
            times.record((Instant::now() - due).as_nanos() as u64)?;
        }
        Ok(())
    }
}
