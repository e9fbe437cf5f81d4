//! Wrong: calls the kernel with each ring.

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
        self.words[word].fetch_or(1 << bit, Ordering::Release);
        self.any.fetch_or(1 << word, Ordering::Release);
        fence(Ordering::SeqCst);
        self.bell.swap(AWAKE, Ordering::Relaxed);
        futex::wake(&self.bell);
        true
    }

    pub(crate) fn take(&self, mut look: impl FnMut(usize)) {
        if self.any.load(Ordering::Relaxed) == 0 {
            return;
        }
        let any = self.any.swap(0, Ordering::Acquire);
        for (number, word) in self.words.iter().enumerate() {
            if any >> number & 1 == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::Acquire);
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
