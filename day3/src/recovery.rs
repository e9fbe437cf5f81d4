//! What a dead consumer leaves, and who gets it.
//!
//! The kernel says who is dead: the lease of its slot is free. The end that takes that lease may write the slot. A
//! broadcast consumer leaves nothing. A member of a group leaves what it had claimed and not released, and that
//! goes to another member.
//!
//! Whether a member has won its last claim is decided by what it leaves in shared memory:
//!
//! 1. Before a member tries, it writes the end of the claim it is about to try, its *intent*, and moves its
//!    cursor to where the claim begins. When it has won, it writes the end to `won`.
//! 2. The group's word names the winner of the last claim. So a member that dies between winning and writing
//!    `won` is known as the winner, until the next claim.
//! 3. A member that is about to replace another member's claim in that word writes that claim to its own *log*
//!    first. So at no moment is a claim named nowhere.
//! 4. A member that needs the place in its log again looks whether the winner has written `won` by now. If
//!    not, it *helps*: it writes the claim to the winner's line. So it never waits for a member that is slow,
//!    stopped or dead.
//!
//! The proof of a claim so moves from the group's word to a log, and from there to the winner's line. An end that
//! looks for the proof looks in this order, and cannot miss it.

use common::ordering;
use common::sync::{Ordering, may_die, mutant};
use common::{Capacity, Sequence};

use crate::control::{Claim, ConsumerSlot, Control, HOLDS, LOG, ORPHANED, SlotState, SlotUse};
use crate::doorbell;
use crate::link::{Lease, LeaseError, Link, role_of};
use crate::roster::{self, ConsumerInfo, is_member};
use crate::sequencer::Run;

/// A consumer whose process has died.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Death {
    /// Who it was, and how far it was behind.
    pub consumer: ConsumerInfo,
    /// How many messages (in a ring of records: bytes) it had claimed for its group and not released. They go
    /// to another member.
    pub held: u64,
}

/// Prepares the line of a member that is about to join; `near` lies near its group's place.
pub(crate) fn begin(line: &ConsumerSlot, state: SlotState, near: Sequence) {
    let order = Ordering::Relaxed;
    line.intent.store(near.get(), order);
    line.won.store(near.get(), order);
    // Different each time that the slot is taken: a member that was about to help its last member changes
    // nothing.
    // edge: begin -> help. An end that sees this sees which group the slot's new member belongs to.
    let fresh = Claim::nobodys(Sequence::new(state.ticket()));
    line.helped.store(fresh.bits(), ordering!("begin-release", Release));
    for entry in &line.log {
        // edge: log -> help
        entry.store(0, Ordering::Release);
    }
}

/// Writes a claim that a member is about to replace to the member's log.
pub(crate) fn testify(control: &Control, slot: usize, turn: usize, claim: Claim) {
    let line = control.slot(slot);
    let entry = &line.log[turn % LOG];
    let old = Claim::from_bits(entry.load(Ordering::Relaxed));
    if old != claim {
        help(control, control.group_of(line), old);
        may_die("helped");
        // edge: log -> help. An end that no longer finds the old claim here finds it in its winner's line.
        entry.store(claim.bits(), ordering!("log-release", Release));
    }
}

/// Makes sure that the winner of this claim, or the heir of its slot, will know that it has won.
fn help(control: &Control, group: usize, claim: Claim) {
    let Some(winner) = claim.winner().filter(|&slot| slot < control.consumers()) else { return };
    let line = control.slot(winner);
    let of = |word: &common::sync::AtomicU64| {
        Claim::by(winner, Sequence::new(word.load(Ordering::Relaxed)))
    };
    loop {
        // edge: begin -> help. In this order: where the slot has a new member by now, which may be trying a claim
        // of another group with the same end, we see its group here, or change nothing below.
        let helped = line.helped.load(ordering!("help-begin-acquire", Acquire));
        if control.group_of(line) != group && !mutant("skip-help-group") {
            return;
        }
        // A member writes its intent before it claims, and `won` before its next intent.
        if helped == claim.bits() || of(&line.intent) != claim || of(&line.won) == claim {
            return;
        }
        if mutant("skip-help") {
            return;
        }
        let order = Ordering::Relaxed;
        if line.helped.compare_exchange(helped, claim.bits(), order, order).is_ok() {
            return;
        }
    }
}

