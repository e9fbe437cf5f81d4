//! What is run: the cases, by name, and for how long.

use core::fmt;
use std::time::Duration;

use clap::ValueEnum;
use day5::Strategy;

use crate::ping::{Schedule, Way};

/// How long, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of each ping-pong, and a tenth of it before to warm up; a quarter of it each broadcast.
    pub(crate) seconds: Duration,
    /// How long the idle wait.
    pub(crate) idle: Duration,
    /// Calls per second where they have a schedule.
    pub(crate) rate: f64,
}

/// A single thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Ping(Way, Schedule),
    Idle(Strategy),
    Broadcast(Broadcast),
}

/// One producer, and consumers that each see every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broadcast {
    pub(crate) strategy: Strategy,
    pub(crate) consumers: usize,
    /// How many messages are written, and read, at a time.
    pub(crate) batch: usize,
}

impl Case {
    /// All of them, with broadcasts to each of `consumers`, in the order in which they run.
    pub(crate) fn all(consumers: &[usize]) -> Vec<Self> {
        let ways = |schedule| Way::all().map(move |way| Self::Ping(way, schedule));
        let mut all: Vec<Self> =
            [Schedule::Fast, Schedule::Rate].into_iter().flat_map(ways).collect();
        all.extend(Strategy::ALL.map(Self::Idle));
        for batch in [1, 64] {
            for &consumers in consumers {
                for strategy in Strategy::ALL {
                    all.push(Self::Broadcast(Broadcast { strategy, consumers, batch }));
                }
            }
        }
        all
    }
}

/// `ping-pong/fast/spin`, `idle/sleep`, `broadcast/adaptive/7x64`: what `--only` looks at.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(way, schedule) => write!(f, "ping-pong/{schedule}/{way}"),
            Self::Idle(strategy) => write!(f, "idle/{strategy}"),
            Self::Broadcast(Broadcast { strategy, consumers, batch }) => {
                write!(f, "broadcast/{strategy}/{consumers}x{batch}")
            }
        }
    }
}

/// What a process does in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Duty {
    Pinger,
    Ponger,
    /// Creates the ring that nobody sends on.
    Host,
    /// Waits on it.
    Idler,
    Producer,
    Consumer,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinger => "pinger",
            Self::Ponger => "ponger",
            Self::Host => "host",
            Self::Idler => "idler",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}
