//! Wrong: all is Relaxed, and there are only the fences of the sleep.

use std::time::Duration;

use common::sync::{AtomicU32, AtomicU64, Ordering, fence};
use day5::futex;

pub(crate) const CLIENTS: usize = 128;

const BITS: usize = 64;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

pub(crate) struct Ready {
    words: [AtomicU64; CLIENTS / BITS],
    any: AtomicU32,
    bell: AtomicU32,
}

impl Ready {
    pub(crate) fn new() -> Self {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Self { words, any: AtomicU32::new(0), bell: AtomicU32::new(AWAKE) }
    }

    pub(crate) fn ring(&self, client: usize) -> bool {
        let (word, bit) = (client / BITS, client % BITS);
        self.words[word].fetch_or(1 << bit, Ordering::Relaxed);
        self.any.fetch_or(1 << word, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let sleeps = self.bell.load(Ordering::Relaxed) == ASLEEP
            && self.bell.swap(AWAKE, Ordering::Relaxed) == ASLEEP;
        if sleeps {
            futex::wake(&self.bell);
        }
        sleeps
    }

    pub(crate) fn take(&self, mut look: impl FnMut(usize)) {
        if self.any.load(Ordering::Relaxed) == 0 {
            return;
        }
        let any = self.any.swap(0, Ordering::Relaxed);
        for (number, word) in self.words.iter().enumerate() {
            if any >> number & 1 == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::Relaxed);
            while bits != 0 {
                look(number * BITS + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    pub(crate) fn wait(&self, timeout: Duration) {
        self.bell.swap(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) == 0 {
            futex::wait(&self.bell, ASLEEP, timeout);
        }
        self.bell.swap(AWAKE, Ordering::Relaxed);
    }
}
