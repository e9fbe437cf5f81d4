//! The end that writes.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use common::sync::AtomicU64;
use common::{Capacity, NameError, QueueName, Sequence};
use day2::{DescriptorError, LockError, Mode};
use day3::landing::{Mark, Trail};
use day3::link::Link;
use day3::recovery::Death;
use day3::rooms::Eviction;
use day3::roster::{self, Burial, ConsumerInfo, EvictError, GroupInfo, Ring};
use day3::sequencer::{ProducerCursor, Refusal, Run};
use day3::wait::{self, Side, Waiter};
use day3::{Memory, QueueOptions, Shared, TimedOut, Unattended, Wait, Yield};

use crate::data::{Data, seal, seal_as};
use crate::error::{
    BatchFull, CreateError, ResumeError, SendError, SendTimeoutError, TooLarge, TrySendError,
};
use crate::frame::{Frame, HEADER, MOST, record_len};
use crate::memory::{ByteMemory, Offer, Segmented};
use crate::rendezvous::Serving;

/// The end that writes a ring of records. A ring has one.
///
/// Dropping it closes the ring, so that consumers drain and then see the end, and removes the name. If
/// its thread panics, consumers are told that it was aborted.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use {day3::*, day4 as records}; }
/// use fanout::Start;
/// use fanout::records::{Reader, Writer};
///
/// let name = format!("/doc-records-{}", std::process::id());
/// let mut writer = Writer::create(&name, 1 << 20)?;
/// let mut reader = Reader::join(&name, Start::Oldest)?;
/// writer.send(b"a message of any length")?;
/// assert_eq!(&*reader.recv()?, b"a message of any length");
///
/// // Written in place: nothing is copied.
/// let mut reservation = writer.reserve(100)?;
/// reservation[..3].copy_from_slice(b"abc");
/// reservation.publish(3);
/// assert_eq!(&*reader.recv()?, b"abc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer<W: Wait = Yield> {
    cursor: ProducerCursor<Shared, Counting>,
    data: Data,
    largest: usize,
    memory: Arc<dyn ByteMemory>,
    /// What lets consumers in, if this is a [host](Writer::host).
    serving: Option<Serving>,
    // Last: a strategy that signals descriptors hangs up after the ring is closed.
    waiter: Waiter<W>,
}

impl<W: Wait> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("next", &self.cursor.next()).finish_non_exhaustive()
    }
}

/// Counts messages, and leaves marks that tell the count.
#[derive(Debug)]
struct Counting {
    memory: Arc<dyn ByteMemory>,
    capacity: Capacity,
    sent: u64,
}

impl Trail for Counting {
    #[cold]
    fn mark(&mut self, next: Sequence) {
        let mark = Mark { sequence: next, number: self.sent };
        // SAFETY: the writer's own trail; its next record begins there.
        unsafe { self.memory.marks().leave(self.capacity, mark) };
    }

    fn unit(&self) -> u64 {
        SHORT as u64
    }
}

/// How many messages the dead writer of this ring had sent: as many as its last mark tells of, and those since.
/// `None` if no mark leads there.
fn sent(memory: &dyn ByteMemory) -> Option<u64> {
    let published = memory.control().published();
    let mark = memory.marks().at_or_before(published)?;
    let len = published.since(mark.sequence);
    if len > memory.ring().capacity.get() {
        return None;
    }
    // What lies behind the last mark is never overwritten before there is another one.
    let mut walk = Data::of(memory).walk(Run { first: mark.sequence, len });
    let (mut count, mut left) = (mark.number, len);
    while let Some((frame, _)) = walk.next() {
        count = count.wrapping_add(1);
        left -= frame.size();
    }
    (left == 0).then_some(count)
}

/// How much of the ring a short message takes.
const SHORT: usize = 64;

impl<W: Wait> Writer<W> {
    /// Creates the ring `name` with room for `capacity` bytes, rounded up to a power of two of at least
    /// a page; [`Writer::capacity`] says to what. A message takes [`record_len`] of them.
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

