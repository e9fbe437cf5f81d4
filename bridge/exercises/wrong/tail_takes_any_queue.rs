//! Wrong on purpose: it does not ask which queue the stream's last message comes from.

use crate::lots::{Answer, Tail};

pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let _ = identity;
    let Some(tail) = tail else {
        return Answer::Stored(0);
    };
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