/// Empties the log of a member that is about to leave, or has died.
pub(crate) fn flush(control: &Control, slot: usize) {
    let line = control.slot(slot);
    for entry in &line.log {
        help(control, control.group_of(line), Claim::from_bits(entry.load(Ordering::Relaxed)));
    }
}

/// Whether the member in this slot, which is dead, has won this claim.
fn has_won(control: &Control, slot: usize, group: usize, claim: Claim) -> bool {
    // edge: claim -> log. The member that has replaced the claim had written it to its log before.
    let order = ordering!("claim-log-acquire", Acquire);
    if control.group(group).claimed.load(order) == claim.bits() {
        return true;
    }
    let others = control.slots().enumerate().filter(|&(other, _)| other != slot);
    if !mutant("skip-logs")
        && others.map(|(_, line)| line).any(|line| says(control, line, group, claim))
    {
        return true;
    }
    control.slot(slot).helped.load(Ordering::Relaxed) == claim.bits()
}

/// Whether this claim stands in the log of this line, and the line is that of a member of the group.
fn says(control: &Control, line: &ConsumerSlot, group: usize, claim: Claim) -> bool {
    loop {
        // edge: leave -> join. A member that has left has emptied its log.
        let state = line.state.load(Ordering::Acquire);
        if !is_member(control, line, group) {
            return false;
        }
        // edge: log -> help
        let order = ordering!("log-acquire", Acquire);
        let found = line.log.iter().any(|entry| entry.load(order) == claim.bits());
        // The member that has the slot by now may write of another group.
        if line.state.load(Ordering::Relaxed) == state {
            return found;
        }
    }
}

/// What the dead member in this slot had claimed and not released. The caller has the slot's lease.
fn held(control: &Control, slot: usize) -> Run {
    let line = control.slot(slot);
    let load = |word: &common::sync::AtomicU64| Sequence::new(word.load(Ordering::Relaxed));
    let (cursor, won, intent) = (load(&line.cursor), load(&line.won), load(&line.intent));
    let run = |end: Sequence| Run { first: cursor, len: end.since(cursor) };
    let nothing = Run { first: cursor, len: 0 };
    // A parked cursor lies half the circle away from every claim.
    if is_ahead(cursor, won) {
        return run(won);
    }
    if is_ahead(cursor, intent)
        && has_won(control, slot, control.group_of(line), Claim::by(slot, intent))
    {
        return run(intent);
    }
    nothing
}

/// Whether `end` comes after `cursor`, and is no further than any ring is long.
pub(crate) fn is_ahead(cursor: Sequence, end: Sequence) -> bool {
    (1..=Capacity::MAX).contains(&end.since(cursor))
}

/// If the consumer in this slot is dead: frees the slot, or, where a dead member holds messages, marks its group
/// as one that has messages to deliver again.
///
/// # Errors
///
/// The system gave no lease, so nobody knows.
pub(crate) fn try_bury(link: &dyn Link, slot: usize) -> Result<Option<Death>, LeaseError> {
    let control: &Control = link;
    if is_free(control, slot) || link.is_leased(role_of(slot)) {
        return Ok(None);
    }
    let lease = link.lease_briefly(role_of(slot))?;
    let Some((death, lease, state)) = open_estate(control, slot, lease) else { return Ok(None) };
    if death.held == 0 {
        roster::free(control, slot, state);
        return Ok(Some(death));
    }
    let group = control.group(control.group_of(control.slot(slot)));
    // First: a member that is woken asks for this lease, and would take the dead member for one that lives.
    drop(lease);
    if group.flags.fetch_or(ORPHANED, Ordering::Relaxed) & ORPHANED == 0 {
        doorbell::wake(&control.doorbell.consumers);
    }
    Ok(Some(death))
}

/// The same for an end that asks again and again.
pub(crate) fn bury(link: &dyn Link, slot: usize) -> Option<Death> {
    try_bury(link, slot).ok()?
}

