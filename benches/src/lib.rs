//! Fanout beside its rivals, doing the same work: every word of every message is written and summed,
//! and a run whose counts or sums differ is a failure, not a figure.

pub mod contenders;
pub mod machine;
pub mod race;

/// What every contender moves: 64 bytes.
pub type Packet = common::payload::Message<8>;
