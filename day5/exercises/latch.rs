//! Exercise 1: a door that opens once.

use std::time::Duration;

use common::sync::AtomicU32;

/// Threads, or processes that share it, wait until it opens. It stays open.
pub(crate) struct Latch {
    word: AtomicU32,
}

impl Latch {
    /// A closed latch.
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Waits, asleep, until the latch is open, but at most for `timeout`; says whether it is open. If it is,
    /// everything that was written before [`open`](Self::open) can be read.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let _ = (timeout, &self.word);
        false
    }

    /// Opens the latch, and wakes all waiting threads. Says whether it called the kernel for that, which it
    /// does only if a thread has said that it waits.
    pub(crate) fn open(&self) -> bool {
        false
    }
}
