//! Exercise 1: a door that opens once.

use std::time::Duration;

use common::sync::AtomicU32;

/// Threads, or processes that share it, wait until it is opened; it stays open.
pub(crate) struct Latch {
    word: AtomicU32,
}

impl Latch {
    /// A closed one.
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Waits, asleep, until it is open, but at most for `timeout`; says whether it is open. Whatever
    /// was written before [`open`](Self::open) can then be read.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let _ = (timeout, &self.word);
        false
    }

    /// Opens it, and wakes all who wait. Says whether it had to ask the kernel for that: only if
    /// somebody had said that it waits.
    pub(crate) fn open(&self) -> bool {
        false
    }
}
