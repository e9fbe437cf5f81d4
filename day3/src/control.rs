//! Control: the lines that everyone attached to a ring shares.
//!
//! Each line has one writer (or, for a group's claim, only its members), and no two lines share a
//! cache line. A line is 128 bytes, because x86-64 fetches cache lines of 64 bytes in pairs.
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | head: reserved, published, state, widest claim, what it waits for, pid, reason, epoch | the producer |
//! | 128 | doorbell: which side sleeps (Day 5); the producer's vital word (Day 6) | sleepers |
//! | 256 | roster: how often consumers joined or left; which ring this is | consumers |
//! | 384 | as many rooms as there may be consumers, of 384 bytes each | |
//!
//! A room has a slot for a consumer, and a line for a group:
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | slot: state, cursor, claims, group, vital word, process, label | its consumer |
//! | 128 | log: which members won the claims before those of this member | its consumer |
//! | 256 | group: claimed, base, flags, redelivered, name | its members |
//!
//! It is part of the segment's layout: a change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION). The
//! assertions beside each struct notice it.

#[cfg(not(loom))]
use core::mem::offset_of;
use core::ptr::NonNull;

use common::Sequence;
use common::process::Origin;
use common::sync::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
#[cfg(not(loom))]
use day2::Role;
use day2::vital::Vital;

use crate::doorbell::ROOMS;

/// How many registered consumers, of whatever kind, a ring has room for, unless its creator says otherwise.
pub const SLOTS: usize = 64;

/// The most consumers that a ring may be created for.
pub const MOST_SLOTS: usize = 1024;

/// How many claims of others a member remembers.
#[cfg(not(loom))]
pub(crate) const LOG: usize = 16;
/// A model fills it soon.
#[cfg(loom)]
pub(crate) const LOG: usize = 1;

/// The most bytes of a label or a group's name that are kept.
pub const NAME_BYTES: usize = 32;

/// The most bytes of a producer's reason to give up that are kept.
pub const REASON_BYTES: usize = 64;

/// The shared lines of a ring.
///
/// `R` is how many rooms there are: known when the program is compiled (`[Room; 2]`), or only to the creator
/// of the ring (`[Room]`).
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub struct Control<R: ?Sized = [Room]> {
    pub(crate) head: CachePadded<Head>,
    /// Where sleepers announce themselves (Day 5).
    pub(crate) doorbell: CachePadded<DoorbellLine>,
    pub(crate) roster: CachePadded<Roster>,
    rooms: R,
}

#[cfg(not(loom))]
const _: () = {
    type Control = super::control::Control<[Room; SLOTS]>;
    assert!(offset_of!(Control, head) == 0);
    assert!(offset_of!(Control, doorbell) == 128);
    assert!(offset_of!(Control, roster) == 256);
    assert!(offset_of!(Control, rooms) == 384);
    assert!(size_of::<Control>() as u64 == control_len(SLOTS));
};

/// Bytes of control of a ring with room for so many consumers.
pub const fn control_len(consumers: usize) -> u64 {
    384 + 384 * consumers as u64
}

/// The lines for one consumer more: its slot, and a line for a group.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub struct Room {
    slot: CachePadded<ConsumerSlot>,
    group: CachePadded<GroupLine>,
}

#[cfg(not(loom))]
impl Room {
    /// Where in a room the group's line begins, in bytes: behind the slot's lines.
    pub const GROUP: usize = offset_of!(Room, group);
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Room, slot) == 0);
    assert!(offset_of!(Room, group) == 256);
    assert!(size_of::<Room>() == 384);
};

/// The producer's line.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// The producer may be writing anything before this.
    pub(crate) reserved: AtomicU64,
    /// Everything before this may be read.
    pub(crate) published: AtomicU64,
    /// 0 while open, then how it ended: [`FINISHED`] or [`ABORTED`].
    pub(crate) state: AtomicU64,
    /// Beyond what is published, the producer writes at most this many sequences.
    pub(crate) widest: AtomicU64,
    /// How many sequences the producer waits for; 0 while it does not wait.
    pub(crate) wanted: AtomicU64,
    /// The process that the producer runs in, as it said itself.
    pub(crate) owner: AtomicU64,
    /// Why the producer gave up.
    pub(crate) reason: Text<{ REASON_BYTES / 8 }>,
    /// How many producers have taken over from a dead one.
    pub(crate) epoch: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Head, reserved) == 0);
    assert!(offset_of!(Head, published) == 8);
    assert!(offset_of!(Head, state) == 16);
    assert!(offset_of!(Head, widest) == 24);
    assert!(offset_of!(Head, wanted) == 32);
    assert!(offset_of!(Head, owner) == 40);
    assert!(offset_of!(Head, reason) == 48);
    assert!(offset_of!(Head, epoch) == 112);
    assert!(size_of::<Head>() == 120);
};

