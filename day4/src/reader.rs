//! The ends that read and are waited for: broadcast readers and members of groups.

mod batch;

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use common::sync::Ordering;
use common::{NameError, QueueName, Sequence};
use day2::Mode;
use day3::group::MemberCursor;
use day3::measured::Measured;
use day3::outlook::Outlook;
use day3::sequencer::ConsumerCursor;
use day3::wait::{Side, Waiter};
use day3::{Ending, JoinError, JoinOptions, Shared, Start, Wait, Yield};

use crate::data::Data;
use crate::error::{Corrupt, Evicted, ReadError, RecvError, RecvTimeoutError, TryRecvError};
use crate::frame::Frame;
use crate::memory::{ByteMemory, Segmented};

use batch::take_some;
pub use batch::{Delivered, Records, RecordsIter};

/// A registered consumer; its cursor `K` says how it comes by its records.
///
/// Use it as [`Reader`] or [`Member`]. Dropping it frees its slot.
pub struct Receiver<K, W: Wait = Yield> {
    cursor: K,
    data: Data,
    waiter: Waiter<W>,
}

impl<K: Measured, W: Wait> fmt::Debug for Receiver<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("registration", self.cursor.registration())
            .finish_non_exhaustive()
    }
}

/// A broadcast consumer: sees every message from the first that it is promised, and gates the
/// producer, so that none is lost.
pub type Reader<W = Yield> = Receiver<ConsumerCursor<Shared>, W>;

/// A member of a group: each message goes to exactly one of the members. While a group has a member,
/// what it has not read gates the producer. When its last member leaves, the ring keeps the group's
/// place, and the next member goes on there, unless the producer has overwritten it meanwhile.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use {day3::*, day4 as records}; }
/// use fanout::Start;
/// use fanout::records::{Member, Writer};
///
/// let name = format!("/doc-share-{}", std::process::id());
/// let mut writer = Writer::create(&name, 4096)?;
/// let mut first = Member::join(&name, "workers", Start::Oldest)?;
/// let mut second = Member::join(&name, "workers", Start::Oldest)?;
/// writer.send(b"one")?;
/// writer.send(b"another")?;
/// assert_eq!(&*first.recv()?, b"one");
/// assert_eq!(&*second.recv()?, b"another");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Member<W = Yield> = Receiver<MemberCursor<Shared>, W>;

/// A look that finds fewer bytes than this, or than an eighth of the ring, was too early.
const FEW: u64 = 1 << 16;

/// How long a reader that chases the producer holds back, in turns of a busy wait. A message of some
/// kilobytes takes that long to be written; Day 3's messages are there sooner.
const HOLD_BACK: u32 = 64;

impl<W: Wait> Reader<W> {
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
        let memory = Segmented::join(name, start, options)?;
        // SAFETY: checked to be a ring of records.
        unsafe { Self::from_memory(memory, start, options) }
    }

    /// Joins the ring behind this descriptor, which another process has handed over.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn from_fd(
        descriptor: OwnedFd,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let memory = Segmented::from_fd(descriptor, Mode::Reader, options)?;
        // SAFETY: checked to be a ring of records.
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
    /// The memory holds a ring of records.
    pub unsafe fn from_memory(
        memory: Arc<dyn ByteMemory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let few = FEW.min(memory.ring().capacity.get() / 8);
        let shared = Shared::new(memory);
        let cursor = shared.join(start, options)?.chasing(few, HOLD_BACK);
        Ok(Self::with_cursor(cursor, shared))
    }
}

impl<W: Wait> Member<W> {
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
        let memory = Segmented::open_for_group(name, options)?;
        // SAFETY: checked to be a ring of records.
        unsafe { Self::from_memory(memory, group, start, options) }
    }

    /// Joins the group `group` of the ring behind this descriptor.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn from_fd(
        descriptor: OwnedFd,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let memory = Segmented::from_fd(descriptor, Mode::Reader, options)?;
        // SAFETY: checked to be a ring of records.
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
    /// The memory holds a ring of records.
    pub unsafe fn from_memory(
        memory: Arc<dyn ByteMemory>,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory);
        Ok(Self::with_cursor(shared.join_group(group, start, options)?, shared))
    }
}

impl<W: Wait> Member<W> {
    /// Whether what it received last had been claimed before by a member that died. That member may have worked on
    /// it, and may have been done with it.
    pub fn redelivered(&self) -> bool {
        self.cursor.redelivered()
    }

