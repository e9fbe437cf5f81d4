//! The words of a latest value, and who may do what with them.
//!
//! The writer numbers its values: 1, 2, 3, … A value of version `v` lies in slot `v % SLOTS`. The writer first stores
//! in the slot which version it begins there, then the value, and then, in the head, which version is the newest.
//! So it leaves the newest value alone for the next `SLOTS - 1` sets. A reader copies the newest value and then asks
//! the slot whether another version was begun there meanwhile. Only then it copies again.

use core::fmt;

use common::sync::{AtomicU32, AtomicU64, Ordering, may_die, mutant, spin_loop};
use common::{fence, ordering};
use crossbeam_utils::CachePadded;
use day2::Vital;
use day3::doorbell::wake_from;

/// How many slots a latest value has: a reader has the time of three sets to copy a value.
pub const SLOTS: usize = 4;

/// The writer may set the next value.
const OPEN: u64 = 0;
/// The writer has ended: the newest value is the last.
const CLOSED: u64 = 1;
/// The writer's thread has panicked.
const ABORTED: u64 = 2;

/// How often a reader copies again although no newer value came. In memory that only a writer of ours writes, it does
/// so hardly ever, and never so often.
const TRIES: u32 = 4096;

/// The writer's line. Only the writer has it mapped writable.
///
/// | offset | bytes | field |
/// |---:|---:|---|
/// | 0 | 8 | version: which value is the newest; 0 while there is none |
/// | 8 | 8 | state: 0 open, 1 closed, 2 aborted |
/// | 16 | 16 | the writer's vital word |
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
#[derive(Debug)]
pub struct Head {
    version: AtomicU64,
    state: AtomicU64,
    pub(crate) vital: Vital,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Head, version) == 0);
    assert!(offset_of!(Head, state) == 8);
    assert!(offset_of!(Head, vital) == 16);
    assert!(size_of::<Head>() == 32);
    assert!(size_of::<CachePadded<Head>>() == HEAD_BYTES);
};

/// How many bytes the head takes, with the room behind it.
#[cfg(not(loom))]
pub(crate) const HEAD_BYTES: usize = 128;

impl Head {
    fn new() -> Self {
        let (version, state) = (AtomicU64::new(0), AtomicU64::new(OPEN));
        Self { version, state, vital: Vital::new() }
    }
}

/// How many words a slot takes for a value of so many words: the begun version, the value, and room that keeps two
/// slots from sharing a line.
pub const fn stride(words: usize) -> usize {
    // A model has no lines, and every word costs it time.
    if cfg!(loom) { words + 1 } else { (words + 1).next_multiple_of(16) }
}

/// What a reader finds that has seen a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is a newer value.
    Newer,
    /// There is none yet.
    Nothing,
    /// There is none, and the writer has closed.
    Closed,
    /// There is none, and the writer's thread has panicked.
    Aborted,
}

/// The words of one latest value.
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    head: &'a Head,
    /// Where readers say that they sleep. They have it mapped writable.
    bell: &'a AtomicU32,
    slots: &'a [AtomicU64],
    /// How many words a value has.
    words: usize,
}

impl fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<'a> Cells<'a> {
    /// The words of a value of so many words. There are slots for a power of two of them.
    ///
    /// # Panics
    ///
    /// If there are not.
    pub fn new(head: &'a Head, bell: &'a AtomicU32, slots: &'a [AtomicU64], words: usize) -> Self {
        let count = slots.len() / stride(words);
        assert!(count.is_power_of_two() && slots.len() == count * stride(words));
        Self { head, bell, slots, words }
    }

