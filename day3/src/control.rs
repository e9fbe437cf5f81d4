//! Control: the lines that everyone attached to a ring shares.
//!
//! Each line has one writer (or, for a group's claim, only its members), and no two lines share a
//! cache line. A line is 128 bytes, because x86-64 fetches cache lines of 64 bytes in pairs.
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | head: reserved, published, state | the producer |
//! | 128 | doorbell: who sleeps (Day 5) | sleepers |
//! | 256 | roster: how often somebody joined or left | consumers |
//! | 384 | 64 consumer slots: state, cursor, who | each its consumer |
//! | 8576 | 64 groups: claimed, name | each its members |

use common::Sequence;
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

/// The shared lines of a ring.
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
    use core::mem::offset_of;
    assert!(offset_of!(Control, head) == 0);
    assert!(offset_of!(Control, doorbell) == 128);
    assert!(offset_of!(Control, roster) == 256);
    assert!(offset_of!(Control, slots) == 384);
    assert!(offset_of!(Control, groups) == 384 + 64 * 128);
    assert!(size_of::<Control>() == 384 + 2 * 64 * 128);
    assert!(size_of::<CachePadded<ConsumerSlot>>() == 128);
};

/// The producer's line.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// The producer may be writing anything before this.
    pub(crate) reserved: AtomicU64,
    /// Everything before this may be read.
    pub(crate) published: AtomicU64,
    /// 0 while open, then [`CLOSED`].
    pub(crate) state: AtomicU64,
}

pub(crate) const CLOSED: u64 = 1;

/// The line where sleepers announce themselves. Spinning and yielding leave it alone; Day 5 uses it.
#[derive(Debug)]
#[repr(C)]
pub struct Doorbell {
    /// How many consumers sleep because there is nothing to read; a futex.
    pub consumers: AtomicU32,
    /// Whether the producer sleeps because the ring is full; a futex.
    pub producer: AtomicU32,
}

/// The line that tells the producer to look at all slots again.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Roster {
    pub(crate) generation: AtomicU64,
}

/// A consumer's line.
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
    pub(crate) label: NameWords,
}

/// The line that the members of a group share.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct GroupLine {
    /// Everything before this has gone to some member.
    pub(crate) claimed: AtomicU64,
    pub(crate) name: NameWords,
}

/// What a slot is in use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    Free,
    Broadcast,
    Member,
}

/// The state of a slot: its use, and a ticket that differs each time that it is taken, so that a
/// consumer that was evicted does not mistake its successor's slot for its own.
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

/// A short text in shared memory, cut off after [`NAME_BYTES`] bytes.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct NameWords([AtomicU64; NAME_BYTES / 8]);

impl NameWords {
    pub(crate) fn store(&self, text: &str) {
        for (word, bytes) in self.0.iter().zip(padded(text).chunks_exact(8)) {
            let bytes = bytes.try_into().unwrap_or_default();
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self) -> String {
        let bytes: Vec<u8> =
            self.0.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

fn padded(text: &str) -> [u8; NAME_BYTES] {
    let mut padded = [0; NAME_BYTES];
    let mut len = text.len().min(NAME_BYTES);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    padded[..len].copy_from_slice(&text.as_bytes()[..len]);
    padded
}

impl Control {
    /// Control of a ring whose first message will have the sequence `first`, on the heap.
    pub fn new(first: Sequence) -> Self {
        let word = || AtomicU64::new(0);
        let name = || NameWords(core::array::from_fn(|_| word()));
        let slot = |_| {
            let (state, cursor, group, owner) = (word(), word(), word(), word());
            CachePadded::new(ConsumerSlot { state, cursor, group, owner, label: name() })
        };
        let group = |_| CachePadded::new(GroupLine { claimed: word(), name: name() });
        let head = Head { reserved: word(), published: word(), state: word() };
        let doorbell = Doorbell { consumers: AtomicU32::new(0), producer: AtomicU32::new(0) };
        let control = Self {
            head: CachePadded::new(head),
            doorbell: CachePadded::new(doorbell),
            roster: CachePadded::new(Roster { generation: word() }),
            slots: core::array::from_fn(slot),
            groups: core::array::from_fn(group),
        };
        control.start_at(first);
        control
    }

    /// Sets the first sequence of a ring whose control is all zeros.
    pub fn start_at(&self, first: Sequence) {
        self.head.reserved.store(first.get(), Ordering::Relaxed);
        self.head.published.store(first.get(), Ordering::Relaxed);
    }

    /// How many messages have been published: the sequence of the next one.
    pub fn published(&self) -> Sequence {
        Sequence::new(self.head.published.load(Ordering::Acquire))
    }

    /// Whether the producer has closed the ring.
    pub fn is_closed(&self) -> bool {
        self.head.state.load(Ordering::Acquire) == CLOSED
    }
}
