//! Exercise 1: a door that opens once.

use std::time::{Duration, Instant};

use common::sync::{AtomicU32, Ordering};
use day5::futex;

/// Threads, or processes that share it, wait until it is opened; it stays open.
pub(crate) struct Latch {
    word: AtomicU32,
}

const CLOSED: u32 = 0;
const AWAITED: u32 = 1;
const OPEN: u32 = 2;

impl Latch {
    /// A closed one.
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(CLOSED) }
    }

    /// Waits, asleep, until it is open, but at most for `timeout`; says whether it is open. Whatever
    /// was written before [`open`](Self::open) can then be read.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        loop {
            // The word is also what is waited for: no second word, and so no fence in between.
            let order = Ordering::Acquire;
            let found = self.word.compare_exchange(CLOSED, AWAITED, order, order);
            if found == Err(OPEN) {
                return true;
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            futex::wait(&self.word, AWAITED, left);
        }
    }

    /// Opens it, and wakes all who wait. Says whether it had to ask the kernel for that: only if
    /// somebody had said that it waits.
    pub(crate) fn open(&self) -> bool {
        let awaited = self.word.swap(OPEN, Ordering::Release) == AWAITED;
        if awaited {
            futex::wake(&self.word);
        }
        awaited
    }
}
