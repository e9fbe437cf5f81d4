//! Wrong: returns a range for each message, also for neighbours.

use std::ops::Range;

use day3::Tap;

use crate::gaps_solution;

pub(crate) fn gaps(tap: &mut Tap<u64>) -> Vec<Range<u64>> {
    gaps_solution::gaps(tap).into_iter().flatten().map(|lost| lost..lost + 1).collect()
}
