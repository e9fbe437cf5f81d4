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
//!   slowest one holds the producer back. Each message goes to exactly one member of a [`Group`]. A
//!   [`Tap`] holds nobody back, and is told exactly how many messages it missed.
//! - **Many consumers.** Up to [`SLOTS`] consumers and members in any mix, and any number of taps.
//! - **Full.** [`Producer::try_send`] says so, [`Producer::send`] waits, [`Producer::send_timeout`] waits
//!   for so long.
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
//! a day; this crate only gathers them.

pub use common::{Capacity, QueueName, Sequence};
pub use day3::control::SLOTS;
pub use day3::{
    Batch, Ending, Heap, JoinOptions, Memory, QueueOptions, Receiver, Reservation, Start,
    Unattended, Wait,
};
pub use day5::{Adaptive, Sleep, Spin, Yield};

/// The one who writes a ring; see [`ring::Producer`] for one that waits another way.
pub type Producer<T> = ring::Producer<T>;
/// A broadcast consumer: sees every message; see [`ring::Consumer`] for one that waits another way.
pub type Consumer<T> = ring::Consumer<T>;
/// A member of a group: each message goes to exactly one of the members; see [`ring::Group`] for one
/// that waits another way.
pub type Group<T> = ring::Group<T>;
/// A reader that nobody waits for; see [`ring::Tap`] for one that waits another way.
pub type Tap<T> = ring::Tap<T>;

/// The ends of a ring, with the way they wait in their type; `waiting` changes it.
///
/// ```
/// use fanout::{Start, Spin, ring};
///
/// let name = format!("/doc-spin-{}", std::process::id());
/// let mut producer = ring::Producer::<u64, Spin>::create(&name, 1024)?;
/// let mut consumer = ring::Consumer::<u64>::join(&name, Start::Oldest)?; // adaptive
/// producer.send(42)?;
/// assert_eq!(consumer.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod ring {
    use day5::Adaptive;

    /// The one who writes a ring.
    pub type Producer<T, W = Adaptive> = day3::ring::Producer<T, W>;
    /// A broadcast consumer.
    pub type Consumer<T, W = Adaptive> = day3::ring::Consumer<T, W>;
    /// A member of a group.
    pub type Group<T, W = Adaptive> = day3::ring::Group<T, W>;
    /// A reader that nobody waits for.
    pub type Tap<T, W = Adaptive> = day3::ring::Tap<T, W>;
}

/// Ends that are waited for beside sockets: by `poll`, `epoll`, or whatever takes a descriptor.
pub mod pollable {
    pub use day5::bells::{Bells, Line, Notify};
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
        ByteMemory, Grant, Local, Offer, Receiver, Record, Records, Segmented, WriteBatch,
        record_len,
    };

    /// The one who writes a ring of records; see [`ends::Writer`] for one that waits another way.
    pub type Writer = ends::Writer;
    /// A broadcast consumer; see [`ends::Reader`] for one that waits another way.
    pub type Reader = ends::Reader;
    /// A member of a group; see [`ends::Group`] for one that waits another way.
    pub type Group = ends::Group;
    /// A reader that nobody waits for; see [`ends::Tap`] for one that waits another way.
    pub type Tap = ends::Tap;

    /// The ends of a ring of records, with the way they wait in their type; `waiting` changes it.
    pub mod ends {
        use day5::Adaptive;

        /// The one who writes a ring of records.
        pub type Writer<W = Adaptive> = day4::writer::Writer<W>;
        /// A broadcast consumer.
        pub type Reader<W = Adaptive> = day4::reader::Reader<W>;
        /// A member of a group.
        pub type Group<W = Adaptive> = day4::reader::Group<W>;
        /// A reader that nobody waits for.
        pub type Tap<W = Adaptive> = day4::tap::Tap<W>;
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
    pub use day2::segment::{READY_DEADLINE, SegmentLock, page_size};
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
    pub use day5::strategy::{Adaptive, Named, SLICE, Sleep, Spin, Strategy, Yield};
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
