//! Exercise 2: what of a lot is stored?

use crate::lots::{Answer, Tail};

/// What the stream has of the lot, if it can be told.
pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let Some(tail) = tail.filter(|tail| tail.identity == identity) else {
        return Answer::Stored(0);
    };
    // Behind 0 comes everything that is less than half the circle away.
    let stored = tail.end.wrapping_sub(first);
    if stored > u64::MAX / 2 {
        return Answer::Gap;
    }
    let mut end = 0;
    for (count, length) in lengths.iter().enumerate() {
        if end == stored {
            return Answer::Stored(count);
        }
        end += length;
    }
    if end == stored { Answer::Stored(lengths.len()) } else { Answer::Boundary }
}
