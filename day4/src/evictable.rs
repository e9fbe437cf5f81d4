//! The end that the writer may evict while it is alive.

use core::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use common::{NameError, QueueName, Sequence};
use day2::Mode;
use day3::measured::Measured;
use day3::sequencer::{ConsumerCursor, Cursor};
use day3::wait::{Side, Waiter};
use day3::{Ending, JoinError, JoinOptions, Shared, Start, Wait, Yield};

use crate::data::Data;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::frame::Frame;
use crate::memory::{ByteMemory, Segmented};
use crate::reader::corrupt;
use crate::tap::copy_words;

/// A broadcast consumer that promises [`Policy::EvictAfter`](day3::Policy::EvictAfter): it sees every message, and
/// gates the writer; but when it has held the writer back for so long without reading anything, it is evicted.
///
/// The writer may overwrite what such a consumer is reading. So it lends nothing: it copies messages as relaxed
/// atomic words, and asks after that whether it was evicted meanwhile.
pub struct Evictable<W: Wait = Yield> {
    cursor: ConsumerCursor<Shared>,
    data: Data,
    waiter: Waiter<W>,
}

impl<W: Wait> fmt::Debug for Evictable<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evictable").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

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
        let name = name.try_into().map_err(Into::into)?;
        let memory = Arc::new(Segmented::open(&name, Mode::Reader, options)?);
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
        let memory = Arc::new(Segmented::from_fd(descriptor.as_fd(), Mode::Reader, options)?);
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
        let data = Data::of(shared.memory());
        Ok(Self { cursor, data, waiter: Waiter::new(shared, Side::Consumer) })
    }

    /// The same consumer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Evictable<V> {
        let Self { cursor, data, waiter } = self;
        Evictable { cursor, data, waiter: waiter.waiting(wait) }
    }

    /// The first sequence that this consumer was promised on joining.
    pub fn first_sequence(&self) -> Sequence {
        self.cursor.registration().first()
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.cursor.registration().slot()
    }

    /// How the writer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// Copies the next message, if there is one now, into `into`, which it replaces; says how long it is.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing.
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<usize, TryRecvError> {
        self.try_recv_kind(into).map(|_| into.len())
    }

    /// As [`Evictable::try_recv`]; says of what kind the message is.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing.
    pub fn try_recv_kind(&mut self, into: &mut Vec<u8>) -> Result<u16, TryRecvError> {
        let kind = copy(&mut self.cursor, self.data, into)?;
        self.release();
        Ok(kind)
    }

    /// Copies the next message, waiting for it; says how long it is.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; what `into` holds then means nothing.
    pub fn recv(&mut self, into: &mut Vec<u8>) -> Result<usize, RecvError> {
        let Self { cursor, data, waiter } = self;
        waiter.receive(|| copy(cursor, *data, into))?;
        self.release();
        Ok(into.len())
    }

    /// Copies the next message, waiting for at most `timeout`; says how long it is.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; what `into` holds then means nothing.
    pub fn recv_timeout(
        &mut self,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        self.recv_kind_timeout(into, timeout).map(|_| into.len())
    }

    /// As [`Evictable::recv_timeout`]; says of what kind the message is.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; what `into` holds then means nothing.
    pub fn recv_kind_timeout(
        &mut self,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<u16, RecvTimeoutError> {
        let Self { cursor, data, waiter } = self;
        let kind = waiter.receive_within(timeout, || copy(cursor, *data, into))?;
        self.release();
        Ok(kind)
    }

    #[inline]
    fn release(&mut self) {
        self.waiter.changed(self.cursor.release());
    }
}

/// Copies the next message that is there now, and makes sure of the copy; says of what kind it is.
fn copy(
    cursor: &mut ConsumerCursor<Shared>,
    data: Data,
    into: &mut Vec<u8>,
) -> Result<u16, TryRecvError> {
    let (mut seen, mut published) = (None, 0);
    let run = cursor.take_by(|run| {
        published = run.len;
        seen = data.frame(run);
        seen.map_or(0, Frame::size)
    })?;
    if let Some(frame) = seen {
        copy_words(data, run, frame.len as usize, into);
    }
    // Where it was evicted meanwhile, what it took for a header may be any word.
    cursor.confirm()?;
    seen.map(|frame| frame.kind).ok_or_else(|| corrupt(data, run.first, published).into())
}
