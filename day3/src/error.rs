//! What can go wrong with a ring: one enum per operation.

use std::time::Duration;

use common::{CapacityError, NameError};
use day2::{LockError, OpenError};

use crate::control::{NAME_BYTES, SLOTS};
use crate::sequencer::Nothing;

/// Why a ring could not be created. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is none that a queue can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The capacity is none that a ring can have.
    #[error(transparent)]
    Capacity(#[from] CapacityError),
    /// The segment could not be created; a second producer of one name ends here.
    #[error(transparent)]
    Segment(#[from] day2::CreateError),
}

/// Why a consumer could not join, or a tap not open. The ring goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The name is none that a queue can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The segment could not be opened, or holds something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another consumer was joining all the time.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Every slot is taken.
    #[error(
        "all {SLOTS} consumer slots are taken: let one leave, evict a dead one, or use a tap, \
         which needs no slot"
    )]
    TooManyConsumers,
    /// A group's name that does not fit.
    #[error("a group's name has 1 to {NAME_BYTES} bytes and no NUL, found {found:?}: change it")]
    GroupName {
        /// The name as it was given.
        found: String,
    },
}

/// Every place that was asked for lies a lap before a message that somebody has yet to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full: its slowest consumer is a lap behind; send later, or wait with send")]
pub struct Full;

/// Why no places could be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// Not now.
    #[error(transparent)]
    Full(#[from] Full),
    /// Not ever.
    #[error("{asked} places were asked for at once, the ring has {capacity}: ask for fewer")]
    TooMany {
        /// Places asked for.
        asked: usize,
        /// Places that there are.
        capacity: u64,
    },
}

/// Nothing changed before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing changed within {0:?}: wait longer, or look at who lags (fanout stat)")]
pub struct TimedOut(
    /// How long the call was to wait.
    pub Duration,
);

/// Why a message was not sent; it was not published, not even in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendTimeoutError {
    /// The ring stayed full.
    #[error("the ring stayed full for {0:?}: its slowest consumer is a lap behind (fanout stat)")]
    TimedOut(Duration),
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

impl From<Nothing> for TryRecvError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty => Self::Empty,
            Nothing::Closed => Self::End(RecvError::Closed),
            Nothing::Evicted => Self::End(RecvError::Evicted),
        }
    }
}
