//! What is to happen at some time.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Names a timer.
pub(super) type TimerKey = (Instant, u64);

/// Wakers, by the time at which they are to be woken.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeMap<TimerKey, Waker>,
    count: u64,
}

impl Timers {
    pub(super) fn add(&mut self, time: Instant, waker: Waker) -> TimerKey {
        self.count += 1;
        let key = (time, self.count);
        self.by_time.insert(key, waker);
        key
    }

    /// What it would have woken; `None` if it has been.
    pub(super) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.by_time.remove(&key)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((time, _), _)| *time)
    }

    /// Whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waker> {
        let first = self.by_time.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
