//! Who has which consumer slot: joining, leaving, evicting; [`list`] for observers.

mod list;

use common::process::Origin;
use common::sync::{AtomicU64, Ordering, mutant};
use common::{Capacity, Sequence, fence, ordering};

use crate::control::{
    ConsumerSlot, Control, GroupLine, HOLDS, NAME_BYTES, SLOTS, SlotState, SlotUse,
};
use crate::doorbell;
use crate::landing::Landing;

use list::lag_of;
pub use list::{ConsumerInfo, ConsumerKind, GroupInfo, groups, list};

/// Where a consumer begins to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is sure to be still there.
    Oldest,
    /// With the next message to be published.
    #[default]
    Latest,
}

/// What a consumer joins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAs<'a> {
    /// It sees every message.
    Broadcast,
    /// It shares the messages with the other members of the group of this name.
    Member {
        /// 1 to [`NAME_BYTES`] bytes.
        group: &'a str,
        /// Whether the group is to hold the producer back also while it has no member.
        holds: bool,
    },
}

/// A consumer that wants a slot.
#[derive(Clone, Copy, Debug)]
pub struct JoinRequest<'a> {
    /// What it joins as.
    pub role: JoinAs<'a>,
    /// Where it begins. For a group its first member decides, if the ring does not know the group's place, or
    /// has overwritten it.
    pub start: Start,
    /// The process it runs in.
    pub owner: u32,
    /// A short text for the operator; what goes beyond [`NAME_BYTES`] bytes is cut off.
    pub label: &'a str,
}

/// A slot that a consumer has taken, and the first sequence that it is promised.
#[derive(Debug, PartialEq, Eq)]
pub struct Registration {
    pub(crate) slot: usize,
    pub(crate) state: SlotState,
    pub(crate) first: Sequence,
    pub(crate) capacity: Capacity,
    pub(crate) origin: Origin,
}

/// Why there is no place for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All slots are taken.
    Consumers,
    /// Every group line belongs to a group that has members, or holds the producer back.
    Groups,
    /// The shared cursors say what cannot be: nothing is promised.
    Corrupt {
        /// The first sequence that was to be promised.
        next: u64,
        /// What the producer is said to have reserved.
        found: u64,
        /// What the ring has room for.
        capacity: u64,
    },
}

/// What a consumer has to know of a ring to join it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// How many messages it holds.
    pub capacity: Capacity,
    /// The sequence of the first message ever.
    pub first: Sequence,
}

/// Takes a free slot, and enters the roster. The producer may publish all the while.
///
/// # Errors
///
/// [`NoSlot`].
///
/// # Safety
///
/// The caller holds the ring's lock: no other consumer joins meanwhile.
pub unsafe fn join(
    control: &Control,
    ring: Ring,
    landing: &dyn Landing,
    request: &JoinRequest<'_>,
) -> Result<Registration, NoSlot> {
    let (slot, before) = free_slot(control)?;
    let begin = start_of(control, ring, landing, request.start);
    let (place, state) = move_in(control, slot, before, request, begin)?;
    control.slots[slot].state.store(state.bits(), Ordering::Relaxed);
    // edge: join -> gate. The slot is written before the generation that tells of it.
    control.roster.generation.fetch_add(1, ordering!("join-gate-release", Release));
    let Some(first) = settle(control, ring, landing, request.start, slot, &place) else {
        let corrupt = corrupt(control, ring, &place);
        free(control, slot, state);
        return Err(corrupt);
    };
    // The producer may sleep because it saw our cursor, or the group's, where it was before; or because
    // there was no consumer.
    if !mutant("skip-join-ring") {
        doorbell::wake(&control.doorbell.producer);
    }
    Ok(Registration { slot, state, first, capacity: ring.capacity, origin: Origin::here() })
}

/// A free slot, and its state.
fn free_slot(control: &Control) -> Result<(usize, SlotState), NoSlot> {
    // edge: leave -> join. The slot's last consumer read, and moved its cursor, before we write the slot.
    // The producer may see only us in the slot, and learns of that through us.
    let order = ordering!("leave-join-acquire", Acquire);
    let slots = control.slots.iter().enumerate();
    let mut states = slots.map(|(slot, line)| (slot, SlotState::from_bits(line.state.load(order))));
    states.find(|(_, state)| state.usage() == SlotUse::Free).ok_or(NoSlot::Consumers)
}

/// Why a new consumer found no place that it can be promised.
fn corrupt(control: &Control, ring: Ring, place: &Place<'_>) -> NoSlot {
    let found = control.head.reserved.load(Ordering::Relaxed);
    let next = place.word.load(Ordering::Relaxed);
    NoSlot::Corrupt { next, found, capacity: ring.capacity.get() }
}

