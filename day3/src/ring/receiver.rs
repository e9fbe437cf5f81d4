//! The ends that read and are waited for: broadcast consumers and members of groups.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use common::cache::{AHEAD, prefetch};
use common::{NameError, QueueName, Sequence};
use day2::Mode;

use super::{Element, Places, open};
use crate::control::Ending;
use crate::error::{Evicted, JoinError, RecvError, RecvTimeoutError, TryRecvError};
use crate::group::MemberCursor;
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::outlook::Outlook;
use crate::roster::Start;
use crate::sequencer::{ConsumerCursor, Cursor, Run, Unavailable};
use crate::wait::{Side, Wait, Waiter, Yield};

/// A registered consumer; its cursor `K` says how it comes by its sequences.
///
/// Use it as [`Consumer`] or [`Member`]. Dropping it frees its slot.
pub struct Receiver<T, K, W: Wait = Yield> {
    cursor: K,
    places: Places<T>,
    waiter: Waiter<W>,
}

impl<T, K: Cursor, W: Wait> fmt::Debug for Receiver<T, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("registration", self.cursor.registration())
            .finish_non_exhaustive()
    }
}

/// A broadcast consumer: sees every message from the first that it is promised, and gates the
/// producer, so that none is lost.
pub type Consumer<T, W = Yield> = Receiver<T, ConsumerCursor<Shared>, W>;

/// A member of a group: each message goes to exactly one of the members. While a group has a member,
/// what it has not read gates the producer. When its last member leaves, the ring keeps the group's
/// place, and the next member goes on there, unless the producer has overwritten it meanwhile.
///
/// [`recv`](Receiver::recv) takes one message, so that slow work is shared evenly;
/// [`recv_batch`](Receiver::recv_batch) takes many, so that little work is shared fast.
pub type Member<T, W = Yield> = Receiver<T, MemberCursor<Shared>, W>;

// SAFETY: the places are only reached through `&mut self` for sequences that this consumer holds.
unsafe impl<T: Element + Send, K: Send, W: Wait + Send> Send for Receiver<T, K, W> {}

impl<T: Pod, W: Wait> Consumer<T, W> {
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
        unsafe { Self::from_memory(memory, start, options) }
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
    pub unsafe fn from_memory(
        memory: Arc<dyn Memory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory);
        Ok(Self::with_cursor(shared.join(start, options)?, shared))
    }
}

impl<T: Pod, W: Wait> Member<T, W> {
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
        unsafe { Self::from_memory(memory, group, start, options) }
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
    pub unsafe fn from_memory(
        memory: Arc<dyn Memory>,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory);
        Ok(Self::with_cursor(shared.join_group(group, start, options)?, shared))
    }
}

impl<T: Element, W: Wait> Member<T, W> {
    /// Whether what it received last had been claimed before by a member that died. That member may have worked on
    /// it, and may have been done with it.
    pub fn redelivered(&self) -> bool {
        self.cursor.redelivered()
    }

    /// Says that this group knows how the queue has ended, and that the producer need not wait for it
    /// ([`JoinOptions::hold_end`](crate::JoinOptions::hold_end)). Before the queue has ended, this does nothing.
    pub fn acknowledge_end(&self) {
        self.cursor.acknowledge_end();
    }

    /// Leaves as a process that is killed: what this member has taken and not given back goes to another member of the
    /// group, now or later, as [redelivered](Self::redelivered). Keep a batch from being given back with
    /// [`forget`](core::mem::forget).
    pub fn abandon(self) {
        self.cursor.die();
    }
}

impl<T: Pod, K: Cursor, W: Wait> Receiver<T, K, W> {
    fn with_cursor(cursor: K, shared: Shared) -> Self {
        let places = Places::new(shared.memory());
        Self::at(places, cursor, shared)
    }
}

impl<T: Element, K: Cursor, W: Wait> Receiver<T, K, W> {
    pub(super) fn at(places: Places<T>, cursor: K, shared: Shared) -> Self {
        Self { cursor, places, waiter: Waiter::new(shared, Side::Consumer) }
    }

