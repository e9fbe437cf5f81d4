//! A shared-memory queue with one producer and many consumers, for processes on one host.
//!
//! ```
//! use fanout::{Consumer, Producer, Start};
//!
//! let name = format!("/doc-{}", std::process::id());
//! let mut producer = Producer::<u64>::create(&name, 1024)?;
//! let mut consumer = Consumer::<u64>::join(&name, Start::Oldest)?; // in another process
//! producer.send(42);
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
//! - **Cost.** Publishing is one store, however many consumers there are.
//!
//! # Features
//!
//! `cli`, on by default, is what the command `fanout` needs. A library user turns it off:
//! `fanout = { version = "…", default-features = false }`.
//!
//! The queue is built in [a tutorial](https://docs.rs/crate/fanout/latest/source/TUTORIAL.md), one crate
//! a day; this crate only gathers them.

pub use common::{Capacity, QueueName, Sequence};
pub use day3::control::SLOTS;
pub use day3::{
    Batch, Consumer, Group, Heap, JoinOptions, Memory, Producer, QueueOptions, Receiver,
    Reservation, Spin, Start, Tap, Wait, Yield,
};

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
    pub use day4::{
        ByteMemory, Grant, Group, Local, Offer, Reader, Receiver, Record, Records, Segmented, Tap,
        WriteBatch, Writer, record_len,
    };

    /// What can go wrong with records: one enum per operation.
    pub mod error {
        pub use day4::{
            BatchFull, Corrupt, CreateError, ReadError, RecvError, RecvTimeoutError,
            SendTimeoutError, TooLarge, TryRecvError, TrySendError,
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
    pub use day3::inspect::{Observer, Snapshot};
    pub use day3::roster::{ConsumerInfo, ConsumerKind};
}

/// How to wait: a strategy of one's own implements [`Wait`].
pub mod wait {
    pub use day3::control::Doorbell;
    pub use day3::wait::{Side, Spin, Wait, Yield};
}

/// What can go wrong: one enum per operation.
pub mod error {
    pub use common::{CapacityError, NameError};
    pub use day2::{
        CreateError as SegmentCreateError, DescriptorError, LockError, LogFull, OpenError,
        RemoveError,
    };
    pub use day3::{
        CreateError, Full, JoinError, RecvError, RecvTimeoutError, ReserveError, SendTimeoutError,
        TimedOut, TryRecvError,
    };
}

/// README's example is a doc-test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
