//! Wrong on purpose: it takes a message that is cut for one that is stored.

use crate::lots::{Answer, Tail};

pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let Some(tail) = tail.filter(|tail| tail.identity == identity) else {
        return Answer::Stored(0);
    };
    let stored = tail.end.wrapping_sub(first);
    if stored > u64::MAX / 2 {
        return Answer::Gap;
    }
    let (mut end, mut count) = (0, 0);
    while end < stored {
        let Some(length) = lengths.get(count) else { return Answer::Boundary };
        end += length;
        count += 1;
    }
    Answer::Stored(count)
}
