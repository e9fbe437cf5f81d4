//! Exercise 2: what of a lot is stored?

use crate::lots::{Answer, Tail};

/// A bridge has sent messages, and something went wrong: it does not know which of them arrived. So it asks the stream for its last
/// message, and decides what to do.
///
/// The bridge holds a lot of the queue `identity`. Its first message has the sequence `first`, and the messages take so many
/// bytes of the ring each (`lengths`). `tail` is the end of the stream's last message; `None` if the stream is
/// empty. Messages of a queue stand in the stream in order, without a gap. Sequences count bytes, and go on at 0 behind
/// `u64::MAX`; two sequences of one queue are never half of that apart.
///
/// So many messages of the lot are `Stored`. A stream that is empty, or ends with another queue, is a place to begin. One that
/// ends before the lot has a `Gap`. One that ends within a message of the lot, or behind the lot, holds something else
/// (`Boundary`). The three stand in `bridge/tests/lots/mod.rs`.
pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let _ = (identity, first, lengths, tail);
    Answer::Stored(0)
}
