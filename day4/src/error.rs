//! What can go wrong only with a ring of records.

use crate::frame::record_len;

pub use day3::{
    Corrupt, CreateError, Evicted, JoinError, RecvError, RecvTimeoutError, ResumeError, SendError,
    SendTimeoutError, TimedOut, TooLarge, TryRecvError, TrySendError,
};

/// The batch has no room for this message; what it holds can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the batch has {room} bytes of ring left, a message of {len} takes {}: publish, and begin another",
    record_len(*.len)
)]
#[non_exhaustive]
pub struct BatchFull {
    /// Length of the message in bytes.
    pub len: usize,
    /// Bytes of ring that the batch has left, headers and padding included.
    pub room: usize,
}

/// Why a message was not scattered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The message is longer than the buffers together; it comes again with the next call.
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
