//! Wrong: looks every millisecond, and never sleeps on the futex.

use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicU32, Ordering};

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
        let started = Instant::now();
        loop {
            let order = Ordering::Acquire;
            if self.word.compare_exchange(CLOSED, AWAITED, order, order) == Err(OPEN) {
                return true;
            }
            if started.elapsed() >= timeout {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn open(&self) -> bool {
        self.word.swap(OPEN, Ordering::Release) == AWAITED
    }
}
