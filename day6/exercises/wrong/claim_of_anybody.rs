//! Wrong: it takes a claim that ends there for the dead member's, also if another member won it.

use std::ops::Range;

use crate::last_claim_solution::{Claim, Left, PARKED};

pub(crate) fn held(left: &Left<'_>) -> Range<u64> {
    let claim = Claim { winner: Some(left.dead), end: left.intent };
    let ends = |other: &Claim| other.end == claim.end;
    let has_won =
        ends(&left.word) || left.logs.iter().any(ends) || left.helped.as_ref().is_some_and(ends);
    let end = if has_won { left.intent } else { left.won };
    if left.cursor == PARKED || end <= left.cursor { 0..0 } else { left.cursor..end }
}
