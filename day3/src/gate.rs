//! The slow path of the producer: how far it may go before it would overrun a consumer.

use common::sync::{Ordering, mutant};
use common::{Capacity, Sequence, ordering};

use crate::control::{Claim, ConsumerSlot, Control, HOLDS, SlotState, SlotUse};
use crate::link::Link;
use crate::recovery::{self, Death};
use crate::rooms::{self, Eviction, EvictionReason};
use crate::roster::{self, is_member};
use crate::vigil::Patience;

/// How often the slots are read anew in one look, because consumers have joined or left meanwhile.
const REREADS: usize = 64;

/// The producer's private list of the registered consumers.
///
/// It is read from the slots when the roster's generation has changed, and only then; so a look at
/// the gate costs one load for each cursor that is in use, not for each slot that there is.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    generation: u64,
    broadcast: Vec<usize>,
    members: Vec<usize>,
    groups: Vec<usize>,
    /// The consumers that it does not wait for.
    lossy: Vec<usize>,
    patience: Patience,
    /// Slots of consumers that are no members, whose process is dying, and which state they have.
    dying: Vec<(usize, u64)>,
    /// Deaths that were told, in the same way.
    told: Vec<(usize, u64)>,
    evictions: Vec<Eviction>,
}

impl Gate {
    /// Whether a consumer has joined or left since the slots were last read.
    pub(crate) fn has_changed(&self, control: &Control) -> bool {
        // edge: join -> gate. Acquire, so that a changed generation shows the slots that changed.
        let order = ordering!("join-gate-acquire", Acquire);
        control.roster.generation.load(order) != self.generation
    }

    /// Whether there was nobody to wait for when the slots were last read: no consumer, and no group's place.
    pub(crate) fn is_empty(&self) -> bool {
        self.broadcast.is_empty() && self.groups.is_empty()
    }

