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
//!   slowest consumer holds the producer back. Each message goes to exactly one [`Member`] of a
//!   group. A [`Tap`] never holds the producer back, and is told exactly how many messages it missed.
//! - **Many consumers.** Up to [`SLOTS`] consumers and members in any mix, and any number of taps.
//! - **Full.** `try_send` says so, `send` waits, `send_timeout` waits for a limited time. While no
//!   consumer is registered, messages are overwritten, unless the producer was told to wait or to
//!   refuse ([`Unattended`]).
//! - **The end.** A producer that closes, or is dropped, has sent everything. A producer that
//!   [aborts](ends::Producer::abort), or whose thread panics, has not, and says why. Consumers read what
//!   there is, and then learn which of the two it was ([`Ending`]).
//! - **Groups keep their place** while they have no member, until the producer has overwritten it. With
//!   [`JoinOptions::hold_when_empty`] the producer waits instead.
//! - **Distrust.** Who may open an ordinary queue may write over its lines: that can cost others messages, and never
//!   leads them out of the ring. In a queue with private rooms ([`records::Writer`]'s `host` and `private`) a consumer can
//!   harm nobody but itself.
//! - **Cost.** Publishing is one store, however many consumers there are. To find out whether one of them
//!   sleeps takes one plain load.
//! - **Waiting.** Adaptive: spin while that pays off, then yield, then sleep until woken; see
//!   [`wait`].
//!
//! # Features
//!
//! - `cli`, on by default, is what the command `fanout` needs. A library user turns it off: `fanout
//!   = { version = "…", default-features = false }`.
//! - `tokio` adds [`stream`](https://docs.rs/fanout): a queue as an async `Stream`, and an async `send`.
//! - `serve` adds [`serve`](https://docs.rs/fanout): services for thousands of connections in one thread.
//! - `nats` adds [`bridge`](https://docs.rs/fanout): queues carried to other hosts by NATS JetStream. Its
//!   client weighs more than all the rest: 149 crates instead of 29 (`cargo tree -e normal,build --prefix none`, with
//!   `--no-default-features`, each line once), and 177 s of processor time to compile instead of 31 s (`time cargo build
//!   --release --lib`, with an empty target folder, rustc 1.95.0, 2 cores).
//!
//! # Where things are
//!
//! The types here send messages of one size; the types in [`records`] send messages of any size. Both have the
//! same shape: the ends, which wait adaptively; the same ends with their way to wait as a type parameter
//! ([`ends`], [`records::ends`]); and their errors ([`error`], [`records::error`]).
//!
//! The queue is built in [a tutorial](https://docs.rs/crate/fanout/latest/source/TUTORIAL.md), one crate
//! a day. This crate brings them together, and its users name no other.

pub use common::{Capacity, QueueName, Sequence};
pub use day3::control::{MOST_SLOTS, NAME_BYTES, REASON_BYTES, SLOTS};
pub use day3::recovery::Death;
pub use day3::rooms::{Eviction, EvictionReason};
pub use day3::{
    Batch, Ending, Heap, JoinOptions, Memory, Policy, QueueOptions, Reservation, Start, Unattended,
    Wait,
};
pub use day5::{Adaptive, Sleep, Spin, Yield};

// Not through `ends::Consumer`: rustdoc shows methods on the page of an alias, but not of an alias's alias.
use ends::{ConsumerCursor, MemberCursor, TapCursor};

/// The end that writes a ring; it waits adaptively. [`waiting`](ends::Producer::waiting) makes it wait another way, as a
/// [`ends::Producer<T, W>`](ends::Producer), where each method is described in full.
///
#[doc = include_str!("methods/producer.md")]
pub type Producer<T> = ends::Producer<T, Adaptive>;
/// A broadcast consumer: it sees every message; it waits adaptively. [`waiting`](ends::Receiver::waiting) makes it wait
/// another way, as a [`ends::Consumer<T, W>`](ends::Consumer).
///
#[doc = include_str!("methods/consumer.md")]
pub type Consumer<T> = ends::Receiver<T, ConsumerCursor, Adaptive>;
/// A member of a group: each message goes to exactly one of the members; it waits adaptively.
/// [`waiting`](ends::Receiver::waiting) makes it wait another way, as a [`ends::Member<T, W>`](ends::Member).
///
/// When the last member leaves, the ring keeps the group's place, and the next member goes on there, unless the
/// producer has overwritten it meanwhile. With [`JoinOptions::hold_when_empty`] the producer does not overwrite
/// it.
///
#[doc = include_str!("methods/member.md")]
pub type Member<T> = ends::Receiver<T, MemberCursor, Adaptive>;
/// A broadcast consumer that the producer evicts when it has been held back by it for too long
/// ([`Policy::EvictAfter`]); it waits adaptively, and copies messages.
///
#[doc = include_str!("methods/evictable.md")]
pub type Evictable<T> = ends::Copying<T, ConsumerCursor, Adaptive>;
/// A reader that the producer never waits for; it waits adaptively. [`waiting`](ends::Copying::waiting) makes it wait
/// another way, as a [`ends::Tap<T, W>`](ends::Tap).
///
#[doc = include_str!("methods/tap.md")]
pub type Tap<T> = ends::Copying<T, TapCursor, Adaptive>;

