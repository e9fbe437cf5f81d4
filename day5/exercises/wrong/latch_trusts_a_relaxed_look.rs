//! Wrong: if the latch is open already, returns after a Relaxed look, which orders nothing.

use std::time::{Duration, Instant};

use common::sync::{AtomicU32, Ordering};
use day5::futex;

pub(crate) struct Latch {
    word: AtomicU32,
}

const CLOSED: u32 = 0;
const AWAITED: u32 = 1;
const OPEN: u32 = 2;

impl Latch {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(CLOSED) }
    }

    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        if self.word.load(Ordering::Relaxed) == OPEN {
            return true;
        }
        let started = Instant::now();
        loop {
            let found =
                self.word.compare_exchange(CLOSED, AWAITED, Ordering::Acquire, Ordering::Acquire);
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

    pub(crate) fn open(&self) -> bool {
        let awaited = self.word.swap(OPEN, Ordering::Release) == AWAITED;
        if awaited {
            futex::wake(&self.word);
        }
        awaited
    }
}
