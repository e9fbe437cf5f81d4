//! Exercise 1: where in a stream does a copy go on?

use crate::streams::Envelope;

/// The last message of the queue that begins at `wanted` or before.
pub(crate) fn find(
    first: u64,
    last: u64,
    identity: u64,
    wanted: u64,
    look: &mut dyn FnMut(u64) -> Option<Envelope>,
) -> Option<u64> {
    // All messages before `from` begin early enough, and no message from `to` on does.
    let (mut from, mut to) = (first, last + 1);
    let mut found = None;
    while from < to {
        let middle = from + (to - from) / 2;
        match look(middle) {
            Some(seen) if seen.identity != identity => from = seen.number + 1,
            Some(seen) if seen.sequence <= wanted => {
                found = Some(seen.number);
                from = seen.number + 1;
            }
            _ => to = middle,
        }
    }
    found
}
