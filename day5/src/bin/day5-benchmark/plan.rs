//! The cases, by name, and how long each runs.

use core::fmt;
use std::time::Duration;

use clap::ValueEnum;
use day5::Strategy;

use crate::ping::{Schedule, Way};

/// How long, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long a ping-pong runs. It warms up for a tenth of that, and a broadcast runs for a
    /// quarter of it.
    pub(crate) seconds: Duration,
    /// How long an idle wait takes.
    pub(crate) idle: Duration,
    /// Calls per second, for ping-pongs with a schedule.
    pub(crate) rate: f64,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Ping(Way, Schedule),
    Idle(Strategy),
    Broadcast(Broadcast),
}

/// One producer, and consumers that each get every message.
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
    /// Creates the ring that nothing is sent on.
    Host,
    /// Waits on that ring.
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
