//! The end that the producer may evict while it is alive.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use common::{NameError, QueueName, Sequence};
use day2::Mode;

use super::{Places, open, read_words};
use crate::control::Ending;
use crate::error::{JoinError, RecvError, RecvTimeoutError, TryRecvError};
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::roster::Start;
use crate::sequencer::{ConsumerCursor, Cursor};
use crate::wait::{Side, Wait, Waiter, Yield};

/// A broadcast consumer that promises [`Policy::EvictAfter`](crate::Policy::EvictAfter): it sees every message, and
/// gates the producer; but when it has held the producer back for so long without reading anything, it is evicted.
///
/// The producer may overwrite what such a consumer is reading. So it lends nothing: it copies messages as relaxed
/// atomic words, and asks after that whether it was evicted meanwhile.
pub struct Evictable<T, W: Wait = Yield> {
    cursor: ConsumerCursor<Shared>,
    places: Places<T>,
    waiter: Waiter<W>,
}

impl<T, W: Wait> fmt::Debug for Evictable<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evictable").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

// SAFETY: the places are only read, as atomic words.
unsafe impl<T: Pod + Send, W: Wait + Send> Send for Evictable<T, W> {}

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
        let places = Places::new(shared.memory());
        Ok(Self { cursor, places, waiter: Waiter::new(shared, Side::Consumer) })
    }

    /// The same consumer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Evictable<T, V> {
        let Self { cursor, places, waiter } = self;
        Evictable { cursor, places, waiter: waiter.waiting(wait) }
    }

    /// The first sequence that this consumer was promised on joining.
    pub fn first_sequence(&self) -> Sequence {
        self.cursor.registration().first()
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.cursor.registration().slot()
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut message = [T::zeroed()];
        self.try_recv_into(&mut message)?;
        let [message] = message;
        Ok(message)
    }

    /// The next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let mut message = [T::zeroed()];
        self.recv_into(&mut message)?;
        let [message] = message;
        Ok(message)
    }

    /// The next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let mut message = [T::zeroed()];
        self.recv_into_timeout(&mut message, timeout)?;
        let [message] = message;
        Ok(message)
    }

    /// Copies the next messages that are there now, at least one and as many as `into` has room for; says how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing. Also [`TryRecvError::Empty`] if `into` has no room.
    #[inline]
    pub fn try_recv_into(&mut self, into: &mut [T]) -> Result<usize, TryRecvError> {
        if into.is_empty() {
            return Err(TryRecvError::Empty);
        }
        let copied = copy(&mut self.cursor, &self.places, into)?;
        self.release();
        Ok(copied)
    }

    /// Copies the next messages, waiting for the first of them: as many as there are and `into` has room for. Says
    /// how many; 0 if it has no room.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; what `into` holds then means nothing.
    pub fn recv_into(&mut self, into: &mut [T]) -> Result<usize, RecvError> {
        if into.is_empty() {
            return Ok(0);
        }
        let Self { cursor, places, waiter } = self;
        let copied = waiter.receive(|| copy(cursor, places, into))?;
        self.release();
        Ok(copied)
    }

    /// As [`Evictable::recv_into`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; what `into` holds then means nothing.
    pub fn recv_into_timeout(
        &mut self,
        into: &mut [T],
        timeout: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        if into.is_empty() {
            return Ok(0);
        }
        let Self { cursor, places, waiter } = self;
        let copied = waiter.receive_within(timeout, || copy(cursor, places, into))?;
        self.release();
        Ok(copied)
    }

    #[inline]
    fn release(&mut self) {
        self.waiter.changed(self.cursor.release());
    }
}

/// Copies the next messages that are there now, at least one, and makes sure of the copy.
#[inline]
fn copy<T: Pod>(
    cursor: &mut ConsumerCursor<Shared>,
    places: &Places<T>,
    into: &mut [T],
) -> Result<usize, TryRecvError> {
    let run = cursor.take(into.len() as u64)?;
    let copied = run.len as usize;
    for (i, place) in into[..copied].iter_mut().enumerate() {
        // SAFETY: a place of the ring, which this process has mapped and never writes.
        *place = unsafe { read_words(places.at(run.first.plus(i as u64))) };
    }
    cursor.confirm()?;
    Ok(copied)
}