/// The ends of a ring, with their way to wait as a type parameter; `waiting` changes it.
///
/// Name the way to wait: an end that is created here without one yields. The types at the [root](crate) of the crate are
/// the same, and wait adaptively. A function for consumers and members alike takes an [`ends::Receiver`] of any
/// [`ends::Cursor`].
///
/// ```
/// use fanout::ends::{Consumer, Cursor, Member, Producer, Receiver};
/// use fanout::{Adaptive, Spin, Start, Wait};
///
/// /// Reads all that is there now.
/// fn drain<K: Cursor, W: Wait>(end: &mut Receiver<u64, K, W>) -> Vec<u64> {
///     std::iter::from_fn(|| end.try_recv().ok()).collect()
/// }
///
/// let name = format!("/doc-spin-{}", std::process::id());
/// let mut producer = Producer::<u64, Spin>::create(&name, 1024)?;
/// let mut consumer = Consumer::<u64, Adaptive>::join(&name, Start::Oldest)?;
/// let mut member = Member::<u64, Spin>::join(&name, "workers", Start::Oldest)?;
/// producer.send(42)?;
/// assert_eq!((drain(&mut consumer), drain(&mut member)), (vec![42], vec![42]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod ends {
    #[doc(inline)]
    pub use day3::ring::{
        Consumer, Copying, CopyingCursor, Element, Evictable, Member, Producer, Receiver, Tap,
    };
    #[doc(inline)]
    pub use day3::sequencer::Cursor;

    use day3::{Shared, group, sequencer, tap};

    /// The parameter that makes a [`Receiver`] a broadcast consumer, and a [`Copying`] end an evictable one, for code
    /// that has to name it.
    pub type ConsumerCursor = sequencer::ConsumerCursor<Shared>;
    /// The parameter that makes a [`Receiver`] a member of a group, for code that has to name it.
    pub type MemberCursor = group::MemberCursor<Shared>;
    /// The parameter that makes a [`Copying`] end a tap, for code that has to name it.
    pub type TapCursor = tap::TapCursor<Shared>;
}

/// Ends that a program waits for beside sockets: with `poll`, `epoll`, or anything else that takes
/// a descriptor.
pub mod pollable {
    pub use day5::notifier::{Connection, MOST_PEERS, Notifier, Notify, NotifyError};
    pub use day5::pollable::{Announcing, Armed, End, Pollable, Receiving};
}

/// The same ends as async streams and sinks, over tokio.
#[cfg(feature = "tokio")]
pub mod stream {
    pub use day5::stream::*;
}

