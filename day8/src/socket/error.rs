//! What can go wrong with a socket.

use std::io;
use std::time::Duration;

use crate::heap::HeapError;

/// Why a socket gives or takes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The other end did not do its part in time.
    #[error("the other end has {} for {after:?}", if *.to_write { "not read" } else { "sent nothing" })]
    TimedOut {
        /// How long was waited.
        after: Duration,
        /// Whether it was to read what was written to it.
        to_write: bool,
    },
    /// What was asked for is longer than allowed.
    #[error(
        "more than {limit} bytes came before the end of a line, or of what else was read at once"
    )]
    TooLong {
        /// So long it may be, in bytes.
        limit: usize,
    },
    /// The input has ended in the middle.
    #[error("the input has ended, and {missing} bytes are missing")]
    Ended {
        /// How many are missing.
        missing: u64,
    },
    /// The other end is gone: nothing can be sent to it.
    #[error("the other end has gone: {0}")]
    Disconnected(io::Error),
    /// This end has said that nothing more comes.
    #[error("this end was finished before: nothing more can be written to it")]
    Finished,
    /// The kernel refuses.
    #[error(transparent)]
    Io(io::Error),
    /// The coroutine's heap has no room for a buffer.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// Whatever the service has to say.
    #[error("{0}")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected => Self::Disconnected(error),
            _ => Self::Io(error),
        }
    }
}

impl SocketError {
    /// An error of the service's own.
    pub fn service(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Service(error.into())
    }
}
