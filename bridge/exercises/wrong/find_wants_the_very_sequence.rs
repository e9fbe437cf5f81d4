//! Wrong on purpose: it takes no message that begins before what is wanted.

use crate::streams::Envelope;

pub(crate) fn find(
    first: u64,
    last: u64,
    identity: u64,
    wanted: u64,
    look: &mut dyn FnMut(u64) -> Option<Envelope>,
) -> Option<u64> {
    let (mut from, mut to) = (first, last + 1);
    let mut found = None;
    while from < to {
        let middle = from + (to - from) / 2;
        match look(middle) {
            Some(seen) if seen.identity != identity => from = seen.number + 1,
            Some(seen) if seen.sequence <= wanted => {
                if seen.sequence == wanted {
                    found = Some(seen.number);
                }
                from = seen.number + 1;
            }
            _ => to = middle,
        }
    }
    found
}
