//! What can be told from outside whether a registered consumer has something to do.
//!
//! A thread that reads many rings has to know which of them is worth a look. It asks an [`Outlook`], which the consumer
//! has made, and needs no access to the consumer for that: it reads what the producer has published, and the
//! consumer's own cursor.

use core::fmt;

use common::process::forks;
use common::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use common::{Capacity, Sequence};
use day2::Role;

use crate::control::{Claim, ORPHANED, SlotState, SlotUse};
use crate::link::Link;
use crate::memory::Shared;
use crate::recovery::is_ahead;
use crate::roster::Registration;

/// Where a consumer's slot is. A member of a group that takes over from a dead one moves into that one's slot.
#[derive(Debug)]
pub(crate) struct Station {
    slot: AtomicU64,
    state: AtomicU64,
}

impl Station {
    pub(crate) fn new(slot: usize, state: SlotState) -> Arc<Self> {
        let (slot, state) = (AtomicU64::new(slot as u64), AtomicU64::new(state.bits()));
        Arc::new(Self { slot, state })
    }

    /// The consumer has moved. An outlook that sees half of it takes the consumer for gone for a moment.
    pub(crate) fn move_to(&self, slot: usize, state: SlotState) {
        self.slot.store(slot as u64, Ordering::Relaxed);
        self.state.store(state.bits(), Ordering::Relaxed);
    }
}

/// What a consumer would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// Nothing for now.
    Nothing,
    /// At least one message that it has not released yet.
    Something,
    /// No message, and none will come: the queue is at its end, or the slot is no longer this consumer's.
    Over,
}

/// What can be told of a registered consumer from outside: whether it has something to do, and how much it has done.
///
/// It is a handle of its own, and can be in another place of the program, or in another thread. It keeps the ring's
/// memory mapped. All that it says was so a moment ago.
#[derive(Clone)]
pub struct Outlook {
    shared: Shared,
    station: Arc<Station>,
    capacity: Capacity,
    /// How many bytes a sequence counts.
    size: u64,
    forks: u64,
}

impl fmt::Debug for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlook").field("prospect", &self.look()).finish_non_exhaustive()
    }
}

impl Outlook {
    /// The outlook of the consumer with this registration in this ring, whose sequences count `size` bytes each.
    #[doc(hidden)]
    pub fn of(shared: &Shared, registration: &Registration, size: u64) -> Self {
        let (shared, station) = (shared.clone(), Arc::clone(registration.station()));
        Self { shared, station, capacity: registration.capacity, size, forks: forks() }
    }

    /// What the consumer would find now.
    #[inline]
    pub fn look(&self) -> Prospect {
        let slot = self.station.slot.load(Ordering::Relaxed) as usize;
        let state = self.station.state.load(Ordering::Relaxed);
        let line = self.shared.slot(slot);
        // As the consumer itself, which may not read what is there when its slot is another's.
        if line.state.load(Ordering::Relaxed) != state || forks() != self.forks {
            return Prospect::Over;
        }
        // First: a producer that closes has published everything before.
        let is_closed = self.shared.is_closed();
        let has_more = if SlotState::from_bits(state).usage() == SlotUse::Member {
            self.has_work(slot)
        } else {
            // A cursor that is not where the producer is says that there is something, or what cannot be: that is for
            // the consumer to find out.
            Sequence::new(self.cursor(slot).load(Ordering::Relaxed)) != self.shared.published()
        };
        match (has_more, is_closed) {
            (true, _) => Prospect::Something,
            (false, false) => Prospect::Nothing,
            (false, true) => Prospect::Over,
        }
    }

    /// Whether the member in this slot would find something: what nobody has claimed, what a dead member has left, or
    /// what it holds itself.
    fn has_work(&self, slot: usize) -> bool {
        let line = self.shared.slot(slot);
        let group = self.shared.group(self.shared.group_of(line));
        let published = self.shared.published();
        // Second: claims lie within what was published, or ahead of what we saw of it.
        let claimed = Claim::from_bits(group.claimed.load(Ordering::Relaxed)).end(published);
        let [cursor, won] =
            [&line.cursor, &line.won].map(|word| Sequence::new(word.load(Ordering::Relaxed)));
        claimed.is_before(published)
            || group.flags.load(Ordering::Relaxed) & ORPHANED != 0
            || is_ahead(cursor, won)
    }

    /// Where the consumer's cursor is: a guest has it in its page.
    #[inline]
    fn cursor(&self, slot: usize) -> &AtomicU64 {
        match self.shared.memory().residence() {
            Some(residence) => &residence.page().place.cursor,
            None => &self.shared.slot(slot).cursor,
        }
    }

    /// Whether it is worth a try: there is something to receive that was not released yet, or the end of the queue, or
    /// the slot is no longer this consumer's.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.look() != Prospect::Nothing
    }

    /// How far the consumer has released, or its group has claimed, in bytes. Only differences mean something: it
    /// begins anywhere, and wraps.
    #[inline]
    pub fn released(&self) -> u64 {
        let slot = self.station.slot.load(Ordering::Relaxed) as usize;
        let sequence = if self.is_shared() {
            let group = self.shared.group(self.shared.group_of(self.shared.slot(slot)));
            let claim = Claim::from_bits(group.claimed.load(Ordering::Relaxed));
            claim.end(self.shared.published()).get()
        } else {
            self.cursor(slot).load(Ordering::Relaxed)
        };
        sequence.wrapping_mul(self.size)
    }

    /// How many bytes of messages the ring holds: no consumer releases more between two looks at a ring that is full.
    pub fn capacity(&self) -> u64 {
        self.capacity.get().saturating_mul(self.size)
    }

    /// Whether it is the outlook of a member of a group: then [`released`](Self::released) counts what other members
    /// claim, too.
    #[inline]
    pub fn is_shared(&self) -> bool {
        let state = self.station.state.load(Ordering::Relaxed);
        SlotState::from_bits(state).usage() == SlotUse::Member
    }

    /// The word at which the consumer announces that it sleeps.
    #[inline]
    pub fn word(&self) -> &AtomicU32 {
        self.shared.doorbell().consumers
    }

    /// Whether the producer's process is dying, as the kernel has marked it: one load.
    #[inline]
    pub fn is_producer_dying(&self) -> bool {
        self.shared.doorbell.vital.is_dying()
    }

    /// Whether the producer is alive. It asks the kernel, which is a system call.
    pub fn is_producer_alive(&self) -> bool {
        self.shared.is_leased(Role::Producer)
    }
}