    /// Whether no consumer was registered, not even one that the producer does not wait for, and no group held a place.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_empty() && self.lossy.is_empty()
    }

    /// Whether all that were registered are consumers that the producer does not wait for.
    pub(crate) fn is_lossy(&self) -> bool {
        self.is_empty() && !self.lossy.is_empty()
    }

    /// Whether there was a group that the producer waits for.
    pub(crate) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// How many broadcast consumers there were.
    pub(crate) fn broadcast_consumers(&self) -> usize {
        self.broadcast.len()
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
            let mut lag = self.groups.iter().map(|&group| claim_lag(control, group, next)).max();
            if !mutant("roster-before-claims") && self.has_changed(control) {
                self.read_slots(control);
                continue;
            }
            for &slot in &self.broadcast {
                lag = lag.max(Some(cursor_lag(control, slot, next)));
            }
            for &slot in &self.members {
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
        listed.any(|&slot| {
            let state = control.slot(slot).state.load(Ordering::Relaxed);
            matches!(SlotState::from_bits(state).usage(), SlotUse::Free | SlotUse::Evicted)
        })
    }

    /// Whether a group that we wait for has no member, and does not hold us back.
    fn has_a_forgotten_group(&self, control: &Control) -> bool {
        let holds = |group: usize| {
            let is_of = |slot: usize| is_member(control, control.slot(slot), group);
            control.group(group).flags.load(Ordering::Relaxed) & HOLDS != 0
                || self.members.iter().any(|&slot| is_of(slot))
        };
        self.groups.iter().any(|&group| !holds(group))
    }

    fn read_slots(&mut self, control: &Control) {
        // edge: join -> gate
        let order = ordering!("join-gate-acquire", Acquire);
        self.generation = control.roster.generation.load(order);
        for list in [&mut self.broadcast, &mut self.lossy, &mut self.members, &mut self.groups] {
            list.clear();
        }
        for (index, slot) in control.slots().enumerate() {
            // edge: leave -> gate. A consumer's reads are done before it leaves. The fence in
            // `ProducerCursor::grant`, which comes before any write, would be enough. But
            // ThreadSanitizer does not know fences, and could then not watch.
            let state = slot.state.load(Ordering::Acquire);
            match SlotState::from_bits(state).usage() {
                SlotUse::Free | SlotUse::Evicted => {}
                SlotUse::Member => {
                    self.members.push(index);
                    add(&mut self.groups, control.group_of(slot));
                }
                _ if self.dying.contains(&(index, state)) => {}
                SlotUse::Lossy => self.lossy.push(index),
                SlotUse::Broadcast | SlotUse::Evictable => self.broadcast.push(index),
            }
        }
        for (index, group) in control.groups().enumerate() {
            if group.flags.load(Ordering::Relaxed) & HOLDS != 0 {
                add(&mut self.groups, index);
            }
        }
    }

    /// Asks whether the consumers that hold the producer back most are alive, and buries those that are not. Says
    /// who died, and whether anything has changed.
    pub(crate) fn ask(
        &mut self,
        link: &dyn Link,
        next: Sequence,
        lap: Capacity,
    ) -> (Vec<Death>, bool) {
        let control: &Control = link;
        let lag = self.lag(control, next, lap);
        self.bury_the_dying(link);
        let (mut deaths, mut changed) = (Vec::new(), false);
        for slot in self.broadcast.clone() {
            if cursor_lag(control, slot, next) < lag {
                continue;
            }
            if let Some(death) = self.bury(link, slot) {
                deaths.push(death);
            } else if let Some(death) = self.give_up_dying(link, slot) {
                deaths.push(death);
                changed = true;
            } else {
                changed |= self.lose_patience(link, slot, next);
            }
        }
        for group in self.groups.clone() {
            let held = |slot: &usize| (lag..=lap.get()).contains(&cursor_lag(control, *slot, next));
            let is_of = |slot: &ConsumerSlot| is_member(control, slot, group);
            let members: Vec<_> =
                self.members.iter().filter(|&&slot| is_of(control.slot(slot))).copied().collect();
            if claim_lag(control, group, next) < lag && !members.iter().any(held) {
                continue;
            }
            deaths.extend(members.iter().filter_map(|&slot| self.bury(link, slot)));
            recovery::give_up(link, group);
        }
        if changed {
            self.read_slots(control);
        }
        changed |= !deaths.is_empty();
        (deaths, changed)
    }

    /// Looks whether the consumers that the producer does not wait for are dying, and, if `asks`, whether they are alive,
    /// and buries those that are not. Says who died. They are in nobody's way, so [`ask`](Self::ask) asks about none of
    /// them.
    pub(crate) fn ask_listeners(&mut self, link: &dyn Link, asks: bool) -> Vec<Death> {
        let mut deaths = Vec::new();
        if asks {
            self.bury_the_dying(link);
        }
        for index in 0..self.lossy.len() {
            let slot = self.lossy[index];
            if asks || link.is_dying(slot) {
                let death = self.bury(link, slot).or_else(|| self.give_up_dying(link, slot));
                deaths.extend(death);
            }
        }
        if !deaths.is_empty() {
            self.read_slots(link);
        }
        deaths
    }

    /// Frees the slots of those that were given up when they were dying, and are dead by now.
    fn bury_the_dying(&mut self, link: &dyn Link) {
        for (slot, state) in core::mem::take(&mut self.dying) {
            let is_same = link.slot(slot).state.load(Ordering::Relaxed) == state;
            if is_same && recovery::bury(link, slot).is_none() {
                self.dying.push((slot, state));
            }
        }
    }

    /// Evicts the consumer in this slot, which holds the producer back, if it has promised to go when it does so for
    /// too long.
    fn lose_patience(&mut self, link: &dyn Link, slot: usize, next: Sequence) -> bool {
        let control: &Control = link;
        let line = control.slot(slot);
        let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
        // The state says what was promised: it is what is replaced, so a newcomer in the slot is safe.
        if state.usage() != SlotUse::Evictable {
            return false;
        }
        // Not by its cursor: one that moves a byte now and then would hold the producer back for as long as it likes.
        let place = (slot, state.bits(), next.get());
        let after = roster::patience(line);
        let Some(consumer) = roster::info(control, slot) else { return false };
        let is_over = self.patience.ends(place, after) && roster::turn_out(link, slot, state);
        if is_over {
            let reason = EvictionReason::Lagged { after };
            rooms::remember(&mut self.evictions, Eviction { consumer, reason });
        }
        is_over
    }

    /// The consumers that were turned out since the last call because they lagged.
    pub(crate) fn take_evictions(&mut self) -> Vec<Eviction> {
        core::mem::take(&mut self.evictions)
    }

    /// No longer waits for the consumer in this slot, if its process is dying. Its memory is being freed, which may
    /// take long; only then the kernel lets go of its lease.
    fn give_up_dying(&mut self, link: &dyn Link, slot: usize) -> Option<Death> {
        // edge: join -> gate. First who it is: a newcomer makes the word its own before its state says that it is there.
        // In the other order, what is said of the last consumer could be taken for the newcomer's.
        let state = link.slot(slot).state.load(Ordering::Acquire);
        if !link.is_dying(slot) {
            return None;
        }
        let consumer = roster::info(link, slot).filter(|found| found.state.bits() == state)?;
        let key = (slot, consumer.state.bits());
        self.dying.retain(|&(dying, _)| dying != slot);
        self.dying.push(key);
        self.is_news(key);
        Some(Death { consumer, held: 0 })
    }

    /// Buries the consumer in this slot, if it is dead. A dead member is found as long as nobody has taken over
    /// what it held, and told of once.
    fn bury(&mut self, link: &dyn Link, slot: usize) -> Option<Death> {
        // First: the next consumer in a slot that is free may have said who it is.
        let is_passed_on = roster::is_passed_on(link, slot);
        let death = recovery::bury(link, slot)?;
        // A member that has left what it had taken over is not dead.
        let is_news = self.is_news((slot, death.consumer.state.bits()));
        (is_news && !is_passed_on).then_some(death)
    }

    /// Whether the death of the consumer that had this slot in this state was not told yet.
    fn is_news(&mut self, key: (usize, u64)) -> bool {
        self.told.retain(|&(slot, state)| slot != key.0 || state == key.1);
        let is_news = !self.told.contains(&key);
        add(&mut self.told, key);
        is_news
    }
}

