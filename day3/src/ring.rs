//! Messages of a type `T`, in the places that the sequencer grants.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::sync::{AtomicU8, AtomicU64, Ordering};
use common::{Capacity, NameError, QueueName, Sequence};
use day2::Mode;

use crate::error::{
    CreateError, Full, JoinError, RecvError, RecvTimeoutError, ReserveError, SendTimeoutError,
    TimedOut, TryRecvError,
};
use crate::group::MemberCursor;
use crate::memory::{Memory, Named, Shared};
use crate::options::{JoinOptions, QueueOptions};
use crate::roster::{self, Applicant, ConsumerInfo, Role, Seat, Start};
use crate::sequencer::{ConsumerCursor, Cursor, Nothing, ProducerCursor, Run};
use crate::tap::TapCursor;
use crate::wait::{Side, Wait, Yield};

/// The places of a ring, as this process has them mapped.
#[derive(Debug)]
struct Places<T> {
    start: NonNull<T>,
    capacity: Capacity,
}

impl<T: Pod> Places<T> {
    fn new(memory: &dyn Memory) -> Self {
        Self { start: memory.data().cast(), capacity: memory.ring().capacity }
    }

    #[inline(always)]
    fn at(&self, sequence: Sequence) -> NonNull<T> {
        // SAFETY: an index is below the capacity, and data has room for that many.
        unsafe { self.start.add(self.capacity.index(sequence)) }
    }

    /// The places of a run: up to the end of the ring, and from its start.
    #[inline]
    fn of(&self, run: Run) -> (NonNull<[T]>, NonNull<[T]>) {
        let (head, tail) = self.capacity.places(run.first, run.len);
        let slice = NonNull::slice_from_raw_parts;
        (slice(self.at(run.first), head.len()), slice(self.start, tail.len()))
    }
}

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
pub struct Producer<T, W = Yield> {
    cursor: ProducerCursor<Shared>,
    places: Places<T>,
    shared: Shared,
    wait: W,
}

// SAFETY: the places are only reached through `&mut self`, and there is one producer.
unsafe impl<T: Pod + Send, W: Send> Send for Producer<T, W> {}

impl<T: Pod> Producer<T> {
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
        Self { cursor, places, shared, wait: Yield }
    }
}

