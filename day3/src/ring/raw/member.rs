//! The member of a group that reads messages whose type it does not know.

use core::iter::Chain;
use core::slice::ChunksExact;
use std::sync::Arc;
use std::time::Duration;

use common::{NameError, QueueName, Sequence};
use day2::Geometry;

use crate::control::Ending;
use crate::error::{Evicted, JoinError, RecvError, RecvTimeoutError, TryRecvError};
use crate::group::MemberCursor;
use crate::memory::{Memory, Shared};
use crate::options::JoinOptions;
use crate::outlook::Outlook;
use crate::ring::{Batch, Member, MessageType, Places, Raw};
use crate::roster::Start;
use crate::wait::{Wait, Yield};

/// A [`Member`] of a group for a program that does not know what the messages are, such as one that carries any queue
/// to another host: it lends their bytes.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day3::*; pub mod raw { pub use day3::ring::RawMember; } }
/// use fanout::raw::RawMember;
/// use fanout::{JoinOptions, Producer, Start};
///
/// let name = format!("/doc-raw-member-{}", std::process::id());
/// let mut producer = Producer::<u32>::create(&name, 64)?;
/// let options = JoinOptions::new();
/// let mut member: RawMember = RawMember::join(&name, "carriers", Start::Oldest, &options)?;
/// assert_eq!((member.message_type(), member.message_size()), ("u32", 4));
/// producer.send_batch(&[7, 8])?;
/// let batch = member.recv_batch(100)?;
/// assert!(batch.iter().eq([7u32.to_ne_bytes(), 8u32.to_ne_bytes()]));
/// # drop(batch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RawMember<W: Wait = Yield>(Member<Raw, W>);

impl<W: Wait> RawMember<W> {
    /// Joins the group `group` of the ring `name`, whatever its messages are; the first member begins at `start`. If the
    /// options name a message type, the ring's has to be called so.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(
        name: N,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let memory = super::open(&name, options)?;
        // The segment is mapped, so the size of a message fits.
        let size = memory.segment().geometry().element_size() as usize;
        let memory: Arc<dyn Memory> = Arc::new(memory);
        // SAFETY: the segment's header, which was checked, says that it was made for messages of this size.
        let places = unsafe { Places::of_size(&*memory, size) };
        let shared = Shared::new(memory);
        Ok(Self(Member::at(places, shared.join_group(group, start, options)?, shared)))
    }

    /// The same member, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> RawMember<V> {
        RawMember(self.0.waiting(wait))
    }

    /// What the messages are called.
    pub fn message_type(&self) -> &str {
        self.0.shared().memory().geometry().map_or("", Geometry::message_type)
    }

    /// How many bytes each of them has.
    pub fn message_size(&self) -> usize {
        self.0.size()
    }

    /// To how many bytes they are aligned.
    pub fn message_align(&self) -> usize {
        self.0.shared().memory().geometry().map_or(1, |found| found.element_align() as usize)
    }

    /// All three, as a [`RawProducer`](super::RawProducer) takes them.
    pub fn messages(&self) -> MessageType {
        super::messages_of(self.0.shared().memory(), self.message_size())
    }

    /// The number that tells this queue from all others, and that it has in common with its copies.
    pub fn identity(&self) -> u64 {
        self.0.identity()
    }

    /// How many messages the ring holds.
    pub fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// The first sequence that its group was promised.
    pub fn first_sequence(&self) -> Sequence {
        self.0.first_sequence()
    }

    /// Says that this group knows how the queue has ended, and that the producer need not wait for it
    /// ([`JoinOptions::hold_end`](crate::JoinOptions::hold_end)). Before the queue has ended, this does nothing.
    pub fn acknowledge_end(&self) {
        self.0.acknowledge_end();
    }

    /// Leaves as a process that is killed: what this member has taken and not given back goes to another member of the
    /// group, now or later, as [redelivered](Self::redelivered). Keep a batch from being given back with
    /// [`forget`](core::mem::forget).
    pub fn abandon(self) {
        self.0.abandon();
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.0.slot()
    }

    /// What can be told of this member from outside: whether it has something to do.
    pub fn outlook(&self) -> Outlook {
        self.0.outlook()
    }

    /// How the producer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.0.ending()
    }

    /// Whether what it received last had been claimed before by a member that died.
    pub fn redelivered(&self) -> bool {
        self.0.redelivered()
    }

    /// Lends up to `most` messages, if there is one now (at least one is always asked for).
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv_batch(&mut self, most: usize) -> Result<RawBatch<'_, W>, TryRecvError> {
        Ok(RawBatch(self.0.try_recv_batch(most)?))
    }

    /// Lends up to `most` messages, waiting for the first of them.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    #[inline]
    pub fn recv_batch(&mut self, most: usize) -> Result<RawBatch<'_, W>, RecvError> {
        Ok(RawBatch(self.0.recv_batch(most)?))
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
    ) -> Result<RawBatch<'_, W>, RecvTimeoutError> {
        Ok(RawBatch(self.0.recv_batch_timeout(most, timeout)?))
    }
}

/// Messages of a type that the program does not know, lent to a [`RawMember`]; dropping it releases their places.
#[derive(Debug)]
#[must_use = "its messages are given back when it is dropped"]
pub struct RawBatch<'a, W: Wait = Yield>(Batch<'a, Raw, MemberCursor<Shared>, W>);

impl<W: Wait> RawBatch<'_, W> {
    /// The bytes of all messages, one message behind the other: up to the end of the ring, and from its start. No message
    /// lies in both parts.
    #[inline]
    pub fn slices(&self) -> (&[u8], &[u8]) {
        self.0.parts()
    }

    /// The messages in order, each as its bytes.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.into_iter()
    }

    /// How many messages: at least one, until they are [released](RawBatch::release_first).
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all of them have been released.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sequence of the first of them.
    pub fn first(&self) -> Sequence {
        self.0.first()
    }

    /// Gives the places of the first `n` messages back, so that the producer may write there, and keeps the others.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn release_first(&mut self, n: usize) {
        self.0.release_first(n);
    }

    /// Whether a member that has died had claimed these messages before. It may have worked on them.
    pub fn redelivered(&self) -> bool {
        self.0.redelivered()
    }

    /// Ends the batch, as dropping it does, and says whether what was read of it can be trusted.
    ///
    /// # Errors
    ///
    /// [`Evicted`]: the member was evicted by force while it had borrowed, and the producer did not wait for it.
    #[inline]
    pub fn finish(self) -> Result<(), Evicted> {
        self.0.finish()
    }
}

impl<'b, W: Wait> IntoIterator for &'b RawBatch<'_, W> {
    type Item = &'b [u8];
    type IntoIter = Chain<ChunksExact<'b, u8>, ChunksExact<'b, u8>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        let size = self.0.message_size();
        let (head, tail) = self.slices();
        head.chunks_exact(size).chain(tail.chunks_exact(size))
    }
}