/// One thread, thousands of rings: a [`Selector`](select::Selector) says whose turn it is.
///
/// Each producer has a ring of its own, so one that dies stops no other. The selector looks only at rings that rang,
/// and no ring gets more than its share while others wait.
///
/// ```
/// use fanout::records::{Reader, Writer};
/// use fanout::select::{Posting, Selector};
/// use fanout::{Adaptive, Start};
///
/// let name = format!("/doc-select-{}", std::process::id());
/// let writer = Writer::create(&name, 1 << 16)?;
/// let mut reader = Reader::join(&name, Start::Oldest)?;
/// let mut selector = Selector::new()?;
/// let key = selector.add_seated(reader.outlook())?;
/// // The producer, which may be another process, says that there is something.
/// let seat = selector.seat(key).expect("it was just added");
/// let mut writer = writer.waiting(Posting::new(seat, Adaptive::default()));
/// writer.send(b"an order")?;
///
/// let turn = selector.wait();
/// assert_eq!(turn.key, key);
/// for record in &reader.try_recv_batch(turn.bytes as usize)? {
///     assert_eq!(record, b"an order");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod select {
    pub use day3::outlook::{Outlook, Prospect};
    pub use day7::ready::{BoardError, MOST_SEATS, Posting, Seat, SeatError};
    #[cfg(feature = "tokio")]
    pub use day7::selector::AsyncSelector;
    pub use day7::selector::{
        AddError, Key, MOST_PLAIN, PollableSelector, Selector, SelectorError, SelectorOptions, Turn,
    };
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
    pub use day4::hosting;
    pub use day4::io::{ReadRecords, WriteRecords};
    pub use day4::rendezvous;
    pub use day4::{
        ByteMemory, Delivered, Host, Local, Offer, Record, Records, RecordsIter, Reservation,
        Segmented, WriteBatch, record_len,
    };

    use crate::{Adaptive, ConsumerCursor, MemberCursor};

    /// The end that writes a ring of records; it waits adaptively. [`waiting`](ends::Writer::waiting) makes it wait another
    /// way, as an [`ends::Writer<W>`](ends::Writer), where each method is described in full.
    ///
    #[doc = include_str!("methods/records/writer.md")]
    pub type Writer = ends::Writer<Adaptive>;
    /// A broadcast consumer: it sees every message; it waits adaptively. [`waiting`](ends::Receiver::waiting) makes it wait
    /// another way, as an [`ends::Reader<W>`](ends::Reader).
    ///
    #[doc = include_str!("methods/records/reader.md")]
    pub type Reader = ends::Receiver<ConsumerCursor, Adaptive>;
    /// A member of a group: each message goes to exactly one of the members; it waits adaptively.
    /// [`waiting`](ends::Receiver::waiting) makes it wait another way, as an [`ends::Member<W>`](ends::Member).
    ///
    /// When the last member leaves, the ring keeps the group's place, and the next member goes on there, unless
    /// the producer has overwritten it meanwhile. With `JoinOptions::hold_when_empty` the producer does not
    /// overwrite it.
    ///
    #[doc = include_str!("methods/records/member.md")]
    pub type Member = ends::Receiver<MemberCursor, Adaptive>;
    /// A broadcast consumer that the writer evicts when it has been held back by it for too long
    /// ([`Policy::EvictAfter`](crate::Policy::EvictAfter)); it waits adaptively, and copies messages.
    ///
    #[doc = include_str!("methods/records/evictable.md")]
    pub type Evictable = ends::Copying<ConsumerCursor, Adaptive>;
    /// A reader that the producer never waits for; it waits adaptively. [`waiting`](ends::Copying::waiting) makes it wait
    /// another way, as a [`ends::Tap<W>`](ends::Tap).
    ///
    #[doc = include_str!("methods/records/tap.md")]
    pub type Tap = ends::Copying<ends::TapCursor, Adaptive>;

    /// The ends of a ring of records, with their way to wait as a type parameter; `waiting` changes
    /// it.
    ///
    /// Name the way to wait: an end that is created here without one yields. A function for readers and members alike takes
    /// an [`ends::Receiver`] of any [`ends::Cursor`].
    pub mod ends {
        #[doc(inline)]
        pub use crate::ends::{ConsumerCursor, MemberCursor};
        #[doc(inline)]
        pub use day3::measured::Measured as Cursor;
        #[doc(inline)]
        pub use day4::copying::{Copying, CopyingCursor};
        #[doc(inline)]
        pub use day4::evictable::Evictable;
        #[doc(inline)]
        pub use day4::reader::{Member, Reader, Receiver};
        #[doc(inline)]
        pub use day4::tap::{Tap, TapCursor};
        #[doc(inline)]
        pub use day4::writer::Writer;
    }

    /// What can go wrong with records: one enum per operation.
    ///
    /// Errors that any ring can have are the same here as in [`fanout::error`](crate::error).
    pub mod error {
        pub use crate::error::*;
        pub use day4::rendezvous::{
            ConnectError, HostError, InvitedError, PairError, RendezvousError,
        };
        pub use day4::{BatchFull, ReadError};
    }
}

/// Work and answers: a client has tasks done, a server does them.
///
/// See [`tasks::Server`] and [`tasks::Client`].
pub mod tasks {
    #[doc(inline)]
    pub use day7::tasks::*;
}