impl<T: Pod, W: Wait> Producer<T, W> {
    /// The same producer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Producer<T, V> {
        let Self { cursor, places, shared, .. } = self;
        Producer { cursor, places, shared, wait }
    }

    /// Sends a message if there is a place for it now.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: T) -> Result<(), Full> {
        let sequence = self.cursor.claim(1).ok_or(Full)?;
        self.write(sequence, message);
        Ok(())
    }

    /// Sends a message, waiting for as long as the ring is full.
    #[inline]
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
        roster::list(&self.shared)
    }

    /// Waits until at least `n` consumers are registered.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn wait_for_consumers(&mut self, n: usize, timeout: Duration) -> Result<(), TimedOut> {
        self.poll(timeout, |producer| producer.consumers().len() >= n)
    }

    /// Waits until every registered consumer has read and released everything that was sent.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn drain(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        self.poll(timeout, |producer| producer.cursor.lag() == 0)
    }

    /// Frees the slot of a consumer that is dead, so that it gates nobody; says whether there was one.
    ///
    /// See [`roster::evict`] for what it means to a consumer that is not dead.
    pub fn evict(&mut self, slot: usize) -> bool {
        roster::evict(&self.shared, slot)
    }

    /// Tells consumers that nothing more will come. They read what is there, then see the end.
    ///
    /// The ring stays, and keeps its name, until the producer is dropped.
    pub fn close(&mut self) {
        self.cursor.close();
        self.wait.wake(Side::Consumer, &self.shared.doorbell);
    }

    #[inline]
    fn write(&mut self, sequence: Sequence, message: T) {
        // SAFETY: the sequence was claimed: the place is ours alone until we publish it.
        unsafe { self.places.at(sequence).write(message) };
        self.publish(1);
    }

    #[inline]
    fn publish(&mut self, n: u64) {
        self.cursor.publish(n);
        self.wait.wake(Side::Consumer, &self.shared.doorbell);
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
        let Self { cursor, shared, wait, .. } = self;
        wait.until(Side::Producer, &shared.doorbell, deadline, || cursor.claim(n)).is_some()
    }

    fn poll(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), TimedOut> {
        let started = Instant::now();
        while !done(self) {
            if started.elapsed() >= timeout {
                return Err(TimedOut(timeout));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
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
    #[inline]
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

/// A registered consumer; how it comes by its sequences is `K`'s to say.
///
/// Use it as [`Consumer`] or [`Group`]. Dropping it frees its slot.
#[derive(Debug)]
pub struct Receiver<T, K, W = Yield> {
    cursor: K,
    places: Places<T>,
    shared: Shared,
    wait: W,
}

/// A broadcast consumer: sees every message from the first that it is promised, and gates the
/// producer, so that none is lost.
pub type Consumer<T, W = Yield> = Receiver<T, ConsumerCursor<Shared>, W>;

/// A member of a group: each message goes to exactly one of the members. While a group has a member,
/// what it has not read gates the producer.
///
/// [`recv`](Receiver::recv) takes one message, so that slow work is shared evenly;
/// [`recv_batch`](Receiver::recv_batch) takes many, so that little work is shared fast.
pub type Group<T, W = Yield> = Receiver<T, MemberCursor<Shared>, W>;

// SAFETY: the places are only reached through `&mut self` for sequences that this consumer holds.
unsafe impl<T: Pod + Send, K: Send, W: Send> Send for Receiver<T, K, W> {}

impl<T: Pod> Consumer<T> {
    /// Joins the ring `name`.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, start: Start) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::join_with(name, start, &JoinOptions::new())
    }

    /// Joins the ring `name`.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join_with<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let memory = open::<T, N>(name, Mode::Reader, options)?;
        // SAFETY: `open` has checked that the ring holds messages of type `T`.
        unsafe { Self::over(memory, start, options) }
    }

    /// A broadcast consumer of the ring in this memory.
    ///
    /// # Errors
    ///
    /// [`JoinError::TooManyConsumers`], [`JoinError::Lock`].
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`.
    pub unsafe fn over(
        memory: Arc<dyn Memory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let seat = admit(&*memory, Role::Broadcast, start, options)?;
        let shared = Shared::new(memory);
        Ok(Self::with_cursor(ConsumerCursor::new(shared.clone(), seat), shared))
    }
}

impl<T: Pod> Group<T> {
    /// Joins the group `group` of the ring `name`; the first member begins at `start`.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, group: &str, start: Start) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::join_with(name, group, start, &JoinOptions::new())
    }

    /// Joins the group `group` of the ring `name`; the first member begins at `start`.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join_with<N>(
        name: N,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let memory = open::<T, N>(name, Mode::Reader, options)?;
        // SAFETY: `open` has checked that the ring holds messages of type `T`.
        unsafe { Self::over(memory, group, start, options) }
    }

    /// A member of a group of the ring in this memory.
    ///
    /// # Errors
    ///
    /// [`JoinError::GroupName`], [`JoinError::TooManyConsumers`], [`JoinError::Lock`].
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`.
    pub unsafe fn over(
        memory: Arc<dyn Memory>,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        if !roster::is_group_name(group) {
            return Err(JoinError::GroupName { found: group.to_owned() });
        }
        let seat = admit(&*memory, Role::Member { group }, start, options)?;
        let shared = Shared::new(memory);
        Ok(Self::with_cursor(MemberCursor::new(shared.clone(), seat), shared))
    }
}

impl<T: Pod, K: Cursor> Receiver<T, K> {
    fn with_cursor(cursor: K, shared: Shared) -> Self {
        let places = Places::new(shared.memory());
        Self { cursor, places, shared, wait: Yield }
    }
}

impl<T: Pod, K: Cursor, W: Wait> Receiver<T, K, W> {
    /// The same consumer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Receiver<T, K, V> {
        let Self { cursor, places, shared, .. } = self;
        Receiver { cursor, places, shared, wait }
    }

    /// The first sequence that this consumer, or for a member its group, was promised on joining.
    pub fn first_sequence(&self) -> Sequence {
        self.cursor.seat().first()
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.cursor.seat().slot()
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let run = self.cursor.take(1)?;
        Ok(self.read(run))
    }

    /// The next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let run = match self.cursor.take(1) {
            Ok(run) => run,
            Err(_) => self.wait_for(1)?,
        };
        Ok(self.read(run))
    }

    /// The next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let run = self.wait_until(1, timeout)?;
        Ok(self.read(run))
    }

    /// Lends up to `most` messages (at least one is always asked for), as many as there are now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv_batch(&mut self, most: usize) -> Result<Batch<'_, T, K, W>, TryRecvError> {
        let run = self.cursor.take(most.max(1) as u64)?;
        Ok(Batch { receiver: self, run })
    }

    /// Lends up to `most` messages, waiting for the first of them.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv_batch(&mut self, most: usize) -> Result<Batch<'_, T, K, W>, RecvError> {
        let most = most.max(1) as u64;
        let run = match self.cursor.take(most) {
            Ok(run) => run,
            Err(_) => self.wait_for(most)?,
        };
        Ok(Batch { receiver: self, run })
    }

    /// Lends up to `most` messages, waiting for the first of them for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_batch_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<Batch<'_, T, K, W>, RecvTimeoutError> {
        let run = self.wait_until(most.max(1) as u64, timeout)?;
        Ok(Batch { receiver: self, run })
    }

    #[inline]
    fn read(&mut self, run: Run) -> T {
        // SAFETY: the run is ours to read until we release it; `Pod` makes every bit pattern a `T`.
        let message = unsafe { self.places.at(run.first).read() };
        self.release();
        message
    }

    #[inline]
    fn release(&mut self) {
        self.cursor.release();
        self.wait.wake(Side::Producer, &self.shared.doorbell);
    }

    #[cold]
    fn wait_for(&mut self, most: u64) -> Result<Run, RecvError> {
        let Self { cursor, shared, wait, .. } = self;
        let taken =
            wait.until(Side::Consumer, &shared.doorbell, None, || settle(cursor.take(most)));
        // Without a deadline the wait ends with an answer only.
        taken.unwrap_or(Err(RecvError::Closed))
    }

    fn wait_until(&mut self, most: u64, timeout: Duration) -> Result<Run, RecvTimeoutError> {
        let Self { cursor, shared, wait, .. } = self;
        let deadline = Instant::now().checked_add(timeout);
        let poll = || settle(cursor.take(most));
        match wait.until(Side::Consumer, &shared.doorbell, deadline, poll) {
            Some(run) => Ok(run?),
            None => Err(RecvTimeoutError::TimedOut(timeout)),
        }
    }
}