/// Adds to a list what it does not have.
fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

#[inline]
fn cursor_lag(control: &Control, slot: usize, next: Sequence) -> u64 {
    // edge: release -> overwrite. The consumer's reads are done before we overwrite what it read.
    // Here, too, the fence would be enough, and ThreadSanitizer could not watch.
    next.since(Sequence::new(control.slot(slot).cursor.load(Ordering::Acquire)))
}

#[inline]
fn claim_lag(control: &Control, group: usize, next: Sequence) -> u64 {
    // edge: claim -> gate. Shows the cursors that were written before this claim.
    let order = ordering!("claim-gate-acquire", Acquire);
    next.since(Claim::from_bits(control.group(group).claimed.load(order)).end(next))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use crate::{
        Consumer, Heap, JoinOptions, Member, Memory, Producer, RecvError, Start, TrySendError,
    };
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
            let word = &heap.control().slot(slot).state;
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
        heap.control().group(0).flags.store(0, Ordering::Relaxed);
        assert_eq!(producer.try_send(5), Ok(()));
    }

    #[test]
    fn a_queue_whose_end_is_held_is_drained_when_that_is_acknowledged() {
        let heap = Heap::<u64>::new(4, 0).unwrap();
        // SAFETY: the memory was made for this type, and has no other producer.
        let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
        let drained = |producer: &mut Producer<u64>| producer.drain(Duration::ZERO).is_ok();
        let join = || {
            let options = JoinOptions::new().hold_end(true);
            // SAFETY: the memory was made for this type.
            let join = unsafe {
                Member::<u64>::from_memory(heap.clone(), "bridge", Start::Oldest, &options)
            };
            join.unwrap()
        };
        let mut first = join();
        producer.send(7).unwrap();
        assert_eq!(first.recv(), Ok(7));
        assert!(drained(&mut producer), "it has not ended yet");
        producer.close();
        assert!(!drained(&mut producer));
        // It dies before it has passed the end on.
        first.abandon();
        assert!(!drained(&mut producer));
        assert!(producer.groups()[0].holds_end);
        let mut second = join();
        assert_eq!(second.recv(), Err(RecvError::Closed));
        second.acknowledge_end();
        assert!(drained(&mut producer));
        assert!(!producer.groups()[0].holds_end);

        // Or the operator forgets the group.
        drop((second, join()));
        assert!(!drained(&mut producer));
        assert_eq!(producer.forget_group("bridge", Duration::from_secs(2)), Ok(true));
        assert!(drained(&mut producer));
    }
}