/// The last value only: a writer that never waits, and any number of readers.
///
/// ```
/// use fanout::latest::{LatestReader, LatestWriter};
///
/// let name = format!("/doc-latest-value-{}", std::process::id());
/// let mut writer = LatestWriter::create(&name, [0.0f64; 3])?;
/// let mut reader = LatestReader::<[f64; 3]>::open(&name)?; // in another process
/// writer.set([1.0, 2.0, 3.0]);
/// assert_eq!(reader.changed()?, [1.0, 2.0, 3.0]); // It sleeps until there is a newer one.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod latest {
    pub use day7::latest::{ChangedTimeoutError, Ended, LatestReader, LatestWriter, local};
}

/// Publishing under a name, subscribing with patterns: as many publishers and subscribers as there are, and no daemon.
///
/// ```
/// use fanout::topics::{Publisher, PublisherOptions, Space, SubscribeOptions, Subscriber};
///
/// let space = Space::open(format!("/doc-space-{}", std::process::id()).as_str())?;
/// let mut subscriber = Subscriber::subscribe(&space, "orders.>", &SubscribeOptions::new())?;
/// let mut publisher = Publisher::create(&space, &PublisherOptions::new())?; // in another process
/// publisher.publish("orders.eu.17", b"two of them")?;
/// assert_eq!(subscriber.recv()?.payload, b"two of them");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod topics {
    pub use day7::topics::{
        DEFAULT_SPACE, Departed, Departure, JoinSpaceError, KeepLast, MOST_BYTES, MOST_PATTERNS,
        MOST_PUBLISHERS, Pattern, PatternError, PublishError, Published, Publisher, PublisherInfo,
        PublisherOptions, RecvError, RecvTimeoutError, Space, SubscribeOptions, Subscriber,
        SubscriberInfo, Topic, TopicError, TryPublishError,
    };
}

/// Services: one thread, thousands of connections, and code that reads as if it blocked.
///
/// A service is written once against a [`Socket`](serve::Socket), and runs over TCP, Unix sockets, channels between
/// coroutines, and pairs of shared-memory rings.
///
/// ```
/// use fanout::serve::{Isolation, Listener, Runtime, Socket, SocketError};
///
/// async fn echo(mut socket: Socket) -> Result<(), SocketError> {
///     let (input, output) = socket.split();
///     while let Some(line) = input.read_line(1024).await? {
///         output.write_all(line).await?;
///         output.write_all(b"\n").await?;
///     }
///     Ok(())
/// }
///
/// let runtime = Runtime::new(Isolation::None)?;
/// let (listener, connector) = Listener::channel(); // or Listener::bind(&"127.0.0.1:7007".parse()?)?
/// runtime.serve(listener, echo)?;
/// let answer = runtime.block_on(async move {
///     let mut socket = connector.connect().await?;
///     socket.write_all(b"hello\n").await?;
///     let line = socket.read_line(1024).await?.map(<[u8]>::to_vec);
///     Ok::<_, SocketError>(line)
/// })??;
/// assert_eq!(answer.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "serve")]
pub mod serve {
    pub use day8::heap::{HeapError, UnknownIsolation};
    pub use day8::listener::{AddressError, BindError};
    pub use day8::runtime::{Elapsed, Panicked, SpawnError, Statistics};
    pub use day8::socket::MOST_INPUT;
    pub use day8::{
        Address, Connector, Heap, HeapBox, Input, Isolation, Listener, NotInRuntime, Output,
        Runtime, RuntimeError, RuntimeOptions, Service, Shutdown, Socket, SocketError, Spawned,
        is_shutting_down, readable, sleep, spawn, timeout, yield_now,
    };
    pub use day8::{echo, http, redis, rings};
}

/// Beyond one host: a queue carried by NATS JetStream, as `fanout bridge` does it.
///
/// [`outbound::carry`](bridge::outbound::carry) publishes a queue of this host to a stream, and
/// [`inbound::carry`](bridge::inbound::carry) publishes a stream in a queue of this host. Each message keeps its
/// sequence, so both go on after a crash where they were. Both block their thread, until the queue has ended or somebody
/// asks them to [`Stop`](bridge::stop::Stop).
///
/// ```no_run
/// use fanout::bridge::{
///     outbound::{OutOptions, carry},
///     progress::Progress,
///     server::ServerOptions,
///     stop::Stop,
///     stream::StreamOptions,
/// };
///
/// let server = ServerOptions::new("nats://127.0.0.1:4222").credentials_file("bridge.creds");
/// let options = OutOptions::new("prices".parse()?, StreamOptions::new("PRICES").replicas(3));
/// let outcome = carry(&server, &options, &Progress::new(), &Stop::new())?;
/// println!("{outcome:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "nats")]
pub mod bridge {
    pub use bridge::{
        envelope, error, inbound, metrics, outbound, pack, progress, server, stop, stream,
    };
}