    /// Creates the ring `name`. The capacity counts bytes, and is rounded up; the first sequence is a
    /// multiple of 8.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: a ring has one producer.
    pub fn create_with<N>(name: N, options: &QueueOptions) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let create = || {
            let memory = Arc::new(Segmented::create(Some(&name), options)?);
            // SAFETY: the segment was just created for records, by us, writable.
            Ok(unsafe { Self::from_memory_with(memory, options.unattended()) })
        };
        options.establish(&name, create, || Self::resume_with(name.clone(), options))
    }

    /// Takes over the ring `name` from a writer that has died. Sequences and the count of messages go on, and
    /// consumers that are attached get what is sent from now on.
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
        let memory = Segmented::succeed(&name, options)?;
        let Some(sent) = sent(&memory) else {
            memory.leave_name();
            return Err(ResumeError::Trail { name });
        };
        let memory: Arc<dyn ByteMemory> = Arc::new(memory);
        let shared = Shared::new(memory.clone());
        let Ring { capacity, first } = memory.ring();
        let counting = Counting { memory: memory.clone(), capacity, sent };
        // SAFETY: we have the producer's lease, and the segment was made ready by a writer.
        let cursor = unsafe { ProducerCursor::resuming(shared.clone(), capacity, first, counting) };
        let cursor = cursor.map_err(|why| ResumeError::new(&name, why))?;
        Ok(Self::with_cursor(cursor.unattended(options.unattended()), memory, shared))
    }

    /// Creates a ring without a name, for processes that get a [descriptor](Writer::descriptor) of it.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous(capacity: u64) -> Result<Self, CreateError> {
        Self::anonymous_with(&QueueOptions::new(capacity))
    }

    /// Creates a ring without a name, for processes that get a [descriptor](Writer::descriptor) of it.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous_with(options: &QueueOptions) -> Result<Self, CreateError> {
        let memory = Arc::new(Segmented::create(None, options)?);
        // SAFETY: the segment was just created for records, by us, writable.
        Ok(unsafe { Self::from_memory_with(memory, options.unattended()) })
    }

    /// The writer of the ring in this memory.
    ///
    /// # Safety
    ///
    /// The memory is writable, and has no other writer.
    pub unsafe fn from_memory(memory: Arc<dyn ByteMemory>) -> Self {
        // SAFETY: the caller says so.
        unsafe { Self::from_memory_with(memory, Unattended::default()) }
    }

    /// The same, doing this with messages while no consumer is registered.
    ///
    /// # Safety
    ///
    /// As for [`from_memory`](Self::from_memory).
    pub unsafe fn from_memory_with(memory: Arc<dyn ByteMemory>, unattended: Unattended) -> Self {
        let shared = Shared::new(memory.clone());
        let ring = memory.ring();
        let counting = Counting { memory: memory.clone(), capacity: ring.capacity, sent: 0 };
        let (capacity, first) = (ring.capacity, ring.first);
        // SAFETY: the caller says that there is no other writer.
        let cursor = unsafe { ProducerCursor::leaving(shared.clone(), capacity, first, counting) };
        Self::with_cursor(cursor.unattended(unattended), memory, shared)
    }

    fn with_cursor(
        cursor: ProducerCursor<Shared, Counting>,
        memory: Arc<dyn ByteMemory>,
        shared: Shared,
    ) -> Self {
        let data = Data::of(&*memory);
        let largest = (memory.ring().capacity.get() as usize - HEADER).min(MOST);
        let (serving, waiter) = (None, Waiter::new(shared, Side::Producer));
        Self { cursor, data, largest, memory, serving, waiter }
    }

    /// The same writer, which keeps this server.
    pub(crate) fn served_by(self, serving: Serving) -> Self {
        Self { serving: Some(serving), ..self }
    }
}

