//! The end that only looks.

use std::sync::Arc;

use bytemuck::Pod;
use common::{NameError, QueueName};
use day2::Mode;

use super::copying::Copying;
use super::open;
use crate::error::JoinError;
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::roster::Start;
use crate::tap::TapCursor;
use crate::wait::{Side, Wait, Yield};

/// A reader that is registered nowhere, maps everything read-only, and never slows the producer. Once
/// it has caught up, [`received`](Copying::received) + [`lost`](Copying::lost) is the number of messages sent
/// since it began.
///
/// It may copy a message at the moment in which the producer overwrites it: it reads relaxed atomic
/// words, and throws away what it cannot trust. The producer's own writes are ordinary ones, as in
/// every sequence lock over plain data.
pub type Tap<T, W = Yield> = Copying<T, TapCursor<Shared>, W>;

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
        Self::with_cursor(cursor, shared, Side::Tap)
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
        Ok(Self::with_cursor(cursor, shared, Side::Consumer))
    }
}

impl<T: Pod, W: Wait> Tap<T, W> {
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