/// Day 2's floor: one shared-memory object, mapped, with a header that says what it is.
pub mod segment {
    pub use day2::header::Expected;
    pub use day2::segment::{READY_TIMEOUT, SegmentLock, page_size};
    pub use day2::{Geometry, Kind, Lease, LogReader, LogWriter, Mode, Role, Segment, Trust};
}

/// The types that an implementation of [`Memory`] or [`ByteMemory`](records::ByteMemory) needs.
pub mod memory {
    pub use common::sync::{AtomicU32, AtomicU64};
    pub use day3::control::{Control, Room, control_len};
    pub use day3::landing::{Everywhere, Landing, Mark};
    pub use day3::link::{Lease, Leases};
    pub use day3::rooms::{Residence, Rooms};
    pub use day3::roster::Ring;
    pub use day4::marks::Marks;
    pub use day4::mirror::{Access, Mirror};
}

/// Messages of one size for programs that do not know what they are, such as one that carries any queue to another host:
/// the ring's header tells name, size and alignment, and the ends take and lend bytes.
///
/// ```
/// use fanout::raw::{RawMember, RawProducer};
/// use fanout::{Consumer, JoinOptions, Producer, QueueOptions, Start};
///
/// let (name, copy) = (format!("/doc-raw-{}", std::process::id()), format!("/doc-copy-{}", std::process::id()));
/// let mut producer = Producer::<[u64; 2]>::create(&name, 64)?;
/// let mut member = RawMember::join(&name, "carriers", Start::Oldest, &JoinOptions::new())?;
/// let options = QueueOptions::new(64).identity(member.identity()).first(member.first_sequence().get());
/// let mut carried = RawProducer::create_with(&copy, &member.messages(), &options)?;
/// let mut consumer = Consumer::<[u64; 2]>::join(&copy, Start::Oldest)?;
///
/// producer.send([1, 2])?;
/// let batch = member.recv_batch(64)?;
/// for message in &batch {
///     assert_eq!(carried.try_send_batch(message)?, 1);
/// }
/// assert_eq!(consumer.recv()?, [1, 2]);
/// # drop(batch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod raw {
    pub use day3::ring::{MessageType, RawTap};

    use crate::Adaptive;

    /// A producer that takes bytes; it waits adaptively. [`waiting`](day3::ring::RawProducer::waiting) makes it wait
    /// another way.
    pub type RawProducer = day3::ring::RawProducer<Adaptive>;
    /// A member of a group that lends bytes; it waits adaptively. [`waiting`](day3::ring::RawMember::waiting) makes it wait
    /// another way.
    pub type RawMember = day3::ring::RawMember<Adaptive>;
    /// What a [`RawMember`] lends.
    pub type RawBatch<'a> = day3::ring::RawBatch<'a, Adaptive>;

    /// The same ends, with their way to wait as a type parameter.
    pub mod ends {
        #[doc(inline)]
        pub use day3::ring::{RawBatch, RawMember, RawProducer};
    }
}

/// Looking at a ring without taking part in it.
pub mod inspect {
    pub use day3::inspect::{
        EvictDeadError, ForgetError, Observer, Snapshot, evict, evict_dead, forget,
    };
    pub use day3::ring::RawTap;
    pub use day3::rooms::{Eviction, EvictionReason};
    pub use day3::roster::{Burial, ConsumerInfo, ConsumerKind, GroupInfo};
    pub use day4::hosting::observe;
    pub use day7::listing;
}

/// How to wait: [`Adaptive`] unless you choose another; your own strategy implements [`Wait`].
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
    pub use day3::doorbell::Doorbell;
    pub use day3::wait::{Side, Wait};
    pub use day5::strategy::{
        Adaptive, AnyStrategy, SLICE, Sleep, Spin, Strategy, UnknownStrategy, Yield,
    };
}

/// What can go wrong: one enum per operation.
pub mod error {
    pub use common::{CapacityError, NameError, OsError};
    pub use day2::{
        CreateError as SegmentCreateError, DescriptorError, Holder, LeaseError, LockError, LogFull,
        OpenError, RemoveError, SucceedError,
    };
    pub use day3::roster::EvictError;
    pub use day3::{
        Corrupt, CreateError, Evicted, JoinError, RecvError, RecvTimeoutError, ResumeError,
        SendError, SendTimeoutError, TimedOut, TooLarge, TryRecvError, TrySendError, UnknownPolicy,
    };
}

/// README's example is a doc-test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
