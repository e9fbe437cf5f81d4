//! The slow path of the producer: how far it may go before it would overrun a consumer.

use common::sync::{Ordering, mutant};
use common::{Capacity, Sequence, ordering};

use crate::control::{Control, HOLDS, SLOTS, SlotState, SlotUse};
use crate::roster::is_member;

/// How often the slots are read anew in one look, because consumers have joined or left meanwhile.
const REREADS: usize = 64;

/// The producer's private list of the registered consumers.
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
    /// Whether a consumer has joined or left since the slots were last read.
    pub(crate) fn has_changed(&self, control: &Control) -> bool {
        // edge: join -> gate. Acquire, so that a changed generation shows the slots that changed.
        let order = ordering!("join-gate-acquire", Acquire);
        control.roster.generation.load(order) != self.generation
    }

    /// Whether no consumer was registered when the slots were last read, and no group held a place.
    pub(crate) fn is_empty(&self) -> bool {
        self.broadcast.is_empty() && self.groups.is_empty()
    }

    /// Whether there was a group that the producer waits for.
    pub(crate) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// How many broadcast consumers there were.
    pub(crate) fn broadcast_consumers(&self) -> usize {
        self.broadcast.0.count_ones() as usize
    }

    /// How far the slowest consumer is behind `next`: 0 to the capacity.
    ///
    /// With no consumer that is zero: the producer may run ahead a whole lap.
    pub(crate) fn lag(&mut self, control: &Control, next: Sequence, lap: Capacity) -> u64 {
        for _ in 0..REREADS {
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
            // More than a lap behind is a consumer that is just joining, and has not found its place yet.
            // It has been promised nothing. We wait the moment that it takes.
            return lag.unwrap_or(0).min(lap.get());
        }
        // The generation rises all the time. Nothing is known for sure, so nothing is granted.
        lap.get()
    }

    /// Reads the slots anew if somebody is gone of whom the roster does not say so: a consumer that was killed
    /// after it had freed its slot, and before it told; or a group that was forgotten by a process that was
    /// killed then. Says whether it has. Asked only where there is no room.
    pub(crate) fn miss_the_gone(&mut self, control: &Control) -> bool {
        let is_outdated = self.has_a_free_slot(control) || self.has_a_forgotten_group(control);
        if is_outdated {
            self.read_slots(control);
        }
        is_outdated
    }

    /// Whether a slot that we take for taken is free.
    fn has_a_free_slot(&self, control: &Control) -> bool {
        let mut listed = self.broadcast.iter().chain(self.members.iter());
        listed.any(|slot| {
            let state = control.slots[slot].state.load(Ordering::Relaxed);
            SlotState::from_bits(state).usage() == SlotUse::Free
        })
    }

    /// Whether a group that we wait for has no member, and does not hold us back.
    fn has_a_forgotten_group(&self, control: &Control) -> bool {
        let holds = |group: usize| {
            control.groups[group].flags.load(Ordering::Relaxed) & HOLDS != 0
                || self.members.iter().any(|slot| is_member(&control.slots[slot], group))
        };
        self.groups.iter().any(|group| !holds(group))
    }

    fn read_slots(&mut self, control: &Control) {
        // edge: join -> gate
        let order = ordering!("join-gate-acquire", Acquire);
        *self = Self { generation: control.roster.generation.load(order), ..Self::default() };
        for (index, slot) in control.slots.iter().enumerate() {
            // edge: leave -> gate. A consumer's reads are done before it leaves. The fence in
            // `ProducerCursor::grant`, which comes before any write, would be enough. But
            // ThreadSanitizer does not know fences, and could then not watch.
            let state = slot.state.load(Ordering::Acquire);
            match SlotState::from_bits(state).usage() {
                SlotUse::Free => {}
                SlotUse::Broadcast => self.broadcast.insert(index),
                SlotUse::Member => {
                    self.members.insert(index);
                    self.groups.insert(slot.group.load(Ordering::Relaxed) as usize % SLOTS);
                }
            }
        }
        for (index, group) in control.groups.iter().enumerate() {
            if group.flags.load(Ordering::Relaxed) & HOLDS != 0 {
                self.groups.insert(index);
            }
        }
    }
}

#[inline]
fn cursor_lag(control: &Control, slot: usize, next: Sequence) -> u64 {
    // edge: release -> overwrite. The consumer's reads are done before we overwrite what it read.
    // Here, too, the fence would be enough, and ThreadSanitizer could not watch.
    next.since(Sequence::new(control.slots[slot].cursor.load(Ordering::Acquire)))
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
    fn is_empty(self) -> bool {
        self.0 == 0
    }

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

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Consumer, Heap, JoinOptions, Member, Memory, Producer, Start, TrySendError};
    use common::sync::Ordering;

    use crate::control::SlotState;

    #[test]
    fn a_consumer_killed_while_it_leaves_gates_nobody() {
        // With room for less than is asked for, and with no room at all.
        for asked in [3, 1] {
            let heap = Heap::<u64>::new(4, 0).unwrap();
            // SAFETY: the memory was made for this type, and has no other producer.
            let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
            // SAFETY: the memory was made for this type.
            let consumer = unsafe {
                Consumer::<u64>::from_memory(heap.clone(), Start::Oldest, &JoinOptions::new())
            };
            let slot = consumer.as_ref().unwrap().slot();
            let sent = 5 - asked;
            assert_eq!(producer.try_send_batch(&[0; 4][..sent]), Ok(sent));
            assert_eq!(producer.try_reserve(asked).err(), Some(TrySendError::Full));

            // Its last step but one is done: the slot is free, and the roster's generation is what it was.
            let word = &heap.control().slots[slot].state;
            let state = SlotState::from_bits(word.load(Ordering::Relaxed));
            word.store(state.freed().bits(), Ordering::Relaxed);
            core::mem::forget(consumer);
            assert!(producer.try_reserve(asked).is_ok(), "room for {asked}");
        }
    }

    #[test]
    fn a_group_forgotten_by_a_process_that_was_killed_then_gates_nobody() {
        let heap = Heap::<u64>::new(4, 0).unwrap();
        // SAFETY: the memory was made for this type, and has no other producer.
        let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
        let options = JoinOptions::new().hold_when_empty(true);
        // SAFETY: the memory was made for this type.
        let member =
            unsafe { Member::<u64>::from_memory(heap.clone(), "idle", Start::Oldest, &options) };
        drop(member);
        assert_eq!(producer.try_send_batch(&[0; 4]), Ok(4));
        assert_eq!(producer.try_send(5), Err(TrySendError::Full));

        // The first step of `roster::forget`.
        heap.control().groups[0].flags.store(0, Ordering::Relaxed);
        assert_eq!(producer.try_send(5), Ok(()));
    }
}
