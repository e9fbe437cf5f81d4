//! Wrong on purpose: it takes numbers for sequences.

use crate::streams::Envelope;

pub(crate) fn find(
    first: u64,
    last: u64,
    identity: u64,
    wanted: u64,
    look: &mut dyn FnMut(u64) -> Option<Envelope>,
) -> Option<u64> {
    if first > last {
        return None;
    }
    let begin = look(first)?;
    let at = (first + wanted.checked_sub(begin.sequence)?).min(last);
    look(at).filter(|seen| seen.identity == identity).map(|seen| seen.number)
}