/// State of a ring whose producer has sent all that it wanted to send.
pub(crate) const FINISHED: u64 = 1;
/// State of a ring whose producer gave up before that.
pub(crate) const ABORTED: u64 = 2;

/// How a ring's producer has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Not yet.
    Open,
    /// It has sent all that it wanted to send.
    Finished,
    /// It gave up before that.
    Aborted {
        /// Why, in its own words; [`REASON_BYTES`] bytes of them are kept.
        reason: String,
    },
}

/// The line where sleepers announce themselves. Spinning and yielding leave it alone; Day 5 uses it.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct DoorbellLine {
    /// Whether consumers sleep because there is nothing to read; a futex.
    pub(crate) consumers: AtomicU32,
    /// Whether the producer sleeps because the ring is full; a futex.
    pub(crate) producer: AtomicU32,
    /// Says when the process is dying whose line it is, and wakes a sleeper: in control the producer's.
    pub(crate) vital: Vital,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(DoorbellLine, consumers) == 0);
    assert!(offset_of!(DoorbellLine, producer) == 4);
    assert!(offset_of!(DoorbellLine, vital) == 8);
};

impl DoorbellLine {
    /// A doorbell that no end has rung, and at which none sleeps.
    pub(crate) fn new() -> Self {
        let (consumers, producer) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { consumers, producer, vital: Vital::new() }
    }

    /// These words, as a strategy sees them.
    pub(crate) fn view(&self) -> crate::doorbell::Doorbell<'_> {
        let Self { consumers, producer, vital } = self;
        crate::doorbell::Doorbell { consumers, producer, rooms: None, vital }
    }
}

/// The line that tells the producer to look at all slots again.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Roster {
    pub(crate) generation: AtomicU64,
    /// A number drawn for this ring, which no other is likely to have.
    pub(crate) identity: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Roster, generation) == 0);
    assert!(offset_of!(Roster, identity) == 8);
};

/// A consumer's lines.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ConsumerSlot {
    /// A [`SlotState`], packed.
    pub(crate) state: AtomicU64,
    /// A broadcast consumer has read everything before this. A group member holds nothing before
    /// this, and nothing at all while it is parked (see [`Sequence::opposite`]).
    pub(crate) cursor: AtomicU64,
    /// The end of the claim that a member tries, or has tried last.
    pub(crate) intent: AtomicU64,
    /// The end of the claim that a member has won last.
    pub(crate) won: AtomicU64,
    /// A [`Claim`] that this member has won, as another member says.
    pub(crate) helped: AtomicU64,
    /// Which of the groups a member belongs to.
    pub(crate) group: AtomicU64,
    /// Says when the consumer's process is dying.
    pub(crate) vital: Vital,
    /// The process that the consumer runs in.
    pub(crate) owner: AtomicU64,
    /// When it took the slot: seconds since 1970.
    pub(crate) since: AtomicU64,
    /// After how many microseconds the producer evicts it, if it may.
    pub(crate) policy: AtomicU64,
    /// How many messages it has missed.
    pub(crate) missed: AtomicU64,
    pub(crate) label: Text<{ NAME_BYTES / 8 }>,
    /// A member's log: [`Claim`]s that it came after, and whose winners may not have said so themselves yet.
    pub(crate) log: [AtomicU64; LOG],
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(ConsumerSlot, state) == 0);
    assert!(offset_of!(ConsumerSlot, cursor) == 8);
    assert!(offset_of!(ConsumerSlot, intent) == 16);
    assert!(offset_of!(ConsumerSlot, won) == 24);
    assert!(offset_of!(ConsumerSlot, helped) == 32);
    assert!(offset_of!(ConsumerSlot, group) == 40);
    assert!(offset_of!(ConsumerSlot, vital) == 48);
    assert!(offset_of!(ConsumerSlot, owner) == 64);
    assert!(offset_of!(ConsumerSlot, since) == 72);
    assert!(offset_of!(ConsumerSlot, policy) == 80);
    assert!(offset_of!(ConsumerSlot, missed) == 88);
    assert!(offset_of!(ConsumerSlot, label) == 96);
    assert!(offset_of!(ConsumerSlot, log) == 128);
    assert!(size_of::<CachePadded<ConsumerSlot>>() == 256);
};

