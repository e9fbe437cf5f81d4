//! What can go wrong with topics: one enum per operation.

use std::time::Duration;

use common::{NameError, QueueName};
use day2::{LeaseError, LockError, OpenError};

use crate::selector::SelectorError;

use super::names::{PatternError, TopicError};

/// Why a space could not be opened, or why a publisher or a subscriber could not register in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinSpaceError {
    /// The name is none that a space can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is too long for those of the publishers' rings, which begin with it.
    #[error("the name of a topic space has at most {most} bytes, found {found}: shorten it")]
    LongName {
        /// The most bytes that it may have.
        most: usize,
        /// How many it has.
        found: usize,
    },
    /// The segment could not be opened, or holds something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The segment could not be created.
    #[error(transparent)]
    Create(#[from] day2::CreateError),
    /// Others came and went all the time.
    #[error("{name} was created and removed by others for {waited:?}: try again")]
    Unsteady {
        /// The space.
        name: QueueName,
        /// How long this call tried.
        waited: Duration,
    },
    /// Another process was registering all the time.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The kernel gave no lease for a place in the register.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// All places of publishers, or of patterns, are taken.
    #[error(
        "all {most} places for {what} in this topic space are taken: let one leave, or use another space"
    )]
    Full {
        /// What there is no place for.
        what: &'static str,
        /// How many places there are.
        most: usize,
    },
    /// There is no selector for a subscriber to sleep in.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A pattern that is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A subscriber without a pattern.
    #[error("a subscriber wants at least one pattern, found none: > matches all topics")]
    NoPattern,
    /// A publisher's ring could not be created.
    #[error("creating the publisher's ring: {0}")]
    Ring(#[from] day4::CreateError),
    /// A publisher's ring could not be joined.
    #[error("joining the ring {ring} of a publisher: {error}")]
    Join {
        /// The ring.
        ring: QueueName,
        /// Why not.
        error: Box<day3::JoinError>,
    },
}

/// Why a message was not published, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The publisher's ring does not take it.
    #[error(transparent)]
    Send(#[from] day4::SendError),
}

/// Why a message was not published now.
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryPublishError {
    /// A subscriber has yet to read what lies in the way, or has yet to join.
    #[error(
        "the publisher's ring is full: its slowest subscriber is a lap behind; publish later, or wait with publish"
    )]
    Full,
    /// It will not be published later either.
    #[error(transparent)]
    End(#[from] PublishError),
}

/// Why there is no message. A subscriber goes on after that, but in a forked child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// This process is a child that was forked from the subscriber's.
    #[error(
        "this process was forked from the subscriber's, which goes on reading: subscribe again in the child"
    )]
    Forked,
    /// The ring of a publisher that has come could not be joined: none of its messages will be heard. If descriptors or
    /// memory were short, it is tried again, and then all of them are; this is said once.
    #[error(transparent)]
    Join(#[from] JoinSpaceError),
}

/// Why there was no message in time.
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Debug, thiserror::Error)]
pub enum RecvTimeoutError {
    /// There may be one later.
    #[error("no message came within {0:?}: wait longer, or look who publishes (fanout topic ls)")]
    TimedOut(Duration),
    /// Something is wrong.
    #[error(transparent)]
    End(#[from] RecvError),
}