/// Where a new consumer's place in the ring is kept.
struct Place<'a> {
    word: &'a AtomicU64,
    /// Its group, and whether the producer knew the group before it came.
    group: Option<(usize, bool)>,
}

/// Writes who the new consumer is, and where it begins. Returns the state that its slot will have; the caller
/// writes that.
fn move_in<'a>(
    control: &'a Control,
    slot: usize,
    before: SlotState,
    request: &JoinRequest<'_>,
    begin: Sequence,
) -> Result<(Place<'a>, SlotState), NoSlot> {
    let line = &control.slots[slot];
    line.owner.store(u64::from(request.owner), Ordering::Relaxed);
    line.label.store(request.label);
    // edge: release -> overwrite. A producer that does not know yet that the slot has a new consumer takes
    // this cursor for the last one's. So this store has to say, too, that the last one's reads are done.
    let order = ordering!("join-cursor-release", Release);
    match request.role {
        JoinAs::Broadcast => {
            line.cursor.store(begin.get(), order);
            let place = Place { word: &line.cursor, group: None };
            Ok((place, before.next(SlotUse::Broadcast)))
        }
        JoinAs::Member { group, holds } => {
            let group = find_group(control, group, begin)?;
            let GroupLine { claimed, flags, .. } = &*control.groups[group];
            let held = flags.load(Ordering::Relaxed) & HOLDS != 0;
            if holds {
                flags.store(HOLDS, Ordering::Relaxed);
            }
            line.group.store(group as u64, Ordering::Relaxed);
            line.cursor.store(begin.opposite().get(), order);
            let place = Place { word: claimed, group: Some((group, held)) };
            Ok((place, before.next(SlotUse::Member)))
        }
    }
}

/// How often a new consumer looks for a place that it can be promised. Once it is in the roster, the producer
/// can overrun it only with what was reserved before.
const SETTLE_TRIES: usize = 64;

/// Finds the first sequence that a new consumer, which is in the roster now, can be promised. `None` if what
/// is reserved has nothing to do with what is published.
fn settle(
    control: &Control,
    ring: Ring,
    landing: &dyn Landing,
    start: Start,
    slot: usize,
    place: &Place<'_>,
) -> Option<Sequence> {
    for _ in 0..SETTLE_TRIES {
        // edge: reserve <-> join. Either the producer sees us in the roster before it writes further,
        // or we see here how far it may write, and begin after that.
        fence!("join-fence", SeqCst);
        let first = Sequence::new(place.word.load(Ordering::Relaxed));
        if mutant("skip-join-verify") || !first.is_before(oldest(control, ring)) {
            return Some(first);
        }
        // The producer reserves before it asks the gate. So a group that it waits for may look overrun,
        // and is not. While the group has another member, or holds its place, the producer knows the
        // group and waits for it. We are in the roster: so it stays even if the other member leaves now.
        if place.group.is_some_and(|(group, held)| held || has_others(control, group, slot)) {
            return Some(first);
        }
        // Another member may be claiming from the same word; then the next round looks again.
        let moved = start_of(control, ring, landing, start).get();
        let _ =
            place.word.compare_exchange(first.get(), moved, Ordering::Relaxed, Ordering::Relaxed);
    }
    None
}

/// Whether the group has a member in a slot other than `own`.
fn has_others(control: &Control, group: usize, own: usize) -> bool {
    let slots = control.slots.iter().enumerate();
    let mut others = slots.filter(|&(slot, _)| slot != own).map(|(_, line)| line);
    !mutant("skip-join-others") && others.any(|line| is_member(line, group))
}

pub(crate) fn is_member(line: &ConsumerSlot, group: usize) -> bool {
    let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
    let index = line.group.load(Ordering::Relaxed) as usize % SLOTS;
    state.usage() == SlotUse::Member && index == group
}

impl Registration {
    /// The first sequence that this consumer is promised: it will see every message from here on
    /// (a member: its group will).
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Whether the slot still belongs to the consumer that took it.
    pub(crate) fn is_current(&self, control: &Control) -> bool {
        control.slots[self.slot].state.load(Ordering::Relaxed) == self.state.bits()
    }

    /// Frees the slot. It does nothing if the consumer was evicted, or in a child that was forked from the
    /// process that took the slot.
    pub(crate) fn leave(&self, control: &Control) {
        if self.origin.is_here() {
            free(control, self.slot, self.state);
        }
    }
}

