//! Who has a queue open.

use std::time::Duration;

use common::QueueName;
use day2::Segment;
use day3::inspect::{Observer, Snapshot};
use day3::roster::ConsumerInfo;

/// Who has a queue open, as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// Its producer, and perhaps others.
    Producer,
    /// No producer, but others.
    Attached {
        /// How many consumers have a slot. If none has, it is a tap, or a consumer that comes or goes.
        consumers: usize,
        /// Whether they wait for a producer: the last one had not closed the queue.
        wait: bool,
    },
    /// Nobody.
    Nobody,
}

impl Custody {
    /// Who has the queue of this segment open, other than through this segment.
    pub fn of(name: &QueueName, segment: &Segment) -> Self {
        if segment.has_producer() {
            return Self::Producer;
        }
        if !segment.is_held() {
            return Self::Nobody;
        }
        // A log has no consumers that one could count.
        let snapshot = Observer::open(name, Duration::ZERO).ok().map(|queue| queue.snapshot());
        let consumers = snapshot.as_ref().map_or(0, alive);
        Self::Attached { consumers, wait: snapshot.is_some_and(|snapshot| !snapshot.closed) }
    }

    /// Why a queue is left as it is; `None` if nobody has it open.
    pub fn why_not(self) -> Option<String> {
        Some(match self {
            Self::Producer => "its producer is alive".to_owned(),
            Self::Attached { consumers: 0, .. } => {
                "attached: a tap, or a consumer that comes or goes, has it open".to_owned()
            }
            Self::Attached { consumers, wait } => {
                let (who, s) = match consumers {
                    1 => ("1 consumer".to_owned(), "s"),
                    n => (format!("{n} consumers"), ""),
                };
                let what = if wait {
                    format!("wait{s} for a successor")
                } else {
                    format!("read{s} the rest")
                };
                format!("attached: {who} {what}")
            }
            Self::Nobody => return None,
        })
    }
}

/// How many registered consumers are alive.
pub fn alive(snapshot: &Snapshot) -> usize {
    living(&snapshot.consumers)
}

/// How many of these consumers are alive.
pub fn living(consumers: &[ConsumerInfo]) -> usize {
    consumers.iter().filter(|consumer| consumer.alive == Some(true)).count()
}
