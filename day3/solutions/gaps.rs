//! Exercise 2: which messages a tap has missed.

use std::ops::Range;

use day3::Tap;

/// Drains a closed ring from where the tap stands, and returns the ranges of messages that the tap
/// misses on the way, in order. Each message of the ring is its own sequence, and the first one is 0.
pub(crate) fn gaps(tap: &mut Tap<u64>) -> Vec<Range<u64>> {
    let (mut gaps, mut next) = (Vec::new(), tap.received() + tap.lost());
    while let Ok(message) = tap.recv() {
        if message > next {
            gaps.push(next..message);
        }
        next = message + 1;
    }
    // Messages may be missing at the end, too; the tap has counted them.
    let end = tap.received() + tap.lost();
    if end > next {
        gaps.push(next..end);
    }
    gaps
}
