//! Looking at a ring without taking part in it.

use std::sync::Arc;
use std::time::Duration;

use common::QueueName;
use common::sync::Ordering;
use day2::{Kind, LockError, Mode, OpenError, Segment};

use crate::control::Ending;
use crate::doorbell;
use crate::memory::{self, Memory, NamedMemory, Shared};
use crate::roster::{self, Burial, ConsumerInfo, EvictError, GroupInfo};

/// Watches a ring of whatever messages, or of records, read-only and unnoticed.
#[derive(Debug)]
pub struct Observer {
    memory: NamedMemory,
}

/// A ring at one moment, as far as an observer can tell while the ring moves on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the segment holds. In a ring of records, capacity, sequences and lags count bytes.
    pub kind: Kind,
    /// Name of the message type.
    pub message_type: String,
    /// Size of a message in bytes.
    pub message_size: u64,
    /// Alignment of a message in bytes.
    pub message_align: u64,
    /// How many messages the ring holds.
    pub capacity: u64,
    /// Size of the whole segment in bytes.
    pub bytes: u64,
    /// The sequence of the first message ever.
    pub first: u64,
    /// Everything before this sequence is published.
    pub published: u64,
    /// Nothing from this sequence on is being written.
    pub reserved: u64,
    /// The number that tells this queue from all others, and that it has in common with its copies.
    pub identity: u64,
    /// Whether the producer has closed the ring, however it ended.
    pub closed: bool,
    /// How the producer has ended.
    pub ending: Ending,
    /// The process that the producer said it runs in; another pid namespace has other numbers.
    pub producer_pid: u32,
    /// Whether the producer still has the ring open, as the kernel knows.
    pub producer_lives: bool,
    /// How many places the producer waits for; 0 while it does not wait.
    pub waits_for: u64,
    /// How many producers have taken over from a dead one.
    pub epoch: u64,
    /// How many consumers the ring has room for.
    pub slots: usize,
    /// The groups whose place the ring knows.
    pub groups: Vec<GroupInfo>,
    /// Whether consumers have [private rooms](crate::rooms). Then how far they are is as of the producer's last look at
    /// them; and whether they are alive is known to the producer's process alone.
    pub private: bool,
    /// The registered consumers.
    pub consumers: Vec<ConsumerInfo>,
}

/// What can be watched; errors name the first.
const KINDS: [Kind; 2] = [Kind::Ring, Kind::Records];

impl Observer {
    /// Opens the ring `name`, waiting up to `timeout` for a producer that is just creating it.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(name: &QueueName, timeout: Duration) -> Result<Self, OpenError> {
        Ok(Self { memory: NamedMemory::open_any(name, Mode::Observer, &KINDS, timeout)? })
    }

    /// Looks at the ring in this segment, however it was found.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn of(segment: Segment) -> Result<Self, OpenError> {
        let name = segment.name().clone();
        Ok(Self { memory: NamedMemory::of(segment, &name, &KINDS)? })
    }

    /// The ring as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let geometry = self.memory.segment().geometry();
        let control = self.memory.control();
        let private = control.has_rooms();
        let consumers = match private {
            // Who of them lives, their pages say, which nobody but their host has.
            true => roster::list(control),
            false => roster::list_with_lives(control, |role| self.memory.is_leased(role)),
        };
        Snapshot {
            kind: geometry.kind(),
            message_type: geometry.message_type().to_owned(),
            message_size: geometry.element_size(),
            message_align: geometry.element_align(),
            capacity: geometry.capacity(),
            bytes: geometry.total_len(),
            first: geometry.first(),
            published: control.published().get(),
            reserved: control.head.reserved.load(Ordering::Relaxed),
            identity: geometry.identity(),
            closed: control.is_closed(),
            ending: control.ending(),
            producer_pid: control.producer_pid(),
            producer_lives: self.memory.segment().has_producer(),
            waits_for: control.wanted(),
            epoch: control.epoch(),
            slots: control.consumers(),
            groups: roster::groups(control),
            private,
            consumers,
        }
    }
}

/// Takes its slot from a consumer of the ring `name`, dead or alive, from outside; says whether it has, as
/// [`roster::evict`].
///
/// # Errors
///
/// [`OpenError`].
///
/// # Safety
///
/// As for [`roster::evict`].
pub unsafe fn evict(
    name: &QueueName,
    consumer: &ConsumerInfo,
    timeout: Duration,
) -> Result<bool, OpenError> {
    let shared = attach(name, timeout)?;
    // SAFETY: the caller says so.
    Ok(unsafe { roster::evict(&shared, consumer) })
}

/// Frees the slot of a consumer of the ring `name` that is dead, from outside; what a dead member of a group had
/// claimed waits for another one.
///
/// # Errors
///
/// [`EvictDeadError`].
pub fn evict_dead(
    name: &QueueName,
    consumer: &ConsumerInfo,
    timeout: Duration,
) -> Result<Burial, EvictDeadError> {
    Ok(roster::evict_dead(&attach(name, timeout)?, consumer)?)
}

/// Opens a ring from outside, to change its roster.
fn attach(name: &QueueName, timeout: Duration) -> Result<Shared, OpenError> {
    let memory = NamedMemory::open_any(name, Mode::Reader, &KINDS, timeout)?;
    doorbell::attach(&memory.control().doorbell.producer);
    doorbell::attach(&memory.control().doorbell.consumers);
    Ok(Shared::new(Arc::new(memory)))
}

/// Why a consumer was not evicted from outside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvictDeadError {
    /// The ring could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The consumer is alive.
    #[error(transparent)]
    Evict(#[from] EvictError),
}

/// Why a group could not be forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The ring could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A consumer has been joining all the time.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Forgets, from outside, the place of a group of the ring `name` that has no living member: it no longer holds
/// the producer back, what its dead members had claimed is given up, and a member that joins begins anew. Says whether there was such a group.
///
/// # Errors
///
/// [`ForgetError`].
pub fn forget(name: &QueueName, group: &str, timeout: Duration) -> Result<bool, ForgetError> {
    Ok(memory::forget(&attach(name, timeout)?, group, timeout)?)
}

impl Snapshot {
    /// How many messages have been sent.
    pub fn sent(&self) -> u64 {
        self.published.wrapping_sub(self.first)
    }

    /// The consumer that is furthest behind, if any is: the one that gates the producer.
    pub fn gating(&self) -> Option<&ConsumerInfo> {
        self.consumers
            .iter()
            .filter(|consumer| consumer.lag > 0 && consumer.gates())
            .max_by_key(|consumer| consumer.lag)
    }
}
