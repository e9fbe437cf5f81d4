//! What can go wrong with a segment: one enum per operation.

use core::fmt;
use std::time::Duration;

use common::{NameError, OsError, QueueName};
use nix::errno::Errno;

use crate::header::{Kind, MOST_TYPE_NAME};
use crate::lease::Role;
use crate::segment::Segment;

/// Why a segment could not be created. Nothing is left behind, and no other segment is touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name is not a valid queue name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An object of this name is already there.
    #[error("{name} is taken {by}")]
    Taken {
        /// The name asked for.
        name: QueueName,
        /// Who has it.
        by: Holder,
    },
    /// A message type without bytes, or aligned to more than a page or to no power of two.
    #[error(
        "a message has 1 byte or more and is aligned to a power of two, at most a page, \
         found size {size} and alignment {align}: choose another type"
    )]
    Element {
        /// Size of the message type in bytes.
        size: u64,
        /// Its alignment in bytes.
        align: u64,
    },
    /// The name of the message type is longer than the header's field for it.
    #[error(
        "the name of the message type has {found} bytes, the header has room for {most}: \
         give it a shorter name"
    )]
    TypeName {
        /// Length of the name in bytes.
        found: usize,
        /// Most bytes that fit.
        most: usize,
    },
    /// The segment would have more bytes than can be addressed.
    #[error(
        "{capacity} messages of {size} bytes are more than can be addressed: \
         choose a smaller capacity"
    )]
    TooLarge {
        /// How many messages were asked for.
        capacity: u64,
        /// Size of each in bytes.
        size: u64,
    },
    /// `/dev/shm` has no room for this many bytes.
    #[error(
        "/dev/shm has no room for the {bytes} bytes of {name}: \
         choose a smaller capacity, or free some (df -h /dev/shm)"
    )]
    NoSpace {
        /// The name asked for.
        name: QueueName,
        /// The bytes that the segment needs.
        bytes: u64,
    },
    /// The kernel does not let this process create it.
    #[error("no permission to create {name} in /dev/shm: check who may write there")]
    Permission {
        /// The name asked for.
        name: QueueName,
    },
    /// The kernel refused for another reason.
    #[error("creating {name}: {call} failed: {errno}")]
    System {
        /// The name asked for.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// Who has a name that was to be given to a new queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A queue whose producer is alive.
    Living,
    /// A queue whose producer has died.
    Dead,
    /// Something else than a queue, or an object that this process may not open.
    Stranger,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Living => "by a queue whose producer is alive: choose another name",
            Self::Dead => {
                "by a queue whose producer has died: take it over (or_resume), replace it (or_replace), or remove \
                 it (fanout clean)"
            }
            Self::Stranger => {
                "by an object that is no queue, or that this process may not open: choose another name"
            }
        })
    }
}

