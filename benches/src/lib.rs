//! Fanout beside its rivals, doing the same work: every byte of every message is written and read, and
//! a run whose counts or sums differ is a failure, not a figure.

pub mod chart;
mod child;
pub mod contenders;
pub mod crew;
pub mod idle;
pub mod interrupt;
pub mod line;
pub mod load;
pub mod many;
pub mod measure;
pub mod page;
pub mod question;
pub mod report;
pub mod task;

/// What every ring of messages of one size moves: 64 bytes.
pub type Packet = yardstick::payload::Message<8>;
