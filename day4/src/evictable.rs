//! The end that the writer may evict while it is alive.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use common::{NameError, QueueName, Sequence};
use day2::Mode;
use day3::outlook::Outlook;
use day3::sequencer::{ConsumerCursor, Cursor};
use day3::wait::Side;
use day3::{JoinError, JoinOptions, Shared, Start, Wait, Yield};

use crate::copying::Copying;
use crate::memory::{ByteMemory, Segmented};

/// A broadcast consumer that promises [`Policy::EvictAfter`](day3::Policy::EvictAfter): it sees every message, and
/// gates the writer; but when it has kept the writer waiting with the same message for so long, it is evicted.
///
/// The writer may overwrite what such a consumer is reading. So it lends nothing: it copies messages as relaxed
/// atomic words, and asks after that whether it was evicted meanwhile.
pub type Evictable<W = Yield> = Copying<ConsumerCursor<Shared>, W>;

impl<W: Wait> Evictable<W> {
    /// Joins the ring `name`. The options say when it may be [evicted](JoinOptions::policy).
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let memory = Segmented::join(name, start, options)?;
        // SAFETY: checked to be a ring of records.
        unsafe { Self::from_memory(memory, start, options) }
    }

    /// Joins the ring behind this descriptor.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn from_fd(
        descriptor: OwnedFd,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let memory = Segmented::from_fd(descriptor, Mode::Reader, options)?;
        // SAFETY: checked to be a ring of records.
        unsafe { Self::from_memory(memory, start, options) }
    }

    /// An evictable consumer of the ring in this memory.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    ///
    /// # Safety
    ///
    /// The memory holds a ring of records.
    pub unsafe fn from_memory(
        memory: Arc<dyn ByteMemory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory);
        let cursor = shared.join_evictable(start, options)?;
        Ok(Self::with_cursor(cursor, shared, Side::Consumer))
    }

    /// The first sequence that this consumer was promised on joining.
    pub fn first_sequence(&self) -> Sequence {
        self.cursor.registration().first()
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.cursor.registration().slot()
    }

    /// What can be told of this consumer from outside: whether it has something to do.
    pub fn outlook(&self) -> Outlook {
        Outlook::of(self.waiter.shared(), self.cursor.registration(), 1)
    }
}
