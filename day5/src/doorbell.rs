//! How an end announces that it sleeps, and how it is woken.
//!
//! The words are those of Day 3's doorbell line, one for each side:
//!
//! | bits | meaning |
//! |---:|---|
//! | 0 | an end sleeps, or is about to |
//! | 1 | the kernel makes no fences for a process that sleeps or rings here: a ring needs a fence of its own |
//! | 2–31 | how many rings there were |
//!
//! An end that is about to sleep sets bit 0, makes the heavy half of the [`barrier`], looks once more,
//! and sleeps while the word stays the same. An end that has changed something makes the light half,
//! reads the word, and usually finds that bit 0 is not set. If the bit is set, the end clears it, adds
//! one to the count, and wakes all sleepers. Each sleeper looks, and announces itself again before it
//! sleeps again.
//!
//! Either the sleeper sees the change, or the end that made the change sees the sleeper. And because
//! the word counts, a ring between the sleeper's last look and its sleep is not lost: the word has
//! changed by then.

use common::sync::{AtomicU32, Ordering, fence, mutant};
use day3::doorbell::{ASLEEP, FENCED};

use crate::barrier;

pub use day3::doorbell::{attach, ring, rouse, wake};

/// A sleeper's ticket: it sleeps while the word has this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// The value that the word has to have.
    pub fn word(self) -> u32 {
        self.0
    }

    /// Whether the sleeper could not make the other processes' fences. A ring may then miss it, so
    /// it must not sleep for long.
    pub fn is_fenced(self) -> bool {
        self.0 & FENCED != 0
    }
}

/// One rest: announces a sleep, looks once more, and sleeps if there is nothing.
///
/// `sleep` must return once the word differs from the ticket and its sleepers have been woken. It
/// may return earlier: the next look decides.
pub fn rest<R>(
    word: &AtomicU32,
    mut look: impl FnMut() -> Option<R>,
    sleep: impl FnOnce(Ticket),
) -> Option<R> {
    let ticket = announce(word);
    let answer = if mutant("skip-second-look") { None } else { look() };
    if answer.is_none() {
        sleep(ticket);
    }
    answer
}

/// Announces that this end is about to sleep. Look once more afterwards, and only then sleep; [`rest`]
/// does both.
pub fn announce(word: &AtomicU32) -> Ticket {
    day3::doorbell::announced();
    let before = word.fetch_or(ASLEEP, Ordering::Relaxed);
    // edge: announce <-> ring. Either we see the change in the look that follows, or the end that made
    // it sees our bit.
    if barrier::heavy() {
        return Ticket(before | ASLEEP);
    }
    // An end that has not seen the bit FENCED yet reads the word without a fence, and may miss us once.
    let before = word.fetch_or(ASLEEP | FENCED, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    Ticket(before | ASLEEP | FENCED)
}

/// As [`announce`], at several words with one barrier: their tickets, in order.
pub fn announce_at(words: &[&AtomicU32]) -> Vec<Ticket> {
    day3::doorbell::announced();
    let set = |bits| move |word: &&AtomicU32| Ticket(word.fetch_or(bits, Ordering::Relaxed) | bits);
    let tickets = words.iter().map(set(ASLEEP)).collect();
    // edge: announce <-> ring. As in `announce`.
    if barrier::heavy() {
        return tickets;
    }
    let tickets = words.iter().map(set(ASLEEP | FENCED)).collect();
    fence(Ordering::SeqCst);
    tickets
}

/// Takes announcements back: nobody sleeps here any more.
pub fn take_back(words: &[&AtomicU32]) {
    for word in words {
        word.fetch_and(!ASLEEP, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ring_answers_all_who_announced_themselves_and_only_once() {
        let word = AtomicU32::new(0);
        assert!(!ring(&word));
        let first = announce(&word);
        assert_eq!(announce(&word), first, "both sleep on the same word");
        assert!(ring(&word));
        assert!(!ring(&word), "they are awake");
        let second = announce(&word);
        assert_ne!(second, first, "a ring in between is seen");
        assert!(ring(&word));
    }

    #[test]
    fn the_count_of_rings_wraps() {
        let word = AtomicU32::new(u32::MAX - 3);
        let ticket = announce(&word);
        assert!(ring(&word));
        assert_eq!(word.load(Ordering::Relaxed) & ASLEEP, 0);
        assert_ne!(announce(&word), ticket);
    }
}