fn is_free(control: &Control, slot: usize) -> bool {
    let state = control.slot(slot).state.load(Ordering::Relaxed);
    SlotState::from_bits(state).usage() == SlotUse::Free
}

/// Finds out what the dead consumer of this slot held, whose lease this is.
fn open_estate(control: &Control, slot: usize, lease: Lease) -> Option<(Death, Lease, SlotState)> {
    let line = control.slot(slot);
    // Everything that the dead consumer has written was written before the kernel let go of its lease.
    let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
    if state.usage() == SlotUse::Evicted {
        // Its messages were given up when it was evicted.
        roster::free(control, slot, state);
        return None;
    }
    let consumer = roster::info(control, slot)?;
    let mut death = Death { consumer, held: 0 };
    if state.usage() == SlotUse::Member {
        let run = held(control, slot);
        flush(control, slot);
        // Decided once and for all: the next end that opens this estate asks no log.
        line.won.store(run.first.plus(run.len).get(), Ordering::Relaxed);
        death.held = run.len;
    }
    Some((death, lease, state))
}

/// What a member has taken over from a dead one.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) slot: usize,
    pub(crate) run: Run,
    pub(crate) lease: Lease,
}

/// Takes over what a dead member of this group held, if it is no more than a lap. Frees the slots of dead members
/// that held nothing. The slot `own` is that of the heir, if it has one.
pub(crate) fn inherit(
    link: &dyn Link,
    group: usize,
    own: Option<usize>,
    lap: Capacity,
) -> Option<Inheritance> {
    let control: &Control = link;
    control.group(group).flags.fetch_and(!ORPHANED, Ordering::Relaxed);
    let mut found: Option<Inheritance> = None;
    for slot in (0..control.consumers()).filter(|&slot| Some(slot) != own) {
        if !is_member(control, control.slot(slot), group) || link.is_leased(role_of(slot)) {
            continue;
        }
        // The one that is found is kept.
        let Ok(lease) = link.lease(role_of(slot)) else { continue };
        let Some((death, lease, state)) = open_estate(control, slot, lease) else { continue };
        if state.usage() != SlotUse::Member || control.group_of(control.slot(slot)) != group {
            continue;
        }
        if death.held == 0 {
            roster::free(control, slot, state);
        } else if found.is_none() {
            let first = Sequence::new(control.slot(slot).cursor.load(Ordering::Relaxed));
            let run = Run { first, len: death.held };
            found = Some(Inheritance { slot, run, lease });
        } else {
            // One at a time: the others are for other members, or for later.
            control.group(group).flags.fetch_or(ORPHANED, Ordering::Relaxed);
        }
    }
    let found = found?;
    // The words may be forged: nothing that is not published is read, nor more than a lap.
    let published = control.published();
    let end = found.run.first.plus(found.run.len);
    if published.since(found.run.first) > lap.get() || published.is_before(end) {
        discard(control, &found);
        return None;
    }
    control.group(group).redelivered.fetch_add(found.run.len, Ordering::Relaxed);
    Some(found)
}

/// Gives up what a dead member held: its words say what cannot be.
fn discard(control: &Control, estate: &Inheritance) {
    let state = control.slot(estate.slot).state.load(Ordering::Relaxed);
    roster::free(control, estate.slot, SlotState::from_bits(state));
}

/// Gives up what the dead members of a group hold, if the group has no living member and does not hold the
/// producer back.
pub(crate) fn give_up(link: &dyn Link, group: usize) {
    let control: &Control = link;
    if control.group(group).flags.load(Ordering::Relaxed) & HOLDS == 0 {
        wind_up(link, group);
    }
}

/// The same for all groups: for a newcomer that finds no slot.
pub(crate) fn give_up_all(link: &dyn Link) {
    let control: &Control = link;
    for (group, line) in control.groups().enumerate() {
        // Somebody who has found its dead members holding something has said so.
        if line.flags.load(Ordering::Relaxed) & ORPHANED != 0 {
            give_up(link, group);
        }
    }
}

