//! The end that writes.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use common::{NameError, QueueName, Sequence};
use day2::header::Expected;
use day2::{Kind, LockError};

use super::{Element, Places};
use crate::error::{
    CreateError, ResumeError, SendError, SendTimeoutError, TimedOut, TooLarge, TrySendError,
};
use crate::link::Link;
use crate::memory::{self, Memory, NamedMemory, Shared};
use crate::options::QueueOptions;
use crate::recovery::Death;
use crate::rooms::Eviction;
use crate::roster::{self, Burial, ConsumerInfo, EvictError, GroupInfo};
use crate::sequencer::{ProducerCursor, Refusal, Run, Unattended};
use crate::wait::{self, Side, Wait, Waiter, Yield};

/// The end that writes a ring. A ring has one.
///
/// Dropping it closes the ring, so that consumers drain and then see the end, and removes the name. If
/// its thread panics, consumers are told that it was aborted.
///
/// # Examples
///
/// ```
/// # use day3 as fanout;
/// use fanout::{Consumer, Producer, Start};
///
/// let name = format!("/doc-ring-{}", std::process::id());
/// let mut producer = Producer::<u64>::create(&name, 1024)?;
/// let mut consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
/// producer.send(42)?;
/// assert_eq!(consumer.recv()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer<T, W: Wait = Yield> {
    cursor: ProducerCursor<Shared>,
    places: Places<T>,
    // Last: a strategy that signals descriptors hangs up after the ring is closed.
    waiter: Waiter<W>,
}

impl<T, W: Wait> fmt::Debug for Producer<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("next", &self.cursor.next()).finish_non_exhaustive()
    }
}

// SAFETY: the places are only reached through `&mut self`, and there is one producer.
unsafe impl<T: Element + Send, W: Wait + Send> Send for Producer<T, W> {}

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
        let expected = expected::<T>(options);
        let create = || {
            let memory: Arc<dyn Memory> = Arc::new(NamedMemory::create(&name, &expected, options)?);
            // SAFETY: the segment was just created for messages of type `T`, by us, writable.
            Ok(unsafe { Self::from_memory_with(memory, options.unattended()) })
        };
        options.establish(&name, create, || Self::resume_with(name.clone(), options))
    }

    /// Takes over the ring `name` from a producer that has died. Sequences go on, and consumers that are attached
    /// get what is sent from now on.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]; the ring is as it was.
    pub fn resume<N>(name: N) -> Result<Self, ResumeError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::resume_with(name, &QueueOptions::new(1))
    }

    /// The same, with these options: what to do while no consumer is registered, and what the message type is
    /// called. The ring keeps its capacity and its permissions.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]; the ring is as it was.
    pub fn resume_with<N>(name: N, options: &QueueOptions) -> Result<Self, ResumeError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let memory = NamedMemory::succeed(&name, &expected::<T>(options), options)?;
        // SAFETY: we have the producer's lease, and the ring was found to hold messages of type `T`.
        unsafe { Self::succeeding(&name, memory, options, size_of::<T>()) }
    }

    /// The producer of a ring in this memory.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`, is writable, and has no other producer.
    pub unsafe fn from_memory(memory: Arc<dyn Memory>) -> Self {
        // SAFETY: the caller says so.
        unsafe { Self::from_memory_with(memory, Unattended::default()) }
    }

    /// The same, doing this with messages while no consumer is registered.
    ///
    /// # Safety
    ///
    /// As for [`from_memory`](Self::from_memory).
    pub unsafe fn from_memory_with(memory: Arc<dyn Memory>, unattended: Unattended) -> Self {
        // SAFETY: the caller says so.
        unsafe { Self::beginning(memory, unattended, size_of::<T>()) }
    }
}

/// What the options say of messages of this type.
fn expected<T: Pod>(options: &QueueOptions) -> Expected<'_> {
    Expected::messages::<T>(Kind::Ring, options.type_name::<T>())
}

impl<T: Element, W: Wait> Producer<T, W> {
    /// The first producer of a ring in this memory, of messages of so many bytes.
    ///
    /// # Safety
    ///
    /// The memory was made for such messages, is writable, and has no other producer.
    pub(super) unsafe fn beginning(
        memory: Arc<dyn Memory>,
        unattended: Unattended,
        size: usize,
    ) -> Self {
        let shared = Shared::new(memory);
        let ring = shared.memory().ring();
        // SAFETY: the caller says that there is no other producer.
        let cursor = unsafe { ProducerCursor::new(shared.clone(), ring.capacity, ring.first) };
        // SAFETY: the caller says that the memory was made for messages of this size.
        unsafe { Self::with_cursor(cursor.unattended(unattended), shared, size) }
    }

