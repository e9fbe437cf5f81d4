//! Control: the lines that everyone attached to a ring shares.
//!
//! Each line has one writer (or, for a group's claim, only its members), and no two lines share a
//! cache line. A line is 128 bytes, because x86-64 fetches cache lines of 64 bytes in pairs.
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | head: reserved, published, state, widest claim, what it waits for, pid, reason | the producer |
//! | 128 | doorbell: which side sleeps (Day 5) | sleepers |
//! | 256 | roster: how often consumers joined or left; which ring this is | consumers |
//! | 384 | 64 consumer slots: state, cursor, process, label | each its consumer |
//! | 8576 | 64 groups: claimed, flags, name | each its members |
//!
//! It is part of the segment's layout: a change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION). The
//! assertions beside each struct notice it.

#[cfg(not(loom))]
use core::mem::offset_of;

use common::Sequence;
use common::process::Origin;
use common::sync::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// How many registered consumers, of whatever kind, a ring has room for.
#[cfg(not(loom))]
pub const SLOTS: usize = 64;
/// A model needs no more, and explores faster.
#[cfg(loom)]
pub const SLOTS: usize = 2;

/// The most bytes of a label or a group's name that are kept.
pub const NAME_BYTES: usize = 32;

/// The most bytes of a producer's reason to give up that are kept.
pub const REASON_BYTES: usize = 64;

/// The shared lines of a ring.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub struct Control {
    pub(crate) head: CachePadded<Head>,
    /// Where sleepers announce themselves (Day 5).
    pub doorbell: CachePadded<Doorbell>,
    pub(crate) roster: CachePadded<Roster>,
    pub(crate) slots: [CachePadded<ConsumerSlot>; SLOTS],
    pub(crate) groups: [CachePadded<GroupLine>; SLOTS],
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Control, head) == 0);
    assert!(offset_of!(Control, doorbell) == 128);
    assert!(offset_of!(Control, roster) == 256);
    assert!(offset_of!(Control, slots) == 384);
    assert!(offset_of!(Control, groups) == 384 + 64 * 128);
    assert!(size_of::<Control>() == 384 + 2 * 64 * 128);
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
    assert!(size_of::<Head>() == 112);
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
pub struct Doorbell {
    /// How many consumers sleep because there is nothing to read; a futex.
    pub consumers: AtomicU32,
    /// Whether the producer sleeps because the ring is full; a futex.
    pub producer: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Doorbell, consumers) == 0);
    assert!(offset_of!(Doorbell, producer) == 4);
};

impl Doorbell {
    /// A doorbell that no end has rung, and at which none sleeps.
    pub(crate) fn new() -> Self {
        Self { consumers: AtomicU32::new(0), producer: AtomicU32::new(0) }
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

/// A consumer's line.
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
    /// Which of the groups a member belongs to.
    pub(crate) group: AtomicU64,
    /// The process that the consumer runs in.
    pub(crate) owner: AtomicU64,
    pub(crate) label: Text<{ NAME_BYTES / 8 }>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(ConsumerSlot, state) == 0);
    assert!(offset_of!(ConsumerSlot, cursor) == 8);
    assert!(offset_of!(ConsumerSlot, group) == 16);
    assert!(offset_of!(ConsumerSlot, owner) == 24);
    assert!(offset_of!(ConsumerSlot, label) == 32);
    assert!(size_of::<ConsumerSlot>() == 64);
    assert!(size_of::<CachePadded<ConsumerSlot>>() == 128);
};

/// The line that the members of a group share. It keeps the group's place when the last of them leaves.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct GroupLine {
    /// Everything before this has gone to a member.
    pub(crate) claimed: AtomicU64,
    /// [`HOLDS`], or 0.
    pub(crate) flags: AtomicU64,
    /// Empty while no group has had this line.
    pub(crate) name: Text<{ NAME_BYTES / 8 }>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(GroupLine, claimed) == 0);
    assert!(offset_of!(GroupLine, flags) == 8);
    assert!(offset_of!(GroupLine, name) == 16);
    assert!(size_of::<GroupLine>() == 48);
    assert!(size_of::<CachePadded<GroupLine>>() == 128);
};

/// The group holds the producer back also while it has no member.
pub(crate) const HOLDS: u64 = 1;

/// What a slot is in use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    Free,
    Broadcast,
    Member,
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

    const fn usage_bits(usage: SlotUse) -> u64 {
        match usage {
            SlotUse::Free => 0,
            SlotUse::Broadcast => 1,
            SlotUse::Member => 2,
        }
    }
}

const _: () = {
    let free = SlotState::from_bits(0x500);
    assert!(free.next(SlotUse::Broadcast).bits() == 0x601);
    assert!(free.next(SlotUse::Member).bits() == 0x602);
    assert!(free.next(SlotUse::Member).freed().bits() == 0x600);
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

impl Control {
    /// Control of a ring whose first message will have the sequence `first`, on the heap.
    pub fn new(first: Sequence) -> Self {
        let word = || AtomicU64::new(0);
        let slot = |_| {
            let (state, cursor, group, owner) = (word(), word(), word(), word());
            CachePadded::new(ConsumerSlot { state, cursor, group, owner, label: Text::new() })
        };
        let group =
            |_| CachePadded::new(GroupLine { claimed: word(), flags: word(), name: Text::new() });
        let head = Head {
            reserved: word(),
            published: word(),
            state: word(),
            widest: word(),
            wanted: word(),
            owner: word(),
            reason: Text::new(),
        };
        let doorbell = Doorbell::new();
        let control = Self {
            head: CachePadded::new(head),
            doorbell: CachePadded::new(doorbell),
            roster: CachePadded::new(Roster { generation: word(), identity: word() }),
            slots: core::array::from_fn(slot),
            groups: core::array::from_fn(group),
        };
        // SAFETY: no other end has it yet.
        unsafe { control.start_at(first) };
        control
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