/// The line that the members of a group share. It keeps the group's place when the last of them leaves.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct GroupLine {
    /// A [`Claim`], packed: everything before its end has gone to a member.
    pub(crate) claimed: AtomicU64,
    /// A sequence near the claim's end, whole.
    pub(crate) base: AtomicU64,
    /// [`HOLDS`], [`HOLDS_END`], [`ORPHANED`].
    pub(crate) flags: AtomicU64,
    /// How many sequences went to a second member, because the first had died.
    pub(crate) redelivered: AtomicU64,
    /// Empty while no group has had this line.
    pub(crate) name: Text<{ NAME_BYTES / 8 }>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(GroupLine, claimed) == 0);
    assert!(offset_of!(GroupLine, base) == 8);
    assert!(offset_of!(GroupLine, flags) == 16);
    assert!(offset_of!(GroupLine, redelivered) == 24);
    assert!(offset_of!(GroupLine, name) == 32);
    assert!(size_of::<GroupLine>() == 64);
    assert!(size_of::<CachePadded<GroupLine>>() == 128);
};

/// The group holds the producer back also while it has no member.
pub(crate) const HOLDS: u64 = 1;
/// A member may have died with messages in hand.
pub(crate) const ORPHANED: u64 = 2;
/// A producer that has ended is not drained before a member of the group has acknowledged the end.
pub(crate) const HOLDS_END: u64 = 4;

/// How far a group has claimed, and which slot's member made the last claim.
///
/// The end is cut off to 53 bits, so that both fit in one word. A sequence that is known to lie near tells the
/// rest.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(u64);

impl Claim {
    const WINNER_BITS: u32 = 11;
    const WINNER: u64 = (1 << Self::WINNER_BITS) - 1;

    /// The claim up to `end` by the member in this slot.
    #[inline(always)]
    pub(crate) const fn by(slot: usize, end: Sequence) -> Self {
        Self(end.get() << Self::WINNER_BITS | (slot as u64 + 1))
    }

    /// A group's place that no member has claimed.
    pub(crate) const fn nobodys(end: Sequence) -> Self {
        Self(end.get() << Self::WINNER_BITS)
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The slot of the member that made it.
    pub(crate) const fn winner(self) -> Option<usize> {
        match self.0 & Self::WINNER {
            0 => None,
            winner => Some(winner as usize - 1),
        }
    }

    /// Whether another member than that in `slot` made it.
    #[inline(always)]
    pub(crate) const fn is_by_other(self, slot: usize) -> bool {
        let winner = self.0 & Self::WINNER;
        winner != 0 && winner != slot as u64 + 1
    }

    /// Its end, which is nearer to `near` than 2^52.
    #[inline(always)]
    pub(crate) const fn end(self, near: Sequence) -> Sequence {
        let end = self.0 & !Self::WINNER;
        let ahead = (near.get() << Self::WINNER_BITS).wrapping_sub(end) as i64;
        near.minus((ahead >> Self::WINNER_BITS) as u64)
    }
}

const _: () = {
    assert!(MOST_SLOTS < Claim::WINNER as usize);
    assert!(Claim::by(3, Sequence::new(5)).bits() == 5 << 11 | 4);
    let near_the_wrap = Claim::by(0, Sequence::new(u64::MAX - 1));
    assert!(near_the_wrap.end(Sequence::new(7)).get() == u64::MAX - 1);
    assert!(Claim::nobodys(Sequence::new(9)).end(Sequence::new(u64::MAX)).get() == 9);
};

/// What a slot is in use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    Free,
    Broadcast,
    Member,
    /// Its consumer was evicted while it was alive. The slot is free when the consumer has let go of its lease.
    Evicted,
    /// A broadcast consumer that is told what it misses: the producer does not wait for it.
    Lossy,
    /// A broadcast consumer that the producer evicts when it has waited for it too long. It borrows nothing.
    Evictable,
}

