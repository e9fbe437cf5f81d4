//! Two threads, each on a core of its own, and a place where they meet.

use std::thread;

use common::sync::{AtomicU64, Ordering, spin_loop, yield_now};
use crossbeam_utils::CachePadded;
use yardstick::affinity;

/// Runs both at the same time, each on a core of its own if there are two, and returns both
/// results.
pub(crate) fn on_two_cores<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let cores = &affinity::cores();
    thread::scope(|scope| {
        let first = scope.spawn(move || {
            affinity::pin(cores, 0);
            first()
        });
        let second = scope.spawn(move || {
            affinity::pin(cores, 1);
            second()
        });
        let joined = (first.join(), second.join());
        (joined.0.expect("the first thread ended"), joined.1.expect("the second thread ended"))
    })
}

/// Where two threads wait for one another, round after round.
pub(crate) struct Meeting([CachePadded<AtomicU64>; 2]);

impl Meeting {
    /// How often a thread looks before it yields its core. On a machine with one core, the other
    /// thread needs it.
    const LOOKS: u32 = 64;

    pub(crate) fn new() -> Self {
        Self([0, 0].map(|round| CachePadded::new(AtomicU64::new(round))))
    }

    /// Says that thread `me`, 0 or 1, has reached this round, and waits until the other has.
    pub(crate) fn meet(&self, me: usize, round: u64) {
        self.0[me].store(round, Ordering::Release);
        let mut looks = 0;
        while self.0[1 - me].load(Ordering::Acquire) < round {
            looks += 1;
            if looks % Self::LOOKS == 0 { yield_now() } else { spin_loop() }
        }
    }
}
