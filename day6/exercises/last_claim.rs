//! Exercise 2: who won the last claim?

use std::ops::Range;

/// A claim: this member has taken everything before `end` that nobody had taken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The member that won it; `None` where the group began.
    pub(crate) winner: Option<usize>,
    /// The number after that of the last message in it.
    pub(crate) end: u64,
}

/// The cursor of a member that holds nothing.
pub(crate) const PARKED: u64 = u64::MAX;

/// What stands in shared memory when a member is found dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    /// The dead member.
    pub(crate) dead: usize,
    /// Its cursor: it holds nothing before this, and nothing at all if this is [`PARKED`].
    pub(crate) cursor: u64,
    /// Where the claim ends that it has tried last; written before it tried.
    pub(crate) intent: u64,
    /// Where the claim ends that it has won last; written after it had won, if it lived to write it.
    pub(crate) won: u64,
    /// A claim that it has won, as another member wrote into its line.
    pub(crate) helped: Option<Claim>,
    /// The group's word: the last claim of all.
    pub(crate) word: Claim,
    /// The logs of the other members: claims that they have replaced in the word.
    pub(crate) logs: &'a [Claim],
}

/// The messages that the dead member had claimed and not given back: another member is to get these, and no others.
/// Where it held nothing, the range is empty.
pub(crate) fn held(left: &Left<'_>) -> Range<u64> {
    let _ = left;
    0..0
}