impl<W: Wait> Writer<W> {
    /// The same writer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Writer<V> {
        let Self { cursor, data, largest, memory, serving, waiter } = self;
        Writer { cursor, data, largest, memory, serving, waiter: waiter.waiting(wait) }
    }

    /// Leaves as a process that is killed: the queue keeps its name and what is in it, and
    /// [`resume`](Writer::resume) goes on with it. Consumers that follow stay attached; others are told that the producer
    /// died.
    pub fn abandon(self) {
        self.memory.leave_name();
        self.cursor.die();
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        let mut reservation = self.try_reserve(message.len())?;
        reservation.copy_from_slice(message);
        reservation.publish(message.len());
        Ok(())
    }

    /// Sends a message, waiting for as long as there is no room.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        let mut reservation = self.reserve(message.len())?;
        reservation.copy_from_slice(message);
        reservation.publish(message.len());
        Ok(())
    }

    /// Sends a message, waiting for at most `timeout` while there is no room.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was sent.
    pub fn send_timeout(
        &mut self,
        message: &[u8],
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        let mut reservation = self.reserve_timeout(message.len(), timeout)?;
        reservation.copy_from_slice(message);
        reservation.publish(message.len());
        Ok(())
    }

    /// Sends one message that lies in several parts, if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    pub fn try_send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<(), TrySendError> {
        self.try_reserve(total(parts))?.gather(parts);
        Ok(())
    }

    /// Sends one message that lies in several parts, waiting for as long as there is no room.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.reserve(total(parts))?.gather(parts);
        Ok(())
    }

    /// Sends one message that lies in several parts, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was sent.
    pub fn send_vectored_timeout(
        &mut self,
        parts: &[IoSlice<'_>],
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        self.reserve_timeout(total(parts), timeout)?.gather(parts);
        Ok(())
    }

    /// Lends room for a message of up to `most` bytes, if there is that much now. Nothing is visible
    /// until [`Reservation::publish`].
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was lent.
    #[inline]
    pub fn try_reserve(&mut self, most: usize) -> Result<Reservation<'_, W>, TrySendError> {
        let size = self.size_of(most)?;
        self.cursor.claim(size)?;
        Ok(Reservation { writer: self, most })
    }

    /// Lends room for a message of up to `most` bytes, waiting until there is that much.
    ///
    /// # Errors
    ///
    /// [`SendError`]; [`SendError::TooLarge`] if the ring never has that much.
    #[inline]
    pub fn reserve(&mut self, most: usize) -> Result<Reservation<'_, W>, SendError> {
        let size = self.size_of(most)?;
        self.claim(size)?;
        Ok(Reservation { writer: self, most })
    }

    /// Lends room for a message of up to `most` bytes, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was lent.
    pub fn reserve_timeout(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_, W>, SendTimeoutError> {
        let size = self.size_of(most)?;
        self.claim_within(size, timeout)?;
        Ok(Reservation { writer: self, most })
    }

    /// Lends `bytes` of ring for several messages that become visible together, if there is that much
    /// now. A message takes [`record_len`] of it.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was lent.
    pub fn try_batch(&mut self, bytes: usize) -> Result<WriteBatch<'_, W>, TrySendError> {
        let room = self.room_for(bytes)?;
        self.cursor.claim(room)?;
        Ok(WriteBatch::new(self, room))
    }

    /// Lends `bytes` of ring for several messages that become visible together, waiting until there is
    /// that much.
    ///
    /// # Errors
    ///
    /// [`SendError`]; [`SendError::TooLarge`] if the ring never has that much.
    pub fn batch(&mut self, bytes: usize) -> Result<WriteBatch<'_, W>, SendError> {
        let room = self.room_for(bytes)?;
        self.claim(room)?;
        Ok(WriteBatch::new(self, room))
    }

    /// Lends `bytes` of ring for several messages that become visible together, waiting for at most
    /// `timeout` until there is that much.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was lent.
    pub fn batch_timeout(
        &mut self,
        bytes: usize,
        timeout: Duration,
    ) -> Result<WriteBatch<'_, W>, SendTimeoutError> {
        let room = self.room_for(bytes)?;
        self.claim_within(room, timeout)?;
        Ok(WriteBatch::new(self, room))
    }

    /// Lends as many bytes of ring as there are now, at most `bytes`, for several messages that become
    /// visible together.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; it is full if there is no room for a message, not even for an empty one.
    pub fn try_batch_up_to(&mut self, bytes: usize) -> Result<WriteBatch<'_, W>, TrySendError> {
        let most = record_len(bytes.saturating_sub(HEADER)) as u64;
        let room = self.cursor.claim_up_to(most)?;
        if room < HEADER as u64 {
            return Err(TrySendError::Full);
        }
        Ok(WriteBatch::new(self, room))
    }

    /// How many bytes the ring holds, headers and padding included.
    pub fn capacity(&self) -> u64 {
        self.cursor.capacity().get()
    }

    /// The number that tells this queue from all others, and that it has in common with its copies; 0 in memory of one
    /// process.
    pub fn identity(&self) -> u64 {
        self.waiter.shared().identity()
    }

    /// The longest message that this ring has room for, in bytes: 8 less than its capacity, and at
    /// most [`MOST`].
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// How many messages were sent.
    pub fn sent(&mut self) -> u64 {
        self.cursor.trail().sent
    }

    /// The sequence of the next message's first byte.
    pub fn next_sequence(&self) -> Sequence {
        self.cursor.next()
    }

    /// The registered consumers. Their lag counts bytes.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        self.cursor.collect();
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
    /// [holds](day3::JoinOptions::hold_when_empty) the producer back; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`LockError`] if a consumer has been joining for as long as `timeout`.
    pub fn forget_group(&mut self, group: &str, timeout: Duration) -> Result<bool, LockError> {
        day3::memory::forget(self.waiter.shared(), group, timeout)
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
    /// aborted, it waits for groups that [hold the end](day3::JoinOptions::hold_end), too: so close first, and drain then.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn drain(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        wait::poll(timeout, || self.cursor.is_drained())
    }

    /// Frees the slot of a consumer that is dead. What a dead member of a group had claimed goes to another member; while
    /// it [waits](Burial::Waits) for one, it keeps its slot, and holds this writer back.
    ///
    /// A writer that waits does this by itself, for the consumers that hold it back.
    ///
    /// # Errors
    ///
    /// [`EvictError`].
    pub fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<Burial, EvictError> {
        roster::evict_dead(self.waiter.shared(), consumer)
    }

    /// Takes its slot from a consumer, dead or alive, so that it does not hold this writer back. Says whether it
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

    /// The consumers that this writer has turned out since the last call, and why: because they lagged, or because
    /// the cursors in their pages said what cannot be.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        self.cursor.take_evictions()
    }

    /// The consumers that this writer has found dead since the last call.
    pub fn take_deaths(&mut self) -> Vec<Death> {
        self.cursor.take_deaths()
    }

    /// Which of the queue's producers this one is: how many have taken over from a dead one before it.
    pub fn epoch(&self) -> u64 {
        self.waiter.shared().epoch()
    }

    /// Tells consumers that everything is sent. They read what is there, then see the end.
    ///
    /// The ring stays, and keeps its name, until the writer is dropped; to send is an error.
    pub fn close(&mut self) {
        self.waiter.changed(self.cursor.close());
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why. They read what
    /// is there, then get [`RecvError::Aborted`](crate::RecvError::Aborted).
    ///
    /// Of the reason, [`REASON_BYTES`](day3::control::REASON_BYTES) bytes are kept. A ring that is
    /// closed already stays so.
    pub fn abort(&mut self, reason: &str) {
        self.waiter.changed(self.cursor.abort(reason));
    }

    /// Whether it was closed or aborted.
    pub fn is_closed(&self) -> bool {
        self.cursor.is_closed()
    }

    /// A descriptor of the ring for another process, opened anew; for reading only if `mode` is
    /// [`Mode::Observer`].
    ///
    /// # Errors
    ///
    /// [`DescriptorError`].
    pub fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        self.memory.descriptor(mode)
    }

    /// Something that makes descriptors of the ring, apart from the writer.
    pub fn offer(&self) -> Offer {
        Offer::new(self.memory.clone())
    }

    /// Where the ring is.
    pub fn memory(&self) -> &Arc<dyn ByteMemory> {
        &self.memory
    }

    #[inline]
    fn size_of(&self, len: usize) -> Result<u64, SendError> {
        if len > self.largest {
            return Err(TooLarge::new(len, self.largest).into());
        }
        Ok(record_len(len) as u64)
    }

    fn room_for(&self, bytes: usize) -> Result<u64, SendError> {
        let len = bytes.saturating_sub(HEADER);
        let room = record_len(len) as u64;
        if room > self.capacity() {
            return Err(TooLarge::new(len, self.largest).into());
        }
        Ok(room)
    }

    #[inline]
    fn claim(&mut self, size: u64) -> Result<Sequence, SendError> {
        match self.cursor.claim(size) {
            Ok(first) => Ok(first),
            Err(refusal) => self.wait_for(size, refusal),
        }
    }

    #[inline]
    fn claim_within(&mut self, size: u64, timeout: Duration) -> Result<Sequence, SendTimeoutError> {
        match self.cursor.claim(size) {
            Ok(first) => Ok(first),
            Err(_) => self.wait_until(size, timeout),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for(&mut self, size: u64, refusal: Refusal) -> Result<Sequence, SendError> {
        self.waiter.claim(&mut self.cursor, size, refusal)
    }

    #[cold]
    #[inline(never)]
    fn wait_until(&mut self, size: u64, timeout: Duration) -> Result<Sequence, SendTimeoutError> {
        self.waiter.claim_within(&mut self.cursor, size, timeout)
    }

    /// # Safety
    ///
    /// `bytes` have been claimed, and hold whole frames.
    #[inline]
    unsafe fn publish(&mut self, bytes: u64, messages: u64) {
        let sent = &mut self.cursor.trail().sent;
        *sent = sent.wrapping_add(messages);
        // SAFETY: the caller says so.
        let woke = unsafe { self.cursor.publish(bytes) };
        self.waiter.changed(woke);
    }
}

fn total(parts: &[IoSlice<'_>]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.len()))
}

/// Room for one message, lent to be written in. It holds whatever was there before.
///
/// Dropping it without [`publish`](Reservation::publish) sends nothing.
#[must_use = "nothing is sent until it is published"]
pub struct Reservation<'a, W: Wait> {
    writer: &'a mut Writer<W>,
    most: usize,
}

impl<W: Wait> fmt::Debug for Reservation<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("most", &self.most).finish_non_exhaustive()
    }
}

