//! The words of a register, and in which order they are written and read.

use common::sync::{AtomicU64, Ordering};
use common::{fence, ordering};

/// Makes a place visible that has been written, and says that something has changed.
pub fn announce(state: &AtomicU64, generation: &AtomicU64, number: u64) {
    // edge: register -> read
    state.store(number, ordering!("register-place-release", Release));
    // edge: register -> look
    generation.store(number, ordering!("register-release", Release));
}

/// The number of the next registration, or of the next end of one. It is not 0, which is the state of a free place: others
/// may have written anything into the register.
pub fn next(generation: &AtomicU64) -> u64 {
    generation.load(Ordering::Relaxed).wrapping_add(1).max(1)
}

/// Frees a place, and says that something has changed.
pub fn withdraw(state: &AtomicU64, generation: &AtomicU64) {
    state.store(0, Ordering::Relaxed);
    // edge: register -> look
    generation.store(next(generation), ordering!("register-release", Release));
}

/// The generation. Who sees it sees the place that raised it, or that the place is free.
#[inline]
pub fn generation(generation: &AtomicU64) -> u64 {
    // edge: register -> look
    generation.load(ordering!("look-acquire", Acquire))
}

/// Between the end of one registration in a place and the words of the next.
pub fn renew() {
    // edge: renew -> reread. Who reads one of these words sees that the place was free in between.
    fence!("renew-fence", Release);
}

/// Reads a place that others may be renewing: `read` counts only if the same registration was there before and after.
pub fn steady<R>(state: &AtomicU64, read: impl FnOnce(u64) -> R) -> Option<R> {
    // edge: register -> read
    let before = state.load(ordering!("place-acquire", Acquire));
    if before == 0 {
        return None;
    }
    let found = read(before);
    // edge: renew -> reread
    fence!("reread-fence", Acquire);
    (state.load(Ordering::Relaxed) == before).then_some(found)
}

/// A publisher's half: between a last value that it has kept, and its look at the generation.
pub fn kept() {
    // edge: last <-> subscribe. Either the publisher sees the subscriber's pattern, and copies the message; or the
    // subscriber sees the value in the table, which it reads after it has registered and joined.
    fence!("kept-fence", SeqCst);
}

/// A subscriber's half: between its registration, and its look at tables of last values.
pub fn subscribed() {
    // edge: last <-> subscribe
    fence!("subscribed-fence", SeqCst);
}

/// Says that a subscriber has joined the rings of all publishers up to a generation.
pub fn join(joined: &AtomicU64, generation: u64) {
    // edge: join -> overwrite. The ring knows the consumer before.
    joined.store(generation, ordering!("joined-release", Release));
}

/// Up to which generation a subscriber has joined. A publisher that is in that range may overwrite what it has sent: its
/// ring knows of the subscriber.
pub fn joined(joined: &AtomicU64) -> u64 {
    // edge: join -> overwrite
    joined.load(ordering!("joined-acquire", Acquire))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_register_says_the_next_number_is_one() {
        for (forged, expected) in [(0, 1), (41, 42), (u64::MAX - 1, u64::MAX), (u64::MAX, 1)] {
            let (state, generation) = (AtomicU64::new(7), AtomicU64::new(forged));
            assert_eq!(next(&generation), expected);
            withdraw(&state, &generation);
            assert_eq!(
                (state.load(Ordering::Relaxed), super::generation(&generation)),
                (0, expected)
            );
        }
    }
}
