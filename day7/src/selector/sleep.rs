//! How rings go idle, and how a selector sleeps.

use core::ptr::NonNull;
use std::time::Duration;

use common::sync::AtomicU32;
use day3::outlook::Outlook;
use day5::doorbell::Ticket;
use day5::futex;

use crate::ready::announce_and_look;

use super::entry::Entry;
use super::{EMPTY_TURNS, Selector};

/// Where the kernel lets nobody sleep on many words, a selector with rings that have no seat naps for so long.
const NAP: Duration = Duration::from_millis(1);

impl Selector {
    fn entry(&self, index: u32) -> Option<&Entry> {
        self.slots[index as usize].entry.as_deref()
    }

    /// Lets those rings go idle that were empty for long. Others are busy meanwhile.
    #[cold]
    pub(super) fn retire(&mut self) {
        self.vain = 0;
        let (turns, current) = (self.turns, self.current);
        let is_tired = |entry: &Entry| entry.is_tired(turns, EMPTY_TURNS);
        let tired =
            |index: &u32| Some(*index) != current && self.entry(*index).is_some_and(is_tired);
        let tired: Vec<_> = self.active.iter().copied().filter(tired).collect();
        if !tired.is_empty() {
            self.lay_down(&tired, false);
        }
    }

    /// Lets these rings go idle, as far as they have nothing after the barrier, and announces that the selector
    /// itself is going to sleep, if it is. Returns its ticket, and whether anything was found.
    fn lay_down(&mut self, resting: &[u32], sleeps: bool) -> (Option<Ticket>, bool) {
        let word = |index: &u32| self.entry(*index)?.outlook.as_ref().map(Outlook::word);
        let mut words: Vec<&AtomicU32> = resting.iter().filter_map(word).collect();
        // Bells are active only while they are rung, and so are none of these.
        debug_assert_eq!(words.len(), resting.len());
        if sleeps {
            words.push(self.board.word());
        }
        // Where there is no second look, nobody is found.
        let mut found = vec![false; words.len()];
        let tickets = announce_and_look(&words, |at| {
            found[at] = match resting.get(at) {
                Some(&index) => self.entry(index).is_some_and(Entry::is_ready),
                None => self.board.has_rung(),
            };
        });
        let has_found = found.contains(&true);
        for ((&index, &ticket), _) in
            resting.iter().zip(&tickets).zip(&found).filter(|(_, found)| !**found)
        {
            if let Some(entry) = self.slots[index as usize].entry.as_deref_mut() {
                (entry.is_active, entry.ticket) = (false, Some(ticket));
            }
        }
        let slots = &self.slots;
        let is_active =
            |index: &u32| slots[*index as usize].entry.as_ref().is_some_and(|e| e.is_active);
        self.active.retain(is_active);
        (tickets.get(resting.len()).copied().filter(|_| sleeps), has_found)
    }

    /// Lets all rings go idle, and announces a sleep. `None` if there is something to do instead.
    pub(super) fn announce(&mut self) -> Option<Ticket> {
        if self.active.iter().any(|&index| self.entry(index).is_some_and(Entry::is_ready)) {
            return None;
        }
        self.sleeps += 1;
        let resting: Vec<_> = self.active.iter().copied().collect();
        let (ticket, has_found) = self.lay_down(&resting, true);
        ticket.filter(|_| !has_found && !self.look_at_plain())
    }

    /// Sleeps until a seat is rung, a ring without a seat rings its doorbell, or the time is up.
    #[cold]
    pub(super) fn sleep(&mut self, slice: Duration) {
        let Some(ticket) = self.announce() else { return };
        if self.plain.is_empty() {
            let _ = futex::wait(self.board.word(), ticket.word(), slice);
        } else if !futex::can_wait_for_many() {
            let _ = futex::wait(self.board.word(), ticket.word(), slice.min(NAP));
        } else {
            let mut words = vec![(NonNull::from(self.board.word()), ticket.word())];
            let plain = |&index: &u32| {
                let entry = self.entry(index)?;
                Some((NonNull::from(entry.outlook.as_ref()?.word()), entry.ticket?.word()))
            };
            words.extend(self.plain.iter().filter_map(plain));
            futex::wait_for_any(&words, Some(slice));
        }
    }
}
