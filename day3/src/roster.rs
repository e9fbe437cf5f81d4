//! Who sits in which consumer slot: joining, leaving, evicting, listing.

use common::sync::{Ordering, mutant};
use common::{Capacity, Sequence, fence, ordering};

use crate::control::{Control, NAME_BYTES, SLOTS, SlotState, SlotUse};
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
pub enum Role<'a> {
    /// It sees every message.
    Broadcast,
    /// It shares the messages with the other members of the group of this name.
    Member {
        /// 1 to [`NAME_BYTES`] bytes.
        group: &'a str,
    },
}

/// A consumer that wants a slot.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// As what.
    pub role: Role<'a>,
    /// From where. The first member of a group decides for it.
    pub start: Start,
    /// The process it runs in.
    pub owner: u32,
    /// A short text for the operator; what goes beyond [`NAME_BYTES`] bytes is cut off.
    pub label: &'a str,
}

/// A slot that a consumer has taken, and the first sequence that it is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub(crate) slot: usize,
    pub(crate) state: SlotState,
    pub(crate) first: Sequence,
}

/// All slots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSlot;

/// A ring as one who joins needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// How many messages it holds.
    pub capacity: Capacity,
    /// The sequence of the first message ever.
    pub first: Sequence,
}

/// Takes a free slot, and moves in.
///
/// The caller holds the ring's lock: two that join at once exclude one another. The producer is not
/// locked out and may publish all the while.
///
/// # Errors
///
/// [`NoSlot`] if all [`SLOTS`] are taken.
pub fn join(
    control: &Control,
    ring: Ring,
    landing: &dyn Landing,
    applicant: &Applicant<'_>,
) -> Result<Seat, NoSlot> {
    // edge: leave -> join. Whoever had the slot before has read, and moved its cursor, before we write
    // the slot; the producer, which may see only us in it, learns so through us.
    let order = ordering!("leave-join-acquire", Acquire);
    let usage = |slot: usize| SlotState::from_bits(control.slots[slot].state.load(order));
    let slot = (0..SLOTS).find(|&slot| usage(slot).usage() == SlotUse::Free).ok_or(NoSlot)?;
    let line = &control.slots[slot];
    line.owner.store(u64::from(applicant.owner), Ordering::Relaxed);
    line.label.store(applicant.label);
    let begin = start_of(control, ring, landing, applicant.start);
    // edge: release -> overwrite. A producer that does not know yet that the slot has changed hands
    // takes this cursor for the one before; so it has to say that what that one read, it has read.
    let order = ordering!("join-cursor-release", Release);
    let (word, state, group) = match applicant.role {
        Role::Broadcast => {
            line.cursor.store(begin.get(), order);
            (&line.cursor, usage(slot).next(SlotUse::Broadcast), None)
        }
        Role::Member { group } => {
            let group = find_group(control, group, begin);
            line.group.store(group as u64, Ordering::Relaxed);
            line.cursor.store(begin.opposite().get(), order);
            (&control.groups[group].claimed, usage(slot).next(SlotUse::Member), Some(group))
        }
    };
    line.state.store(state.bits(), Ordering::Relaxed);
    // edge: join -> gate. The slot is written before the generation that tells of it.
    control.roster.generation.fetch_add(1, ordering!("join-gate-release", Release));
    loop {
        // edge: reserve <-> join. Either the producer sees us in the roster before it writes further,
        // or we see here how far it may write, and begin after that.
        fence!("join-fence", SeqCst);
        let first = Sequence::new(word.load(Ordering::Relaxed));
        if mutant("skip-join-verify") || !first.is_before(oldest(control, ring)) {
            return Ok(Seat { slot, state, first });
        }
        // The producer reserves before it asks, so a group that it waits for may look overrun and is
        // not: while somebody else is a member, the producer knows the group, and it is in order.
        // Once we are in the roster, that holds even if the other leaves now.
        if group.is_some_and(|group| has_others(control, group, slot)) {
            return Ok(Seat { slot, state, first });
        }
        // Another member may be claiming from the same word; then the next round looks again.
        let moved = start_of(control, ring, landing, applicant.start).get();
        let _ = word.compare_exchange(first.get(), moved, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Whether the group has a member in a slot other than `own`.
fn has_others(control: &Control, group: usize, own: usize) -> bool {
    let slots = control.slots.iter().enumerate();
    let mut others = slots.filter(|&(slot, _)| slot != own).map(|(_, line)| line);
    !mutant("skip-join-others")
        && others.any(|line| {
            let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
            let index = line.group.load(Ordering::Relaxed) as usize % SLOTS;
            state.usage() == SlotUse::Member && index == group
        })
}

impl Seat {
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
    pub(crate) fn is_taken(&self, control: &Control) -> bool {
        control.slots[self.slot].state.load(Ordering::Relaxed) == self.state.bits()
    }

    /// Frees the slot; does nothing if it was evicted.
    pub(crate) fn leave(&self, control: &Control) {
        free(control, self.slot, self.state);
    }
}

/// Frees a slot whose consumer is gone; says whether there was one.
///
/// Messages that it had not read are given up. A consumer that lives after all learns of it with its
/// next look at the ring, and until then may read messages that are being overwritten: evict only who
/// is dead.
///
/// It is evicted as it was listed: if it has left since, and its slot is another's, nothing happens.
pub fn evict(control: &Control, consumer: &ConsumerInfo) -> bool {
    free(control, consumer.slot, consumer.state)
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
    }
    freed
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
}

/// The registered consumers, in the order of their slots.
///
/// Each line is read while its owner may be writing it, so a count may be a moment old.
pub fn list(control: &Control) -> Vec<ConsumerInfo> {
    let lag_of = |cursor: u64| {
        let lag = control.published().since(Sequence::new(cursor));
        // Parked, or ahead of what we read a moment ago: nothing in hand.
        if lag > Capacity::MAX { 0 } else { lag }
    };
    let slots = control.slots.iter().enumerate();
    slots
        .filter_map(|(slot, line)| {
            let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
            let cursor = lag_of(line.cursor.load(Ordering::Acquire));
            let (kind, lag) = match state.usage() {
                SlotUse::Free => return None,
                SlotUse::Broadcast => (ConsumerKind::Broadcast, cursor),
                SlotUse::Member => {
                    let index = line.group.load(Ordering::Relaxed) as usize % SLOTS;
                    let line = &control.groups[index];
                    let claimed = lag_of(line.claimed.load(Ordering::Acquire));
                    (ConsumerKind::Member { group: line.name.load() }, cursor.max(claimed))
                }
            };
            let owner = line.owner.load(Ordering::Relaxed) as u32;
            Some(ConsumerInfo { slot, kind, owner, label: line.label.load(), lag, state })
        })
        .collect()
}

/// The oldest sequence that the producer is sure not to be overwriting.
///
/// Also what a tap may still copy.
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

/// The line of the group of this name, which is new, and begins at `begin`, if it has no member.
fn find_group(control: &Control, name: &str, begin: Sequence) -> usize {
    let mut used = [false; SLOTS];
    for line in &control.slots {
        // edge: leave -> join. A line that its last member has left is ours to write.
        let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
        if state.usage() == SlotUse::Member {
            let group = line.group.load(Ordering::Relaxed) as usize % SLOTS;
            if control.groups[group].name.load() == name {
                return group;
            }
            used[group] = true;
        }
    }
    // There are as many lines as slots, and our slot's member is not among those counted.
    let free = used.iter().position(|&used| !used).unwrap_or(0);
    control.groups[free].name.store(name);
    control.groups[free].claimed.store(begin.get(), Ordering::Relaxed);
    free
}

/// Whether a group may be called that: 1 to [`NAME_BYTES`] bytes, no NUL.
pub fn is_group_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}
