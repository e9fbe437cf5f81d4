//! The end that writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::{NameError, QueueName, Sequence};

use super::Places;
use crate::error::{CreateError, Full, ReserveError, SendTimeoutError, TimedOut};
use crate::memory::{Memory, Named, Shared};
use crate::options::QueueOptions;
use crate::roster::{self, ConsumerInfo};
use crate::sequencer::{ProducerCursor, Run};
use crate::wait::{self, Door, Side, Wait, Yield};

/// The one who writes a ring.
///
/// Dropping it closes the ring, so that consumers drain and then see the end, and removes the name.
///
/// # Examples
///
/// ```
/// use day3::{Consumer, Producer, Start};
///
/// let name = format!("/doc-ring-{}", std::process::id());
/// let mut producer = Producer::<u64>::create(&name, 1024)?;
/// let mut consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
/// producer.send(42);
/// assert_eq!(consumer.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Producer<T, W: Wait = Yield> {
    cursor: ProducerCursor<Shared>,
    places: Places<T>,
    // Last: it wakes the others when the cursor is gone.
    door: Door<W>,
}

// SAFETY: the places are only reached through `&mut self`, and there is one producer.
unsafe impl<T: Pod + Send, W: Wait + Send> Send for Producer<T, W> {}

impl<T: Pod, W: Wait> Producer<T, W> {
    /// Creates the ring `name` with places for `capacity` messages, a power of two.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: a ring has one producer.
    pub fn create<N>(name: N, capacity: u64) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::create_with(name, &QueueOptions::new(capacity))
    }

    /// Creates the ring `name`.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: a ring has one producer.
    pub fn create_with<N>(name: N, options: &QueueOptions) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let memory: Arc<dyn Memory> = Arc::new(Named::create::<T>(&name, options)?);
        // SAFETY: the segment was just created for messages of type `T`, by us, writable.
        Ok(unsafe { Self::over(memory) })
    }

    /// The producer of a ring in this memory.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`, is writable, and has no other producer.
    pub unsafe fn over(memory: Arc<dyn Memory>) -> Self {
        let shared = Shared::new(memory);
        let ring = shared.memory().ring();
        let cursor = ProducerCursor::new(shared.clone(), ring.capacity, ring.first);
        let places = Places::new(shared.memory());
        Self { cursor, places, door: Door::new(shared, Side::Producer) }
    }
}