impl<W: Wait> Reservation<'_, W> {
    /// Sends the first `len` bytes.
    ///
    /// # Panics
    ///
    /// If `len` is more than was lent.
    #[inline]
    pub fn publish(self, len: usize) {
        self.publish_as(len, 0);
    }

    /// Sends the first `len` bytes, as a message of this kind. In a child that was forked from the producer's process it
    /// does nothing.
    ///
    /// # Panics
    ///
    /// If `len` is more than was lent.
    #[inline]
    pub fn publish_as(self, len: usize, kind: u16) {
        assert!(len <= self.most, "{len} bytes of {} were to be sent", self.most);
        // The place may hold a message of the parent's by now.
        if self.writer.cursor.is_forked() {
            return;
        }
        let next = self.writer.cursor.next();
        let size = seal(self.writer.data.word(next), len, kind);
        // SAFETY: a frame of at most what was claimed, just sealed.
        unsafe { self.writer.publish(size, 1) };
    }

    fn gather(mut self, parts: &[IoSlice<'_>]) {
        let mut rest = &mut *self;
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        let len = self.most;
        self.publish(len);
    }

    #[inline]
    fn place(&self) -> NonNull<[u8]> {
        let start = self.writer.data.message_at(self.writer.cursor.next());
        NonNull::slice_from_raw_parts(start, self.most)
    }
}

