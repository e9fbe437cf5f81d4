//! Wrong: finds a gap only by the message after it.

use std::ops::Range;

use day3::Tap;

pub(crate) fn gaps(tap: &mut Tap<u64>) -> Vec<Range<u64>> {
    let (mut gaps, mut next) = (Vec::new(), tap.received() + tap.lost());
    while let Ok(message) = tap.recv() {
        if message > next {
            gaps.push(next..message);
        }
        next = message + 1;
    }
    gaps
}