/// `None` where waiting may help.
#[inline]
fn settle(taken: Result<Run, Nothing>) -> Option<Result<Run, RecvError>> {
    match taken {
        Ok(run) => Some(Ok(run)),
        Err(Nothing::Empty) => None,
        Err(Nothing::Closed) => Some(Err(RecvError::Closed)),
        Err(Nothing::Evicted) => Some(Err(RecvError::Evicted)),
    }
}

/// Messages lent to be read; dropping it releases their places.
#[derive(Debug)]
pub struct Batch<'a, T: Pod, K: Cursor, W: Wait> {
    receiver: &'a mut Receiver<T, K, W>,
    run: Run,
}

impl<T: Pod, K: Cursor, W: Wait> Batch<'_, T, K, W> {
    /// The messages in order: up to the end of the ring, and from its start; the second part is empty
    /// unless the run wraps.
    #[inline]
    pub fn slices(&self) -> (&[T], &[T]) {
        let (head, tail) = self.receiver.places.of(self.run);
        // SAFETY: the run is ours to read until this batch is dropped, and nobody writes it before.
        let head = unsafe { head.as_ref() };
        // SAFETY: as above.
        let tail = unsafe { tail.as_ref() };
        (head, tail)
    }

    /// The messages in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (head, tail) = self.slices();
        head.iter().chain(tail)
    }

    /// How many messages: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.run.len as usize
    }

    /// The sequence of the first of them.
    pub fn first(&self) -> Sequence {
        self.run.first
    }
}

impl<T: Pod, K: Cursor, W: Wait> Drop for Batch<'_, T, K, W> {
    #[inline]
    fn drop(&mut self) {
        self.receiver.release();
    }
}

/// A reader that is registered nowhere, maps everything read-only, and never slows the producer. Once
/// it has caught up, [`received`](Tap::received) + [`lost`](Tap::lost) is the number of messages sent
/// since it began.
#[derive(Debug)]
pub struct Tap<T, W = Yield> {
    cursor: TapCursor<Shared>,
    places: Places<T>,
    shared: Shared,
    wait: W,
}

// SAFETY: the places are only read, as atomic words.
unsafe impl<T: Pod + Send, W: Send> Send for Tap<T, W> {}

impl<T: Pod> Tap<T> {
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

    /// Opens the ring `name` to look at what goes by. A tap has no label: nobody sees it.
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
        Ok(unsafe { Self::over(memory, start) })
    }

    /// A tap on the ring in this memory.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of type `T`.
    pub unsafe fn over(memory: Arc<dyn Memory>, start: Start) -> Self {
        let shared = Shared::new(memory);
        let cursor = TapCursor::new(shared.clone(), shared.memory().ring(), start);
        let places = Places::new(shared.memory());
        Self { cursor, places, shared, wait: Yield }
    }
}