    /// The writer's vital word.
    pub fn vital(&self) -> &'a Vital {
        &self.head.vital
    }

    /// Where readers sleep.
    pub fn bell(&self) -> &'a AtomicU32 {
        self.bell
    }

    /// Which value is the newest; 0 if there is none yet.
    #[inline]
    pub fn version(&self) -> u64 {
        // edge: set -> observe
        self.head.version.load(ordering!("latest-observe-acquire", Acquire))
    }

    #[inline]
    fn slot(&self, version: u64) -> &'a [AtomicU64] {
        let stride = stride(self.words);
        let start = (version as usize & (self.slots.len() / stride - 1)) * stride;
        &self.slots[start..=start + self.words]
    }

    /// Sets the value of this version, which is one more than the newest. Says whether readers slept, and were woken.
    ///
    /// It is the writer's alone, and has no loop but over the value's words.
    #[inline]
    pub fn set(&self, version: u64, value: impl Iterator<Item = u64>) -> bool {
        let slot = self.slot(version);
        slot[0].store(version, Ordering::Relaxed);
        // edge: begin -> torn. A reader that copies a word of this value sees that it was begun.
        fence!("latest-begin-fence", Release);
        for (word, value) in slot[1..].iter().zip(value) {
            word.store(value, Ordering::Relaxed);
            may_die("latest-word");
        }
        // edge: set -> observe
        self.head.version.store(version, ordering!("latest-set-release", Release));
        may_die("latest-set");
        !mutant("skip-latest-ring") && wake_from(self.bell)
    }

    /// For the writer: the value that was set before the one of this version, which is the newest; zeros if there was
    /// none.
    #[cfg(not(loom))]
    pub(crate) fn before(&self, version: u64) -> Vec<u64> {
        let slot = self.slot(version.wrapping_sub(1));
        slot[1..].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Says that no more values come, because the writer is done or because its thread has panicked. Says whether
    /// readers slept, and were woken.
    pub fn close(&self, is_panicking: bool) -> bool {
        let state = if is_panicking { ABORTED } else { CLOSED };
        // edge: close -> drained
        self.head.state.store(state, ordering!("latest-close-release", Release));
        wake_from(self.bell)
    }

    /// Whether the writer has said that no more values come.
    pub fn is_closed(&self) -> bool {
        // Relaxed: the next writer asks, which has the lease of the last one.
        self.head.state.load(Ordering::Relaxed) != OPEN
    }

    /// What there is for a reader that has seen this version.
    #[inline]
    pub fn look(&self, seen: u64) -> Look {
        if self.version() > seen {
            return Look::Newer;
        }
        // edge: close -> drained
        let state = self.head.state.load(ordering!("latest-drained-acquire", Acquire));
        if state == OPEN {
            return Look::Nothing;
        }
        if !mutant("skip-latest-drain-recheck") && self.version() > seen {
            return Look::Newer;
        }
        if state == ABORTED { Look::Aborted } else { Look::Closed }
    }

    /// Copies the newest value, word by word, and says which version it is. There is one: [`version`](Self::version)
    /// has said so.
    ///
    /// A copy that another set has overtaken is thrown away. Each time that happens, the writer has set three values
    /// more.
    #[inline]
    pub fn copy(&self, mut word: impl FnMut(usize, u64)) -> u64 {
        let (mut last, mut tries) = (0, 0);
        loop {
            let version = self.version();
            let slot = self.slot(version);
            for (at, from) in slot[1..].iter().enumerate() {
                word(at, from.load(Ordering::Relaxed));
            }
            // edge: begin -> torn
            fence!("latest-torn-fence", Acquire);
            let begun = slot[0].load(Ordering::Relaxed);
            if begun == version || mutant("skip-latest-confirm") {
                return version;
            }
            // No writer leaves a slot like this. A process that can write the head has forged it, and could as well have
            // forged the value: so its value is returned, and nobody hangs.
            tries = if version == last { tries + 1 } else { 0 };
            if tries > TRIES {
                return version;
            }
            last = version;
            spin_loop();
        }
    }
}

/// The words of a latest value in memory of this process.
pub struct HeapCells {
    head: CachePadded<Head>,
    bell: CachePadded<AtomicU32>,
    slots: Box<[AtomicU64]>,
    words: usize,
}

impl fmt::Debug for HeapCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells().fmt(f)
    }
}

impl HeapCells {
    /// So many slots, a power of two, for values of so many words.
    pub fn new(slots: usize, words: usize) -> Self {
        let zero = |_| AtomicU64::new(0);
        let slots = (0..slots * stride(words)).map(zero).collect();
        let (head, bell) = (Head::new().into(), AtomicU32::new(0).into());
        Self { head, bell, slots, words }
    }

    /// The words.
    pub fn cells(&self) -> Cells<'_> {
        Cells::new(&self.head, &self.bell, &self.slots, self.words)
    }
}