    /// The producer that comes after a dead one.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of this size, and this process has the producer's lease.
    pub(super) unsafe fn succeeding(
        name: &QueueName,
        memory: NamedMemory,
        options: &QueueOptions,
        size: usize,
    ) -> Result<Self, ResumeError> {
        let shared = Shared::new(Arc::new(memory));
        let ring = shared.memory().ring();
        // SAFETY: we have the producer's lease, and the segment was made ready by a producer.
        let cursor =
            unsafe { ProducerCursor::resuming(shared.clone(), ring.capacity, ring.first, ()) };
        let cursor = cursor.map_err(|why| ResumeError::new(name, why))?;
        // SAFETY: the caller says that the memory was made for messages of this size.
        Ok(unsafe { Self::with_cursor(cursor.unattended(options.unattended()), shared, size) })
    }

    /// # Safety
    ///
    /// The memory was made for messages of this size.
    unsafe fn with_cursor(cursor: ProducerCursor<Shared>, shared: Shared, size: usize) -> Self {
        // SAFETY: the caller says so.
        let places = unsafe { Places::of_size(shared.memory(), size) };
        Self { cursor, places, waiter: Waiter::new(shared, Side::Producer) }
    }
}

impl<T: Element, W: Wait> Producer<T, W> {
    /// The same producer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Producer<T, V> {
        let Self { cursor, places, waiter } = self;
        Producer { cursor, places, waiter: waiter.waiting(wait) }
    }
}

impl<T: Pod, W: Wait> Producer<T, W> {
    /// Sends a message if there is a place for it now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline(always)]
    pub fn try_send(&mut self, message: T) -> Result<(), TrySendError> {
        let sequence = self.cursor.claim_one()?;
        self.write(sequence, message);
        Ok(())
    }

    /// Sends a message, waiting for as long as the ring is full.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    #[inline(always)]
    pub fn send(&mut self, message: T) -> Result<(), SendError> {
        let sequence = match self.cursor.claim_one() {
            Ok(sequence) => sequence,
            Err(refusal) => self.wait_for(1, refusal)?,
        };
        self.write(sequence, message);
        Ok(())
    }

    /// Sends a message, waiting for at most `timeout` while the ring is full.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was sent.
    pub fn send_timeout(&mut self, message: T, timeout: Duration) -> Result<(), SendTimeoutError> {
        let sequence = match self.cursor.claim_one() {
            Ok(sequence) => sequence,
            Err(_) => self.wait_until(1, timeout)?,
        };
        self.write(sequence, message);
        Ok(())
    }

