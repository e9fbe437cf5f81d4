//! What can go wrong with a ring: one enum per operation.

use std::time::Duration;

use common::{CapacityError, NameError, OsError, QueueName};
use day2::{LeaseError, LockError, OpenError, RemoveError, SucceedError};

use crate::control::{MOST_SLOTS, NAME_BYTES};
use crate::policy::Policy;
use crate::sequencer::{CannotResume, Refusal, Unavailable};

/// Why a ring could not be created. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// This process has no memory for a ring of that size.
    #[error("no memory for the {bytes} bytes of the ring: choose a smaller capacity")]
    NoMemory {
        /// The bytes that the ring needs.
        bytes: usize,
    },
    /// The queue of that name could not be taken over from its dead producer.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The queue of that name could not be replaced.
    #[error(transparent)]
    Replace(#[from] RemoveError),
    /// No ring has room for so many consumers.
    #[error(
        "a queue has room for 1 to {MOST_SLOTS} consumers, found {found}: choose such a number"
    )]
    Consumers {
        /// What was asked for.
        found: usize,
    },
    /// Frames of a ring of records lie at multiples of 8 (Day 4).
    #[error("the first sequence of a ring of records is a multiple of 8, found {found}: round it")]
    First {
        /// What was asked for.
        found: u64,
    },
    /// The kernel would not map the data of a ring of records twice (Day 4).
    #[error(
        "mapping the ring's data twice failed: {0}: choose a smaller capacity, or allow more \
         address space (ulimit -v)"
    )]
    Mirror(std::io::Error),
}

/// Why a queue could not be taken over from a producer that has died. The queue is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The name is none that a queue can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The queue has a producer, or this process cannot become one.
    #[error(transparent)]
    Succeed(#[from] SucceedError),
    /// The segment holds something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The producer had closed the queue before it died.
    #[error(
        "{name} was closed by its producer, which has died since: nothing can be sent any more; remove it (fanout \
         clean), or replace it (or_replace)"
    )]
    Ended {
        /// The queue's name.
        name: QueueName,
    },
    /// The ring's cursors are not what they should be.
    #[error(
        "expected at most {capacity} to be reserved beyond what is published, found {published} published and \
         {reserved} reserved: another process wrote over the ring's cursors; replace it (or_replace)"
    )]
    Corrupt {
        /// What is said to be published.
        published: u64,
        /// What is said to be reserved.
        reserved: u64,
        /// What the ring has room for.
        capacity: u64,
    },
    /// No mark of a ring of records leads to what was published last (Day 4).
    #[error(
        "no mark of {name} leads to its last message: its memory was written by another; replace it (or_replace)"
    )]
    Trail {
        /// The queue's name.
        name: QueueName,
    },
    /// The kernel would not map the data of a ring of records twice (Day 4).
    #[error("mapping the ring's data twice failed: {0}: allow more address space (ulimit -v)")]
    Mirror(OsError),
}

impl ResumeError {
    /// The error for the queue of this name.
    pub fn new(name: &QueueName, why: CannotResume) -> Self {
        match why {
            CannotResume::Ended => Self::Ended { name: name.clone() },
            CannotResume::Corrupt { published, reserved, capacity } => {
                Self::Corrupt { published, reserved, capacity }
            }
        }
    }
}

