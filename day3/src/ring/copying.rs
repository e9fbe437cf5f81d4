//! The ends that copy: the producer may overwrite what they read.

use core::fmt;
use std::time::Duration;

use bytemuck::Pod;

use super::{Places, read_words};
use crate::control::Ending;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::memory::Shared;
use crate::sequencer::{ConsumerCursor, Cursor, Run, Unavailable};
use crate::tap::TapCursor;
use crate::wait::{Side, Wait, Waiter, Yield};

mod sealed {
    pub trait Sealed {}
}

/// A cursor of an end that copies: what the producer may overwrite is copied first, and confirmed after that.
pub trait CopyingCursor: sealed::Sealed + fmt::Debug {
    /// What an end with this cursor is called.
    const NAME: &'static str;

    /// Up to `most` messages, at least one, to copy.
    ///
    /// # Errors
    ///
    /// Why there is nothing to copy: [`Unavailable`].
    fn take(&mut self, most: u64) -> Result<Run, Unavailable>;

    /// Says, after the messages of `run` have been copied, how many of the first of them cannot be trusted.
    ///
    /// # Errors
    ///
    /// Why none of them can: [`Unavailable`].
    fn confirm(&mut self, run: Run) -> Result<u64, Unavailable>;

    /// Releases what was copied last, where the producer waits for that. Says whether the producer slept, and was
    /// woken.
    fn release(&mut self) -> bool;
}

impl sealed::Sealed for TapCursor<Shared> {}

impl CopyingCursor for TapCursor<Shared> {
    const NAME: &'static str = "Tap";

    #[inline]
    fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        self.take(most)
    }

    #[inline]
    fn confirm(&mut self, run: Run) -> Result<u64, Unavailable> {
        Ok(self.confirm(run))
    }

    #[inline(always)]
    fn release(&mut self) -> bool {
        false
    }
}

impl sealed::Sealed for ConsumerCursor<Shared> {}

impl CopyingCursor for ConsumerCursor<Shared> {
    const NAME: &'static str = "Evictable";

    #[inline]
    fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        Cursor::take(self, most)
    }

    #[inline]
    fn confirm(&mut self, _: Run) -> Result<u64, Unavailable> {
        ConsumerCursor::confirm(self).map(|()| 0)
    }

    #[inline]
    fn release(&mut self) -> bool {
        Cursor::release(self)
    }
}

/// An end that lends nothing, because the producer may overwrite what it reads: it copies messages, and then asks
/// whether the copy can be trusted. Its cursor `K` says how it comes by its sequences.
///
/// Use it as [`Tap`](super::Tap) or [`Evictable`](super::Evictable).
pub struct Copying<T, K, W: Wait = Yield> {
    pub(super) cursor: K,
    pub(super) places: Places<T>,
    pub(super) waiter: Waiter<W>,
}

impl<T, K: CopyingCursor, W: Wait> fmt::Debug for Copying<T, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::NAME).field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

// SAFETY: the places are only read, as atomic words.
unsafe impl<T: Pod + Send, K: Send, W: Wait + Send> Send for Copying<T, K, W> {}

impl<T: Pod, K: CopyingCursor, W: Wait> Copying<T, K, W> {
    pub(super) fn with_cursor(cursor: K, shared: Shared, side: Side) -> Self {
        let places = Places::new(shared.memory());
        Self { cursor, places, waiter: Waiter::new(shared, side) }
    }
}

impl<T: Pod, K: CopyingCursor, W: Wait> Copying<T, K, W> {
    /// The same end, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Copying<T, K, V> {
        let Self { cursor, places, waiter } = self;
        Copying { cursor, places, waiter: waiter.waiting(wait) }
    }

    /// The number that tells this queue from all others, and that it has in common with its copies; 0 in memory of one
    /// process.
    pub fn identity(&self) -> u64 {
        self.waiter.shared().identity()
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// The next message that can be had, if there is one now.
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

    /// The next message that can be had, waiting for it.
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

    /// The next message that can be had, waiting for at most `timeout`.
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

    /// Copies the next messages that can be had now, at least one and as many as `into` has room for; says how many.
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

    /// Copies the next messages that can be had, waiting for the first of them: as many as there are and `into` has
    /// room for. Says how many; 0 if it has no room.
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

    /// As [`Copying::recv_into`], waiting for at most `timeout`.
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

/// Copies the next messages that can be had now, at least one.
#[inline]
fn copy<T: Pod, K: CopyingCursor>(
    cursor: &mut K,
    places: &Places<T>,
    into: &mut [T],
) -> Result<usize, TryRecvError> {
    loop {
        let run = cursor.take(into.len() as u64)?;
        let copied = run.len as usize;
        for (i, place) in into[..copied].iter_mut().enumerate() {
            // SAFETY: a place of the ring, which this process has mapped and never writes.
            *place = unsafe { read_words(places.at(run.first.plus(i as u64))) };
        }
        let torn = cursor.confirm(run)? as usize;
        if torn < copied {
            into.copy_within(torn..copied, 0);
            return Ok(copied - torn);
        }
    }
}
