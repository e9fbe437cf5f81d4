//! Wrong: it takes the end of the claim before for where the dead member's messages begin. So it delivers messages again
//! that the dead member had given back.

use std::ops::Range;

use crate::last_claim_solution::{self, Left};

pub(crate) fn held(left: &Left<'_>) -> Range<u64> {
    let Range { start, end } = last_claim_solution::held(left);
    let before = left.logs.iter().map(|claim| claim.end).filter(|&end| end < start).max();
    if start < end { before.unwrap_or(start.saturating_sub(1))..end } else { start..end }
}