/// Who is left of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivors {
    /// Nobody: it has no member any more.
    None,
    /// A member that is dying, or whose estate another end has open at this moment.
    Dying,
    /// A member that is alive.
    Living,
}

/// If no member of this group is alive, frees their slots, and gives up what they hold. Says who is left.
pub(crate) fn wind_up(link: &dyn Link, group: usize) -> Survivors {
    let control: &Control = link;
    let members =
        || (0..control.consumers()).filter(|&slot| is_member(control, control.slot(slot), group));
    if members().any(|slot| link.is_leased(role_of(slot)) && !link.is_dying(slot)) {
        return Survivors::Living;
    }
    // While one of them is not known to be dead, the others' estates may go to it.
    if members().any(|slot| link.is_leased(role_of(slot))) {
        return Survivors::Dying;
    }
    for slot in members() {
        if let Ok(lease) = link.lease_briefly(role_of(slot))
            && let Some((_, _lease, state)) = open_estate(control, slot, lease)
            && state.usage() == SlotUse::Member
        {
            roster::free(control, slot, state);
        }
    }
    if members().next().is_some() { Survivors::Dying } else { Survivors::None }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::roster::Burial;
    use crate::sequencer::{ConsumerCursor, Cursor, Unavailable};
    use crate::{
        Consumer, Heap, JoinError, JoinOptions, Member, NamedMemory, Producer, QueueOptions,
        Shared, Start, TrySendError,
    };
    use testing::Unique;

    fn heap() -> (Shared, Producer<u64>) {
        let heap = Heap::<u64>::new(4, 0).unwrap();
        // SAFETY: the memory was made for this type, and has no other producer.
        let producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
        (Shared::new(heap), producer)
    }

    #[test]
    fn a_new_member_gets_what_a_dead_one_held_before_anything_else() {
        let (shared, mut producer) = heap();
        let options = JoinOptions::new();
        let mut victim = shared.join_group("g", Start::Latest, &options).unwrap();
        assert_eq!(producer.try_send_batch(&[0, 1, 2]), Ok(3));
        assert_eq!(victim.take(2).unwrap().len, 2);
        victim.release_first(1);
        victim.die();
        let mut heir = shared.join_group("g", Start::Latest, &options).unwrap();
        let run = heir.take(9).unwrap();
        assert_eq!((run.first.get(), run.len, heir.redelivered()), (1, 1, true));
        heir.release();
        let run = heir.take(9).unwrap();
        assert_eq!((run.first.get(), run.len, heir.redelivered()), (2, 1, false));
        assert_eq!(producer.groups()[0].redelivered, 1);
    }

    #[test]
    fn the_producer_buries_a_dead_consumer_and_says_who_it_was() {
        let (shared, mut producer) = heap();
        let options = JoinOptions::new().label("victim");
        let victim: ConsumerCursor<Shared> = shared.join(Start::Latest, &options).unwrap();
        assert_eq!(producer.try_send_batch(&[0, 1, 2, 3]), Ok(4));
        victim.die();
        producer.send(4).unwrap();
        let deaths = producer.take_deaths();
        assert_eq!((deaths.len(), deaths[0].consumer.lag), (1, 4));
        assert_eq!(deaths[0].consumer.label, "victim");
        assert!(producer.consumers().is_empty() && producer.take_deaths().is_empty());
    }

    /// Two died, and all slots are taken: the newcomer gets what the first held, and then what the second held.
    #[test]
    fn an_heir_that_holds_messages_takes_over_no_others_before_it_is_done() {
        let name = Unique::new("two-heirs");
        let mut producer =
            Producer::<u64>::create_with(&*name, &QueueOptions::new(8).consumers(2)).unwrap();
        let options = JoinOptions::new().hold_when_empty(true);
        let join = || {
            let memory = NamedMemory::open::<u64>(&name, day2::Mode::Reader, &options).unwrap();
            let shared = Shared::new(Arc::new(memory));
            shared.join_group("g", Start::Latest, &JoinOptions::new()).unwrap()
        };
        let (mut first, mut second) = (join(), join());
        assert_eq!(producer.try_send_batch(&[0, 1, 2, 3, 4]), Ok(5));
        assert_eq!((first.take(2).unwrap().len, second.take(2).unwrap().len), (2, 2));
        first.die();
        second.die();
        let mut heir = Member::<u64>::join_with(&*name, "g", Start::Latest, &options).unwrap();
        assert!(producer.groups()[0].holds, "the heir asked for it");
        let (mut again, mut fresh) = (Vec::<u64>::new(), Vec::<u64>::new());
        while again.len() + fresh.len() < 5 {
            let batch = heir.recv_batch_timeout(9, Duration::from_secs(20)).unwrap();
            if batch.redelivered() { again.extend(&batch) } else { fresh.extend(&batch) }
        }
        again.sort_unstable();
        assert_eq!((again, fresh), (vec![0, 1, 2, 3], vec![4]));
    }

    /// In a ring with room for one worker, the worker that is started again takes the dead one's slot.
    #[test]
    fn the_only_slot_goes_to_the_heir() {
        let name = Unique::new("heir");
        let options = QueueOptions::new(4).consumers(1);
        let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
        let memory = NamedMemory::open::<u64>(&name, day2::Mode::Reader, &JoinOptions::new());
        let shared = Shared::new(Arc::new(memory.unwrap()));
        let holds = JoinOptions::new().hold_when_empty(true);
        let mut victim = shared.join_group("g", Start::Latest, &holds).unwrap();
        assert_eq!(producer.try_send_batch(&[7, 8]), Ok(2));
        assert_eq!(victim.take(1).unwrap().len, 1);
        let refused = |group: &str| match Member::<u64>::join(&*name, group, Start::Latest) {
            Err(JoinError::TooManyConsumers { most, dead }) => (most, dead),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("g"), (1, 0));
        victim.die();
        assert_eq!(refused("h"), (1, 1));
        let mut heir = Member::<u64>::join(&*name, "g", Start::Latest).unwrap();
        let batch = heir.recv_batch(9).unwrap();
        assert_eq!((batch.slices().0, batch.redelivered()), (&[7][..], true));
        drop(batch);
        assert_eq!(heir.recv(), Ok(8));
    }

    /// It was told dead, though it had left as it should: in the place of the member whose death it had taken over.
    #[test]
    fn an_heir_that_leaves_early_is_not_told_as_dead() {
        let (shared, mut producer) = heap();
        let [dead, heir, late] =
            ["dead", "heir", "late"].map(|label| JoinOptions::new().label(label));
        let mut victim = shared.join_group("g", Start::Latest, &dead).unwrap();
        assert_eq!(producer.try_send_batch(&[0, 1, 2, 3]), Ok(4));
        assert_eq!(victim.take(4).unwrap().len, 4);
        victim.die();
        let mut heir = shared.join_group("g", Start::Latest, &heir).unwrap();
        assert_eq!(heir.take(1).unwrap().len, 1);
        heir.release();
        drop(heir);
        let labels = |producer: &Producer<u64>| {
            producer.consumers().into_iter().map(|one| (one.label, one.lag)).collect::<Vec<_>>()
        };
        assert_eq!(labels(&producer), [("dead".to_owned(), 3)], "what is left is the dead one's");
        let mut late = shared.join_group("g", Start::Latest, &late).unwrap();
        assert_eq!(late.take(1).unwrap().len, 1);
        drop(late);
        assert_eq!(producer.try_send(4), Ok(()), "one place is free");
        producer.send(5).unwrap();
        assert_eq!(producer.take_deaths(), []);
        assert!(producer.consumers().is_empty());
    }

    /// The heir of an heir is told like any other, if it is killed.
    #[test]
    fn an_heir_that_dies_is_told_as_dead() {
        let (shared, mut producer) = heap();
        let [dead, heir] = ["dead", "heir"].map(|label| JoinOptions::new().label(label));
        let mut victim = shared.join_group("g", Start::Latest, &dead).unwrap();
        assert_eq!(producer.try_send_batch(&[0, 1, 2, 3]), Ok(4));
        assert_eq!(victim.take(4).unwrap().len, 4);
        victim.die();
        drop(shared.join_group("g", Start::Latest, &heir).unwrap());
        shared.join_group("g", Start::Latest, &heir).unwrap().die();
        producer.send(4).unwrap();
        let labels: Vec<_> =
            producer.take_deaths().into_iter().map(|death| death.consumer.label).collect();
        assert_eq!(labels, ["heir"]);
    }

    /// A group that holds waits for ever for a member that gets what a dead one held, unless it is forgotten.
    #[test]
    fn what_an_orphaned_group_holds_is_given_up_with_the_group() {
        let (shared, mut producer) = heap();
        let holds = JoinOptions::new().hold_when_empty(true);
        let mut victim = shared.join_group("g", Start::Latest, &holds).unwrap();
        assert_eq!(producer.try_send_batch(&[0, 1, 2, 3]), Ok(4));
        assert_eq!(victim.take(3).unwrap().len, 3);
        let second = Duration::from_secs(1);
        assert!(!producer.forget_group("g", second).unwrap(), "it has a member");
        victim.die();
        let listed = &producer.consumers()[0];
        let waits = Burial::Waits { group: "g".into(), held: 3 };
        for _ in 0..2 {
            assert_eq!(producer.evict_dead(listed), Ok(waits.clone()));
            // SAFETY: nobody reads what it held.
            assert!(!unsafe { producer.evict(listed) }, "nothing was taken from it");
        }
        assert_eq!(producer.try_send(4), Err(TrySendError::Full));
        assert!(producer.forget_group("g", second).unwrap());
        assert_eq!(producer.try_send(4), Ok(()));
        assert!(producer.consumers().is_empty() && producer.groups().is_empty());
    }

    /// A producer would give up what the group left, if it were in its way. A newcomer without a slot does so, too.
    #[test]
    fn what_nobody_waits_for_keeps_no_newcomer_out() {
        let name = Unique::new("newcomer");
        let options = QueueOptions::new(4).consumers(1);
        let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
        let memory = NamedMemory::open::<u64>(&name, day2::Mode::Reader, &JoinOptions::new());
        let shared = Shared::new(Arc::new(memory.unwrap()));
        let mut victim = shared.join_group("g", Start::Latest, &JoinOptions::new()).unwrap();
        assert_eq!(producer.try_send_batch(&[7, 8]), Ok(2));
        assert_eq!(victim.take(1).unwrap().len, 1);
        victim.die();
        let consumer = Consumer::<u64>::join(&*name, Start::Oldest);
        assert_eq!(consumer.unwrap().recv(), Ok(7));
    }

    #[test]
    fn a_dead_producer_is_told_of_once_everything_is_read() {
        let lines = crate::link::HeapLines::<2>::new(common::Sequence::ZERO);
        let leases = lines.leases().clone();
        let request = crate::roster::JoinRequest {
            role: crate::roster::JoinAs::Broadcast,
            start: Start::Oldest,
            owner: 1,
            label: "",
        };
        let ring = crate::roster::Ring {
            capacity: common::Capacity::new(4).unwrap(),
            first: common::Sequence::ZERO,
        };
        // SAFETY: no other consumer joins.
        let joined =
            unsafe { crate::roster::join(&lines, ring, &crate::landing::Everywhere, &request) };
        // SAFETY: the registration was just given out.
        let mut consumer = unsafe { ConsumerCursor::new(lines.clone(), joined.unwrap()) };
        // SAFETY: there is no other producer.
        let mut producer =
            unsafe { crate::sequencer::ProducerCursor::new(lines, ring.capacity, ring.first) };
        producer.claim_one().unwrap();
        // SAFETY: claimed, and there are no places.
        unsafe { producer.publish(1) };
        producer.die();
        leases.end_producer();
        assert_eq!(consumer.take(9).unwrap().len, 1);
        consumer.release();
        let end = std::iter::from_fn(|| Some(consumer.take(1).unwrap_err()))
            .find(|&why| why != Unavailable::Empty);
        assert_eq!(end, Some(Unavailable::ProducerDied));
        assert_eq!(consumer.take(1), Err(Unavailable::ProducerDied), "it stays so");
    }
}