/// Why a segment could not be opened. The object is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name is not a valid queue name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no object of this name.
    #[error("no queue {name}: start its producer first, or check the name (fanout ls)")]
    NotFound {
        /// The name asked for.
        name: QueueName,
    },
    /// The object is a socket. A private queue (Day 6) has one in its place: the producer's process hands the queue out
    /// there, and nobody else can write it.
    #[error(
        "{name} is a socket, expected a queue that this process may write: a private queue is changed by its producer \
         alone; join it, or look at it (fanout sub, fanout stat)"
    )]
    Socket {
        /// The name asked for.
        name: QueueName,
    },
    /// The object is a folder, a pipe, a device or a link.
    #[error("{name} is no queue: it is a folder, a pipe or a link; choose another name")]
    NotRegular {
        /// The name asked for.
        name: QueueName,
    },
    /// The creator has not finished in time. Perhaps it has died, perhaps the object is no queue at
    /// all.
    #[error(
        "{name} is not ready after {waited:?}: its producer is slow or died while creating it, \
         or it is no queue; wait longer, or remove it if nobody uses it (rm /dev/shm{name})"
    )]
    NotReady {
        /// The name asked for.
        name: QueueName,
        /// How long this call waited.
        waited: Duration,
    },
    /// Its first bytes are not those of a queue.
    #[error(
        "{name} is no queue: it begins with \"{}\", a queue with \"{}\"; choose another name",
        .found.to_le_bytes().escape_ascii(),
        .expected.to_le_bytes().escape_ascii()
    )]
    Magic {
        /// The name asked for.
        name: QueueName,
        /// [`MAGIC`](crate::header::MAGIC).
        expected: u64,
        /// The first eight bytes, as a number.
        found: u64,
    },
    /// The queue belongs to another version of Fanout.
    #[error(
        "{name} has layout version {found}, this program reads version {expected}: \
         build both sides from one version"
    )]
    Version {
        /// The name asked for.
        name: QueueName,
        /// The version that this program reads.
        expected: u32,
        /// The version found.
        found: u32,
    },
    /// The queue is of another kind.
    #[error("{name} is a {found}, expected a {expected}: open it with the program for its kind")]
    Kind {
        /// The name asked for.
        name: QueueName,
        /// The kind that this program reads.
        expected: Kind,
        /// The kind found.
        found: Kind,
    },
    /// The queue's messages have another size.
    #[error(
        "{name} holds messages of {found} bytes, expected {expected}: \
         use the producer's message type"
    )]
    ElementSize {
        /// The name asked for.
        name: QueueName,
        /// Size of this program's message type, in bytes.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// The queue's messages have another alignment.
    #[error(
        "{name} holds messages aligned to {found} bytes, expected {expected}: \
         use the producer's message type"
    )]
    ElementAlign {
        /// The name asked for.
        name: QueueName,
        /// Alignment of this program's message type, in bytes.
        expected: u64,
        /// The alignment found.
        found: u64,
    },
    /// The queue has another capacity.
    #[error("{name} has capacity {found}, expected {expected}: ask for the producer's capacity")]
    Capacity {
        /// The name asked for.
        name: QueueName,
        /// The capacity that this program asked for, in messages.
        expected: u64,
        /// The capacity found, in messages.
        found: u64,
    },
    /// The queue's messages have another type of the same size.
    #[error(
        "{name} holds messages of type {found:?}, expected {expected:?}: use the producer's message \
         type; where it is the same struct under another path, give it one name in both programs, \
         such as message_type(\"tick/1\") in QueueOptions and in JoinOptions"
    )]
    MessageType {
        /// The name asked for.
        name: QueueName,
        /// Name of this program's message type.
        expected: String,
        /// The name found.
        found: String,
    },
    /// The object is smaller than its header says; reading it would be a SIGBUS.
    #[error(
        "{name} is {found} bytes long and should have {expected}: \
         it was cut off or damaged; remove it (rm /dev/shm{name}) and start its producer again"
    )]
    Truncated {
        /// The name asked for.
        name: QueueName,
        /// How many bytes the header speaks of, or a header has.
        expected: u64,
        /// How many bytes were found.
        found: u64,
    },
    /// The object is not sealed: its maker could truncate it while it is mapped here, and reading
    /// it would be a SIGBUS.
    #[error(
        "{name} is not sealed against being cut off: expected a memfd made by \
         a Fanout producer; ask the other side for that descriptor"
    )]
    NotSealed {
        /// The name that errors use for the descriptor.
        name: QueueName,
    },
    /// The object is sealed against writing: an end that writes into it needs pages of its own.
    #[error(
        "{name} is sealed against writing: a consumer of this queue gets a page of its own; ask its server for one \
         (Reader::connect, Tap::connect) instead of opening the descriptor"
    )]
    ReadOnly {
        /// The name that errors use for the descriptor.
        name: QueueName,
    },
    /// Another user owns the object, and could cut it short while it is mapped here: reading it would be a SIGBUS.
    #[error(
        "{name} belongs to user {found}, expected {expected}: its owner could cut its {bytes} bytes short and so kill \
         who reads them; join it only if you trust that user (trust_user, fanout sub --trust-user {found})"
    )]
    Owner {
        /// The name asked for.
        name: QueueName,
        /// The user of this process.
        expected: u32,
        /// The object's owner.
        found: u32,
        /// The object's size in bytes.
        bytes: u64,
    },
    /// The header contradicts itself.
    #[error(
        "the header of {name} contradicts itself ({what}): \
         it is damaged; remove it (rm /dev/shm{name}) and start its producer again"
    )]
    Damaged {
        /// The name asked for.
        name: QueueName,
        /// Which part does not fit.
        what: &'static str,
    },
    /// The kernel does not let this process open it.
    #[error("no permission to open {name}: ask its owner for a wider mode than 0600")]
    Permission {
        /// The name asked for.
        name: QueueName,
    },
    /// The kernel refused for another reason.
    #[error("opening {name}: {call} failed: {errno}")]
    System {
        /// The name asked for.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// Why a segment could not be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process or thread held the lock all the time.
    #[error("{name} stayed locked for {waited:?}: another process is stopped while joining it")]
    Busy {
        /// The segment's name.
        name: QueueName,
        /// How long this call waited.
        waited: Duration,
    },
    /// The kernel refused.
    #[error("locking {name}: {call} failed: {errno}")]
    System {
        /// The segment's name.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// Why a role in a queue could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody has the role, perhaps this process.
    #[error(
        "the {role} of {name} is alive: expected a role that nobody has; \
         wait until its process has left or ended"
    )]
    Busy {
        /// The queue's name.
        name: QueueName,
        /// The role asked for.
        role: Role,
    },
    /// The kernel refused.
    #[error("taking a role in {name}: {call} failed: {errno}")]
    System {
        /// The queue's name.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// For a creator, which takes the producer's role before anybody else can.
impl From<LeaseError> for CreateError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Busy { name, .. } => Self::Taken { name, by: Holder::Living },
            LeaseError::System { name, call, errno } => Self::System { name, call, errno },
        }
    }
}