/// The state of a slot: its use, and a ticket. The ticket differs each time that the slot is taken. So a
/// consumer that was evicted does not mistake its successor's slot for its own.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotState(u64);

impl SlotState {
    const USE_BITS: u64 = 0xff;

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn usage(self) -> SlotUse {
        match self.0 & Self::USE_BITS {
            1 => SlotUse::Broadcast,
            2 => SlotUse::Member,
            3 => SlotUse::Evicted,
            4 => SlotUse::Lossy,
            5 => SlotUse::Evictable,
            _ => SlotUse::Free,
        }
    }

    pub(crate) const fn next(self, usage: SlotUse) -> Self {
        let ticket = (self.0 >> 8).wrapping_add(1) << 8;
        Self(ticket | Self::usage_bits(usage))
    }

    pub(crate) const fn freed(self) -> Self {
        Self(self.0 & !Self::USE_BITS)
    }

    pub(crate) const fn evicted(self) -> Self {
        Self(self.freed().0 | Self::usage_bits(SlotUse::Evicted))
    }

    /// How often the slot has been taken.
    pub(crate) const fn ticket(self) -> u64 {
        self.0 >> 8
    }

    const fn usage_bits(usage: SlotUse) -> u64 {
        match usage {
            SlotUse::Free => 0,
            SlotUse::Broadcast => 1,
            SlotUse::Member => 2,
            SlotUse::Evicted => 3,
            SlotUse::Lossy => 4,
            SlotUse::Evictable => 5,
        }
    }
}

const _: () = {
    let free = SlotState::from_bits(0x500);
    assert!(free.next(SlotUse::Broadcast).bits() == 0x601);
    assert!(free.next(SlotUse::Member).bits() == 0x602);
    assert!(free.next(SlotUse::Member).freed().bits() == 0x600);
    assert!(free.next(SlotUse::Member).evicted().bits() == 0x603);
};

/// A short text in shared memory, cut off after `WORDS` times 8 bytes.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Text<const WORDS: usize>([AtomicU64; WORDS]);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Text<4>>() == 32);

impl<const WORDS: usize> Text<WORDS> {
    fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn store(&self, text: &str) {
        let mut len = text.len().min(8 * WORDS);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let bytes = &text.as_bytes()[..len];
        for (i, word) in self.0.iter().enumerate() {
            let mut padded = [0; 8];
            let part = bytes.chunks(8).nth(i).unwrap_or_default();
            padded[..part.len()].copy_from_slice(part);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self) -> String {
        let bytes: Vec<u8> =
            self.0.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0[0].load(Ordering::Relaxed) == 0
    }
}

impl Room {
    /// A room that nobody has.
    fn empty() -> Self {
        let word = || AtomicU64::new(0);
        let slot = ConsumerSlot {
            state: word(),
            cursor: word(),
            intent: word(),
            won: word(),
            helped: word(),
            group: word(),
            vital: Vital::new(),
            owner: word(),
            since: word(),
            policy: word(),
            missed: word(),
            label: Text::new(),
            log: core::array::from_fn(|_| word()),
        };
        let (claimed, base, flags, redelivered) = (word(), word(), word(), word());
        let group = GroupLine { claimed, base, flags, redelivered, name: Text::new() };
        Self { slot: CachePadded::new(slot), group: CachePadded::new(group) }
    }
}

impl<const N: usize> Control<[Room; N]> {
    /// Control of a ring whose first message will have the sequence `first`, with room for `N` consumers.
    pub fn new(first: Sequence) -> Self {
        let word = || AtomicU64::new(0);
        let head = Head {
            reserved: word(),
            published: word(),
            state: word(),
            widest: word(),
            wanted: word(),
            owner: word(),
            reason: Text::new(),
            epoch: word(),
        };
        let doorbell = DoorbellLine::new();
        let control = Self {
            head: CachePadded::new(head),
            doorbell: CachePadded::new(doorbell),
            roster: CachePadded::new(Roster { generation: word(), identity: word() }),
            rooms: core::array::from_fn(|_| Room::empty()),
        };
        let lines: &Control = &control;
        // SAFETY: no other end has it yet.
        unsafe { lines.start_at(first) };
        control
    }
}

impl Control {
    /// Control with so many rooms, at this place.
    pub fn at(start: NonNull<u8>, consumers: usize) -> NonNull<Self> {
        let rooms = NonNull::slice_from_raw_parts(start.cast::<Room>(), consumers);
        let control = rooms.as_ptr() as *mut Self;
        // SAFETY: the address is that of `start`.
        unsafe { NonNull::new_unchecked(control) }
    }

