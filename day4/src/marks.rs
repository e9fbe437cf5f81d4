//! Where messages begin: a short trail that the producer leaves in control.
//!
//! A consumer that joins at the oldest message, or a tap that was lapped, knows to the byte how far the
//! producer may be writing, but not where a message begins there. Therefore the producer leaves a mark each
//! time before it reserves further, which is rare (an eighth of the ring at a time, if consumers keep up). A
//! mark also says how many messages came before it. That is how a tap knows what it missed.
//!
//! A mark is three words: `begun` is written before the number, `ended` after it. A reader that finds the same
//! sequence in both has read a whole mark.

use common::sync::{AtomicU64, Ordering};
use common::{Capacity, Sequence, fence, ordering};
use day3::landing::{Landing, Mark};

use crate::frame::HEADER;

/// For how many parts of the ring marks are kept, of two laps.
#[cfg(not(loom))]
pub const MARKS: usize = 32;
/// A model needs no more.
#[cfg(loom)]
pub const MARKS: usize = 1;

/// For how many parts the first mark is kept, too.
#[cfg(not(loom))]
const FIRSTS: usize = MARKS;
/// A model has only last ones.
#[cfg(loom)]
const FIRSTS: usize = 0;

/// How many parts a ring is cut into. There are marks for two laps, so that a mark of this lap does not
/// overwrite a mark that is still good.
const PARTS: u64 = MARKS as u64 / 2;

/// The trail, in shared memory. Only the producer writes it.
///
/// Of each part the first mark and the last one are kept. The message at the last mark of all is not being
/// overwritten. The first ones let a new consumer begin as close to the oldest message as a part is long.
///
/// It is part of the segment's layout: a change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub struct Marks {
    lasts: [MarkLine; MARKS],
    firsts: [MarkLine; FIRSTS],
}

/// One mark. A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
struct MarkLine {
    /// The mark's sequence, stored first.
    begun: AtomicU64,
    number: AtomicU64,
    /// The mark's sequence, stored last.
    ended: AtomicU64,
    unused: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(MarkLine, begun) == 0);
    assert!(offset_of!(MarkLine, number) == 8);
    assert!(offset_of!(MarkLine, ended) == 16);
    assert!(size_of::<MarkLine>() == 32);
    assert!(offset_of!(Marks, lasts) == 0);
    assert!(offset_of!(Marks, firsts) == 1024);
    assert!(size_of::<Marks>() == 2048);
};

impl Marks {
    /// A trail with one mark, at the first message, on the heap.
    pub fn new(first: Sequence) -> Self {
        let word = || AtomicU64::new(0);
        let line = |_| MarkLine { begun: word(), number: word(), ended: word(), unused: word() };
        let marks = Self { lasts: core::array::from_fn(line), firsts: core::array::from_fn(line) };
        // SAFETY: nobody else has it.
        unsafe { marks.start_at(first) };
        marks
    }

    /// Sets all marks to the first message.
    ///
    /// # Safety
    ///
    /// No other end has the memory yet.
    pub unsafe fn start_at(&self, first: Sequence) {
        for line in self.lasts.iter().chain(&self.firsts) {
            line.begun.store(first.get(), Ordering::Relaxed);
            line.ended.store(first.get(), Ordering::Relaxed);
        }
    }

    /// Leaves a mark.
    ///
    /// # Safety
    ///
    /// The caller is the producer, and will begin a record there. A consumer that lands on a mark reads one.
    pub unsafe fn leave(&self, capacity: Capacity, mark: Mark) {
        let part = part(capacity, mark.sequence);
        let slot = (part % MARKS as u64) as usize;
        if let Some(first) = self.firsts.get(slot) {
            let found = Sequence::new(first.ended.load(Ordering::Relaxed));
            if self::part(capacity, found) != part {
                first.leave(mark);
            }
        }
        self.lasts[slot].leave(mark);
    }

    fn whole(&self) -> impl Iterator<Item = Mark> {
        let marks = self.lasts.iter().chain(&self.firsts).filter_map(MarkLine::read);
        // Records begin at multiples of 8, whatever another process has written here.
        marks.filter(|mark| mark.sequence.get().is_multiple_of(HEADER as u64))
    }

    /// The first whole mark at or after `from`.
    pub fn at_or_after(&self, from: Sequence) -> Option<Mark> {
        self.whole()
            .filter(|mark| !mark.sequence.is_before(from))
            .min_by_key(|mark| mark.sequence.since(from))
    }

    /// The last whole mark at or before `to`.
    pub fn at_or_before(&self, to: Sequence) -> Option<Mark> {
        self.whole()
            .filter(|mark| !to.is_before(mark.sequence))
            .min_by_key(|mark| to.since(mark.sequence))
    }
}

impl MarkLine {
    fn leave(&self, mark: Mark) {
        self.begun.store(mark.sequence.get(), Ordering::Relaxed);
        // edge: mark -> torn. A reader of the new number sees, after its own fence, that a new mark
        // was begun.
        fence!("mark-fence", Release);
        self.number.store(mark.number, Ordering::Relaxed);
        // edge: mark -> read
        self.ended.store(mark.sequence.get(), ordering!("mark-release", Release));
    }

    fn read(&self) -> Option<Mark> {
        // edge: mark -> read
        let ended = self.ended.load(ordering!("mark-acquire", Acquire));
        let number = self.number.load(Ordering::Relaxed);
        // edge: mark -> torn
        fence!("mark-read-fence", Acquire);
        let begun = self.begun.load(Ordering::Relaxed);
        (begun == ended).then_some(Mark { sequence: Sequence::new(ended), number })
    }
}

impl Landing for Marks {
    fn at_or_after(&self, from: Sequence) -> Option<Mark> {
        Marks::at_or_after(self, from)
    }
}

/// Which part of the ring a sequence lies in, counted on through the laps.
fn part(capacity: Capacity, sequence: Sequence) -> u64 {
    if PARTS == 0 {
        return 0;
    }
    sequence.get() / (capacity.get() / PARTS).max(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However far apart they are left: the last one is there, and what is found is what was left.
        #[test]
        fn the_last_mark_is_always_there(first: u64, steps in prop::collection::vec(1u64..5000, 1..200)) {
            let capacity = Capacity::new(4096).unwrap();
            let first = Sequence::new(first & !7);
            let marks = Marks::new(first);
            let mut left = vec![Mark { sequence: first, number: 0 }];
            for (step, number) in steps.iter().zip(1..) {
                let last = left[left.len() - 1].sequence;
                let mark = Mark { sequence: last.plus((step & !7).min(4096)), number };
                if mark.sequence == last {
                    continue;
                }
                // SAFETY: nobody reads a record there.
                unsafe { marks.leave(capacity, mark) };
                left.push(mark);
                prop_assert_eq!(marks.at_or_before(mark.sequence), Some(mark));
                prop_assert_eq!(marks.at_or_after(mark.sequence), Some(mark));
                if mark.sequence.since(first) <= 4096 {
                    prop_assert_eq!(marks.at_or_after(first), Some(left[0]), "nothing is overwritten");
                }
                let oldest = mark.sequence.minus(4096);
                let found = marks.at_or_after(oldest).unwrap();
                prop_assert!(left.contains(&found), "{:?} was never left", found);
            }
        }
    }
}