    /// Sends as many of the first messages as there are places for now, at least one if there are any
    /// to send, and publishes them once; says how many.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send_batch(&mut self, messages: &[T]) -> Result<usize, TrySendError> {
        self.send_some(messages, messages.len())
    }

    /// Sends all messages, in order, waiting where it must, and publishes once for as many as fit.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the first of the messages may have been sent, as [`Producer::next_sequence`] tells.
    #[inline]
    pub fn send_batch(&mut self, mut messages: &[T]) -> Result<(), SendError> {
        while !messages.is_empty() {
            match self.try_send_batch(messages) {
                Ok(sent) => messages = &messages[sent..],
                Err(TrySendError::Full) => {
                    self.wait_for(1, Refusal::Full)?;
                }
                Err(TrySendError::End(end)) => return Err(end),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn write(&mut self, sequence: Sequence, message: T) {
        // SAFETY: the sequence was claimed: the place is ours alone until we publish it.
        unsafe { self.places.at(sequence).write(message) };
        self.publish(1);
    }
}

impl<T: Element, W: Wait> Producer<T, W> {
    /// Lends `n` places to write in, if that many are free now. Nothing is visible until
    /// [`Reservation::publish`].
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was reserved.
    #[inline]
    pub fn try_reserve(&mut self, n: usize) -> Result<Reservation<'_, T, W>, TrySendError> {
        self.check(n)?;
        let first = self.cursor.claim(n as u64)?;
        Ok(Reservation { producer: self, run: Run { first, len: n as u64 } })
    }

    /// Lends as many places to write in as are free now, at least one and at most `most`.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was reserved.
    #[inline]
    pub fn try_reserve_up_to(
        &mut self,
        most: usize,
    ) -> Result<Reservation<'_, T, W>, TrySendError> {
        let len = self.cursor.claim_up_to(most.max(1) as u64)?;
        let run = Run { first: self.cursor.next(), len };
        Ok(Reservation { producer: self, run })
    }

    /// Lends `n` places to write in, waiting until that many are free.
    ///
    /// # Errors
    ///
    /// [`SendError`]; [`SendError::TooLarge`] if the ring never has that many.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> Result<Reservation<'_, T, W>, SendError> {
        self.check(n)?;
        let first = match self.cursor.claim(n as u64) {
            Ok(first) => first,
            Err(refusal) => self.wait_for(n as u64, refusal)?,
        };
        Ok(Reservation { producer: self, run: Run { first, len: n as u64 } })
    }

    /// Lends `n` places to write in, waiting for at most `timeout` until that many are free.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was reserved.
    pub fn reserve_timeout(
        &mut self,
        n: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_, T, W>, SendTimeoutError> {
        self.check(n)?;
        let first = match self.cursor.claim(n as u64) {
            Ok(first) => first,
            Err(_) => self.wait_until(n as u64, timeout)?,
        };
        Ok(Reservation { producer: self, run: Run { first, len: n as u64 } })
    }

    /// How many messages the ring holds.
    pub fn capacity(&self) -> u64 {
        self.cursor.capacity().get()
    }

    /// The number that tells this queue from all others, and that it has in common with its copies; 0 in memory of one
    /// process.
    pub fn identity(&self) -> u64 {
        self.waiter.shared().identity()
    }

    /// The sequence of the next message: how many were sent since the ring's first one.
    pub fn next_sequence(&self) -> Sequence {
        self.cursor.next()
    }

    /// The registered consumers.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        let shared = self.waiter.shared();
        roster::list_with_lives(shared, |role| shared.is_leased(role))
    }

    /// Whether no consumer is registered. What is sent now is read only if a consumer joins in time.
    pub fn is_abandoned(&mut self) -> bool {
        self.cursor.is_abandoned()
    }

    /// The groups whose place the ring knows, also those without a member.
    pub fn groups(&self) -> Vec<GroupInfo> {
        roster::groups(self.waiter.shared())
    }

    /// Forgets the place of a group that has no living member, so that it no longer
    /// [holds](crate::JoinOptions::hold_when_empty) the producer back; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`LockError`] if a consumer has been joining for as long as `timeout`.
    pub fn forget_group(&mut self, group: &str, timeout: Duration) -> Result<bool, LockError> {
        memory::forget(self.waiter.shared(), group, timeout)
    }

    /// Waits until at least `n` consumers that are alive are registered.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn wait_for_consumers(&mut self, n: usize, timeout: Duration) -> Result<(), TimedOut> {
        wait::poll(timeout, || roster::living(self.waiter.shared()) >= n)
    }

    /// Waits until every registered consumer has read and released everything that was sent. Once the queue is closed or
    /// aborted, it waits for groups that [hold the end](crate::JoinOptions::hold_end), too: so close first, and drain then.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn drain(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        wait::poll(timeout, || self.cursor.is_drained())
    }

    /// Frees the slot of a consumer that is dead. What a dead member of a group had claimed goes to another member; while
    /// it [waits](Burial::Waits) for one, it keeps its slot, and holds this producer back.
    ///
    /// A producer that waits does this by itself, for the consumers that hold it back.
    ///
    /// # Errors
    ///
    /// [`EvictError`].
    pub fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<Burial, EvictError> {
        roster::evict_dead(self.waiter.shared(), consumer)
    }

    /// Takes its slot from a consumer, dead or alive, so that it does not hold this producer back. Says whether it
    /// has. What a dead member held waits for another one, as with [`evict_dead`](Self::evict_dead).
    ///
    /// # Safety
    ///
    /// The consumer does not read what it has borrowed: from now on messages that it has borrowed are overwritten.
    /// See [`roster::evict`].
    pub unsafe fn evict(&mut self, consumer: &ConsumerInfo) -> bool {
        // SAFETY: the caller says so.
        unsafe { self.waiter.evict(consumer) }
    }

    /// The consumers that this producer has turned out since the last call because they lagged: they had promised to go.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        self.cursor.take_evictions()
    }

    /// The consumers that this producer has found dead since the last call.
    pub fn take_deaths(&mut self) -> Vec<Death> {
        self.cursor.take_deaths()
    }

    /// Which of the queue's producers this one is: how many have taken over from a dead one before it.
    pub fn epoch(&self) -> u64 {
        self.waiter.shared().epoch()
    }

    /// Tells consumers that everything is sent. They read what is there, then see the end.
    ///
    /// The ring stays, and keeps its name, until the producer is dropped; to send is an error.
    pub fn close(&mut self) {
        self.waiter.changed(self.cursor.close());
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why. They read what
    /// is there, then get [`RecvError::Aborted`](crate::RecvError::Aborted).
    ///
    /// Of the reason, [`REASON_BYTES`](crate::control::REASON_BYTES) bytes are kept. A ring that is
    /// closed already stays so.
    pub fn abort(&mut self, reason: &str) {
        self.waiter.changed(self.cursor.abort(reason));
    }

    /// Leaves as a process that is killed: the queue keeps its name and what is in it, and [`resume`](Self::resume) goes on
    /// with it. Consumers that follow stay attached; others are told that the producer died.
    pub fn abandon(self) {
        self.waiter.shared().memory().leave_name();
        self.cursor.die();
    }

    /// Whether it was closed or aborted.
    pub fn is_closed(&self) -> bool {
        self.cursor.is_closed()
    }

    /// Sends as many of the first of these messages as there are places for now.
    #[inline]
    pub(super) fn send_some(
        &mut self,
        messages: &[T::Unit],
        count: usize,
    ) -> Result<usize, TrySendError> {
        let len = self.cursor.claim_up_to(count as u64)?;
        let sent = len as usize;
        let units = self.places.units(sent);
        let run = Run { first: self.cursor.next(), len };
        let mut places = Reservation { producer: self, run };
        places.copy(&messages[..units]);
        places.publish();
        Ok(sent)
    }

    /// How many bytes a message has.
    pub(super) fn size(&self) -> usize {
        self.places.size()
    }

    pub(super) fn shared(&self) -> &Shared {
        self.waiter.shared()
    }

    #[inline(always)]
    fn publish(&mut self, n: u64) {
        // SAFETY: every caller has claimed as many, and every bit pattern in a place is a message.
        let woke = unsafe { self.cursor.publish(n) };
        self.waiter.changed(woke);
    }

    fn check(&self, asked: usize) -> Result<(), SendError> {
        let most = self.capacity() as usize;
        if asked > most {
            return Err(TooLarge { len: asked, most }.into());
        }
        Ok(())
    }

    /// Waits for `n` places, which were refused for this reason.
    #[cold]
    #[inline(never)]
    fn wait_for(&mut self, n: u64, refusal: Refusal) -> Result<Sequence, SendError> {
        self.waiter.claim(&mut self.cursor, n, refusal)
    }

    /// Waits for `n` places for at most `timeout`.
    #[cold]
    #[inline(never)]
    pub(super) fn wait_until(
        &mut self,
        n: u64,
        timeout: Duration,
    ) -> Result<Sequence, SendTimeoutError> {
        self.waiter.claim_within(&mut self.cursor, n, timeout)
    }
}

