//! What can go wrong with a ring of records: one enum per operation.

use std::time::Duration;

use common::{CapacityError, NameError};
use day3::Full;
use day3::sequencer::Nothing;
use nix::errno::Errno;

/// Why a ring of records could not be created. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is none that a queue can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The capacity is none that a ring can have.
    #[error(transparent)]
    Capacity(#[from] CapacityError),
    /// Frames lie at multiples of 8.
    #[error("the first sequence of a ring of records is a multiple of 8, found {found}: round it")]
    First {
        /// What was asked for.
        found: u64,
    },
    /// The segment could not be created; a second writer of one name ends here.
    #[error(transparent)]
    Segment(#[from] day2::CreateError),
    /// The kernel would not map the data twice.
    #[error(
        "mapping the ring's data twice failed: {0}: choose a smaller capacity, or allow more \
         address space (ulimit -v)"
    )]
    Mirror(Errno),
}

/// A message that this ring never has room for. Nothing was sent, and the ring can be used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of {len} bytes does not fit: the longest for this ring has {most}; \
     send less at once, or create the ring with a larger capacity"
)]
pub struct TooLarge {
    /// Bytes that were to be sent, or asked for.
    pub len: usize,
    /// The longest message that fits.
    pub most: usize,
}

/// Why a message was not sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// Not now.
    #[error(transparent)]
    Full(#[from] Full),
    /// Not ever.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Why a message was not sent in time; it was not published, not even in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendTimeoutError {
    /// The ring stayed full.
    #[error("the ring stayed full for {0:?}: its slowest consumer is a lap behind (fanout stat)")]
    TimedOut(Duration),
    /// Not ever.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The batch has no room for this message; what it holds can be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the batch has {room} bytes of ring left, a message of {len} takes {}: commit, and begin another",
    crate::frame::record_len(*.len)
)]
pub struct BatchFull {
    /// Length of the message in bytes.
    pub len: usize,
    /// Bytes of ring that the batch has left, headers and padding included.
    pub room: usize,
}

/// What lies where a record should begin is none.
///
/// Only the producer can write there, so it is a broken one, or something else wrote to its memory.
/// The consumer goes no further; everything before has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a record at byte {sequence} of the ring, of at most {room} bytes, found {found:#018x}: \
     its producer is broken or its memory was written by another; start it again under a new name"
)]
pub struct Corrupt {
    /// Where the record should begin.
    pub sequence: u64,
    /// How many bytes are published from there on.
    pub room: u64,
    /// The word in the place of its header.
    pub found: u64,
}

/// Why there is no message, and will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The producer has closed, and everything promised has been read.
    #[error("the producer has closed the queue, and everything is read")]
    Closed,
    /// The producer took this consumer for dead and freed its slot.
    #[error("the producer has evicted this consumer: join again to go on")]
    Evicted,
    /// There is no telling where the next message begins.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Why there is no message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// There may be one later.
    #[error("no message is waiting: try later, or wait with recv")]
    Empty,
    /// There will be none.
    #[error(transparent)]
    End(#[from] RecvError),
}

/// Why there was no message in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvTimeoutError {
    /// There may be one later.
    #[error("no message came within {0:?}: wait longer, or ask what the producer does")]
    TimedOut(Duration),
    /// There will be none.
    #[error(transparent)]
    End(#[from] RecvError),
}

/// Why a message was not scattered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is longer than the buffers together; it is still there.
    #[error(
        "a message of {len} bytes was to be read into {room}: it is still there; give it more room"
    )]
    NoRoom {
        /// Length of the message in bytes.
        len: usize,
        /// Bytes in the buffers.
        room: usize,
    },
    /// There is no message, and will be none.
    #[error(transparent)]
    End(#[from] RecvError),
}

impl From<Nothing> for TryRecvError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty => Self::Empty,
            Nothing::Closed => Self::End(RecvError::Closed),
            Nothing::Evicted => Self::End(RecvError::Evicted),
        }
    }
}

impl From<Corrupt> for TryRecvError {
    fn from(corrupt: Corrupt) -> Self {
        Self::End(RecvError::Corrupt(corrupt))
    }
}