    pub(super) fn shared(&self) -> &Shared {
        self.waiter.shared()
    }

    /// How many bytes a message has.
    pub(super) fn size(&self) -> usize {
        self.places.size()
    }
}

impl<T: Element, K: Cursor, W: Wait> Receiver<T, K, W> {
    /// The same consumer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Receiver<T, K, V> {
        let Self { cursor, places, waiter } = self;
        Receiver { cursor, places, waiter: waiter.waiting(wait) }
    }

    /// The first sequence that this consumer, or for a member its group, was promised on joining.
    pub fn first_sequence(&self) -> Sequence {
        self.cursor.registration().first()
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.cursor.registration().slot()
    }

    /// The number that tells this queue from all others, and that it has in common with its copies; 0 in memory of one
    /// process.
    pub fn identity(&self) -> u64 {
        self.waiter.shared().identity()
    }

    /// What can be told of this consumer from outside: whether it has something to do.
    pub fn outlook(&self) -> Outlook {
        Outlook::of(self.waiter.shared(), self.cursor.registration(), self.places.size() as u64)
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// How many messages the ring holds.
    pub fn capacity(&self) -> u64 {
        self.waiter.shared().memory().ring().capacity.get()
    }
}

impl<T: Pod, K: Cursor, W: Wait> Receiver<T, K, W> {
    /// The next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let run = self.cursor.take(1)?;
        Ok(self.read(run)?)
    }

    /// The next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline(always)]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let run = match self.cursor.take(1) {
            Ok(run) => run,
            Err(_) => self.wait_for(1)?,
        };
        self.read(run)
    }

    /// The next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let run = self.wait_until(1, timeout)?;
        Ok(self.read(run)?)
    }

    #[inline(always)]
    fn read(&mut self, run: Run) -> Result<T, RecvError> {
        // A claim is a compare-and-exchange, and no later load overtakes it: without a hint each message
        // would come from the producer's core only when the one before has been read. A broadcast
        // consumer's loads overlap by themselves.
        if !K::EXCLUSIVE {
            let ahead = run.first.plus(const { messages_ahead::<T>() });
            if ahead.is_before(self.cursor.known()) {
                prefetch(self.places.at(ahead).as_ptr());
            }
        }
        // SAFETY: the run is ours to read until we release it; `Pod` makes every bit pattern a `T`.
        let message = unsafe { self.places.at(run.first).read() };
        match self.cursor.release_copied() {
            Ok(woke) => {
                self.waiter.changed(woke);
                Ok(message)
            }
            Err(why) => Err(lost(why)),
        }
    }
}

impl<T: Element, K: Cursor, W: Wait> Receiver<T, K, W> {
    /// Lends up to `most` messages (at least one is always asked for).
    ///
    /// It may be fewer than there are: the producer is asked what is new only when everything known is
    /// read.
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

    #[inline(always)]
    fn release(&mut self) {
        self.waiter.changed(self.cursor.release());
    }

    #[cold]
    #[inline(never)]
    fn wait_for(&mut self, most: u64) -> Result<Run, RecvError> {
        let Self { cursor, waiter, .. } = self;
        waiter.receive(|| cursor.take(most))
    }

    #[cold]
    #[inline(never)]
    fn wait_until(&mut self, most: u64, timeout: Duration) -> Result<Run, RecvTimeoutError> {
        let Self { cursor, waiter, .. } = self;
        waiter.receive_within(timeout, || cursor.take(most))
    }
}

/// How many messages [`AHEAD`] bytes are: at least one.
const fn messages_ahead<T>() -> u64 {
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    let messages = AHEAD / size;
    if messages == 0 { 1 } else { messages as u64 }
}

/// Messages lent to be read; dropping it releases their places.
#[must_use = "its messages are given back when it is dropped"]
pub struct Batch<'a, T: Element, K: Cursor, W: Wait> {
    receiver: &'a mut Receiver<T, K, W>,
    run: Run,
}