/// Places lent to be written in. Dropping it without [`publish`](Reservation::publish) sends nothing.
#[must_use = "nothing is sent until it is published"]
pub struct Reservation<'a, T: Element, W: Wait> {
    producer: &'a mut Producer<T, W>,
    run: Run,
}

impl<T: Element, W: Wait> fmt::Debug for Reservation<'_, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("run", &self.run).finish_non_exhaustive()
    }
}

impl<T: Pod, W: Wait> Reservation<'_, T, W> {
    /// The places in order: up to the end of the ring, and from its start; the second part is empty
    /// unless the run wraps. They hold whatever was there before.
    #[inline]
    pub fn slices(&mut self) -> (&mut [T], &mut [T]) {
        self.parts()
    }

    /// Copies `messages` into the first places.
    ///
    /// # Panics
    ///
    /// If there are more messages than places.
    #[inline]
    pub fn fill(mut self, messages: &[T]) -> Self {
        self.copy(messages);
        self
    }
}

impl<T: Element, W: Wait> Reservation<'_, T, W> {
    /// The places in order: up to the end of the ring, and from its start.
    #[inline]
    fn parts(&mut self) -> (&mut [T::Unit], &mut [T::Unit]) {
        let (mut head, mut tail) = self.producer.places.of(self.run);
        // SAFETY: the run was claimed, so its places are ours alone until published; the borrow of
        // the producer keeps it so. The parts do not overlap.
        let head = unsafe { head.as_mut() };
        // SAFETY: as above.
        let tail = unsafe { tail.as_mut() };
        (head, tail)
    }

    #[inline]
    fn copy(&mut self, messages: &[T::Unit]) {
        let (head, tail) = self.parts();
        assert!(messages.len() <= head.len() + tail.len(), "more messages than places");
        let (first, second) = messages.split_at(messages.len().min(head.len()));
        head[..first.len()].copy_from_slice(first);
        tail[..second.len()].copy_from_slice(second);
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

    /// Makes all messages visible at once. In a child that was forked from the producer's process it does nothing.
    #[inline(always)]
    pub fn publish(mut self) {
        self.publish_some(self.run.len);
    }

    /// Makes the first `n` messages visible, and gives the other places back.
    ///
    /// # Panics
    ///
    /// If there are fewer than `n` places.
    #[inline]
    pub fn publish_first(mut self, n: usize) {
        assert!(n as u64 <= self.run.len, "{n} messages of {} were to be published", self.run.len);
        self.publish_some(n as u64);
    }

    /// The places may be the parent's by now: a copy in a forked child sends nothing.
    #[inline(always)]
    fn publish_some(&mut self, n: u64) {
        if !self.producer.cursor.is_forked() {
            self.producer.publish(n);
        }
    }
}
