//! Wrong: waits for as long as it takes.

use std::time::Duration;

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
        loop {
            let order = Ordering::Acquire;
            if self.word.compare_exchange(CLOSED, AWAITED, order, order) == Err(OPEN) {
                return true;
            }
            futex::wait(&self.word, AWAITED, timeout);
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