impl<T: Element, K: Cursor, W: Wait> fmt::Debug for Batch<'_, T, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("run", &self.run).finish_non_exhaustive()
    }
}

impl<T: Element, K: Cursor, W: Wait> Batch<'_, T, K, W> {
    /// The messages in order: up to the end of the ring, and from its start.
    #[inline]
    pub(super) fn parts(&self) -> (&[T::Unit], &[T::Unit]) {
        let (head, tail) = self.receiver.places.of(self.run);
        // SAFETY: the run is ours to read until this batch is dropped: the producer does not write it before.
        let head = unsafe { head.as_ref() };
        // SAFETY: as above.
        let tail = unsafe { tail.as_ref() };
        (head, tail)
    }

    /// How many bytes a message has.
    pub(super) fn message_size(&self) -> usize {
        self.receiver.size()
    }

    /// How many messages: at least one, until they are [released](Batch::release_first).
    pub fn len(&self) -> usize {
        self.run.len as usize
    }

    /// Whether all of them have been released.
    pub fn is_empty(&self) -> bool {
        self.run.len == 0
    }

    /// Gives the places of the first `n` messages back, so that the producer may write there, and keeps
    /// the others.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn release_first(&mut self, n: usize) {
        let n = n as u64;
        assert!(n <= self.run.len, "{n} of {} messages were to be released", self.run.len);
        self.receiver.waiter.changed(self.receiver.cursor.release_first(n));
        self.run = Run { first: self.run.first.plus(n), len: self.run.len - n };
    }

    /// The sequence of the first of them.
    pub fn first(&self) -> Sequence {
        self.run.first
    }
}

impl<T: Pod, K: Cursor, W: Wait> Batch<'_, T, K, W> {
    /// The messages in order: up to the end of the ring, and from its start; the second part is empty
    /// unless the run wraps.
    #[inline]
    pub fn slices(&self) -> (&[T], &[T]) {
        self.parts()
    }

    /// The messages in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (head, tail) = self.slices();
        head.iter().chain(tail)
    }
}

impl<T: Element, K: Cursor, W: Wait> Batch<'_, T, K, W> {
    /// Ends the batch, as dropping it does, and says whether what was read of it can be trusted.
    ///
    /// # Errors
    ///
    /// [`Evicted`]: the consumer was evicted by force while it had borrowed, and the producer did not wait for it.
    #[inline]
    pub fn finish(self) -> Result<(), Evicted> {
        self.receiver.waiter.shared().confirm(self.receiver.cursor.registration())
    }
}

impl<T: Element, W: Wait> Batch<'_, T, MemberCursor<Shared>, W> {
    /// Whether a member that has died had claimed these messages before. It may have worked on them.
    pub fn redelivered(&self) -> bool {
        self.receiver.cursor.redelivered()
    }
}

impl<T: Element, W: Wait> Batch<'_, T, ConsumerCursor<Shared>, W> {
    /// Gives the batch back unread: its messages come again with the next call.
    ///
    /// A member of a group cannot do this: what it has claimed goes to no other.
    pub fn give_back(self) {
        self.receiver.cursor.give_back();
    }
}

/// What an end is told whose slot was taken from it while it copied a message.
#[cold]
fn lost(why: Unavailable) -> RecvError {
    match why {
        Unavailable::Forked => RecvError::Forked,
        _ => RecvError::Evicted,
    }
}

impl<'b, T: Pod, K: Cursor, W: Wait> IntoIterator for &'b Batch<'_, T, K, W> {
    type Item = &'b T;
    type IntoIter = core::iter::Chain<core::slice::Iter<'b, T>, core::slice::Iter<'b, T>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        let (head, tail) = self.slices();
        head.iter().chain(tail)
    }
}

impl<T: Element, K: Cursor, W: Wait> Drop for Batch<'_, T, K, W> {
    #[inline]
    fn drop(&mut self) {
        self.receiver.release();
    }
}
