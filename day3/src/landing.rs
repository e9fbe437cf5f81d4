//! Where a message begins, for an end that comes in the middle. Day 4 needs it.
//!
//! On Day 3 sequences count messages, and a message begins at each of them. Day 4's sequences count bytes. A
//! consumer that joins at the oldest message, or a tap that was lapped, cannot know where the next message
//! begins. So the producer leaves a trail of marks, and consumer and tap land on the next mark.

use common::Sequence;

/// A sequence at which a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The sequence.
    pub sequence: Sequence,
    /// How many messages came before it: since the ring's first message, or since another one that is the
    /// same for all marks of the ring.
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
    /// `next` on. So at no moment does it overwrite the message at the last mark.
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
