//! The end that looks at messages whose type it does not know.

use core::fmt;
use core::ptr::NonNull;
use std::sync::Arc;

use common::sync::{AtomicU8, Ordering};
use common::{Capacity, NameError, QueueName, Sequence};
use day2::{Kind, Mode, Segment};

use crate::control::Ending;
use crate::error::{JoinError, TryRecvError};
use crate::memory::{Memory, NamedMemory, Shared, hold};
use crate::options::JoinOptions;
use crate::ring::MessageType;
use crate::roster::Start;
use crate::tap::TapCursor;

/// A [`Tap`](crate::ring::Tap) for a program that does not know what the messages are, such as one that shows any queue: it
/// copies their bytes.
///
/// ```
/// # mod fanout { pub use day3::*; pub mod inspect { pub use day3::ring::RawTap; } }
/// use fanout::inspect::RawTap;
/// use fanout::{JoinOptions, Producer, Start};
///
/// let name = format!("/doc-raw-{}", std::process::id());
/// let mut producer = Producer::<u32>::create(&name, 64)?;
/// let mut tap = RawTap::open(&name, Start::Oldest, &JoinOptions::new())?;
/// assert_eq!((tap.message_type(), tap.message_size()), ("u32", 4));
/// producer.send(7)?;
/// let mut bytes = Vec::new();
/// tap.try_recv(&mut bytes)?;
/// assert_eq!(bytes, 7u32.to_ne_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RawTap {
    cursor: TapCursor<Shared>,
    data: NonNull<u8>,
    size: usize,
    capacity: Capacity,
    message_type: String,
    shared: Shared,
}

// SAFETY: data is only read, as atomic bytes, and `shared` keeps it in place.
unsafe impl Send for RawTap {}

impl fmt::Debug for RawTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTap").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl RawTap {
    /// Opens the ring `name`, whatever its messages are.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        options.when_there(|| {
            let timeout = options.join_timeout();
            let segment = Segment::open_trusting(&name, Mode::Observer, timeout, options.trust())?;
            let memory = NamedMemory::of(segment, &name, &[Kind::Ring])?;
            hold(memory.segment(), memory.control())?;
            Ok(Self::look(Arc::new(memory), start, options))
        })
    }

    /// Joins the ring `name` as a lossy consumer: a tap that is registered, so that `fanout stat` shows it, with its
    /// label, how far it is, and how many messages it has missed. The producer does not wait for it.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let tap = Self::look(Arc::new(super::open(&name, options)?), start, options);
        // SAFETY: the tap is on this ring.
        let cursor = unsafe { tap.shared.register(tap.cursor, start, options) }?;
        Ok(Self { cursor, ..tap })
    }

    fn look(memory: Arc<NamedMemory>, start: Start, options: &JoinOptions) -> Self {
        let geometry = memory.segment().geometry();
        let (size, message_type) = (geometry.element_size(), geometry.message_type().to_owned());
        let (data, ring) = (memory.data(), memory.ring());
        let shared = Shared::new(memory);
        let cursor = TapCursor::new(shared.clone(), ring, start).following(options.follows());
        // The segment is mapped, so the size of a message fits.
        let size = size as usize;
        Self { cursor, data, size, capacity: ring.capacity, message_type, shared }
    }

    /// What the messages are called.
    pub fn message_type(&self) -> &str {
        &self.message_type
    }

    /// How many bytes each of them has.
    pub fn message_size(&self) -> usize {
        self.size
    }

    /// The messages' name, size and alignment, as a [`RawProducer`](super::RawProducer) takes them.
    pub fn messages(&self) -> MessageType {
        super::messages_of(self.shared.memory(), self.size)
    }

    /// The number that tells this queue from all others, and that it has in common with its copies.
    pub fn identity(&self) -> u64 {
        self.shared.identity()
    }

    /// Copies the next message that can be had, if there is one now, into `into`, which it replaces.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing.
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<(), TryRecvError> {
        loop {
            let run = self.cursor.take(1)?;
            let place = self.capacity.index(run.first) * self.size;
            let bytes = self.data.as_ptr().wrapping_add(place).cast::<AtomicU8>();
            into.clear();
            into.extend((0..self.size).map(|offset| {
                // SAFETY: a byte of a place of the ring, which this process has mapped and never writes.
                let byte = unsafe { &*bytes.wrapping_add(offset) };
                byte.load(Ordering::Relaxed)
            }));
            if self.cursor.confirm(run) == 0 {
                return Ok(());
            }
        }
    }

    /// How the producer has ended: after [`RecvError::Aborted`](crate::RecvError::Aborted), why.
    pub fn ending(&self) -> Ending {
        self.shared.ending()
    }

    /// The sequence of the message that comes next, unless the producer overwrites it before.
    pub fn next_sequence(&self) -> Sequence {
        self.cursor.next()
    }

    /// Messages received.
    pub fn received(&self) -> u64 {
        self.cursor.received()
    }

    /// Messages that this tap has not received: the producer had overwritten them, or was about to.
    pub fn lost(&self) -> u64 {
        self.cursor.lost()
    }
}
