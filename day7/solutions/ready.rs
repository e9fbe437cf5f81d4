//! Exercise 2: ready words by hand.

use std::time::Duration;

use common::sync::{AtomicU32, AtomicU64, Ordering, fence};
use day5::futex;

/// How many clients a server has.
pub(crate) const CLIENTS: usize = 128;

/// How many clients there are in a word.
const BITS: usize = 64;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// What a server and its clients share: which clients' rings are worth a look, and whether the server sleeps. One
/// thread is the server; any other may be any client.
pub(crate) struct Ready {
    words: [AtomicU64; CLIENTS / BITS],
    /// A bit for each word that is not 0.
    any: AtomicU32,
    bell: AtomicU32,
}

impl Ready {
    /// Nobody has rung.
    pub(crate) fn new() -> Self {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Self { words, any: AtomicU32::new(0), bell: AtomicU32::new(AWAKE) }
    }

    /// This client, a number below [`CLIENTS`], says that its ring is worth a look, and wakes the server if that
    /// sleeps. Says whether it called the kernel for that, which it does only if the server has said that it is going to
    /// sleep.
    pub(crate) fn ring(&self, client: usize) -> bool {
        let (word, bit) = (client / BITS, client % BITS);
        // edge: ring -> take
        self.words[word].fetch_or(1 << bit, Ordering::Release);
        // After the client's own bit: a server that finds this bit finds that one, too.
        self.any.fetch_or(1 << word, Ordering::Release);
        // edge: announce <-> ring. Two words, so a fence on each side: either we see that the server sleeps, or it sees our
        // bit in its second look.
        fence(Ordering::SeqCst);
        let sleeps = self.bell.load(Ordering::Relaxed) == ASLEEP
            && self.bell.swap(AWAKE, Ordering::Relaxed) == ASLEEP;
        if sleeps {
            futex::wake(&self.bell);
        }
        sleeps
    }

    /// The server's: calls `look` with each client that has rung since the last time, once. What a client wrote before it
    /// rang can be read then. While nobody rings, this looks at one word.
    pub(crate) fn take(&self, mut look: impl FnMut(usize)) {
        if self.any.load(Ordering::Relaxed) == 0 {
            return;
        }
        let any = self.any.swap(0, Ordering::Acquire);
        for (number, word) in self.words.iter().enumerate() {
            if any >> number & 1 == 0 {
                continue;
            }
            // edge: ring -> take. Taken before the look: a client that rings during the look sets its bit again.
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                look(number * BITS + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// The server's: sleeps until a client has rung that was not taken, but at most for `timeout`. It may come back
    /// earlier now and then; the server calls [`take`](Self::take) in any case.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.bell.swap(ASLEEP, Ordering::Relaxed);
        // edge: announce <-> ring
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) == 0 {
            futex::wait(&self.bell, ASLEEP, timeout);
        }
        self.bell.swap(AWAKE, Ordering::Relaxed);
    }
}
