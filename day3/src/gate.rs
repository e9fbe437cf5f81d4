//! The slow path of the producer: how far it may go before it would overrun somebody.

use common::sync::{Ordering, mutant};
use common::{Capacity, Sequence, ordering};

use crate::control::{Control, SLOTS, SlotState, SlotUse};

/// The producer's private list of who is attached.
///
/// It is read from the slots when the roster's generation has changed, and only then; so a look at
/// the gate costs one load for each cursor that is in use, not for each slot that there is.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    generation: u64,
    broadcast: SlotSet,
    members: SlotSet,
    groups: SlotSet,
}

impl Gate {
    /// Whether somebody has joined or left since the slots were last read.
    pub(crate) fn has_changed(&self, control: &Control) -> bool {
        // edge: join -> gate. Acquire, so that a changed generation shows the slots that changed.
        let order = ordering!("join-gate-acquire", Acquire);
        control.roster.generation.load(order) != self.generation
    }

    /// How far the slowest consumer is behind `next`: 0 to the capacity.
    ///
    /// With nobody attached that is zero: the producer may run ahead a whole lap.
    pub(crate) fn lag(&mut self, control: &Control, next: Sequence, lap: Capacity) -> u64 {
        loop {
            // Claims first, then the roster, then the cursors. A claim that we see makes visible
            // that its member has joined and which cursor it wrote before claiming; in any other
            // order a message could slip between the group and its member.
            if mutant("roster-before-claims") && self.has_changed(control) {
                self.read_slots(control);
            }
            let mut lag = self.groups.iter().map(|group| claim_lag(control, group, next)).max();
            if !mutant("roster-before-claims") && self.has_changed(control) {
                self.read_slots(control);
                continue;
            }
            for slot in self.broadcast.iter() {
                lag = lag.max(Some(cursor_lag(control, slot, next)));
            }
            for slot in self.members.iter() {
                // A parked cursor is further away than a lap: its member holds nothing.
                let held = Some(cursor_lag(control, slot, next)).filter(|&lag| lag <= lap.get());
                lag = lag.max(held);
            }
            // More than a lap behind: somebody is joining and still being moved; it has been
            // promised nothing yet, and we wait the moment that it takes.
            return lag.unwrap_or(0).min(lap.get());
        }
    }

    fn read_slots(&mut self, control: &Control) {
        // edge: join -> gate
        let order = ordering!("join-gate-acquire", Acquire);
        *self = Self { generation: control.roster.generation.load(order), ..Self::default() };
        for (index, slot) in control.slots.iter().enumerate() {
            // edge: leave -> gate. What a consumer has read, it has read before it left. Relaxed,
            // because the fence in `ProducerCursor::extend` comes before any write.
            let state = slot.state.load(Ordering::Relaxed);
            match SlotState::from_bits(state).usage() {
                SlotUse::Free => {}
                SlotUse::Broadcast => self.broadcast.insert(index),
                SlotUse::Member => {
                    self.members.insert(index);
                    self.groups.insert(slot.group.load(Ordering::Relaxed) as usize % SLOTS);
                }
            }
        }
    }
}

#[inline]
fn cursor_lag(control: &Control, slot: usize, next: Sequence) -> u64 {
    // edge: release -> overwrite. What the consumer has read, it has read before we overwrite it.
    // Relaxed, because the fence in `ProducerCursor::extend` comes before any write.
    next.since(Sequence::new(control.slots[slot].cursor.load(Ordering::Relaxed)))
}

#[inline]
fn claim_lag(control: &Control, group: usize, next: Sequence) -> u64 {
    // edge: claim -> gate. Shows the cursors that were written before this claim.
    let order = ordering!("claim-gate-acquire", Acquire);
    next.since(Sequence::new(control.groups[group].claimed.load(order)))
}

/// A set of slot numbers.
#[derive(Clone, Copy, Debug, Default)]
struct SlotSet(u64);

const _: () = assert!(SLOTS <= 64);

impl SlotSet {
    fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let index = rest.trailing_zeros() as usize;
            // Empty: shifting out the lowest one of nothing leaves nothing.
            rest &= rest.checked_sub(1)?;
            Some(index)
        })
    }
}