/// Why a consumer could not join, or a tap not open. The ring goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
        "all {most} consumer slots are taken{}, use a tap, which needs no slot, or create the queue for more \
         consumers",
        by_the_dead(*.dead)
    )]
    TooManyConsumers {
        /// How many there are.
        most: usize,
        /// How many of them belong to members that are dead, and held messages: these wait for another member.
        dead: usize,
    },
    /// In this queue each consumer has a page of its own, and the members of a group would have to share one.
    #[error(
        "this queue gives each consumer a page of its own, so it has no groups: join it as a consumer or as a tap, or \
         create it without private rooms"
    )]
    NoGroups,
    /// The producer's process, which registers the consumers of this queue, has not done so.
    #[error("{name} is handed out by its producer's process: {why}")]
    Host {
        /// The queue's name, or where its server listens.
        name: String,
        /// Why not.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The producer lets in only consumers that promise to go when they lag.
    #[error(
        "this queue lets in only consumers that promise to go when they have held it back for {limit:?}, or that are \
         lossy: join it as one of these (JoinOptions::policy, fanout sub --policy), or as a tap"
    )]
    LagLimit {
        /// The longest promise that it accepts.
        limit: Duration,
    },
    /// The kernel gave no lease for a slot.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The ring's cursors are not what they should be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// Every group line is taken.
    #[error(
        "all {most} group lines belong to groups that have members or hold the producer back: let one \
         leave, or have the producer forget one that nobody needs"
    )]
    TooManyGroups {
        /// How many there are.
        most: usize,
    },
    /// This end cannot keep this promise.
    #[error(
        "found the policy {policy}, which this end cannot promise: what blocks goes with Consumer, Reader and Member, \
         which borrow messages where they lie; evict with Evictable; lossy with Tap::join"
    )]
    Policy {
        /// The policy that was asked for.
        policy: Policy,
    },
    /// A group's name that does not fit.
    #[error("a group's name has 1 to {NAME_BYTES} bytes and no NUL, found {found:?}: change it")]
    GroupName {
        /// The name as it was given.
        found: String,
    },
}

/// What is said of slots that dead members keep.
fn by_the_dead(dead: usize) -> String {
    match dead {
        0 => " by consumers that are alive: let one leave".to_owned(),
        dead => format!(
            ", {dead} of them for dead members of groups, whose messages wait for another member (fanout stat): start \
             one, forget the group (fanout forget)"
        ),
    }
}

/// More than a ring ever has room for at once. Nothing was sent, and the ring can be used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{len} do not fit: this ring takes at most {most} at once; \
     send less at once, or create the ring with a larger capacity"
)]
#[non_exhaustive]
pub struct TooLarge {
    /// Places (in a ring of records: bytes of a message) that were asked for.
    pub len: usize,
    /// The most that fit.
    pub most: usize,
}

impl TooLarge {
    /// `len` were asked for where `most` fit.
    pub const fn new(len: usize, most: usize) -> Self {
        Self { len, most }
    }
}

/// Why something was not sent, and will not be, however long one waits. Nothing of it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// This producer has closed the ring.
    #[error("this producer has closed the queue: nothing can be sent any more; create another")]
    Closed,
    /// No consumer is registered, and the ring was created to refuse messages then.
    #[error(
        "no consumer is registered, and the queue was created to refuse messages then: \
         start a consumer, or create the queue with another Unattended"
    )]
    Abandoned,
    /// It never fits.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// These bytes are no whole messages (an end that does not know the message type).
    #[error(
        "expected whole messages of {size} bytes, found {len} bytes: send a multiple of {size} bytes"
    )]
    Uneven {
        /// How many bytes were to be sent.
        len: usize,
        /// How many of them a message has.
        size: usize,
    },
    /// This process is a child that was forked from the producer's.
    #[error(
        "this process was forked from the producer's, which goes on sending: a queue has one producer; create \
         another queue in the child"
    )]
    Forked,
}

/// Why something was not sent now. Nothing of it was published.
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// A consumer has yet to read what lies in the places that were asked for.
    #[error(
        "the ring is full: its slowest consumer is a lap behind; send later, or wait with send"
    )]
    Full,
    /// It will not be sent later either.
    #[error(transparent)]
    End(#[from] SendError),
}

