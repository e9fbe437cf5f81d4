//! Wrong: it does not look at the group's word.

use std::ops::Range;

use crate::last_claim_solution::{Claim, Left, PARKED};

pub(crate) fn held(left: &Left<'_>) -> Range<u64> {
    let claim = Claim { winner: Some(left.dead), end: left.intent };
    let has_won = left.logs.contains(&claim) || left.helped == Some(claim);
    let end = if has_won { left.intent } else { left.won };
    if left.cursor == PARKED || end <= left.cursor { 0..0 } else { left.cursor..end }
}
