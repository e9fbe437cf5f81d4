//! The producer of messages whose type it does not know.

use std::sync::Arc;
use std::time::Duration;

use common::{NameError, QueueName, Sequence};
use day2::LockError;

use crate::error::{CreateError, ResumeError, SendError, SendTimeoutError, TimedOut, TrySendError};
use crate::memory::NamedMemory;
use crate::options::QueueOptions;
use crate::recovery::Death;
use crate::ring::{MessageType, Producer, Raw};
use crate::rooms::Eviction;
use crate::roster::{Burial, ConsumerInfo, EvictError, GroupInfo};
use crate::wait::{Wait, Yield};

/// A [`Producer`] for a program that does not know what the messages are, such as one that brings a queue from another
/// host: it sends their bytes. Consumers that know the type read them as messages of that type.
///
/// It ends as any producer does.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day3::*; pub mod raw { pub use day3::ring::{MessageType, RawProducer}; } }
/// use fanout::raw::{MessageType, RawProducer};
/// use fanout::{Consumer, QueueOptions, Start};
///
/// let name = format!("/doc-raw-producer-{}", std::process::id());
/// let messages = MessageType { name: "u32".to_owned(), size: 4, align: 4 };
/// let mut producer: RawProducer =
///     RawProducer::create_with(&name, &messages, &QueueOptions::new(64))?;
/// let mut consumer = Consumer::<u32>::join(&name, Start::Oldest)?;
/// assert_eq!(producer.try_send_batch(&[7, 0, 0, 0, 8, 0, 0, 0])?, 2);
/// assert_eq!(consumer.recv()?, u32::from_ne_bytes([7, 0, 0, 0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RawProducer<W: Wait = Yield>(Producer<Raw, W>);

impl<W: Wait> RawProducer<W> {
    /// Creates the ring `name` for such messages. What the options call the message type does not count.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: a ring has one producer. Messages of 0 bytes, and such
    /// whose size is no multiple of their alignment, are an [`Element`](day2::CreateError::Element) that no ring has.
    pub fn create_with<N>(
        name: N,
        messages: &MessageType,
        options: &QueueOptions,
    ) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let (size, align) = (messages.size, messages.align);
        if align == 0 || !size.is_multiple_of(align) {
            let (size, align) = (size as u64, align as u64);
            return Err(day2::CreateError::Element { size, align }.into());
        }
        let create = || {
            let memory = Arc::new(NamedMemory::create(&name, &messages.expected(), options)?);
            // SAFETY: the segment was just created for messages of this size, by us, writable.
            Ok(Self(unsafe { Producer::beginning(memory, options.unattended(), size) }))
        };
        options.establish(&name, create, || Self::resume_with(name.clone(), messages, options))
    }

    /// Takes over the ring `name` from a producer that has died, if it was made for such messages. Sequences go on, and
    /// consumers that are attached get what is sent from now on.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]; the ring is as it was.
    pub fn resume_with<N>(
        name: N,
        messages: &MessageType,
        options: &QueueOptions,
    ) -> Result<Self, ResumeError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let memory = NamedMemory::succeed(&name, &messages.expected(), options)?;
        // SAFETY: we have the producer's lease, and the ring was found to hold messages of this size.
        unsafe { Producer::succeeding(&name, memory, options, messages.size) }.map(Self)
    }

    /// The same producer, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> RawProducer<V> {
        RawProducer(self.0.waiting(wait))
    }
}

impl<W: Wait> RawProducer<W> {
    /// Sends as many of the first messages in `bytes` as there are places for now, at least one if there are any to
    /// send, and publishes them once; says how many messages.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent. [`SendError::Uneven`] if these are no whole messages.
    pub fn try_send_batch(&mut self, bytes: &[u8]) -> Result<usize, TrySendError> {
        let count = self.count(bytes)?;
        self.0.send_some(bytes, count)
    }

