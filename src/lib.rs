//! A shared-memory queue with one producer and many consumers, for processes on one host.
//!
//! ```
//! use fanout::{Consumer, Producer, Start};
//!
//! let name = format!("/doc-{}", std::process::id());
//! let mut producer = Producer::<u64>::create(&name, 1024)?;
//! let mut consumer = Consumer::<u64>::join(&name, Start::Oldest)?; // in another process
//! producer.send(42)?;
//! assert_eq!(consumer.recv()?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Promises
//!
//! - **Order.** Each consumer sees messages in the order in which they were sent.
//! - **No loss.** A broadcast [`Consumer`] sees every message from the first that it is promised; the
//!   slowest one holds the producer back. Each message goes to exactly one [`Member`] of a group. A
//!   [`Tap`] holds nobody back, and is told exactly how many messages it missed.
//! - **Many consumers.** Up to [`SLOTS`] consumers and members in any mix, and any number of taps.
//! - **Full.** `try_send` says so, `send` waits, `send_timeout` waits for so long. While nobody is
//!   registered, messages are overwritten unless the producer was told to wait or to refuse
//!   ([`Unattended`]).
//! - **The end.** A producer that closes, or is dropped, has sent everything; one that
//!   [aborts](ring::Producer::abort), or whose thread panics, has not, and says why. Consumers read what
//!   there is, then learn which of the two it was ([`Ending`]).
//! - **Groups keep their place** while they have no member, until the producer has overwritten it; with
//!   [`JoinOptions::hold_when_empty`] it waits instead.
//! - **Cost.** Publishing is one store, however many consumers there are. That some of them may sleep costs
//!   one plain load.
//! - **Waiting.** Adaptive: spin while that wins, then yield, then sleep until woken; see [`wait`].
//!
//! # Features
//!
//! - `cli`, on by default, is what the command `fanout` needs. A library user turns it off:
//!   `fanout = { version = "…", default-features = false }`.
//! - `tokio` adds [`stream`](https://docs.rs/fanout): a queue as an async `Stream`, and an async `send`.
//!
//! The queue is built in [a tutorial](https://docs.rs/crate/fanout/latest/source/TUTORIAL.md), one crate
//! a day; this crate only gathers them. So some examples name the crate of their day: for `day3::Producer` read
//! `fanout::Producer`, for `day4::Writer` `fanout::records::Writer`, for `day5::Pollable` `fanout::pollable::Pollable`.

pub use common::{Capacity, QueueName, Sequence};
pub use day3::control::{NAME_BYTES, REASON_BYTES, SLOTS};
pub use day3::{
    Batch, Ending, Heap, JoinOptions, Memory, QueueOptions, Receiver, Reservation, Start,
    Unattended, Wait,
};
pub use day5::{Adaptive, Sleep, Spin, Yield};

// Not through `ring::Consumer`: rustdoc shows methods on the page of an alias, but not of an alias's alias.
use day3::{Shared, group::MemberCursor, sequencer::ConsumerCursor};

/// The end that writes a ring; it waits adaptively. [`waiting`](ring::Producer::waiting) makes it wait another way, as a
/// [`ring::Producer<T, W>`](ring::Producer), where each method is described in full.
///
#[doc = include_str!("methods/producer.md")]
pub type Producer<T> = ring::Producer<T, Adaptive>;
/// A broadcast consumer: it sees every message; it waits adaptively. [`waiting`](ring::Receiver::waiting) makes it wait
/// another way, as a [`ring::Consumer<T, W>`](ring::Consumer).
///
#[doc = include_str!("methods/consumer.md")]
pub type Consumer<T> = ring::Receiver<T, ConsumerCursor<Shared>, Adaptive>;
/// A member of a group: each message goes to exactly one of the members; it waits adaptively.
/// [`waiting`](ring::Receiver::waiting) makes it wait another way, as a [`ring::Member<T, W>`](ring::Member).
///
/// When the last member leaves, the ring keeps the group's place, and the next member goes on there, unless the
/// producer has overwritten it meanwhile; with [`JoinOptions::hold_when_empty`] it does not.
///
#[doc = include_str!("methods/member.md")]
pub type Member<T> = ring::Receiver<T, MemberCursor<Shared>, Adaptive>;
/// A reader that nobody waits for; it waits adaptively. [`waiting`](ring::Tap::waiting) makes it wait another way, as a
/// [`ring::Tap<T, W>`](ring::Tap), where each method is described in full.
///
#[doc = include_str!("methods/tap.md")]
pub type Tap<T> = ring::Tap<T, Adaptive>;

/// The ends of a ring, with the way they wait in their type; `waiting` changes it.
///
/// Say how they are to wait: where it is left out here, they yield. The types at the
/// [root](crate) of the crate are the same ones, and wait adaptively. (Where an example says `day3`, read
/// `fanout`.)
///
/// ```
/// use fanout::{Adaptive, Spin, Start, ring};
///
/// let name = format!("/doc-spin-{}", std::process::id());
/// let mut producer = ring::Producer::<u64, Spin>::create(&name, 1024)?;
/// let mut consumer = ring::Consumer::<u64, Adaptive>::join(&name, Start::Oldest)?;
/// producer.send(42)?;
/// assert_eq!(consumer.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod ring {
    #[doc(inline)]
    pub use day3::ring::{Batch, Consumer, Member, Producer, Receiver, Reservation, Tap};
    #[doc(inline)]
    pub use day3::sequencer::Cursor;
}