    /// How many consumers there is room for.
    pub fn consumers(&self) -> usize {
        self.rooms.len()
    }

    /// The slots, in order.
    pub(crate) fn slots(&self) -> impl ExactSizeIterator<Item = &ConsumerSlot> {
        self.rooms.iter().map(|room| &*room.slot)
    }

    /// The lines of groups, in order.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = &GroupLine> {
        self.rooms.iter().map(|room| &*room.group)
    }

    /// The slot of this number.
    pub(crate) fn slot(&self, slot: usize) -> &ConsumerSlot {
        &self.rooms[slot].slot
    }

    /// The group that the member in this slot belongs to, whatever another process has written there.
    pub(crate) fn group_of(&self, slot: &ConsumerSlot) -> usize {
        slot.group.load(Ordering::Relaxed) as usize % self.rooms.len()
    }

    /// The line of the group of this number.
    pub(crate) fn group(&self, group: usize) -> &GroupLine {
        &self.rooms[group].group
    }

    /// The word that says when the process is dying that has this role.
    #[cfg(not(loom))]
    pub(crate) fn vital(&self, role: Role) -> &Vital {
        match role {
            Role::Producer => &self.doorbell.vital,
            Role::Slot(slot) => &self.slot(slot as usize).vital,
        }
    }

    /// Sets the first sequence of a ring whose control is all zeros.
    ///
    /// # Safety
    ///
    /// No other end has the memory yet: an end that is attached goes by these words.
    pub unsafe fn start_at(&self, first: Sequence) {
        let order = Ordering::Relaxed;
        self.head.reserved.store(first.get(), order);
        self.head.published.store(first.get(), order);
        // Before its first claim the producer writes one message at most, without a claim of its own.
        self.head.widest.store(1, order);
        self.head.owner.store(u64::from(Origin::here().pid()), order);
        self.roster.identity.store(draw(), order);
    }

    /// How many messages have been published: the sequence of the next one.
    pub fn published(&self) -> Sequence {
        // edge: publish -> observe
        Sequence::new(self.head.published.load(Ordering::Acquire))
    }

    /// Whether consumers have [private rooms](crate::rooms).
    pub fn has_rooms(&self) -> bool {
        self.doorbell.consumers.load(Ordering::Relaxed) & ROOMS != 0
    }

    /// Whether the producer has ended, however it did.
    pub fn is_closed(&self) -> bool {
        // edge: close -> drained
        self.head.state.load(Ordering::Acquire) != 0
    }

    /// How the producer has ended.
    pub fn ending(&self) -> Ending {
        // edge: close -> drained. The reason is written before the state that tells of it.
        match self.head.state.load(Ordering::Acquire) {
            0 => Ending::Open,
            FINISHED => Ending::Finished,
            _ => Ending::Aborted { reason: self.head.reason.load() },
        }
    }

    /// The process that the producer said it runs in. For display: another pid namespace has other
    /// numbers.
    pub fn producer_pid(&self) -> u32 {
        self.head.owner.load(Ordering::Relaxed) as u32
    }

    /// How many messages' places the producer waits for; 0 while it does not wait.
    pub fn wanted(&self) -> u64 {
        self.head.wanted.load(Ordering::Relaxed)
    }

    #[cfg(not(loom))]
    pub(crate) fn set_wanted(&self, n: u64) {
        self.head.wanted.store(n, Ordering::Relaxed);
    }

    /// How many producers have taken over from a dead one.
    pub fn epoch(&self) -> u64 {
        self.head.epoch.load(Ordering::Relaxed)
    }

    /// The number that was drawn for this ring when it was made.
    pub fn identity(&self) -> u64 {
        self.roster.identity.load(Ordering::Relaxed)
    }
}

/// A number that is not likely to be drawn again: std's hashers have random keys.
#[cfg(not(loom))]
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// A model has one ring.
#[cfg(loom)]
fn draw() -> u64 {
    1
}
