//! What an end may be in a queue.

use core::fmt;

/// What one process at a time may be in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The queue's producer.
    Producer,
    /// The consumer in the slot of this number.
    Slot(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer => f.write_str("producer"),
            Self::Slot(slot) => write!(f, "consumer slot {slot}"),
        }
    }
}