/// Why something was not sent in time. Nothing of it was published.
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendTimeoutError {
    /// The ring stayed full.
    #[error("the ring stayed full for {0:?}: its slowest consumer is a lap behind (fanout stat)")]
    TimedOut(Duration),
    /// It will not be sent later either.
    #[error(transparent)]
    End(#[from] SendError),
}

/// Nothing changed before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing changed within {0:?}: wait longer, or look at who lags (fanout stat)")]
#[non_exhaustive]
pub struct TimedOut(
    /// How long the call was to wait.
    pub Duration,
);

/// The shared memory holds what no producer and no consumer writes that keeps to the protocol. The consumer
/// goes no further; everything before has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// A cursor says that more is to be read than the ring has room for.
    #[error(
        "expected at most {capacity} to be published from sequence {next} on, found {found}: \
         another process wrote over the ring's cursors; start the queue again under a new name"
    )]
    Cursor {
        /// The next sequence to read.
        next: u64,
        /// What the cursor says instead.
        found: u64,
        /// What the ring has room for.
        capacity: u64,
    },
    /// In a ring of records, there is no record where one should begin.
    #[error(
        "expected a record at byte {sequence} of the ring, of at most {room} bytes, found \
         {found:#018x}: its producer is broken or its memory was written by another; start it again \
         under a new name"
    )]
    Record {
        /// Where the record should begin.
        sequence: u64,
        /// How many bytes are published from there on.
        room: u64,
        /// The word in the place of its header.
        found: u64,
    },
}

/// Why there is no message, and will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The producer has closed, and everything promised has been read.
    #[error("the producer has closed the queue, and everything is read")]
    Closed,
    /// The producer gave up before it had sent everything; what it had sent has been read. The
    /// consumer's `ending` says why.
    #[error("the producer gave up before it was done, and what it had sent is read")]
    Aborted,
    /// The producer took this consumer for dead and freed its slot.
    #[error("the producer has evicted this consumer: join again to go on")]
    Evicted,
    /// The producer has died before it was done, and everything that it had published has been read. A
    /// successor may take over: a consumer that [follows](crate::JoinOptions::follow) waits for it.
    #[error(
        "the producer died before it closed the queue, and everything is read: start it again, and join again; or \
         join with follow, to wait for its successor"
    )]
    ProducerDied,
    /// This process is a child that was forked from the consumer's.
    #[error(
        "this process was forked from the consumer's, which goes on reading: join again in the child to \
         read here, too"
    )]
    Forked,
    /// The shared memory is not what it should be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The producer has hung up without closing: it was killed, or no longer signals descriptors (Day 5).
    ///
    /// What it had published has been read. If it lives, the queue goes on for a consumer that waits in
    /// another way.
    #[error(
        "the producer hung up without closing the queue, and everything is read: it was killed, or \
         waits in another way now; see fanout stat, and join again"
    )]
    HungUp,
}

/// Why there is no message now.
///
/// There are these two answers for good, so a `match` needs no third arm.
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
///
/// There are these two answers for good, so a `match` needs no third arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvTimeoutError {
    /// There may be one later.
    #[error("no message came within {0:?}: wait longer, or ask what the producer does")]
    TimedOut(Duration),
    /// There will be none.
    #[error(transparent)]
    End(#[from] RecvError),
}

/// What was lent cannot be trusted: the producer may have overwritten it while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the messages to stay until they were given back, found that this consumer was evicted meanwhile, or that \
     this process was forked from the consumer's: throw away what was read of them, and join again"
)]
pub struct Evicted;

impl From<Unavailable> for TryRecvError {
    #[inline]
    fn from(nothing: Unavailable) -> Self {
        match nothing {
            Unavailable::Empty => Self::Empty,
            Unavailable::Closed => Self::End(RecvError::Closed),
            Unavailable::Aborted => Self::End(RecvError::Aborted),
            Unavailable::Evicted => Self::End(RecvError::Evicted),
            Unavailable::ProducerDied => Self::End(RecvError::ProducerDied),
            Unavailable::Forked => Self::End(RecvError::Forked),
            Unavailable::Corrupt { next, found, capacity } => {
                Self::End(RecvError::Corrupt(Corrupt::Cursor { next, found, capacity }))
            }
        }
    }
}

impl From<Refusal> for TrySendError {
    #[inline]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Full,
            Refusal::Closed => Self::End(SendError::Closed),
            Refusal::Abandoned => Self::End(SendError::Abandoned),
            Refusal::Forked => Self::End(SendError::Forked),
        }
    }
}

impl From<Corrupt> for TryRecvError {
    fn from(corrupt: Corrupt) -> Self {
        Self::End(RecvError::Corrupt(corrupt))
    }
}
