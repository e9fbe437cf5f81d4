//! Announcing a sleep and returning: something else does the sleeping.
//!
//! [`doorbell::rest`] is one call: announce, look, sleep. An end that waits for a descriptor returns after
//! the look, and its program sleeps in `epoll_wait`, if at all. So each call finds what an earlier call left
//! behind: an announcement that may still stand, and signals that may be old.

use common::sync::{AtomicU32, Ordering, mutant};

use crate::doorbell::{self, Ticket};

/// Takes back old signals, announces a sleep, and looks once more. If there is nothing, it calls
/// `watch`. The caller has just looked in vain.
///
/// `clear` takes back old signals, and says whether there were any. `watch` makes sure that a signal
/// comes once the word differs from the ticket. `ticket` is the announcement of an earlier call that
/// is still watched.
pub fn arm<R>(
    word: &AtomicU32,
    ticket: &mut Option<Ticket>,
    clear: impl FnOnce() -> bool,
    look: impl FnMut() -> Option<R>,
    watch: impl FnOnce(Ticket),
) -> Option<R> {
    let stands = |ticket: Ticket| word.load(Ordering::Relaxed) == ticket.word();
    if mutant("late-clear") {
        let answer = doorbell::rest(word, look, watch);
        clear();
        return answer;
    }
    let cleared = clear();
    // The doorbell has not rung since, and the watch has not ended: nothing has changed since that
    // call looked.
    if (!cleared || mutant("trust-ticket")) && ticket.is_some_and(stands) {
        return None;
    }
    if !mutant("keep-ticket") {
        *ticket = None;
    }
    doorbell::rest(word, look, |announced| {
        *ticket = Some(announced);
        watch(announced);
    })
}
