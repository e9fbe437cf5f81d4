//! The end that only looks.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use common::{NameError, QueueName};
use day2::Mode;

use super::{Places, open, read_words};
use crate::control::Ending;
use crate::error::{JoinError, RecvError, RecvTimeoutError, TryRecvError};
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::roster::Start;
use crate::tap::TapCursor;
use crate::wait::{Side, Wait, Waiter, Yield};

/// A reader that is registered nowhere, maps everything read-only, and never slows the producer. Once
/// it has caught up, [`received`](Tap::received) + [`lost`](Tap::lost) is the number of messages sent
/// since it began.
///
/// It may copy a message at the moment in which the producer overwrites it: it reads relaxed atomic
/// words, and throws away what it cannot trust. The producer's own writes are ordinary ones, as in
/// every sequence lock over plain data.
pub struct Tap<T, W: Wait = Yield> {
    cursor: TapCursor<Shared>,
    places: Places<T>,
    waiter: Waiter<W>,
}

impl<T, W: Wait> fmt::Debug for Tap<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

// SAFETY: the places are only read, as atomic words.
unsafe impl<T: Pod + Send, W: Wait + Send> Send for Tap<T, W> {}

impl<T: Pod, W: Wait> Tap<T, W> {
    /// Opens the ring `name` to look at what goes by.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open<N>(name: N, start: Start) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::open_with(name, start, &JoinOptions::new())
    }

    /// Opens the ring `name` to look at what goes by. A tap has no label: no list shows it.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open_with<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let memory = open::<T, N>(name, Mode::Observer, options)?;
        // SAFETY: `open` has checked that the ring holds messages of type `T`.
        let Self { cursor, places, waiter } = unsafe { Self::from_memory(memory, start) };
        Ok(Self { cursor: cursor.following(options.follows()), places, waiter })
    }

    /// A tap on the ring in this memory.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`.
    pub unsafe fn from_memory(memory: Arc<dyn Memory>, start: Start) -> Self {
        let shared = Shared::new(memory);
        let cursor = TapCursor::new(shared.clone(), shared.memory().ring(), start);
        let places = Places::new(shared.memory());
        Self { cursor, places, waiter: Waiter::new(shared, Side::Tap) }
    }
}

impl<T: Pod, W: Wait> Tap<T, W> {
    /// Joins the ring `name` as a lossy consumer: a tap that is registered, so that `fanout stat` shows it, with its
    /// label, how far it is, and how many messages it has missed. It is woken like any consumer. The producer does not
    /// wait for it.
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
        unsafe { Self::join_memory(memory, start, options) }
    }

    /// A lossy consumer of the ring in this memory; see [`Tap::join`].
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`.
    pub unsafe fn join_memory(
        memory: Arc<dyn Memory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory);
        let cursor = TapCursor::new(shared.clone(), shared.memory().ring(), start);
        // SAFETY: on this ring.
        let cursor = unsafe { shared.register(cursor, start, options) }?;
        let places = Places::new(shared.memory());
        Ok(Self { cursor, places, waiter: Waiter::new(shared, Side::Consumer) })
    }
}

impl<T: Pod, W: Wait> Tap<T, W> {
    /// The same tap, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Tap<T, V> {
        let Self { cursor, places, waiter } = self;
        Tap { cursor, places, waiter: waiter.waiting(wait) }
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.cursor.ending()
    }

    /// The next message that can be had, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut message = [T::zeroed()];
        self.copy_into(&mut message)?;
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

    /// Copies the next messages that can be had, waiting for the first of them: as many as there are and
    /// `into` has room for. Says how many; 0 if it has no room.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_into(&mut self, into: &mut [T]) -> Result<usize, RecvError> {
        if into.is_empty() {
            return Ok(0);
        }
        let Self { cursor, places, waiter } = self;
        waiter.receive(|| copy(cursor, places, into))
    }

    /// As [`Tap::recv_into`], waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_into_timeout(
        &mut self,
        into: &mut [T],
        timeout: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        if into.is_empty() {
            return Ok(0);
        }
        let Self { cursor, places, waiter } = self;
        waiter.receive_within(timeout, || copy(cursor, places, into))
    }

    /// Copies the next messages that can be had now, at least one and as many as `into` has room for;
    /// says how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; also [`TryRecvError::Empty`] if `into` has no room.
    #[inline]
    pub fn try_recv_into(&mut self, into: &mut [T]) -> Result<usize, TryRecvError> {
        if into.is_empty() {
            return Err(TryRecvError::Empty);
        }
        self.copy_into(into)
    }

    #[inline]
    fn copy_into(&mut self, into: &mut [T]) -> Result<usize, TryRecvError> {
        copy(&mut self.cursor, &self.places, into)
    }

    /// Messages received.
    pub fn received(&self) -> u64 {
        self.cursor.received()
    }

    /// Messages that this tap has not received: the producer had overwritten them, or was about to.
    pub fn lost(&self) -> u64 {
        self.cursor.lost()
    }

    /// Messages sent that this tap has neither received nor lost yet.
    pub fn lag(&self) -> u64 {
        self.cursor.lag()
    }
}

/// Copies the next messages that can be had now, at least one.
#[inline]
fn copy<T: Pod>(
    cursor: &mut TapCursor<Shared>,
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
        let torn = cursor.confirm(run) as usize;
        if torn < copied {
            into.copy_within(torn..copied, 0);
            return Ok(copied - torn);
        }
    }
}
