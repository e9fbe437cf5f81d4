//! The end that the producer may evict while it is alive.

use std::sync::Arc;

use bytemuck::Pod;
use common::{NameError, QueueName, Sequence};
use day2::Mode;

use super::copying::Copying;
use super::open;
use crate::error::JoinError;
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::outlook::Outlook;
use crate::roster::Start;
use crate::sequencer::{ConsumerCursor, Cursor};
use crate::wait::{Side, Wait, Yield};

/// A broadcast consumer that promises [`Policy::EvictAfter`](crate::Policy::EvictAfter): it sees every message, and
/// gates the producer; but when it has kept the producer waiting with the same message for so long, it is evicted.
///
/// The producer may overwrite what such a consumer is reading. So it lends nothing: it copies messages as relaxed
/// atomic words, and asks after that whether it was evicted meanwhile.
pub type Evictable<T, W = Yield> = Copying<T, ConsumerCursor<Shared>, W>;

impl<T: Pod, W: Wait> Evictable<T, W> {
    /// Joins the ring `name`. The options say when it may be [evicted](JoinOptions::policy).
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let memory = open::<T, N>(name, Mode::Reader, options)?;
        // SAFETY: `open` has checked that the ring holds messages of type `T`.
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
    /// The memory was made for messages of type `T`.
    pub unsafe fn from_memory(
        memory: Arc<dyn Memory>,
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
        Outlook::of(self.waiter.shared(), self.cursor.registration(), size_of::<T>() as u64)
    }
}
