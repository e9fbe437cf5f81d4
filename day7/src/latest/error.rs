//! What can go wrong with a latest value.

use std::time::Duration;

/// Why there will be no newer value. The last one can still be got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The writer is done.
    #[error("the writer is done: what get returns is its last value")]
    Closed,
    /// The writer's process has died, or its thread has panicked. A successor may take over: then there are newer values
    /// again.
    #[error(
        "the writer died: what get returns is its last value; start it again, with or_resume, and ask again for a newer \
         one"
    )]
    WriterDied,
}

/// Why there was no newer value in time.
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangedTimeoutError {
    /// There may be one later.
    #[error(
        "no newer value came within {0:?}: wait longer, or go on with the one that get returns"
    )]
    TimedOut(Duration),
    /// There will be none.
    #[error(transparent)]
    End(#[from] Ended),
}