/// Ends that are waited for beside sockets: by `poll`, `epoll`, or whatever takes a descriptor.
pub mod pollable {
    pub use day5::notifier::{Connection, Notifier, Notify};
    pub use day5::pollable::*;
}

/// The same as async streams and sinks, over tokio.
#[cfg(feature = "tokio")]
pub mod stream {
    pub use day5::stream::*;
}

/// Messages of any size: a ring that counts bytes.
///
/// ```
/// use fanout::Start;
/// use fanout::records::{Reader, Writer};
///
/// let name = format!("/doc-any-size-{}", std::process::id());
/// let mut writer = Writer::create(&name, 1 << 20)?; // bytes
/// let mut reader = Reader::join(&name, Start::Oldest)?; // in another process
/// writer.send(b"as long as it is")?;
/// assert_eq!(&*reader.recv()?, b"as long as it is");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod records {
    pub use day4::io::{ReadRecords, WriteRecords};
    pub use day4::rendezvous;
    pub use day4::{
        ByteMemory, Local, Offer, Receiver, Record, Records, Reservation, Segmented, WriteBatch,
        record_len,
    };

    use crate::{Adaptive, ConsumerCursor, MemberCursor, Shared};

    /// The end that writes a ring of records; it waits adaptively. [`waiting`](ends::Writer::waiting) makes it wait another
    /// way, as an [`ends::Writer<W>`](ends::Writer), where each method is described in full.
    ///
    #[doc = include_str!("methods/records/writer.md")]
    pub type Writer = ends::Writer<Adaptive>;
    /// A broadcast consumer: it sees every message; it waits adaptively. [`waiting`](ends::Receiver::waiting) makes it wait
    /// another way, as an [`ends::Reader<W>`](ends::Reader).
    ///
    #[doc = include_str!("methods/records/reader.md")]
    pub type Reader = ends::Receiver<ConsumerCursor<Shared>, Adaptive>;
    /// A member of a group: each message goes to exactly one of the members; it waits adaptively.
    /// [`waiting`](ends::Receiver::waiting) makes it wait another way, as an [`ends::Member<W>`](ends::Member).
    ///
    /// When the last member leaves, the ring keeps the group's place, and the next member goes on there, unless
    /// the producer has overwritten it meanwhile; with `JoinOptions::hold_when_empty` it does not.
    ///
    #[doc = include_str!("methods/records/member.md")]
    pub type Member = ends::Receiver<MemberCursor<Shared>, Adaptive>;
    /// A reader that nobody waits for; it waits adaptively. [`waiting`](ends::Tap::waiting) makes it wait another way, as an
    /// [`ends::Tap<W>`](ends::Tap), where each method is described in full.
    ///
    #[doc = include_str!("methods/records/tap.md")]
    pub type Tap = ends::Tap<Adaptive>;

    /// The ends of a ring of records, with the way they wait in their type; `waiting` changes it.
    ///
    /// Say how they are to wait: where it is left out here, they yield. (Where an example says `day4`, read
    /// `fanout::records`.)
    pub mod ends {
        #[doc(inline)]
        pub use day4::reader::{Member, Reader, Receiver, Record, Records};
        #[doc(inline)]
        pub use day4::tap::Tap;
        #[doc(inline)]
        pub use day4::writer::{Reservation, WriteBatch, Writer};
    }

    /// What can go wrong with records: one enum per operation.
    pub mod error {
        pub use day4::{
            BatchFull, Corrupt, CreateError, ReadError, RecvError, RecvTimeoutError, SendError,
            SendTimeoutError, TimedOut, TooLarge, TryRecvError, TrySendError,
        };
    }
}

/// Day 2's floor: one shared-memory object, mapped, with a header that says what it is.
pub mod segment {
    pub use day2::segment::{READY_TIMEOUT, SegmentLock, page_size};
    pub use day2::{Geometry, Kind, LogReader, LogWriter, Mode, Segment};
}

/// Looking at a ring without taking part in it.
pub mod inspect {
    pub use day3::inspect::{Observer, Snapshot, evict};
    pub use day3::roster::{ConsumerInfo, ConsumerKind, GroupInfo};
}

/// How to wait: [`Adaptive`] unless you say otherwise; a strategy of one's own implements [`Wait`].
///
/// ```
/// use fanout::{Consumer, Producer, Start};
///
/// let name = format!("/doc-wait-{}", std::process::id());
/// let mut producer = Producer::<u64>::create(&name, 1024)?.waiting(fanout::Yield);
/// let consumer = Consumer::<u64>::join(&name, Start::Oldest)?.waiting(fanout::Spin);
/// let mut consumer = consumer.waiting(fanout::Sleep::default());
/// producer.send(42)?;
/// assert_eq!(consumer.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod wait {
    pub use day3::control::Doorbell;
    pub use day3::wait::{Side, Wait};
    pub use day5::strategy::{Adaptive, AnyStrategy, SLICE, Sleep, Spin, Strategy, Yield};
}

/// What can go wrong: one enum per operation.
pub mod error {
    pub use common::{CapacityError, NameError};
    pub use day2::{
        CreateError as SegmentCreateError, DescriptorError, LockError, LogFull, OpenError,
        RemoveError,
    };
    pub use day3::{
        Corrupt, CreateError, JoinError, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
        TimedOut, TooLarge, TryRecvError, TrySendError,
    };
}

/// README's example is a doc-test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
