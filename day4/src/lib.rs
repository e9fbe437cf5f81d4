//! Day 4: messages of any size.
//!
//! The sequencer of Day 3 knows sequences, not messages. Here it counts bytes. A message becomes a
//! [`frame`]: eight bytes that say how long it is, then the message itself. The data pages are mapped
//! [twice in a row](mirror), so that every frame, wherever in the ring it begins, is one slice; there are
//! no padding records, and a message may be as large as the ring.
//!
//! - [`Writer`] lends a slice to write in, and publishes what was written;
//! - [`Reader`] (broadcast), [`Member`] and [`Tap`] lend or copy it out again;
//! - [`marks`] tell an end that comes in the middle where a message begins;
//! - [`rendezvous`] hands a ring without a name to another process;
//! - [`io`] makes streams of it.
//!
//! Mapping a ring's memory twice is an old idea; it is known as the magic ring buffer or, after its
//! use in VMs and audio, the mirrored buffer (P. Howard, *VirtualRingBuffer*, 2003). Reserving and publishing as
//! two steps are the bip-buffer's (S. Cooke, 2003).

pub mod frame;
pub mod marks;

#[cfg(not(loom))]
pub mod copying;
#[cfg(not(loom))]
pub mod data;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod evictable;
#[cfg(not(loom))]
pub mod hosting;
#[cfg(not(loom))]
pub mod io;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod mirror;
#[cfg(not(loom))]
pub mod reader;
#[cfg(not(loom))]
pub mod rendezvous;
#[cfg(not(loom))]
pub mod rooms;
#[cfg(not(loom))]
pub mod tap;
#[cfg(not(loom))]
pub mod writer;

pub use frame::record_len;
#[cfg(not(loom))]
pub use {
    error::{
        BatchFull, Corrupt, CreateError, Evicted, ReadError, RecvError, RecvTimeoutError,
        SendError, SendTimeoutError, TimedOut, TooLarge, TryRecvError, TrySendError,
    },
    memory::{ByteMemory, Local, Offer, Segmented},
    reader::{Delivered, Receiver, Record, Records, RecordsIter},
    rooms::Host,
    writer::{Reservation, WriteBatch},
};

/// [`writer::Writer`] that yields while it waits.
#[cfg(not(loom))]
pub type Writer = writer::Writer<day3::Yield>;
/// [`reader::Reader`] that yields while it waits.
#[cfg(not(loom))]
pub type Reader = reader::Reader<day3::Yield>;
/// [`reader::Member`] that yields while it waits.
#[cfg(not(loom))]
pub type Member = reader::Member<day3::Yield>;
/// [`evictable::Evictable`] that yields while it waits.
#[cfg(not(loom))]
pub type Evictable = evictable::Evictable<day3::Yield>;
/// [`tap::Tap`] that yields while it waits.
#[cfg(not(loom))]
pub type Tap = tap::Tap<day3::Yield>;
