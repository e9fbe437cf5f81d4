//! Who sits in which consumer slot: joining, leaving, evicting, listing.

use common::process::Origin;
use common::sync::{AtomicU64, Ordering, mutant};
use common::{Capacity, Sequence, fence, ordering};
use crossbeam_utils::CachePadded;

use crate::control::{
    ConsumerSlot, Control, GroupLine, HOLDS, NAME_BYTES, SLOTS, SlotState, SlotUse,
};
use crate::doorbell;
use crate::landing::Landing;

/// Where a consumer begins to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is sure to be still there.
    Oldest,
    /// With the next message to be published.
    #[default]
    Latest,
}

/// As what a consumer joins.
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
    /// As what.
    pub role: JoinAs<'a>,
    /// From where. The first member of a group decides for it, if the ring does not know the group's
    /// place, or has overwritten it.
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

/// A ring as one who joins needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// How many messages it holds.
    pub capacity: Capacity,
    /// The sequence of the first message ever.
    pub first: Sequence,
}

/// Takes a free slot, and moves in. The producer is not locked out and may publish all the while.
///
/// # Errors
///
/// [`NoSlot`].
///
/// # Safety
///
/// The caller holds the ring's lock: two that join at once exclude one another.
pub unsafe fn join(
    control: &Control,
    ring: Ring,
    landing: &dyn Landing,
    request: &JoinRequest<'_>,
) -> Result<Registration, NoSlot> {
    // edge: leave -> join. Whoever had the slot before has read, and moved its cursor, before we write
    // the slot; the producer, which may see only us in it, learns so through us.
    let order = ordering!("leave-join-acquire", Acquire);
    let usage = |slot: usize| SlotState::from_bits(control.slots[slot].state.load(order));
    let slot =
        (0..SLOTS).find(|&slot| usage(slot).usage() == SlotUse::Free).ok_or(NoSlot::Consumers)?;
    let line = &control.slots[slot];
    line.owner.store(u64::from(request.owner), Ordering::Relaxed);
    line.label.store(request.label);
    let begin = start_of(control, ring, landing, request.start);
    let (place, state) = move_in(control, slot, usage(slot), request, begin)?;
    line.state.store(state.bits(), Ordering::Relaxed);
    // edge: join -> gate. The slot is written before the generation that tells of it.
    control.roster.generation.fetch_add(1, ordering!("join-gate-release", Release));
    let Some(first) = settle(control, ring, landing, request.start, slot, &place) else {
        let found = control.head.reserved.load(Ordering::Relaxed);
        let next = place.word.load(Ordering::Relaxed);
        free(control, slot, state);
        return Err(NoSlot::Corrupt { next, found, capacity: ring.capacity.get() });
    };
    // The producer may have seen our cursor, or the group's, where it was before, and sleep; or it may
    // wait for a consumer.
    if !mutant("skip-join-ring") {
        doorbell::wake(&control.doorbell.producer);
    }
    Ok(Registration { slot, state, first, capacity: ring.capacity, origin: Origin::here() })
}

/// Where a newcomer's place in the ring is kept.
struct Place<'a> {
    word: &'a AtomicU64,
    /// Its group, and whether the producer knew the group before it came.
    group: Option<(usize, bool)>,
}

/// Writes the cursor of a newcomer, and what its slot is used for from now on.
fn move_in<'a>(
    control: &'a Control,
    slot: usize,
    before: SlotState,
    request: &JoinRequest<'_>,
    begin: Sequence,
) -> Result<(Place<'a>, SlotState), NoSlot> {
    let line = &control.slots[slot];
    // edge: release -> overwrite. A producer that does not know yet that the slot has changed hands
    // takes this cursor for the one before; so it has to say that what its predecessor read, it has read.
    let order = ordering!("join-cursor-release", Release);
    match request.role {
        JoinAs::Broadcast => {
            line.cursor.store(begin.get(), order);
            let place = Place { word: &line.cursor, group: None };
            Ok((place, before.next(SlotUse::Broadcast)))
        }
        JoinAs::Member { group, holds } => {
            let group = find_group(control, group, begin)?;
            let flags = &control.groups[group].flags;
            let held = flags.load(Ordering::Relaxed) & HOLDS != 0;
            if holds {
                flags.store(HOLDS, Ordering::Relaxed);
            }
            line.group.store(group as u64, Ordering::Relaxed);
            line.cursor.store(begin.opposite().get(), order);
            let word = &control.groups[group].claimed;
            Ok((Place { word, group: Some((group, held)) }, before.next(SlotUse::Member)))
        }
    }
}

/// How often a newcomer looks for a place that it can be promised. Once it is in the roster, the producer
/// overruns it with what it had reserved before, and then no more.
const SETTLE_TRIES: usize = 64;

/// Finds, once the newcomer is in the roster, the first sequence that it can be promised. `None` if what is
/// reserved has nothing to do with what is published.
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
        // The producer reserves before it asks, so a group that it waits for may look overrun and is
        // not: while somebody else is a member, or the group holds, the producer knows the group, and
        // it is in order. Once we are in the roster, that holds even if the other leaves now.
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

fn is_member(line: &ConsumerSlot, group: usize) -> bool {
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

    /// Whether it still belongs to the one who took it.
    pub(crate) fn is_current(&self, control: &Control) -> bool {
        control.slots[self.slot].state.load(Ordering::Relaxed) == self.state.bits()
    }

    /// Frees the slot; does nothing if it was evicted, or in a child that was forked from the process
    /// that took it.
    pub(crate) fn leave(&self, control: &Control) {
        if self.origin.is_here() {
            free(control, self.slot, self.state);
        }
    }
}

