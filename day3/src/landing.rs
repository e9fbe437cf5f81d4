//! Where a message begins, for those who come in the middle.
//!
//! Where sequences count messages, one begins at each of them. Where they count something smaller, as
//! Day 4's count bytes, one who joins at the oldest message, or who was lapped, cannot know where the
//! next one begins; so the producer leaves a trail of marks, and they land on the next mark.

use common::Sequence;

/// A sequence at which a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The sequence.
    pub sequence: Sequence,
    /// How many messages came before it, since the first one ever or since some other number that is
    /// the same for all marks of a ring.
    pub number: u64,
}

/// Finds where messages begin.
pub trait Landing {
    /// The first mark at or after `from`; `None` if there is none to be seen now.
    fn at_or_after(&self, from: Sequence) -> Option<Mark>;
}

/// A message begins at every sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everywhere;

impl Landing for Everywhere {
    #[inline(always)]
    fn at_or_after(&self, from: Sequence) -> Option<Mark> {
        Some(Mark { sequence: from, number: from.get() })
    }
}

/// The producer's side of it.
pub trait Trail {
    /// Leaves a mark at `next`, where a message will begin.
    ///
    /// The producer calls it each time before it reserves further, and reserves at most a lap from
    /// `next` on. So at any moment the last mark is one that nobody is overwriting.
    fn mark(&mut self, next: Sequence);

    /// How many sequences a short message takes.
    fn unit(&self) -> u64 {
        1
    }
}

/// No marks: a message begins at every sequence.
impl Trail for () {
    #[inline(always)]
    fn mark(&mut self, _: Sequence) {}
}