    /// The same, waiting for at most `timeout` for the first place.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was sent. [`SendError::Uneven`] if these are no whole messages.
    pub fn send_batch_timeout(
        &mut self,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<usize, SendTimeoutError> {
        let count = self.count(bytes)?;
        if let Ok(sent) = self.0.send_some(bytes, count) {
            return Ok(sent);
        }
        self.0.wait_until(1, timeout)?;
        // What was free a moment ago is free: only this producer takes places.
        self.0.send_some(bytes, count).map_err(|refused| match refused {
            TrySendError::Full => SendTimeoutError::TimedOut(timeout),
            TrySendError::End(end) => end.into(),
        })
    }

    /// Waits for at most `timeout` until there is a place for a message.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`].
    pub fn wait_for_room(&mut self, timeout: Duration) -> Result<(), SendTimeoutError> {
        self.0.wait_until(1, timeout).map(drop)
    }

    /// What the messages are.
    pub fn messages(&self) -> MessageType {
        super::messages_of(self.0.shared().memory(), self.0.size())
    }

    /// How many messages these bytes are.
    fn count(&self, bytes: &[u8]) -> Result<usize, SendError> {
        let (len, size) = (bytes.len(), self.0.size());
        if !len.is_multiple_of(size) {
            return Err(SendError::Uneven { len, size });
        }
        Ok(len / size)
    }
}

impl<W: Wait> RawProducer<W> {
    /// How many messages the ring holds.
    pub fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// The number that tells this queue from all others, and that it has in common with its copies.
    pub fn identity(&self) -> u64 {
        self.0.identity()
    }

    /// The sequence of the next message.
    pub fn next_sequence(&self) -> Sequence {
        self.0.next_sequence()
    }

    /// The registered consumers.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        self.0.consumers()
    }

    /// Whether no consumer is registered. What is sent now is read only if a consumer joins in time.
    pub fn is_abandoned(&mut self) -> bool {
        self.0.is_abandoned()
    }

    /// The groups whose place the ring knows, also those without a member.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.0.groups()
    }

    /// Forgets the place of a group that has no living member; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`LockError`] if a consumer has been joining for as long as `timeout`.
    pub fn forget_group(&mut self, group: &str, timeout: Duration) -> Result<bool, LockError> {
        self.0.forget_group(group, timeout)
    }

    /// Waits until at least `n` consumers that are alive are registered.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn wait_for_consumers(&mut self, n: usize, timeout: Duration) -> Result<(), TimedOut> {
        self.0.wait_for_consumers(n, timeout)
    }

    /// Waits until every registered consumer has read and released everything that was sent. Once the queue is closed or
    /// aborted, it waits for groups that [hold the end](crate::JoinOptions::hold_end), too: so close first, and drain then.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`.
    pub fn drain(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        self.0.drain(timeout)
    }

    /// Frees the slot of a consumer that is dead, as [`Producer::evict_dead`].
    ///
    /// # Errors
    ///
    /// [`EvictError`].
    pub fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<Burial, EvictError> {
        self.0.evict_dead(consumer)
    }

    /// The consumers that this producer has turned out since the last call because they lagged.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        self.0.take_evictions()
    }

    /// The consumers that this producer has found dead since the last call.
    pub fn take_deaths(&mut self) -> Vec<Death> {
        self.0.take_deaths()
    }

    /// Which of the queue's producers this one is: how many have taken over from a dead one before it.
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// Tells consumers that everything is sent, as [`Producer::close`].
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Tells consumers that nothing more will come, and why, as [`Producer::abort`].
    pub fn abort(&mut self, reason: &str) {
        self.0.abort(reason);
    }

    /// Leaves as a process that is killed: the queue keeps its name and what is in it, and
    /// [`resume_with`](Self::resume_with) goes on with it.
    pub fn abandon(self) {
        self.0.abandon();
    }

    /// Whether it was closed or aborted.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