impl<W: Wait> Deref for Reservation<'_, W> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: claimed, so ours alone until it is published, and mapped in one piece; the
        // borrow of the writer keeps it so.
        unsafe { self.place().as_ref() }
    }
}

impl<W: Wait> DerefMut for Reservation<'_, W> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { self.place().as_mut() }
    }
}

/// Room for several messages that become visible together.
///
/// Dropping it without [`publish`](WriteBatch::publish) sends none of them.
#[must_use = "nothing is sent until it is published"]
pub struct WriteBatch<'a, W: Wait> {
    writer: &'a mut Writer<W>,
    /// Where the next frame begins.
    at: NonNull<u8>,
    room: u64,
    used: u64,
    count: u64,
}

impl<W: Wait> fmt::Debug for WriteBatch<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch").field("count", &self.count).finish_non_exhaustive()
    }
}

// SAFETY: the address leads into memory that the writer keeps, and only through this batch.
unsafe impl<W: Wait + Send> Send for WriteBatch<'_, W> {}

impl<'a, W: Wait> WriteBatch<'a, W> {
    #[inline]
    fn new(writer: &'a mut Writer<W>, room: u64) -> Self {
        let at = writer.data.at(writer.cursor.next());
        Self { writer, at, room, used: 0, count: 0 }
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// [`BatchFull`]; the message was not added, the others are still there.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<(), BatchFull> {
        self.push_as(message, 0)
    }