impl<T: Pod, W: Wait> Tap<T, W> {
    /// The same tap, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Tap<T, V> {
        let Self { cursor, places, shared, .. } = self;
        Tap { cursor, places, shared, wait }
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
        self.wait_for(&mut message, None).unwrap_or(Err(RecvError::Closed))?;
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
        let deadline = Instant::now().checked_add(timeout);
        match self.wait_for(&mut message, deadline) {
            Some(received) => received?,
            None => return Err(RecvTimeoutError::TimedOut(timeout)),
        };
        let [message] = message;
        Ok(message)
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
        loop {
            let run = self.cursor.take(into.len() as u64)?;
            let copied = run.len as usize;
            for (i, place) in into[..copied].iter_mut().enumerate() {
                // SAFETY: a place of the ring, which this process has mapped and never writes.
                *place = unsafe { read_words(self.places.at(run.first.plus(i as u64))) };
            }
            let torn = self.cursor.confirm(run) as usize;
            if torn < copied {
                into.copy_within(torn..copied, 0);
                return Ok(copied - torn);
            }
        }
    }

    /// Messages received.
    pub fn received(&self) -> u64 {
        self.cursor.received()
    }

    /// Messages overwritten before this tap had copied them.
    pub fn lost(&self) -> u64 {
        self.cursor.lost()
    }

    /// Messages sent that this tap has neither received nor lost yet.
    pub fn lag(&self) -> u64 {
        self.cursor.lag()
    }

    fn wait_for(
        &mut self,
        into: &mut [T],
        deadline: Option<Instant>,
    ) -> Option<Result<usize, RecvError>> {
        let doorbell = self.shared.clone();
        let mut wait = core::mem::take(&mut self.wait);
        let answer = wait.until(Side::Consumer, &doorbell.doorbell, deadline, || {
            match self.try_recv_into(into) {
                Ok(received) => Some(Ok(received)),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::End(end)) => Some(Err(end)),
            }
        });
        self.wait = wait;
        answer
    }
}

/// Copies a message that the producer may be writing at this moment.
///
/// A torn copy is no undefined behaviour on our side: every word is read by a relaxed atomic load.
///
/// # Safety
///
/// `place` is a place of a ring: readable, and aligned to 8 bytes if its size is a multiple of 8.
#[inline]
unsafe fn read_words<T: Pod>(place: NonNull<T>) -> T {
    let mut copy = MaybeUninit::<T>::uninit();
    let (from, to) = (place.as_ptr(), copy.as_mut_ptr());
    if size_of::<T>().is_multiple_of(8) {
        let (from, to) = (from.cast::<AtomicU64>(), to.cast::<u64>());
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: inside the place, and aligned: data is, and the size is a multiple of 8.
            let word = unsafe { &*from.wrapping_add(i) };
            let word = word.load(Ordering::Relaxed);
            // SAFETY: inside the copy, wherever that is aligned.
            unsafe { to.wrapping_add(i).write_unaligned(word) };
        }
    } else {
        let (from, to) = (from.cast::<AtomicU8>(), to.cast::<u8>());
        for i in 0..size_of::<T>() {
            // SAFETY: inside the place.
            let byte = unsafe { &*from.wrapping_add(i) };
            let byte = byte.load(Ordering::Relaxed);
            // SAFETY: inside the copy.
            unsafe { to.wrapping_add(i).write(byte) };
        }
    }
    // SAFETY: every byte was written, and every bit pattern is a `T`.
    unsafe { copy.assume_init() }
}

fn open<T, N>(name: N, mode: Mode, options: &JoinOptions) -> Result<Arc<dyn Memory>, JoinError>
where
    T: Pod,
    N: TryInto<QueueName, Error: Into<NameError>>,
{
    let name = name.try_into().map_err(Into::into)?;
    Ok(Arc::new(Named::open::<T>(&name, mode, options)?))
}

fn admit(
    memory: &dyn Memory,
    role: Role<'_>,
    start: Start,
    options: &JoinOptions,
) -> Result<Seat, JoinError> {
    let (owner, label) = (std::process::id(), options.label.as_str());
    let applicant = Applicant { role, start, owner, label };
    let mut seat = None;
    memory.locked(options.deadline, &mut || {
        seat = Some(roster::join(memory.control(), memory.ring(), &applicant));
    })?;
    seat.and_then(Result::ok).ok_or(JoinError::TooManyConsumers)
}
