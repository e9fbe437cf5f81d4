//! To announce a sleep, and leave: somebody else will do the sleeping.
//!
//! [`doorbell::rest`] is one call: announce, look, sleep. An end that waits for a descriptor leaves
//! after the look, and sleeps in `epoll_wait` or where it likes, if it does. So what one call leaves behind,
//! the next one finds: an announcement that may still stand, and signals that may be old.

use common::sync::{AtomicU32, Ordering, mutant};

use crate::doorbell::{self, Ticket};

/// Takes back old signals, announces a sleep, looks once more, and if there is nothing has somebody
/// watch. A look just before was in vain.
///
/// `clear` takes back the signals that there were, and says whether there were any. `watch` sees to it
/// that there is a signal after the word is no longer what the ticket says. `ticket` is the
/// announcement that somebody watches since an earlier call.
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
    // Nobody has rung since, nor has the watcher given up: it is as it was after the look of
    // that time.
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
