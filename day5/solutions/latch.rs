//! Exercise 1: a door that opens once.

use std::time::{Duration, Instant};

use common::sync::{AtomicU32, Ordering};
use day5::futex;

/// Threads, or processes that share it, wait until it opens. It stays open.
pub(crate) struct Latch {
    word: AtomicU32,
}

const CLOSED: u32 = 0;
const AWAITED: u32 = 1;
const OPEN: u32 = 2;

impl Latch {
    /// A closed latch.
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(CLOSED) }
    }

    /// Waits, asleep, until the latch is open, but at most for `timeout`. Returns whether it is
    /// open. If it is, everything that was written before [`open`](Self::open) can be read.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        loop {
            // The threads wait for the very word that opens the latch: no second word, so no fence
            // between two.
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

    /// Opens the latch, and wakes all waiting threads. Returns whether it called the kernel for
    /// that, which it does only if a thread has announced that it waits.
    pub(crate) fn open(&self) -> bool {
        let awaited = self.word.swap(OPEN, Ordering::Release) == AWAITED;
        if awaited {
            futex::wake(&self.word);
        }
        awaited
    }
}