/// Frees a slot whose consumer is dead; says whether there was one.
///
/// Messages that it had not read are given up. It is evicted as it was listed: if it has left since, and
/// its slot is another's, or if it was listed for another ring, nothing happens.
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
    // edge: leave -> gate, leave -> join. What this consumer has read, it has read before it left.
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

/// Forgets the place of a group that has no member, so that it holds the producer back no longer, and a
/// member that joins begins anew. Says whether there was such a group.
///
/// # Safety
///
/// As for [`join`].
pub unsafe fn forget(control: &Control, group: &str) -> bool {
    let known = |line: &GroupLine| !line.name.is_empty() && line.name.load() == group;
    let Some(index) = control.groups.iter().position(|line| known(line)) else { return false };
    // No slot has this number, so that every member counts.
    if has_others(control, index, SLOTS) {
        return false;
    }
    control.groups[index].name.store("");
    control.groups[index].flags.store(0, Ordering::Relaxed);
    // edge: join -> gate
    control.roster.generation.fetch_add(1, ordering!("leave-roster-release", Release));
    doorbell::wake(&control.doorbell.producer);
    true
}

/// A group as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// How many members it has now.
    pub members: usize,
    /// Messages published that none of its members has claimed. More than the ring holds: its place
    /// has been overwritten.
    pub lag: u64,
    /// Whether it holds the producer back also while it has no member.
    pub holds: bool,
}

/// The groups whose place the ring knows.
pub fn groups(control: &Control) -> Vec<GroupInfo> {
    let lines = control.groups.iter().enumerate();
    let known = lines.filter(|(_, line)| !line.name.is_empty());
    let info = |(index, line): (usize, &CachePadded<GroupLine>)| GroupInfo {
        name: line.name.load(),
        members: control.slots.iter().filter(|slot| is_member(slot, index)).count(),
        lag: lag_of(control, line.claimed.load(Ordering::Acquire)),
        holds: line.flags.load(Ordering::Relaxed) & HOLDS != 0,
    };
    known.map(info).collect()
}

/// What a registered consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerKind {
    /// A broadcast consumer.
    Broadcast,
    /// A member of a group.
    Member {
        /// The group's name.
        group: String,
    },
}

/// A registered consumer as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// The number of its slot.
    pub slot: usize,
    /// What it is.
    pub kind: ConsumerKind,
    /// The process that it said it runs in.
    pub owner: u32,
    /// The text that it gave itself.
    pub label: String,
    /// Messages published that it has not released: for a member, what its group has not claimed or
    /// what the member has in hand, whichever is older.
    pub lag: u64,
    pub(crate) state: SlotState,
    /// The ring that it was listed for.
    pub(crate) ring: u64,
}

/// The registered consumers, in the order of their slots.
///
/// Each line is read while its owner may be writing it, so a count may be a moment old.
pub fn list(control: &Control) -> Vec<ConsumerInfo> {
    let ring = control.identity();
    let slots = control.slots.iter().enumerate();
    slots
        .filter_map(|(slot, line)| {
            let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
            let cursor = lag_of(control, line.cursor.load(Ordering::Acquire));
            let (kind, lag) = match state.usage() {
                SlotUse::Free => return None,
                SlotUse::Broadcast => (ConsumerKind::Broadcast, cursor),
                SlotUse::Member => {
                    let index = line.group.load(Ordering::Relaxed) as usize % SLOTS;
                    let line = &control.groups[index];
                    let claimed = lag_of(control, line.claimed.load(Ordering::Acquire));
                    (ConsumerKind::Member { group: line.name.load() }, cursor.max(claimed))
                }
            };
            let owner = line.owner.load(Ordering::Relaxed) as u32;
            Some(ConsumerInfo { slot, kind, owner, label: line.label.load(), lag, state, ring })
        })
        .collect()
}

/// How far a cursor is behind what is published.
fn lag_of(control: &Control, cursor: u64) -> u64 {
    let lag = control.published().since(Sequence::new(cursor));
    // Parked, or ahead of what we read a moment ago: nothing in hand.
    if lag > Capacity::MAX { 0 } else { lag }
}

/// The oldest sequence that the producer is sure not to overwrite before it asks who has joined.
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

/// The line of the group of this name: the one that it has had before, also if its last member has left;
/// otherwise a new one, which begins at `begin`.
fn find_group(control: &Control, name: &str, begin: Sequence) -> Result<usize, NoSlot> {
    let mut has_members = [false; SLOTS];
    for line in &control.slots {
        // edge: leave -> join. A line that its last member has left is ours to write.
        let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
        if state.usage() == SlotUse::Member {
            has_members[line.group.load(Ordering::Relaxed) as usize % SLOTS] = true;
        }
    }
    let lines = || control.groups.iter().enumerate();
    if let Some((known, _)) = lines().find(|(_, line)| line.name.load() == name) {
        return Ok(known);
    }
    // A line that nobody has had comes first, then that of the group that is furthest behind.
    let holds = |line: &GroupLine| line.flags.load(Ordering::Relaxed) & HOLDS != 0;
    let rank = |line: &GroupLine| {
        let lag = lag_of(control, line.claimed.load(Ordering::Relaxed));
        (!line.name.is_empty(), core::cmp::Reverse(lag))
    };
    let free = lines().filter(|&(index, line)| !has_members[index] && !holds(line));
    let (free, line) = free.min_by_key(|(_, line)| rank(line)).ok_or(NoSlot::Groups)?;
    line.name.store(name);
    line.flags.store(0, Ordering::Relaxed);
    line.claimed.store(begin.get(), Ordering::Relaxed);
    Ok(free)
}

/// Whether a group may be called that: 1 to [`NAME_BYTES`] bytes, no NUL.
pub fn is_group_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}