    /// Adds a message of this kind.
    ///
    /// # Errors
    ///
    /// [`BatchFull`]; the message was not added, the others are still there.
    #[inline]
    pub fn push_as(&mut self, message: &[u8], kind: u16) -> Result<(), BatchFull> {
        self.place(message.len())?.copy_from_slice(message);
        self.add(Frame::new(message.len() as u32, kind));
        Ok(())
    }

    /// Adds a message of this kind that had been delivered before, elsewhere: on another host, say, to a consumer that died
    /// with it. Who reads it is told so: [`Record::redelivered`](crate::Record::redelivered),
    /// [`Delivered::redelivered`](crate::Delivered::redelivered).
    ///
    /// # Errors
    ///
    /// [`BatchFull`]; the message was not added, the others are still there.
    #[inline]
    pub fn push_redelivered(&mut self, message: &[u8], kind: u16) -> Result<(), BatchFull> {
        self.place(message.len())?.copy_from_slice(message);
        self.add(Frame::again(message.len() as u32, kind));
        Ok(())
    }

    /// Adds a message of up to `most` bytes that `write` writes in place; it says how many it wrote.
    ///
    /// # Errors
    ///
    /// [`BatchFull`] if there are not that many; `write` was not called.
    ///
    /// # Panics
    ///
    /// If `write` says that it wrote more than it was lent.
    #[inline]
    pub fn push_with(
        &mut self,
        most: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BatchFull> {
        let len = write(self.place(most)?);
        assert!(len <= most, "{len} bytes of {most} were written");
        self.add(Frame::new(len as u32, 0));
        Ok(())
    }

    /// The longest message that still fits, in bytes; `None` if not even an empty one does.
    pub fn room(&self) -> Option<usize> {
        let room = (self.room - self.used).checked_sub(HEADER as u64)?;
        Some((room as usize).min(self.writer.largest))
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes all messages visible at once. In a child that was forked from the producer's process it does nothing.
    #[inline]
    pub fn publish(self) {
        if self.writer.cursor.is_forked() {
            return;
        }
        // SAFETY: the frames that were added, all of them within what was claimed.
        unsafe { self.writer.publish(self.used, self.count) };
    }

    #[inline]
    fn place(&mut self, len: usize) -> Result<&mut [u8], BatchFull> {
        let room = (self.room - self.used) as usize;
        if len > MOST || record_len(len) > room {
            return Err(BatchFull { len, room });
        }
        // SAFETY: there is room for a header, and more.
        let start = unsafe { self.at.add(HEADER) };
        let mut place = NonNull::slice_from_raw_parts(start, len);
        // SAFETY: claimed, so ours alone until it is published, and mapped in one piece; the
        // borrow keeps it so.
        Ok(unsafe { place.as_mut() })
    }

    /// Writes the header of a message that is in place.
    #[inline]
    fn add(&mut self, frame: Frame) {
        // SAFETY: room that was claimed, and aligned, as frames are to 8 bytes.
        let word = unsafe { self.at.cast::<AtomicU64>().as_ref() };
        let size = seal_as(word, frame);
        // SAFETY: the frame ends within the room.
        self.at = unsafe { self.at.add(size as usize) };
        self.used += size;
        self.count += 1;
    }
}
