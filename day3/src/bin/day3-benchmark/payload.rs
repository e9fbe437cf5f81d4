//! What is written and read: every byte of every message, on both sides, by every contender.

use bytemuck::Pod;

/// A message of whole 64-bit words.
pub(crate) type Message<const WORDS: usize> = [u64; WORDS];

/// A message that can be written and checked.
pub(crate) trait Payload: Pod + Send {
    /// The message number `sequence`, and the sum of its words.
    fn fill(&mut self, sequence: u64) -> u64;
    /// The sum of its words.
    fn sum(&self) -> u64;
}

impl<const WORDS: usize> Payload for Message<WORDS> {
    #[inline(always)]
    fn fill(&mut self, sequence: u64) -> u64 {
        let mut sum = 0u64;
        for (place, word) in self.iter_mut().zip(0u64..) {
            let word = sequence.wrapping_add(word);
            *place = word;
            sum = sum.wrapping_add(word);
        }
        sum
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

/// Writes messages numbered from `sequence` into places that follow one another.
#[inline(always)]
pub(crate) fn fill<P: Payload>(places: &mut [P], sequence: u64) -> u64 {
    let numbered = places.iter_mut().zip(0u64..);
    numbered.fold(0, |sum, (place, i)| sum.wrapping_add(place.fill(sequence.wrapping_add(i))))
}

/// The sum of all words of some messages.
#[inline(always)]
pub(crate) fn sum<P: Payload>(messages: &[P]) -> u64 {
    messages.iter().fold(0, |sum, message| sum.wrapping_add(message.sum()))
}

/// What one side moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl Tally {
    #[inline(always)]
    pub(crate) fn add(&mut self, count: u64, sum: u64) {
        self.count += count;
        self.sum = self.sum.wrapping_add(sum);
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }
}
