//! Wrong on purpose: it looks at each message.

use crate::streams::Envelope;

pub(crate) fn find(
    first: u64,
    last: u64,
    identity: u64,
    wanted: u64,
    look: &mut dyn FnMut(u64) -> Option<Envelope>,
) -> Option<u64> {
    let (mut at, mut found) = (first, None);
    while at <= last {
        let Some(seen) = look(at) else { break };
        if seen.identity == identity && seen.sequence <= wanted {
            found = Some(seen.number);
        }
        at = seen.number + 1;
    }
    found
}