    /// Says that this group knows how the queue has ended, and that the producer need not wait for it
    /// ([`JoinOptions::hold_end`](day3::JoinOptions::hold_end)). Before the queue has ended, this does nothing.
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

impl<K: Measured, W: Wait> Receiver<K, W> {
    fn with_cursor(cursor: K, shared: Shared) -> Self {
        let data = Data::of(shared.memory());
        Self { cursor, data, waiter: Waiter::new(shared, Side::Consumer) }
    }
}

/// One record that was taken: where it is in this process, and what its header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    start: NonNull<u8>,
    frame: Frame,
    sequence: Sequence,
}

// SAFETY: an address and numbers; the receiver that it was taken from keeps the memory.
unsafe impl Send for Taken {}

impl Taken {
    /// How long the message is, in bytes.
    pub(crate) fn len(self) -> usize {
        self.frame.len as usize
    }

    /// The message.
    ///
    /// # Safety
    ///
    /// It has not been released, nor will it be while the slice lives.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        let message = NonNull::slice_from_raw_parts(self.start, self.frame.len as usize);
        // SAFETY: the header was checked: it ends within what is published, which is mapped in one
        // piece; the caller says that it is not released.
        unsafe { message.as_ref() }
    }
}

impl<K: Measured, W: Wait> Receiver<K, W> {
    /// The same consumer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Receiver<K, V> {
        let Self { cursor, data, waiter } = self;
        Receiver { cursor, data, waiter: waiter.waiting(wait) }
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
        Outlook::of(self.waiter.shared(), self.cursor.registration(), 1)
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// How many bytes the ring holds, headers and padding included.
    pub fn capacity(&self) -> u64 {
        self.waiter.shared().memory().ring().capacity.get()
    }

    /// Where data begins in this process. Another has it elsewhere.
    pub fn data_address(&self) -> NonNull<u8> {
        self.waiter.shared().memory().data()
    }

    /// Lends the next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Record<'_, K, W>, TryRecvError> {
        let taken = take_one(&mut self.cursor, self.data)?;
        Ok(Record { receiver: self, taken })
    }

    /// Lends the next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv(&mut self) -> Result<Record<'_, K, W>, RecvError> {
        let taken = self.take_record()?;
        Ok(Record { receiver: self, taken })
    }

    /// Lends the next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Record<'_, K, W>, RecvTimeoutError> {
        let taken = self.wait_until(timeout, take_one)?;
        Ok(Record { receiver: self, taken })
    }

    /// Lends the next messages that together take at most `bytes` of ring, but at least one, and gives
    /// them back at once.
    ///
    /// It may be fewer than there are: the producer is asked what is new only when everything known is
    /// read.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv_batch(&mut self, bytes: usize) -> Result<Records<'_, K, W>, TryRecvError> {
        let taken = take_some(&mut self.cursor, self.data, bytes)?;
        Ok(Records::new(self, taken, bytes))
    }

    /// Lends the next messages that together take at most `bytes` of ring, but at least one, waiting
    /// for the first of them.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv_batch(&mut self, bytes: usize) -> Result<Records<'_, K, W>, RecvError> {
        let taken = match take_some(&mut self.cursor, self.data, bytes) {
            Ok(taken) => taken,
            Err(_) => self.wait_for(|cursor, data| take_some(cursor, data, bytes))?,
        };
        Ok(Records::new(self, taken, bytes))
    }

    /// Lends the next messages that together take at most `bytes` of ring, but at least one, waiting
    /// for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_batch_timeout(
        &mut self,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Records<'_, K, W>, RecvTimeoutError> {
        let taken = self.wait_until(timeout, |cursor, data| take_some(cursor, data, bytes))?;
        Ok(Records::new(self, taken, bytes))
    }

    /// Copies the next message into `into`, which it replaces, waiting for it; says how long it is.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv_into(&mut self, into: &mut Vec<u8>) -> Result<usize, RecvError> {
        let record = self.recv()?;
        into.clear();
        into.extend_from_slice(&record);
        Ok(into.len())
    }

    /// Copies the next message into these buffers, one after the other, waiting for it; says how long
    /// it is.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; a message that does not fit stays.
    pub fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> Result<usize, ReadError> {
        let room = into.iter().fold(0usize, |sum, buffer| sum.saturating_add(buffer.len()));
        let taken = self.wait_for(|cursor, data| take_one_within(cursor, data, room))?;
        let taken = taken.map_err(|len| ReadError::NoRoom { len, room })?;
        let record = Record { receiver: self, taken };
        let mut rest = &record[..];
        for buffer in into {
            let (part, behind) = rest.split_at(rest.len().min(buffer.len()));
            buffer[..part.len()].copy_from_slice(part);
            rest = behind;
        }
        Ok(record.len())
    }

    /// Takes the next message, waiting for it. [`Receiver::release`] gives it back.
    #[inline]
    pub(crate) fn take_record(&mut self) -> Result<Taken, RecvError> {
        match take_one(&mut self.cursor, self.data) {
            Ok(taken) => Ok(taken),
            Err(_) => self.wait_for(take_one),
        }
    }

    /// Whether what is lent now can be trusted, after it was read.
    #[inline]
    fn confirm(&self) -> Result<(), Evicted> {
        self.waiter.shared().confirm(self.cursor.registration())
    }

    #[inline]
    pub(crate) fn release(&mut self) {
        self.waiter.changed(self.cursor.release());
    }

    #[cold]
    #[inline(never)]
    fn wait_for<R>(
        &mut self,
        mut take: impl FnMut(&mut K, Data) -> Result<R, TryRecvError>,
    ) -> Result<R, RecvError> {
        let Self { cursor, data, waiter } = self;
        waiter.receive(|| take(cursor, *data))
    }

    #[cold]
    #[inline(never)]
    fn wait_until<R>(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(&mut K, Data) -> Result<R, TryRecvError>,
    ) -> Result<R, RecvTimeoutError> {
        let Self { cursor, data, waiter } = self;
        waiter.receive_within(timeout, || take(cursor, *data))
    }
}