/// Frees a slot whose consumer is dead; says whether there was one.
///
/// The messages that the consumer had not read are given up. Nothing happens if it has left since it was
/// listed, or was listed for another ring.
///
/// # Safety
///
/// The consumer is dead: its process has ended. A consumer that lives learns of its eviction with its next
/// look at the ring, and until then the producer overwrites messages that it has borrowed as `&[T]`.
/// Day 6 ends this with a proof of death.
pub unsafe fn evict(control: &Control, consumer: &ConsumerInfo) -> bool {
    if consumer.ring != control.identity() {
        return false;
    }
    let evicted = free(control, consumer.slot, consumer.state);
    if evicted {
        // It may be asleep, and alive after all.
        doorbell::wake(&control.doorbell.consumers);
    }
    evicted
}

fn free(control: &Control, slot: usize, state: SlotState) -> bool {
    // edge: leave -> gate, leave -> join. This consumer's reads are done before it leaves.
    let order = ordering!("leave-gate-release", Release);
    let word = &control.slots[slot].state;
    let freed =
        word.compare_exchange(state.bits(), state.freed().bits(), order, Ordering::Relaxed).is_ok();
    if freed {
        // edge: join -> gate. Leaving, too, is told by the generation.
        control.roster.generation.fetch_add(1, ordering!("leave-roster-release", Release));
        if !mutant("skip-leave-ring") {
            doorbell::wake(&control.doorbell.producer);
        }
    }
    freed
}

/// Forgets the place of a group that has no member. So the group no longer holds the producer back, and its
/// next member begins anew. Says whether there was such a group.
///
/// # Safety
///
/// As for [`join`].
pub unsafe fn forget(control: &Control, group: &str) -> bool {
    let known = |line: &GroupLine| !line.name.is_empty() && line.name.load() == group;
    let Some(index) = control.groups.iter().position(|line| known(line)) else { return false };
    // No slot has this number: every member counts.
    if has_others(control, index, SLOTS) {
        return false;
    }
    // In this order: a process that is killed in between leaves a group that holds nobody back. One without a name
    // could not be forgotten by anybody else.
    control.groups[index].flags.store(0, Ordering::Relaxed);
    control.groups[index].name.store("");
    // edge: join -> gate
    control.roster.generation.fetch_add(1, ordering!("leave-roster-release", Release));
    doorbell::wake(&control.doorbell.producer);
    true
}

/// The oldest sequence that the producer does not overwrite before it looks at the roster again.
pub fn oldest(control: &Control, ring: Ring) -> Sequence {
    let reserved = Sequence::new(control.head.reserved.load(Ordering::Relaxed));
    if reserved.since(ring.first) <= ring.capacity.get() {
        ring.first
    } else {
        reserved.minus(ring.capacity.get())
    }
}

fn start_of(control: &Control, ring: Ring, landing: &dyn Landing, start: Start) -> Sequence {
    let mark = match start {
        Start::Latest => None,
        Start::Oldest => landing.at_or_after(oldest(control, ring)),
    };
    mark.map_or_else(|| control.published(), |mark| mark.sequence)
}

/// The line of the group of this name. A group keeps its line when its last member leaves; a new group gets
/// one that begins at `begin`.
fn find_group(control: &Control, name: &str, begin: Sequence) -> Result<usize, NoSlot> {
    let has_members = with_members(control);
    if let Some(known) = control.groups.iter().position(|line| line.name.load() == name) {
        return Ok(known);
    }
    let index = spare_group(control, &has_members).ok_or(NoSlot::Groups)?;
    let line = &control.groups[index];
    // In this order: a process that is killed in between leaves no line with this name and another's place.
    line.name.store("");
    line.flags.store(0, Ordering::Relaxed);
    line.claimed.store(begin.get(), Ordering::Relaxed);
    line.name.store(name);
    Ok(index)
}

/// Which of the groups have members.
fn with_members(control: &Control) -> [bool; SLOTS] {
    let mut has_members = [false; SLOTS];
    for line in &control.slots {
        // edge: leave -> join. A line that its last member has left is ours to write.
        let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
        if state.usage() == SlotUse::Member {
            has_members[line.group.load(Ordering::Relaxed) as usize % SLOTS] = true;
        }
    }
    has_members
}

/// The line for a new group: one that no group has had, or else that of the group that is furthest behind. A
/// group that has members, or holds the producer back, keeps its line.
fn spare_group(control: &Control, has_members: &[bool; SLOTS]) -> Option<usize> {
    let holds = |line: &GroupLine| line.flags.load(Ordering::Relaxed) & HOLDS != 0;
    let rank = |line: &GroupLine| {
        let lag = lag_of(control, line.claimed.load(Ordering::Relaxed));
        (!line.name.is_empty(), core::cmp::Reverse(lag))
    };
    let lines = control.groups.iter().enumerate();
    let spare = lines.filter(|&(index, line)| !has_members[index] && !holds(line));
    spare.min_by_key(|(_, line)| rank(line)).map(|(index, _)| index)
}

/// Whether a group may be called that: 1 to [`NAME_BYTES`] bytes, no NUL.
pub fn is_group_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}