impl<T: Pod, W: Wait> Producer<T, W> {
    /// The same producer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Producer<T, V> {
        let Self { cursor, places, door } = self;
        Producer { cursor, places, door: door.waiting(wait) }
    }

    /// Sends a message if there is a place for it now.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was sent.
    #[inline(always)]
    pub fn try_send(&mut self, message: T) -> Result<(), Full> {
        let sequence = self.cursor.claim(1).ok_or(Full)?;
        self.write(sequence, message);
        Ok(())
    }

    /// Sends a message, waiting for as long as the ring is full.
    #[inline(always)]
    pub fn send(&mut self, message: T) {
        if self.cursor.claim(1).is_none() {
            self.wait_for(1, None);
        }
        self.write(self.cursor.next(), message);
    }

    /// Sends a message, waiting for at most `timeout` while the ring is full.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was sent.
    pub fn send_timeout(&mut self, message: T, timeout: Duration) -> Result<(), SendTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        if self.cursor.claim(1).is_none() && !self.wait_for(1, deadline) {
            return Err(SendTimeoutError::TimedOut(timeout));
        }
        self.write(self.cursor.next(), message);
        Ok(())
    }

    /// Lends `n` places to write in, if that many are free now. Nothing is visible until
    /// [`Reservation::publish`].
    ///
    /// # Errors
    ///
    /// [`ReserveError`]; nothing was reserved.
    #[inline]
    pub fn try_reserve(&mut self, n: usize) -> Result<Reservation<'_, T, W>, ReserveError> {
        self.check(n)?;
        let first = self.cursor.claim(n as u64).ok_or(Full)?;
        Ok(Reservation { producer: self, run: Run { first, len: n as u64 } })
    }

    /// Lends as many places to write in as are free now, at least one and at most `most`.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was reserved.
    #[inline]
    pub fn try_reserve_up_to(&mut self, most: usize) -> Result<Reservation<'_, T, W>, Full> {
        let len = self.cursor.claim_up_to(most.max(1) as u64);
        if len == 0 {
            return Err(Full);
        }
        let run = Run { first: self.cursor.next(), len };
        Ok(Reservation { producer: self, run })
    }

    /// Lends `n` places to write in, waiting until that many are free.
    ///
    /// # Errors
    ///
    /// [`ReserveError::TooMany`] if the ring never has that many.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> Result<Reservation<'_, T, W>, ReserveError> {
        self.check(n)?;
        if self.cursor.claim(n as u64).is_none() {
            self.wait_for(n as u64, None);
        }
        let run = Run { first: self.cursor.next(), len: n as u64 };
        Ok(Reservation { producer: self, run })
    }

    /// Sends as many of the first messages as there are places for now, and publishes them once; says
    /// how many.
    #[inline]
    pub fn try_send_batch(&mut self, messages: &[T]) -> usize {
        let len = self.cursor.claim_up_to(messages.len() as u64);
        let sent = len as usize;
        let run = Run { first: self.cursor.next(), len };
        Reservation { producer: self, run }.fill(&messages[..sent]).publish();
        sent
    }

    /// Sends all messages, in order, waiting where it must, and publishes once for as many as fit.
    #[inline]
    pub fn send_batch(&mut self, mut messages: &[T]) {
        while !messages.is_empty() {
            let sent = self.try_send_batch(messages);
            messages = &messages[sent..];
            if sent == 0 {
                self.wait_for(1, None);
            }
        }
    }

    /// How many messages the ring holds.
    pub fn capacity(&self) -> u64 {
        self.cursor.capacity().get()
    }

    /// The sequence of the next message: how many were sent since the ring's first one.
    pub fn next_sequence(&self) -> Sequence {
        self.cursor.next()
    }

    /// The registered consumers.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        roster::list(self.door.shared())
    }

    /// Waits until at least `n` consumers are registered.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn wait_for_consumers(&mut self, n: usize, timeout: Duration) -> Result<(), TimedOut> {
        wait::poll(timeout, || self.consumers().len() >= n)
    }

    /// Waits until every registered consumer has read and released everything that was sent.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn drain(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        wait::poll(timeout, || self.cursor.lag() == 0)
    }

    /// Frees the slot of a consumer that is dead, so that it gates nobody; says whether there was one.
    ///
    /// See [`roster::evict`] for what it means to a consumer that is not dead.
    pub fn evict(&mut self, consumer: &ConsumerInfo) -> bool {
        self.door.evict(consumer)
    }

    /// Tells consumers that nothing more will come. They read what is there, then see the end.
    ///
    /// The ring stays, and keeps its name, until the producer is dropped.
    pub fn close(&mut self) {
        self.cursor.close();
        self.door.wake(Side::Consumer);
    }

    #[inline(always)]
    fn write(&mut self, sequence: Sequence, message: T) {
        // SAFETY: the sequence was claimed: the place is ours alone until we publish it.
        unsafe { self.places.at(sequence).write(message) };
        self.publish(1);
    }

    #[inline(always)]
    fn publish(&mut self, n: u64) {
        self.cursor.publish(n);
        self.door.wake(Side::Consumer);
    }

    fn check(&self, asked: usize) -> Result<(), ReserveError> {
        let capacity = self.capacity();
        if asked as u64 > capacity {
            return Err(ReserveError::TooMany { asked, capacity });
        }
        Ok(())
    }

    #[cold]
    fn wait_for(&mut self, n: u64, deadline: Option<Instant>) -> bool {
        let Self { cursor, door, .. } = self;
        door.until(deadline, || cursor.claim(n)).is_some()
    }
}

/// Places lent to be written in. Dropping it without [`publish`](Reservation::publish) sends nothing.
#[derive(Debug)]
pub struct Reservation<'a, T: Pod, W: Wait> {
    producer: &'a mut Producer<T, W>,
    run: Run,
}

impl<T: Pod, W: Wait> Reservation<'_, T, W> {
    /// The places in order: up to the end of the ring, and from its start; the second part is empty
    /// unless the run wraps. They hold whatever was there before.
    #[inline]
    pub fn slices(&mut self) -> (&mut [T], &mut [T]) {
        let (mut head, mut tail) = self.producer.places.of(self.run);
        // SAFETY: the run was claimed, so its places are ours alone until published; the borrow of
        // the producer keeps it so. The parts do not overlap.
        let head = unsafe { head.as_mut() };
        // SAFETY: as above.
        let tail = unsafe { tail.as_mut() };
        (head, tail)
    }

    /// Copies `messages` into the first places.
    ///
    /// # Panics
    ///
    /// If there are more messages than places.
    #[inline]
    #[must_use]
    pub fn fill(mut self, messages: &[T]) -> Self {
        let (head, tail) = self.slices();
        assert!(messages.len() <= head.len() + tail.len(), "more messages than places");
        let (first, second) = messages.split_at(messages.len().min(head.len()));
        head[..first.len()].copy_from_slice(first);
        tail[..second.len()].copy_from_slice(second);
        self
    }

    /// How many places.
    pub fn len(&self) -> usize {
        self.run.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.run.len == 0
    }

    /// The sequence of the message in the first place.
    pub fn first(&self) -> Sequence {
        self.run.first
    }

    /// Makes all messages visible at once.
    #[inline(always)]
    pub fn publish(self) {
        self.producer.publish(self.run.len);
    }

    /// Makes the first `n` messages visible, and gives the other places back.
    ///
    /// # Panics
    ///
    /// If there are fewer than `n` places.
    #[inline]
    pub fn publish_first(self, n: usize) {
        assert!(n as u64 <= self.run.len, "{n} messages of {} were to be published", self.run.len);
        self.producer.publish(n as u64);
    }
}
