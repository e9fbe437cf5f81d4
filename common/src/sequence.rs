//! Sequences and capacities: the index arithmetic of a ring.
//!
//! A sequence is a `u64` that only grows. At a thousand million messages a second it wraps after
//! 584 years. All arithmetic here is modular all the same: a queue that starts near `u64::MAX`
//! behaves like a queue that starts at zero, and so tests can start there.

use core::fmt;
use core::ops::Range;

/// The number of a message: how many came before it.
///
/// Sequences lie on a circle of 2^64 places, so there is no `Ord`. Instead,
/// [`since`](Sequence::since) says how far one lies behind another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// The first sequence of a queue that does not say otherwise.
    pub const ZERO: Self = Self(0);

    /// The sequence with this number.
    #[inline(always)]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number as it is stored in shared memory.
    #[inline(always)]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence `n` messages later.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The sequence `n` messages earlier.
    #[inline(always)]
    #[must_use]
    pub const fn minus(self, n: u64) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// How many messages lie from `earlier` up to this sequence.
    ///
    /// Going forward around the circle: if `earlier` is in truth later, the answer is huge.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this sequence comes before `other`, going the short way around the circle.
    #[inline(always)]
    pub const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i64) < 0
    }

    /// The later of the two.
    #[inline]
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The place half a circle away. A cursor that is parked there is never a lap behind.
    #[inline(always)]
    #[must_use]
    pub const fn opposite(self) -> Self {
        Self(self.0 ^ (1 << 63))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many messages a ring holds: a power of two, so that `sequence & mask` is the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity(u64);

/// A capacity that a ring cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapacityError {
    /// A ring without a place holds nothing.
    #[error("a ring of capacity 0 holds nothing: ask for a power of two, such as 1024")]
    Zero,
    /// The index is computed with a mask, which needs a power of two.
    #[error("the capacity of a ring is a power of two, found {found}: ask for {above}")]
    NotPowerOfTwo {
        /// What was asked for.
        found: u64,
        /// The next power of two.
        above: u64,
    },
    /// More than any memory holds.
    #[error("a capacity of {found} is beyond what a ring can address: at most {most}")]
    TooLarge {
        /// What was asked for.
        found: u64,
        /// [`Capacity::MAX`].
        most: u64,
    },
}

impl Capacity {
    /// The most messages that a ring may hold.
    pub const MAX: u64 = 1 << 40;

    /// A capacity of exactly this many messages.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] unless `messages` is a power of two between 1 and [`Capacity::MAX`].
    pub const fn new(messages: u64) -> Result<Self, CapacityError> {
        if messages == 0 {
            return Err(CapacityError::Zero);
        }
        if messages > Self::MAX {
            return Err(CapacityError::TooLarge { found: messages, most: Self::MAX });
        }
        if !messages.is_power_of_two() {
            let above = messages.next_power_of_two();
            return Err(CapacityError::NotPowerOfTwo { found: messages, above });
        }
        Ok(Self(messages))
    }

    /// The number of messages.
    #[inline(always)]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place of this message in the ring: `0 .. capacity`.
    #[inline(always)]
    pub const fn index(self, sequence: Sequence) -> usize {
        (sequence.0 & (self.0 - 1)) as usize
    }

    /// The places of `n` messages from `first` on: up to the end of the ring, and from its start.
    ///
    /// The second range is empty unless the messages wrap. `n` is at most the capacity.
    #[inline]
    pub const fn places(self, first: Sequence, n: u64) -> (Range<usize>, Range<usize>) {
        debug_assert!(n <= self.0);
        let start = self.index(first);
        let to_end = self.0 as usize - start;
        let n = n as usize;
        if n <= to_end { (start..start + n, 0..0) } else { (start..start + to_end, 0..n - to_end) }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_a_mask_cannot_index() {
        assert_eq!(Capacity::new(0), Err(CapacityError::Zero));
        let error = CapacityError::NotPowerOfTwo { found: 1000, above: 1024 };
        assert_eq!(Capacity::new(1000), Err(error));
        let error = CapacityError::TooLarge { found: u64::MAX, most: Capacity::MAX };
        assert_eq!(Capacity::new(u64::MAX), Err(error));
    }

    proptest! {
        #[test]
        fn a_step_forward_is_undone_by_a_step_back(start: u64, n: u64) {
            let start = Sequence::new(start);
            prop_assert_eq!(start.plus(n).minus(n), start);
            prop_assert_eq!(start.plus(n).since(start), n);
        }

        #[test]
        fn before_holds_across_the_wrap(start: u64, n in 1u64..1 << 62) {
            let start = Sequence::new(start);
            prop_assert!(start.is_before(start.plus(n)));
            prop_assert!(!start.plus(n).is_before(start));
            prop_assert_eq!(start.later(start.plus(n)), start.plus(n));
        }

        #[test]
        fn a_parked_cursor_is_more_than_a_lap_from_every_near_one(
            start: u64, drift in 0u64..1 << 62, lap in 0u32..=40,
        ) {
            let parked = Sequence::new(start).opposite();
            prop_assert!(Sequence::new(start).plus(drift).since(parked) > 1 << lap);
        }

        #[test]
        fn places_are_the_indices_in_order(start: u64, power in 0u32..12, share in 0.0f64..=1.0) {
            let capacity = Capacity::new(1 << power).unwrap();
            let n = (share * capacity.get() as f64) as u64;
            let first = Sequence::new(start);
            let (head, tail) = capacity.places(first, n);
            let expected: Vec<usize> = (0..n).map(|i| capacity.index(first.plus(i))).collect();
            prop_assert_eq!(head.chain(tail).collect::<Vec<_>>(), expected);
        }
    }
}