/// Why a queue got no new producer. The queue is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SucceedError {
    /// The object could not be opened as a queue.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The queue has a producer.
    #[error(
        "{name} has a producer that is alive: expected a queue whose producer has died; \
         stop that producer first, or choose another name"
    )]
    Living {
        /// The name asked for.
        name: QueueName,
    },
    /// The kernel refused.
    #[error("becoming the producer of {name}: {call} failed: {errno}")]
    System {
        /// The name asked for.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

impl From<LeaseError> for SucceedError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Busy { name, .. } => Self::Living { name },
            LeaseError::System { name, call, errno } => Self::System { name, call, errno },
        }
    }
}

/// Why a segment was not removed. The object is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The object could not be opened as a queue. Only queues are removed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A producer, a consumer or a tap has the queue open.
    #[error(
        "{name} is in use by {}: stop that first, or remove the name all the same \
         (fanout rm --force {name}); a process that has the queue open keeps it",
        if *.has_producer { "its producer" } else { "a consumer or a tap" }
    )]
    Held {
        /// The name asked for.
        name: QueueName,
        /// Whether it is the producer that has the queue open.
        has_producer: bool,
    },
    /// The kernel refused to unlink it.
    #[error("removing {name}: {call} failed: {errno}")]
    System {
        /// The name asked for.
        name: QueueName,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// For a process that removes a name with the producer's role in hand.
impl From<LeaseError> for RemoveError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Busy { name, .. } => Self::Held { name, has_producer: true },
            LeaseError::System { name, call, errno } => Self::System { name, call, errno },
        }
    }
}

/// Why there is no descriptor to hand to another process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("opening {name} once more through /proc/self/fd failed: {errno}; is /proc mounted?")]
#[non_exhaustive]
pub struct DescriptorError {
    /// The segment's name.
    pub name: QueueName,
    /// What the kernel said.
    pub errno: OsError,
}

impl DescriptorError {
    /// For a queue in memory that has no descriptor to hand over. `name` is what errors call it,
    /// and `errno` says why there is none.
    pub fn new(name: QueueName, errno: OsError) -> Self {
        Self { name, errno }
    }
}

pub(crate) fn create_error(name: &QueueName, call: &'static str, errno: Errno) -> CreateError {
    let name = name.clone();
    match errno {
        Errno::EEXIST => CreateError::Taken { by: Segment::holder(&name), name },
        Errno::EACCES | Errno::EPERM => CreateError::Permission { name },
        errno => CreateError::System { name, call, errno: OsError::new(errno) },
    }
}

pub(crate) fn open_error(name: &QueueName, call: &'static str, errno: Errno) -> OpenError {
    let name = name.clone();
    match errno {
        Errno::ENOENT => OpenError::NotFound { name },
        Errno::EACCES | Errno::EPERM => OpenError::Permission { name },
        Errno::EISDIR | Errno::ELOOP | Errno::ENXIO | Errno::ENODEV => {
            OpenError::NotRegular { name }
        }
        // glibc's answer for a folder; the name itself was checked before.
        Errno::EINVAL if call == "shm_open" => OpenError::NotRegular { name },
        errno => OpenError::System { name, call, errno: OsError::new(errno) },
    }
}

pub(crate) fn type_name_error(found: usize) -> CreateError {
    CreateError::TypeName { found, most: MOST_TYPE_NAME }
}