#[inline]
fn take_one<K: Measured>(cursor: &mut K, data: Data) -> Result<Taken, TryRecvError> {
    // No message is longer than this.
    let taken = take_one_within(cursor, data, usize::MAX)?;
    taken.or(Err(TryRecvError::Empty))
}

/// Takes the next record if its message has at most `room` bytes; otherwise says how many it has.
#[inline]
fn take_one_within<K: Measured>(
    cursor: &mut K,
    data: Data,
    room: usize,
) -> Result<Result<Taken, usize>, TryRecvError> {
    let (mut seen, mut published) = (None, 0);
    // Where another member was faster, the closure runs again: what it saw before means nothing then.
    let run = cursor.take_by(|run| {
        published = run.len;
        seen = data.frame(run);
        seen.filter(|frame| frame.len as usize <= room).map_or(0, Frame::size)
    })?;
    match seen {
        Some(frame) if run.len > 0 => {
            Ok(Ok(Taken { start: data.message_at(run.first), frame, sequence: run.first }))
        }
        Some(frame) => Ok(Err(frame.len as usize)),
        None => Err(corrupt(data, run.first, published).into()),
    }
}

#[cold]
pub(crate) fn corrupt(data: Data, first: Sequence, room: u64) -> Corrupt {
    let found = data.word(first).load(Ordering::Relaxed);
    Corrupt::Record { sequence: first.get(), room, found }
}

/// A message lent to be read; dropping it gives its place back.
#[must_use = "it is given back when it is dropped"]
pub struct Record<'a, K: Measured, W: Wait> {
    receiver: &'a mut Receiver<K, W>,
    taken: Taken,
}

impl<K: Measured, W: Wait> fmt::Debug for Record<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<W: Wait> Record<'_, ConsumerCursor<Shared>, W> {
    /// Gives the message back unread: it comes again with the next call.
    ///
    /// A member of a group cannot do this: what it has claimed goes to no other.
    pub fn give_back(self) {
        self.receiver.cursor.give_back();
    }
}

impl<K: Measured, W: Wait> Record<'_, K, W> {
    /// What kind of message its sender said it is.
    pub fn kind(&self) -> u16 {
        self.taken.frame.kind
    }

    /// The sequence at which its frame begins.
    pub fn sequence(&self) -> Sequence {
        self.taken.sequence
    }

    /// Whether the message had been delivered before: in this queue, to a member of the group that died; or elsewhere, as its
    /// sender [said](crate::WriteBatch::push_redelivered).
    pub fn redelivered(&self) -> bool {
        self.taken.frame.is_redelivered() || self.receiver.cursor.redelivered()
    }

    /// Gives the message back, as dropping it does, and says whether what was read of it can be trusted.
    ///
    /// # Errors
    ///
    /// [`Evicted`]: the consumer was evicted by force while it had borrowed, and the producer did not wait for it.
    #[inline]
    pub fn finish(self) -> Result<(), Evicted> {
        self.receiver.confirm()
    }
}

impl<K: Measured, W: Wait> Deref for Record<'_, K, W> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: released when this is dropped, and no slice of it outlives it.
        unsafe { self.taken.bytes() }
    }
}

impl<K: Measured, W: Wait> Drop for Record<'_, K, W> {
    #[inline]
    fn drop(&mut self) {
        self.receiver.release();
    }
}
